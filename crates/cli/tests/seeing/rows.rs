use std::io::Read as _;

use crate::stage::{Stage, read};

const LABEL: &str = r#"
[[subtasks]]
id = "label"
type = "classify"
description = "label {{item.text}}"
for_each = "input"
"#;

const REVIEWED: &str = r#"
[[rule]]
match = { format = "brigade_review" }
reply = { json = { summary = "sampled", verdict = "approve", revisions = [], add = [], final_output = "labelled" } }
"#;

fn input(stage: &Stage, rows: u64) {
    let text: String = (0..rows).map(|n| format!("{{\"text\": \"row <{n}>\"}}\n")).collect();
    stage.file("rows.jsonl", &text);
}

fn stage() -> Stage {
    Stage::new(&format!("{REVIEWED}\n[[rule]]\nmatch = {{ contains = \"label\" }}\nreply = {{ text = \"fine\" }}"))
}

#[test]
fn rows_come_in_input_order_whatever_ends_first() {
    let stage = Stage::new(&format!(
        "{REVIEWED}\n[[rule]]\nmatch = {{ contains = \"<0>\" }}\ndelay_ms = 300\nreply = {{ text = \"slow\" }}\n[[rule]]\nreply = {{ text = \"fine\" }}"
    ));
    input(&stage, 50);
    stage.run(LABEL, &["--input", "rows.jsonl", "-q", "-o", "out.jsonl"]).exits(0);
    let rows = read(&stage.dir.path().join("out.jsonl"));
    assert_eq!(rows.iter().map(|r| r["row"].as_u64().unwrap()).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
    assert_eq!((&rows[0]["output"], &rows[1]["output"], &rows[1]["id"]), (&"slow".into(), &"fine".into(), &"label".into()));
    for field in ["row", "id", "status", "output", "tier", "cost_usd", "error"] {
        assert!(rows[7].get(field).is_some(), "{field}: {}", rows[7]);
    }
}

#[test]
fn a_resumed_bulk_run_writes_all_rows_from_the_first() {
    let stage = Stage::new(&format!(
        "{REVIEWED}\n[[rule]]\nmatch = {{ contains = \"<20>\" }}\ntimes = 1\nreply = {{ status = 401, error = {{ message = \"no\" }} }}\n[[rule]]\nreply = {{ text = \"fine\" }}"
    ));
    input(&stage, 30);
    let first = stage.run(LABEL, &["--input", "rows.jsonl", "-q", "-o", "out.jsonl"]);
    assert_ne!(first.code, Some(0), "{}", first.err);
    let some = read(&stage.dir.path().join("out.jsonl"));
    assert!(!some.iter().any(|r| r["row"] == 20), "a row without a result is left out");
    let order: Vec<u64> = some.iter().map(|r| r["row"].as_u64().unwrap()).collect();
    assert!(order.is_sorted(), "{order:?}");
    stage.brigade(&["resume", "--last", "-q", "-o", "out.jsonl"]).exits(0);
    assert_eq!(read(&stage.dir.path().join("out.jsonl")).len(), 30);
}

#[test]
fn a_closed_pipe_ends_the_rows_and_not_the_run() {
    let stage = stage();
    input(&stage, 600);
    stage.file("plan.toml", LABEL);
    let mut child = stage.command(&["run", "--plan", "plan.toml", "-C", "workspace", "--input", "rows.jsonl", "-q"]).spawn().unwrap();
    let mut first = [0; 64];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    let id = stage.ids().remove(0);
    stage.brigade(&["show", &id]).exits(0).says(&["600 of 600 rows done"]);
}

#[test]
fn failed_rows_are_shown_with_their_reasons() {
    let stage = stage();
    input(&stage, 5);
    let rows = std::fs::read_to_string(stage.dir.path().join("rows.jsonl")).unwrap();
    stage.file("rows.jsonl", &format!("{rows}not json\n"));
    stage.run(LABEL, &["--input", "rows.jsonl", "-q", "-o", "out.jsonl"]).exits(0);
    let id = stage.ids().remove(0);
    let written = read(&stage.dir.path().join("out.jsonl"));
    assert_eq!((written.len(), written[5]["status"].as_str()), (6, Some("failed")));
    stage.brigade(&["show", &id]).exits(0).says(&["failed rows", "label[5]", "not JSON"]);
}
