//! The fold of rows: where they come from, how they end, which are open again.

use crate::plan::ForEach;
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
            if !self.work.contains_key(&key) && self.row_unit_is_ripe(i, row, task) {
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
        if let Some(mut entry) = source.rows.remove(&row)
            && entry.results.values().any(|(status, _)| *status == SubtaskStatus::Failed)
        {
            for (status, output) in entry.results.values_mut() {
                if *status != SubtaskStatus::Done {
                    *output = "".into();
                }
            }
            source.failed.insert(row, entry);
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
        let mut results = kept.results;
        results.retain(|&task, (status, _)| {
            if *status != SubtaskStatus::Done {
                count(&mut self.tasks[task as usize].rows, *status, -1);
            }
            *status == SubtaskStatus::Done
        });
        source.rows.insert(row, Row { results });
        self.open_members(i);
        self.wake_row(i, row);
    }

    /// All rows of a source are to be done again: what they are made from, or what is asked of them, changed.
    pub(super) fn restart_source(&mut self, i: usize) {
        if !self.sources[i].rows.is_empty() {
            return; // still at work
        }
        let members = self.sources[i].members.clone();
        let source = &mut self.sources[i];
        let total = source.total.filter(|_| source.from == SubtaskOrInput::Input);
        *source = Source { total, ..Source::of(source.from.clone(), members.clone()) };
        for task in members {
            let entry = &mut self.tasks[task as usize];
            entry.rows = RowTally::default();
            entry.sample.clear();
        }
        self.open_members(i);
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
        for task in self.sources[i].members.clone() {
            let entry = &mut self.tasks[task as usize];
            if entry.status.is_none() {
                let all_failed = entry.rows.failed > 0 && entry.rows.done == 0 && entry.rows.skipped == 0;
                entry.status = Some(if all_failed { SubtaskStatus::Failed } else { SubtaskStatus::Done });
                entry.error = all_failed.then(|| "every row failed".to_owned());
                entry.output = rows::in_brief(entry).into();
                self.open -= 1;
                self.wake_dependents(task);
            }
        }
        self.next_job();
    }

    /// Maps a `for_each` subtask to its source: its dependency's, when that one runs per row too.
    pub(super) fn find_source(&mut self, task: u32) {
        let mut chain = Vec::new();
        let mut at = task;
        let source = loop {
            let entry = &self.tasks[at as usize];
            if let Some(source) = entry.source {
                break source;
            }
            chain.push(at);
            let from = match &entry.spec.for_each {
                None => return,
                Some(ForEach::Input) => SubtaskOrInput::Input,
                Some(ForEach::Subtask(id)) => {
                    let Some(&parent) = self.index.get(id) else { return };
                    if self.tasks[parent as usize].spec.for_each.is_some() {
                        at = parent;
                        continue;
                    }
                    SubtaskOrInput::Subtask(id.clone())
                }
            };
            break self.sources.iter().position(|s| s.from == from).unwrap_or_else(|| {
                self.sources.push(Source::of(from, Vec::new()));
                self.sources.len() - 1
            }) as u32;
        };
        for task in chain {
            if self.tasks[task as usize].status == Some(SubtaskStatus::Dropped) {
                continue;
            }
            self.tasks[task as usize].source = Some(source);
            let members = &mut self.sources[source as usize].members;
            members.push(task);
            members.sort_unstable();
        }
    }

    /// A dropped subtask is no part of any row.
    pub(super) fn leave_source(&mut self, task: u32) {
        let Some(i) = self.tasks[task as usize].source.take().map(|i| i as usize) else { return };
        self.sources[i].members.retain(|&m| m != task);
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
