//! Gates and caps: who may call now, and where a call goes while its own account is closed.

use serde_json::{Value, json};

use super::world::*;
use crate::ids::ModelRef;
use crate::plan::TaskType;
use crate::run::*;

fn many(n: usize) -> Value {
    (0..n).map(|i| json!({"id": format!("s{i}"), "type": "classify", "description": "label it"})).collect()
}

/// The most attempts, or calls, that were under way at once, as `of` counts events.
fn most_at_once(world: &World, of: impl Fn(&Event) -> i32) -> i32 {
    let mut now = 0;
    world
        .events()
        .map(|event| {
            now += of(event);
            now
        })
        .max()
        .unwrap_or(0)
}

#[test]
fn no_more_attempts_of_a_type_are_under_way_than_its_cap_allows_and_others_go_past_it() {
    let mut policy = policy();
    policy.limits.max_of_type.insert(TaskType::Classify, 3);
    let mut plan = many(200);
    plan.as_array_mut().unwrap().extend((0..5).map(|i| json!({"id": format!("x{i}"), "type": "extract", "description": "pick it out"})));
    let mut world = World::given_under(policy, plan);
    assert_eq!(world.go().status, RunStatus::Completed);
    let classify = most_at_once(&world, |event| match event {
        Event::AttemptStarted { unit, .. } if unit.subtask.as_str().starts_with('s') => 1,
        Event::AttemptEnded { unit, .. } if unit.subtask.as_str().starts_with('s') => -1,
        _ => 0,
    });
    assert_eq!(classify, 3);
    let first = world.events().filter(|e| matches!(e, Event::AttemptStarted { .. })).take(8);
    let others = first.filter(|e| matches!(e, Event::AttemptStarted { unit, .. } if unit.subtask.as_str().starts_with('x'))).count();
    assert_eq!(others, 5, "behind two hundred that must wait");
}

#[test]
fn no_more_calls_are_in_flight_on_a_tier_than_its_cap_allows() {
    let mut policy = policy();
    policy.limits.max_on_tier.insert(policy.ladder[0].clone(), 4);
    let mut world = World::given_under(policy, many(50));
    assert_eq!(world.go().status, RunStatus::Completed);
    let mut on_nano = std::collections::BTreeSet::new();
    let calls = world.events().map(|event| match event {
        Event::CallStarted { call, tier, .. } if tier.as_str() == "nano" => {
            on_nano.insert(*call);
            on_nano.len()
        }
        Event::CallEnded { call, .. } => {
            on_nano.remove(call);
            on_nano.len()
        }
        _ => on_nano.len(),
    });
    assert_eq!(calls.max(), Some(4));
}

/// A chain of six on a tier with an alternate elsewhere; its account is closed while the third and the fourth are due.
fn chain_past_a_closed_account(spill: bool) -> World {
    let mut policy = policy();
    policy.limits.spill = spill;
    let nano = policy.ladder[0].clone();
    let alternates = ["openai/gpt-5.4-mini", "other/gpt-5.4-nano"].map(|name| ModelRef::new(name).unwrap());
    policy.tiers.get_mut(&nano).unwrap().alternates = alternates.into();
    let after = |i: usize| if i == 0 { vec![] } else { vec![format!("s{}", i - 1)] };
    let plan: Value = (0..6).map(|i| json!({"id": format!("s{i}"), "type": "classify", "depends_on": after(i)})).collect();
    let mut world = World::given_under(policy, plan);
    let ended = |world: &World| world.events().filter(|e| matches!(e, Event::SubtaskEnded { .. })).count();
    while world.go_for(1).is_none() {
        match ended(&world) {
            1 => drop(world.closed.insert("openai".to_owned())),
            2 if !spill => return world,
            3 => world.closed.clear(),
            _ => {}
        }
    }
    world
}

#[test]
fn calls_spill_to_an_alternate_while_their_account_is_closed_and_come_back_and_never_go_up() {
    let world = chain_past_a_closed_account(true);
    assert_eq!(world.status("s5"), Some(SubtaskStatus::Done));
    let models: Vec<String> = (0..6).map(|i| world.calls_of(&format!("s{i}"))[0].model.to_string()).collect();
    let (own, other) = ("openai/gpt-5.4-nano", "other/gpt-5.4-nano");
    assert_eq!(models, [own, own, other, other, own, own], "not to another model of the closed account");
    assert!((0..6).all(|i| world.tiers(&format!("s{i}")) == ["nano"]), "never a tier up");
    let recorded = |e: &Event| matches!(e, Event::CallStarted { model, .. } if model.as_str() == other);
    assert_eq!(world.events().filter(|e| recorded(e)).count(), 2);
}

#[test]
fn without_the_setting_nothing_spills() {
    let world = chain_past_a_closed_account(false);
    assert_eq!((world.run.state().calls.len(), world.calls_of("s2").len()), (0, 0), "it waits");
}
