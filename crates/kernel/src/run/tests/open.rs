//! `open_output`: a unit opens what its own tools left and what it builds on, and nothing else.

use serde_json::json;

use super::world::*;
use crate::call::Item;
use crate::run::*;
use crate::tool::ToolOutput;

/// What `c` is told when it opens `id`, after a tool of its own or of `b` was cut; `a` is its dependency, `b` is not.
fn opened(id: &'static str, cut_by: &'static str) -> String {
    let plan = json!([
        {"id": "a", "description": "do it"},
        {"id": "b", "description": "do it", "tools": ["search"]},
        {"id": "c", "description": "do it", "depends_on": ["a"], "tools": ["search", "open_output"], "tier": "mini"},
    ]);
    let mut world = World::given(plan).script(move |asked| match asked.nth {
        0 if asked.is(cut_by) => call_tool("s", "search", json!({"args": []})),
        0 if asked.is("c") => call_tool("o", "open_output", json!({"id": id})),
        1 if asked.is("c") && cut_by == "c" => call_tool("o", "open_output", json!({"id": id, "page": 2})),
        _ => usual(asked),
    });
    world.on_tool = Box::new(|_, name, _| (ToolOutput { ok: true, truncated: name == "search", ..ToolOutput::default() }, false));
    assert_eq!(world.go().status, RunStatus::Completed);
    let calls = world.calls_of("c");
    let said = calls.last().unwrap().items.iter().rev().find_map(|item| match item {
        Item::ToolOutput { call_id, output, .. } if call_id == "o" => Some(output.clone()),
        _ => None,
    });
    said.unwrap()
}

#[test]
fn an_id_names_what_was_cut_here_or_is_built_on() {
    assert_eq!(opened("out-1", "c"), "Blob(\"a blob\")");
    assert!(opened("a", "b").starts_with("Text("));
    for (id, cut_by) in [("out-1", "b"), ("b", "b"), ("nothing", "b"), ("c", "b")] {
        let said = opened(id, cut_by);
        assert!(said.contains(&format!("there is no output {id:?}; there are a")), "{said}");
    }
    assert!(opened("zzz", "c").contains("there are out-1, a"));
}
