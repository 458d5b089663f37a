//! The verbs: one file each, with its arguments and one function.

pub mod answer;
pub mod apply;
pub mod attach;
pub mod cache;
pub mod cancel;
pub mod completions;
pub mod config;
pub mod cost;
pub mod decode;
pub mod doctor;
pub mod emulate;
pub mod forget;
pub mod inbox;
pub mod init;
pub mod later;
pub mod mcp;
pub mod models;
pub mod plan;
pub mod prune;
pub mod ps;
pub mod quota;
pub mod resume;
pub mod retry;
pub mod run;
pub mod show;
pub mod simulate;
pub mod tell;
pub mod tool;
pub mod trust;
pub mod undo;

use std::ffi::OsString;

use clap::Subcommand;

use crate::exit::{Exit, Failure};

/// What brigade can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Plan a request, work it off, review the result
    Run(Box<run::Args>),
    /// Write a finished run's patch to the workspace
    Apply(apply::Args),
    /// Take a run's applied patch back out of the workspace
    Undo(undo::Args),
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
    /// Show what was spent, and where
    Cost(cost::Args),
    /// Follow a run of another process
    Attach(attach::Args),
    /// Try what failed again
    Retry(retry::Args),
    /// Remove a run
    Forget(forget::Args),
    /// Remove runs that ended long ago
    Prune(prune::Args),
    /// List the results kept for equal work, or forget some
    Cache(cache::Args),
    /// Ask for a plan without running it, or judge a plan file
    Plan(plan::Args),
    /// Play a plan through on a virtual clock
    Simulate(simulate::Args),
    /// Show what is left of every quota window
    Quota(quota::Args),
    /// Serve a scripted model API
    Emulate(emulate::Args),
    /// Decode a recorded answer of a model API
    Decode(decode::Args),
    /// List the built-in tools, or call one
    Tool(tool::Args),
    /// List MCP servers, or trust one as it is
    Mcp(mcp::Args),
    /// Trust a workspace's instructions and settings as they are
    Trust(trust::Args),
    /// Show tiers and models: windows, prices, dates
    Models(models::Args),
    /// Show the effective configuration
    Config(config::Args),
    /// Write a commented config.toml, unless there is one
    Init(init::Args),
    /// Say what works, what is missing, and how to mend it
    Doctor(doctor::Args),
    /// Print completions for a shell
    Completions(completions::Args),
    /// Verbs to come, and slips of the finger
    #[command(external_subcommand)]
    Other(Vec<OsString>),
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
            Self::Undo(args) => undo::run(&args),
            Self::Resume(args) => resume::run(&args),
            Self::Ps(args) => ps::run(&args),
            Self::Show(args) => show::run(&args),
            Self::Inbox(args) => inbox::run(&args),
            Self::Answer(args) => answer::run(&args),
            Self::Cancel(args) => cancel::run(&args),
            Self::Tell(args) => tell::run(&args),
            Self::Cost(args) => cost::run(&args),
            Self::Attach(args) => attach::run(&args),
            Self::Retry(args) => retry::run(&args),
            Self::Forget(args) => forget::run(&args),
            Self::Prune(args) => prune::run(&args),
            Self::Cache(args) => cache::run(&args),
            Self::Plan(args) => plan::run(&args),
            Self::Simulate(args) => simulate::run(&args),
            Self::Quota(args) => quota::run(&args),
            Self::Emulate(args) => emulate::run(&args),
            Self::Decode(args) => decode::run(&args),
            Self::Tool(args) => tool::run(&args),
            Self::Mcp(args) => mcp::run(&args),
            Self::Trust(args) => trust::run(&args),
            Self::Models(args) => models::run(&args),
            Self::Config(args) => config::run(&args),
            Self::Init(args) => init::run(&args),
            Self::Doctor(args) => doctor::run(&args),
            Self::Completions(args) => completions::run(&args),
            Self::Other(words) => Err(later::refuse(&words)),
        }
    }
}
