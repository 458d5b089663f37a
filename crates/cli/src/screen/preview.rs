//! A priced plan for a person: three columns, and what they rest on.

use std::fmt::Write as _;

use brigade_kernel::run::{Estimate, Preview};
use brigade_kernel::units::NanoUsd;
use brigade_kernel::view::count;

use super::columns::{Column, Table, span};

/// The table and its footnotes.
pub fn preview(preview: &Preview, cap: NanoUsd) -> String {
    let three = [&preview.low, &preview.expected, &preview.high];
    let mut table = Table::new(&[("", Column::Whole), ("low", Column::Number), ("expected", Column::Number), ("high", Column::Number)]);
    let mut row = |name: String, cell: &dyn Fn(&Estimate) -> String| {
        table.row(std::iter::once(name).chain(three.map(cell)));
    };
    row("cost".to_owned(), &|of| of.cost.to_string());
    row("time".to_owned(), &|of| span(of.duration.0));
    for (at, (tier, _)) in preview.high.calls.iter().enumerate() {
        row(format!("calls on {tier}"), &|of| of.calls.get(at).map_or(0, |(_, n)| *n).to_string());
    }
    if three.iter().any(|of| !of.units.is_zero()) {
        row("units of the quota".to_owned(), &|of| of.units.to_string());
    }
    let mut text = table.shown();
    let rows = preview.rows.map_or_else(String::new, |rows| format!(" over {}", count(rows, "row", "rows")));
    let _ = writeln!(text, "\n{}{rows}, and the review", count(preview.subtasks, "subtask", "subtasks"));
    let (known, guessed): (Vec<_>, Vec<_>) = preview.seen.iter().partition(|seen| seen.from > 0);
    if !known.is_empty() {
        let known: Vec<String> = known.iter().map(|s| format!("{} on {} ({} seen)", s.who.as_str(), s.tier, s.from)).collect();
        let _ = writeln!(text, "from history: {}", known.join(", "));
    }
    if !guessed.is_empty() {
        let guessed: Vec<String> = guessed.iter().map(|s| format!("{} on {}", s.who.as_str(), s.tier)).collect();
        let _ = writeln!(text, "without history: {}", guessed.join(", "));
    }
    for assumed in &preview.assumed {
        let _ = writeln!(text, "assumed: {assumed}");
    }
    if preview.capped {
        let _ = writeln!(text, "the run's cap of {cap} stops it before the worst case");
    }
    text
}
