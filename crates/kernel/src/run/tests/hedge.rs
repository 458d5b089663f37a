//! A slow call gets a second request; one answer counts, both are paid for.

use serde_json::{Value, json};

use super::world::*;
use crate::call::ErrorClass;
use crate::policy::{Policy, Share};
use crate::run::*;
use crate::units::NanoUsd;

/// How long the slow call takes; all others take 100 ms.
const SLOW: u64 = 60_000;

fn hedging() -> Policy {
    let mut policy = policy();
    policy.tiers.values_mut().for_each(|tier| tier.hedge = true);
    policy
}

/// So many quick subtasks, and a slow one.
fn plan(quick: usize) -> Value {
    let mut all: Vec<Value> = (0..quick).map(|n| json!({"id": format!("q{n}"), "type": "extract", "description": "be quick"})).collect();
    all.push(json!({"id": "slow", "type": "extract", "description": "be slow"}));
    Value::Array(all)
}

/// The first call of `slow` takes long, the second does not.
fn one_is_slow(policy: Policy, quick: usize) -> World {
    World::given_under(policy, plan(quick)).script(|asked| match asked.nth {
        0 if asked.is("slow") => say("the slow one").after(SLOW),
        _ if asked.is("slow") => say("the quick one"),
        _ => usual(asked),
    })
}

fn hedges(world: &World) -> Vec<(CallNo, CallNo)> {
    let of = |e: &Event| match e {
        Event::CallStarted { call, hedge_of: Some(of), .. } => Some((*call, *of)),
        _ => None,
    };
    world.events().filter_map(of).collect()
}

/// What each call of `slow` cost and whether it was answered, in the order they ended.
fn ends(world: &World) -> Vec<(NanoUsd, bool)> {
    let mine: Vec<CallNo> = world
        .calls
        .iter()
        .filter(|(_, caller, ..)| matches!(caller, Caller::Executor { unit, .. } if unit.subtask.as_str() == "slow"))
        .map(|(no, ..)| *no)
        .collect();
    let end = |e: &Event| match e {
        Event::CallEnded { call, cost_usd, result, .. } if mine.contains(call) => {
            Some((*cost_usd, matches!(result, CallResult::Answered { .. })))
        }
        _ => None,
    };
    world.events().filter_map(end).collect()
}

fn output(world: &World) -> String {
    world.run.state().tasks.iter().find(|t| t.spec.id.as_str() == "slow").unwrap().output.to_string()
}

#[test]
fn the_first_of_two_answers_counts_and_the_other_call_is_cut_and_charged_as_leased() {
    let mut world = one_is_slow(hedging(), 30);
    let summary = world.go();
    assert_eq!(summary.status, RunStatus::Completed);
    assert_eq!(output(&world), "the quick one");
    assert!(summary.duration_ms.0 < 2_000, "{:?}", summary.duration_ms);
    let [(second, first)] = hedges(&world)[..] else { panic!("{:?}", hedges(&world)) };
    assert!(second > first);
    let [(won, true), (lost, false)] = ends(&world)[..] else { panic!("{:?}", ends(&world)) };
    assert!(lost > won && won > NanoUsd::ZERO, "{lost} {won}");
    let state = world.run.state();
    assert_eq!((state.tally.hedges, state.tally.outrun_usd), (1, lost));
    assert_eq!(state.tasks.iter().find(|t| t.spec.id.as_str() == "slow").unwrap().cost.0, won.0 + lost.0);
    let all: u64 = world.events().map(|e| if let Event::CallEnded { cost_usd, .. } = e { cost_usd.0 } else { 0 }).sum();
    assert_eq!(state.spent().0, all);
    assert!(state.calls.is_empty() && !state.in_flight());
}

#[test]
fn an_answer_that_comes_too_late_is_paid_for_and_not_used() {
    let mut world = one_is_slow(hedging(), 30);
    world.late = true;
    assert_eq!(world.go().status, RunStatus::Completed);
    let [(won, true), (lost, true)] = ends(&world)[..] else { panic!("{:?}", ends(&world)) };
    assert_eq!(won, lost, "charged for what it used");
    assert_eq!(output(&world), "the quick one");
    let ended = world.events().filter(|e| matches!(e, Event::SubtaskEnded { unit, .. } if unit.subtask.as_str() == "slow")).count();
    assert_eq!(ended, 1);
}

#[test]
fn when_one_of_two_fails_the_other_decides() {
    for slow_fails in [true, false] {
        let mut world = World::given_under(hedging(), plan(30)).script(move |asked| match asked.nth {
            0 if asked.is("slow") && slow_fails => error(ErrorClass::Server).after(300),
            0 if asked.is("slow") => say("the slow one").after(500),
            1 if asked.is("slow") && slow_fails => say("the quick one").after(900),
            1 if asked.is("slow") => error(ErrorClass::Server).after(100),
            _ => usual(asked),
        });
        assert_eq!(world.go().status, RunStatus::Completed);
        assert_eq!(output(&world), if slow_fails { "the quick one" } else { "the slow one" });
        assert_eq!(world.calls_of("slow").len(), 2, "{slow_fails}");
    }
}

#[test]
fn a_crash_with_both_in_flight_charges_both_and_asks_again() {
    let mut world = one_is_slow(hedging(), 30);
    world.script = Box::new(|asked| if asked.is("slow") && asked.nth < 2 { say("never").after(SLOW) } else { usual(asked) });
    while hedges(&world).is_empty() {
        world.go_for(1);
    }
    world.crash();
    assert_eq!(world.go().status, RunStatus::Completed);
    let ends = ends(&world);
    assert_eq!(ends.iter().filter(|(cost, answered)| !answered && *cost > NanoUsd::ZERO).count(), 2, "{ends:?}");
    assert_eq!(ends.iter().filter(|(_, answered)| *answered).count(), 1);
}

#[test]
fn there_is_no_second_request_unless_asked_for_before_enough_is_known_or_beyond_its_share() {
    let made = |policy: Policy, quick: usize| {
        let mut world = one_is_slow(policy, quick);
        assert_eq!(world.go().status, RunStatus::Completed);
        hedges(&world).len()
    };
    assert_eq!(made(hedging(), 30), 1);
    assert_eq!(made(policy(), 30), 0);
    assert_eq!(made(hedging(), 10), 0);
    let mut none = hedging();
    none.hedging.max_share = Share(0);
    assert_eq!(made(none, 30), 0);
}

#[test]
fn a_second_request_that_has_no_lease_is_not_made_and_nobody_starves_for_it() {
    let mut all = plan(30);
    // Room for one worst case, and not for two.
    all[30]["max_cost_usd"] = json!(0.008);
    let mut world =
        World::given_under(hedging(), all).script(|asked| if asked.is("slow") { say("at last").after(SLOW) } else { usual(asked) });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!((hedges(&world).len(), world.calls_of("slow").len(), output(&world).as_str()), (0, 1, "at last"));
}

#[test]
fn another_model_of_the_tier_is_asked_where_there_is_one() {
    let mut policy = hedging();
    let other = crate::ids::ModelRef::new("openai/gpt-5.4").unwrap();
    policy.tiers.values_mut().for_each(|tier| tier.alternates = vec![other.clone()]);
    let mut world = one_is_slow(policy, 30);
    assert_eq!(world.go().status, RunStatus::Completed);
    let asked: Vec<String> = world.calls_of("slow").iter().map(|call| call.model.to_string()).collect();
    assert_eq!(asked, ["openai/gpt-5.4-nano", "openai/gpt-5.4"]);
}
