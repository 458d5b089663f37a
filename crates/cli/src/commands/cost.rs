//! `brigade cost`: where the money of all runs went, by tier, type, day, run or pipeline. A fold of their events.

use std::collections::BTreeMap;
use std::io::Write as _;

use brigade_kernel::catalog::Day;
use brigade_kernel::ids::RunId;
use brigade_kernel::plan::parse_span;
use brigade_kernel::time::Timestamp;
use brigade_kernel::view::cost::Spent;
use brigade_kernel::view::history::{Cell, Digest, Stats};
use brigade_kernel::view::{count, usd};
use brigade_runtime::{Clock, history};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::screen::seen::against_flagship;
use crate::screen::{self, Column, Table};
use crate::wiring;

/// What the numbers stand for.
const WHAT: &str = "\
Every call of every run in the home counts on the day it ended (UTC). `all flagship` is what the same tokens would have cost
on the flagship: computed, not measured. Runs with scripted models are shown apart, for nothing of them was paid.
Runs that were forgotten or pruned are not in it.";

/// Show what was spent, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = WHAT)]
pub struct Args {
    /// What stands together in a line
    #[arg(long, value_enum, default_value_t = By::Tier)]
    by: By,
    /// Only what is younger than this, by whole days: 7d, 36h
    #[arg(long, value_name = "AGE")]
    since: Option<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// What stands together in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    Tier,
    /// The type of a subtask; planner and reviewer stand by themselves
    Type,
    Day,
    Run,
    /// The name of the plan
    Pipeline,
}

impl By {
    fn word(self) -> &'static str {
        match self {
            Self::Tier => "tier",
            Self::Type => "type",
            Self::Day => "day",
            Self::Run => "run",
            Self::Pipeline => "pipeline",
        }
    }

    /// Where a cell of a run belongs; `None`: it has none.
    fn name(self, run: &RunId, digest: &Digest, cell: &Cell) -> Option<String> {
        match self {
            Self::Tier => cell.tier.as_ref().map(ToString::to_string),
            Self::Type => Some(cell.who.as_str().to_owned()),
            Self::Day => Some(cell.day.to_string()),
            Self::Run => Some(run.to_string()),
            Self::Pipeline => digest.pipeline.clone(),
        }
    }
}

/// Lines and their sum.
#[derive(Debug, Default)]
struct Account {
    runs: u64,
    lines: BTreeMap<Option<String>, Stats>,
    total: Stats,
}

impl Account {
    fn add(&mut self, by: By, since: Option<Day>, run: &RunId, digest: &Digest) {
        let before = self.total.clone();
        for (cell, stats) in digest.cells.iter().filter(|(cell, _)| since.is_none_or(|day| cell.day >= day)) {
            self.lines.entry(by.name(run, digest, cell)).or_default().add(stats);
            self.total.add(stats);
        }
        self.runs += u64::from(self.total != before);
    }

    /// Days and runs in their order, newest last; the rest dearest first. What belongs nowhere stands last.
    fn ordered(&self, by: By) -> Vec<(&Option<String>, &Stats)> {
        let mut lines: Vec<_> = self.lines.iter().filter(|(_, stats)| **stats != Stats::default()).collect();
        if !matches!(by, By::Day | By::Run) {
            lines.sort_by_key(|(name, stats)| (name.is_none(), std::cmp::Reverse(stats.cost)));
        }
        lines
    }
}

/// Does it.
///
/// # Errors
/// When the home cannot be read.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let since = args.since.as_deref().map(from).transpose()?;
    let home = wiring::open_home(&wiring::env())?;
    let (mut paid, mut scripted) = (Account::default(), Account::default());
    let unread = history::digests(&home, |run, digest| {
        let account = if digest.offline { &mut scripted } else { &mut paid };
        account.add(args.by, since, run, &digest);
    })?;
    for why in unread {
        let _ = writeln!(std::io::stderr(), "brigade: left out: {}", brigade_tools::escape_for_screen(&why));
    }
    if args.json {
        let mut all = object(args.by, &paid);
        all["by"] = args.by.word().into();
        all["since"] = since.map(|day| day.to_string()).into();
        all["offline"] = if scripted.runs > 0 { object(args.by, &scripted) } else { Value::Null };
        screen::print(&screen::json_line(&all));
        return Ok(Exit::Done);
    }
    if paid.runs > 0 {
        screen::print(&shown(args.by, &paid));
    }
    if scripted.runs > 0 {
        let gap = if paid.runs > 0 { "\n" } else { "" };
        screen::print(&format!("{gap}offline: scripted models, nothing of this was paid\n{}", shown(args.by, &scripted)));
    }
    if paid.runs + scripted.runs == 0 {
        let _ = writeln!(std::io::stderr(), "nothing was spent{}", if since.is_some() { " since then" } else { " yet" });
    }
    Ok(Exit::Done)
}

/// The day from which on something counts.
fn from(age: &str) -> Result<Day, Failure> {
    let span = parse_span(age).ok_or_else(|| Failure::usage(format!("--since {age:?} is not a span: write it like 7d, 36h or 90m")))?;
    Ok(Day::of(Timestamp(Clock::start().now().0.saturating_sub(span.0))))
}

fn shown(by: By, account: &Account) -> String {
    let quota = !account.total.units.is_zero();
    let mut columns = vec![
        (by.word(), Column::Text(40)),
        ("calls", Column::Number),
        ("input", Column::Number),
        ("cached", Column::Number),
        ("output", Column::Number),
        ("cost", Column::Number),
        ("all flagship", Column::Number),
        ("saved", Column::Number),
        ("accepted", Column::Number),
        ("escalated", Column::Number),
    ];
    if quota {
        columns.push(("units", Column::Number));
    }
    let mut table = Table::new(&columns);
    for (name, stats) in account.ordered(by) {
        let percent = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0));
        let mut cells = vec![
            name.clone().unwrap_or_else(|| "–".to_owned()),
            stats.calls.to_string(),
            stats.tokens.input_tokens.to_string(),
            percent(stats.cached_share()),
            stats.tokens.output_tokens.to_string(),
            stats.cost.to_string(),
            stats.all_flagship.to_string(),
            percent(stats.saving()),
            stats.accepted.to_string(),
            stats.escalated.to_string(),
        ];
        if quota {
            cells.push(stats.units.to_string());
        }
        table.row(cells);
    }
    let total = Spent { cost: account.total.cost, all_flagship: account.total.all_flagship, ..Spent::default() };
    let runs = count(account.runs, "run", "runs");
    format!("{}\n{runs}, {} accepted; {}\n", table.shown(), account.total.accepted, against_flagship(&total))
}

fn object(by: By, account: &Account) -> Value {
    let line = |(name, stats): (&Option<String>, &Stats)| {
        let mut line = sums(stats);
        line[by.word()] = name.clone().into();
        line
    };
    let lines: Vec<Value> = account.ordered(by).into_iter().map(line).collect();
    json!({ "runs": account.runs, "lines": lines, "total": sums(&account.total) })
}

fn sums(stats: &Stats) -> Value {
    let tokens = stats.tokens;
    json!({
        "calls": stats.calls, "input_tokens": tokens.input_tokens, "cached_tokens": tokens.cached_tokens,
        "cache_write_tokens": tokens.cache_write_tokens, "output_tokens": tokens.output_tokens,
        "reasoning_tokens": tokens.reasoning_tokens, "cached_rate": stats.cached_share(), "quota_units": f64::from(stats.units),
        "cost_usd": usd(stats.cost), "all_flagship_cost_usd": usd(stats.all_flagship), "all_flagship_basis": "computed",
        "saving": stats.saving(), "all_flagship_quota_units": f64::from(stats.all_flagship_units), "accepted": stats.accepted, "failed": stats.failed, "reused": stats.reused,
        "attempts": stats.attempts, "escalations": stats.escalated, "passed_at_first": stats.pass_rate(),
        "latency_ms": { "p50": stats.latency_ms.quantile(50), "p95": stats.latency_ms.quantile(95) },
    })
}
