//! Rows that travel together: gathered, sent once, found again, paid once.

use std::collections::BTreeMap;

use serde_json::json;

use super::world::*;
use crate::call::{ErrorClass, Service};
use crate::catalog::{self, Catalog, Day};
use crate::policy::{Policy, Slots};
use crate::run::*;
use crate::time::Millis;
use crate::units::NanoUsd;

fn batching() -> Policy {
    let mut policy = policy();
    policy.budget.run_usd = NanoUsd(1_000_000_000_000);
    policy.service.batch = true;
    policy.service.batch_at.insert("openai".to_owned());
    policy
}

fn label() -> serde_json::Value {
    json!([{"id": "label", "type": "classify", "for_each": "input", "description": "label {{item.n}}"}])
}

fn bulk(policy: Policy, rows: usize, plan: serde_json::Value) -> World {
    let mut world = World::new(policy, false);
    world.rows = (0..rows).map(|n| json!({ "n": n })).collect();
    world.give(plan, BulkRules::default());
    world
}

/// Lines of each batch on record.
fn sizes(world: &World) -> Vec<usize> {
    world.events().filter_map(|e| if let Event::BatchStarted { calls, .. } = e { Some(calls.len()) } else { None }).collect()
}

/// How often the provider served each row, and what all that costs, at the service that each call asked for.
fn served(world: &World) -> (BTreeMap<u64, u32>, NanoUsd) {
    let catalog = Catalog::built_in();
    let (mut rows, mut all) = (BTreeMap::new(), NanoUsd::ZERO);
    let lines: BTreeMap<CallNo, &Result<_, _>> = world.provider.values().flatten().map(|(no, answer)| (*no, answer)).collect();
    for (no, caller, _, call) in &world.calls {
        let Caller::Executor { unit: Unit { row: Some(row), .. }, .. } = caller else { continue };
        let Some(Ok(answer)) = lines.get(no) else { continue };
        *rows.entry(*row).or_default() += 1;
        let price = catalog.priced(&call.model, Day::of(START)).unwrap().price;
        all += catalog::cost(price, &answer.usage.unwrap(), Service::Batch);
    }
    (rows, all)
}

fn cost_of_rows(world: &World) -> NanoUsd {
    world.run.state().tasks[0].cost
}

#[test]
fn rows_travel_in_one_batch_at_its_price_and_take_no_slot() {
    let mut policy = batching();
    policy.limits.max_concurrent_subagents = Slots::At(2);
    let mut world = bulk(policy, 700, label());
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(sizes(&world), [700]);
    let (rows, cost) = served(&world);
    assert!(rows.len() == 700 && rows.values().all(|times| *times == 1));
    assert_eq!(cost_of_rows(&world), cost);
    assert!(world.calls.iter().all(|(_, caller, _, call)| (call.service == Service::Batch) == matches!(caller, Caller::Executor { .. })));
}

#[test]
fn no_more_rows_wait_for_batches_than_may() {
    let mut policy = batching();
    policy.service.batch_rows = 100;
    let mut world = bulk(policy, 250, label());
    world.watch = |world| assert!(world.run.state().in_batches() <= 100);
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(sizes(&world), [100, 100, 50]);
}

#[test]
fn a_line_that_failed_travels_once_more_and_then_goes_by_itself() {
    let mut world = bulk(batching(), 40, label()).script(|asked| match (asked.row(), asked.nth) {
        (Some(3 | 7), 0) | (Some(11), 0..2) => {
            let mut expired = error(ErrorClass::TimedOut);
            if let Err(error) = &mut expired.answer {
                error.sent = false;
            }
            expired
        }
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(sizes(&world), [40, 3]);
    let services: Vec<Service> = world
        .calls
        .iter()
        .filter(|(_, caller, ..)| matches!(caller, Caller::Executor { unit, .. } if unit.row == Some(11)))
        .map(|(.., call)| call.service)
        .collect();
    assert_eq!(services, [Service::Batch, Service::Batch, Service::Default]);
}

#[test]
fn a_check_that_fails_sends_the_row_into_the_next_batch_with_the_evidence() {
    let plan = json!([{"id": "label", "type": "classify", "for_each": "input", "description": "label", "checks": [["true"]]}]);
    let mut world = bulk(batching(), 30, plan);
    world.on_check = Box::new(|unit, attempt, _| match (unit.row, attempt) {
        (Some(4 | 5), 1) => (Verdict::Fail, "not so".to_owned()),
        _ => (Verdict::Pass, String::new()),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(sizes(&world), [30, 2]);
    assert_eq!(served(&world).0.values().sum::<u32>(), 32);
}

#[test]
fn wherever_the_engine_dies_each_row_is_paid_once() {
    let plan = json!([
        {"id": "label", "type": "classify", "for_each": "input", "description": "label {{item.n}}"},
        {"id": "reply", "type": "extract", "for_each": "label", "depends_on": ["label"], "description": "reply"},
    ]);
    let mut whole = bulk(batching(), 30, plan.clone());
    whole.go();
    let turns = whole.turns;
    // In every turn, before anything is performed and after it.
    for (at, performed) in (1..turns).flat_map(|at| [(at, false), (at, true)]) {
        let mut world = bulk(batching(), 30, plan.clone());
        world.dies_at = Some(at).filter(|_| !performed);
        if world.go_for(at).is_none() {
            world.crash();
            assert_eq!(world.go().status, RunStatus::Completed, "turn {at}");
        }
        assert!(world.provider.values().map(Vec::len).sum::<usize>() == 60, "turn {at}: {:?}", sizes(&world));
        let state = world.run.state();
        assert!(state.batches.is_empty() && state.gathered.is_empty(), "turn {at}");
        let (_, cost) = served(&world);
        assert_eq!(state.tasks[0].cost + state.tasks[1].cost, cost, "turn {at}");
    }
}

#[test]
fn who_is_interrupted_while_a_batch_runs_leaves_at_once_and_takes_it_up_again() {
    let mut world = bulk(batching(), 20, label());
    while world.run.state().batches.values().all(|batch| batch.id.is_none()) {
        assert!(world.go_for(1).is_none());
    }
    world.hear(Fact::Drain);
    let before = world.now;
    assert_eq!(world.go().status, RunStatus::Cancelled);
    assert!(world.now - before < Millis(1_000) && world.run.state().batches.len() == 1);
    world.crash();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!((sizes(&world), served(&world).0.len()), (vec![20], 20));
}

#[test]
fn who_is_cancelled_waits_for_what_the_provider_still_delivers_and_pays_it() {
    let mut world = bulk(batching(), 20, label());
    while world.run.state().batches.is_empty() {
        assert!(world.go_for(1).is_none());
    }
    world.hear(Fact::CancelAsked);
    assert_eq!(world.go().status, RunStatus::Cancelled);
    assert_eq!(cost_of_rows(&world), served(&world).1);
    assert_eq!(world.run.state().ledger.leased(), NanoUsd::ZERO);
}

#[test]
fn what_was_gathered_and_not_sent_is_released_at_a_cancel() {
    let mut world = bulk(batching(), 20, label());
    while world.run.state().gathered.is_empty() {
        assert!(world.go_for(1).is_none());
        if !world.run.state().batches.is_empty() {
            return; // gathered and sent in one turn: nothing waits
        }
    }
    world.hear(Fact::CancelAsked);
    assert_eq!(world.go().status, RunStatus::Cancelled);
    assert_eq!(cost_of_rows(&world), NanoUsd::ZERO);
}

#[test]
fn a_provider_that_refuses_batches_is_asked_row_by_row() {
    for class in [ErrorClass::BadRequest, ErrorClass::Server] {
        let mut world = bulk(batching(), 12, label());
        world.no_batches = Some(class);
        assert_eq!(world.go().status, RunStatus::Completed, "{class}");
        assert_eq!(world.calls_of("label").iter().filter(|call| call.service == Service::Default).count(), 12, "{class}");
        assert!(world.provider.is_empty());
    }
}

#[test]
fn only_rows_that_are_one_call_and_in_no_hurry_travel() {
    let with = |field: &str, value: serde_json::Value| {
        let mut plan = label();
        plan[0][field] = value;
        let mut world = bulk(batching(), 5, plan);
        world.go();
        world.calls_of("label")[0].service
    };
    assert_eq!(with("title", json!("plain")), Service::Batch);
    assert_eq!(with("deadline", json!("1h")), Service::Default);
    assert_eq!(with("tools", json!(["search"])), Service::Default);
    let mut elsewhere = batching();
    elsewhere.service.batch_at.clear();
    let mut world = bulk(elsewhere, 5, label());
    world.go();
    assert_eq!(world.calls_of("label")[0].service, Service::Default);
}
