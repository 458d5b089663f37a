//! Providers that will not serve, people who interrupt, money that ends.

use serde_json::json;

use super::world::*;
use crate::budget::{Measure, Scope};
use crate::call::ErrorClass;
use crate::run::*;
use crate::units::NanoUsd;
use crate::usage::Usage;

fn many(n: usize) -> serde_json::Value {
    (0..n).map(|i| json!({"id": format!("s{i}"), "type": "classify", "description": "label it"})).collect()
}

#[test]
fn a_rate_limit_waits_and_never_raises_a_tier() {
    let mut world = World::given(many(1)).script(|asked| match (asked.caller, asked.nth) {
        (Caller::Executor { .. }, 0..3) => error(ErrorClass::RateLimited),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!((world.tiers("s0"), world.calls_of("s0").len()), (vec!["nano".to_owned()], 4));
    assert!(world.now.0 - START.0 > 2_000, "it waited");
}

#[test]
fn an_alternate_of_the_same_tier_is_asked_after_the_tries() {
    let mut policy = policy();
    let nano = policy.ladder[0].clone();
    policy.tiers.get_mut(&nano).unwrap().alternates = vec![crate::ids::ModelRef::new("openai/gpt-5.4-mini").unwrap()];
    let mut world = World::given_under(policy, many(1)).script(|asked| match asked.caller {
        Caller::Executor { .. } if asked.call.model.as_str().contains("5.4-nano") => error(ErrorClass::Server),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.tiers("s0"), ["nano"]);
    assert_eq!(world.calls_of("s0").last().unwrap().model.as_str(), "openai/gpt-5.4-mini");
    assert_eq!(world.calls_of("s0").len(), 6 + 1);
}

#[test]
fn a_rate_limit_without_end_parks_the_run_and_a_resume_tries_again_in_full() {
    let mut world = World::given(many(1)).script(|asked| match (asked.caller, asked.nth) {
        (Caller::Executor { .. }, 0..8) => error(ErrorClass::RateLimited),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::QuotaParked);
    assert_eq!(world.calls_of("s0").len(), 6);
    world.crash();
    assert_eq!(world.go().status, RunStatus::Completed);
}

/// A run of a hundred subtasks on one account, with the real gate; when each executor's call was sent.
fn storm(mut refuses: impl FnMut(u32) -> Option<Option<u64>> + 'static) -> (RunSummary, Vec<u64>) {
    let mut sent = 0;
    let mut world = World::given(many(100)).script(move |asked| match asked.caller {
        Caller::Executor { .. } => {
            sent += 1;
            let Some(retry_after) = refuses(sent) else { return usual(asked) };
            let mut reply = error(ErrorClass::RateLimited);
            reply.answer.as_mut().unwrap_err().retry_after = retry_after.map(crate::time::Millis);
            reply
        }
        _ => usual(asked),
    });
    world.account = Some(crate::schedule::Gate::default());
    let ended = world.go();
    let started = |s: &Stamped| matches!(s.event, Event::CallStarted { caller: Caller::Executor { .. }, .. }).then_some(s.at.0 - START.0);
    (ended, world.durable.iter().filter_map(started).collect())
}

#[test]
fn a_hundred_subtasks_behind_one_refusing_account_send_one_probe_per_window_and_the_run_parks() {
    let (ended, sent) = storm(|_| Some(None));
    assert_eq!(ended.status, RunStatus::QuotaParked);
    let tries = policy().limits.max_tries as usize;
    assert_eq!(sent.len(), 100 + tries - 1, "{sent:?}");
    assert!(sent[99..].windows(2).all(|w| w[1] - w[0] >= 500), "each probe waits for a window of its own: {sent:?}");
    assert!(*sent.last().unwrap() < 60_000, "bounded: {sent:?}");
}

#[test]
fn a_hundred_subtasks_wait_as_long_as_the_account_asks_and_then_all_are_served() {
    let (ended, sent) = storm(|n| (n <= 100).then_some(Some(7_000)));
    assert_eq!((ended.status, sent.len()), (RunStatus::Completed, 200));
    assert!(sent[100] >= 7_050, "nothing is sent within the wait: {}", sent[100]);
    assert!(sent[101] > sent[100], "one probe first");
}

#[test]
fn a_refused_key_stops_everything_at_once() {
    let mut world = World::given(many(50)).script(|asked| match asked.caller {
        Caller::Executor { unit, .. } if unit.subtask.as_str() == "s7" => error(ErrorClass::Refused).after(10),
        _ => usual(asked),
    });
    world.slots = Some(10);
    let end = world.go();
    assert_eq!((end.status, end.error), (RunStatus::Failed, Some(ErrorClass::Refused)));
    assert_eq!(world.calls.len(), 10, "nothing is sent after the refusal");
    assert_eq!(world.kinds().last().unwrap(), "run.paused");
}

#[test]
fn an_account_without_credit_waits_for_a_person_and_is_asked_once() {
    let mut world = World::given(many(5)).script(|asked| match (asked.caller, asked.nth) {
        (Caller::Executor { .. }, 0) => error(ErrorClass::QuotaExhausted),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!(world.run.state().inbox.len(), 1);
    assert_eq!(world.calls.len(), 5);
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert!(world.run.state().inbox.is_empty());
}

#[test]
fn a_cut_stream_is_charged_as_leased_and_a_refusal_by_status_as_nothing() {
    for (class, charged) in [(ErrorClass::CutStream, true), (ErrorClass::RateLimited, false)] {
        let mut world = World::given(many(1)).script(move |asked| match (asked.caller, asked.nth) {
            (Caller::Executor { .. }, 0) => error(class),
            _ => usual(asked),
        });
        world.go();
        let lease =
            world.events().find_map(|e| if let Event::CallStarted { lease_usd, .. } = e { Some(*lease_usd) } else { None }).unwrap();
        let cost = world.events().find_map(|e| if let Event::CallEnded { cost_usd, .. } = e { Some(*cost_usd) } else { None }).unwrap();
        assert_eq!(cost, if charged { lease } else { NanoUsd::ZERO });
    }
}

#[test]
fn cancelling_waits_for_calls_in_flight_and_takes_no_late_answer() {
    let mut world = World::given(many(3));
    world.go_for(1);
    let call = world.calls[0].0;
    world.hear(Fact::CancelAsked);
    let end = world.go();
    assert_eq!((end.status, world.calls.len()), (RunStatus::Cancelled, 3));
    let events = world.durable.len();
    let late = say("late").answer;
    world.hear(Fact::Answered { call, answer: late, ms: crate::time::Millis(1), first_ms: None, worked: None });
    world.turn();
    assert_eq!(world.durable.len(), events);
}

#[test]
fn a_drained_run_pauses_and_goes_on_where_it_was() {
    let mut world = World::given(many(100));
    world.slots = Some(10);
    world.go_for(2);
    world.hear(Fact::Drain);
    assert_eq!(world.go().status, RunStatus::Cancelled);
    let made = world.calls.len();
    world.crash();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.calls.len(), 101, "no finished call is made again ({made} before)");
}

#[test]
fn told_words_reach_the_planner() {
    let mut world = World::given(many(2));
    world.go_for(1);
    world.hear(Fact::Told("skip the old ones".to_owned()));
    assert_eq!(world.go().status, RunStatus::Completed);
    let replan = world.calls.iter().find(|c| c.1 == Caller::Replanner).unwrap();
    assert!(format!("{:?}", replan.3.items).contains("skip the old ones"));
}

#[test]
fn words_told_during_the_review_are_heard_before_the_end() {
    let mut world = World::given(many(1));
    while !world.calls.iter().any(|c| c.1 == Caller::Reviewer) {
        world.go_for(1);
    }
    world.hear(Fact::Told("one more thing".to_owned()));
    assert_eq!(world.go().status, RunStatus::Completed);
    assert!(world.calls.iter().any(|c| c.1 == Caller::Replanner));
}

#[test]
fn a_thousand_subtasks_on_a_cap_worth_ten_calls_start_exactly_those_that_fit() {
    let mut first = World::given(many(1));
    first.go();
    let lease = first.events().find_map(|e| if let Event::CallStarted { lease_usd, .. } = e { Some(*lease_usd) } else { None }).unwrap();
    let mut policy = policy();
    // A quarter is held back for the review.
    policy.budget.run_usd = NanoUsd(lease.0 * 10 * 4 / 3 + 100);
    let mut world = World::given_under(policy, many(1_000)).script(|asked| match asked.caller {
        // As dear as it could be: nothing comes back of the lease.
        Caller::Executor { .. } => usual(asked).usage(None),
        _ => usual(asked),
    });
    let end = world.go();
    assert_eq!((end.status, world.calls.len()), (RunStatus::BudgetReached, 10));
    assert_eq!(world.kinds().iter().filter(|k| *k == "attempt.started").count(), 10);
    let refusals = world.kinds().iter().filter(|k| *k == "budget.refused").count();
    assert!(refusals <= 11, "{refusals} refusals for ten settlements");
    assert!(world.run.state().ledger.balance(&Scope::Run, Measure::NanoUsd).unwrap().settled <= lease.0 * 10);
    world.hear(Fact::CapRaised(NanoUsd(50_000_000_000)));
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.calls.len(), 1_001);
}

#[test]
fn work_that_costs_less_than_its_lease_lets_more_of_it_start() {
    let mut policy = policy();
    policy.budget.run_usd = NanoUsd(600_000_000);
    let mut world = World::given_under(policy, many(1_000));
    let end = world.go();
    assert_eq!(end.status, RunStatus::Completed, "{}", end.output);
    assert!(world.most_in_flight < 100, "{}", world.most_in_flight);
}

#[test]
fn executors_leave_the_review_its_share() {
    let mut policy = policy();
    policy.budget.run_usd = NanoUsd(1_000_000_000);
    let mut world = World::given_under(policy, many(3));
    world.go_for(1);
    let balance = *world.run.state().ledger.balance(&Scope::Run, Measure::NanoUsd).unwrap();
    assert!(balance.held_back > 0 && balance.held_back <= 250_000_000, "{balance:?}");
    while !world.calls.iter().any(|c| c.1 == Caller::Reviewer) {
        world.go_for(1);
    }
    assert_eq!(world.run.state().ledger.balance(&Scope::Run, Measure::NanoUsd).unwrap().held_back, 0, "the review has its lease");
}

#[test]
fn a_provider_that_takes_more_than_leased_freezes_the_run() {
    let mut world = World::given(many(30)).script(|asked| match asked.caller {
        Caller::Executor { .. } if asked.nth == 0 => {
            usual(asked).usage(Some(Usage { input_tokens: 1_000_000, output_tokens: 90_000, ..Usage::default() }))
        }
        _ => usual(asked),
    });
    world.slots = Some(1);
    assert_eq!(world.go().status, RunStatus::BudgetReached);
    assert_eq!(world.calls.len(), 1);
    assert!(world.kinds().contains(&"budget.alarm".to_owned()));
}

#[test]
fn a_subtask_s_own_cap_stops_it_and_nothing_else() {
    let mut plan = many(3);
    plan[0]["max_cost_usd"] = json!(0.0001);
    let mut world = World::given(plan);
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!((world.status("s1"), world.status("s2")), (Some(SubtaskStatus::Done), Some(SubtaskStatus::Done)));
    assert_eq!(world.calls_of("s0").len(), 0);
    assert_eq!(world.run.state().ledger.spent(), world.spent());
}

#[test]
fn a_plan_of_ten_thousand_subtasks_takes_linear_work() {
    let chain = |n: usize| -> serde_json::Value {
        (0..n).map(|i| json!({"id": format!("s{i}"), "type": "classify", "depends_on": if i < 100 { vec![] } else { vec![format!("s{}", i - 100)] }})).collect()
    };
    let mut policy = policy();
    policy.budget.run_usd = NanoUsd(1_000_000_000_000);
    let mut world = World::given_under(policy, chain(10_000));
    let began = std::time::Instant::now();
    assert_eq!(world.go().status, RunStatus::Completed);
    println!("10,000 subtasks: {:?}, {} turns", began.elapsed(), world.turns);
    let mut policy = self::policy();
    policy.budget.run_usd = NanoUsd(1_000_000_000_000);
    let mut wide = World::given_under(policy, many(10_000));
    wide.slots = Some(16);
    let began = std::time::Instant::now();
    assert_eq!(wide.go().status, RunStatus::Completed);
    println!("10,000 at a gate of 16: {:?}, {} turns", began.elapsed(), wide.turns);
}
