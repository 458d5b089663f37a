//! What second requests do to a fan-out whose calls have the tails of real ones, and what they cost.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use super::brigade::{self, Folder, Provider};
use super::latency::millis;

pub const NAME: &str = "hedge";
pub const MEASURES: &str = "a fan-out of 600 calls with recorded tails (BRIGADE_DATA/latency), with and without second requests";

const ITEMS: usize = 600;
/// The median of a call here; the recorded ones are multiples of their model's.
const MEDIAN_MS: f64 = 100.0;
/// Calls of a model below which its median says little.
const LEAST_CALLS: usize = 10;

pub fn run() -> Result<(), String> {
    let Some(data) = std::env::var_os("BRIGADE_DATA") else {
        println!("not measured: BRIGADE_DATA names no folder");
        return Ok(());
    };
    let tails = tails(&Path::new(&data).join("latency/calls.csv.gz"))?;
    println!(
        "{} recorded calls: p95 is {:.1} medians, p99 {:.1}, the slowest {:.1}",
        tails.len(),
        at(&tails, 95),
        at(&tails, 99),
        tails[tails.len() - 1]
    );
    let binary = brigade::binary()?;
    let folder = Folder::new(NAME).map_err(|e| e.to_string())?;
    let scenario = folder.file("scenario.toml", &scenario(&tails)).map_err(|e| e.to_string())?;
    println!("{:<12} {:>9} {:>9} {:>9} {:>10} {:>10} {:>8}", "", "p50", "p99", "slowest", "makespan", "cost", "asked");
    let mut measured = Vec::new();
    for (name, hedge) in [("once", false), ("asked twice", true)] {
        // Each with a provider of its own, whose counts begin anew.
        let provider = Provider::start(&binary, &scenario)?;
        let found = measure(&binary, &provider, &folder, name, hedge)?;
        let [p50, p99, slowest, makespan] = [at(&found.took, 50), at(&found.took, 99), at(&found.took, 100), found.makespan];
        let (cost, calls) = (found.cost, found.calls);
        println!("{name:<12} {p50:>6.0} ms {p99:>6.0} ms {slowest:>6.0} ms {makespan:>7.0} ms ${cost:>9.4} {calls:>8}");
        measured.push((p99, makespan, cost));
    }
    let ratio = |of: fn(&(f64, f64, f64)) -> f64| of(&measured[1]) / of(&measured[0]);
    println!("asked twice over once: p99 {:.2}, makespan {:.2}, cost {:.2}", ratio(|m| m.0), ratio(|m| m.1), ratio(|m| m.2));
    Ok(())
}

/// How many medians of its model each recorded call took, in order.
fn tails(path: &Path) -> Result<Vec<f64>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).map_err(|e| e.to_string())?;
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| names.iter().position(|n| *n == name).ok_or_else(|| format!("no column {name}"));
    let [model, stream, status, ms] = [column("model")?, column("stream")?, column("status")?, column("ms")?];
    let mut of: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        // Of a streamed call the header tells only how long it took to begin.
        if field(stream) == "0"
            && field(status) == "200"
            && let Ok(took) = field(ms).parse()
        {
            of.entry(field(model)).or_default().push(took);
        }
    }
    let mut all = Vec::new();
    for mut calls in of.into_values().filter(|calls| calls.len() >= LEAST_CALLS) {
        calls.sort_by(f64::total_cmp);
        let median = calls[calls.len() / 2];
        all.extend(calls.iter().map(|ms| ms / median));
    }
    all.sort_by(f64::total_cmp);
    if all.is_empty() { Err("no calls on record".to_owned()) } else { Ok(all) }
}

fn at(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent).div_ceil(100).clamp(1, sorted.len()) - 1]
}

/// Each item's first and second request take as long as two recorded calls, drawn by a fixed sequence.
fn scenario(tails: &[f64]) -> String {
    let mut draw = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (tails[(draw >> 33) as usize % tails.len()] * MEDIAN_MS) as u64
    };
    let mut rules = String::new();
    for item in 0..ITEMS {
        for nth in 1..=2 {
            let _ = write!(
                rules,
                "[[rule]]\nmatch = {{ contains = \"Work item h{item}:\", nth = {nth} }}\nreply = {{ text = \"ok\" }}\ndelay_ms = {}\n",
                next()
            );
        }
    }
    // The review first: it names all items.
    let usual = brigade::scenario("", "ok");
    match usual.find("[[rule]]\nreply") {
        Some(at) => format!("{}{rules}{}", &usual[..at], &usual[at..]),
        None => rules,
    }
}

struct Found {
    /// How long each item took, in order.
    took: Vec<f64>,
    makespan: f64,
    cost: f64,
    calls: u64,
}

fn measure(binary: &Path, provider: &Provider, folder: &Folder, name: &str, hedge: bool) -> Result<Found, String> {
    let home = folder.path().join(name.replace(' ', "-"));
    std::fs::create_dir_all(&home).map_err(|e| e.to_string())?;
    let config = format!("[tiers.nano]\nhedge = {hedge}\n[limits]\nmax_concurrent_subagents = 64\n[budget]\nrun_usd = 1000\n");
    std::fs::write(home.join("config.toml"), config).map_err(|e| e.to_string())?;
    let plan = brigade::plan((0..ITEMS).map(|i| (format!("h{i}"), "classify", Vec::new())));
    let plan = folder.file("plan.json", &plan).map_err(|e| e.to_string())?.display().to_string();
    let (_, out) = brigade::run(binary, &provider.base_url, &home, &["run", "--plan", &plan, "--json", "--no-cache"])?;
    let mut began = BTreeMap::new();
    let mut found = Found { took: Vec::new(), makespan: 0.0, cost: 0.0, calls: 0 };
    let (mut first, mut last) = (f64::MAX, 0.0_f64);
    for line in out.lines() {
        let event: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let at = millis(event["at"].as_str().unwrap_or_default());
        let id = event["subtask"].as_str().unwrap_or_default().to_owned();
        match event["type"].as_str().unwrap_or_default() {
            "attempt.started" => {
                first = first.min(at);
                began.entry(id).or_insert(at);
            }
            "subtask.completed" => {
                last = last.max(at);
                found.took.push(at - began.get(&id).copied().unwrap_or(at));
            }
            "run.completed" => {
                found.cost = event["cost_usd"].as_f64().unwrap_or_default();
                found.calls = event["usage"].as_object().into_iter().flatten().filter_map(|(_, used)| used["calls"].as_u64()).sum();
            }
            _ => {}
        }
    }
    if found.took.len() != ITEMS {
        return Err(format!("{ITEMS} items went in and {} came out", found.took.len()));
    }
    found.took.sort_by(f64::total_cmp);
    found.makespan = last - first;
    Ok(found)
}
