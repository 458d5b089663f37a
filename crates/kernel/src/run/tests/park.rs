//! Runs that stand still for a quota, and go on by themselves when they may.

use serde_json::json;

use super::world::*;
use crate::call::ErrorClass;
use crate::run::*;
use crate::time::Millis;

const HOUR: u64 = 3_600_000;

/// One subtask whose first call is turned away for an hour.
fn turned_away(wait: bool, retry_after: Option<Millis>) -> World {
    let mut world = World::started_with(policy(), false, |start| start.wait = wait);
    world.give(json!([{"id": "s0", "type": "classify", "description": "label it"}]), BulkRules::default());
    let refusals = if retry_after.is_some() { 1 } else { 6 };
    world.script(move |asked| match asked.caller {
        Caller::Executor { .. } if asked.nth < refusals => {
            let mut reply = error(ErrorClass::RateLimited);
            reply.answer.as_mut().unwrap_err().retry_after = retry_after;
            reply
        }
        _ => usual(asked),
    })
}

fn parked(world: &World) -> Vec<(Option<u64>, bool)> {
    let of = |event: &Event| match event {
        Event::QuotaParked { until, waits, .. } => Some((until.map(|at| at.0 - START.0), *waits)),
        _ => None,
    };
    world.events().filter_map(of).collect()
}

#[test]
fn a_run_that_does_not_wait_pauses_and_says_when_to_go_on() {
    let mut world = turned_away(false, Some(Millis(HOUR)));
    let end = world.go();
    assert_eq!(end.status, RunStatus::QuotaParked);
    let until = parked(&world)[0].0.unwrap();
    assert!((HOUR..HOUR + 60_000).contains(&until), "{until}");
    assert_eq!(end.retry_at.map(|at| at.0 - START.0), Some(until));
    assert!(world.now.0 - START.0 < HOUR, "it did not stay");
}

#[test]
fn a_run_that_waits_goes_on_by_itself_and_calls_nothing_meanwhile() {
    let mut world = turned_away(true, Some(Millis(HOUR)));
    assert_eq!(world.go().status, RunStatus::Completed);
    let started: Vec<u64> =
        world.durable.iter().filter(|s| matches!(s.event, Event::CallStarted { .. })).map(|s| s.at.0 - START.0).collect();
    assert!(started[0] < 1_000 && started[1..].iter().all(|at| *at >= HOUR), "{started:?}");
    let kinds = world.kinds();
    let place = |kind: &str| kinds.iter().position(|k| k == kind).unwrap_or_else(|| panic!("{kind}: {kinds:?}"));
    assert!(place("quota.parked") < place("quota.resumed"));
    assert!(!kinds.iter().any(|kind| kind == "run.paused"), "{kinds:?}");
}

#[test]
fn an_account_that_says_no_time_is_tried_again_after_a_while() {
    let mut world = turned_away(true, None);
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(parked(&world).len(), 1);
}

#[test]
fn whoever_takes_up_a_waiting_run_after_a_crash_waits_on() {
    let mut world = turned_away(true, Some(Millis(HOUR)));
    while !world.kinds().iter().any(|kind| kind == "quota.parked") {
        world.go_for(1);
    }
    world.crash();
    assert_eq!(world.go().status, RunStatus::Completed);
    let calls: Vec<u64> = world.durable.iter().filter(|s| matches!(s.event, Event::CallStarted { .. })).map(|s| s.at.0).collect();
    assert!(calls[1] >= START.0 + HOUR, "not a call before its time: {calls:?}");
}

#[test]
fn a_run_resumed_to_wait_waits_and_a_waiting_run_can_be_cancelled() {
    let mut world = turned_away(false, Some(Millis(HOUR)));
    assert_eq!(world.go().status, RunStatus::QuotaParked);
    world.reopen();
    world.hear(Fact::WaitAsked);
    assert!(world.run.state().waits);
    let mut world = turned_away(true, Some(Millis(HOUR)));
    while !world.kinds().iter().any(|kind| kind == "quota.parked") {
        world.go_for(1);
    }
    assert!(world.run.wakes_at().is_some_and(|at| at.0 >= START.0 + HOUR));
    world.hear(Fact::CancelAsked);
    assert_eq!(world.go().status, RunStatus::Cancelled);
    assert!(world.now.0 < START.0 + HOUR);
}

/// Errands of an account that reports 45 % of its window used after the first, 35 % more after each.
fn reporting(wait: bool, n: usize) -> World {
    let mut policy = policy();
    policy.agents.insert("openai".to_owned(), crate::policy::AgentPolicy::default());
    policy.limits.max_concurrent_subagents = crate::policy::Slots::At(1);
    let mut world = World::started_with(policy, false, |start| start.wait = wait);
    let plan: serde_json::Value = (0..n).map(|i| json!({"id": format!("s{i}"), "type": "classify", "description": "label it"})).collect();
    world.give(plan, BulkRules::default());
    let mut used = 10.0;
    world.on_report = Box::new(move |now| {
        let window = now.0 / HOUR;
        used += 35.0;
        let fresh = window > START.0 / HOUR;
        let used_percent = if fresh { 5.0 } else { used };
        vec![ReportedWindow { minutes: 60, used_percent, resets_at: Some(crate::time::Timestamp((window + 1) * HOUR)) }]
    });
    world
}

#[test]
fn no_errand_starts_that_its_accounts_own_report_leaves_no_room_for() {
    let mut world = reporting(false, 5);
    let end = world.go();
    assert_eq!(end.status, RunStatus::QuotaParked, "{}", end.output);
    // 45, 80, and a third could not fit.
    assert_eq!(world.calls.len(), 2);
    assert!(end.output.contains("reports 80 % of its 1h window used, and one errand took up to 35 %"), "{}", end.output);
    assert_eq!(end.retry_at.map(|at| at.0 % HOUR), Some(0), "when its window ends");
    // Whoever resumes it may know better: one errand is tried.
    world.reopen();
    assert_eq!(world.go().status, RunStatus::QuotaParked);
    assert_eq!(world.calls.len(), 3);
}

#[test]
fn a_run_that_waits_sits_its_accounts_window_out() {
    let mut world = reporting(true, 5);
    assert_eq!(world.go().status, RunStatus::Completed);
    assert!(world.now.0 > START.0 + 1_000);
    assert_eq!(parked(&world).len(), 1);
}

#[test]
fn a_quota_that_an_account_reports_used_up_parks_and_asks_nobody() {
    let mut world = reporting(false, 2).script(|asked| match asked.caller {
        Caller::Executor { .. } => error(ErrorClass::QuotaExhausted),
        _ => usual(asked),
    });
    world.on_report = Box::new(|now| vec![ReportedWindow { minutes: 300, used_percent: 100.0, resets_at: Some(now + Millis(HOUR)) }]);
    let end = world.go();
    assert_eq!(end.status, RunStatus::QuotaParked, "{}", end.output);
    assert!(end.retry_at.is_some() && world.run.state().inbox.is_empty());
}
