//! Attempts: tools, checks, the way up, the ways an executor ends.

use serde_json::json;

use super::world::*;
use crate::call::{End, ErrorClass};
use crate::run::*;
use crate::tool::ToolOutput;

fn one(extra: serde_json::Value) -> serde_json::Value {
    let mut one = json!({"id": "a", "type": "classify", "description": "do it"});
    one.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!([one])
}

#[test]
fn an_executor_uses_its_tools_and_then_answers() {
    let mut world = World::given(one(json!({"tools": ["search"]}))).script(|asked| match (asked.subtask(), asked.nth) {
        ("a", 0) => call_tool("c1", "search", json!({"args": ["x"]})),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    let calls = world.calls_of("a");
    assert_eq!(calls.len(), 2);
    assert!(format!("{:?}", calls[1].items).contains("found"));
}

#[test]
fn a_failed_check_repeats_the_tier_once_with_the_evidence_then_goes_up() {
    let mut world = World::given(one(json!({"checks": [["cargo", "test"]]})));
    world.on_check = Box::new(
        |_, attempt, _| if attempt < 3 { (Verdict::Fail, "expected 3, got 4".to_owned()) } else { (Verdict::Pass, String::new()) },
    );
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.tiers("a"), ["nano", "nano", "mini"]);
    assert!(format!("{:?}", world.calls_of("a")[1].items).contains("expected 3, got 4"));
    assert_eq!(world.kinds().iter().filter(|k| *k == "subtask.escalated").count(), 1);
}

/// Fails every check; the planner leaves it alone; a person decides.
fn hopeless() -> World {
    let mut world = World::given(one(json!({"checks": [["false"]]})));
    world.on_check = Box::new(|_, _, _| (Verdict::Fail, "no".to_owned()));
    let end = world.go();
    assert_eq!((end.status, world.run.state().inbox.len()), (RunStatus::NeedsPerson, 1));
    assert_eq!(world.tiers("a"), ["nano", "nano", "mini", "flagship"]);
    assert_eq!(world.calls.iter().filter(|c| c.1 == Caller::Replanner).count(), 1, "the planner comes before the person");
    world
}

#[test]
fn what_no_tier_can_do_goes_to_the_planner_and_then_to_a_person_who_may_approve() {
    let mut world = hopeless();
    world.hear(Fact::Replied { item: 1, reply: Reply::Approve });
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!((world.status("a"), world.output("a").as_str()), (Some(SubtaskStatus::Done), "ok a"));
}

#[test]
fn a_person_may_reject_what_no_tier_could_do() {
    let mut world = hopeless();
    world.hear(Fact::Replied { item: 1, reply: Reply::Reject });
    world.reopen();
    world.go();
    assert_eq!(world.status("a"), Some(SubtaskStatus::Failed));
}

#[test]
fn a_person_s_words_start_another_try_at_the_top() {
    let mut world = hopeless();
    world.on_check = Box::new(|_, _, _| (Verdict::Pass, String::new()));
    world.hear(Fact::Replied { item: 1, reply: Reply::Text { text: "use the old table".to_owned() } });
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.tiers("a").last().unwrap(), "flagship");
    assert!(format!("{:?}", world.calls_of("a").last().unwrap().items).contains("use the old table"));
}

#[test]
fn an_executor_that_is_stuck_gets_a_plan_patch() {
    for status in ["blocked", "too_big", "needs_context", "out_of_scope"] {
        let mut world = World::given(one(json!({}))).script(move |asked| match asked.caller {
            Caller::Executor { unit, .. } if unit.subtask.as_str() == "a" && asked.nth == 0 => end(status, "needs the schema first"),
            Caller::Replanner => {
                assert!(asked.text().contains(status) && asked.text().contains("needs the schema first"));
                say(json!({"add": [planned("schema", &[])], "drop": [], "change": [planned("a", &["schema"])], "coordination_notes": "mind"}).to_string())
            }
            _ => usual(asked),
        });
        assert_eq!(world.go().status, RunStatus::Completed, "{status}");
        assert_eq!((world.status("schema"), world.status("a")), (Some(SubtaskStatus::Done), Some(SubtaskStatus::Done)));
        let order: Vec<String> = world
            .calls
            .iter()
            .filter_map(|c| if let Caller::Executor { unit, .. } = &c.1 { Some(unit.to_string()) } else { None })
            .collect();
        assert_eq!(order, ["a", "schema", "a"], "the changed subtask waits for the new one");
        assert_eq!(world.run.state().notes, "mind");
    }
}

#[test]
fn a_patch_may_drop_what_is_stuck() {
    let mut world =
        World::given(json!([{"id": "a", "type": "classify"}, {"id": "b", "type": "classify"}])).script(|asked| match asked.caller {
            Caller::Executor { unit, .. } if unit.subtask.as_str() == "a" => end("blocked", "no"),
            Caller::Replanner => say(json!({"add": [], "drop": ["a"], "change": [], "coordination_notes": null}).to_string()),
            _ => usual(asked),
        });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.status("a"), Some(SubtaskStatus::Dropped));
}

#[test]
fn the_planner_is_asked_no_more_often_than_max_replans() {
    let mut world = World::given(one(json!({}))).script(|asked| match asked.caller {
        Caller::Executor { .. } => end("blocked", "still no"),
        Caller::Replanner => say(json!({"add": [], "drop": [], "change": [planned("a", &[])], "coordination_notes": null}).to_string()),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!(world.calls.iter().filter(|c| c.1 == Caller::Replanner).count(), 3);
}

#[test]
fn a_faulty_patch_is_mended_twice_and_then_a_person_is_asked() {
    let mut world = World::given(one(json!({}))).script(|asked| match asked.caller {
        Caller::Executor { .. } => end("blocked", "no"),
        Caller::Replanner => say("{\"add\": 7}"),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!(world.calls.iter().filter(|c| c.1 == Caller::Replanner).count(), 3);
}

#[test]
fn a_checkpoint_shows_its_result_to_the_planner_and_stays_done() {
    let mut world =
        World::given(json!([{"id": "a", "type": "classify", "checkpoint": true}, {"id": "b", "type": "classify", "depends_on": ["a"]}]));
    assert_eq!(world.go().status, RunStatus::Completed);
    let replans: Vec<_> = world.calls.iter().filter(|c| c.1 == Caller::Replanner).collect();
    assert_eq!(replans.len(), 1);
    assert!(format!("{:?}", replans[0].3.items).contains("ok a"));
    assert_eq!(world.calls_of("a").len(), 1);
}

#[test]
fn an_approved_subtask_waits_for_a_person_while_others_work() {
    let plan = json!([
        {"id": "a", "type": "generate", "writes": ["a"], "tools": ["write_file"], "approve": true},
        {"id": "b", "type": "generate", "writes": ["b"], "tools": ["write_file"]}
    ]);
    let mut world = World::given(plan).script(|asked| match asked.caller {
        Caller::Executor { .. } if asked.nth == 0 => call_tool("w", "write_file", json!({})),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!(world.status("b"), Some(SubtaskStatus::Done), "a view of its own: it need not wait");
    world.hear(Fact::Replied { item: 1, reply: Reply::Reject });
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.stored.last().unwrap(), &Files::from([("b".to_owned(), "b:1:w".to_owned())]), "what was rejected is not in the patch");
}

#[test]
fn failed_work_is_taken_out_of_the_view_before_the_next_attempt() {
    let plan = json!([{"id": "a", "type": "generate", "writes": ["a"], "tools": ["write_file"], "checks": [["t"]]}]);
    let mut world = World::given(plan).script(|asked| match asked.caller {
        Caller::Executor { attempt, .. } if asked.nth % 2 == 0 => call_tool(&format!("w{attempt}"), "write_file", json!({})),
        _ => usual(asked),
    });
    world.on_check =
        Box::new(|_, attempt, _| if attempt == 1 { (Verdict::Fail, "red".to_owned()) } else { (Verdict::Pass, String::new()) });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.started.iter().map(|(_, tree, _)| tree.as_str()).collect::<Vec<_>>(), [BASE, BASE]);
    assert_eq!(world.stored.last().unwrap(), &Files::from([("a".to_owned(), "a:2:w2".to_owned())]));
}

#[test]
fn a_writer_that_wrote_nothing_is_not_done() {
    let plan = json!([{"id": "a", "type": "generate", "writes": ["a"], "tools": ["write_file"]}]);
    let mut world = World::given(plan).script(|asked| match asked.caller {
        Caller::Executor { attempt: 2, .. } if asked.nth == 1 => call_tool("w", "write_file", json!({})),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.tiers("a").len(), 2);
}

#[test]
fn a_question_waits_for_a_person_even_on_the_only_slot() {
    let mut policy = policy();
    policy.limits.max_concurrent_subagents = crate::policy::Slots::At(1);
    let mut world = World::given_under(policy, one(json!({"tools": ["ask"]}))).script(|asked| match asked.caller {
        Caller::Executor { .. } if asked.nth == 0 => call_tool("q", "ask", json!({"question": "which table?"})),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!(world.run.state().inbox[&1].question, "which table?");
    world.hear(Fact::Replied { item: 1, reply: Reply::Text { text: "the new one".to_owned() } });
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert!(format!("{:?}", world.calls_of("a")[1].items).contains("the new one"));
}

#[test]
fn a_refusal_and_a_filtered_answer_go_up_at_once() {
    let mut world = World::given(one(json!({}))).script(|asked| match (asked.caller, asked.nth) {
        (Caller::Executor { .. }, 0) => say("").ends(End::ContentFilter),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.tiers("a"), ["nano", "mini"]);
}

#[test]
fn a_cut_answer_doubles_its_limit_once() {
    let mut world = World::given(one(json!({}))).script(|asked| match (asked.caller, asked.nth) {
        (Caller::Executor { .. }, 0) => say("half").ends(End::Length),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    let limits: Vec<u32> = world.calls_of("a").iter().map(|c| c.max_output_tokens).collect();
    assert_eq!((limits, world.tiers("a").len()), (vec![4_000, 8_000], 1));
}

#[test]
fn the_same_call_over_and_over_ends_the_attempt() {
    let mut world = World::given(json!([{"id": "a", "type": "search", "tools": ["search"]}])).script(|asked| match asked.caller {
        Caller::Executor { attempt: 1, .. } => call_tool(&format!("c{}", asked.nth), "search", json!({"args": ["x"]})),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.tiers("a"), ["mini", "flagship"]);
    assert_eq!(world.calls_of("a").len(), 4 + 1);
}

#[test]
fn nano_may_call_two_tools_and_no_third() {
    let mut world = World::given(one(json!({"tools": ["search"]}))).script(|asked| match asked.caller {
        Caller::Executor { attempt: 1, .. } => call_tool(&format!("c{}", asked.nth), "search", json!({"n": asked.nth})),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.tiers("a"), ["nano", "mini"]);
    assert_eq!(world.calls_of("a").len(), 3 + 1);
}

#[test]
fn an_unkeyed_tool_under_way_at_a_crash_is_not_run_again_without_a_person() {
    let mut world = World::given(one(json!({"tools": ["send_mail"]}))).script(|asked| match asked.caller {
        Caller::Executor { .. } if asked.nth == 0 => call_tool("m", "send_mail", json!({})),
        _ => usual(asked),
    });
    let sent = std::rc::Rc::new(std::cell::Cell::new(0));
    let counter = sent.clone();
    world.on_tool = Box::new(move |_, _, _| {
        counter.set(counter.get() + 1);
        (ToolOutput { ok: true, output: "sent".to_owned(), ..ToolOutput::default() }, false)
    });
    while sent.get() == 0 {
        world.go_for(1);
    }
    world.crash();
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    world.hear(Fact::Replied { item: 1, reply: Reply::Text { text: "it was sent".to_owned() } });
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(sent.get(), 1);
}

#[test]
fn a_deadline_that_passed_is_the_planner_s_matter_not_a_higher_tier_s() {
    let mut world = World::given(one(json!({"tools": ["search"], "deadline": "1s"}))).script(|asked| match asked.caller {
        Caller::Executor { .. } => call_tool(&format!("c{}", asked.nth), "search", json!({"n": asked.nth})).after(700),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!(world.tiers("a"), ["nano"]);
}

#[test]
fn a_field_the_model_does_not_take_is_dropped_once() {
    let mut world = World::given(one(json!({}))).script(|asked| match (asked.caller, asked.nth) {
        (Caller::Executor { .. }, 0) => {
            assert!(asked.call.verbosity.is_some());
            error(ErrorClass::UnsupportedField)
        }
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.calls_of("a")[1].verbosity, None);
}
