//! `brigade completions`: what a shell needs to complete our verbs and flags.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::exit::{Exit, Failure};
use crate::screen;

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Does it.
///
/// # Errors
/// Exit 1 when the script is not UTF-8, which would be a fault of ours.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Arguments::command(), "brigade", &mut script);
    let script = String::from_utf8(script).map_err(|e| Failure::failed(e.to_string()))?;
    screen::print(&script);
    Ok(Exit::Done)
}
