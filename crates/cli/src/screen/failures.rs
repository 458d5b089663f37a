//! Why parts of a run failed, the most frequent reasons first. Keeps a number for each failed part, nothing of what went well.

use std::collections::HashMap;

use brigade_kernel::ids::SubtaskId;
use brigade_kernel::run::{Event, State, SubtaskStatus, Unit};

use super::columns::cut;

/// Cells of a reason.
const REASON: usize = 76;
/// Different reasons told apart; what comes after them is counted together.
const MOST: usize = 1_000;

/// Folds events into reasons.
#[derive(Debug, Default)]
pub struct Failures {
    /// Units that ended failed, and which reason each has.
    failed: HashMap<Unit, usize>,
    /// Reasons by what is the same in them whatever the row: the subtask, and the text without numbers and quotations.
    known: HashMap<(SubtaskId, String), usize>,
    /// The first of each.
    reasons: Vec<(SubtaskId, String)>,
}

impl Failures {
    /// Takes one event in.
    pub fn saw(&mut self, event: &Event) {
        let Event::SubtaskEnded { unit, status, error, .. } = event else { return };
        if *status != SubtaskStatus::Failed {
            self.failed.remove(unit);
            return;
        }
        let reason = self.reason(&unit.subtask, telling(error.as_deref().unwrap_or_default()));
        self.failed.insert(unit.clone(), reason);
    }

    fn reason(&mut self, subtask: &SubtaskId, text: &str) -> usize {
        let text = if self.reasons.len() < MOST { text } else { "something else" };
        let words = text.split('"').step_by(2).flat_map(|part| part.split(|c: char| c.is_ascii_digit()));
        let alike = words.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("0");
        *self.known.entry((subtask.clone(), alike)).or_insert_with(|| {
            self.reasons.push((subtask.clone(), cut(text, REASON)));
            self.reasons.len() - 1
        })
    }

    /// The most frequent reasons of what stands failed now, with their counts, and how many failed for others.
    pub fn most(&self, state: &State, most: usize) -> (Vec<(u64, &SubtaskId, &str)>, u64) {
        let mut counts = vec![0_u64; self.reasons.len()];
        for (unit, reason) in &self.failed {
            // What was tried again since may be under way.
            if state.key(unit).and_then(|key| state.ended_as(key)) == Some(SubtaskStatus::Failed) {
                counts[*reason] += 1;
            }
        }
        let reasons = counts.into_iter().zip(&self.reasons).filter(|(n, _)| *n > 0);
        let mut all: Vec<_> = reasons.map(|(n, (subtask, why))| (n, subtask, why.as_str())).collect();
        all.sort_by_key(|(n, ..)| std::cmp::Reverse(*n));
        let others = all.iter().skip(most).map(|(n, ..)| n).sum();
        all.truncate(most);
        (all, others)
    }
}

/// The line of an error that says why: the first that does not only announce the next.
fn telling(error: &str) -> &str {
    let mut lines = error.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.clone().next().unwrap_or("no reason is on record");
    lines.find(|line| !line.ends_with(':')).unwrap_or(first)
}
