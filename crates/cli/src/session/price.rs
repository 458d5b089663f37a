//! A dear plan, and a person at the terminal: asked at once, in place of the inbox.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Ask, Event, Preview, Reply, RunStatus, RunSummary};
use brigade_runtime::commands::{Command, deliver};
use brigade_runtime::{Shared, hands, record};

use super::Output;
use crate::exit::{Exit, Failure};
use crate::screen;

/// Whether the run stands still at its price, and somebody is there to be asked.
///
/// # Errors
/// The journal's.
pub fn is_asked(shared: &Shared, id: &RunId, summary: &RunSummary, output: &Output) -> Result<bool, Failure> {
    let here = std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !output.json && !output.quiet;
    Ok(here && summary.status == RunStatus::NeedsPerson && question(shared, id)?.is_some())
}

/// Shows the price, asks, and goes on or leaves it to the inbox.
///
/// # Errors
/// What to say, and the exit code.
pub fn ask(shared: &Shared, id: &RunId, output: &Output) -> Result<Exit, Failure> {
    let Some(Question { item, preview }) = question(shared, id)? else { return Ok(Exit::NeedsPerson) };
    let mut err = std::io::stderr();
    if let Some(preview) = preview {
        let (run, _) = record::load(&*shared.home.journal(), id, shared.catalog.clone(), hands::specs().into())?;
        let _ = write!(err, "{}", screen::preview(&preview, run.state().start().policy.budget.run_usd));
    }
    let _ = write!(err, "Start it? [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if !["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes)) {
        let _ = writeln!(
            err,
            "not started; decide later with: brigade answer {id}/{item} --approve | --reject | --text T, then brigade resume {id}"
        );
        return Ok(Exit::NeedsPerson);
    }
    deliver(&shared.home, id, vec![Command::Answer { item, reply: Reply::Approve }], |_| Ok(()))?;
    let open: Box<super::Open<'_>> = Box::new(|show| shared.resume(id, None, Vec::new(), show));
    super::drive(shared, open, output)
}

/// What a person is to decide.
struct Question {
    item: u32,
    /// None when the plan cannot be priced.
    preview: Option<Box<Preview>>,
}

/// The open question about the price, and what it is about.
fn question(shared: &Shared, id: &RunId) -> Result<Option<Question>, Failure> {
    let journal = shared.home.journal();
    let (run, _) = record::load(&*journal, id, shared.catalog.clone(), hands::specs().into())?;
    let Some(item) = run.state().inbox.iter().find(|(_, item)| item.ask == Ask::Price).map(|(no, _)| *no) else { return Ok(None) };
    let mut found = Question { item, preview: None };
    record::events(&*journal, id, 1, |recorded| {
        if let Event::Priced { preview, .. } = recorded.stamped.event {
            found.preview = preview;
        }
    })?;
    Ok(Some(found))
}
