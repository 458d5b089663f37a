//! Plans that cannot be run are refused before anything is sent (faults 50, 52, 53).

use crate::bench::{code, lab, many, run};

fn refused(plan: &str, words: &[&str]) {
    let lab = lab("");
    let ended = run(&lab, plan);
    code(&ended, 2);
    assert!(lab.calls().is_empty());
    for word in words {
        assert!(ended.err.contains(word), "{word:?} is not in: {}", ended.err);
    }
    assert!(ended.err.len() < 20_000, "{} bytes of complaint", ended.err.len());
}

fn subtask(id: &str, more: &str) -> String {
    format!("[[subtasks]]\nid = \"{id}\"\ntype = \"classify\"\ndescription = \"x\"\n{more}\n")
}

#[test]
fn a_cycle() {
    refused(&(subtask("a", "depends_on = [\"b\"]") + &subtask("b", "depends_on = [\"a\"]")), &["a", "b", "cycle"]);
}

#[test]
fn a_subtask_that_waits_for_itself_or_for_nobody() {
    refused(&subtask("a", "depends_on = [\"a\"]"), &["a", "depends_on"]);
    refused(&subtask("a", "depends_on = [\"ghost\"]"), &["a", "ghost"]);
}

#[test]
fn an_unknown_tool_type_or_field() {
    refused(&subtask("a", "tools = [\"format_disk\"]"), &["a", "format_disk"]);
    refused("[[subtasks]]\nid = \"a\"\ntype = \"wizardry\"\ndescription = \"x\"\n", &["a", "wizardry"]);
    refused(&subtask("a", "sudo = true"), &["a", "sudo"]);
}

#[test]
fn a_scope_outside_the_workspace() {
    for scope in ["../*", "/etc/**", "a/../../b"] {
        refused(&subtask("a", &format!("writes = [\"{scope}\"]\ntools = [\"write_file\"]")), &["a", "writes"]);
    }
}

#[test]
fn nesting_of_a_hundred_thousand() {
    refused(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), &["plan"]);
    refused(&format!("{{\"subtasks\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)), &["plan"]);
    refused(&format!("subtasks = {}{}", "[".repeat(100_000), "]".repeat(100_000)), &["plan"]);
}

#[test]
fn more_subtasks_than_anybody_wants() {
    refused(&many(10_001), &["10000"]);
}

#[test]
fn nothing_at_all() {
    refused("", &["plan"]);
    refused("\u{0}\u{0}", &["plan"]);
}
