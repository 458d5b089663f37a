//! Equal work is paid once: by the same run, by a later one, and never across different grants or inputs.

use std::path::PathBuf;

use super::stage::{Stage, THREE};

/// One calls a tool, then says what it did.
fn does(word: &str, tool: &str, arguments: &str) -> String {
    format!(
        "[[rule]]\nmatch = {{ contains = \"{word}\", tool_result = \"\" }}\nreply = {{ text = \"did {word}\" }}\n\
         [[rule]]\nmatch = {{ contains = \"{word}\" }}\nreply = {{ calls = [{{ call_id = \"call_1\", name = \"{tool}\", arguments = {arguments} }}] }}\n"
    )
}

const REVIEW: &str = "[[rule]]\nmatch = { format = \"brigade_review\" }\nreply = { json = { summary = \"good\", verdict = \"approve\", revisions = [], add = [], final_output = \"all done\" } }\n";

/// A reader, two writers of which one builds on the other, and a check by a command.
const FILES: &str = r#"
[[subtasks]]
id = "look"
type = "search"
description = "find the whale"
files = ["*.txt"]
tools = ["read_file"]
[[subtasks]]
id = "first"
type = "generate"
description = "write the first"
writes = ["first.txt"]
tools = ["write_file"]
checks = [["grep", "-q", "one", "first.txt"]]
[[subtasks]]
id = "second"
type = "generate"
description = "write the second"
depends_on = ["first", "look"]
files = ["*.txt"]
writes = ["second.txt"]
tools = ["write_file"]
"#;

fn stage() -> Stage {
    let rules = [
        REVIEW.to_owned(),
        does("write the second", "write_file", "{ path = \"second.txt\", content = \"two\\n\" }"),
        does("write the first", "write_file", "{ path = \"first.txt\", content = \"one\\n\" }"),
        does("find the whale", "read_file", "{ path = \"sea.txt\" }"),
    ];
    let stage = Stage::new(&rules.concat());
    stage.file("workspace/sea.txt", "a whale\n");
    stage
}

fn calls(stage: &Stage) -> usize {
    stage.ledger().calls.len()
}

/// How many calls a run of a plan makes.
#[track_caller]
fn paid(stage: &Stage, plan: &str, more: &[&str]) -> usize {
    let before = calls(stage);
    stage.run(plan, more).exits(0);
    calls(stage) - before
}

#[test]
fn the_second_run_of_an_unchanged_plan_calls_no_model() {
    let stage = stage();
    assert_eq!(paid(&stage, FILES, &["--apply", "never"]), 7);
    let again =
        stage.run(FILES, &["--apply", "never"]).exits(0).says(&["3 of 3 from earlier runs", "on the same files", "of the same work"]);
    assert_eq!(calls(&stage), 7, "{}", again.err);
    let ids = stage.ids();
    let patch = |id: &str| stage.brigade(&["show", id, "--patch"]).exits(0).out;
    assert!(patch(&ids[0]).contains("+two"), "{}", patch(&ids[0]));
    assert_eq!(patch(&ids[0]), patch(&ids[1]));
    assert_eq!(paid(&stage, FILES, &["--apply", "never", "--no-cache"]), 7);
}

#[test]
fn a_changed_file_is_a_different_input_and_a_copy_of_the_workspace_is_the_same() {
    let stage = stage();
    assert_eq!(paid(&stage, FILES, &["--apply", "never"]), 7);
    let copy = stage.dir.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::write(copy.join("sea.txt"), "a whale\n").unwrap();
    let before = calls(&stage);
    stage.brigade(&["run", "--plan", "plan.toml", "-C", "copy", "--apply", "auto"]).exits(0);
    assert_eq!(calls(&stage), before);
    assert_eq!(std::fs::read_to_string(copy.join("second.txt")).unwrap(), "two\n");
    // As long, and as old, as it was.
    let sea: PathBuf = stage.dir.path().join("workspace/sea.txt");
    let times = std::fs::metadata(&sea).unwrap();
    std::fs::write(&sea, "a shark\n").unwrap();
    let file = std::fs::File::options().write(true).open(&sea).unwrap();
    file.set_times(std::fs::FileTimes::new().set_modified(times.modified().unwrap())).unwrap();
    assert!(paid(&stage, FILES, &["--apply", "never"]) >= 6, "all but the review, which sees no more than what came of it");
}

#[test]
fn other_grants_scopes_or_checks_are_other_work() {
    let stage = stage();
    let plan = &FILES[..FILES.find("[[subtasks]]\nid = \"first\"").unwrap()];
    assert_eq!(paid(&stage, plan, &["-q"]), 3);
    assert_eq!(paid(&stage, plan, &["-q"]), 0);
    assert_eq!(paid(&stage, &plan.replace("\"look\"", "\"gaze\""), &["-q"]), 1, "only the review sees another name");
    for (from, to) in [
        ("tools = [\"read_file\"]", "tools = [\"read_file\", \"list_files\"]\ntier = \"mini\""),
        ("files = [\"*.txt\"]", "files = [\"sea.*\"]"),
        ("files = [\"*.txt\"]", "files = [\"*.txt\"]\nchecks = [[\"true\"]]"),
        ("type = \"search\"", "type = \"extract\"\ntier = \"mini\""),
        ("find the whale", "do find the whale"),
    ] {
        // The review is of the same result, where it is shown neither grants nor scopes.
        assert!(paid(&stage, &plan.replace(from, to), &["-q"]) >= 2, "{to}");
    }
}

#[test]
fn what_a_person_or_a_server_had_a_part_in_is_not_kept() {
    let stage = Stage::new(&format!("{REVIEW}[[rule]]\nmatch = {{ contains = \"say\" }}\nreply = {{ text = \"no json\" }}\n"));
    let plan =
        "[[subtasks]]\nid = \"a\"\ntype = \"extract\"\ndescription = \"say\"\nmax_attempts = 1\noutput_schema = { type = \"object\" }\n";
    stage.run(plan, &["-q"]);
    let item = stage.brigade(&["inbox", "--json"]).lines()[0]["item"].clone();
    stage.brigade(&["answer", item.as_str().map_or_else(|| item.to_string(), str::to_owned).as_str(), "--approve"]);
    assert_eq!(stage.brigade(&["cache", "ls", "--json"]).exits(0).lines().iter().filter(|l| l["task_type"] == "extract").count(), 0);
}

#[test]
fn what_is_kept_is_listed_and_forgotten_by_type_with_its_run_or_all_at_once() {
    let rules = super::stage::ANSWERS;
    let stage = Stage::new(rules);
    assert_eq!(paid(&stage, THREE, &["-q"]), 4);
    let kinds = |stage: &Stage| {
        let lines = stage.brigade(&["cache", "ls", "--json"]).exits(0).lines();
        lines.iter().map(|l| l["task_type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&stage), ["review", "summarize", "extract", "extract"]);
    stage.brigade(&["cache", "ls"]).exits(0).says(&["summarize", "4 results kept"]);
    stage.brigade(&["cache", "clear", "--type", "extract"]).exits(0).says(&["2 results forgotten, 2 kept"]);
    assert_eq!(paid(&stage, THREE, &["-q"]), 2);
    stage.brigade(&["cache", "clear", "--older-than", "1h"]).exits(0).says(&["0 results forgotten, 4 kept"]);
    stage.brigade(&["cache", "clear", "--older-than", "soon"]).exits(2).says(&["--older-than \"soon\""]);
    stage.brigade(&["cache", "clear", "--type", "poem"]).exits(2).says(&["\"poem\""]);
    stage.brigade(&["forget", &stage.ids()[1], "--yes"]).exits(0);
    assert_eq!(kinds(&stage), ["extract", "extract"], "the results of the first run go with it");
    stage.brigade(&["cache", "clear"]).exits(0);
    assert!(kinds(&stage).is_empty());
    assert_eq!(paid(&stage, THREE, &["-q"]), 4);
}

/// A plan of equal rows of work, and answers that take a while.
fn slow(delay_ms: u64) -> (Stage, String) {
    let rules = format!("{REVIEW}[[rule]]\nmatch = {{ contains = \"say it\" }}\nreply = {{ text = \"said\" }}\ndelay_ms = {delay_ms}\n");
    let same = |id: &str| format!("[[subtasks]]\nid = \"{id}\"\ntype = \"extract\"\ndescription = \"say it\"\n");
    (Stage::new(&rules), ["a", "b", "c"].map(same).concat())
}

#[test]
fn equal_work_of_one_run_is_done_once() {
    let (stage, plan) = slow(200);
    stage.run(&plan, &[]).exits(0).says(&["2 of 3 as equal work of this run"]);
    assert_eq!(calls(&stage), 2);
    assert_eq!(paid(&stage, &plan, &["-q", "--no-cache"]), 4);
}

#[test]
fn work_in_hand_in_another_run_is_waited_for_and_done_again_when_that_run_dies() {
    let (stage, plan) = slow(1_500);
    let mut first = stage.start(&plan, 1);
    stage.run(&plan, &[]).exits(0).says(&["3 of 3 from earlier runs"]);
    assert!(first.child.wait().unwrap().success());
    assert_eq!(calls(&stage), 2, "one answer and one review for both runs");

    stage.brigade(&["cache", "clear"]).exits(0);
    let mut dead = stage.start(&plan, 3);
    dead.child.kill().unwrap();
    dead.child.wait().unwrap();
    let before = calls(&stage);
    stage.run(&plan, &["-q"]).exits(0);
    assert!(calls(&stage) > before, "nobody waits for the dead");
}
