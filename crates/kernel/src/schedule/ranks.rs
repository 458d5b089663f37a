//! Ranks of a plan that may still grow: the time from a task's start to the end of the longest chain behind it.

use std::collections::HashMap;

use super::virtual_time::{Graph, best_ranks};
use crate::ids::SubtaskId;
use crate::plan::{Plan, Subtask};
use crate::time::Millis;

/// The rank of every subtask by id.
///
/// [`Ranks::add`] keeps ranks right while a plan streams in, in whatever order; after a plan patch they are made anew.
#[derive(Debug, Clone, Default)]
pub struct Ranks {
    place: HashMap<SubtaskId, usize>,
    nodes: Vec<Node>,
    /// Sum of all estimates.
    total: u64,
}

#[derive(Debug, Clone, Default)]
struct Node {
    rank: u64,
    estimate: u64,
    waits: Vec<usize>,
    started: bool,
}

impl Ranks {
    /// Ranks of a whole plan by longest remaining path; linear.
    pub fn of(plan: &Plan, estimate: impl Fn(&Subtask) -> Millis) -> Self {
        let graph = Graph::of(plan, &estimate);
        let ranks = graph.longest_paths();
        Self::from_parts(plan, graph, ranks)
    }

    /// Ranks of a whole plan for so many workers: the best of a few orders tried in virtual time ([`best_ranks`]).
    pub fn best(plan: &Plan, workers: usize, estimate: impl Fn(&Subtask) -> Millis) -> Self {
        let graph = Graph::of(plan, &estimate);
        let ranks = best_ranks(&graph, workers);
        Self::from_parts(plan, graph, ranks)
    }

    fn from_parts(plan: &Plan, graph: Graph, ranks: Vec<u64>) -> Self {
        let place = plan.subtasks.iter().enumerate().map(|(n, s)| (s.id.clone(), n)).collect();
        let total = graph.durations.iter().fold(0, |sum: u64, d| sum.saturating_add(*d));
        let parts = graph.durations.into_iter().zip(graph.waits).zip(ranks);
        let nodes = parts.map(|((estimate, waits), rank)| Node { rank, estimate, waits, started: false }).collect();
        Self { place, nodes, total }
    }

    /// A further subtask; what it waits for becomes more urgent. Ids that have not come yet are remembered.
    pub fn add(&mut self, subtask: &Subtask, estimate: Millis) {
        let node = self.node(&subtask.id);
        let waits: Vec<usize> = subtask.depends_on.iter().map(|id| self.node(id)).collect();
        // Whoever waits for it came first and left its own rank here.
        let more = estimate.0.saturating_sub(self.nodes[node].estimate);
        self.nodes[node].estimate = estimate.0;
        self.nodes[node].rank = self.nodes[node].rank.saturating_add(more);
        self.nodes[node].waits = waits;
        self.total = self.total.saturating_add(more);
        self.raise_from(node);
    }

    /// The subtask has started: it and all before it need no rank any more.
    pub fn start(&mut self, id: &SubtaskId) {
        if let Some(&node) = self.place.get(id) {
            self.nodes[node].started = true;
        }
    }

    /// The rank, zero for an unknown id.
    pub fn rank(&self, id: &SubtaskId) -> u64 {
        self.place.get(id).map_or(0, |&node| self.nodes[node].rank)
    }

    fn node(&mut self, id: &SubtaskId) -> usize {
        if let Some(&node) = self.place.get(id) {
            return node;
        }
        self.nodes.push(Node::default());
        self.place.insert(id.clone(), self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// Carries a rank to everything before it. A streamed plan may hold a cycle that is refused later: the walk ends all
    /// the same, since no sound rank exceeds the sum of all estimates.
    fn raise_from(&mut self, node: usize) {
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            let behind = self.nodes[node].rank;
            for at in 0..self.nodes[node].waits.len() {
                let w = self.nodes[node].waits[at];
                let before = &mut self.nodes[w];
                let rank = before.estimate.saturating_add(behind);
                if rank > before.rank && rank <= self.total && !before.started {
                    before.rank = rank;
                    open.push(w);
                }
            }
        }
    }
}
