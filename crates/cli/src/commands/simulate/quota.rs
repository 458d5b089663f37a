//! What `simulate` says of a quota: a plan's units, how much of it fits into a window, when the rest goes on.

use brigade_kernel::plan::write_span;
use brigade_kernel::policy::Policy;
use brigade_kernel::run::{Fitted, Weighed};
use brigade_kernel::time::Millis;
use serde_json::{Map, Value, json};

use crate::screen::{Column, Table};

/// Openings shown in one cell; JSON has more.
const SHOWN: usize = 3;

/// The object `quota`.
pub(super) fn json(weighed: &Weighed, policy: &Policy) -> Value {
    let weights: Map<String, Value> =
        policy.ladder.iter().map(|tier| (tier.to_string(), json!(f64::from(policy.quota.weight(tier))))).collect();
    let window = |one: &Fitted| {
        json!({
            "name": one.name,
            "window_ms": one.span,
            "units": one.units,
            "subtasks": one.subtasks,
            "calls": weighed.calls_in(one.units),
            "opens_ms": one.opens,
        })
    };
    json!({
        "units": weighed.units,
        "all_flagship_units": weighed.all_flagship,
        "saving": rounded(weighed.saving()),
        "work_multiple": weighed.work_multiple().map(rounded),
        "weights": weights,
        "makespan_ms": weighed.makespan_ms,
        "windows": weighed.windows.iter().map(window).collect::<Vec<_>>(),
    })
}

/// The same, as tables.
pub(super) fn shown(weighed: &Weighed, policy: &Policy) -> String {
    let weights: Vec<String> = policy.ladder.iter().map(|tier| format!("{tier} {}", policy.quota.weight(tier))).collect();
    let multiple = weighed.work_multiple().map_or_else(|| "it weighs nothing".to_owned(), |times| format!("{times:.1} x"));
    let rows = [
        ("weights", weights.join(", ")),
        ("units", weighed.units.to_string()),
        ("all on the flagship", weighed.all_flagship.to_string()),
        ("saving", format!("{:.0} %", weighed.saving() * 100.0)),
        ("work in the same window", multiple),
        ("makespan with windows", spoken(weighed.makespan_ms)),
    ];
    let mut table = Table::new(&[("", Column::Whole), ("quota", Column::Whole)]);
    rows.into_iter().for_each(|(name, value)| table.row([name.to_owned(), value]));
    let mut text = format!("\n{}", table.shown());
    if weighed.windows.is_empty() {
        return text;
    }
    let mut table = Table::new(&[
        ("window", Column::Whole),
        ("span", Column::Number),
        ("units", Column::Number),
        ("subtasks that fit", Column::Number),
        ("calls of this mix", Column::Number),
        ("opens again after", Column::Whole),
    ]);
    for one in &weighed.windows {
        let mut opens: Vec<String> = one.opens.iter().take(SHOWN).map(|at| spoken(*at)).collect();
        match one.opens.len() {
            0 => opens.push("not needed".to_owned()),
            n if n > SHOWN => opens.push(format!("and {} more", n - SHOWN)),
            _ => {}
        }
        table.row([
            one.name.clone(),
            write_span(one.span),
            one.units.to_string(),
            format!("{} of {}", one.subtasks, weighed.calls),
            weighed.calls_in(one.units).map_or_else(|| "any".to_owned(), |n| n.to_string()),
            opens.join(", "),
        ]);
    }
    text.push('\n');
    text.push_str(&table.shown());
    text
}

/// A span for people, to the second.
fn spoken(span: Millis) -> String {
    let s = span.0 / 1_000;
    match (s / 3_600, s / 60 % 60, s % 60) {
        (0, 0, s) if s < 10 => format!("{}.{:03} s", s, span.0 % 1_000),
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// To four places: these are proportions.
fn rounded(x: f64) -> f64 {
    (x * 10_000.0).round() / 10_000.0
}
