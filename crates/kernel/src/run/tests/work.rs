//! Equal work has one name; whatever may change its result gives it another, and what may hang on more has none.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::world::*;
use crate::plan::{PlanPatch, Review};
use crate::run::*;

const TREE: &str = "t1";

/// The first call of subtask `a`, or of whatever comes first, as it is about to be made.
fn first_call(plan: Value, alter: impl FnOnce(&mut RunStarted)) -> (World, Caller, Prepared) {
    let mut world = World::started_with(policy(), false, |start| {
        start.reuse = true;
        alter(start);
    });
    world.give(plan, BulkRules::default());
    for _ in 0..3 {
        let now = world.now;
        for action in world.run.step(now, &mut |_| Door::Open) {
            match action {
                Action::Call { caller } => {
                    let prepared = world.run.prepare(&caller, &Fetched::default()).unwrap();
                    return (world, caller, prepared);
                }
                Action::Gather { unit, start, view, .. } => {
                    let (parts, images, conflicts, sides) = Default::default();
                    let tree = view.then(|| TREE.to_owned());
                    world.run.hear(Fact::Gathered { unit, parts, images, tree, start, conflicts, sides }, now);
                }
                _ => {}
            }
        }
    }
    panic!("nobody calls");
}

fn work(plan: Value) -> Option<Work> {
    let (world, _, prepared) = first_call(plan, |_| {});
    world.run.work_of(&prepared)
}

fn reader() -> Value {
    json!({"id": "a", "type": "search", "description": "do it", "files": ["*.rs"], "tools": ["search"], "tier": "mini"})
}

fn with(mut subtask: Value, field: &str, value: Value) -> Value {
    subtask[field] = value;
    json!([subtask])
}

#[test]
fn whatever_may_change_a_result_changes_the_name_of_its_work() {
    let mut seen = HashMap::new();
    let mut differs = |what: String, work: Work| {
        let before = seen.insert(format!("{} {:?}", work.name, work.sees), what.clone());
        assert_eq!(before, None, "{what}");
    };
    differs("plain".to_owned(), work(json!([reader()])).unwrap());
    for (field, value) in [
        ("type", json!("extract")),
        ("description", json!("do that")),
        ("output_format", json!("one word")),
        ("output_schema", json!({"type": "object"})),
        ("files", json!(["*.c"])),
        ("writes", json!(["*.rs"])),
        ("tools", json!(["search", "read_file"])),
        ("tools", json!(["read_file"])),
        ("checks", json!([["true"]])),
        ("checks", json!([["false"]])),
        ("tier", json!("flagship")),
        ("model", json!("openai/gpt-5.4")),
        ("ladder", json!(["mini"])),
        ("effort", json!("high")),
        ("verbosity", json!("high")),
    ] {
        differs(format!("{field} {value}"), work(with(reader(), field, value.clone())).unwrap());
    }
    let (world, _, prepared) = first_call(json!([reader()]), |start| start.offline = Some("an example".to_owned()));
    differs("scripted".to_owned(), world.run.work_of(&prepared).unwrap());
    let (world, _, prepared) = first_call(json!([reader()]), |start| {
        let mut policy = policy();
        policy.prompts.insert(crate::policy::Who::Type(crate::plan::TaskType::Search), "Search well.".to_owned());
        start.policy = policy.into();
    });
    differs("other rules".to_owned(), world.run.work_of(&prepared).unwrap());
}

#[test]
fn when_and_at_what_price_work_is_done_is_no_part_of_it() {
    let plain = work(json!([reader()])).unwrap();
    for (field, value) in [
        ("id", json!("b")),
        ("title", json!("Another name")),
        ("max_attempts", json!(2)),
        ("max_cost_usd", json!(1.5)),
        ("simulate_ms", json!(7)),
        ("deadline", json!("10m")),
    ] {
        assert_eq!(work(with(reader(), field, value)), Some(plain.clone()), "{field}");
    }
}

#[test]
fn tools_look_at_files_and_prompts_do_not() {
    assert_eq!(work(json!([reader()])).unwrap().sees, Sees::Workspace);
    assert_eq!(work(with(reader(), "writes", json!(["*.rs"]))).unwrap().sees, Sees::Tree(TREE.to_owned()));
    assert_eq!(work(with(reader(), "tools", json!([]))).unwrap().sees, Sees::Nothing, "what it is shown stands in its prompt");
}

#[test]
fn work_that_may_hang_on_more_has_no_name() {
    for (field, value) in [("tools", json!(["ask"])), ("approve", json!(true)), ("checkpoint", json!(true))] {
        assert_eq!(work(with(reader(), field, value.clone())), None, "{field} {value}");
    }
    let (world, _, prepared) = first_call(json!([reader()]), |start| start.reuse = false);
    assert_eq!(world.run.work_of(&prepared), None);
    let (mut world, _, prepared) = first_call(json!([reader()]), |_| {});
    world.run.begin_call(&prepared, None, world.now).unwrap();
    assert_eq!(world.run.work_of(&prepared), None, "it has begun");
}

#[test]
fn a_result_is_taken_only_while_its_call_waits_and_only_if_it_fits_the_files_and_the_scope() {
    let plan = with(reader(), "writes", json!(["*.rs"]));
    let earlier = |from: &str, path: &str| Earlier::Result {
        run: crate::ids::RunId::new("r0000000000000000002").unwrap(),
        output: "done".to_owned(),
        change: Some(Change { from: from.to_owned(), to: "t2".to_owned() }),
        changed: Changed { paths: vec![path.to_owned()], lines: 1 },
    };
    let taken = |from: &str, path: &str, begun: bool| {
        let (mut world, caller, prepared) = first_call(plan.clone(), |_| {});
        world.run.look(&caller);
        assert!(world.run.step(world.now, &mut |_| Door::Open).is_empty(), "nobody calls while it is looked for");
        if begun {
            world.run.begin_call(&prepared, None, world.now).unwrap();
        }
        world.run.hear(Fact::LookedUp { caller, earlier: Some(earlier(from, path)) }, world.now);
        let task = &world.run.state().tasks[0];
        let change = world.run.state().changes.values().next().map(|change| change.to.clone());
        assert_eq!(task.status.is_some(), change.is_some());
        change
    };
    assert_eq!(taken(TREE, "a.rs", false).as_deref(), Some("t2"));
    assert_eq!(taken("t7", "a.rs", false), None, "made from other files");
    assert_eq!(taken(TREE, "a.c", false), None, "out of its scope");
    assert_eq!(taken(TREE, "a.rs", true), None, "paid for already");
}

#[test]
fn only_an_approval_that_adds_nothing_is_said_again() {
    let run = || crate::ids::RunId::new("r0000000000000000002").unwrap();
    let review = |verdict| {
        Box::new(Review { summary: String::new(), verdict, revisions: Vec::new(), add: PlanPatch::default(), final_output: String::new() })
    };
    assert!(Earlier::of_review(run(), review(crate::plan::Verdict::Approve)).is_some());
    for verdict in [crate::plan::Verdict::Revise, crate::plan::Verdict::Escalate] {
        assert!(Earlier::of_review(run(), review(verdict)).is_none());
    }
    let mut adding = review(crate::plan::Verdict::Approve);
    adding.add.drop.push(id("a"));
    assert!(Earlier::of_review(run(), adding).is_none());
}
