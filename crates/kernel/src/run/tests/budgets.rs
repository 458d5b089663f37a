//! What caps do to a run: who goes cheaper, who pauses, what is said.

use serde_json::{Value, json};

use super::world::*;
use crate::budget::Scope;
use crate::policy::{OnExhausted, Policy};
use crate::run::*;
use crate::time::Millis;
use crate::units::NanoUsd;

fn general(n: usize) -> Value {
    (0..n).map(|i| json!({"id": format!("s{i}"), "type": "general", "description": "do it"})).collect()
}

fn leases(world: &World) -> Vec<NanoUsd> {
    world.events().filter_map(|e| if let Event::CallStarted { lease_usd, .. } = e { Some(*lease_usd) } else { None }).collect()
}

/// The worst case of a subtask's first call on a tier.
fn lease_on(tier: &str) -> NanoUsd {
    let mut plan = general(1);
    plan[0]["tier"] = json!(tier);
    let mut world = World::given(plan);
    world.go_for(1);
    leases(&world)[0]
}

fn tiers(world: &World) -> Vec<String> {
    world.events().filter_map(|e| if let Event::AttemptStarted { tier, .. } = e { Some(tier.to_string()) } else { None }).collect()
}

fn under(alter: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = policy();
    alter(&mut policy);
    policy
}

#[test]
fn with_cheaper_an_attempt_takes_the_highest_tier_that_has_room() {
    let (mini, flagship) = (lease_on("mini"), lease_on("flagship"));
    // A quarter is held back for the review.
    let run_usd = NanoUsd(mini.0 * 4 / 3 + 1_000);
    assert!(run_usd < flagship);
    let cheaper = |on| under(|p| (p.budget.run_usd, p.budget.on_exhausted) = (run_usd, on));
    let mut world = World::given_under(cheaper(OnExhausted::Cheaper), general(1));
    assert_eq!(world.go().status, RunStatus::BudgetReached, "there is none left for the review");
    assert_eq!((tiers(&world), world.status("s0")), (vec!["mini".to_owned()], Some(SubtaskStatus::Done)));
    let why = world.events().find_map(|e| if let Event::AttemptStarted { why, .. } = e { Some(why.clone()) } else { None });
    assert_eq!(why.as_deref(), Some("run budget has no room for flagship"));
    assert!(!world.kinds().contains(&"subtask.escalated".to_owned()));
    let mut world = World::given_under(cheaper(OnExhausted::Pause), general(1));
    assert_eq!((world.go().status, world.calls.len()), (RunStatus::BudgetReached, 0));
}

#[test]
fn a_type_that_may_never_run_on_a_tier_does_not_go_there_for_money() {
    let mini = lease_on("mini");
    let policy = under(|p| {
        p.budget.run_usd = NanoUsd(mini.0 * 4 / 3 + 1_000);
        p.budget.on_exhausted = OnExhausted::Cheaper;
        for tier in ["nano", "mini"] {
            p.tiers.get_mut(&crate::ids::Tier::new(tier).unwrap()).unwrap().never.insert(crate::plan::TaskType::General);
        }
    });
    let mut world = World::given_under(policy, general(1));
    assert_eq!((world.go().status, world.calls.len()), (RunStatus::BudgetReached, 0));
}

#[test]
fn a_call_over_its_own_cap_is_the_matter_of_its_subtask() {
    let (nano, mini) = (lease_on("nano"), lease_on("mini"));
    let policy = || under(|p| p.budget.call_usd = Some(NanoUsd(mini.0 + 500)));
    let mut world = World::given_under(policy(), general(1));
    world.go();
    assert_eq!(tiers(&world), ["mini"], "the flagship is too dear for one call, the next tier is not");
    // Escalation to what is too dear is refused before the call, and never back to what failed.
    let mut plan = general(2);
    plan[0] = json!({"id": "s0", "type": "classify", "description": "do it", "checks": [["true"]]});
    plan[1]["tier"] = json!("nano");
    let mut world = World::given_under(under(|p| p.budget.attempt_usd = Some(NanoUsd(nano.0 * 2))), plan);
    world.on_check = Box::new(|_, _, _| (Verdict::Fail, "no".to_owned()));
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert!(tiers(&world).iter().all(|tier| tier == "nano"), "{:?}", tiers(&world));
    assert_eq!(world.status("s1"), Some(SubtaskStatus::Done), "the rest goes on");
}

#[test]
fn a_partial_result_names_what_is_missing_and_a_raise_finishes_it() {
    let flagship = lease_on("flagship");
    let policy = under(|p| {
        p.budget.run_usd = NanoUsd(flagship.0 * 2 * 4 / 3 + 1_000);
        p.budget.on_exhausted = OnExhausted::FinishPartial;
    });
    let mut world = World::given_under(policy, general(4)).script(|asked| match asked.caller {
        Caller::Executor { .. } => usual(asked).usage(None),
        _ => usual(asked),
    });
    let end = world.go();
    assert_eq!(end.status, RunStatus::BudgetReached);
    let short = end.short_of.unwrap();
    assert!(short.partial && short.scope == Scope::Run, "{short:?}");
    assert_eq!(
        end.output,
        "ok s0\n\nok s1\n\nThis is a part: it was not reviewed, and 2 subtasks are missing.\n- s2: not done\n- s3: not done\n"
    );
    world.hear(Fact::CapRaised(NanoUsd(50_000_000_000)));
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.calls_of("s0").len(), 1);
}

#[test]
fn a_person_is_warned_once_at_four_fifths_of_a_cap_and_once_more_after_a_raise() {
    let flagship = lease_on("flagship");
    let policy = under(|p| p.budget.run_usd = NanoUsd(flagship.0 * 100));
    let mut world = World::given_under(policy, general(120)).script(|asked| match asked.caller {
        Caller::Executor { .. } => usual(asked).usage(None),
        _ => usual(asked),
    });
    world.slots = Some(1);
    let warnings = |world: &World| world.kinds().iter().filter(|k| *k == "budget.warning").count();
    world.go();
    let spent = world.spent().0;
    assert!(spent > flagship.0 * 80 && spent < flagship.0 * 100, "some of it is held back for the review");
    assert_eq!(warnings(&world), 1);
    world.hear(Fact::CapRaised(NanoUsd(flagship.0 * 130)));
    world.reopen();
    world.go();
    assert_eq!(warnings(&world), 2);
}

#[test]
fn a_day_cap_pauses_the_run_and_the_next_day_lets_it_go_on() {
    let flagship = lease_on("flagship");
    let policy = || under(|p| p.budget.day_usd = Some(NanoUsd(flagship.0 * 5)));
    let mut world = World::given_under(policy(), general(5)).script(|asked| match asked.caller {
        Caller::Executor { .. } => usual(asked).usage(None),
        _ => usual(asked),
    });
    let end = world.go();
    assert_eq!((end.status, end.short_of.map(|s| s.scope)), (RunStatus::BudgetReached, Some(Scope::Day)));
    let total = world.home.total();
    assert!(world.calls.len() < 5 && total.settled.money.0 <= flagship.0 * 5);
    assert_eq!(total.leased, crate::budget::Amounts::default());
    assert_eq!(total.settled.money, world.spent(), "the home's book is the run's");
    while world.run.state().phase != Phase::Ended {
        world.now = world.now + Millis(86_400_000);
        world.reopen();
        world.go();
    }
    assert_eq!(world.home.total().settled.money, world.spent());
}

#[test]
fn promises_of_others_are_waited_for_and_not_taken_for_spent() {
    let flagship = lease_on("flagship");
    let mut world = World::given_under(under(|p| p.budget.day_usd = Some(NanoUsd(flagship.0 * 30))), general(1));
    let other = crate::budget::home::RunMark::of(&crate::ids::RunId::new("r0000000000000000002").unwrap());
    let most = crate::budget::Amounts { money: NanoUsd(flagship.0 * 30), ..Default::default() };
    let lease = crate::budget::HomeLease { seq: 900, n: 0 };
    world.home.promise(lease, crate::budget::home::Open { run: other, at: START, most });
    world.go_for(10);
    assert_eq!((world.calls.len(), world.kinds().contains(&"budget.refused".to_owned())), (0, false));
    let ended = crate::budget::home::Spent { lease: Some(lease), at: START, took: Default::default() };
    world.home.ended(&crate::budget::home::Ended { calls: vec![ended] });
    assert_eq!(world.go().status, RunStatus::Completed);
}

#[test]
fn with_cheaper_a_day_cap_sends_attempts_down_the_ladder_too() {
    let mini = lease_on("mini");
    let policy = under(|p| {
        p.budget.day_usd = Some(NanoUsd(mini.0 * 14 / 10));
        p.budget.on_exhausted = OnExhausted::Cheaper;
    });
    let mut world = World::given_under(policy, general(1));
    assert_eq!(world.go().status, RunStatus::BudgetReached, "there is none left for the review");
    assert_eq!((tiers(&world), world.status("s0")), (vec!["flagship".to_owned(), "mini".to_owned()], Some(SubtaskStatus::Done)));
    assert_eq!(world.home.total().leased, Default::default());
}
