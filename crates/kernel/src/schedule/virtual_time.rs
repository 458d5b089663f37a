//! A plan played through on a virtual clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use serde::Serialize;

use super::ready::Ready;
use crate::plan::{Plan, Subtask, graph};
use crate::time::Millis;

/// Nodes with durations in ms, by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// How long each takes.
    pub durations: Vec<u64>,
    /// What each waits for; acyclic.
    pub waits: Vec<Vec<usize>>,
}

/// When each node started and ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    /// Start of each node.
    pub start: Vec<u64>,
    /// End of each node.
    pub end: Vec<u64>,
    /// End of the last.
    pub makespan: u64,
}

/// What `brigade simulate` says of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Report {
    /// From the first start to the last end.
    pub makespan_ms: u64,
    /// The longest chain: no number of workers is faster.
    pub critical_path_ms: u64,
    /// All durations together.
    pub work_ms: u64,
    /// `max(critical_path_ms, ceil(work_ms / workers))`.
    pub lower_bound_ms: u64,
}

impl Graph {
    /// A checked plan's graph; links to nowhere are dropped.
    pub fn of(plan: &Plan, estimate: impl Fn(&Subtask) -> Millis) -> Self {
        let place: HashMap<&str, usize> = plan.subtasks.iter().enumerate().map(|(n, s)| (s.id.as_str(), n)).collect();
        let waits = |s: &Subtask| s.depends_on.iter().filter_map(|id| place.get(id.as_str()).copied()).collect();
        Self { durations: plan.subtasks.iter().map(|s| estimate(s).0).collect(), waits: plan.subtasks.iter().map(waits).collect() }
    }

    /// For each node the time from its start to the end of the longest chain behind it.
    pub fn longest_paths(&self) -> Vec<u64> {
        let mut rank = self.durations.clone();
        for &node in graph::order(&self.waits).iter().rev() {
            for &w in &self.waits[node] {
                rank[w] = rank[w].max(self.durations[w].saturating_add(rank[node]));
            }
        }
        rank
    }

    fn reversed(&self) -> Self {
        Self { durations: self.durations.clone(), waits: graph::reversed(&self.waits) }
    }

    /// For each node the sum of the durations of everything that waits for it, counting a node once per path end at most
    /// `u64::MAX`; a cheap stand-in for the work behind it.
    fn work_behind(&self) -> Vec<u64> {
        let mut behind = self.durations.clone();
        for &node in graph::order(&self.waits).iter().rev() {
            for &w in &self.waits[node] {
                behind[w] = behind[w].saturating_add(behind[node]);
            }
        }
        behind
    }

    fn work(&self) -> u64 {
        self.durations.iter().fold(0, |sum, d| sum.saturating_add(*d))
    }

    fn bound(&self, workers: usize) -> u64 {
        let path = self.longest_paths().into_iter().max().unwrap_or(0);
        path.max(self.work().div_ceil(workers.max(1) as u64))
    }
}

/// List scheduling: while a worker is free, the ready node of the highest rank starts.
pub fn run(graph: &Graph, ranks: &[u64], workers: usize) -> Timetable {
    let n = graph.durations.len();
    let followers = graph::reversed(&graph.waits);
    let mut open: Vec<usize> = graph.waits.iter().map(Vec::len).collect();
    let mut table = Timetable { start: vec![0; n], end: vec![0; n], makespan: 0 };
    let mut ready = Ready::default();
    for node in (0..n).filter(|&node| open[node] == 0) {
        ready.insert(node, ranks[node]);
    }
    let mut running = BinaryHeap::new();
    let mut now = 0;
    loop {
        while running.len() < workers.max(1)
            && let Some(node) = ready.pop()
        {
            table.start[node] = now;
            table.end[node] = now.saturating_add(graph.durations[node]);
            running.push(Reverse((table.end[node], node)));
        }
        let Some(&Reverse((next, _))) = running.peek() else { break };
        now = next;
        while let Some(&Reverse((end, node))) = running.peek()
            && end == now
        {
            running.pop();
            for &f in &followers[node] {
                open[f] -= 1;
                if open[f] == 0 {
                    ready.insert(f, ranks[f]);
                }
            }
        }
    }
    table.makespan = now;
    table
}

/// Rounds of improvement tried, fewer for larger graphs: about 100,000 node visits, some 10 ms.
const VISITS: usize = 100_000;

/// Ranks for so many workers: longest remaining path, and where that misses the lower bound the best of the work behind,
/// level order, and rounds of scheduling backwards and forwards again (each node's rank is then how early the last round
/// could have started it). Deterministic; never worse than the longest path alone.
pub fn best_ranks(graph: &Graph, workers: usize) -> Vec<u64> {
    let longest = graph.longest_paths();
    let bound = graph.bound(workers);
    let mut best = (run(graph, &longest, workers).makespan, longest.clone());
    if best.0 <= bound {
        return best.1;
    }
    let back = graph.reversed();
    let rounds = (VISITS / (graph.durations.len() + 1)).min(64);
    let starts = [longest, graph.work_behind(), by_level(graph)];
    for ranks in starts {
        let mut table = run(graph, &ranks, workers);
        keep(&mut best, table.makespan, &ranks);
        for _ in 0..rounds / 8 {
            // Backwards, what ended last goes first; forwards again, what started last backwards goes first.
            let backwards = run(&back, &table.end, workers);
            let ranks = backwards.end.clone();
            table = run(graph, &ranks, workers);
            keep(&mut best, table.makespan, &ranks);
            if best.0 <= bound {
                return best.1;
            }
        }
    }
    best.1
}

fn keep(best: &mut (u64, Vec<u64>), makespan: u64, ranks: &[u64]) {
    if makespan < best.0 {
        *best = (makespan, ranks.to_vec());
    }
}

/// Earlier levels first, longer nodes first within a level: what waves do, without their barriers.
fn by_level(graph: &Graph) -> Vec<u64> {
    let order = graph::order(&graph.waits);
    let mut level = vec![0u64; graph.durations.len()];
    for &node in &order {
        level[node] = graph.waits[node].iter().map(|&w| level[w] + 1).max().unwrap_or(0);
    }
    let longest = graph.durations.iter().copied().max().unwrap_or(0).saturating_add(1);
    let deepest = level.iter().copied().max().unwrap_or(0);
    (0..level.len()).map(|n| (deepest - level[n]).saturating_mul(longest).saturating_add(graph.durations[n])).collect()
}

/// Plays a checked plan through with so many workers (at least one).
pub fn simulate(plan: &Plan, workers: usize, estimate: impl Fn(&Subtask) -> Millis) -> Report {
    let graph = Graph::of(plan, estimate);
    let ranks = best_ranks(&graph, workers);
    Report {
        makespan_ms: run(&graph, &ranks, workers).makespan,
        critical_path_ms: graph.longest_paths().into_iter().max().unwrap_or(0),
        work_ms: graph.work(),
        lower_bound_ms: graph.bound(workers),
    }
}
