//! A plan priced with the prices of today and the history of the home; nothing is spent.

use std::path::Path;

use brigade_kernel::catalog::Catalog;
use brigade_kernel::plan::Plan;
use brigade_kernel::policy::Policy;
use brigade_kernel::run::Preview;
use brigade_kernel::view::preview::{self, Priced};
use brigade_runtime::{Clock, Home, Mcp, history, input};
use std::sync::Arc;

use crate::exit::{Exit, Failure, chain};
use crate::screen;

/// What a plan will take.
///
/// # Errors
/// Exit 2 when the plan cannot be worked off to its end, or the input not be read.
pub fn price(
    home: &Home,
    plan: &Plan,
    policy: &Policy,
    catalog: &Arc<Catalog>,
    mcp: &Mcp,
    rows: Option<&Path>,
) -> Result<Preview, Failure> {
    let history = history::of(home)?;
    let rows = rows.map(input::measure).transpose().map_err(|e| Failure::usage(chain(&e)))?;
    let tools = mcp.specs().into();
    let now = Clock::start().now();
    preview::preview(&Priced { plan, policy, catalog, tools: &tools, history: &history, rows, now }).map_err(Failure::usage)
}

/// Shows it on standard output; what planning cost, if anything was asked, stands beside it.
pub fn show(preview: &Preview, policy: &Policy, json: bool) -> Exit {
    if json {
        screen::print(&screen::json_line(&preview::object(preview)));
    } else {
        screen::print(&screen::preview(preview, policy.budget.run_usd));
    }
    Exit::Done
}
