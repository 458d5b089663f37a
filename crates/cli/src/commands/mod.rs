//! The verbs: one file each, with its arguments and one function.

pub mod apply;
pub mod completions;
pub mod config;
pub mod decode;
pub mod doctor;
pub mod emulate;
pub mod init;
pub mod later;
pub mod models;
pub mod plan;
pub mod resume;
pub mod run;
pub mod simulate;
pub mod tool;

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
    /// Go on with a run that stands still
    Resume(resume::Args),
    /// Ask for a plan without running it, or judge a plan file
    Plan(plan::Args),
    /// Play a plan through on a virtual clock
    Simulate(simulate::Args),
    /// Serve a scripted model API
    Emulate(emulate::Args),
    /// Decode a recorded answer of a model API
    Decode(decode::Args),
    /// List the built-in tools, or call one
    Tool(tool::Args),
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
            Self::Resume(args) => resume::run(&args),
            Self::Plan(args) => plan::run(&args),
            Self::Simulate(args) => simulate::run(&args),
            Self::Emulate(args) => emulate::run(&args),
            Self::Decode(args) => decode::run(&args),
            Self::Tool(args) => tool::run(&args),
            Self::Models(args) => models::run(&args),
            Self::Config(args) => config::run(&args),
            Self::Init(args) => init::run(&args),
            Self::Doctor(args) => doctor::run(&args),
            Self::Completions(args) => completions::run(&args),
            Self::Other(words) => Err(later::refuse(&words)),
        }
    }
}
