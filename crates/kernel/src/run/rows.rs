//! Rows of a bulk run: which are read next, how they stand, what is said of them all.

use std::sync::Arc;

use super::event::{BulkRules, SubtaskOrInput, SubtaskStatus};
use super::state::{Source, State, Task};
use crate::ids::SubtaskId;
use crate::plan::ForEach;

/// Results kept of each `for_each` subtask for the review.
const SAMPLE: usize = 24;
/// Longest text of one sampled result, in characters.
const SAMPLE_CHARS: usize = 300;

/// What a subtask of a plan is mapped over, `None` inside for one that runs once; `None` where there is no such subtask.
pub type Mapped<'a> = Option<Option<&'a ForEach>>;

/// Where the rows of a subtask come from: its dependency's origin, when that one runs per row too.
pub fn rows_from<'a>(for_each: Option<&'a ForEach>, find: impl Fn(&SubtaskId) -> Mapped<'a>) -> Option<SubtaskOrInput> {
    let mut at = for_each?;
    // A plan that passed its gate has no cycle; one that still streams in may.
    for _ in 0..1 << 16 {
        let ForEach::Subtask(id) = at else { return Some(SubtaskOrInput::Input) };
        match find(id)? {
            None => return Some(SubtaskOrInput::Subtask(id.clone())),
            Some(parent) => at = parent,
        }
    }
    None
}

/// Keeps a few results: every failed one while there is room, and rows that spread over the whole.
pub fn sample(task: &mut Task, row: u64, status: SubtaskStatus, output: &str) {
    // A fixed sequence instead of chance, and the same one whichever row ends first: equal rows make equal reviews.
    let rank =
        |&(row, status, _): &(u64, SubtaskStatus, Arc<str>)| (status == SubtaskStatus::Done, row.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    task.sample.retain(|(known, ..)| *known != row);
    task.sample.push((row, status, cut(output)));
    if task.sample.len() > SAMPLE
        && let Some(last) = (0..task.sample.len()).max_by_key(|&n| rank(&task.sample[n]))
    {
        task.sample.swap_remove(last);
    }
}

fn cut(text: &str) -> Arc<str> {
    text.chars().take(SAMPLE_CHARS).collect::<String>().into()
}

/// What dependents and the review are told of a `for_each` subtask as a whole.
pub fn in_brief(task: &Task) -> String {
    let rows = task.rows;
    let mut text = format!("{} rows: {} done, {} failed, {} skipped.", rows.ended(), rows.done, rows.failed, rows.skipped);
    if !task.sample.is_empty() {
        text.push_str(" A sample, one JSON line each:");
    }
    let mut sample: Vec<_> = task.sample.iter().collect();
    sample.sort_by_key(|(row, ..)| *row);
    for (row, status, output) in sample {
        let line = serde_json::json!({ "row": row, "status": status, "output": &**output });
        text.push('\n');
        text.push_str(&line.to_string());
    }
    text
}

/// Why the rest of a source's rows should not start, if the rates passed their bounds.
pub fn over_the_rates(state: &State, source: &Source) -> Option<(u32, String)> {
    if source.waived || source.halted {
        return None;
    }
    source.members.iter().find_map(|&task| {
        let entry = &state.tasks[task as usize];
        let rules = rules(state, entry);
        let ended = entry.rows.ended();
        // Before the canary is through there is nothing to judge; without one, twenty rows are.
        if ended < rules.canary.unwrap_or(20).min(source.total.unwrap_or(u64::MAX)).max(1) {
            return None;
        }
        let over = |what: &str, n: u64, bound: Option<f64>| {
            let rate = n as f64 / ended as f64;
            bound.filter(|bound| rate > *bound).map(|bound| {
                (task, format!("{n} of {ended} rows of {} {what} ({:.1} %, allowed {:.1} %)", entry.spec.id, rate * 100.0, bound * 100.0))
            })
        };
        over("failed", entry.rows.failed, rules.max_failure_rate)
            .or_else(|| over("went up a tier", entry.rows.escalated, rules.max_escalation_rate))
    })
}

/// How many further rows of a source may be started now.
pub fn may_start(state: &State, source: &Source) -> u64 {
    if source.halted {
        return 0;
    }
    let canary = source.members.iter().filter_map(|&t| rules(state, &state.tasks[t as usize]).canary).min();
    match canary {
        Some(canary) if !source.waived && source.finished < canary => canary.saturating_sub(source.finished + source.rows.len() as u64),
        _ => u64::MAX,
    }
}

fn rules(state: &State, task: &Task) -> BulkRules {
    let own = task.spec.stops;
    BulkRules {
        canary: own.canary.or(state.bulk.canary),
        max_failure_rate: own.max_failure_rate.or(state.bulk.max_failure_rate),
        max_escalation_rate: own.max_escalation_rate.or(state.bulk.max_escalation_rate),
    }
}
