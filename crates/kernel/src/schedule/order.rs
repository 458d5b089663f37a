//! Orders of a graph's nodes, tried in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::plan::graph;

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

impl Graph {
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

    /// The longest chain: no number of workers is faster.
    pub fn critical_path(&self) -> u64 {
        self.longest_paths().into_iter().max().unwrap_or(0)
    }

    /// All durations together.
    pub fn work(&self) -> u64 {
        self.durations.iter().fold(0, |sum, d| sum.saturating_add(*d))
    }

    /// What no order beats: the critical path, or the work shared by so many workers (at least one).
    pub fn lower_bound(&self, workers: usize) -> u64 {
        self.critical_path().max(self.work().div_ceil(workers.max(1) as u64))
    }
}

/// List scheduling: while a worker is free, the ready node of the highest rank starts.
pub fn run(graph: &Graph, ranks: &[u64], workers: usize) -> Timetable {
    let n = graph.durations.len();
    let followers = graph::reversed(&graph.waits);
    let mut open: Vec<usize> = graph.waits.iter().map(Vec::len).collect();
    let mut table = Timetable { start: vec![0; n], end: vec![0; n], makespan: 0 };
    // Equal ranks in the nodes' own order.
    let entry = |node: usize| (ranks[node], Reverse(node));
    let mut ready: BinaryHeap<_> = (0..n).filter(|&node| open[node] == 0).map(entry).collect();
    let mut running = BinaryHeap::new();
    let mut now = 0;
    loop {
        while running.len() < workers.max(1)
            && let Some((_, Reverse(node))) = ready.pop()
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
                    ready.push(entry(f));
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
    let bound = graph.lower_bound(workers);
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
