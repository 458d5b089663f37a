//! What a model sees when it calls tools, rightly and wrongly.

use std::fs;

use super::*;

async fn call(dir: &std::path::Path, grant: &Grant, name: &str, arguments: &str) -> ToolOutput {
    let view = View::in_place(dir).expect("a workspace");
    Toolbox::with_output_chars(1_000).call(&view, grant, name, arguments).await.output
}

#[tokio::test]
async fn arguments_are_refused_by_field_value_and_remedy() {
    let dir = tempfile::tempdir().expect("tempdir");
    for (name, arguments, word) in [
        ("read_file", "", "field \"path\" is missing; give a string"),
        ("read_file", "{\"path\": 3}", "field \"path\" is 3; give a string"),
        ("read_file", "{\"path\": \"a\", \"start_line\": -1}", "field \"start_line\" is -1; give a whole number"),
        ("read_file", "{\"path\": \"a\", \"line\": 1}", "unknown field \"line\""),
        ("read_file", "{\"path\": \"a\", \"path\": \"b\"}", "stands twice"),
        ("read_file", "{\"path\": \"a\"", "no JSON object"),
        ("read_file", "[]", "no JSON object"),
        ("search", "{\"args\": \"needle\"}", "give an array of strings"),
        ("search", "{\"args\": [\"x\", 1]}", "number 2 is none"),
        ("search", "{\"args\": [\"--pre\", \"sh\", \"x\"]}", "flag \"--pre\" is not offered"),
        ("search", "{\"args\": [\"-f\", \"/etc/passwd\"]}", "flag \"-f\" is not offered"),
        ("search", "{\"args\": []}", "no pattern given"),
        ("search", "{\"args\": [\"x\", \"../\"]}", "`..`"),
        ("search", "{\"args\": [\"x\", \"/etc\"]}", "absolute"),
        ("search", "{\"args\": [\"(\"]}", "escape special characters"),
        ("list_files", "{\"path\": \"..\"}", "`..`"),
        ("list_files", "{\"glob\": \"/etc/*\"}", "is absolute; name a path relative to the workspace"),
        ("rm", "{}", "there is no tool \"rm\"; yours are: apply_patch, list_files, read_file, search, view_image, write_file"),
        ("read_file", "{\"path\": \"nowhere/here.txt\"}", "does not exist"),
    ] {
        let answer = call(dir.path(), &Grant::whole(), name, arguments).await;
        let error = answer.error.clone().unwrap_or_default();
        assert!(!answer.ok && error.contains(word), "{name} {arguments}: {answer:?}");
    }
    let nested = format!("{{\"path\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(!call(dir.path(), &Grant::whole(), "read_file", &nested).await.ok);
}

#[tokio::test]
async fn a_tool_or_file_that_was_not_granted_is_refused() {
    let dir = tempfile::tempdir().expect("tempdir");
    for path in ["src/a.rs", "docs/b.md", "out/c.txt"] {
        fs::create_dir_all(dir.path().join(path).parent().expect("parent")).expect("mkdir");
        fs::write(dir.path().join(path), format!("needle in {path}\n")).expect("write");
    }
    let grant = Grant::new(&["search", "list_files", "read_file", "write_file", "apply_patch"], &["src/**"], &["out/**"]).expect("grant");
    let ask = async |name: &str, arguments: &str| call(dir.path(), &grant, name, arguments).await;
    assert_eq!(ask("search", "{\"args\": [\"needle\"]}").await.output, "out/c.txt:needle in out/c.txt\nsrc/a.rs:needle in src/a.rs\n");
    assert_eq!(ask("list_files", "{}").await.output, "out/c.txt\nsrc/a.rs\n");
    assert!(
        ask("read_file", "{\"path\": \"docs/b.md\"}").await.error.expect("refused").contains("outside what this subtask may read: src/**")
    );
    assert!(ask("search", "{\"args\": [\"needle\", \"docs\"]}").await.output.is_empty());
    assert!(ask("write_file", "{\"path\": \"src/a.rs\", \"content\": \"\"}").await.error.expect("refused").contains("may write: out/**"));
    let patch = "*** Begin Patch\\n*** Update File: out/c.txt\\n*** Move to: src/c.txt\\n@@\\n-needle in out/c.txt\\n+x\\n*** End Patch";
    let moved = ask("apply_patch", &format!("{{\"patch\": \"{patch}\"}}")).await;
    assert!(moved.error.expect("refused").contains("may write") && dir.path().join("out/c.txt").exists());
    let narrow = Grant::new(&["read_file"], &[], &[]).expect("grant");
    let refused = call(dir.path(), &narrow, "write_file", "{\"path\": \"x\", \"content\": \"\"}").await;
    assert_eq!(refused.error.as_deref(), Some("the tool \"write_file\" is not granted to this subtask; yours are: read_file"));
}

#[tokio::test]
async fn files_are_read_by_range_and_cut_with_a_way_to_the_rest() {
    let dir = tempfile::tempdir().expect("tempdir");
    let text: String = (1..=500).map(|i| format!("line {i}\n")).collect();
    fs::write(dir.path().join("long"), &text).expect("write");
    fs::write(dir.path().join("short"), "a\r\nb").expect("write");
    fs::write(dir.path().join("binary"), [0, 1, 2]).expect("write");
    let ask = async |arguments: &str| call(dir.path(), &Grant::whole(), "read_file", arguments).await;
    assert_eq!(ask("{\"path\": \"short\", \"start_line\": null}").await.output, "a\r\nb", "short text comes as it is");
    assert_eq!(ask("{\"path\": \"long\", \"start_line\": 499, \"end_line\": 900}").await.output, "line 499\nline 500\n");
    assert!(ask("{\"path\": \"long\", \"start_line\": 501}").await.error.expect("past the end").contains("has 500 lines"));
    assert!(ask("{\"path\": \"long\", \"start_line\": 5, \"end_line\": 4}").await.error.is_some());
    assert!(ask("{\"path\": \"binary\"}").await.error.expect("binary").contains("binary"));
    let cut = ask("{\"path\": \"long\"}").await;
    assert!(cut.ok && cut.truncated && cut.output.starts_with("line 1\n") && cut.output.ends_with("line 500\n"));
    let note = cut.output.lines().find(|line| line.starts_with('[')).expect("a note");
    assert!(note.contains("read_file \"long\" with start_line "), "{note}");
    let hint = ask("{\"path\": \"src/long\"}").await.error.expect("absent");
    assert!(hint.ends_with("files of that name: long"), "{hint}");
}

#[tokio::test]
async fn writing_and_patching_say_what_they_did() {
    let dir = tempfile::tempdir().expect("tempdir");
    let ask = async |name: &str, arguments: Value| call(dir.path(), &Grant::whole(), name, &arguments.to_string()).await.output;
    assert_eq!(ask("write_file", json!({"path": "new/f", "content": "a\nb\n"})).await, "created new/f (2 lines, 4 bytes)\n");
    assert_eq!(ask("write_file", json!({"path": "new/f", "content": "a\n"})).await, "replaced new/f (1 lines, 2 bytes)\n");
    let patch = "*** Begin Patch\n*** Update File: new/f\n*** Move to: g\n@@\n-a\n+b\n*** Add File: h\n+h\n*** End Patch";
    assert_eq!(ask("apply_patch", json!({"patch": patch})).await, "R new/f -> g\nA h\n");
    assert_eq!(fs::read_to_string(dir.path().join("g")).expect("read"), "b\n");
    assert_eq!(ask("list_files", json!({"glob": "*"})).await, "g\nh\n");
}

#[tokio::test]
async fn a_search_is_bounded_and_passes_over_secrets_aloud() {
    let dir = tempfile::tempdir().expect("tempdir");
    fs::write(dir.path().join("many"), "needle\n".repeat(100_000)).expect("write");
    fs::write(dir.path().join("server.key"), "needle\n").expect("write");
    let answer = call(dir.path(), &Grant::whole(), "search", "{\"args\": [\"-n\", \"needle\"]}").await;
    assert!(answer.ok && answer.truncated && answer.output.chars().count() < 1_600, "{}", answer.output.len());
    assert!(
        answer.output.contains("narrower pattern") && answer.output.contains("[not searched: server.key (may hold a secret)"),
        "{}",
        answer.output
    );
    let bad = call(dir.path(), &Grant::whole(), "search", "{\"args\": [\"(a*)*b$\", \"many\"]}").await;
    assert!(bad.ok && bad.output.is_empty(), "a catastrophic pattern is only a pattern: {bad:?}");
}

#[test]
fn every_schema_keeps_to_the_strict_subset() {
    for spec in Toolbox::default().specs() {
        let schema = &spec.parameters;
        assert_eq!((&schema["type"], &schema["additionalProperties"]), (&json!("object"), &json!(false)));
        let properties: Vec<&String> = schema["properties"].as_object().expect("properties").keys().collect();
        let required: Vec<&str> = schema["required"].as_array().expect("required").iter().filter_map(Value::as_str).collect();
        assert_eq!(properties, required, "{}", spec.name);
    }
}

#[tokio::test]
async fn a_line_longer_than_what_is_shown_is_opened_or_searched() {
    let dir = tempfile::tempdir().expect("tempdir");
    let line = "x".repeat(5_000);
    fs::write(dir.path().join("min.js"), format!("first\n{line}\nlast\n")).expect("write");
    let view = View::in_place(dir.path()).expect("a workspace");
    let toolbox = Toolbox::with_output_chars(1_000);
    let closed = toolbox.call(&view, &Grant::whole(), "read_file", "{\"path\": \"min.js\"}").await;
    assert!(closed.output.truncated && closed.whole.is_none());
    assert!(closed.output.output.contains("left out; search [\"-o\", PATTERN, PATH] shows parts of it"), "{}", closed.output.output);
    let mut grant = Grant::whole();
    grant.tools.insert(OPEN_OUTPUT.to_owned());
    let open = toolbox.call(&view, &grant, "read_file", "{\"path\": \"min.js\", \"start_line\": 2, \"end_line\": 2}").await;
    let whole = open.whole.expect("kept");
    assert!(open.output.output.contains(&whole.way()) && whole.text == format!("{line}\n"));
}
