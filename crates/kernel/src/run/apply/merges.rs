//! The fold of what accepted work made of the files, and of the subtasks that merge what does not fit together.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::plan::Subtask;
use crate::run::event::{Change, Part, Side, SubtaskStatus};
use crate::run::state::{Key, Merge, Phase, Stage, State};

impl State {
    /// What a unit made of the files stands while its result does.
    pub(super) fn keep_change(&mut self, key: Key, status: SubtaskStatus, change: Option<&Change>) {
        let mends = self.work.get(&key).is_some_and(|work| work.onto.is_some());
        match (status, change) {
            (SubtaskStatus::Done, Some(change)) if mends => self.repairs.push((key, change.clone())),
            (SubtaskStatus::Done, None) if mends => {}
            (SubtaskStatus::Done, Some(change)) => {
                self.forget_repairs(key);
                self.changes.insert(key, change.clone());
            }
            _ => {
                self.forget_repairs(key);
                self.changes.remove(&key);
            }
        }
    }

    fn forget_repairs(&mut self, key: Key) {
        self.repairs.retain(|(of, _)| *of != key);
    }

    /// All rows of a task are done again.
    pub(super) fn forget_changes(&mut self, task: u32) {
        self.changes.retain(|key, _| key.task != task);
    }

    /// A merge joins the plan: it waits for both sides, and what hangs on both waits for it.
    pub(super) fn add_merge(&mut self, spec: &Subtask, files: &[String], sides: &[Side]) {
        let task = self.tasks.len() as u32;
        self.merges.push(task);
        self.add_task(spec.clone());
        self.tasks[task as usize].merge = Some(Merge { files: files.to_vec(), sides: sides.to_vec(), start: Vec::new() });
        let merged = self.tasks[task as usize].deps.clone();
        let passes: BTreeSet<u32> = merged.iter().filter_map(|&side| self.tasks[side as usize].source).collect();
        for waiting in self.behind_all(&merged) {
            let entry = &self.tasks[waiting as usize];
            // A row builds on its own row; and the pass it belongs to must end before there is anything to merge.
            let in_the_pass = entry.source.is_some_and(|pass| passes.contains(&pass));
            if waiting != task && !in_the_pass && !entry.deps.contains(&task) {
                self.wait_for(waiting, task);
            }
        }
        if self.desk.planned {
            self.phase = Phase::Running;
            self.settle_graph();
        }
    }

    /// A task waits for one more; what of it has not begun leaves its queue.
    pub(super) fn wait_for(&mut self, waiting: u32, task: u32) {
        self.tasks[waiting as usize].deps.push(task);
        self.tasks[task as usize].dependents.push(waiting);
        let mut keys: Vec<Key> =
            self.work.iter().filter(|(key, work)| key.task == waiting && work.stage == Stage::Ready).map(|(key, _)| *key).collect();
        keys.sort_unstable();
        for key in keys {
            self.leave_queues(key);
        }
    }

    /// Merges that a task which joins the plan later has to wait for: it hangs on all their sides.
    pub(super) fn merges_before(&self, task: u32) -> Vec<u32> {
        if self.merges.is_empty() {
            return Vec::new();
        }
        let before = self.before(Key { task, row: None });
        let there = |task: u32| before.contains(&Key { task, row: None });
        let settles = |merge: &&u32| {
            let entry = &self.tasks[**merge as usize];
            **merge != task && !there(**merge) && !entry.deps.is_empty() && entry.deps.iter().all(|&side| there(side))
        };
        self.merges.iter().filter(settles).copied().collect()
    }

    /// What a merge starts from: its result will stand for all of it, and every file in conflict is its own to write.
    pub(super) fn merge_starts(&mut self, key: Key, start: &[Part], conflicts: &[String]) {
        let entry = &mut self.tasks[key.task as usize];
        let Some(merge) = &mut entry.merge else { return };
        merge.start = start.to_vec();
        for path in conflicts.iter().filter(|path| !merge.files.contains(path)).cloned().collect::<Vec<_>>() {
            let spec = Arc::make_mut(&mut entry.spec);
            spec.files.push(globset::escape(&path));
            spec.writes.push(globset::escape(&path));
            merge.files.push(path);
        }
    }
}
