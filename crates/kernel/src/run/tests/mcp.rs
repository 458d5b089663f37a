//! Tools of MCP servers: who is offered them, and what is made of a call that nobody answers.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::{Value, json};

use super::world::*;
use crate::run::*;
use crate::tool::ToolOutput;

fn one(extra: Value) -> Value {
    let mut one = json!({"id": "a", "description": "do it"});
    one.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!([one])
}

fn offered(extra: Value) -> Vec<String> {
    let mut world = World::given(one(extra));
    assert_eq!(world.go().status, RunStatus::Completed);
    world.calls_of("a")[0].tools.iter().map(|t| t.name.clone()).filter(|name| name != "end").collect()
}

#[test]
fn a_subtask_is_offered_the_servers_it_joined_and_no_other() {
    assert_eq!(offered(json!({"tools": ["search"]})), ["search"]);
    let all = ["search", "mcp__docs__find", "mcp__docs__note"];
    assert_eq!(offered(json!({"tools": ["search"], "mcp_servers": ["docs"]})), all);
    let narrowed = json!({"tools": ["mcp__docs__note"], "mcp_servers": ["mail", "docs"]});
    assert_eq!(offered(narrowed), ["mcp__docs__note", "mcp__mail__send"]);
}

#[test]
fn a_server_that_was_not_joined_is_not_called() {
    let mut world = World::given(one(json!({"tools": ["search"], "mcp_servers": ["docs"]}))).script(|asked| match asked.nth {
        0 if asked.is("a") => call_tool("c", "mcp__mail__send", json!({})),
        _ => usual(asked),
    });
    world.on_tool = Box::new(|_, name, _| panic!("{name} was called"));
    assert_eq!(world.go().status, RunStatus::Completed);
    assert!(format!("{:?}", world.calls_of("a")[1].items).contains("there is no tool"));
}

#[test]
fn the_planner_hears_nothing_of_servers() {
    let plan = json!({"subtasks": [{"id": "a", "description": "do it"}], "coordination_notes": ""}).to_string();
    let mut world = World::planned().script(move |asked| match asked.caller {
        Caller::Planner => say(plan.clone()),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    for (_, caller, _, call) in &world.calls {
        assert!(!format!("{call:?}").contains("mcp__"), "{caller:?}");
    }
}

/// Calls a tool that never answers, and counts the calls.
fn unanswered(tool: &'static str) -> (World, Rc<Cell<u32>>) {
    let mut world = World::given(one(json!({"mcp_servers": ["docs"]}))).script(move |asked| match asked.nth {
        0 if asked.is("a") => call_tool("c", tool, json!({})),
        _ => usual(asked),
    });
    let calls = Rc::new(Cell::new(0));
    let counter = calls.clone();
    world.on_tool = Box::new(move |_, _, _| {
        counter.set(counter.get() + 1);
        (ToolOutput::default(), false)
    });
    world.mute = vec![tool];
    (world, calls)
}

#[test]
fn an_unkeyed_call_without_an_answer_is_asked_and_never_repeated() {
    let (mut world, calls) = unanswered("mcp__docs__find");
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    let asked = format!("{:?}", world.run.state().inbox);
    assert!(asked.contains("mcp__docs__find was called (no answer for 60 s), and nobody knows"), "{asked}");
    world.crash();
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    world.hear(Fact::Replied { item: 1, reply: Reply::Text { text: "it was found".to_owned() } });
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(calls.get(), 1);
    assert!(format!("{:?}", world.calls_of("a")[1].items).contains("it was found"));
}

#[test]
fn a_keyed_call_is_repeated_a_few_times_and_then_asked() {
    let (mut world, calls) = unanswered("mcp__docs__note");
    assert_eq!(world.go().status, RunStatus::NeedsPerson);
    assert_eq!(calls.get(), 3);
}
