//! SPEAKS TERMINAL: one file per command, wiring, exit codes. Decides nothing that a run's future hangs on.
//!
//! Read first: [`commands::run`] for the way of a request, [`wiring`] for how the parts meet.

pub mod commands;
pub mod config;
pub mod exit;
mod notify;
pub mod offline;
pub mod pricing;
pub mod screen;
pub mod session;
pub mod standing;
pub mod wiring;

use std::ffi::OsString;
use std::io::Write as _;

use clap::Parser;
use clap::error::ErrorKind;

use crate::commands::Verb;
use crate::exit::Exit;

/// A flagship plans, small models work, checks decide: tiered-model work with budgets and a journal.
#[derive(Debug, Parser)]
#[command(name = "brigade", version, propagate_version = false, arg_required_else_help = true, after_help = commands::later::HELP)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

/// Parses, does, and says how it went.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let parsed = match Arguments::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are answers, not faults.
            let answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            return if answer { Exit::Done } else { Exit::Usage };
        }
    };
    match parsed.verb.perform() {
        Ok(exit) => exit,
        Err(failure) => {
            for line in failure.message.lines() {
                let line = brigade_tools::escape_for_screen(line);
                // A closed stderr leaves nobody to tell.
                let _ = writeln!(std::io::stderr(), "brigade: {line}");
            }
            failure.exit
        }
    }
}
