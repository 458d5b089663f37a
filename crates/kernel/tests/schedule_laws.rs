//! Laws of the scheduler, attacked by generated graphs.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use brigade_kernel::ids::SubtaskId;
use brigade_kernel::plan::{Author, Format, Known, Plan, check, parse};
use brigade_kernel::schedule::{Graph, Ranks, Ready, best_ranks, estimate, run, simulate};
use proptest::prelude::*;
use serde_json::json;

fn graph() -> impl Strategy<Value = Graph> {
    let node = (0u64..50, prop::collection::vec(any::<prop::sample::Index>(), 0..4));
    prop::collection::vec(node, 1..40).prop_map(|nodes| Graph {
        durations: nodes.iter().map(|(ms, _)| *ms).collect(),
        // Links lead backwards, so there is no cycle.
        waits: nodes
            .iter()
            .enumerate()
            .map(|(n, (_, to))| {
                let mut to: Vec<usize> = if n == 0 { Vec::new() } else { to.iter().map(|i| i.index(n)).collect() };
                to.sort_unstable();
                to.dedup();
                to
            })
            .collect(),
    })
}

fn plan_of(graph: &Graph) -> Plan {
    let subtask = |(n, ms): (usize, &u64)| {
        let to: Vec<String> = graph.waits[n].iter().map(|t| format!("s{t}")).collect();
        json!({"id": format!("s{n}"), "depends_on": to, "simulate_ms": ms})
    };
    let subtasks: Vec<_> = graph.durations.iter().enumerate().map(subtask).collect();
    let text = json!({"subtasks": subtasks}).to_string();
    check(&parse(&text, Format::Json, Author::Person), &Known::names([])).plan.unwrap()
}

proptest! {
    // A failing case is printed; no file of seeds is kept beside integration tests.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_starts_early_or_on_a_worker_too_many(graph in graph(), workers in 1usize..6, ranks in prop::collection::vec(any::<u64>(), 40)) {
        let table = run(&graph, &ranks, workers);
        for (n, waits) in graph.waits.iter().enumerate() {
            prop_assert!(waits.iter().all(|w| table.end[*w] <= table.start[n]));
            prop_assert_eq!(table.end[n], table.start[n] + graph.durations[n]);
            let at_once = (0..graph.durations.len()).filter(|m| table.start[*m] <= table.start[n] && table.end[*m] > table.start[n]).count();
            prop_assert!(at_once <= workers);
        }
    }

    #[test]
    fn a_plan_takes_at_least_its_bound_and_at_most_graham_s(graph in graph(), workers in 1usize..6) {
        let report = simulate(&plan_of(&graph), workers, estimate);
        prop_assert_eq!(report.work_ms, graph.durations.iter().sum::<u64>());
        prop_assert_eq!(report.lower_bound_ms, report.critical_path_ms.max(report.work_ms.div_ceil(workers as u64)));
        prop_assert!(report.makespan_ms >= report.lower_bound_ms);
        // Graham 1966: no list schedule exceeds work / m + (1 - 1/m) path.
        let m = workers as u64;
        prop_assert!(report.makespan_ms * m <= report.work_ms + (m - 1) * report.critical_path_ms);
    }

    #[test]
    fn the_order_tried_out_is_never_worse_than_the_longest_path(graph in graph(), workers in 1usize..6) {
        let plain = run(&graph, &graph.longest_paths(), workers).makespan;
        prop_assert!(run(&graph, &best_ranks(&graph, workers), workers).makespan <= plain);
    }

    #[test]
    fn ranks_of_a_streamed_plan_equal_those_of_the_whole(graph in graph(), seed: u64) {
        let plan = plan_of(&graph);
        let whole = Ranks::of(&plan, estimate);
        let mut order: Vec<usize> = (0..plan.subtasks.len()).collect();
        order.sort_by_key(|n| (*n as u64 + 1).wrapping_mul(seed | 1).rotate_left(17));
        let mut grown = Ranks::default();
        for n in order {
            grown.add(&plan.subtasks[n], estimate(&plan.subtasks[n]));
        }
        for (n, subtask) in plan.subtasks.iter().enumerate() {
            prop_assert_eq!(grown.rank(&subtask.id), whole.rank(&subtask.id), "s{}", n);
            prop_assert_eq!(whole.rank(&subtask.id), graph.longest_paths()[n]);
        }
    }

    #[test]
    fn the_ready_queue_gives_the_highest_rank_whatever_the_order_of_arrival(mut tasks in prop::collection::vec((0u64..5, 0u32..1000), 0..50)) {
        let mut ready = Ready::default();
        for (rank, task) in &tasks {
            ready.insert(*task, *rank);
        }
        tasks.sort_by_key(|(rank, task)| (std::cmp::Reverse(*rank), *task));
        prop_assert_eq!(ready.len(), tasks.len());
        let out: Vec<u32> = std::iter::from_fn(|| ready.pop()).collect();
        prop_assert_eq!(out, tasks.into_iter().map(|(_, task)| task).collect::<Vec<_>>());
    }
}

#[test]
fn a_cycle_in_a_plan_that_still_streams_ends_the_ranking() {
    let plan = plan_of(&Graph { durations: vec![5, 5], waits: vec![vec![], vec![0]] });
    let mut first = plan.subtasks[0].clone();
    first.depends_on = vec![SubtaskId::new("s1").unwrap()];
    let mut ranks = Ranks::default();
    ranks.add(&first, estimate(&first));
    ranks.add(&plan.subtasks[1], estimate(&plan.subtasks[1]));
    assert!(ranks.rank(&first.id) <= 10);
}

#[test]
fn reranking_drops_what_left_the_plan() {
    let mut ready = Ready::default();
    (0..4).for_each(|n| ready.insert(n, n));
    ready.rerank(|n| (*n != 2).then_some(10 - n));
    assert_eq!(std::iter::from_fn(|| ready.pop()).collect::<Vec<_>>(), [0, 1, 3]);
    assert!(ready.is_empty() && ready.peek().is_none());
}

#[test]
fn large_plans_are_ranked_and_played_in_linear_work() {
    let n = 10_000;
    let durations: Vec<u64> = (0..n as u64).map(|i| 100 + i * 7919 % 1_000).collect();
    for waits in [
        (0..n).map(|i| if i == 0 { vec![] } else { vec![i - 1] }).collect::<Vec<_>>(),
        (0..n).map(|i| if i < 100 { vec![] } else { vec![i - 100, i / 2] }).collect(),
        vec![vec![]; n],
    ] {
        let plan = plan_of(&Graph { durations: durations.clone(), waits });
        let started = std::time::Instant::now();
        let report = simulate(&plan, 16, estimate);
        println!("{report:?} in {:?}", started.elapsed());
        let started = std::time::Instant::now();
        let mut ranks = Ranks::default();
        plan.subtasks.iter().for_each(|s| ranks.add(s, estimate(s)));
        println!("ranks grown one by one in {:?}", started.elapsed());
    }
}
