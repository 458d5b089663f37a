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
fn a_retry_pays_for_the_failed_rows_alone_and_puts_them_in_their_place() {
    let refusals: String = [3, 7]
        .map(|row| {
            format!("[[rule]]\nmatch = {{ contains = \"<{row}>\" }}\ntimes = 1\nreply = {{ status = 400, error = {{ message = \"not this one\", code = \"invalid_prompt\" }} }}\n")
        })
        .concat();
    let stage = Stage::new(&format!("{REVIEWED}\n{refusals}[[rule]]\nreply = {{ text = \"fine\" }}"));
    input(&stage, 12);
    let plan = LABEL.replace("for_each", "max_attempts = 1\nfor_each");
    stage.run(&plan, &["--input", "rows.jsonl", "-q", "-o", "out.jsonl", "--no-cache"]).exits(0);
    let out = stage.dir.path().join("out.jsonl");
    let failed = |rows: &[serde_json::Value]| -> Vec<u64> {
        rows.iter().filter(|r| r["status"] == "failed").map(|r| r["row"].as_u64().unwrap()).collect()
    };
    assert_eq!((failed(&read(&out)), stage.ledger().calls.len()), (vec![3, 7], 13));
    let id = stage.ids().remove(0);
    stage.brigade(&["retry", &id, "--failed", "-o", "out.jsonl"]).exits(0).says(&["12 accepted, 0 failed, 0 skipped"]);
    let rows = read(&out);
    assert_eq!(rows.iter().map(|r| r["row"].as_u64().unwrap()).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    assert!(failed(&rows).is_empty() && rows[7]["output"] == "fine", "{rows:?}");
    assert_eq!(stage.ledger().calls.len(), 13 + 2 + 1, "two rows, and the review of the new result");
    stage.brigade(&["retry", &id, "--failed"]).exits(2).says(&["nothing failed"]);
}

const CHAIN: &str = r#"
[[subtasks]]
id = "label"
type = "classify"
description = "label {{item.text}}"
for_each = "input"
max_attempts = 1
[[subtasks]]
id = "draft"
type = "generate"
description = "draft {{item.text}}"
for_each = "label"
when = "{{label.output}} == 'refund'"
max_attempts = 1
"#;

#[test]
fn the_closing_lines_count_rows_by_subtask_and_name_the_most_frequent_reasons() {
    let no = |when: &str, why: &str| {
        format!(
            "[[rule]]\nmatch = {{ contains = {when} }}\nreply = {{ status = 400, error = {{ message = \"{why}\", code = \"invalid_prompt\" }} }}\n"
        )
    };
    let rules = [
        no("[\"label\", \"<7>\"]", "row 7 is too odd"),
        no("[\"label\", \"<8>\"]", "row 8 is too odd"),
        no("[\"draft\", \"<10>\"]", "not today"),
        "[[rule]]\nmatch = { contains = [\"label\", \"<1\"] }\nreply = { text = \"refund\" }\n".to_owned(),
        "[[rule]]\nreply = { text = \"fine\" }\n".to_owned(),
    ];
    let stage = Stage::new(&format!("{REVIEWED}\n{}", rules.concat()));
    input(&stage, 12);
    let ran = stage.run(CHAIN, &["--input", "rows.jsonl", "-o", "out.jsonl"]).exits(0);
    let from = ran.err.find("rows of").unwrap_or_else(|| panic!("{}", ran.err));
    let shown: Vec<&str> = ran.err[from..].lines().take(8).collect();
    assert_eq!(
        shown,
        [
            "rows of  done  failed  skipped  escalated",
            "label      10       2        0          0",
            "draft       2       1        9          0",
            "",
            "failed  of     because",
            "     2  label  request refused: row 7 is too odd",
            "     1  draft  request refused: not today",
            "",
        ],
        "{}",
        ran.err
    );
    ran.says(&["12 accepted, 3 failed, 9 skipped", "brigade retry r"]);
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

const TWICE: &str = r#"
[[subtasks]]
id = "label"
type = "classify"
description = "label {{item.text}}"
for_each = "input"
[[subtasks]]
id = "sum"
type = "summarize"
description = "sum up"
depends_on = ["label"]
[[subtasks]]
id = "again"
type = "classify"
description = "judge {{label.output}} by {{sum.output}}"
for_each = "input"
"#;

#[test]
fn rows_go_through_a_barrier_and_take_their_own_results_along() {
    let stage = Stage::new(&format!(
        "{REVIEWED}\n[[rule]]\nmatch = {{ contains = \"sum up\" }}\nreply = {{ text = \"the sum\" }}\n\
         [[rule]]\nmatch = {{ contains = \"seven\" }}\nreply = {{ text = \"judged seven\" }}\n\
         [[rule]]\nmatch = {{ contains = \"the sum\" }}\nreply = {{ text = \"judged\" }}\n\
         [[rule]]\nmatch = {{ contains = \"<7>\" }}\nreply = {{ text = \"seven\" }}\n\
         [[rule]]\nmatch = {{ contains = \"label\" }}\nreply = {{ text = \"fine\" }}"
    ));
    input(&stage, 700);
    stage.run(TWICE, &["--input", "rows.jsonl", "-q", "-o", "out.jsonl"]).exits(0);
    let rows = read(&stage.dir.path().join("out.jsonl"));
    let order: Vec<(u64, &str)> = rows.iter().map(|r| (r["row"].as_u64().unwrap(), r["id"].as_str().unwrap())).collect();
    let wanted: Vec<(u64, &str)> = (0..700).flat_map(|row| [(row, "label"), (row, "again")]).collect();
    assert!(order == wanted, "one line per row and subtask, in input order: {order:?}");
    for row in &rows[..20] {
        let judged = if row["row"] == 7 { "judged seven" } else { "judged" };
        assert!(row["id"] == "label" || row["output"] == judged, "{row}");
    }
}

#[test]
fn rows_of_a_list_follow_the_rows_of_the_input_and_do_not_mix_with_them() {
    let plan = format!(
        "{LABEL}\n[[subtasks]]\nid = \"find\"\ntype = \"search\"\ndescription = \"find\"\n\
         [[subtasks]]\nid = \"look\"\ntype = \"classify\"\ndescription = \"look at {{{{item}}}}\"\nfor_each = \"find\""
    );
    let stage = Stage::new(&format!(
        "{REVIEWED}\n[[rule]]\nmatch = {{ contains = \"label\" }}\nreply = {{ text = \"fine\" }}\n\
         [[rule]]\nmatch = {{ contains = \"look\" }}\nreply = {{ text = \"seen\" }}\n\
         [[rule]]\nmatch = {{ contains = \"find\" }}\nreply = {{ json = {{ found = [\"x\", \"y\"] }} }}"
    ));
    input(&stage, 4);
    let out = stage.run(&plan, &["--input", "rows.jsonl", "-q"]);
    let rows: Vec<serde_json::Value> = out.exits(0).out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let order: Vec<String> = rows.iter().map(|r| format!("{}{}", r["id"].as_str().unwrap(), r["row"])).collect();
    assert_eq!(order, ["label0", "label1", "label2", "label3", "look0", "look1"]);
}

#[test]
fn a_revised_subtask_of_the_rows_is_done_again_and_the_file_says_so() {
    let plan = format!("{LABEL}\n[[subtasks]]\nid = \"reply\"\ntype = \"extract\"\ndescription = \"answer it\"\nfor_each = \"label\"");
    let revise = r#"
[[rule]]
match = { format = "brigade_review" }
times = 1
reply = { json = { summary = "sampled", verdict = "revise", revisions = [{ subtask = "reply", instructions = "be kind" }], add = [], final_output = "" } }
"#;
    let stage = Stage::new(&format!(
        "{revise}{REVIEWED}\n[[rule]]\nmatch = {{ contains = \"be kind\" }}\nreply = {{ text = \"kind\" }}\n\
         [[rule]]\nmatch = {{ contains = \"answer it\" }}\nreply = {{ text = \"curt\" }}\n\
         [[rule]]\nmatch = {{ contains = \"label\" }}\nreply = {{ text = \"fine\" }}"
    ));
    input(&stage, 20);
    stage.run(&plan, &["--input", "rows.jsonl", "-q", "-o", "out.jsonl"]).exits(0);
    assert_eq!(stage.ledger().calls.len(), 20 * 3 + 2, "the labels are kept");
    let rows = read(&stage.dir.path().join("out.jsonl"));
    assert_eq!(rows.len(), 40);
    assert!(rows.iter().all(|r| r["output"] == if r["id"] == "label" { "fine" } else { "kind" }), "{rows:?}");
    let printed = stage.run(&plan, &["--input", "rows.jsonl", "-q"]);
    assert_eq!(printed.out.lines().count(), 40);
}
