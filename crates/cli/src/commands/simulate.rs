//! `brigade simulate`: a plan played through on a virtual clock; no model is called.

use std::path::PathBuf;

use brigade_kernel::call::Service;
use brigade_kernel::catalog::{self, Catalog, Day};
use brigade_kernel::plan::{Plan, Subtask};
use brigade_kernel::policy::{Policy, Slots};
use brigade_kernel::route;
use brigade_kernel::schedule;
use brigade_kernel::units::NanoUsd;
use brigade_kernel::usage::Usage;
use brigade_kernel::view;
use serde_json::{Map, Value, json};

use crate::exit::{Exit, Failure};
use crate::{screen, wiring};

/// Mean tokens of the 4,159 recorded calls in data/taskgraphs (schedules.jsonl.gz), all tiers together.
const CALL_INPUT_TOKENS: u64 = 456;
const CALL_OUTPUT_TOKENS: u64 = 169;

/// Play a plan through on a virtual clock.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The plan (TOML or JSON; `-` reads standard input); `simulate_ms` is a subtask's duration
    plan: PathBuf,
    /// Attempts at once [default: limits.max_concurrent_subagents; without a number there, no limit]
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
    let (config, catalog) = wiring::configure(&[], &env, None)?;
    let mcp = wiring::mcp(&config, &env, super::plan::here().as_deref())?;
    let plan = super::plan::valid(&args.plan, &config.policy, &mcp)?;
    let today = Day::of(brigade_runtime::Clock::start().now());
    let spent = calls(&plan, &config.policy, &catalog, today)?;
    let workers = match (args.workers, config.policy.limits.max_concurrent_subagents) {
        (Some(n), _) | (None, Slots::At(n)) => n as usize,
        (None, Slots::Auto) => plan.subtasks.len(),
    };
    let times = schedule::simulate(&plan, workers, schedule::estimate);
    if args.json {
        let tiers: Map<String, Value> = spent.per_tier.into_iter().map(|(tier, n)| (tier, n.into())).collect();
        screen::print(&screen::json_line(&json!({
            "makespan_ms": times.makespan_ms,
            "critical_path_ms": times.critical_path_ms,
            "work_ms": times.work_ms,
            "lower_bound_ms": times.lower_bound_ms,
            "cost_usd": view::usd(spent.cost),
            "calls_per_tier": tiers,
        })));
        return Ok(Exit::Done);
    }
    let seconds = |ms: u64| format!("{}.{:03} s", ms / 1_000, ms % 1_000);
    let tiers: Vec<String> = spent.per_tier.iter().map(|(tier, n)| format!("{tier} {n}")).collect();
    let rows = [
        ("workers", workers.to_string()),
        ("makespan", seconds(times.makespan_ms)),
        ("critical path", seconds(times.critical_path_ms)),
        ("work", seconds(times.work_ms)),
        ("lower bound", seconds(times.lower_bound_ms)),
        ("cost (estimated)", spent.cost.to_string()),
        ("calls", tiers.join(", ")),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    screen::print(&screen::table(&["", "simulated"], &rows, &[]));
    Ok(Exit::Done)
}

/// What a plan's calls come to.
#[derive(Debug)]
pub(crate) struct Calls {
    /// All of them.
    pub cost: NanoUsd,
    /// In the order of the ladder, rungs without a call included.
    pub per_tier: Vec<(String, u64)>,
}

/// Every subtask is one call on its start tier that passes at once; a `for_each` subtask is one row.
///
/// A call is estimated at the mean of recorded calls, plus the subtask's own text (four bytes to a token) and one mean
/// answer for each dependency; the planner and the review are not in it. It is a guess to compare plans by, no promise.
pub(crate) fn calls(plan: &Plan, policy: &Policy, catalog: &Catalog, today: Day) -> Result<Calls, Failure> {
    let mut per_tier: Vec<(String, u64)> = policy.ladder.iter().map(|tier| (tier.to_string(), 0)).collect();
    let mut cost = NanoUsd::ZERO;
    for subtask in &plan.subtasks {
        let tokens = usage(subtask);
        let mut facts = route::Facts::of(subtask);
        facts.input_tokens = tokens.input_tokens - CALL_INPUT_TOKENS;
        let route = route::start(&facts, policy).map_err(|stuck| Failure::usage(format!("subtask {}: {stuck}", subtask.id)))?;
        let found = catalog.lookup(&route.model, today).map_err(|refusal| Failure::usage(refusal.to_string()))?;
        cost += catalog::cost(found.price, &tokens, Service::Default);
        match per_tier.iter_mut().find(|(tier, _)| tier == route.tier.as_str()) {
            Some((_, n)) => *n += 1,
            None => per_tier.push((route.tier.to_string(), 1)),
        }
    }
    Ok(Calls { cost, per_tier })
}

fn usage(subtask: &Subtask) -> Usage {
    let own = (subtask.description.len() + subtask.output_format.len()) / 4;
    let input_tokens = CALL_INPUT_TOKENS + own as u64 + CALL_OUTPUT_TOKENS * subtask.depends_on.len() as u64;
    Usage { input_tokens, output_tokens: CALL_OUTPUT_TOKENS, ..Usage::default() }
}
