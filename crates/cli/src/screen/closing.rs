//! The closing lines of a run: how it went, what it cost, what all-flagship would have cost, what to do next.

use std::fmt::Write as _;

use brigade_kernel::budget::Scope;
use brigade_kernel::call::ErrorClass;
use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Run, RunStatus, RunSummary, State};
use brigade_kernel::time::Timestamp;
use brigade_kernel::view::cost::Bill;
use brigade_kernel::view::worth::Worth;
use brigade_kernel::view::{count, rfc3339};
use brigade_tools::escape_for_screen;

use super::columns::{Column, Table};
use super::failures::Failures;
use super::seen::{percent, rates, spent};

/// Reasons shown for what failed.
const MOST_REASONS: usize = 3;

/// The closing lines.
pub fn closing(run: &Run, summary: &RunSummary, bill: &Bill, failures: &Failures) -> String {
    let state = run.state();
    let id = state.run();
    let mut text = String::new();
    let seconds = summary.duration_ms.0 as f64 / 1_000.0;
    let _ = writeln!(text);
    let _ = write!(text, "{}", rows(state));
    let _ = write!(text, "{}", reasons(state, failures));
    let mut table = Table::new(&[
        ("tier", Column::Text(16)),
        ("calls", Column::Number),
        ("input", Column::Number),
        ("cached", Column::Number),
        ("output", Column::Number),
        ("cost", Column::Number),
    ]);
    for (tier, spent) in &bill.tiers {
        let tokens = spent.tokens;
        let [calls, input, cached, output] =
            [spent.calls, tokens.input_tokens, tokens.cached_tokens, tokens.output_tokens].map(|n| n.to_string());
        table.row([tier.to_string(), calls, input, cached, output, spent.cost.to_string()]);
    }
    if !table.is_empty() {
        text.push_str(&table.text());
    }
    let cached = bill.roles.iter().filter(|(_, spent)| spent.tokens.cached_tokens > 0);
    let cached: Vec<String> = cached.map(|(role, spent)| format!("{role} {}", percent(spent.cached_share()))).collect();
    if !cached.is_empty() {
        let _ = writeln!(text, "input from the provider's cache: {}", cached.join(", "));
    }
    let worth = Worth::from(summary);
    let _ = writeln!(text, "{}, {seconds:.1} s", spent(&worth));
    let (tally, outcomes) = (state.tally, state.outcomes());
    let _ = writeln!(
        text,
        "{} accepted, {} failed, {} skipped; {}, {}{}",
        outcomes.done,
        outcomes.failed,
        outcomes.skipped,
        count(tally.escalations, "escalation", "escalations"),
        count(tally.asked, "question to a person", "questions to a person"),
        not_paid(state),
    );
    let _ = writeln!(text, "{}", rates(&worth));
    if outcomes.failed > 0 && summary.status == RunStatus::Completed {
        let _ = writeln!(text, "try what failed again: brigade retry {id} --failed");
    }
    text.push_str(&next(id, summary));
    text
}

/// What was taken from equal work.
fn not_paid(state: &State) -> String {
    let (tally, done) = (state.tally, state.outcomes().done);
    let mut text = String::new();
    if tally.reused > 0 {
        let _ = write!(text, "; {} of {done} from earlier runs", tally.reused);
    }
    if tally.shared > 0 {
        let _ = write!(text, "; {} of {done} as equal work of this run", tally.shared);
    }
    if tally.hedges > 0 {
        let _ = write!(text, "; {} asked twice, the slower answers {}", count(tally.hedges, "call", "calls"), tally.outrun_usd);
    }
    text
}

/// How the rows of each bulk subtask went; nothing for a run without rows.
fn rows(state: &State) -> String {
    let mut table = Table::new(&[
        ("rows of", Column::Text(40)),
        ("done", Column::Number),
        ("failed", Column::Number),
        ("skipped", Column::Number),
        ("escalated", Column::Number),
    ]);
    for task in state.tasks.iter().filter(|task| task.rows.ended() > 0) {
        let rows = task.rows;
        let [done, failed, skipped, escalated] = [rows.done, rows.failed, rows.skipped, rows.escalated].map(|n| n.to_string());
        table.row([task.spec.id.to_string(), done, failed, skipped, escalated]);
    }
    if table.is_empty() { String::new() } else { format!("{}\n", table.text()) }
}

/// What most failures have in common.
fn reasons(state: &State, failures: &Failures) -> String {
    let (most, others) = failures.most(state, MOST_REASONS);
    let mut table = Table::new(&[("failed", Column::Number), ("of", Column::Text(40)), ("because", Column::Whole)]);
    for (n, subtask, why) in most {
        table.row([n.to_string(), subtask.to_string(), why.to_owned()]);
    }
    if others > 0 {
        table.row([others.to_string(), String::new(), "(other reasons)".to_owned()]);
    }
    if table.is_empty() { String::new() } else { format!("{}\n", table.text()) }
}

/// What to do next, and why the run stands still.
pub fn next(id: &RunId, summary: &RunSummary) -> String {
    let next = match summary.status {
        RunStatus::Completed => format!("look closer: brigade show {id}"),
        RunStatus::NeedsPerson => format!("{}: brigade inbox, brigade answer, then brigade resume {id}", summary.output),
        RunStatus::BudgetReached => format!("budget reached ({}): {}", summary.output, after_budget(id, summary.short_of.as_ref())),
        RunStatus::QuotaParked => match summary.retry_at {
            Some(at) => {
                format!("parked until {} ({}): brigade resume {id} then, or brigade resume {id} --wait now", instant(at), summary.output)
            }
            None => format!("parked ({}): brigade resume {id} later, or brigade resume {id} --wait now", summary.output),
        },
        RunStatus::Cancelled => format!("{}: brigade resume {id}", summary.output),
        RunStatus::Failed => match summary.error.map(remedy) {
            Some(remedy) => format!("stopped: {}\n{remedy}brigade resume {id}", summary.output),
            None => format!("failed: {}", summary.output),
        },
    };
    format!("{}\n", escape_for_screen(&next))
}

/// An instant for people, to the second, in UTC.
pub fn instant(at: Timestamp) -> String {
    let text = rfc3339(at);
    text.split_once('.').map_or(text.clone(), |(to_the_second, _)| format!("{}Z", to_the_second.replace('T', " ")))
}

/// What a person can do about a cap.
fn after_budget(id: &RunId, scope: Option<&Scope>) -> String {
    let raise = |key: &str| format!("raise {key} in the configuration, then brigade resume {id}");
    match scope {
        Some(Scope::Day) => {
            format!("it starts anew at 00:00 UTC; go on then with brigade resume {id}, or {}", raise("budget.day_usd or budget.day_tokens"))
        }
        Some(Scope::Window { .. }) => raise("the units of that window in [quota]"),
        Some(Scope::Home) => raise("budget.home_usd"),
        Some(Scope::Role(role)) => raise(&format!("budget.{role}_tokens or budget.{role}_usd")),
        _ => format!("brigade resume {id} --max-budget-usd X"),
    }
}

/// What a person can do about a provider that does not serve.
fn remedy(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Unreachable => {
            "is the server there? its address is OPENAI_BASE_URL or base_url in [providers.NAME]; nothing finished is lost or paid again: "
        }
        ErrorClass::Refused => "check the key in the variable that env_key of [providers.NAME] names, and what it may use; then: ",
        ErrorClass::ModelNotFound => "check the models in [tiers]; then: ",
        _ => "",
    }
}
