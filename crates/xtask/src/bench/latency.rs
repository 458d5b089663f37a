//! Makespan against the ideal under realistic latencies; how soon a streamed plan's first subtask leaves; cold start.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::brigade::{self, Folder, Provider};
use super::wire::Relay;

pub const NAME: &str = "latency";
pub const MEASURES: &str =
    "makespan over the ideal for a chain, a fan, layers and 1,000 at once; first subtask of a streamed plan; cold start";

/// Planner 1.5 s + 60 tokens/s, mini 400 ms + 180/s, nano 200 ms + 250/s (issue 2).
const MODELS: &str = "[models.\"gpt-5.4\"]\nfirst_token_ms = 1500\ntokens_per_s = 60\n\
    [models.\"gpt-5.4-mini\"]\nfirst_token_ms = 400\ntokens_per_s = 180\n\
    [models.\"gpt-5.4-nano\"]\nfirst_token_ms = 200\ntokens_per_s = 250\n";

/// Tokens of an answer: the mean of the 4,159 recorded calls in data/taskgraphs.
const TOKENS: usize = 169;
/// A call of each tier as the provider is told to pace it, in milliseconds.
const MINI_MS: f64 = 400.0 + TOKENS as f64 * 1_000.0 / 180.0;
const NANO_MS: f64 = 200.0 + TOKENS as f64 * 1_000.0 / 250.0;

/// So many tokens: the provider counts four bytes to one.
fn answer() -> String {
    "word".repeat(TOKENS)
}

pub fn run() -> Result<(), String> {
    let binary = brigade::binary()?;
    let folder = Folder::new(NAME).map_err(|e| e.to_string())?;
    let scenario = folder.file("scenario.toml", &brigade::scenario(MODELS, &answer())).map_err(|e| e.to_string())?;
    let provider = Provider::start(&binary, &scenario)?;
    println!("{:<24} {:>10} {:>10} {:>8}", "shape", "makespan", "ideal", "ratio");
    let chain: Vec<_> =
        (0..20).map(|i| (format!("c{i}"), "search", if i == 0 { Vec::new() } else { vec![format!("c{}", i - 1)] })).collect();
    let fan: Vec<_> = (0..50).map(|i| (format!("f{i}"), "search", Vec::new())).collect();
    let layers: Vec<_> = (0..60)
        .map(|i| {
            let (layer, at) = (i / 10, i % 10);
            let after = if layer == 0 {
                Vec::new()
            } else {
                vec![format!("l{}", (layer - 1) * 10 + at), format!("l{}", (layer - 1) * 10 + (at + 3) % 10)]
            };
            (format!("l{i}"), "search", after)
        })
        .collect();
    let wide: Vec<_> = (0..1_000).map(|i| (format!("w{i}"), "classify", Vec::new())).collect();
    for (name, plan, call_ms) in [
        ("chain of 20, mini", chain, MINI_MS),
        ("50 independent, mini", fan, MINI_MS),
        ("60 in 6 layers, mini", layers, MINI_MS),
        ("1,000 at once, nano", wide, NANO_MS),
    ] {
        let plan = folder.file("plan.json", &brigade::plan(plan)).map_err(|e| e.to_string())?.display().to_string();
        let home = folder.path().join(name.replace([' ', ','], "-"));
        let (_, out) = brigade::run(&binary, &provider.base_url, &home, &["run", "--plan", &plan, "--json", "--max-budget-usd", "1000"])?;
        let (makespan, ideal) = spans(&out, call_ms)?;
        println!("{name:<24} {makespan:>7.0} ms {ideal:>7.0} ms {:>8.3}", makespan / ideal);
    }
    drop(provider);
    streamed(&binary, &folder)?;
    cold(&binary, &folder)
}

/// How long after its object closed on the wire the first subtask's request arrives at the provider.
fn streamed(binary: &Path, folder: &Folder) -> Result<(), String> {
    let plan = brigade::plan((0..8).map(|i| (format!("s{i}"), "search", Vec::new())));
    let plan = json!({"coordination_notes": "", "subtasks": serde_json::from_str::<Value>(&plan).map_err(|e| e.to_string())?["subtasks"]});
    let rule = format!("{MODELS}\n[[rule]]\nmatch = {{ format = \"brigade_plan\" }}\nreply = {{ text = {:?} }}\n", plan.to_string());
    let scenario = folder.file("streamed.toml", &brigade::scenario(&rule, &answer())).map_err(|e| e.to_string())?;
    let provider = Provider::start(binary, &scenario)?;
    let relay = Relay::before(&provider.base_url)?;
    let mut waits = Vec::new();
    for n in 0..3 {
        let home = folder.path().join(format!("streamed-{n}"));
        brigade::run(binary, &relay.base_url, &home, &["run", "Look at everything.", "-q"])?;
        let seen = relay.take();
        let mut text = String::new();
        // A subtask holds no inner objects: the first closing brace is the first subtask's.
        let closed = seen.said.iter().position(|(_, piece)| {
            text.push_str(piece);
            text.contains('}')
        });
        let closed = closed.map(|at| seen.said[at].0).ok_or("no subtask was streamed")?;
        let left = seen.requests.get(1).ok_or("no subtask was started")?;
        waits.push(left.saturating_duration_since(closed).as_secs_f64() * 1_000.0);
        let plan_ends = seen.said.iter().map(|(when, _)| *when).take_while(|when| when <= left).count();
        if plan_ends == seen.said.len() {
            return Err("the plan was whole before the first subtask left".to_owned());
        }
    }
    println!(
        "first subtask leaves     {:>7.1} ms after its object closed in the plan stream (worst of 3)",
        waits.into_iter().fold(0.0, f64::max)
    );
    Ok(())
}

/// From the start of the process to the first byte of its first request, probes cached by an earlier run.
fn cold(binary: &Path, folder: &Folder) -> Result<(), String> {
    let scenario = folder.file("cold.toml", &brigade::scenario("", "ok")).map_err(|e| e.to_string())?;
    let provider = Provider::start(binary, &scenario)?;
    let relay = Relay::before(&provider.base_url)?;
    let plan = brigade::plan([("one".to_owned(), "classify", Vec::new())]);
    let plan = folder.file("cold.json", &plan).map_err(|e| e.to_string())?.display().to_string();
    let home = folder.path().join("cold");
    let mut took = Vec::new();
    for n in 0..12 {
        let start = Instant::now();
        brigade::run(binary, &relay.base_url, &home, &["run", "--plan", &plan, "-q", "--no-cache"])?;
        let first = relay.take().requests.first().copied().ok_or("no request was made")?;
        if n > 0 {
            took.push(first.saturating_duration_since(start).as_secs_f64() * 1_000.0);
        }
    }
    took.sort_by(f64::total_cmp);
    println!(
        "cold start               {:>7.1} ms to the first request (median of {}; {:.1} to {:.1})",
        took[took.len() / 2],
        took.len(),
        took[0],
        took[took.len() - 1]
    );
    Ok(())
}

/// From the first attempt's start to the last one's end, and the longest way through calls of `call_ms`.
fn spans(events: &str, call_ms: f64) -> Result<(f64, f64), String> {
    let mut after = std::collections::HashMap::new();
    let (mut first, mut last) = (f64::MAX, 0.0_f64);
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let at = millis(event["at"].as_str().unwrap_or_default());
        let id = event["subtask"].as_str().unwrap_or_default().to_owned();
        match event["type"].as_str().unwrap_or_default() {
            "plan.subtask" => {
                let deps: Vec<String> =
                    event["depends_on"].as_array().into_iter().flatten().filter_map(|d| d.as_str().map(str::to_owned)).collect();
                after.insert(id, deps);
            }
            "attempt.started" => {
                first = first.min(at);
            }
            "subtask.completed" => {
                last = last.max(at);
            }
            _ => {}
        }
    }
    let mut depth: std::collections::HashMap<&str, f64> = std::collections::HashMap::new();
    let mut ids: Vec<&String> = after.keys().collect();
    ids.sort_by_key(|id| id[1..].parse::<u32>().unwrap_or_default());
    for id in ids {
        let before = after[id].iter().map(|d| depth.get(d.as_str()).copied().unwrap_or_default()).fold(0.0, f64::max);
        depth.insert(id, before + call_ms);
    }
    Ok((last - first, depth.values().copied().fold(0.0, f64::max)))
}

/// Milliseconds of the day of an RFC 3339 time.
pub fn millis(at: &str) -> f64 {
    let part = |range: std::ops::Range<usize>| at.get(range).and_then(|s| s.parse::<f64>().ok()).unwrap_or_default();
    part(11..13) * 3_600_000.0 + part(14..16) * 60_000.0 + part(17..19) * 1_000.0 + part(20..23)
}
