//! `brigade ps`: every run of the home, newest first.

use std::io::Write as _;

use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Event, RunStarted, SubtaskStatus};
use brigade_kernel::time::Timestamp;
use brigade_kernel::units::NanoUsd;
use brigade_kernel::view::{rfc3339, usd};
use brigade_runtime::{Clock, Home, record};
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::screen::{Column, Table, span};
use crate::standing::{Standing, fold};
use crate::wiring;

/// Events up to which a run is read whole, to count its subtasks.
const SMALL: u64 = 50_000;

/// List runs, newest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One object per line
    #[arg(long)]
    json: bool,
}

struct Row {
    standing: Standing,
    /// `None`: not counted, the run is over and too long to be read for this.
    subtasks: Option<(u64, u64)>,
    cost: NanoUsd,
    start: Box<RunStarted>,
    at: Timestamp,
}

/// Does it.
///
/// # Errors
/// When the home cannot be read.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let home = wiring::open_home(&wiring::env())?;
    let now = Clock::start().now();
    let mut out = std::io::stdout().lock();
    let mut table = Table::new(&[
        ("run", Column::Text(24)),
        ("state", Column::Text(44)),
        ("subtasks", Column::Number),
        ("cost", Column::Number),
        ("age", Column::Number),
        ("request", Column::Text(60)),
    ]);
    let mut any = false;
    for (id, version) in home.runs()? {
        // Damaged or foreign: said, and the others are listed all the same.
        let row = match glance(&home, &id, version) {
            Ok(Some(row)) => row,
            Ok(None) => continue,
            Err(failure) => {
                let _ = writeln!(std::io::stderr(), "brigade: {}", brigade_tools::escape_for_screen(&failure.message));
                continue;
            }
        };
        any = true;
        let first = row.start.request.lines().next().unwrap_or_default();
        if args.json {
            let line = json!({
                "run_id": id, "state": row.standing.word, "pid": row.standing.pid,
                "batch_since": row.standing.batch.map(rfc3339),
                "subtasks_done": row.subtasks.map(|s| s.0), "subtasks": row.subtasks.map(|s| s.1),
                "cost_usd": usd(row.cost), "started_at": rfc3339(row.at), "request": first,
                "workspace": row.start.workspace, "offline": row.start.offline,
            });
            if writeln!(out, "{line}").is_err() {
                return Ok(Exit::Done);
            }
            continue;
        }
        let what = match (first, &row.start.input) {
            ("", Some(input)) => format!("(plan over {})", input.path),
            ("", None) => "(plan)".to_owned(),
            (first, _) => first.to_owned(),
        };
        table.row([
            id.to_string(),
            row.standing.to_string(),
            row.subtasks.map_or_else(|| "–".to_owned(), |(done, all)| format!("{done}/{all}")),
            row.cost.to_string(),
            span((now - row.at).0),
            what,
        ]);
    }
    if !any && !args.json {
        let _ = writeln!(std::io::stderr(), "no runs yet");
    } else if !args.json {
        let _ = write!(out, "{}", table.shown());
    }
    Ok(Exit::Done)
}

/// First and last event where they say it all, else the whole run.
fn glance(home: &Home, id: &RunId, version: u64) -> Result<Option<Row>, Failure> {
    let journal = home.journal();
    let Some(first) = journal.read(&brigade_runtime::home::events_of(id), 1, 1)?.pop() else { return Ok(None) };
    let stamped = record::decode(id, 1, &first.bytes)?;
    let (at, Event::RunStarted(start)) = (stamped.at, stamped.event) else { return Ok(None) };
    if version > SMALL
        && let Some(last) = record::last_event(&*journal, id)?
        && let Event::RunEnded(summary) | Event::RunPaused(summary) = last.stamped.event
    {
        let waits = summary.status == brigade_kernel::run::RunStatus::NeedsPerson;
        let over = record::is_over(&*journal, id)?;
        let standing = Standing::of(home, id, Some(&summary), over, waits);
        return Ok(Some(Row { standing, subtasks: None, cost: summary.cost_usd, start, at }));
    }
    let run = fold(home, id)?;
    let state = run.state();
    let there = state.tasks.iter().filter(|t| t.status != Some(SubtaskStatus::Dropped));
    let done = there.clone().filter(|t| t.status.is_some()).count() as u64;
    let subtasks = Some((done, there.count() as u64));
    Ok(Some(Row { standing: Standing::of_run(home, &run), subtasks, cost: state.spent(), start, at }))
}
