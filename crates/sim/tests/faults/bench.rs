//! What every fault test starts from: a lab, a plan, a run, its events.

use std::path::Path;

use brigade_kernel::ids::RunId;
use brigade_kernel::run::Event;
use brigade_sim::audit::{self, Findings};
use brigade_sim::lab::{Ended, Lab};

/// A review that takes the result.
pub const APPROVE: &str = r#"
[[rule]]
match = { format = "brigade_review" }
reply = { json = { summary = "good", verdict = "approve", revisions = [], add = [], final_output = "all good" } }
"#;

/// A planner that has no better plan: its patch changes nothing.
pub const NO_BETTER_PLAN: &str = r#"
[[rule]]
match = { format = "brigade_plan_patch" }
reply = { json = { add = [], drop = [], change = [], coordination_notes = "" } }
"#;

/// Anything else is answered.
pub const ANSWER: &str = r#"
[[rule]]
match = {}
reply = { text = "an answer" }
"#;

/// A lab in which `rules` come first and everything else goes well.
pub fn lab(rules: &str) -> Lab {
    lab_with(rules, &[("a.txt", "one\n"), ("sub/b.txt", "two\n")])
}

pub fn lab_with(rules: &str, files: &[(&str, &str)]) -> Lab {
    let scenario = format!("{rules}\n{APPROVE}\n{NO_BETTER_PLAN}\n{ANSWER}");
    Lab::new(Path::new(env!("CARGO_BIN_EXE_brigade-to-kill")), &scenario, files).expect("a lab")
}

/// A plan of `n` independent subtasks on nano.
pub fn many(n: usize) -> String {
    (0..n)
        .map(|i| format!("[[subtasks]]\nid = \"s{i}\"\ntype = \"classify\"\ndescription = \"WORK-{i}\"\noutput_format = \"text\"\n"))
        .collect()
}

/// One subtask that writes `a.txt` with `tool`, checked by a command that always passes.
pub fn writer(tool: &str) -> String {
    format!(
        "[[subtasks]]\nid = \"w\"\ntype = \"generate\"\ndescription = \"WRITE\"\noutput_format = \"text\"\nfiles = [\"**\"]\nwrites = [\"a.txt\"]\ntools = [\"{tool}\", \"read_file\"]\nchecks = [[\"true\"]]\n"
    )
}

/// Runs a plan to the end of its session.
pub fn run(lab: &Lab, plan: &str) -> Ended {
    let plan = lab.write("plan.toml", plan).expect("a plan").display().to_string();
    lab.run(&["run", "--plan", &plan, "--apply", "auto"]).expect("an engine that ends")
}

/// The only run of the lab.
pub fn id(lab: &Lab) -> RunId {
    let runs = audit::runs(&lab.home()).expect("a readable journal");
    assert_eq!(runs.len(), 1, "runs: {runs:?}");
    runs.into_iter().next().expect("counted above")
}

pub fn resume(lab: &Lab, more: &[&str]) -> Ended {
    let id = id(lab);
    let arguments: Vec<&str> = ["resume", id.as_str()].into_iter().chain(more.iter().copied()).collect();
    lab.run(&arguments).expect("an engine that ends")
}

pub fn events(lab: &Lab) -> Vec<Event> {
    let events = audit::events(&lab.home(), &id(lab)).expect("a readable journal");
    events.into_iter().map(|e| e.stamped.event).collect()
}

/// The audit, which must find nothing broken.
pub fn sound(lab: &Lab) -> Findings {
    let found = audit::audit(&lab.home(), &id(lab), &lab.calls()).expect("a readable journal");
    assert!(found.broken.is_empty(), "{}", found.broken.join("\n"));
    found
}

/// Ended with this code, or the whole of what it said.
pub fn code(ended: &Ended, code: i32) {
    assert_eq!(ended.code, Some(code), "signal {:?}\n{}\n{}", ended.signal, ended.out, ended.err);
}

/// Calls to a model.
pub fn sends_to(lab: &Lab, model: &str) -> usize {
    lab.calls().iter().filter(|c| &*c.model == model).count()
}

pub const NANO: &str = "gpt-5.4-nano";
pub const MINI: &str = "gpt-5.4-mini";
