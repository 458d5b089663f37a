//! `brigade retry`: failed subtasks and rows are tried again; what was accepted stays and is not paid again.

use std::collections::HashSet;

use brigade_journal::Journal;
use brigade_kernel::run::{Event, Fact, Run, SubtaskStatus, Unit};
use brigade_runtime::home::events_of;
use brigade_runtime::record::decode;

use crate::commands::resume::{self, How};
use crate::commands::run::run_id;
use crate::exit::{Exit, Failure};
use crate::{session, standing, wiring};

/// Rows looked at in one go.
const PAGE: usize = 4_096;

/// Try what failed again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run
    run: String,
    /// Failed subtasks and rows
    #[arg(long, required = true)]
    failed: bool,
    #[command(flatten)]
    how: How,
}

/// Does it.
///
/// # Errors
/// What to say, and the exit code.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let id = run_id(&args.run)?;
    let units = {
        let home = wiring::open_home(&wiring::env())?;
        session::start_of(&*home.journal(), &id)?;
        let run = standing::fold(&home, &id)?;
        let mut units = subtasks(&run);
        units.extend(rows(&*home.journal(), &run)?);
        units
    };
    if units.is_empty() {
        return Err(Failure::usage(format!("nothing failed in run {id}")));
    }
    resume::go_on(&id, &args.how, vec![Fact::RetryFailed(units)])
}

/// Failed subtasks, and what was skipped because of them, each after what it hangs on.
fn subtasks(run: &Run) -> Vec<Unit> {
    let tasks = &run.state().tasks;
    let mut again: HashSet<u32> = HashSet::new();
    let mut order = Vec::new();
    let mut pending: Vec<u32> = Vec::new();
    for (i, task) in (0_u32..).zip(tasks) {
        match task.status {
            Some(SubtaskStatus::Failed) if task.rows.ended() == 0 => {
                again.insert(i);
                order.push(i);
            }
            Some(SubtaskStatus::Skipped) => pending.push(i),
            _ => {}
        }
    }
    // Skipped by its own `when`, a subtask stays skipped: it hangs on nothing that is tried again.
    loop {
        let (now, later): (Vec<u32>, Vec<u32>) = pending.iter().partition(|&&i| {
            let deps = &tasks[i as usize].deps;
            let waits = deps.iter().any(|d| pending.contains(d) && !again.contains(d) && hangs_on(tasks, *d, &again));
            deps.iter().any(|d| again.contains(d)) && !waits
        });
        if now.is_empty() {
            break;
        }
        again.extend(&now);
        order.extend(now);
        pending = later;
    }
    order.into_iter().map(|i| Unit { subtask: tasks[i as usize].spec.id.clone(), row: None }).collect()
}

fn hangs_on(tasks: &[brigade_kernel::run::Task], task: u32, again: &HashSet<u32>) -> bool {
    tasks[task as usize].deps.iter().any(|d| again.contains(d))
}

/// Rows whose last word is a failure.
fn rows(journal: &dyn Journal, run: &Run) -> Result<Vec<Unit>, Failure> {
    let id = run.state().run();
    let mut failed: Vec<Unit> = Vec::new();
    if run.state().tasks.iter().all(|t| t.rows.failed == 0) {
        return Ok(failed);
    }
    let mut from = (0, 0);
    loop {
        let page = journal.read_keyed(&events_of(id), from, PAGE)?;
        let Some(last) = page.last() else { return Ok(failed) };
        from = (last.key.unwrap_or_default(), last.seq + 1);
        for stored in page {
            let Event::SubtaskEnded { unit, status, .. } = decode(id, stored.seq, &stored.bytes)?.event else { continue };
            // The same unit tried twice stands side by side: the last word counts.
            failed.pop_if(|last| *last == unit);
            if status == SubtaskStatus::Failed {
                failed.push(unit);
            }
        }
    }
}
