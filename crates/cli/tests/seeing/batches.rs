//! Rows by the Batch API in a real run: sent once, found again after a death, paid at half the price, in order at the end.

use std::io::{Read as _, Write as _};

use rustix::process::Signal;
use serde_json::Value;

use super::services::{billed, said_cost};
use super::stage::{Ended, Stage, until};

const ROWS: usize = 200;

const PLAN: &str = "[[subtasks]]\nid = \"label\"\ntype = \"classify\"\nfor_each = \"input\"\ndescription = \"Label: {{item.text}}\"\n";

/// Ten lines fail once, four are not reached in time once; all others are answered with their own text.
fn rules(batches: &str, labels: &std::path::Path) -> String {
    format!(
        "[batches]\n{batches}\n\
         [[rule]]\nmatch = {{ format = \"brigade_review\" }}\n\
         reply = {{ json = {{ summary = \"seen\", verdict = \"approve\", revisions = [], add = [], final_output = \"labelled\" }} }}\n\
         [[rule]]\nmatch = {{ contains = \"fail\" }}\ntimes = 10\nreply = {{ error = \"server_error\" }}\n\
         [[rule]]\nmatch = {{ contains = \"late\" }}\ntimes = 4\nreply = {{ error = \"batch_expired\" }}\n\
         [[rule]]\nmatch = {{ contains = \"Label:\" }}\nreply = {{ lookup = '{}', key = 'Label: (\\S+)' }}\n",
        labels.display()
    )
}

fn text(row: usize) -> String {
    let word = match row {
        _ if row % 20 == 3 => "fail",
        _ if row % 50 == 10 => "late",
        _ => "plain",
    };
    format!("{word}-{row}")
}

fn stage(batches: &str) -> Stage {
    let labels = tempfile::TempDir::new().unwrap();
    let line = |row| format!("{{\"key\": \"{0}\", \"text\": \"label of {0}\"}}\n", text(row));
    let path = labels.path().join("labels.jsonl");
    std::fs::write(&path, (0..ROWS).map(line).collect::<String>()).unwrap();
    let stage = Stage::new(&rules(batches, &path));
    stage.file("rows.jsonl", &(0..ROWS).map(|row| format!("{{\"text\": \"{}\"}}\n", text(row))).collect::<String>());
    stage.file("plan.toml", PLAN);
    std::fs::create_dir_all(stage.home()).unwrap();
    let config = "[providers.openai]\nbatch = true\n[service]\nbatch = true\nbatch_poll = \"1s\"\n";
    std::fs::write(stage.home().join("config.toml"), config).unwrap();
    stage
}

const RUN: [&str; 10] = ["run", "--plan", "plan.toml", "--input", "rows.jsonl", "-C", "workspace", "-o", "out.jsonl", "-q"];

/// What the API says of its batches.
fn batches(stage: &Stage) -> Vec<Value> {
    let addr = stage.api.addr();
    let mut wire = std::net::TcpStream::connect(addr).unwrap();
    write!(wire, "GET /v1/batches?limit=100 HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer k\r\nconnection: close\r\n\r\n").unwrap();
    let mut said = String::new();
    wire.read_to_string(&mut said).unwrap();
    let body: Value = serde_json::from_str(&said[said.find("\r\n\r\n").unwrap() + 4..]).unwrap();
    body["data"].as_array().unwrap().clone()
}

/// Every row is there once, in order, and the API's books say what brigade says.
fn all_is_well(stage: &Stage) {
    let out = std::fs::read_to_string(stage.dir.path().join("out.jsonl")).unwrap();
    let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), ROWS);
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(
            (row["row"].as_u64(), row["output"].as_str()),
            (Some(n as u64), Some(format!("label of {}", text(n)).as_str())),
            "{row}"
        );
    }
    let ledger = stage.ledger();
    let answered = ledger.calls.iter().filter(|call| call.status == 200 && call.service.is_some()).count();
    assert_eq!(answered, ROWS, "each row is answered once, by a batch");
    assert_eq!(said_cost(stage), billed(&ledger.calls));
}

fn on_record(stage: &Stage, id: &str, event: &str) -> bool {
    let shown = stage.brigade(&["show", id, "--events", "--json"]);
    shown.out.lines().any(|line| line.contains(event))
}

fn resumed(stage: &Stage, id: &str) -> Ended {
    stage.brigade(&["resume", id, "-o", "out.jsonl", "-q"]).exits(0)
}

#[test]
fn two_hundred_rows_travel_by_batch_and_failed_lines_travel_again() {
    let stage = stage("");
    stage.brigade(&RUN).exits(0);
    all_is_well(&stage);
    let counts: Vec<(u64, u64)> = batches(&stage)
        .iter()
        .map(|batch| (batch["request_counts"]["total"].as_u64().unwrap(), batch["request_counts"]["failed"].as_u64().unwrap()))
        .collect();
    // Newest first.
    assert_eq!(counts, [(14, 0), (200, 14)]);
}

#[test]
fn killed_before_between_and_after_its_making_a_batch_is_made_once() {
    for (script, made) in [("upload_ms = 4000", 0), ("create_ms = 4000", 1), ("delay_ms = 4000", 1)] {
        let stage = stage(script);
        let mut child = stage.command(&RUN).spawn().unwrap();
        until("the run begins", || !stage.ids().is_empty());
        let id = stage.ids().remove(0);
        until("the batch is on its way", || on_record(&stage, &id, "batch.started") && batches(&stage).len() == made);
        if script.starts_with("delay") {
            until("some lines are answered", || stage.ledger().calls.len() > 20);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        resumed(&stage, &id);
        all_is_well(&stage);
        assert_eq!(batches(&stage).len(), 2, "{script}");
    }
}

#[test]
fn who_is_interrupted_while_a_batch_runs_leaves_and_resumes_it() {
    let stage = stage("delay_ms = 6000");
    let mut child = stage.command(&RUN).spawn().unwrap();
    until("the batch is made", || !batches(&stage).is_empty());
    let id = stage.ids().remove(0);
    stage.brigade(&["show", &id]).exits(0).says(&["waits for a batch of 200 calls"]);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(batches(&stage)[0]["status"], "in_progress");
    resumed(&stage, &id);
    all_is_well(&stage);
}

#[test]
fn a_cancel_stops_the_batch_at_its_provider_and_what_was_answered_is_paid() {
    let stage = stage("delay_ms = 20000");
    let mut child = stage.command(&RUN).spawn().unwrap();
    until("lines are answered", || stage.ledger().calls.len() > 10);
    let id = stage.ids().remove(0);
    stage.brigade(&["cancel", &id]).exits(0);
    child.wait().unwrap();
    assert_eq!(batches(&stage)[0]["status"], "cancelled");
    assert_eq!(said_cost(&stage), billed(&stage.ledger().calls));
    assert!(stage.ledger().calls.len() < ROWS);
}
