//! Models that ask for what they may not have, talk nonsense, or go in circles (faults 50, 51, 54, 58-62).

use std::collections::BTreeMap;

use brigade_kernel::run::Event;

use crate::bench::{code, events, lab, lab_with, run, sound, writer};

/// The model calls `tool` with these arguments once, then says it is done.
fn calls(tool: &str, arguments: &str) -> String {
    let arguments = serde_json::to_string(arguments).expect("a string");
    format!(
        "[[rule]]\nmatch = {{ contains = \"WRITE\", tool_result = \"\" }}\nreply = {{ text = \"done\" }}\n[[rule]]\nmatch = {{ contains = \"WRITE\" }}\nreply = {{ calls = [{{ name = \"{tool}\", arguments = {arguments} }}] }}\n"
    )
}

fn outputs(events: &[Event]) -> Vec<(String, bool)> {
    let output = |e: &Event| match e {
        Event::ToolEnded { output, .. } => Some((output.for_model(), output.ok)),
        _ => None,
    };
    events.iter().filter_map(output).collect()
}

/// The tool call is refused to the model, and nothing changes but what others did.
fn refused(tool: &str, arguments: &str) {
    // The review is asked before "WRITE" rules match it.
    let rules = format!("{}{}", crate::bench::APPROVE, calls(tool, arguments));
    let lab = lab(&rules);
    let before = lab.tree().expect("a tree");
    let outside = lab.write("outside.txt", "mine").expect("a file");
    let ended = run(&lab, &writer(tool));
    // Nothing was changed, so the subtask cannot be done: a person is asked in the end.
    code(&ended, 3);
    let outputs = outputs(&events(&lab));
    assert!(!outputs.is_empty() && outputs.iter().all(|(_, ok)| !ok), "{arguments}: {outputs:?}");
    assert_eq!(lab.tree().expect("a tree"), before, "{arguments}");
    assert_eq!(std::fs::read_to_string(outside).expect("a file"), "mine");
    assert!(lab.calls().len() <= 24, "{} sends", lab.calls().len());
    sound(&lab);
}

#[test]
fn hostile_paths_are_refused_to_the_model() {
    let long = "x/".repeat(2_100);
    let paths = [
        "../outside.txt",
        "/etc/passwd",
        "a/../../outside.txt",
        ".git/config",
        ".GIT/hooks/x",
        "",
        "sub/b.txt",
        "a.txt\n",
        long.as_str(),
        "a\u{0}b",
    ];
    for path in paths {
        let arguments = serde_json::json!({ "path": path, "content": "evil" }).to_string();
        refused("write_file", &arguments);
    }
}

#[test]
fn hostile_patches_are_refused_whole() {
    let envelope = |body: &str| format!("*** Begin Patch\n*** Update File: a.txt\n@@\n-one\n+two\n{body}*** End Patch\n");
    let patches = [
        envelope("*** Add File: ../outside.txt\n+evil\n"),
        envelope("*** Add File: .git/hooks/pre-commit\n+evil\n"),
        envelope("*** Delete File: sub/b.txt\n"),
        envelope("*** Update File: sub/b.txt\n@@\n-not there\n+evil\n"),
        "diff --git a/link b/link\nnew file mode 120000\n--- /dev/null\n+++ b/link\n@@ -0,0 +1 @@\n+/etc/passwd\n".to_owned(),
        "*** Begin Patch\n".to_owned(),
        "not a patch".to_owned(),
    ];
    for patch in patches {
        refused("apply_patch", &serde_json::json!({ "patch": patch }).to_string());
    }
}

#[test]
fn arguments_that_make_no_sense_are_told_to_the_model() {
    let deep = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    for arguments in [
        "",
        "{",
        "[]",
        "{}",
        "{\"path\": 7, \"content\": \"x\"}",
        "{\"path\": \"a.txt\"}",
        "{\"path\":\"a.txt\",\"path\":\"../x\",\"content\":\"x\"}",
        deep.as_str(),
    ] {
        refused("write_file", arguments);
    }
}

#[test]
fn a_tool_that_does_not_exist_or_was_not_given_is_refused() {
    let rules = |tool: &str| format!("{}{}", crate::bench::APPROVE, calls(tool, "{\"argv\":[\"true\"]}"));
    for tool in ["rm_rf", "run_command"] {
        let lab = lab(&rules(tool));
        code(&run(&lab, &writer("write_file")), 3);
        let outputs = outputs(&events(&lab));
        assert!(!outputs.is_empty() && outputs.iter().all(|(text, ok)| !ok && text.contains(tool)), "{outputs:?}");
        sound(&lab);
    }
}

#[test]
fn the_same_call_again_and_again_ends_the_attempt_and_goes_up() {
    let rules = format!(
        "{}[[rule]]\nmatch = {{ contains = \"ROUND\", model = \"gpt-5.4-mini\" }}\nreply = {{ calls = [{{ name = \"read_file\", arguments = {{ path = \"a.txt\" }} }}] }}\n",
        crate::bench::APPROVE
    );
    let lab = lab(&rules);
    let plan = "[[subtasks]]\nid = \"r\"\ntype = \"search\"\ndescription = \"ROUND\"\noutput_format = \"text\"\nfiles = [\"**\"]\ntools = [\"read_file\"]\n";
    code(&run(&lab, plan), 0);
    let events = events(&lab);
    let ups = events.iter().filter(|e| matches!(e, Event::Escalated { .. })).count();
    assert_eq!(ups, 1, "escalated once");
    assert!(lab.calls().len() <= 12, "{} sends", lab.calls().len());
    sound(&lab);
}

#[test]
fn done_without_a_change_is_checked_against_the_disk() {
    let lab = lab(&format!(
        "{}[[rule]]\nmatch = {{ contains = \"WRITE\" }}\nreply = {{ text = \"done, all tests pass\" }}\n",
        crate::bench::APPROVE
    ));
    code(&run(&lab, &writer("write_file")), 3);
    let failed = events(&lab).iter().any(|e| matches!(e, Event::CheckEnded { check, .. } if check == "changed"));
    assert!(failed);
    sound(&lab);
}

#[test]
fn a_reviewer_that_always_sends_work_back_ends_with_a_person() {
    let lab = lab(
        "[[rule]]\nmatch = { format = \"brigade_review\" }\nreply = { json = { summary = \"bad\", verdict = \"revise\", revisions = [{ subtask = \"s0\", instructions = \"again\" }], add = [], final_output = \"\" } }\n",
    );
    code(&run(&lab, &crate::bench::many(1)), 3);
    assert!(lab.calls().len() <= 12, "{} sends", lab.calls().len());
    sound(&lab);
}

#[test]
fn a_reviewer_that_talks_nonsense_is_bounded() {
    for text in ["not json", "{\"summary\":\"s\",\"verdict\":\"shrug\",\"revisions\":[],\"add\":[],\"final_output\":\"\"}"] {
        let text = serde_json::to_string(text).expect("a string");
        let lab = lab(&format!("[[rule]]\nmatch = {{ format = \"brigade_review\" }}\nreply = {{ text = {text} }}\n"));
        let ended = run(&lab, &crate::bench::many(1));
        assert!(matches!(ended.code, Some(1 | 3)), "{:?} {}", ended.code, ended.err);
        assert!(lab.calls().len() <= 8, "{} sends", lab.calls().len());
        sound(&lab);
    }
}

#[test]
fn a_planner_that_plans_nonsense_gets_it_back_twice_and_no_more() {
    for text in [
        "not json".to_owned(),
        "{\"subtasks\":[]}".to_owned(),
        format!("{{\"coordination_notes\":\"\",\"subtasks\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000)),
        "{\"coordination_notes\":\"\",\"subtasks\":[{\"id\":\"a\",\"type\":\"classify\",\"title\":\"t\",\"description\":\"d\",\"output_format\":\"text\",\"depends_on\":[\"b\"],\"files\":[],\"writes\":[],\"tools\":[],\"complexity\":\"low\",\"checks\":[]},{\"id\":\"b\",\"type\":\"classify\",\"title\":\"t\",\"description\":\"d\",\"output_format\":\"text\",\"depends_on\":[\"a\"],\"files\":[],\"writes\":[],\"tools\":[],\"complexity\":\"low\",\"checks\":[]}]}".to_owned(),
    ] {
        let said = serde_json::to_string(&text).expect("a string");
        let lab = lab(&format!("[[rule]]\nmatch = {{ format = \"brigade_plan\" }}\nreply = {{ text = {said} }}\n"));
        let ended = lab.run(&["run", "do something"]).expect("an engine that ends");
        assert!(matches!(ended.code, Some(1..=3)), "{:?} {}", ended.code, ended.err);
        assert_eq!(lab.calls().len(), 3, "{}", &text[..text.len().min(80)]);
        sound(&lab);
    }
}

#[test]
fn escapes_and_strange_characters_are_inert_on_screen_and_whole_on_record() {
    let strange = "\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}[2J\r\u{202e}evil\u{0}\u{feff}\u{e0041}";
    let said = serde_json::to_string(strange).expect("a string").replace("\\u0000", "");
    let lab = lab(&format!(
        "[[rule]]\nmatch = {{ contains = \"WORK-0\", format = \"brigade_review\" }}\nreply = {{ json = {{ summary = \"s\", verdict = \"approve\", revisions = [], add = [], final_output = \"{{{{s0.output}}}}\" }} }}\n[[rule]]\nmatch = {{ contains = \"WORK-0\" }}\nreply = {{ text = {said} }}\n"
    ));
    let ended = run(&lab, &crate::bench::many(1));
    code(&ended, 0);
    assert!(!ended.err.contains('\u{1b}') && !ended.err.contains('\u{202e}') && !ended.err.contains('\r'), "{:?}", ended.err);
    sound(&lab);
}

#[test]
fn a_file_the_user_changed_meanwhile_keeps_the_users_bytes() {
    let rules = format!(
        "{}{}",
        "[[rule]]\nmatch = { format = \"brigade_review\" }\nreply = { json = { summary = \"s\", verdict = \"approve\", revisions = [], add = [], final_output = \"f\" } }\ndelay_ms = 1500\n",
        calls("write_file", "{\"path\":\"a.txt\",\"content\":\"theirs\\n\"}")
    );
    let lab = lab_with(&rules, &[("a.txt", "one\n")]);
    let plan = lab.write("plan.toml", &writer("write_file")).expect("a plan").display().to_string();
    let engine = lab.start(&["run", "--plan", &plan, "--apply", "auto"], &[]).expect("an engine");
    while !lab.calls().iter().any(|c| &*c.model == "gpt-5.4") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::fs::write(lab.workspace().join("a.txt"), "mine\n").expect("a file");
    let ended = engine.wait().expect("an engine that ends");
    let expected: BTreeMap<String, String> = [("a.txt".to_owned(), "mine\n".to_owned())].into();
    assert_eq!(lab.tree().expect("a tree"), expected, "{}", ended.err);
    assert!(ended.err.contains("a.txt"), "the conflict is named: {}", ended.err);
    sound(&lab);
}
