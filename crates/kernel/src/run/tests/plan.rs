//! From a plan to a reviewed result.

use serde_json::json;

use super::world::*;
use crate::call::{Item, Speaker};
use crate::run::*;

fn three() -> serde_json::Value {
    json!([
        {"id": "a", "type": "classify", "description": "first"},
        {"id": "b", "type": "extract", "description": "second {{a.output}}"},
        {"id": "c", "type": "summarize", "description": "third", "depends_on": ["b"]}
    ])
}

#[test]
fn a_plan_file_of_three_subtasks_comes_to_a_reviewed_result() {
    let mut world = World::given(three());
    let end = world.go();
    assert_eq!((end.status, end.output.as_str()), (RunStatus::Completed, "the end"));
    assert_eq!(world.output("c"), "ok c");
    assert!(world.calls_of("b")[0].items.iter().any(|i| format!("{i:?}").contains("ok a")), "b is shown a's result");
    assert_eq!(world.tiers("c"), ["mini"]);
    assert_eq!(world.kinds().last().unwrap(), "run.completed");
    assert!(world.spent().0 > 0 && end.cost_usd == world.spent());
}

#[test]
fn the_first_subtask_starts_before_the_plan_has_ended() {
    let plan = json!({"coordination_notes": "n", "subtasks": [planned("a", &[]), planned("b", &["a"]), planned("c", &[])]});
    let mut world = World::planned().script(move |asked| match asked.caller {
        Caller::Planner => say(plan.to_string()).streamed(40, 50),
        _ => usual(asked),
    });
    let end = world.go();
    assert_eq!(end.status, RunStatus::Completed);
    let at = |wanted: &str| world.durable.iter().position(|s| format!("{:?}", s.event).starts_with(wanted)).unwrap();
    assert!(at("AttemptStarted") < at("PlanCompleted"));
    assert_eq!(world.calls.iter().filter(|c| c.1 == Caller::Planner).count(), 1);
}

/// A planner that answers these texts in turn; everything else as usual.
fn planner(answers: Vec<String>) -> World {
    World::planned().script(move |asked| match asked.caller {
        Caller::Planner => say(answers[(asked.nth as usize).min(answers.len() - 1)].clone()).streamed(20, 40),
        _ => usual(asked),
    })
}

fn plan_text(subtasks: &[serde_json::Value]) -> String {
    json!({"coordination_notes": "n", "subtasks": subtasks}).to_string()
}

#[test]
fn a_faulty_plan_is_mended_at_most_twice() {
    let faulty = plan_text(&[planned("a", &["nowhere"])]);
    let mut world = planner(vec![faulty.clone(), faulty.clone(), plan_text(&[planned("a", &[])])]);
    assert_eq!(world.go().status, RunStatus::Completed);
    let mut world = planner(vec![faulty]);
    let end = world.go();
    assert_eq!((end.status, world.calls.len()), (RunStatus::Failed, 3));
    assert!(end.output.contains("nowhere"), "{}", end.output);
}

#[test]
fn a_mend_keeps_what_has_started_and_drops_the_rest() {
    let first = plan_text(&[planned("a", &[]), planned("b", &["a"]), planned("c", &["nowhere"])]);
    let mut changed = planned("a", &[]);
    changed["description"] = json!("something else");
    let second = plan_text(&[changed, planned("d", &["a"])]);
    let mut world = planner(vec![first, second]);
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.calls_of("a").len(), 1, "started work is not paid twice");
    assert!(format!("{:?}", world.calls_of("a")[0].items).contains("do a"));
    assert_eq!((world.status("d"), world.status("c")), (Some(SubtaskStatus::Done), None.or(world.status("c"))));
    let mend = world.calls.iter().filter(|c| c.1 == Caller::Planner).nth(1).unwrap();
    assert!(format!("{:?}", mend.3.items).contains("repeat them unchanged: a"), "the planner is told what has started");
}

#[test]
fn after_a_crash_in_mid_plan_the_accepted_prefix_stays_and_the_rest_is_asked_for() {
    let whole = plan_text(&[planned("a", &[]), planned("b", &["a"]), planned("w", &["b"]), planned("c", &[])]);
    let mut world = planner(vec![whole, plan_text(&[planned("c", &["b"])])]);
    while world.run.state().tasks.len() < 3 {
        world.go_for(1);
    }
    world.crash();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert!(world.calls.iter().filter(|c| c.1 == Caller::Planner).count() == 2);
    for name in ["a", "b", "w", "c"] {
        assert_eq!(world.status(name), Some(SubtaskStatus::Done), "{name}");
    }
    let again = world.calls.iter().filter(|c| c.1 == Caller::Planner).nth(1).unwrap();
    assert!(format!("{:?}", again.3.items).contains("do not repeat them"));
}

#[test]
fn a_plan_by_hand_starts_nothing_before_it_is_whole_and_writers_wait_for_the_plan() {
    let mut writer = planned("a", &[]);
    writer["writes"] = json!(["src/x"]);
    writer["type"] = json!("test");
    let mut world = planner(vec![plan_text(&[writer, planned("b", &[])])]);
    world.go();
    let at = |wanted: &str| world.durable.iter().position(|s| format!("{:?}", s.event).starts_with(wanted)).unwrap();
    assert!(at("AttemptStarted { unit: Unit { subtask: a") > at("PlanCompleted"));
    assert!(at("AttemptStarted { unit: Unit { subtask: b") < at("PlanCompleted"));
}

#[test]
fn skipped_is_a_state_and_carries_on_to_what_needs_it() {
    let plan = json!([
        {"id": "a", "type": "classify"},
        {"id": "b", "type": "classify", "when": "{{a.output}} == 'refund'"},
        {"id": "c", "type": "classify", "description": "use {{b.output}}"},
        {"id": "d", "type": "classify", "depends_on": ["a", "b"]}
    ]);
    let mut world = World::given(plan);
    assert_eq!(world.go().status, RunStatus::Completed);
    let of = |name: &str| world.status(name).unwrap();
    assert_eq!(
        [of("a"), of("b"), of("c"), of("d")],
        [SubtaskStatus::Done, SubtaskStatus::Skipped, SubtaskStatus::Skipped, SubtaskStatus::Done]
    );
}

#[test]
fn a_revision_runs_a_tier_higher_with_the_instructions_and_dependents_follow_a_changed_output() {
    for changes in [true, false] {
        let mut world = World::given(three()).script(move |asked| match asked.caller {
            Caller::Reviewer if asked.nth == 0 => {
                let mut said = review("revise");
                said["revisions"] = json!([{"subtask": "a", "instructions": "count the tails too"}]);
                say(said.to_string())
            }
            Caller::Executor { unit, .. } if unit.subtask.as_str() == "a" && asked.nth == 1 && changes => {
                assert!(asked.text().contains("count the tails too"));
                say("better")
            }
            _ => usual(asked),
        });
        assert_eq!(world.go().status, RunStatus::Completed);
        assert_eq!(world.tiers("a"), ["nano", "mini"]);
        assert_eq!(world.calls_of("b").len(), if changes { 2 } else { 1 });
        assert_eq!(world.calls_of("c").len(), 1, "b said the same again");
        assert_eq!(world.calls.iter().filter(|c| c.1 == Caller::Reviewer).count(), 2);
    }
}

#[test]
fn a_reviewer_that_is_never_content_ends_with_a_person() {
    let mut world = World::given(three()).script(|asked| match asked.caller {
        Caller::Reviewer => {
            let mut said = review("revise");
            said["revisions"] = json!([{"subtask": "a", "instructions": "again"}]);
            said["add"] = json!([planned(&format!("more{}", asked.nth), &[])]);
            say(said.to_string())
        }
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!(world.calls.iter().filter(|c| c.1 == Caller::Reviewer).count(), 3);
    assert_eq!(world.status("more1"), Some(SubtaskStatus::Done));
    world.hear(Fact::Replied { item: 1, reply: Reply::Approve });
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
}

#[test]
fn a_reviewer_may_ask_a_person_whose_words_reach_the_planner() {
    let mut world = World::given(three()).script(|asked| match asked.caller {
        Caller::Reviewer if asked.nth == 0 => say(review("escalate").to_string()),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    world.hear(Fact::Replied { item: 1, reply: Reply::Text { text: "shorter, please".to_owned() } });
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    let replan = world.calls.iter().find(|c| c.1 == Caller::Replanner).unwrap();
    assert!(format!("{:?}", replan.3.items).contains("shorter, please"));
}

#[test]
fn a_faulty_review_is_mended_twice_and_then_a_person_judges() {
    let mut world = World::given(three()).script(|asked| match asked.caller {
        Caller::Reviewer => say("fine!"),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!(world.calls.iter().filter(|c| c.1 == Caller::Reviewer).count(), 3);
    world.hear(Fact::Replied { item: 1, reply: Reply::Approve });
    world.reopen();
    let end = world.go();
    assert_eq!((end.status, end.output.as_str()), (RunStatus::Completed, "ok c"), "the last results stand for the answer nobody wrote");
}

#[test]
fn a_rejected_result_ends_the_run_with_that_reason_also_when_it_was_rejected_while_nobody_worked() {
    let mut world = World::given(three()).script(|asked| match asked.caller {
        Caller::Reviewer => say(review("escalate").to_string()),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    world.hear(Fact::Replied { item: 1, reply: Reply::Reject });
    world.reopen();
    let ended = world.go();
    assert_eq!((ended.status, ended.output.as_str()), (RunStatus::Failed, "a person rejected the result"));
}

#[test]
fn the_answer_holds_results_by_reference() {
    let mut world = World::given(three()).script(|asked| match asked.caller {
        Caller::Reviewer => {
            let mut said = review("approve");
            said["final_output"] = json!("first: {{a.output}}; last: {{c.output}}.");
            say(said.to_string())
        }
        _ => usual(asked),
    });
    assert_eq!(world.go().output, "first: ok a; last: ok c.");
}

#[test]
fn a_failed_subtask_tried_again_brings_back_what_was_skipped_behind_it() {
    let mut world = World::given(three()).script(|asked| match asked.caller {
        Caller::Executor { unit, .. } if unit.subtask.as_str() == "a" && asked.nth == 0 => end("blocked", "no"),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    world.hear(Fact::Replied { item: 1, reply: Reply::Reject });
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.status("c"), Some(SubtaskStatus::Skipped));
    assert_eq!(world.run.state().outcomes(), Outcomes { done: 0, failed: 1, skipped: 2 });
    world.reopen();
    world.hear(Fact::RetryFailed(vec![Unit { subtask: id("a"), row: None }]));
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!((world.status("a"), world.status("c")), (Some(SubtaskStatus::Done), Some(SubtaskStatus::Done)));
    assert_eq!(world.run.state().outcomes(), Outcomes { done: 3, failed: 0, skipped: 0 });
}

#[test]
fn the_planner_gets_its_messages_back_as_it_marked_them() {
    let marked = |text: &str, phase: &str| Item::Message {
        speaker: Speaker::Assistant,
        text: text.to_owned(),
        phase: Some(phase.to_owned()),
        images: Vec::new(),
    };
    let mut world = World::planned().script(move |asked| match (asked.caller, asked.nth) {
        (Caller::Planner, 0) => {
            let mut reply = say("not a plan");
            reply.answer.as_mut().unwrap().items = vec![marked("let me see", "commentary"), marked("not a plan", "final_answer")];
            reply
        }
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    let second = &world.calls.iter().filter(|c| c.1 == Caller::Planner).nth(1).unwrap().3.items;
    assert_eq!(second[1..3], [marked("let me see", "commentary"), marked("not a plan", "final_answer")]);
}
