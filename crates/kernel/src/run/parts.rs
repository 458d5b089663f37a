//! Which accepted changes make up a tree, and in which order they are laid onto the base.
//!
//! A unit starts from the changes of all it depends on; the run's patch is made of all there are. A merge stands for
//! everything it started from. What was mended on a tree of everybody's work comes last.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::event::{Part, SubtaskStatus, Unit};
use super::state::{Key, State, Task};
use crate::plan::graph;

/// Units as seen from one of them: a task as a whole, or one row of it.
type Seen = BTreeSet<Key>;

impl State {
    /// All accepted changes, in the order in which they are laid onto the base.
    pub fn parts(&self) -> Vec<Part> {
        self.laid(|_| true)
    }

    /// The accepted changes of all that a unit depends on.
    pub(super) fn start_of(&self, key: Key) -> Vec<Part> {
        if self.changes.is_empty() {
            return Vec::new();
        }
        let seen = self.before(key);
        self.laid(|change| seen.contains(&change) || seen.contains(&Key { task: change.task, row: None }))
    }

    /// Whether a unit depends on work that changed files.
    pub(super) fn hangs_on_changes(&self, key: Key) -> bool {
        !self.changes.is_empty() && {
            let seen = self.before(key);
            self.changes.keys().any(|change| seen.contains(change) || seen.contains(&Key { task: change.task, row: None }))
        }
    }

    /// All that a unit depends on, directly or not.
    pub(super) fn before(&self, key: Key) -> Seen {
        let mut seen = Seen::new();
        let mut left = vec![key];
        while let Some(at) = left.pop() {
            let task = self.task(at);
            for &dep in &task.deps {
                // Within a pass a row builds on the same row of the others, else on all of them.
                let same = at.row.is_some() && task.source.is_some() && self.tasks[dep as usize].source == task.source;
                let dep = Key { task: dep, row: at.row.filter(|_| same) };
                if seen.insert(dep) {
                    left.push(dep);
                }
            }
        }
        seen
    }

    /// What hangs on all of these tasks, directly or not.
    pub(super) fn behind_all(&self, tasks: &[u32]) -> BTreeSet<u32> {
        let behind = |task: u32| {
            let mut seen = BTreeSet::new();
            let mut left = vec![task];
            while let Some(at) = left.pop() {
                left.extend(self.tasks[at as usize].dependents.iter().filter(|&&next| seen.insert(next)));
            }
            seen
        };
        let sets: Vec<BTreeSet<u32>> = tasks.iter().map(|&task| behind(task)).collect();
        let Some((first, rest)) = sets.split_first() else { return BTreeSet::new() };
        first.iter().copied().filter(|task| rest.iter().all(|set| set.contains(task))).collect()
    }

    /// The first merge whose result stands for something that is no longer so.
    pub(super) fn stale_merge(&self) -> Option<u32> {
        let stale = |task: &u32| {
            let entry = &self.tasks[*task as usize];
            let started = entry.merge.as_ref().map(|merge| &merge.start);
            entry.is_merged() && started.is_some_and(|start| !same_but_repairs(start, &self.start_of(Key { task: *task, row: None })))
        };
        self.merges.iter().copied().find(stale)
    }

    fn laid(&self, wanted: impl Fn(Key) -> bool) -> Vec<Part> {
        let mut there: Vec<Key> = self.changes.keys().copied().filter(|&key| wanted(key) && !self.open_again(key)).collect();
        let place = if there.len() < 2 { BTreeMap::new() } else { self.graph_places() };
        there.sort_by_key(|key| (place.get(&key.task).copied().unwrap_or(usize::MAX), *key));
        let merges: Vec<u32> = there.iter().map(|key| key.task).filter(|&task| self.tasks[task as usize].is_merged()).collect();
        let held: HashSet<&Part> =
            merges.iter().filter_map(|&task| self.tasks[task as usize].merge.as_ref()).flat_map(|merge| &merge.start).collect();
        let part = |key: Key, from: Option<&String>, to: &String| Part { unit: self.unit(key), from: from.cloned(), to: to.clone() };
        let changes = there.iter().map(|&key| {
            let change = &self.changes[&key];
            part(key, Some(&change.from).filter(|_| !self.tasks[key.task as usize].is_merged()), &change.to)
        });
        let repairs = self.repairs.iter().filter(|(key, _)| wanted(*key) && !self.open_again(*key));
        let repairs = repairs.map(|(key, change)| part(*key, Some(&change.from), &change.to));
        changes.chain(repairs).filter(|part| !held.contains(part)).collect()
    }

    /// Taken up again, but not to mend what stays: what it made before does not count any more.
    fn open_again(&self, key: Key) -> bool {
        let entry = self.task(key);
        entry.source.is_none() && entry.status.is_none() && self.work.get(&key).is_none_or(|work| work.onto.is_none())
    }

    /// Where each task that changed something stands when the graph is walked in order.
    fn graph_places(&self) -> BTreeMap<u32, usize> {
        let waits: Vec<Vec<usize>> = self.tasks.iter().map(|t| t.deps.iter().map(|&d| d as usize).collect()).collect();
        graph::order(&waits).into_iter().enumerate().map(|(place, task)| (task as u32, place)).collect()
    }

    /// The checks that all work together must pass, each with the last subtask in graph order that names it.
    pub(super) fn checks_of_all(&self, tree: &str) -> Vec<(Key, Vec<String>)> {
        let place = self.graph_places();
        let mut tasks: BTreeSet<(usize, u32)> = BTreeSet::new();
        tasks.extend(self.changes.keys().map(|key| (place.get(&key.task).copied().unwrap_or(0), key.task)));
        let mut checks: Vec<(Key, Vec<String>)> = Vec::new();
        for (_, task) in tasks {
            let key = Key { task, row: None };
            let last = self.repairs.iter().rev().find(|(of, _)| *of == key).map(|(_, change)| change).or_else(|| self.changes.get(&key));
            for argv in &self.tasks[task as usize].spec.checks {
                checks.retain(|(_, known)| known != argv);
                // It passed on this very tree.
                if last.is_none_or(|change| change.to != tree) {
                    checks.push((key, argv.clone()));
                }
            }
        }
        checks
    }
}

impl Task {
    /// Whether it is a merge that was done.
    fn is_merged(&self) -> bool {
        self.merge.is_some() && self.status == Some(SubtaskStatus::Done)
    }
}

/// A merge need not be done again for what was mended after it: that is laid on top.
fn same_but_repairs(start: &[Part], now: &[Part]) -> bool {
    let there: HashSet<&Part> = now.iter().collect();
    let known: HashSet<&Unit> = start.iter().map(|part| &part.unit).collect();
    start.iter().all(|part| there.contains(part)) && now.iter().all(|part| known.contains(&part.unit))
}
