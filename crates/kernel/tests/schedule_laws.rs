//! Laws of the scheduler, attacked by generated graphs.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use brigade_kernel::catalog::Catalog;
use brigade_kernel::ids::{ModelRef, Tier};
use brigade_kernel::plan::{Author, Format, Known, Plan, check, parse};
use brigade_kernel::policy::{Policy, Slots};
use brigade_kernel::run::{Simulated, simulate};
use brigade_kernel::schedule::{Graph, best_ranks, run};
use brigade_kernel::time::Timestamp;
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

fn played(plan: &Plan, slots: Slots) -> Simulated {
    let rung = |tier: &str, model: &str| (Tier::new(tier).unwrap(), ModelRef::new(model).unwrap());
    let mut policy = Policy::standard([rung("nano", "openai/gpt-5.4-nano"), rung("flagship", "openai/gpt-5.4")]);
    policy.limits.max_concurrent_subagents = slots;
    simulate(plan, &policy, Arc::new(Catalog::built_in()), Vec::new().into(), Timestamp(1_800_000_000_000)).unwrap()
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
    fn a_plan_takes_at_least_its_bound_and_at_most_graham_s(graph in graph(), workers in 1u32..6) {
        let report = played(&plan_of(&graph), Slots::At(workers));
        let (makespan, path, work) = (report.makespan_ms.0, report.critical_path_ms.0, report.work_ms.0);
        prop_assert_eq!(work, graph.durations.iter().sum::<u64>());
        prop_assert_eq!(report.lower_bound_ms.0, path.max(work.div_ceil(u64::from(workers))));
        prop_assert!(makespan >= report.lower_bound_ms.0);
        // Graham 1966: no list schedule exceeds work / m + (1 - 1/m) path.
        let m = u64::from(workers);
        prop_assert!(makespan * m <= work + (m - 1) * path);
        prop_assert_eq!(makespan, run(&graph, &best_ranks(&graph, workers as usize), workers as usize).makespan, "the run keeps the order");
    }

    #[test]
    fn the_order_tried_out_is_never_worse_than_the_longest_path(graph in graph(), workers in 1usize..6) {
        let plain = run(&graph, &graph.longest_paths(), workers).makespan;
        prop_assert!(run(&graph, &best_ranks(&graph, workers), workers).makespan <= plain);
    }
}

#[test]
fn subtasks_that_write_run_side_by_side_in_a_simulation_too() {
    let writes = json!({"id": "a", "simulate_ms": 100, "writes": ["a"], "tools": ["write_file"]});
    let checked = json!({"id": "b", "simulate_ms": 100, "checks": [["true"]]});
    let text = json!({"subtasks": [writes, checked, {"id": "c", "simulate_ms": 100}]}).to_string();
    let known = Known::names(["write_file".to_owned()]);
    let checked = check(&parse(&text, Format::Json, Author::Person), &known);
    let report = played(&checked.plan.unwrap(), Slots::Auto);
    assert_eq!((report.makespan_ms.0, report.lower_bound_ms.0), (100, 100));
}

#[test]
fn large_plans_are_played_through() {
    let n = 10_000;
    let durations: Vec<u64> = (0..n as u64).map(|i| 100 + i * 7919 % 1_000).collect();
    for waits in [
        (0..n).map(|i| if i == 0 { vec![] } else { vec![i - 1] }).collect::<Vec<_>>(),
        (0..n).map(|i| if i < 100 { vec![] } else { vec![i - 100, i / 2] }).collect(),
        vec![vec![]; n],
    ] {
        let plan = plan_of(&Graph { durations: durations.clone(), waits });
        let started = std::time::Instant::now();
        let report = played(&plan, Slots::At(16));
        println!("{report:?} in {:?}", started.elapsed());
    }
}
