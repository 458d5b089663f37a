//! Which `for_each` subtasks take their rows together, and which wait for a pass of others to end.

use std::collections::HashSet;

use crate::run::event::{SubtaskOrInput, SubtaskStatus};
use crate::run::rows::rows_from;
use crate::run::state::{Source, State};

impl State {
    /// Where the rows of a task come from, if it runs per row.
    pub fn rows_from(&self, task: u32) -> Option<SubtaskOrInput> {
        let mapped = |task: u32| self.tasks[task as usize].spec.for_each.as_ref();
        rows_from(mapped(task), |id| self.index.get(id).map(|&task| mapped(task)))
    }

    /// Whether a task sees of a dependency what it returned for the same row, and not its rows as a whole.
    pub(in crate::run) fn row_by_row(&self, task: u32, dep: u32) -> bool {
        let from = |task: u32| self.tasks[task as usize].source.map(|i| &self.sources[i as usize].from);
        from(task).is_some() && from(task) == from(dep)
    }

    /// A per-row task and all that is made from it row by row.
    pub(in crate::run) fn row_chain(&self, task: u32) -> Vec<u32> {
        let mut chain = vec![task];
        let mut at = 0;
        while let Some(&task) = chain.get(at) {
            for &dependent in &self.tasks[task as usize].dependents {
                if self.row_by_row(dependent, task) && !chain.contains(&dependent) {
                    chain.push(dependent);
                }
            }
            at += 1;
        }
        chain
    }

    /// Whether rows of a pass are at work or done: nothing joins it any more.
    pub(in crate::run) fn has_begun(&self, i: usize) -> bool {
        let source = &self.sources[i];
        source.finished > 0 || !source.rows.is_empty() || source.members.iter().any(|&task| self.tasks[task as usize].status.is_some())
    }

    /// Puts the per-row tasks of passes that have not begun into passes, earlier ones first.
    pub(super) fn find_passes(&mut self) {
        for i in 0..self.sources.len() {
            if !self.has_begun(i) {
                for task in std::mem::take(&mut self.sources[i].members) {
                    self.tasks[task as usize].source = None;
                }
            }
        }
        for task in self.without_a_pass() {
            let Some(from) = self.rows_from(task) else { continue };
            let joins = |i: &usize| self.sources[*i].from == from && !self.has_begun(*i) && !self.waits_for(task, *i);
            let i = (0..self.sources.len()).find(joins).unwrap_or_else(|| {
                // The input ends where it ended before; a list may have become another one.
                let same = self.sources.iter().filter(|s| s.from == from && from == SubtaskOrInput::Input);
                let total = same.filter_map(|s| s.total).min();
                self.sources.push(Source { total, ..Source::of(from.clone(), Vec::new()) });
                self.sources.len() - 1
            });
            self.tasks[task as usize].source = Some(i as u32);
            self.sources[i].members.push(task);
            self.sources[i].members.sort_unstable();
        }
        for i in 0..self.sources.len() {
            if self.sources[i].total == Some(0) && !self.has_begun(i) {
                self.close_source(i);
            }
        }
    }

    /// Per-row tasks that are in no pass, each behind what it hangs on.
    fn without_a_pass(&self) -> Vec<u32> {
        let open = |task: u32| {
            let entry = &self.tasks[task as usize];
            entry.spec.for_each.is_some() && entry.source.is_none() && entry.status != Some(SubtaskStatus::Dropped)
        };
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        for task in (0..self.tasks.len() as u32).filter(|&task| open(task)) {
            // A task is taken up twice: before and after what it hangs on.
            let mut path = vec![(task, false)];
            while let Some((task, after)) = path.pop() {
                if after {
                    order.push(task);
                } else if seen.insert(task) {
                    path.push((task, true));
                    path.extend(self.tasks[task as usize].deps.iter().map(|&dep| (dep, false)));
                }
            }
        }
        order.retain(|&task| open(task));
        order
    }

    /// Whether anything that a task hangs on, outside of a pass, ends only after that pass.
    fn waits_for(&self, task: u32, pass: usize) -> bool {
        let pass = Some(pass as u32);
        let mut seen = HashSet::new();
        let mut passes = HashSet::new();
        let mut behind: Vec<u32> = self.tasks[task as usize].deps.clone();
        behind.retain(|&dep| self.tasks[dep as usize].source != pass);
        while let Some(task) = behind.pop() {
            let source = self.tasks[task as usize].source;
            if source == pass {
                return true;
            }
            if !seen.insert(task) {
                continue;
            }
            behind.extend(&self.tasks[task as usize].deps);
            // A pass ends as a whole.
            if let Some(i) = source
                && passes.insert(i)
            {
                behind.extend(&self.sources[i as usize].members);
            }
        }
        false
    }

    /// A dropped subtask is no part of any row.
    pub(super) fn leave_source(&mut self, task: u32) {
        let Some(i) = self.tasks[task as usize].source.take().map(|i| i as usize) else { return };
        self.sources[i].members.retain(|&member| member != task);
    }
}
