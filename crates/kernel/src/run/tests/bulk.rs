//! Rows: mapped, chained, bounded, resumed, tried again.

use serde_json::json;

use super::world::*;
use crate::run::*;
use crate::units::NanoUsd;

fn rows(n: usize) -> Vec<serde_json::Value> {
    (0..n).map(|i| json!({"n": i, "text": format!("row {i}")})).collect()
}

fn bulk(n: usize, plan: serde_json::Value, rules: BulkRules) -> World {
    let mut policy = policy();
    policy.budget.run_usd = NanoUsd(1_000_000_000_000);
    let mut world = World::new(policy, false);
    world.rows = rows(n);
    world.give(plan, rules);
    world
}

fn chain() -> serde_json::Value {
    json!([
        {"id": "label", "type": "classify", "for_each": "input", "description": "label {{item.text}}"},
        {"id": "reply", "type": "extract", "for_each": "label", "depends_on": ["label"], "when": "{{label.output}} != 'spam'", "description": "reply"},
        {"id": "sum", "type": "summarize", "depends_on": ["reply"], "description": "sum up"}
    ])
}

fn row_of(asked: &Asked<'_>, subtask: &str) -> Option<u64> {
    asked.row().filter(|_| asked.is(subtask))
}

#[test]
fn rows_run_in_chains_without_a_barrier_and_each_by_its_own_condition() {
    let mut world = bulk(50, chain(), BulkRules::default()).script(|asked| match row_of(asked, "label") {
        Some(row) if row % 5 == 0 => say("spam"),
        Some(49) => usual(asked).after(60_000),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!((world.calls_of("label").len(), world.calls_of("reply").len(), world.calls_of("sum").len()), (50, 40, 1));
    assert!(format!("{:?}", world.calls_of("label")[7].items).contains("label row 7"));
    assert!(format!("{:?}", world.calls_of("sum")[0].items).contains("40 done, 0 failed, 10 skipped"));
    let ended = |subtask: &str, row| {
        world
            .durable
            .iter()
            .position(|s| matches!(&s.event, Event::SubtaskEnded { unit, .. } if unit.subtask.as_str() == subtask && unit.row == Some(row)))
            .unwrap()
    };
    assert!(ended("reply", 1) < ended("label", 49), "a row does not wait for the others");
}

#[test]
fn bad_rows_are_kept_with_their_reasons_and_fail_nothing_else() {
    let mut world = bulk(20, chain(), BulkRules::default()).script(|asked| match row_of(asked, "label") {
        Some(3) => end("blocked", "cannot read it"),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    let why = world.events().find_map(|e| match e {
        Event::SubtaskEnded { unit, status: SubtaskStatus::Failed, error, .. } if unit.row == Some(3) => error.clone(),
        _ => None,
    });
    assert!(why.unwrap().contains("cannot read it"));
    assert_eq!(world.run.state().tasks[0].rows.failed, 1);
}

#[test]
fn a_run_of_which_every_row_failed_has_failed() {
    let plan = json!([{"id": "label", "type": "classify", "for_each": "input"}]);
    let mut world = bulk(4, plan, BulkRules::default()).script(|asked| match asked.caller {
        Caller::Executor { .. } => end("blocked", "no"),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Failed);
}

#[test]
fn the_canary_runs_first_and_bad_rates_stop_the_rest_for_a_person() {
    for (own, rules) in [
        (json!({}), BulkRules { canary: Some(10), max_failure_rate: Some(0.2), max_escalation_rate: None }),
        (json!({"canary": 10, "max_failure_rate": 0.2}), BulkRules::default()),
    ] {
        let mut one = json!({"id": "label", "type": "classify", "for_each": "input"});
        one.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let mut world = bulk(100, json!([one]), rules).script(|asked| match asked.row() {
            Some(row) if row % 2 == 0 => end("blocked", "no"),
            _ => usual(asked),
        });
        let ended = world.go();
        assert_eq!((ended.status, world.calls.len()), (RunStatus::NeedsPerson, 10), "{}", ended.output);
        assert_eq!(world.run.state().inbox[&1].ask, Ask::Rates);
        world.hear(Fact::Replied { item: 1, reply: Reply::Approve });
        world.reopen();
        assert_eq!(world.go().status, RunStatus::Completed);
        assert_eq!(world.run.state().tasks[0].rows.ended(), 100);
    }
}

#[test]
fn rejecting_the_rates_keeps_the_rows_that_are_done() {
    let rules = BulkRules { canary: Some(5), max_failure_rate: None, max_escalation_rate: Some(0.1) };
    let plan = json!([{"id": "label", "type": "classify", "for_each": "input", "checks": [["x"]]}]);
    let mut world = bulk(100, plan, rules);
    world.on_check = Box::new(|_, attempt, _| if attempt < 3 { (Verdict::Fail, "no".to_owned()) } else { (Verdict::Pass, String::new()) });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    world.hear(Fact::Replied { item: 1, reply: Reply::Reject });
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!((world.run.state().tasks[0].rows.done, world.run.state().tasks[0].rows.escalated), (5, 5));
}

#[test]
fn a_list_that_a_subtask_returned_is_mapped_over() {
    let plan = json!([
        {"id": "find", "type": "search", "description": "find"},
        {"id": "each", "type": "classify", "for_each": "find", "description": "look at {{item.name}}"}
    ]);
    let mut world = World::given(plan).script(|asked| match asked.subtask() {
        "find" => say(json!({"found": [{"name": "x"}, {"name": "y"}, {"name": "z"}]}).to_string()),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.calls_of("each").len(), 3);
    assert!(format!("{:?}", world.calls_of("each")[2].items).contains("look at z"));
    let mut world = World::given(json!([{"id": "find", "type": "search"}, {"id": "each", "type": "classify", "for_each": "find"}]));
    world.go();
    assert_eq!(world.status("each"), Some(SubtaskStatus::Failed));
}

#[test]
fn a_crash_amid_rows_pays_for_no_finished_call_again() {
    let mut world = bulk(300, chain(), BulkRules::default());
    world.slots = Some(7);
    let mut answered = 0;
    for _ in 0..6 {
        for _ in 0..12 {
            world.go_for(1);
        }
        answered = world.events().filter(|e| matches!(e, Event::CallEnded { result: CallResult::Answered { .. }, .. })).count();
        world.crash();
    }
    assert_eq!(world.go().status, RunStatus::Completed);
    let lost = world.events().filter(|e| matches!(e, Event::CallEnded { result: CallResult::Lost, .. })).count();
    assert!(answered > 100 && lost > 0);
    assert_eq!(world.calls.len(), 300 * 2 + 1 + 1 + lost);
    assert_eq!(world.run.state().tasks[1].rows.done, 300);
}

#[test]
fn a_failed_row_tried_again_keeps_what_succeeded_in_it() {
    let mut world = bulk(30, chain(), BulkRules::default()).script(|asked| match row_of(asked, "reply") {
        Some(11) if asked.nth == 0 => end("blocked", "no"),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    let outcomes = |world: &World| {
        let Outcomes { done, failed, skipped } = world.run.state().outcomes();
        (done, failed, skipped)
    };
    assert_eq!(outcomes(&world), (30 + 29 + 1, 1, 0), "labels, replies, the sum");
    let key = Key { task: 1, row: Some(11) };
    assert_eq!(world.run.state().ended_as(key), Some(SubtaskStatus::Failed));
    world.crash();
    world.hear(Fact::RetryFailed(vec![Unit { subtask: id("reply"), row: Some(11) }]));
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!((outcomes(&world), world.run.state().ended_as(key)), ((30 + 30 + 1, 0, 0), None));
    assert_eq!((world.calls_of("label").len(), world.calls_of("reply").len(), world.calls_of("sum").len()), (30, 31, 2));
}

#[test]
fn a_revised_bulk_subtask_does_its_rows_again() {
    let plan = json!([{"id": "label", "type": "classify", "for_each": "input"}]);
    let mut world = bulk(9, plan, BulkRules::default()).script(|asked| match asked.caller {
        Caller::Reviewer if asked.nth == 0 => {
            let mut said = review("revise");
            said["revisions"] = json!([{"subtask": "label", "instructions": "in capitals"}]);
            say(said.to_string())
        }
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!((world.calls_of("label").len(), world.run.state().outcomes().done), (18, 9));
    assert!(format!("{:?}", world.calls_of("label")[17].items).contains("in capitals"));
}

#[test]
fn an_empty_input_is_done_at_once() {
    let mut world = bulk(0, chain(), BulkRules::default());
    assert_eq!(world.go().status, RunStatus::Completed);
}

#[test]
fn finished_rows_leave_the_state() {
    let plan = json!([{"id": "label", "type": "classify", "for_each": "input", "description": "{{item.text}}"}]);
    let n = if cfg!(debug_assertions) { 5_000 } else { 100_000 };
    let mut world = bulk(n, plan, BulkRules::default());
    world.slots = Some(64);
    world.watch = |world| {
        let state = world.run.state();
        let kept = state.work.len() + state.sources[0].rows.len() + state.sources[0].above.len() + state.fresh.len();
        assert!(kept < 500, "{kept} things kept");
        assert!(world.run.session.items.len() < 200 && world.run.session.incoming.values().map(|q| q.len()).sum::<usize>() < 1_100);
    };
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.run.state().tasks[0].rows.done, n as u64);
}

#[test]
fn a_failed_row_leaves_little_behind() {
    let plan = json!([{"id": "label", "type": "classify", "for_each": "input"}]);
    let mut world = bulk(500, plan, BulkRules::default()).script(|asked| match asked.row() {
        Some(row) if row % 2 == 0 => end("blocked", &"x".repeat(10_000)),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    let state = world.run.state();
    let kept = state.sources[0].failed.values().flatten().map(|(_, (_, output))| output.len());
    assert_eq!((state.sources[0].failed.len(), kept.sum::<usize>()), (250, 0));
    assert!(state.work.is_empty() && world.run.session.items.is_empty());
}
