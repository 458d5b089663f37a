//! Nothing of a dear plan starts before a person agrees to its price.

use serde_json::json;

use super::world::*;
use crate::policy::Policy;
use crate::run::*;
use crate::units::NanoUsd;

const LIMIT: NanoUsd = NanoUsd(NanoUsd::DOLLAR.0);

fn asks_above() -> Policy {
    let mut policy = policy();
    policy.budget.confirm_above_usd = Some(LIMIT);
    policy
}

/// A planner whose plan streams in, and what it is expected to cost.
fn dear(price: NanoUsd) -> World {
    let plan = json!({"coordination_notes": "n", "subtasks": [planned("a", &[]), planned("b", &["a"])]}).to_string();
    let mut world = World::new(asks_above(), true).script(move |asked| match asked.caller {
        Caller::Planner => say(plan.clone()).streamed(40, 50),
        Caller::Replanner => say(json!({"add": [], "drop": ["b"], "change": [], "coordination_notes": ""}).to_string()),
        _ => usual(asked),
    });
    world.price = price;
    world
}

fn at(world: &World, kind: &str) -> usize {
    world.kinds().iter().position(|k| k == kind).unwrap_or(usize::MAX)
}

#[test]
fn a_plan_within_the_limit_starts_by_itself_once_it_is_whole_and_priced() {
    let mut world = dear(LIMIT);
    assert_eq!(world.go().status, RunStatus::Completed);
    let [whole, priced, started] = ["plan.completed", "plan.priced", "attempt.started"].map(|kind| at(&world, kind));
    assert!(whole < priced && priced < started, "{:?}", world.kinds());
    assert_eq!(world.run.state().tally.asked, 0);
}

#[test]
fn a_dearer_plan_waits_and_starts_when_a_person_agrees_even_after_a_crash() {
    let mut world = dear(NanoUsd(LIMIT.0 + 1));
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!((world.calls.len(), at(&world, "attempt.started")), (1, usize::MAX), "only the planner was called");
    let item = &world.run.state().inbox[&1];
    assert!(item.ask == Ask::Price && item.question.contains("confirm_above_usd"), "{item:?}");
    world.crash();
    assert_eq!(world.go().status, RunStatus::NeedsPerson, "resuming is not agreeing");
    world.crash();
    world.hear(Fact::Replied { item: 1, reply: Reply::Approve });
    let end = world.go();
    assert_eq!((end.status, end.human_reviews), (RunStatus::Completed, 1));
    assert_eq!(world.kinds().iter().filter(|k| *k == "plan.priced").count(), 1);
}

#[test]
fn a_rejected_price_ends_the_run_and_nothing_was_worked_on() {
    let mut world = dear(NanoUsd(LIMIT.0 + 1));
    world.go();
    world.crash();
    world.hear(Fact::Replied { item: 1, reply: Reply::Reject });
    let end = world.go();
    assert_eq!((end.status, end.output.as_str()), (RunStatus::Failed, "a person rejected the price"));
    assert_eq!(at(&world, "attempt.started"), usize::MAX);
}

#[test]
fn words_about_the_price_go_to_the_planner_and_its_plan_is_priced_again() {
    let mut world = dear(NanoUsd(LIMIT.0 + 1));
    world.go();
    world.crash();
    world.price = LIMIT;
    world.hear(Fact::Replied { item: 1, reply: Reply::Text { text: "cheaper".to_owned() } });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.status("b"), Some(SubtaskStatus::Dropped));
    let [patched, started] = ["plan.patched", "attempt.started"].map(|kind| at(&world, kind));
    assert!(patched < started, "{:?}", world.kinds());
    assert_eq!(world.kinds().iter().filter(|k| *k == "plan.priced").count(), 2);
}

#[test]
fn a_plan_file_is_asked_about_alike_and_rows_wait_too() {
    let plan = json!([{"id": "each", "type": "classify", "description": "label", "for_each": "input"}]);
    let mut world = World::new(asks_above(), false);
    world.price = NanoUsd(LIMIT.0 * 9);
    world.rows = (0..5).map(|n| json!({"n": n})).collect();
    world.give(plan, BulkRules::default());
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!(world.calls.len(), 0);
    world.crash();
    world.hear(Fact::Replied { item: 1, reply: Reply::Approve });
    assert_eq!(world.go().accepted, 5);
}
