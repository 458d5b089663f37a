//! `brigade models`: what each tier is bound to, and what the catalog knows; nothing is asked of a provider.

use brigade_kernel::call::Service;
use brigade_kernel::catalog::{Catalog, Day, Found, Model};
use brigade_kernel::ids::ModelRef;
use brigade_kernel::policy::Policy;
use brigade_kernel::units::{NanoUsd, Rate};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::screen::{Column, Table};
use crate::{screen, wiring};

/// Show tiers and models: windows, prices, dates.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Every model of the catalog, not only those of the tiers
    #[arg(long)]
    all: bool,
    /// One JSON array on standard output
    #[arg(long)]
    json: bool,
}

/// A line: a rung's model or alternate, or a model of the catalog.
struct Line<'a> {
    tier: Option<String>,
    name: &'a ModelRef,
    row: Option<&'a Model>,
    found: Result<Found<'a>, String>,
    effort: Option<String>,
}

/// Does it.
///
/// # Errors
/// Exit 2 for a configuration that cannot be read.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let (config, catalog) = wiring::configure(&[], &wiring::env(), None)?;
    let today = Day::of(brigade_runtime::Clock::start().now());
    let mut lines = bound(&config.policy, &catalog, today);
    if args.all {
        let rest: Vec<Line<'_>> =
            catalog.models().filter(|m| !lines.iter().any(|l| *l.name == m.name)).map(|m| line(None, &m.name, &catalog, today)).collect();
        lines.extend(rest);
    }
    if args.json {
        screen::print(&screen::json_line(&lines.iter().map(as_json).collect::<Vec<_>>()));
        return Ok(Exit::Done);
    }
    let words = |heading| (heading, Column::Whole);
    let number = |heading| (heading, Column::Number);
    let [tier, model, effort, retires, since] = ["tier", "model", "effort", "retires", "priced since"].map(words);
    let [window, output, input, cached, out] = ["window", "output", "$/M in", "cached", "out"].map(number);
    let mut table = Table::new(&[tier, model, window, output, input, cached, out, effort, retires, since]);
    lines.iter().for_each(|line| table.row(cells(line)));
    screen::print(&table.shown());
    if let Some(day) = catalog.as_of() {
        screen::remark(&format!(
            "prices in dollars per million tokens, read on {day}; yours may differ: [models.\"PROVIDER/MODEL\"] in config.toml"
        ));
    }
    Ok(Exit::Done)
}

fn bound<'a>(policy: &'a Policy, catalog: &'a Catalog, today: Day) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    for tier in &policy.ladder {
        let Some(rung) = policy.tier(tier) else { continue };
        for name in std::iter::once(&rung.model).chain(&rung.alternates) {
            let mut bound = line(Some(tier.to_string()), name, catalog, today);
            bound.effort = rung.effort.and_then(|effort| word(&effort));
            lines.push(bound);
        }
    }
    lines
}

fn line<'a>(tier: Option<String>, name: &'a ModelRef, catalog: &'a Catalog, today: Day) -> Line<'a> {
    Line { tier, name, row: catalog.model(name), found: catalog.lookup(name, today).map_err(|e| e.to_string()), effort: None }
}

/// A plain enum's name.
fn word(value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

/// Dollars per million tokens, exactly.
fn dollars(rate: Rate) -> String {
    NanoUsd(rate.0.saturating_mul(1_000)).usd()
}

fn cells(line: &Line<'_>) -> Vec<String> {
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let rates = line.found.as_ref().ok().map(|found| found.price.rates(Service::Default, 0));
    let rate = |pick: fn(&brigade_kernel::catalog::Rates) -> Rate| rates.as_ref().map_or_else(|| "-".to_owned(), |r| dollars(pick(r)));
    let since = match &line.found {
        Ok(found) => found.since.to_string(),
        Err(_) if line.row.is_some_and(|row| row.retires.is_some()) => "retired".to_owned(),
        Err(_) => "no price".to_owned(),
    };
    vec![
        line.tier.clone().unwrap_or_else(|| "-".to_owned()),
        line.name.to_string(),
        number(line.row.and_then(|row| row.input_window)),
        number(line.row.and_then(|row| row.output_window)),
        rate(|r| r.input),
        rate(|r| r.cached),
        rate(|r| r.output),
        line.effort.clone().unwrap_or_else(|| "-".to_owned()),
        line.row.and_then(|row| row.retires).map_or_else(|| "-".to_owned(), |day| day.to_string()),
        since,
    ]
}

fn as_json(line: &Line<'_>) -> Value {
    let day = |day: Option<Day>| day.map(|day| day.to_string());
    let rates = line.found.as_ref().ok().map(|found| found.price.rates(Service::Default, 0));
    let usd = |rate: Rate| brigade_kernel::view::usd(NanoUsd(rate.0.saturating_mul(1_000)));
    let prices = rates.map(
        |r| json!({"input_usd": usd(r.input), "cached_usd": usd(r.cached), "cache_write_usd": usd(r.write), "output_usd": usd(r.output)}),
    );
    json!({
        "tier": line.tier,
        "model": line.name,
        "input_window": line.row.and_then(|row| row.input_window),
        "output_window": line.row.and_then(|row| row.output_window),
        "per_million_tokens": prices,
        "services": line.found.as_ref().ok().map(|found| {
            let all = [Service::Default, Service::Flex, Service::Priority, Service::Batch];
            all.into_iter().filter(|service| found.price.offers(*service)).collect::<Vec<_>>()
        }),
        "images": line.row.map(brigade_kernel::catalog::Model::sees),
        "effort": line.effort,
        "efforts": line.row.map(|row| row.efforts.iter().filter_map(word).collect::<Vec<_>>()),
        "retires": day(line.row.and_then(|row| row.retires)),
        "unlisted": day(line.row.and_then(|row| row.unlisted)),
        "priced_since": line.found.as_ref().ok().map(|found| found.since.to_string()),
        "source": line.row.map(|row| row.source.clone()),
        "refused": line.found.as_ref().err(),
    })
}
