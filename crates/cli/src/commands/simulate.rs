//! `brigade simulate`: a plan played through on a virtual clock; no model is called.

mod quota;

use std::path::PathBuf;
use std::sync::Arc;

use brigade_kernel::catalog::Catalog;
use brigade_kernel::plan::Plan;
use brigade_kernel::policy::{Policy, Setting, Settings, Slots};
use brigade_kernel::run::{self, Simulated, Weighed};
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
excerpts of files; output at the mean of recorded calls.
With [quota] configured, or --window and --units, the plan is also played within those windows, empty at its start.";

/// Play a plan through on a virtual clock.
#[derive(Debug, clap::Args)]
#[command(after_help = WHAT)]
pub struct Args {
    /// The plan (TOML or JSON; `-` reads standard input); `simulate_ms` is a subtask's duration
    plan: PathBuf,
    /// Attempts at once [default: limits.max_concurrent_subagents, 1024 if that is "auto"]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    workers: Option<u32>,
    /// Play it within a quota window of this length, too
    #[arg(long, value_name = "SPAN", requires = "units")]
    window: Option<String>,
    /// Units that the window holds
    #[arg(long, value_name = "N", requires = "window")]
    units: Option<String>,
    /// What a call of a tier weighs
    #[arg(long, value_name = "TIER=W")]
    weight: Vec<String>,
    /// As if every call asked for priority service: it weighs twice
    #[arg(long)]
    fast: bool,
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
    config.policy = args.quota(config.policy)?;
    let mcp = wiring::mcp(&config, &env, super::plan::here().as_deref())?;
    let (plan, _) = super::plan::valid(&args.plan, &config.policy, &mcp)?;
    wiring::check_sight(&plan, &config.policy, &catalog, &mcp)?;
    let catalog = Arc::new(catalog);
    let played = play(&plan, &config.policy, catalog.clone(), &mcp)?;
    let weighed = match config.policy.quota.is_empty() && !args.fast {
        true => None,
        false => Some(weigh(&plan, &config.policy, args.fast, catalog, &mcp)?),
    };
    if args.json {
        let tiers: Map<String, Value> = played.calls_per_tier.into_iter().map(|(tier, n)| (tier.to_string(), n.into())).collect();
        let mut object = json!({
            "makespan_ms": played.makespan_ms,
            "critical_path_ms": played.critical_path_ms,
            "work_ms": played.work_ms,
            "lower_bound_ms": played.lower_bound_ms,
            "cost_usd": view::usd(played.cost_usd),
            "calls_per_tier": tiers,
        });
        if let Some(weighed) = &weighed {
            object["quota"] = quota::json(weighed, &config.policy);
        }
        screen::print(&screen::json_line(&object));
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
    if let Some(weighed) = &weighed {
        screen::print(&quota::shown(weighed, &config.policy));
    }
    Ok(Exit::Done)
}

impl Args {
    /// The policy with the windows and weights of the flags in place of the configured ones.
    fn quota(&self, policy: Policy) -> Result<Policy, Failure> {
        let mut given = Settings::default();
        let mut set = |flag: &str, key: &str, value: &str| {
            given.set(key, &Setting::from(value)).map(drop).map_err(|fault| Failure::usage(format!("{flag}: {fault}")))
        };
        for (flag, key, value) in [("--window", "quota.window", &self.window), ("--units", "quota.units", &self.units)] {
            if let Some(value) = value {
                set(flag, key, value)?;
            }
        }
        for weight in &self.weight {
            let (tier, weight) =
                weight.split_once('=').ok_or_else(|| Failure::usage(format!("--weight {weight:?}: use TIER=W, e.g. mini=0.3")))?;
            set("--weight", &format!("quota.weights.{tier}"), weight)?;
        }
        given.over(policy).map_err(|fault| Failure::usage(fault.to_string()))
    }
}

fn weigh(plan: &Plan, policy: &Policy, fast: bool, catalog: Arc<Catalog>, mcp: &Mcp) -> Result<Weighed, Failure> {
    let now = brigade_runtime::Clock::start().now();
    run::weigh(plan, policy, fast, catalog, mcp.specs().into(), now).map_err(Failure::usage)
}

/// The run played through with the tools and prices of today.
///
/// # Errors
/// Exit 2 when the plan cannot be worked off to its end, with the reason.
pub(crate) fn play(plan: &Plan, policy: &Policy, catalog: Arc<Catalog>, mcp: &Mcp) -> Result<Simulated, Failure> {
    let now = brigade_runtime::Clock::start().now();
    run::simulate(plan, policy, catalog, mcp.specs().into(), now).map_err(Failure::usage)
}
