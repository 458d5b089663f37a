//! `brigade prune`: runs that ended long ago are removed. What can still be resumed stays.

use std::io::Write as _;

use brigade_kernel::plan::parse_span;
use brigade_kernel::view::{count, rfc3339};
use brigade_runtime::{Clock, record};

use crate::exit::{Exit, Failure};
use crate::wiring;

/// Remove runs that ended longer ago than this.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// 30d, 12h, 90m
    #[arg(long, value_name = "AGE")]
    older_than: String,
}

/// Does it.
///
/// # Errors
/// Exit 2 for an age that is none.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let age = parse_span(&args.older_than)
        .ok_or_else(|| Failure::usage(format!("--older-than {:?} is not a span: write it like 30d, 12h or 90m", args.older_than)))?;
    let home = wiring::open_home(&wiring::env())?;
    let now = Clock::start().now();
    let journal = home.journal();
    let mut out = std::io::stdout();
    let mut removed = 0;
    for (id, _) in home.runs()? {
        if !record::is_over(&*journal, &id).unwrap_or(false) {
            continue;
        }
        let Some(last) = record::last_event(&*journal, &id)? else { continue };
        if (now - last.stamped.at) < age {
            continue;
        }
        // Somebody retries or applies it right now: it is not forgotten work.
        let Ok(lock) = home.lock(&id) else { continue };
        home.forget(&id, lock)?;
        removed += 1;
        let _ = writeln!(out, "removed {id} (ended {})", rfc3339(last.stamped.at));
    }
    if removed > 0 {
        journal.compact().wait()?;
    }
    let _ = writeln!(std::io::stderr(), "{} removed", count(removed, "run", "runs"));
    Ok(Exit::Done)
}
