//! Many writers at once: what each starts from, how their work is put together, and what happens when it does not fit.

use serde_json::{Value, json};

use super::world::*;
use crate::plan::TaskType;
use crate::policy::Slots;
use crate::run::*;
use crate::tool::ToolOutput;

/// A subtask that writes into these files.
fn writer(name: &str, depends_on: &[&str], writes: &[&str], checks: &[&str]) -> Value {
    let checks: Vec<[&str; 1]> = checks.iter().map(|c| [*c]).collect();
    json!({
        "id": name, "type": "generate", "description": format!("do {name}"), "depends_on": depends_on, "writes": writes,
        "tools": ["write_file"], "checks": checks
    })
}

/// Everybody writes once into the first file of its scope, then says so.
fn writes(asked: &Asked<'_>) -> Reply_ {
    let Caller::Executor { unit, attempt } = asked.caller else { return usual(asked) };
    let wrote = asked.call.items.iter().any(|i| matches!(i, crate::call::Item::ToolOutput { .. }));
    if wrote { say(format!("ok {unit}")) } else { call_tool(&format!("w{attempt}"), "write_file", json!({})) }
}

fn files(of: &[(&str, &str)]) -> Files {
    of.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn merge_of(world: &World) -> Vec<String> {
    world.run.state().tasks.iter().filter(|t| t.merge.is_some()).map(|t| t.spec.id.to_string()).collect()
}

#[test]
fn eight_writers_work_at_once_and_their_work_is_one_patch() {
    let plan: Vec<Value> = (0..8).map(|n| writer(&format!("w{n}"), &[], &[&format!("f{n}")], &["t"])).collect();
    let mut world = World::given(json!(plan)).script(writes);
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.most_in_flight, 8);
    assert_eq!(world.stored.len(), 1);
    assert_eq!(world.stored[0].len(), 8);
    assert!(world.started.iter().all(|(_, tree, _)| tree == BASE), "{:?}", world.started);
}

#[test]
fn a_subtask_starts_from_what_it_depends_on_and_from_nothing_else() {
    let plan = json!([
        writer("a", &[], &["a"], &[]),
        writer("b", &["a"], &["b"], &[]),
        writer("x", &[], &["x"], &[]),
        {"id": "r", "type": "search", "description": "read", "depends_on": ["b"], "tools": ["read_file"]}
    ]);
    let mut world = World::given(plan).script(writes);
    assert_eq!(world.go().status, RunStatus::Completed);
    let start =
        |name: &str| world.started.iter().rev().find(|(unit, ..)| unit.subtask.as_str() == name).map(|(_, tree, _)| &world.trees[tree]);
    assert_eq!(start("b"), Some(&files(&[("a", "a:1:w1")])));
    assert_eq!(start("x"), Some(&files(&[])));
    assert_eq!(start("r"), Some(&files(&[("a", "a:1:w1"), ("b", "b:1:w1")])), "who only reads sees the work it hangs on");
}

#[test]
fn two_that_change_the_same_place_are_merged_on_the_flagship_and_checked_again() {
    let plan = json!([writer("a", &[], &["f"], &["ta"]), writer("b", &[], &["f"], &["tb"]), writer("c", &[], &["c"], &[])]);
    let mut world = World::given(plan).script(writes);
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(merge_of(&world), ["merge-a-b"]);
    assert_eq!(world.tiers("merge-a-b"), ["flagship"]);
    let state = world.run.state();
    let merge = &state.tasks[state.index[&id("merge-a-b")] as usize].spec;
    assert_eq!((merge.kind, &merge.writes), (TaskType::Merge, &vec!["f".to_owned()]));
    assert_eq!(merge.checks, [["ta"], ["tb"]]);
    let shown = Asked { caller: &Caller::Reviewer, call: world.calls_of("merge-a-b")[0], nth: 0 }.text();
    assert!(shown.contains("do a") && shown.contains("diff of b") && shown.contains("ok a"), "{shown}");
    assert_eq!(world.stored, [files(&[("c", "c:1:w1"), ("f", "merge-a-b:1:w1")])]);
    assert_eq!(world.output("a"), "ok a", "nobody else worked again");
    assert_eq!(world.tiers("a").len(), 1);
}

#[test]
fn what_hangs_on_both_sides_of_a_conflict_waits_for_their_merge() {
    let plan = json!([writer("a", &[], &["f"], &[]), writer("b", &[], &["f"], &[]), writer("d", &["a", "b"], &["d"], &[])]);
    let mut world = World::given(plan).script(writes);
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(merge_of(&world), ["merge-a-b"]);
    let (_, tree, _) = world.started.iter().rev().find(|(unit, ..)| unit.subtask.as_str() == "d").unwrap();
    assert_eq!(world.trees[tree], files(&[("f", "merge-a-b:1:w1")]));
    assert_eq!(world.stored, [files(&[("d", "d:2:w2"), ("f", "merge-a-b:1:w1")])]);
}

#[test]
fn what_hangs_on_one_side_only_does_not_wait_for_a_merge() {
    let mut plan = vec![
        writer("a", &[], &["f"], &[]),
        writer("b", &[], &["f"], &[]),
        writer("both", &["a", "b"], &["both"], &[]),
        writer("one", &["a", "slow-4"], &["one"], &[]),
    ];
    for n in 0..5 {
        let before: Vec<String> = (n > 0).then(|| format!("slow-{}", n - 1)).into_iter().collect();
        plan.push(
            json!({"id": format!("slow-{n}"), "type": "search", "description": "look", "depends_on": before, "tools": ["read_file"]}),
        );
    }
    let mut world = World::given(json!(plan)).script(writes);
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(merge_of(&world), ["merge-a-b"]);
    let place = |name: &str| world.started.iter().rposition(|(unit, ..)| unit.subtask.as_str() == name).unwrap();
    assert!(place("merge-a-b") < place("one"), "the merge was planned before it started");
    let tree = &world.started[place("one")].1;
    assert_eq!(world.trees[tree], files(&[("f", "a:1:w1")]), "it hangs on a alone, and sees a's work alone");
}

#[test]
fn three_that_change_the_same_place_are_merged_one_after_the_other() {
    let plan = json!([writer("a", &[], &["f"], &[]), writer("b", &[], &["f"], &[]), writer("c", &[], &["f"], &[])]);
    let mut world = World::given(plan).script(writes);
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(merge_of(&world).len(), 2, "{:?}", merge_of(&world));
    assert_eq!(world.stored.len(), 1);
}

#[test]
fn a_merge_that_leaves_markers_behind_is_not_done_and_ends_with_a_person() {
    let plan = json!([writer("a", &[], &["f"], &[]), writer("b", &[], &["f"], &[])]);
    let mut world = World::given(plan).script(|asked| {
        let wrote = asked.call.items.iter().any(|i| matches!(i, crate::call::Item::ToolOutput { .. }));
        if asked.subtask().starts_with("merge") && !wrote {
            return call_tool(&format!("m{}", asked.nth), "write_file", json!({"path": "f", "content": "<<< both"}));
        }
        writes(asked)
    });
    let asked = world.go();
    assert_eq!(asked.status, RunStatus::NeedsPerson);
    assert!(world.events().any(|e| matches!(e, Event::CheckEnded { check, verdict: Verdict::Fail, .. } if check == "markers")));
    world.hear(Fact::Replied { item: 1, reply: Reply::Reject });
    world.reopen();
    let failed = world.go();
    assert_eq!(failed.status, RunStatus::Failed);
    assert!(failed.output.contains("a and b changed f") && failed.output.contains("merge-a-b failed"), "{}", failed.output);
    world.script = Box::new(writes);
    world.reopen();
    world.hear(Fact::RetryFailed(vec![Unit { subtask: id("merge-a-b"), row: None }]));
    assert_eq!(world.go().status, RunStatus::Completed, "tried again, it is merged");
    assert!(world.stored[0]["f"].starts_with("merge-a-b:"), "{:?}", world.stored);
}

#[test]
fn a_check_that_fails_on_all_work_together_opens_its_last_subtask_again_on_that_work() {
    let plan = json!([writer("a", &[], &["a"], &["all"]), writer("b", &[], &["b"], &["all"]), writer("c", &[], &["c"], &[])]);
    let mut world = World::given(plan).script(writes);
    world.on_composed = Box::new(|_, _, tree| {
        if tree["b"].starts_with("b:1") { (Verdict::Fail, "a and b do not agree".to_owned()) } else { (Verdict::Pass, String::new()) }
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!((world.tiers("a").len(), world.tiers("b").len()), (1, 2));
    assert_ne!(world.tiers("b")[0], world.tiers("b")[1], "a tier up");
    let again = Asked { caller: &Caller::Reviewer, call: world.calls_of("b").last().unwrap(), nth: 0 }.text();
    assert!(again.contains("a and b do not agree"), "{again}");
    assert_eq!(world.stored, [files(&[("a", "a:1:w1"), ("b", "b:2:w2"), ("c", "c:1:w1")])]);
}

#[test]
fn work_that_never_passes_together_ends_with_a_person_who_may_take_it_as_it_is() {
    let plan = json!([writer("a", &[], &["a"], &["ta"]), writer("b", &[], &["b"], &["tb"])]);
    let mut world = World::given(plan).script(writes);
    // What one of them mends, the other breaks.
    world.on_composed = Box::new(|_, _, _| (Verdict::Fail, "red".to_owned()));
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!((world.tiers("a").len(), world.tiers("b").len()), (2, 2), "as often as a review may send work back");
    world.crash();
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    world.hear(Fact::Replied { item: 1, reply: Reply::Approve });
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.stored.len(), 1);
}

#[test]
fn what_a_command_changed_out_of_scope_is_a_failed_check_that_names_it() {
    let plan = json!([{"id": "a", "type": "generate", "writes": ["src/**"], "tools": ["run_command"]}]);
    let mut world = World::given(plan).script(|asked| match asked.caller {
        Caller::Executor { attempt, .. } if asked.nth % 2 == 0 => {
            let path = if *attempt == 1 { "elsewhere" } else { "src/x" };
            call_tool(&format!("r{attempt}"), "run_command", json!({"path": path}))
        }
        _ => usual(asked),
    });
    world.on_tool = Box::new(|_, _, _| (ToolOutput { ok: true, ..ToolOutput::default() }, true));
    assert_eq!(world.go().status, RunStatus::Completed);
    let told = Asked { caller: &Caller::Reviewer, call: world.calls_of("a").last().unwrap(), nth: 0 }.text();
    assert!(told.contains("check `scope` failed") && told.contains("elsewhere"), "{told}");
    assert_eq!(world.stored, [files(&[("src/x", "a:2:r2")])]);
}

#[test]
fn a_simple_edit_of_more_than_five_lines_is_too_big() {
    let edit = |lines: usize| {
        let plan = json!([{"id": "a", "type": "simple_edit", "writes": ["f"], "tools": ["write_file"]}]);
        let mut world = World::given(plan).script(move |asked| match asked.caller {
            Caller::Executor { .. } if asked.nth == 0 => call_tool("w", "write_file", json!({"path": "f", "content": "x\n".repeat(lines)})),
            _ => usual(asked),
        });
        world.go();
        world.events().find_map(|e| if let Event::AttemptEnded { ending, .. } = e { Some(*ending) } else { None })
    };
    assert_eq!(edit(5), Some(Ending::Done));
    assert_eq!(edit(6), Some(Ending::TooBig));
}

#[test]
fn a_revision_of_one_side_has_the_merge_done_again() {
    let plan = json!([writer("a", &[], &["f"], &[]), writer("b", &[], &["f"], &[])]);
    let mut reviews = 0;
    let mut world = World::given(plan).script(move |asked| match asked.caller {
        Caller::Reviewer => {
            reviews += 1;
            let mut said = review(if reviews == 1 { "revise" } else { "approve" });
            if reviews == 1 {
                said["revisions"] = json!([{"subtask": "a", "instructions": "better"}]);
            }
            say(said.to_string())
        }
        _ => writes(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.tiers("merge-a-b").len(), 2);
    assert_eq!(world.stored.last(), Some(&files(&[("f", "merge-a-b:2:w2")])));
}

#[test]
fn what_is_done_again_counts_for_nothing_until_it_is_done() {
    let mut again = writer("a", &[], &["a"], &[]);
    again["tools"] = json!(["write_file", "ask"]);
    let mut world = World::given(json!([again, writer("b", &[], &["b"], &[])])).script(|asked| match asked.caller {
        Caller::Reviewer => {
            let mut said = review("revise");
            said["revisions"] = json!([{"subtask": "a", "instructions": "better"}]);
            say(said.to_string())
        }
        Caller::Executor { attempt: 2, .. } => call_tool("q", "ask", json!({"question": "how much better?"})),
        _ => writes(asked),
    });
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    let parts: Vec<String> = world.run.state().parts().iter().map(|part| part.unit.to_string()).collect();
    assert_eq!(parts, ["b"], "a is being done again, and what it made before is no accepted work");
}

#[test]
fn rows_that_write_conflict_and_are_merged_like_subtasks() {
    let plan = json!([
        {"id": "a", "type": "generate", "writes": ["f"], "tools": ["write_file"], "for_each": "input"},
        writer("b", &[], &["g"], &[])
    ]);
    let mut world = World::given(plan).script(writes);
    world.rows = vec![json!(1), json!(2)];
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(merge_of(&world), ["merge-a"]);
    assert_eq!(world.stored, [files(&[("f", "merge-a:1:w1"), ("g", "b:1:w1")])]);
}

#[test]
fn a_failed_row_tried_again_does_not_wait_for_the_merge_that_waits_for_it() {
    let plan = json!([
        {"id": "a", "type": "generate", "writes": ["f"], "tools": ["write_file"], "for_each": "input"},
        {"id": "c", "type": "classify", "description": "{{a.output}}", "depends_on": ["a"], "for_each": "input"}
    ]);
    let mut world = World::given(plan).script(|asked| match asked.caller {
        Caller::Executor { unit, .. } if unit.subtask.as_str() == "merge-a" || unit.row == Some(2) => end("too_big", "no"),
        _ => writes(asked),
    });
    world.rows = vec![json!(1), json!(2), json!(3)];
    assert_eq!(world.go().status, RunStatus::NeedsPerson, "nobody could merge");
    world.hear(Fact::Replied { item: 1, reply: Reply::Reject });
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Failed);
    world.script = Box::new(writes);
    world.reopen();
    world.hear(Fact::RetryFailed(vec![Unit { subtask: id("a"), row: Some(2) }, Unit { subtask: id("merge-a"), row: None }]));
    let summary = world.go();
    assert_eq!(summary.status, RunStatus::Completed, "{}", summary.output);
}

#[test]
fn one_slot_is_enough_for_all_of_it() {
    let mut policy = policy();
    policy.limits.max_concurrent_subagents = Slots::At(1);
    let plan = json!([writer("a", &[], &["f"], &[]), writer("b", &[], &["f"], &[]), writer("d", &["a", "b"], &["d"], &[])]);
    let mut world = World::given_under(policy, plan).script(writes);
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.most_in_flight, 1);
}
