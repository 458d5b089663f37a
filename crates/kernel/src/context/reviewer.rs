//! The reviewer's context: the request in its own words, and the record: results, the change, checks.

use crate::ids::SubtaskId;

use super::data::{block, cut};
use super::executor::Output;
use super::planner::{add_notes, add_results, one_line};
use super::{Message, Packed, TierLimits};

/// Input of a review where its tier has no soft limit: about 60,000 tokens.
const ROOM: usize = 240_000;
/// What shows a check's outcome is cut to this.
const EVIDENCE_BYTES: usize = 2_000;

/// What a review is made from.
#[derive(Debug, Clone, Default)]
pub struct Reviewing<'a> {
    /// [`super::instructions`] of the reviewer.
    pub rules: &'a str,
    /// The request, byte for byte; empty where a plan was written by hand without one.
    pub request: &'a str,
    /// Every subtask that ended (of a bulk run a sample), in the plan's order.
    pub results: Vec<Worked>,
    /// The whole change as a patch; tainted.
    pub diff: Option<&'a str>,
    /// Notes of the planner.
    pub notes: &'a str,
    /// What of a bulk run is not shown, in brigade's words: `1,000 rows, 20 shown, 3 failed`.
    pub sampled: Option<&'a str>,
    /// How often work may still be sent back after this.
    pub rounds_left: u32,
}

/// One ended subtask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worked {
    /// Its id.
    pub id: SubtaskId,
    /// Its title.
    pub title: String,
    /// `done on mini`, `failed on every tier`, `skipped`.
    pub state: String,
    /// What it returned.
    pub output: String,
    /// What was checked.
    pub checks: Vec<CheckLine>,
}

/// One check of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckLine {
    /// `schema`, or the command.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// What shows it; tainted.
    pub evidence: String,
}

/// Packs a review. The request stands first and whole; half of the room is the diff's, the rest the results'.
pub fn reviewer(reviewing: &Reviewing<'_>, limits: &TierLimits) -> Packed {
    let room = limits.max_context_tokens.map_or(ROOM, |tokens| tokens as usize * 4);
    let mut message = Message::default();
    if reviewing.request.is_empty() {
        message.add("request", "The plan was written by hand, without a request: judge each result by its subtask.", 0);
    } else {
        message.add("request", reviewing.request, 0);
    }
    let mut lines = String::from("# What was done");
    for result in &reviewing.results {
        lines.push_str(&format!("\n- {} ({}): {}", result.id, one_line(&result.state), one_line(&result.title)));
        for check in &result.checks {
            let outcome = if check.passed { "passed" } else { "FAILED" };
            lines.push_str(&format!("\n  - check {}: {outcome}", one_line(&check.name)));
        }
    }
    if let Some(sampled) = reviewing.sampled {
        lines.push_str(&format!("\nA sample: {sampled}."));
    }
    message.add("subtasks", &lines, 0);
    add_notes(&mut message, reviewing.notes);
    message.add("limits", &format!("# Limits\nReviews left after this one: {}.", reviewing.rounds_left), 0);
    for result in &reviewing.results {
        for check in result.checks.iter().filter(|check| !check.passed) {
            let (text, left_out) = cut(&check.evidence, EVIDENCE_BYTES);
            let from = format!("failed check of {}", result.id);
            message.add(from.clone(), &block(&from, &text), left_out);
        }
    }
    let mut left = room.saturating_sub(reviewing.rules.len() + message.text.len());
    match reviewing.diff {
        Some(diff) if !diff.is_empty() => {
            let (text, left_out) = cut(diff, left / 2);
            left = left.saturating_sub(text.len());
            message.add("diff", &format!("# The change\n{}", block("patch", &text)), left_out);
        }
        _ => message.add("diff", "# The change\nNo file was changed.", 0),
    }
    let outputs: Vec<Output> = reviewing
        .results
        .iter()
        .map(|r| Output { id: r.id.clone(), text: r.output.clone(), reference: None })
        .filter(|o| !o.text.is_empty())
        .collect();
    add_results(&mut message, &outputs, left);
    message.into_packed(reviewing.rules.to_owned(), None, Vec::new())
}
