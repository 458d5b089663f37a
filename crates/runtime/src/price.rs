//! A run's plan priced, off the loop: the home's history is read, and the rows of the input are counted.

use std::path::PathBuf;

use brigade_kernel::run::{Fact, Run};
use brigade_kernel::time::Timestamp;
use brigade_kernel::view::history::History;
use brigade_kernel::view::preview::{self, Priced};
use tokio::sync::mpsc::UnboundedSender;

use crate::hands::blocking;
use crate::home::Home;
use crate::{history, input};

/// Starts it; the fact comes back through `facts`.
pub fn spawn(run: &Run, home: Home, now: Timestamp, facts: UnboundedSender<Fact>) {
    let (plan, policy) = (run.plan(), run.state().start().policy.clone());
    let (catalog, tools) = (run.catalog().clone(), run.known_tools().clone());
    let rows = run.state().start().input.as_ref().map(|input| PathBuf::from(&input.path));
    tokio::spawn(async move {
        let priced = blocking(move || {
            // Without history the price rests on assumptions, and says so.
            let history: History = history::of(&home).unwrap_or_default();
            let rows = rows.map(|path| input::measure(&path)).transpose().map_err(|e| e.to_string())?;
            let priced = Priced { plan: &plan, policy: &policy, catalog: &catalog, tools: &tools, history: &history, rows, now };
            preview::preview(&priced).map(Box::new)
        });
        let _ = facts.send(Fact::Priced(priced.await));
    });
}
