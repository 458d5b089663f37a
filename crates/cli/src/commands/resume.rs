//! `brigade resume`: a run that stands still goes on where it stopped; nothing finished is paid again.

use brigade_kernel::budget::parse_usd_cap;
use brigade_kernel::catalog::Day;
use brigade_kernel::ids::RunId;
use brigade_kernel::run::Fact;

use crate::commands::run::run_id;
use crate::config::Flag;
use crate::exit::{Exit, Failure};
use crate::session::{self, Output};
use crate::wiring;

/// Go on with a run that stands still.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run
    #[arg(required_unless_present = "last", conflicts_with = "last")]
    run: Option<String>,
    /// The run that was started last
    #[arg(long)]
    last: bool,
    #[command(flatten)]
    how: How,
}

/// What both `resume` and `retry` can be told.
#[derive(Debug, clap::Args)]
pub struct How {
    /// Raise (or lower) the run's cap to this
    #[arg(long, value_name = "USD")]
    max_budget_usd: Option<String>,
    /// Sit out a quota window: go on by itself when it opens
    #[arg(long)]
    wait: bool,
    /// One event per line on standard output
    #[arg(long)]
    json: bool,
    /// Write the result (rows as JSONL) to this file
    #[arg(short, value_name = "FILE")]
    output: Option<std::path::PathBuf>,
    /// Only the result
    #[arg(short, conflicts_with = "verbose")]
    quiet: bool,
    /// Every attempt and check
    #[arg(short)]
    verbose: bool,
}

/// Does it.
///
/// # Errors
/// What to say, and the exit code.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let id = match &args.run {
        Some(id) => run_id(id)?,
        None => session::last_run(&*wiring::open_home(&wiring::env())?.journal())?.ok_or_else(|| Failure::usage("there is no run yet"))?,
    };
    go_on(&id, &args.how, Vec::new())
}

/// Works a run in the foreground from where it stands; `facts` are taken in first.
///
/// # Errors
/// What to say, and the exit code.
pub fn go_on(id: &RunId, how: &How, mut facts: Vec<Fact>) -> Result<Exit, Failure> {
    let mut env = wiring::env();
    let home = wiring::open_home(&env)?;
    let start = session::start_of(&*home.journal(), id)?;
    drop(home);
    let example = match &start.offline {
        Some(name) => Some(crate::offline::reopen(name, &wiring::home_dir(&env)?, id)?),
        None => None,
    };
    if let Some(example) = &example {
        example.key(&mut env);
    }
    let mut flags = Vec::new();
    let cap = match &how.max_budget_usd {
        Some(value) => {
            let cap = parse_usd_cap("--max-budget-usd", value).map_err(|e| Failure::usage(e.to_string()))?;
            flags.push(Flag { name: "--max-budget-usd", key: "budget.run_usd", value: value.clone() });
            facts.push(Fact::CapRaised(cap));
            Some(cap)
        }
        None => None,
    };
    if how.wait {
        facts.insert(0, Fact::WaitAsked);
    }
    let workspace = std::path::PathBuf::from(&start.workspace);
    let (mut config, catalog) = wiring::configure(&flags, &env, Some(&workspace).filter(|_| example.is_none()).map(|p| &**p))?;
    if let Some(example) = &example {
        example.capture(&mut config, &mut env);
    }
    wiring::check_models(&config, &catalog, &env, Day::of(brigade_runtime::Clock::start().now()))?;
    if !start.images.is_empty() {
        wiring::check_planner_sees(&config.policy, &catalog)?;
    }
    // The run keeps the cap it was given unless a new one is.
    config.policy.budget.run_usd = cap.unwrap_or(start.policy.budget.run_usd);
    // Nor does it get faster, or less so.
    config.policy.service.fast = start.policy.service.fast;
    let policy = config.policy.clone();
    let notices = config.notices.clone();
    let notify = config.notify.clone();
    let mcp = wiring::mcp(&config, &env, Some(&workspace).filter(|_| example.is_none()).map(|p| &**p))?;
    let shared = wiring::shared(&config, catalog, &env, mcp)?;
    let output =
        Output { json: how.json, quiet: how.quiet, verbose: how.verbose, file: how.output.clone(), ask_to_apply: false, notices, notify };
    session::drive(&shared, |show| shared.resume(id, Some(policy), facts, show), &output)
}
