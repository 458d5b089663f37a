//! Tasks that could start now, the most urgent first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A queue of ready tasks by rank; equal ranks in the tasks' own order, so that the order of arrival decides nothing.
#[derive(Debug, Clone)]
pub struct Ready<T: Ord> {
    heap: BinaryHeap<(u64, Reverse<T>)>,
}

impl<T: Ord> Default for Ready<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new() }
    }
}

impl<T: Ord> Ready<T> {
    /// Adds a task; O(log n). The same task twice comes out twice.
    pub fn insert(&mut self, task: T, rank: u64) {
        self.heap.push((rank, Reverse(task)));
    }

    /// Takes the task of the highest rank; O(log n).
    pub fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|(_, Reverse(task))| task)
    }

    /// The task that [`Self::pop`] would take.
    pub fn peek(&self) -> Option<&T> {
        self.heap.peek().map(|(_, Reverse(task))| task)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Gives every task its rank anew and drops those without one; O(n), for when the plan changed.
    pub fn rerank(&mut self, rank: impl Fn(&T) -> Option<u64>) {
        let tasks = std::mem::take(&mut self.heap).into_iter();
        self.heap = tasks.filter_map(|(_, Reverse(task))| rank(&task).map(|r| (r, Reverse(task)))).collect();
    }
}
