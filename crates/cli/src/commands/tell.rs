//! `brigade tell`: words for the planner of a run, heard at its next turn.

use std::io::Write as _;

use brigade_runtime::commands::{Command, Delivered, deliver};

use crate::commands::cancel::not_over;
use crate::commands::run::run_id;
use crate::exit::{Exit, Failure};
use crate::{session, wiring};

/// Longest word, in bytes.
const TEXT_LIMIT: usize = 64 << 10;

/// Steer a run: its planner hears this at its next turn.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run
    run: String,
    /// What to say
    text: String,
}

/// Does it.
///
/// # Errors
/// Exit 2 when there is no such run or it is over.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    if args.text.trim().is_empty() || args.text.len() > TEXT_LIMIT {
        return Err(Failure::usage(format!("TEXT must have 1 to {TEXT_LIMIT} bytes, it has {}", args.text.len())));
    }
    let home = wiring::open_home(&wiring::env())?;
    let id = run_id(&args.run)?;
    session::start_of(&*home.journal(), &id)?;
    let told = deliver(&home, &id, vec![Command::Tell { text: args.text.clone() }], not_over)?;
    let _ = match told {
        Delivered::ToEngine(_) => writeln!(std::io::stdout(), "told {id}"),
        Delivered::Here(_) => writeln!(std::io::stdout(), "noted for {id}; go on with: brigade resume {id}"),
    };
    Ok(Exit::Done)
}
