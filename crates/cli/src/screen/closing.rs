//! The closing lines of a run: how it went, what it cost, what all-flagship would have cost, what to do next.

use std::fmt::Write as _;

use brigade_kernel::run::{Run, RunStatus, RunSummary};
use brigade_kernel::units::NanoUsd;
use brigade_kernel::view::count;
use brigade_tools::escape_for_screen;

/// The closing lines.
pub fn closing(run: &Run, summary: &RunSummary) -> String {
    let state = run.state();
    let id = state.run();
    let mut text = String::new();
    let seconds = summary.duration_ms.0 as f64 / 1_000.0;
    let _ = writeln!(text);
    let _ = writeln!(text, "{:<10} {:>7} {:>12} {:>12} {:>12}", "tier", "calls", "input", "cached", "output");
    for (tier, used) in summary.usage.iter() {
        let tokens = used.tokens;
        let _ = writeln!(text, "{:<10} {:>7} {:>12} {:>12} {:>12}", tier.as_str(), used.calls, tokens.input_tokens, tokens.cached_tokens, tokens.output_tokens);
    }
    let saved = saving(summary.cost_usd, summary.all_flagship_cost_usd);
    let _ = writeln!(text, "spent {}, all on the flagship {} (computed){saved}, {seconds:.1} s", summary.cost_usd, summary.all_flagship_cost_usd);
    let tally = state.tally;
    let _ = writeln!(
        text,
        "{} accepted, {} failed, {} skipped; {}, {}{}",
        tally.done,
        tally.failed,
        tally.skipped,
        count(tally.escalations, "escalation", "escalations"),
        count(tally.asked, "question to a person", "questions to a person"),
        if tally.reused > 0 { format!("; {} taken from earlier runs", tally.reused) } else { String::new() },
    );
    let per = per_unit(tally.done, summary, tally.asked);
    let _ = writeln!(text, "{per}");
    let next = match summary.status {
        RunStatus::Completed => format!("look closer: brigade show {id}"),
        RunStatus::NeedsPerson => format!("{}: brigade inbox, brigade answer, then brigade resume {id}", summary.output),
        RunStatus::BudgetReached => format!("budget reached ({}): brigade resume {id} --max-budget-usd X", summary.output),
        RunStatus::QuotaParked => format!("parked ({}): brigade resume {id}", summary.output),
        RunStatus::Cancelled => format!("{}: brigade resume {id}", summary.output),
        RunStatus::Failed if summary.error.is_some() => format!("stopped ({}): brigade resume {id}", summary.output),
        RunStatus::Failed => format!("failed: {}", summary.output),
    };
    let _ = writeln!(text, "{}", escape_for_screen(&next));
    text
}

fn saving(spent: NanoUsd, flagship: NanoUsd) -> String {
    if flagship == NanoUsd::ZERO {
        return String::new();
    }
    let share = (flagship.0 as f64 - spent.0 as f64) / flagship.0 as f64 * 100.0;
    if share >= 0.0 { format!(", saved {share:.0} %") } else { format!(", {:.0} % more", -share) }
}

/// Accepted results per minute, per dollar and per question to a person.
fn per_unit(accepted: u64, summary: &RunSummary, asked: u64) -> String {
    let minutes = summary.duration_ms.0 as f64 / 60_000.0;
    let dollars = summary.cost_usd.0 as f64 / 1e9;
    let rate = |of: f64| if of > 0.0 { format!("{:.1}", accepted as f64 / of) } else { "–".to_owned() };
    let review = if asked > 0 { format!("{:.1}", accepted as f64 / asked as f64) } else { "no".to_owned() };
    format!("accepted results: {} a minute, {} a dollar, {review} human review{}", rate(minutes), rate(dollars), if asked > 0 { " each" } else { "s" })
}
