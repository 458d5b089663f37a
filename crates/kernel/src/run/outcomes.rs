//! How the parts of a run went, read off its state: what is tried again counts as it stands now, not as it once ended.

use super::event::SubtaskStatus;
use super::state::{Key, State};

/// How much went how, see [`State::outcomes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Outcomes {
    pub done: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl State {
    /// How the subtasks stand that have ended, each row of a bulk subtask counted for itself.
    pub fn outcomes(&self) -> Outcomes {
        let mut all = Outcomes::default();
        for task in &self.tasks {
            let one = |status| u64::from(task.status == Some(status));
            let (rows, plain) = (task.rows, u64::from(task.source.is_none()));
            all.done += rows.done + plain * one(SubtaskStatus::Done);
            all.failed += rows.failed + plain * one(SubtaskStatus::Failed);
            all.skipped += rows.skipped + plain * (one(SubtaskStatus::Skipped) + one(SubtaskStatus::Dropped));
        }
        all
    }

    /// How a unit ended, if it has; of rows that went well as a whole nothing is kept.
    pub fn ended_as(&self, key: Key) -> Option<SubtaskStatus> {
        let task = self.task(key);
        match (key.row, task.source) {
            (Some(row), Some(i)) => {
                let source = &self.sources[i as usize];
                let in_hand = source.rows.get(&row).and_then(|entry| entry.results.get(&key.task));
                let failed = || source.failed.get(&row)?.iter().find(|(member, _)| *member == key.task).map(|(_, result)| result);
                in_hand.or_else(failed).map(|(status, _)| *status)
            }
            _ => task.status,
        }
    }
}
