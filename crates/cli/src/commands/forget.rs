//! `brigade forget`: everything of one run is removed, on purpose and for good.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use brigade_journal::LockError;
use brigade_runtime::StartError;

use crate::commands::run::run_id;
use crate::exit::{Exit, Failure};
use crate::{session, wiring};

/// Remove a run: its events, patch, view and build output.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run
    run: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Does it.
///
/// # Errors
/// Exit 2 when there is no such run or an engine works on it.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let home = wiring::open_home(&wiring::env())?;
    let id = run_id(&args.run)?;
    session::start_of(&*home.journal(), &id)?;
    let lock = home.lock(&id).map_err(|e| match e {
        LockError::Held { pid, .. } => {
            Failure::usage(format!("run {id} is being worked on by process {pid}: cancel it first (brigade cancel {id})"))
        }
        other => StartError::from(other).into(),
    })?;
    if !args.yes && !agreed(&format!("Forget run {id}, its results and its patch?"))? {
        return Ok(Exit::Failed);
    }
    home.forget(&id, lock)?;
    // Until then the bytes linger in the file.
    home.journal().compact().wait()?;
    let _ = writeln!(std::io::stdout(), "forgot {id}");
    Ok(Exit::Done)
}

fn agreed(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("this cannot be undone and nobody can be asked here: add --yes"));
    }
    let mut err = std::io::stderr();
    let _ = write!(err, "{question} [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    let yes = ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str());
    if !yes {
        let _ = writeln!(err, "kept");
    }
    Ok(yes)
}
