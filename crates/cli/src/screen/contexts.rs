//! Contexts as text and as JSON: what attempts were shown, beside what full history would have been. Computes nothing
//! but totals of what it is given.

use std::fmt::Write as _;

use brigade_kernel::context::PartReceipt;
use brigade_kernel::ids::RunId;
use brigade_kernel::run::Unit;
use brigade_kernel::view::context::{Contexts, Shown, Sum};
use brigade_kernel::view::count;
use serde_json::{Value, json};

use super::columns::{Column, Table};

/// Where the numbers come from.
const ESTIMATED: &str = "Tokens are estimates (bytes / 4); full history is computed: what one conversation would have held by then.";

fn tokens(bytes: u64) -> u64 {
    brigade_kernel::context::tokens_est(bytes as usize)
}

fn state(shown: &Shown) -> String {
    let ending = shown.ending.and_then(|ending| serde_json::to_value(ending).ok()).and_then(|word| word.as_str().map(str::to_owned));
    match (&shown.reused_from, ending) {
        (Some(run), _) => format!("nothing was sent: the result of run {run} was taken"),
        (None, Some(ending)) => format!("ended {ending}"),
        (None, None) => "under way".to_owned(),
    }
}

/// Every attempt of a unit, part by part.
pub fn attempts(unit: &Unit, contexts: &Contexts) -> String {
    let mut text = String::new();
    for shown in &contexts.shown {
        let _ = writeln!(text, "{}, attempt {} on {} ({}): {}", shown.unit, shown.attempt, shown.tier, shown.model, state(shown));
        if shown.calls == 0 {
            text.push('\n');
            continue;
        }
        let mut table = Table::new(&[("tokens", Column::Number), ("part", Column::Text(60)), ("left out", Column::Number)]);
        for part in shown.parts.iter().chain(&shown.turns) {
            let left_out = if part.trimmed > 0 { format!("{} bytes", part.trimmed) } else { String::new() };
            table.row([part.tokens_est().to_string(), part.name.clone(), left_out]);
        }
        let _ = writeln!(text, "{}{}\n", table.shown(), total(shown));
    }
    if contexts.left_out > 0 {
        let _ = writeln!(text, "{} more of {} are not shown; name one row: ID[ROW]\n", contexts.left_out, unit.subtask);
    }
    text.push_str(ESTIMATED);
    text
}

fn total(shown: &Shown) -> String {
    let mut text = format!("{} tokens in the end", tokens(shown.bytes()));
    if shown.full_bytes > 0 {
        let (held, full) = (tokens(shown.bytes()), tokens(shown.full_bytes));
        let _ = write!(text, "; full history would have been {full}: {}", percent(Some(held as f64 / full as f64)));
    }
    let _ = write!(text, "\n{}, {} tokens sent", count(shown.calls.into(), "call", "calls"), tokens(shown.sent_bytes));
    match &shown.usage {
        Some(usage) => {
            let _ = write!(text, "; the provider reported {} ({} cached)", usage.input_tokens, usage.cached_tokens);
        }
        None => text.push_str("; the provider has reported none yet"),
    }
    text
}

/// How much all subtasks were shown.
pub fn sums(contexts: &Contexts) -> String {
    let mut table = Table::new(&[
        ("subtask", Column::Text(40)),
        ("attempts", Column::Number),
        ("shown", Column::Number),
        ("full history", Column::Number),
        ("share", Column::Number),
        ("reported input", Column::Number),
        ("cached", Column::Number),
    ]);
    let mut row = |name: &str, sum: &Sum| {
        table.row([
            name.to_owned(),
            sum.attempts.to_string(),
            tokens(sum.bytes).to_string(),
            tokens(sum.full_bytes).to_string(),
            percent(sum.ratio()),
            sum.usage.input_tokens.to_string(),
            sum.usage.cached_tokens.to_string(),
        ]);
    };
    for (subtask, sum) in contexts.sums() {
        row(subtask.as_str(), sum);
    }
    row("all", &contexts.total());
    format!("{}\n{ESTIMATED}", table.shown())
}

fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!("{:.1} %", ratio * 100.0))
}

/// [`sums`] for programs.
pub fn sums_object(run: &RunId, contexts: &Contexts) -> Value {
    let subtasks: serde_json::Map<String, Value> = contexts.sums().iter().map(|(id, sum)| (id.to_string(), sum_object(sum))).collect();
    json!({ "run_id": run, "subtasks": subtasks, "total": sum_object(&contexts.total()) })
}

fn sum_object(sum: &Sum) -> Value {
    json!({
        "attempts": sum.attempts, "tokens_est": tokens(sum.bytes), "full_history_tokens_est": tokens(sum.full_bytes),
        "ratio": sum.ratio(), "input_tokens": sum.usage.input_tokens, "cached_tokens": sum.usage.cached_tokens,
    })
}

/// [`attempts`] for programs.
pub fn object(run: &RunId, unit: &Unit, contexts: &Contexts) -> Value {
    let attempts: Vec<Value> = contexts
        .shown
        .iter()
        .map(|shown| {
            let (held, full) = (tokens(shown.bytes()), tokens(shown.full_bytes));
            json!({
                "subtask": shown.unit.subtask, "row": shown.unit.row, "attempt": shown.attempt, "tier": shown.tier, "model": shown.model,
                "ending": shown.ending, "reused_from": shown.reused_from,
                "parts": parts(&shown.parts), "turns": parts(&shown.turns), "tokens_est": held,
                "full_history_tokens_est": full, "ratio": (full > 0).then(|| held as f64 / full as f64),
                "calls": shown.calls, "sent_tokens_est": tokens(shown.sent_bytes),
                "input_tokens": shown.usage.map(|usage| usage.input_tokens), "cached_tokens": shown.usage.map(|usage| usage.cached_tokens),
            })
        })
        .collect();
    json!({ "run_id": run, "subtask": unit.subtask, "row": unit.row, "attempts": attempts, "left_out": contexts.left_out })
}

fn parts(parts: &[PartReceipt]) -> Vec<Value> {
    let line = |part: &PartReceipt| json!({ "part": part.name, "tokens_est": part.tokens_est(), "bytes": part.bytes, "left_out_bytes": part.trimmed });
    parts.iter().map(line).collect()
}
