//! The verbs: one file each, with its arguments and one function.

pub mod apply;
pub mod resume;
pub mod run;

use clap::Subcommand;

use crate::exit::{Exit, Failure};

/// What brigade can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Plan a request, work it off, review the result
    Run(Box<run::Args>),
    /// Write a finished run's patch to the workspace
    Apply(apply::Args),
    /// Go on with a run that stands still
    Resume(resume::Args),
}

impl Verb {
    /// Does it.
    ///
    /// # Errors
    /// What to say on stderr, and the exit code.
    pub fn perform(self) -> Result<Exit, Failure> {
        match self {
            Self::Run(args) => run::run(*args),
            Self::Apply(args) => apply::run(&args),
            Self::Resume(args) => resume::run(&args),
        }
    }
}
