//! `brigade cancel`: a run is stopped for good; what it finished stays on record.

use std::io::Write as _;
use std::time::{Duration, Instant};

use brigade_kernel::run::{Phase, Run};
use brigade_runtime::commands::{Command, Delivered, deliver};
use brigade_runtime::record;

use crate::commands::run::run_id;
use crate::exit::{Exit, Failure};
use crate::{session, wiring};

/// How long a running engine is given to end before we leave it to it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Stop a run for good.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run
    run: String,
}

/// Does it.
///
/// # Errors
/// Exit 2 when there is no such run or it is over.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let home = wiring::open_home(&wiring::env())?;
    let id = run_id(&args.run)?;
    session::start_of(&*home.journal(), &id)?;
    let mut out = std::io::stdout();
    if let Delivered::ToEngine(pid) = deliver(&home, &id, vec![Command::Cancel], not_over)? {
        let since = Instant::now();
        while !record::is_over(&*home.journal(), &id)? {
            if since.elapsed() > PATIENCE {
                let _ = writeln!(out, "process {pid} was told to cancel {id}; it ends what cannot be cut first");
                return Ok(Exit::Done);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let _ = writeln!(out, "cancelled {id}");
    Ok(Exit::Done)
}

/// Whether anything can still happen to a run.
pub fn not_over(run: &Run) -> Result<(), String> {
    let state = run.state();
    match (&state.ended, state.phase) {
        (Some(ended), Phase::Ended) => {
            let how = serde_json::to_value(ended.status).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            Err(format!("run {} is over: {how}", state.run()))
        }
        _ => Ok(()),
    }
}
