//! `brigade attach`: follows a run of another process, from its first event to the end of its session. Changes nothing.

use std::io::Write as _;
use std::time::Duration;

use brigade_journal::Watch;
use brigade_kernel::run::{Event, RunStatus, RunSummary};
use brigade_runtime::home::events_of;
use brigade_runtime::record;

use crate::commands::run::run_id;
use crate::exit::{Exit, Failure};
use crate::screen::{Level, Progress};
use crate::{session, wiring};

/// How often the journal is glanced at.
const EVERY: Duration = Duration::from_millis(100);

/// Follow a run of another process; Ctrl-C only detaches.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run
    run: String,
    /// One event per line on standard output
    #[arg(long)]
    json: bool,
    /// Every attempt and check
    #[arg(short)]
    verbose: bool,
}

/// Does it: its exit code is the run's.
///
/// # Errors
/// Exit 2 when there is no such run.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let home = wiring::open_home(&wiring::env())?;
    let journal = home.journal();
    let id = run_id(&args.run)?;
    session::start_of(&*journal, &id)?;
    let level = match (args.json, args.verbose) {
        (true, _) => Level::Silent,
        (_, true) => Level::Verbose,
        _ => Level::Normal,
    };
    let mut progress = Progress::new(level);
    let mut watch = Watch::new(events_of(&id), 0);
    let (mut seen, mut stands): (u64, Option<(RunSummary, bool)>) = (0, None);
    loop {
        // Asked before reading: an engine that has gone has written all it had to write.
        let worked = home.engine_of(&id).is_some();
        let grown = watch.poll(&*journal)?.is_some();
        if grown {
            seen = record::events(&*journal, &id, seen + 1, |recorded| {
                if args.json {
                    session::print_public(&id, &recorded);
                }
                match &recorded.stamped.event {
                    Event::RunPaused(summary) => stands = Some((summary.clone(), false)),
                    Event::RunEnded(summary) => stands = Some((summary.clone(), true)),
                    Event::RunResumed {} => stands = None,
                    _ => {}
                }
                progress.saw(&recorded);
            })?;
            if seen == 0 {
                return Err(Failure::usage(format!("run {id} was removed")));
            }
        }
        if !worked && !grown {
            progress.close();
            return end(args, &id, stands);
        }
        if !grown {
            std::thread::sleep(EVERY);
        }
    }
}

fn end(args: &Args, id: &brigade_kernel::ids::RunId, stands: Option<(RunSummary, bool)>) -> Result<Exit, Failure> {
    let mut err = std::io::stderr();
    let Some((summary, over)) = stands else {
        let _ = writeln!(err, "nobody works on run {id} any more; go on with: brigade resume {id}");
        return Ok(Exit::Interrupted);
    };
    if !args.json {
        if summary.status == RunStatus::Completed {
            let _ = writeln!(std::io::stdout(), "{}", brigade_tools::escape_for_screen(summary.output.trim_end()));
        } else {
            let _ = writeln!(err, "{}", brigade_tools::escape_for_screen(&summary.output));
        }
        let _ = writeln!(err, "spent {}; look closer: brigade show {id}", summary.cost_usd);
    }
    Ok(Exit::of(&summary, !over))
}
