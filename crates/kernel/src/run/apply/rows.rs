//! The fold of rows: where they come from, how they end, which are open again.

use std::sync::Arc;

use crate::run::event::{SubtaskOrInput, SubtaskStatus};
use crate::run::rows;
use crate::run::state::{Key, Row, RowTally, Source, Stage, State};

impl State {
    pub(super) fn wake_rows(&mut self, i: usize) {
        let rows: Vec<u64> = self.sources[i].rows.keys().copied().collect();
        for row in rows {
            self.wake_row(i, row);
        }
    }

    /// Makes the members of a row ready whose row and task dependencies have ended.
    pub(super) fn wake_row(&mut self, i: usize, row: u64) {
        for task in self.sources[i].members.clone() {
            let key = Key { task, row: Some(row) };
            if self.work.get(&key).is_none_or(|w| w.stage == Stage::Ready) && self.row_unit_is_ripe(i, row, task) {
                self.enter(key, Stage::Ready);
            }
        }
    }

    /// Whether everything before one row of a task has ended (and it has not itself).
    pub(in crate::run) fn row_unit_is_ripe(&self, i: usize, row: u64, task: u32) -> bool {
        let results = self.sources[i].rows.get(&row).map(|r| &r.results);
        if results.is_some_and(|r| r.contains_key(&task)) {
            return false;
        }
        self.tasks[task as usize].deps.iter().all(|&dep| {
            if self.tasks[dep as usize].source == Some(i as u32) {
                results.is_some_and(|r| r.contains_key(&dep))
            } else {
                self.tasks[dep as usize].status.is_some()
            }
        })
    }

    pub(super) fn end_row_unit(&mut self, task: u32, row: u64, status: SubtaskStatus, output: &str) {
        count(&mut self.tasks[task as usize].rows, status, 1);
        rows::sample(&mut self.tasks[task as usize], row, status, output);
        let Some(i) = self.tasks[task as usize].source.map(|s| s as usize) else { return };
        let entry = self.sources[i].rows.entry(row).or_default();
        entry.results.insert(task, (status, output.into()));
        self.end_row(i, row);
    }

    /// Lets go of a row when all its members have ended; else wakes the next of them.
    fn end_row(&mut self, i: usize, row: u64) {
        let source = &mut self.sources[i];
        let Some(entry) = source.rows.get(&row) else { return };
        if entry.results.len() < source.members.len() {
            return self.wake_row(i, row);
        }
        if let Some(entry) = source.rows.remove(&row)
            && entry.results.values().any(|(status, _)| *status == SubtaskStatus::Failed)
        {
            let empty: Arc<str> = "".into();
            let kept = |(task, (status, output))| (task, (status, if status == SubtaskStatus::Done { output } else { empty.clone() }));
            source.failed.insert(row, entry.results.into_iter().map(kept).collect());
        }
        source.finished += 1;
        if !source.reopened.remove(&row) {
            source.above.insert(row);
        }
        while source.above.remove(&source.below) {
            source.below += 1;
        }
        self.close_source(i);
    }

    /// A row that failed is tried again from the member that failed; what succeeded in it stays.
    pub(super) fn reopen_row(&mut self, i: usize, row: u64) {
        let source = &mut self.sources[i];
        let Some(kept) = source.failed.remove(&row) else { return };
        source.finished -= 1;
        source.reopened.insert(row);
        let (good, bad): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(_, (status, _))| *status == SubtaskStatus::Done);
        for (task, (status, _)) in bad {
            count(&mut self.tasks[task as usize].rows, status, -1);
        }
        source.rows.insert(row, Row { results: good.into_iter().collect() });
        self.open_members(i);
        self.wake_row(i, row);
    }

    /// All rows of a task are to be done again, and those of what is made from them row by row.
    pub(super) fn restart_rows(&mut self, task: u32) {
        for task in self.row_chain(task) {
            if self.tasks[task as usize].status.is_some() {
                self.leave_pass(task);
            } else {
                self.tasks[task as usize].again = self.tasks[task as usize].source.is_some_and(|i| self.has_begun(i as usize));
            }
        }
        self.find_passes();
    }

    /// A task takes its rows from the start, in another pass; what the other members returned stays on record.
    fn leave_pass(&mut self, task: u32) {
        let Some(i) = self.tasks[task as usize].source.take().map(|i| i as usize) else { return };
        let source = &mut self.sources[i];
        source.members.retain(|&member| member != task);
        source.failed.retain(|_, results| {
            results.retain(|(member, _)| *member != task);
            results.iter().any(|(_, (status, _))| *status == SubtaskStatus::Failed)
        });
        self.forget_changes(task);
        let entry = &mut self.tasks[task as usize];
        entry.sample.clear();
        entry.again = false;
        entry.restarts += 1;
        self.open += u32::from(entry.status.take().is_some());
        entry.rows = RowTally::default();
    }

    /// A person wants no further rows: nor does any later pass over them start more.
    pub(super) fn cut_rows(&mut self, i: usize, total: u64) {
        self.sources[i].total = Some(total);
        self.close_source(i);
        for other in 0..self.sources.len() {
            if self.sources[other].from == self.sources[i].from && !self.has_begun(other) {
                self.sources[other].total = Some(total);
            }
        }
    }

    fn open_members(&mut self, i: usize) {
        for task in self.sources[i].members.clone() {
            if self.tasks[task as usize].status.take().is_some() {
                self.open += 1;
            }
        }
    }

    /// Ends the members of a source whose rows have all ended.
    pub(super) fn close_source(&mut self, i: usize) {
        if self.sources[i].total.is_none_or(|total| self.sources[i].finished < total) {
            return;
        }
        let members = self.sources[i].members.clone();
        let again = members.iter().any(|&task| self.tasks[task as usize].again);
        for task in members {
            let entry = &mut self.tasks[task as usize];
            if entry.again {
                self.leave_pass(task);
            } else if entry.status.is_none() {
                let all_failed = entry.rows.failed > 0 && entry.rows.done == 0 && entry.rows.skipped == 0;
                entry.status = Some(if all_failed { SubtaskStatus::Failed } else { SubtaskStatus::Done });
                entry.error = all_failed.then(|| "every row failed".to_owned());
                entry.output = rows::in_brief(entry).into();
                self.open -= 1;
                self.desk.news.insert(task);
                self.wake_dependents(task);
            }
        }
        if again {
            self.find_passes();
        }
        self.next_job();
    }
}

impl Source {
    /// A source of which nothing is known yet.
    pub(in crate::run) fn of(from: SubtaskOrInput, members: Vec<u32>) -> Self {
        Self {
            from,
            members,
            total: None,
            below: 0,
            above: Default::default(),
            reopened: Default::default(),
            rows: Default::default(),
            failed: Default::default(),
            finished: 0,
            halted: false,
            waived: false,
        }
    }
}

fn count(rows: &mut RowTally, status: SubtaskStatus, by: i64) {
    let count = match status {
        SubtaskStatus::Done => &mut rows.done,
        SubtaskStatus::Failed => &mut rows.failed,
        SubtaskStatus::Skipped | SubtaskStatus::Dropped => &mut rows.skipped,
    };
    *count = count.saturating_add_signed(by);
}
