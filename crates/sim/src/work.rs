//! The work that the sweep interrupts: parallel subtasks, five that write, two of them the same line, so that a merge
//! follows; an escalation by a command and one by a schema, a reader of what was written, a review that sends work back once. What is answered depends only on what is
//! asked, never on how often: a killed run must end as an unkilled one.

/// Something to interrupt, and what must come of it.
#[derive(Debug)]
pub struct Work {
    /// The scripted API.
    pub scenario: &'static str,
    /// The files of the workspace.
    pub files: &'static [(&'static str, &'static str)],
    /// A plan file; without one a planner writes the plan.
    pub plan: Option<&'static str>,
    /// The tree at the end.
    pub expected: &'static [(&'static str, &'static str)],
    /// What is returned at the end.
    pub output: &'static str,
}

/// From a plan file, with everything that a run can be interrupted in.
pub const MIXED: Work = Work { scenario: SCENARIO, files: &FILES, plan: Some(PLAN), expected: &EXPECTED, output: OUTPUT };

/// From a planner that streams four subtasks slowly; asked for the rest of its plan, it gives the rest.
pub const PLANNED: Work = Work {
    scenario: PLANNED_SCENARIO,
    files: &[("a.txt", "one\n")],
    plan: None,
    expected: &[("a.txt", "one\n")],
    output: "did p1, did p2, did p3, did p4",
};

/// The files of the workspace.
const FILES: [(&str, &str); 4] =
    [("beta.txt", "one\nold\nthree\n"), ("both.txt", "a\nmiddle\nz\n"), ("log.txt", "start\n"), ("kept/a.txt", "untouched\n")];

/// The tree at the end.
const EXPECTED: [(&str, &str); 6] = [
    ("beta.txt", "one\ngood\nthree\n"),
    ("both.txt", "a\nleft and right\nz\n"),
    ("kept/a.txt", "untouched\n"),
    ("log.txt", "start\nx\n"),
    ("out/first.txt", "alpha\n"),
    ("out/second.txt", "alpha again\n"),
];

/// What is returned at the end.
const OUTPUT: &str = "beta is good; C1-SECOND; 7";

/// The plan file.
const PLAN: &str = r#"
coordination_notes = "the lab's plan"
[[subtasks]]
id = "c1"
type = "classify"
description = "CLASSIFY-ONE a mail"
[[subtasks]]
id = "c2"
type = "classify"
description = "CLASSIFY-TWO a mail"
[[subtasks]]
id = "c3"
type = "rank"
description = "RANK-THREE after {{c2.output}}"
[[subtasks]]
id = "e1"
type = "extract"
description = "EXTRACT the number"
output_schema = { type = "object", properties = { n = { type = "integer" } }, required = ["n"], additionalProperties = false }
[[subtasks]]
id = "w1"
type = "simple_edit"
description = "WRITE-ALPHA two files"
writes = ["out/**"]
tools = ["write_file"]
checks = [["true"]]
[[subtasks]]
id = "w2"
type = "simple_edit"
description = "PATCH-BETA one line"
files = ["beta.txt"]
writes = ["beta.txt"]
tools = ["apply_patch"]
checks = [["sh", "-c", "echo junk > junk.txt; sleep 0.02; grep -q good beta.txt"]]
[[subtasks]]
id = "w3"
type = "generate"
description = "APPEND-LOG one line"
files = ["log.txt"]
writes = ["log.txt"]
tools = ["run_command"]
checks = [["sh", "-c", "test $(grep -c x log.txt) = 1"]]
[[subtasks]]
id = "w4"
type = "generate"
description = "TURN-LEFT the middle"
writes = ["both.txt"]
tools = ["write_file"]
checks = [["grep", "-q", "left", "both.txt"]]
[[subtasks]]
id = "w5"
type = "generate"
description = "TURN-RIGHT the middle"
writes = ["both.txt"]
tools = ["write_file"]
checks = [["grep", "-q", "right", "both.txt"]]
[[subtasks]]
id = "r1"
type = "search"
description = "READ-BETA and say what it holds"
depends_on = ["w2"]
files = ["beta.txt"]
tools = ["read_file"]
"#;

/// The scripted API.
const SCENARIO: &str = r#"
[server]
delay_ms = 8
[[rule]]
match = { format = "brigade_review", contains = "C1-SECOND" }
reply = { json = { summary = "good", verdict = "approve", revisions = [], add = [], final_output = "{{r1.output}}; {{c1.output}}; {{e1.output.n}}" } }
[[rule]]
match = { format = "brigade_review" }
reply = { json = { summary = "c1 is thin", verdict = "revise", revisions = [{ subtask = "c1", instructions = "ONCE-MORE, longer" }], add = [], final_output = "" } }
[[rule]]
match = { contains = "side by side", tool_result = "" }
reply = { text = "both are in" }
[[rule]]
match = { contains = ["side by side", "<<<<<<< w4"] }
reply = { calls = [{ call_id = "call_merge", name = "write_file", arguments = { path = "both.txt", content = "a\nleft and right\nz\n" } }] }
[[rule]]
match = { contains = "TURN-LEFT", tool_result = "" }
reply = { text = "left it is" }
[[rule]]
match = { contains = "TURN-LEFT" }
reply = { calls = [{ call_id = "call_left", name = "write_file", arguments = { path = "both.txt", content = "a\nleft\nz\n" } }] }
[[rule]]
match = { contains = "TURN-RIGHT", tool_result = "" }
reply = { text = "right it is" }
[[rule]]
match = { contains = "TURN-RIGHT" }
reply = { calls = [{ call_id = "call_right", name = "write_file", arguments = { path = "both.txt", content = "a\nright\nz\n" } }] }
[[rule]]
match = { contains = ["CLASSIFY-ONE", "ONCE-MORE"] }
reply = { text = "C1-SECOND" }
[[rule]]
match = { contains = "CLASSIFY-ONE" }
reply = { text = "C1-FIRST" }
[[rule]]
match = { contains = "CLASSIFY-TWO" }
reply = { text = "spam" }
[[rule]]
match = { contains = "RANK-THREE" }
reply = { text = "third" }
delay_ms = 30
[[rule]]
match = { contains = "EXTRACT the number", model = "gpt-5.4-nano" }
reply = { text = "seven" }
[[rule]]
match = { contains = "EXTRACT the number" }
reply = { text = "{\"n\":7}" }
[[rule]]
match = { contains = "WRITE-ALPHA", tool_result = "" }
reply = { text = "two files written" }
[[rule]]
match = { contains = "WRITE-ALPHA" }
reply = { calls = [{ call_id = "call_first", name = "write_file", arguments = { path = "out/first.txt", content = "alpha\n" } }, { call_id = "call_second", name = "write_file", arguments = { path = "out/second.txt", content = "alpha again\n" } }] }
[[rule]]
match = { contains = "PATCH-BETA", tool_result = "" }
reply = { text = "patched" }
[[rule]]
match = { contains = "PATCH-BETA", model = "gpt-5.4-nano" }
reply = { calls = [{ call_id = "call_patch", name = "apply_patch", arguments = { patch = "*** Begin Patch\n*** Update File: beta.txt\n@@\n one\n-old\n+bad\n three\n*** End Patch\n" } }] }
[[rule]]
match = { contains = "PATCH-BETA" }
reply = { calls = [{ call_id = "call_patch", name = "apply_patch", arguments = { patch = "*** Begin Patch\n*** Update File: beta.txt\n@@\n one\n-old\n+good\n three\n*** End Patch\n" } }] }
[[rule]]
match = { contains = "APPEND-LOG", tool_result = "" }
reply = { text = "appended" }
[[rule]]
match = { contains = "APPEND-LOG" }
reply = { calls = [{ call_id = "call_append", name = "run_command", arguments = { argv = ["sh", "-c", "echo x >> log.txt"] } }] }
[[rule]]
match = { contains = "READ-BETA", tool_result = "good" }
reply = { text = "beta is good" }
[[rule]]
match = { contains = "READ-BETA", tool_result = "" }
reply = { text = "beta is WRONG" }
[[rule]]
match = { contains = "READ-BETA" }
reply = { calls = [{ call_id = "call_read", name = "read_file", arguments = { path = "beta.txt" } }] }
"#;

const PLANNED_SCENARIO: &str = r#"
[server]
delay_ms = 8
[[rule]]
match = { format = "brigade_review" }
reply = { json = { summary = "good", verdict = "approve", revisions = [], add = [], final_output = "{{p1.output}}, {{p2.output}}, {{p3.output}}, {{p4.output}}" } }
[[rule]]
match = { format = "brigade_plan", contains = ["do not repeat them", "\"id\":\"p4\""] }
reply = { json = { coordination_notes = "", subtasks = [] } }
tokens_per_s = 400
[[rule]]
match = { format = "brigade_plan", contains = ["do not repeat them", "\"id\":\"p3\""] }
reply = { json = { coordination_notes = "", subtasks = [{ id = "p4", type = "classify", title = "part 4", description = "DO-P4", output_format = "text", depends_on = [], files = [], writes = [], tools = [], complexity = "low", checks = [] }] } }
tokens_per_s = 400
[[rule]]
match = { format = "brigade_plan", contains = ["do not repeat them", "\"id\":\"p2\""] }
reply = { json = { coordination_notes = "", subtasks = [{ id = "p3", type = "classify", title = "part 3", description = "DO-P3", output_format = "text", depends_on = ["p1"], files = [], writes = [], tools = [], complexity = "low", checks = [] }, { id = "p4", type = "classify", title = "part 4", description = "DO-P4", output_format = "text", depends_on = [], files = [], writes = [], tools = [], complexity = "low", checks = [] }] } }
tokens_per_s = 400
[[rule]]
match = { format = "brigade_plan", contains = ["do not repeat them", "\"id\":\"p1\""] }
reply = { json = { coordination_notes = "", subtasks = [{ id = "p2", type = "classify", title = "part 2", description = "DO-P2", output_format = "text", depends_on = [], files = [], writes = [], tools = [], complexity = "low", checks = [] }, { id = "p3", type = "classify", title = "part 3", description = "DO-P3", output_format = "text", depends_on = ["p1"], files = [], writes = [], tools = [], complexity = "low", checks = [] }, { id = "p4", type = "classify", title = "part 4", description = "DO-P4", output_format = "text", depends_on = [], files = [], writes = [], tools = [], complexity = "low", checks = [] }] } }
tokens_per_s = 400
[[rule]]
match = { format = "brigade_plan" }
reply = { json = { coordination_notes = "", subtasks = [{ id = "p1", type = "classify", title = "part 1", description = "DO-P1", output_format = "text", depends_on = [], files = [], writes = [], tools = [], complexity = "low", checks = [] }, { id = "p2", type = "classify", title = "part 2", description = "DO-P2", output_format = "text", depends_on = [], files = [], writes = [], tools = [], complexity = "low", checks = [] }, { id = "p3", type = "classify", title = "part 3", description = "DO-P3", output_format = "text", depends_on = ["p1"], files = [], writes = [], tools = [], complexity = "low", checks = [] }, { id = "p4", type = "classify", title = "part 4", description = "DO-P4", output_format = "text", depends_on = [], files = [], writes = [], tools = [], complexity = "low", checks = [] }] } }
tokens_per_s = 400
[[rule]]
match = { contains = "DO-P1" }
reply = { text = "did p1" }
[[rule]]
match = { contains = "DO-P2" }
reply = { text = "did p2" }
[[rule]]
match = { contains = "DO-P3" }
reply = { text = "did p3" }
[[rule]]
match = { contains = "DO-P4" }
reply = { text = "did p4" }
"#;
