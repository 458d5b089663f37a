//! The verbs: one file each, with its arguments and one function.

pub mod answer;
pub mod apply;
pub mod attach;
pub mod cancel;
pub mod forget;
pub mod inbox;
pub mod prune;
pub mod ps;
pub mod resume;
pub mod retry;
pub mod run;
pub mod show;
pub mod tell;

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
    /// List runs, newest first
    Ps(ps::Args),
    /// Look closer at a run
    Show(show::Args),
    /// List what waits for a person
    Inbox(inbox::Args),
    /// Answer what waits for a person
    Answer(answer::Args),
    /// Stop a run for good
    Cancel(cancel::Args),
    /// Steer a run: its planner hears this at its next turn
    Tell(tell::Args),
    /// Follow a run of another process
    Attach(attach::Args),
    /// Try what failed again
    Retry(retry::Args),
    /// Remove a run
    Forget(forget::Args),
    /// Remove runs that ended long ago
    Prune(prune::Args),
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
            Self::Ps(args) => ps::run(&args),
            Self::Show(args) => show::run(&args),
            Self::Inbox(args) => inbox::run(&args),
            Self::Answer(args) => answer::run(&args),
            Self::Cancel(args) => cancel::run(&args),
            Self::Tell(args) => tell::run(&args),
            Self::Attach(args) => attach::run(&args),
            Self::Retry(args) => retry::run(&args),
            Self::Forget(args) => forget::run(&args),
            Self::Prune(args) => prune::run(&args),
        }
    }
}
