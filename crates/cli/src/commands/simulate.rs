//! `brigade simulate`: a plan played through on a virtual clock; no model is called.

use std::path::PathBuf;
use std::sync::Arc;

use brigade_kernel::catalog::Catalog;
use brigade_kernel::plan::Plan;
use brigade_kernel::policy::{Policy, Slots};
use brigade_kernel::run::{self, Simulated};
use brigade_kernel::time::Millis;
use brigade_kernel::view;
use brigade_runtime::Mcp;
use serde_json::{Map, Value, json};

use crate::exit::{Exit, Failure};
use crate::screen::{Column, Table};
use crate::{screen, wiring};

/// What the numbers stand for.
const WHAT: &str = "\
The run itself is driven, with your tiers, routes and slots: every call succeeds at once, a subtask is one call
and a for_each subtask one row. Times, cost and calls are those of the plan's subtasks; planner and review are not
in them, nor is what reasoning (effort) adds to an answer. Input is priced as the prompts are packed, without
excerpts of files; output at the mean of recorded calls.";

/// Play a plan through on a virtual clock.
#[derive(Debug, clap::Args)]
#[command(after_help = WHAT)]
pub struct Args {
    /// The plan (TOML or JSON; `-` reads standard input); `simulate_ms` is a subtask's duration
    plan: PathBuf,
    /// Attempts at once [default: limits.max_concurrent_subagents, 1024 if that is "auto"]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    workers: Option<u32>,
    /// Many runs on many machines (not supported yet)
    #[arg(long)]
    fleet: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Does it.
///
/// # Errors
/// Exit 2 with every fault of the plan.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    if args.fleet {
        return Err(Failure::usage("not supported yet: simulate --fleet"));
    }
    let env = wiring::env();
    let (mut config, catalog) = wiring::configure(&[], &env, None)?;
    if let Some(workers) = args.workers {
        config.policy.limits.max_concurrent_subagents = Slots::At(workers);
    }
    let mcp = wiring::mcp(&config, &env, super::plan::here().as_deref())?;
    let (plan, _) = super::plan::valid(&args.plan, &config.policy, &mcp)?;
    wiring::check_sight(&plan, &config.policy, &catalog, &mcp)?;
    let played = play(&plan, &config.policy, Arc::new(catalog), &mcp)?;
    if args.json {
        let tiers: Map<String, Value> = played.calls_per_tier.into_iter().map(|(tier, n)| (tier.to_string(), n.into())).collect();
        screen::print(&screen::json_line(&json!({
            "makespan_ms": played.makespan_ms,
            "critical_path_ms": played.critical_path_ms,
            "work_ms": played.work_ms,
            "lower_bound_ms": played.lower_bound_ms,
            "cost_usd": view::usd(played.cost_usd),
            "calls_per_tier": tiers,
        })));
        return Ok(Exit::Done);
    }
    let seconds = |ms: Millis| format!("{}.{:03} s", ms.0 / 1_000, ms.0 % 1_000);
    let tiers: Vec<String> = played.calls_per_tier.iter().map(|(tier, n)| format!("{tier} {n}")).collect();
    let rows = [
        ("workers", config.policy.limits.max_concurrent_subagents.most().to_string()),
        ("makespan", seconds(played.makespan_ms)),
        ("critical path", seconds(played.critical_path_ms)),
        ("work", seconds(played.work_ms)),
        ("lower bound", seconds(played.lower_bound_ms)),
        ("cost (estimated)", played.cost_usd.to_string()),
        ("calls", tiers.join(", ")),
    ];
    let mut table = Table::new(&[("", Column::Whole), ("simulated", Column::Whole)]);
    rows.into_iter().for_each(|(name, value)| table.row([name.to_owned(), value]));
    screen::print(&table.shown());
    Ok(Exit::Done)
}

/// The run played through with the tools and prices of today.
///
/// # Errors
/// Exit 2 when the plan cannot be worked off to its end, with the reason.
pub(crate) fn play(plan: &Plan, policy: &Policy, catalog: Arc<Catalog>, mcp: &Mcp) -> Result<Simulated, Failure> {
    let now = brigade_runtime::Clock::start().now();
    run::simulate(plan, policy, catalog, mcp.specs().into(), now).map_err(Failure::usage)
}
