//! Passes over the same rows: behind a barrier, after a revision, for what the plan got later.

use serde_json::{Value, json};

use super::world::*;
use crate::run::*;
use crate::units::NanoUsd;

fn world(plan: Value, rows: usize) -> World {
    let mut policy = policy();
    policy.budget.run_usd = NanoUsd(1_000_000_000_000);
    let mut world = World::new(policy, false);
    world.rows = (0..rows).map(|n| json!({ "text": format!("row {n}") })).collect();
    world.give(plan, BulkRules::default());
    world
}

/// Label each row, sum the labels up, then look at each row again in the light of the sum.
fn two_passes() -> Value {
    json!([
        {"id": "again", "type": "classify", "for_each": "input", "depends_on": ["sum", "label"], "description": "{{label.output}} seen with {{sum.output}}"},
        {"id": "sum", "type": "summarize", "depends_on": ["label"], "description": "sum up"},
        {"id": "label", "type": "classify", "for_each": "input", "description": "label {{item.text}}"},
        {"id": "last", "type": "extract", "for_each": "again", "description": "last"}
    ])
}

fn calls(world: &World, of: &[&str]) -> Vec<usize> {
    of.iter().map(|subtask| world.calls_of(subtask).len()).collect()
}

fn shown(world: &World, subtask: &str, n: usize) -> String {
    format!("{:?}", world.calls_of(subtask)[n].items)
}

fn revise_once(subtask: &'static str) -> impl FnMut(&Asked<'_>) -> Reply_ {
    move |asked| match asked.caller {
        Caller::Reviewer if asked.nth == 0 => {
            let mut said = review("revise");
            said["revisions"] = json!([{"subtask": subtask, "instructions": "in capitals"}]);
            say(said.to_string())
        }
        Caller::Executor { unit, .. } => say(format!("ok {unit} {}", asked.nth)),
        _ => usual(asked),
    }
}

#[test]
fn what_waits_for_a_summary_of_the_rows_takes_the_rows_a_second_time() {
    let mut world = world(two_passes(), 40);
    let ended = world.go();
    assert_eq!(ended.status, RunStatus::Completed, "{}", ended.output);
    assert_eq!(calls(&world, &["label", "sum", "again", "last"]), [40, 1, 40, 40]);
    let text = shown(&world, "again", 7);
    assert!(text.contains("ok label[7]") && text.contains("ok sum"), "its own row's label, and the sum: {text}");
}

#[test]
fn a_crash_in_the_second_pass_pays_for_nothing_finished() {
    let mut world = world(two_passes(), 60).script(|asked| usual(asked).after(100 + 7 * asked.row().unwrap_or(0) % 50));
    world.slots = Some(4);
    let mut crashes = 0;
    while world.go_for(5).is_none() {
        world.crash();
        crashes += 1;
    }
    let lost = world.events().filter(|e| matches!(e, Event::CallEnded { result: CallResult::Lost, .. })).count();
    assert!(crashes > 10 && lost > 0);
    assert_eq!(world.calls.len(), 60 * 3 + 2 + lost);
    assert_eq!(world.run.state().ended.as_ref().unwrap().status, RunStatus::Completed);
}

#[test]
fn two_sources_that_wait_for_each_other_by_turns_come_to_an_end() {
    let plan = json!([
        {"id": "a1", "type": "classify", "for_each": "input"},
        {"id": "list", "type": "search"},
        {"id": "b1", "type": "classify", "for_each": "list"},
        {"id": "a2", "type": "classify", "for_each": "input", "depends_on": ["b1"]},
        {"id": "b2", "type": "classify", "for_each": "list", "depends_on": ["a1"]}
    ]);
    let mut world = world(plan, 5).script(|asked| match asked.subtask() {
        "list" => say(json!({"found": ["x", "y", "z"]}).to_string()),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(calls(&world, &["a1", "a2", "b1", "b2"]), [5, 5, 3, 3]);
}

#[test]
fn only_the_revised_subtask_of_a_row_and_what_is_made_from_it_run_again() {
    let plan = json!([
        {"id": "label", "type": "classify", "for_each": "input"},
        {"id": "reply", "type": "extract", "for_each": "label", "description": "reply"},
        {"id": "check", "type": "extract", "for_each": "reply", "description": "check"},
        {"id": "other", "type": "extract", "for_each": "label", "description": "other"},
        {"id": "sum", "type": "summarize", "depends_on": ["check"], "description": "sum up"},
        {"id": "apart", "type": "summarize", "depends_on": ["other"], "description": "sum up"}
    ]);
    let mut world = world(plan, 9).script(revise_once("reply"));
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(calls(&world, &["label", "reply", "check", "other", "sum", "apart"]), [9, 18, 18, 9, 2, 1]);
    let again = shown(&world, "reply", 14);
    assert!(again.contains("in capitals") && again.contains("ok label[5] 0"), "{again}");
    assert!(shown(&world, "check", 14).contains("ok reply[5] 1"));
    assert!(shown(&world, "sum", 1).contains("ok check[5] 1"), "the summary sees the new results");
    assert_eq!(world.run.state().tasks[1].rows, RowTally { done: 9, ..RowTally::default() });
    assert_eq!(world.run.state().outcomes().done, 9 * 4 + 2);
}

#[test]
fn a_crash_amid_a_revision_keeps_what_the_rows_had_before_it() {
    let plan = json!([
        {"id": "label", "type": "classify", "for_each": "input"},
        {"id": "reply", "type": "extract", "for_each": "label", "description": "reply"}
    ]);
    let mut world = world(plan, 30).script(revise_once("reply"));
    world.slots = Some(3);
    while world.go_for(7).is_none() {
        // A lost review would not be the first any more.
        if world.run.state().calls.values().all(|c| c.caller != Caller::Reviewer) {
            world.crash();
        }
    }
    let lost = world.events().filter(|e| matches!(e, Event::CallEnded { result: CallResult::Lost, .. })).count();
    assert_eq!(world.calls.len(), 30 * 3 + 2 + lost);
    assert_eq!((world.run.state().tasks[1].rows.done, calls(&world, &["label"])[0] <= 30 + lost), (30, true));
}

#[test]
fn a_revision_before_the_barrier_is_carried_through_both_passes() {
    let mut world = world(two_passes(), 6).script(revise_once("label"));
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(calls(&world, &["label", "sum", "again", "last"]), [12, 2, 12, 12]);
    let text = shown(&world, "again", 9);
    assert!(text.contains("ok label[3] 1") && text.contains("ok sum 1"), "{text}");
}

#[test]
fn a_per_row_subtask_that_the_review_adds_runs_over_rows_that_are_done() {
    let plan = json!([{"id": "label", "type": "classify", "for_each": "input"}]);
    let mut world = world(plan, 80);
    world.slots = Some(8);
    assert!(world.go_for(5).is_none());
    assert!(world.run.state().tasks[0].rows.done > 0);
    let added = subtasks(json!([
        {"id": "label", "type": "classify", "for_each": "input"},
        {"id": "late", "type": "extract", "for_each": "label", "description": "late"}
    ]));
    let patch = crate::plan::PlanPatch { add: added[1..].to_vec(), ..Default::default() };
    world.run.note(Event::PlanPatched { patch: Box::new(patch), by: PatchedBy::Reviewer }, world.now);
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(calls(&world, &["label", "late"]), [80, 80]);
    assert!(shown(&world, "late", 3).contains("ok label[3]"));
}

#[test]
fn a_failed_row_tried_again_changes_what_the_second_pass_sees() {
    let mut world = world(two_passes(), 10).script(|asked| match (asked.subtask(), asked.row()) {
        ("label", Some(4)) if asked.nth == 0 => end("blocked", "no"),
        ("sum", _) => say(format!("the sum, take {}", asked.nth)),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(calls(&world, &["label", "sum", "again", "last"]), [10, 1, 9, 9], "a row that failed is skipped behind the barrier");
    world.crash();
    world.hear(Fact::RetryFailed(vec![Unit { subtask: id("label"), row: Some(4) }]));
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(calls(&world, &["label", "sum", "again", "last"]), [11, 2, 19, 19]);
    let rows = world.run.state().tasks[0].rows;
    assert_eq!((rows.done, rows.failed, rows.skipped), (10, 0, 0));
}

#[test]
fn a_person_who_wants_no_further_rows_gets_none_in_a_later_pass() {
    let rules = BulkRules { canary: Some(5), max_failure_rate: Some(0.1), max_escalation_rate: None };
    let mut world = World::new(policy(), false).script(|asked| match (asked.subtask(), asked.row()) {
        ("label", Some(2)) => end("blocked", "no"),
        _ => usual(asked),
    });
    world.rows = (0..50).map(|n| json!({ "text": n })).collect();
    world.give(two_passes(), rules);
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    world.hear(Fact::Replied { item: 1, reply: Reply::Reject });
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(calls(&world, &["label", "again"]), [5, 4]);
}

#[test]
fn an_empty_input_is_done_at_once_in_every_pass() {
    assert_eq!(world(two_passes(), 0).go().status, RunStatus::Completed);
}

#[test]
fn a_list_is_mapped_over_twice_and_rows_build_on_their_own_results() {
    let plan = json!([
        {"id": "list", "type": "search"},
        {"id": "look", "type": "classify", "for_each": "list"},
        {"id": "sum", "type": "summarize", "depends_on": ["look"], "description": "sum up"},
        {"id": "again", "type": "classify", "for_each": "look", "depends_on": ["sum"], "description": "again"}
    ]);
    let mut world = world(plan, 0).script(|asked| match asked.subtask() {
        "list" => say(json!({"found": ["x", "y", "z"]}).to_string()),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(calls(&world, &["look", "again"]), [3, 3]);
    assert!(shown(&world, "again", 1).contains("ok look[1]"));
}

#[test]
fn a_row_tried_again_goes_on_while_others_of_its_pass_wait_for_a_person() {
    let plan = json!([
        {"id": "label", "type": "classify", "for_each": "input"},
        {"id": "plain", "type": "classify"},
        {"id": "both", "type": "classify", "for_each": "input", "depends_on": ["plain"]}
    ]);
    let mut world = world(plan, 3).script(|asked| match (asked.subtask(), asked.row()) {
        ("label", Some(0)) if asked.nth == 0 => end("blocked", "no"),
        ("plain", _) => end("blocked", "no"),
        _ => usual(asked),
    });
    while world.go().status == RunStatus::NeedsPerson {
        let item = *world.run.state().inbox.keys().next().unwrap();
        world.hear(Fact::Replied { item, reply: Reply::Reject });
        world.reopen();
    }
    assert_eq!(world.status("plain"), Some(SubtaskStatus::Failed));
    world.reopen();
    let units = [("plain", None), ("label", Some(0))].map(|(subtask, row)| Unit { subtask: id(subtask), row });
    world.hear(Fact::RetryFailed(units.to_vec()));
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!(calls(&world, &["label"]), [4]);
}

#[test]
fn a_row_s_good_result_is_not_opened_again_for_what_failed_behind_it() {
    let plan = json!([
        {"id": "label", "type": "classify", "for_each": "input"},
        {"id": "reply", "type": "extract", "for_each": "label"}
    ]);
    let mut world = world(plan, 3).script(|asked| if asked.is("reply") { end("blocked", "no") } else { usual(asked) });
    world.go();
    world.reopen();
    world.hear(Fact::RetryFailed(vec![Unit { subtask: id("label"), row: Some(1) }]));
    world.turn();
    assert!(!world.events().any(|e| matches!(e, Event::Reopened { .. })));
}

#[test]
fn rows_of_an_empty_input_opened_again_by_a_changed_result_are_judged_all_the_same() {
    let plan = json!([
        {"id": "plain", "type": "classify"},
        {"id": "rows", "type": "classify", "for_each": "input", "depends_on": ["plain"]}
    ]);
    let mut world = world(plan.clone(), 0).script(revise_once("plain"));
    assert_eq!(world.go().status, RunStatus::Completed);
    // With a patch to store before the review.
    let mut plan = plan;
    plan[0]["tools"] = json!(["write_file"]);
    let mut revise = revise_once("plain");
    let mut turn = 0;
    let mut world = self::world(plan, 0).script(move |asked| {
        turn += u32::from(asked.is("plain"));
        if asked.is("plain") && turn % 2 == 1 { call_tool(&format!("w{turn}"), "write_file", json!({})) } else { revise(asked) }
    });
    assert_eq!(world.go().status, RunStatus::Completed);
}

#[test]
fn a_row_tried_again_waits_for_a_plain_subtask_that_is_tried_again_with_it() {
    let plan = json!([
        {"id": "plain", "type": "classify"},
        {"id": "label", "type": "classify", "for_each": "input"},
        {"id": "both", "type": "classify", "for_each": "input", "depends_on": ["plain"]}
    ]);
    let mut world = world(plan, 3).script(|asked| match asked.subtask() {
        "label" | "plain" if asked.row().is_none_or(|row| row == 1) && asked.nth == 0 => end("blocked", "no"),
        "plain" => usual(asked).after(5_000),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    world.hear(Fact::Replied { item: 1, reply: Reply::Reject });
    world.reopen();
    world.go();
    world.reopen();
    let units = [("label", Some(1)), ("plain", None)].map(|(subtask, row)| Unit { subtask: id(subtask), row });
    world.hear(Fact::RetryFailed(units.to_vec()));
    assert_eq!(world.go().status, RunStatus::Completed);
    assert!(shown(&world, "both", 0).contains("ok plain"), "{}", shown(&world, "both", 0));
}
