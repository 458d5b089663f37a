//! Siblings that wait until the first of them has warmed the cache: when they do, how long, and when they do not.

use serde_json::{Value, json};

use super::world::*;
use crate::call::ErrorClass;
use crate::policy::{Policy, Who};
use crate::run::*;
use crate::time::Millis;

fn siblings(n: usize, more: Value) -> Value {
    let one = |n: usize| {
        let mut one = json!({"id": format!("s{n}"), "type": "classify", "description": format!("do s{n}")});
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        one
    };
    json!((0..n).map(one).collect::<Vec<_>>())
}

/// Rules of more than 1,024 tokens.
fn long() -> Policy {
    let mut policy = policy();
    policy.prompts.insert(Who::Executor, "Do as you are told. ".repeat(300));
    policy
}

/// When the calls of executors began, after the start of the run.
fn starts(world: &World) -> Vec<u64> {
    let at = |s: &Stamped| matches!(s.event, Event::CallStarted { caller: Caller::Executor { .. }, .. }).then_some(s.at.0 - START.0);
    world.durable.iter().filter_map(at).collect()
}

/// Runs siblings whose answers take 100 ms, their first content `first`.
fn played(policy: Policy, plan: Value, first: u64) -> Vec<u64> {
    let mut world = World::given_under(policy, plan).script(move |asked| usual(asked).first(first));
    assert_eq!(world.go().status, RunStatus::Completed);
    starts(&world)
}

#[test]
fn siblings_start_with_the_first_content_of_the_first() {
    assert_eq!(played(long(), siblings(4, json!({})), 40), [0, 40, 40, 40]);
}

#[test]
fn siblings_with_a_short_prefix_start_together() {
    assert_eq!(played(policy(), siblings(4, json!({})), 40), [0; 4]);
}

#[test]
fn nobody_waits_where_cached_input_costs_as_much_or_there_is_a_hurry() {
    assert_eq!(played(long(), siblings(4, json!({"deadline": "60s"})), 40), [0; 4]);
    let mut hurried = long();
    hurried.limits.subtask = Some(Millis(60_000));
    assert_eq!(played(hurried, siblings(4, json!({})), 40), [0; 4]);
    assert_eq!(played(long(), siblings(1, json!({})), 40), [0]);
}

#[test]
fn a_first_that_is_slow_or_fails_is_not_waited_for_long() {
    let slow = |reply: fn() -> Reply_| {
        let mut world = World::given_under(long(), siblings(3, json!({}))).script(move |asked| match asked.subtask() {
            "s0" if asked.nth == 0 => reply(),
            _ => usual(asked),
        });
        assert_eq!(world.go().status, RunStatus::Completed);
        starts(&world)[..3].to_vec()
    };
    assert_eq!(slow(|| say("at last").after(60_000).first(60_000)), [0, 3_000, 3_000], "the bound");
    assert_eq!(slow(|| error(ErrorClass::Server)), [0, 50, 50], "its end");
    assert_eq!(slow(|| say("whole").after(700).first(700)), [0, 700, 700], "an answer that does not stream");
}

#[test]
fn a_warm_cache_is_not_warmed_again() {
    let mut plan = siblings(3, json!({}));
    let after = json!(["s0", "s1", "s2"]);
    let later = (0..3).map(|n| json!({"id": format!("t{n}"), "type": "classify", "description": "again", "depends_on": after}));
    plan.as_array_mut().unwrap().extend(later);
    assert_eq!(played(long(), plan, 40), [0, 40, 40, 140, 140, 140]);
}

#[test]
fn others_pass_by_siblings_that_wait() {
    let mut plan = siblings(200, json!({}));
    plan.as_array_mut().unwrap().push(json!({"id": "other", "type": "summarize", "description": "another type"}));
    let starts = played(long(), plan, 40);
    assert_eq!(starts.iter().filter(|at| **at == 0).count(), 2, "the first of each type");
}

#[test]
fn after_a_crash_in_the_wait_everybody_is_served() {
    let mut world = World::given_under(long(), siblings(4, json!({})));
    world.go_for(1);
    assert_eq!(starts(&world).len(), 1);
    world.crash();
    assert_eq!(world.go().status, RunStatus::Completed);
}

#[test]
fn siblings_that_are_shown_files_wait_too() {
    let starts = played(long(), siblings(4, json!({"files": ["src/**"]})), 40);
    assert_eq!(starts.iter().map(|at| at - starts[0]).collect::<Vec<_>>(), [0, 40, 40, 40]);
}

#[test]
fn nobody_waits_where_only_one_may_run() {
    let mut policy = long();
    policy.limits.max_concurrent_subagents = crate::policy::Slots::At(1);
    assert_eq!(played(policy, siblings(3, json!({})), 40), [0, 100, 200]);
}

#[test]
fn rows_wait_for_the_first_row() {
    let mut world = World::new(long(), false);
    world.rows = (0..6).map(|n| json!({ "n": n })).collect();
    world.give(json!([{"id": "a", "type": "classify", "description": "look", "for_each": "input"}]), BulkRules::default());
    assert_eq!(world.go().status, RunStatus::Completed);
    let starts = starts(&world);
    assert_eq!(starts.iter().map(|at| at - starts[0]).collect::<Vec<_>>(), [0, 40, 40, 40, 40, 40]);
}
