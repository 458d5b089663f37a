//! The real run on a virtual clock reaches the bars of the schedules on record.

use std::io::Read;
use std::sync::Arc;

use serde_json::{Value, json};

use super::world::*;
use crate::catalog::Catalog;
use crate::plan::Plan;
use crate::run::simulate;

#[test]
fn the_run_is_near_its_lower_bound_on_every_recorded_graph() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let data = std::env::var("BRIGADE_DATA").unwrap_or_else(|_| format!("{root}/../shared/data"));
    let Ok(file) = std::fs::File::open(format!("{data}/taskgraphs/schedules.jsonl.gz")) else {
        println!("skipped: no data at {data}");
        return;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let catalog = Arc::new(Catalog::built_in());
    let mut sums = [(2, 0, 0, 1.03), (4, 0, 0, 1.005), (8, 0, 0, 1.001)];
    // All of them in release; a share of them where code is slow.
    let every = if cfg!(debug_assertions) { 6 } else { 1 };
    for line in text.lines().step_by(every) {
        let graph: Value = serde_json::from_str(line).unwrap();
        let node = |n: &Value| {
            let deps: Vec<String> = n["deps"].as_array().unwrap().iter().map(|d| format!("n{d}")).collect();
            json!({"id": format!("n{}", n["id"]), "type": "classify", "depends_on": deps, "simulate_ms": n["ms"], "tier": n["tier"]})
        };
        let nodes: Vec<Value> = graph["nodes"].as_array().unwrap().iter().map(node).collect();
        let plan = Plan { subtasks: subtasks(json!(nodes)), ..Plan::default() };
        for (workers, makespan, bound, _) in &mut sums {
            let said = simulate(&plan, *workers, &policy(), catalog.clone(), tools(), START).unwrap();
            assert_eq!(said.calls_per_tier.values().sum::<u64>(), plan.subtasks.len() as u64 + 1);
            *makespan += said.makespan_ms.0;
            *bound += said.lower_bound_ms.0;
        }
    }
    for (workers, makespan, bound, bar) in sums {
        let ratio = makespan as f64 / bound as f64;
        println!("{workers} workers: {ratio:.4}");
        assert!(ratio <= bar, "{workers} workers: {ratio} > {bar}");
    }
}
