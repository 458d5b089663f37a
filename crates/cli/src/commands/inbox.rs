//! `brigade inbox`: what waits for a person, over all runs.

use std::io::Write as _;

use brigade_kernel::ids::RunId;
use brigade_kernel::run::{InboxItem, Run};
use brigade_runtime::{Home, record};
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::screen::{cut, one_line};
use crate::standing::fold;
use crate::wiring;

/// Evidence shown of an item, in lines from its end: what failed stands there.
const EVIDENCE_LINES: usize = 8;

/// List what waits for a person.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One object per line
    #[arg(long)]
    json: bool,
}

/// Runs that have items open, oldest first.
///
/// # Errors
/// When the home cannot be read.
pub fn waiting(home: &Home) -> Result<Vec<Run>, Failure> {
    let mut waiting = Vec::new();
    for (id, _) in home.runs()?.into_iter().rev() {
        if record::is_over(&*home.journal(), &id).unwrap_or(true) {
            continue;
        }
        let run = fold(home, &id)?;
        if !run.state().inbox.is_empty() {
            waiting.push(run);
        }
    }
    Ok(waiting)
}

/// Does it.
///
/// # Errors
/// When the home cannot be read.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let home = wiring::open_home(&wiring::env())?;
    let mut out = std::io::stdout().lock();
    let mut any = false;
    for run in waiting(&home)? {
        let id = run.state().run();
        for (no, item) in &run.state().inbox {
            any = true;
            let text = if args.json { object(&run, id, *no, item).to_string() } else { words(&run, id, *no, item) };
            if writeln!(out, "{text}").is_err() {
                return Ok(Exit::Done);
            }
        }
    }
    let mut err = std::io::stderr();
    let _ = match (any, args.json) {
        (_, true) => Ok(()),
        (true, _) => writeln!(err, "answer with: brigade answer RUN/ITEM --approve | --reject | --text T"),
        (false, _) => writeln!(err, "nothing waits for a person"),
    };
    Ok(Exit::Done)
}

/// An open item as JSON.
pub fn object(run: &Run, id: &RunId, no: u32, item: &InboxItem) -> serde_json::Value {
    let unit = item.unit.map(|key| run.state().unit(key));
    json!({
        "id": format!("{id}/{no}"), "run_id": id, "item": no, "ask": item.ask,
        "subtask": unit.as_ref().map(|u| &u.subtask), "row": unit.as_ref().and_then(|u| u.row),
        "question": item.question, "evidence": item.evidence,
    })
}

/// An open item for a person.
pub fn words(run: &Run, id: &RunId, no: u32, item: &InboxItem) -> String {
    let kind = serde_json::to_value(item.ask).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let about = item.unit.map(|key| format!("  {}", run.state().unit(key))).unwrap_or_default();
    let mut text = format!("{id}/{no}  {kind}{about}\n  {}", one_line(&item.question));
    let lines: Vec<&str> = item.evidence.lines().filter(|l| !l.trim().is_empty()).collect();
    if lines.len() > EVIDENCE_LINES {
        text.push_str(&format!("\n  | … {} lines before", lines.len() - EVIDENCE_LINES));
    }
    for line in &lines[lines.len().saturating_sub(EVIDENCE_LINES)..] {
        text.push_str(&format!("\n  | {}", cut(line, 160)));
    }
    text
}
