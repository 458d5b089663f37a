use std::net::{SocketAddr, TcpListener};

use brigade_emulator::{Emulator, Options, Running, Scenario};

use crate::stage::{ANSWERS, Ended, REVIEW, Stage, THREE, read};

/// A stage whose provider is not there yet: nobody listens at this address.
/// Other tests listen at 127.0.0.1: none of them comes to hold this port.
fn deserted() -> (Stage, SocketAddr) {
    let stage = Stage::new(ANSWERS);
    std::fs::create_dir_all(stage.home()).unwrap();
    std::fs::write(stage.home().join("config.toml"), "[limits]\nmax_tries = 2\n").unwrap();
    let address = TcpListener::bind("127.77.0.1:0").unwrap().local_addr().unwrap();
    (stage, address)
}

fn to(address: SocketAddr, stage: &Stage, arguments: &[&str]) -> Ended {
    let output = stage.command(arguments).env("OPENAI_BASE_URL", format!("http://{address}/v1")).output().unwrap();
    Ended::of(arguments, output)
}

fn serve(address: SocketAddr, stage: &Stage, rules: &str) -> Running {
    let scenario = Scenario::parse(rules, stage.dir.path()).unwrap();
    Emulator::start(scenario, &Options { bind: address, ..Options::default() }).unwrap()
}

#[test]
fn a_provider_that_is_not_there_is_exit_6_with_what_to_look_at_and_the_run_goes_on_once_it_is() {
    let (stage, address) = deserted();
    stage.file("plan.toml", THREE);
    let said = ["trying again", "cannot reach", "refused", "OPENAI_BASE_URL", "base_url", "brigade resume r"];
    to(address, &stage, &["run", "--plan", "plan.toml", "-C", "workspace"]).exits(6).says(&said);
    // Asked for the result only, a person still learns why there is none.
    let quiet = to(address, &stage, &["resume", "--last", "-q"]).exits(6).says(&["cannot reach", "brigade resume r"]);
    assert_eq!((quiet.out.as_str(), quiet.err.lines().count()), ("", 2), "{}", quiet.err);
    let api = serve(address, &stage, &format!("{REVIEW}{ANSWERS}"));
    let ended = to(address, &stage, &["resume", "--last", "-q"]).exits(0);
    assert_eq!(ended.out, "It says alpha and beta.\n");
    assert_eq!(api.ledger().calls.len(), 4);
}

#[test]
fn rows_that_reached_nobody_are_not_failed_and_are_done_once_somebody_is_there() {
    let (stage, address) = deserted();
    stage.file("plan.toml", "[[subtasks]]\nid = \"label\"\ntype = \"classify\"\ndescription = \"label {{item}}\"\nfor_each = \"input\"\n");
    stage.file("rows.jsonl", &(0..30).map(|n| format!("\"row <{n}>\"\n")).collect::<String>());
    let out = stage.dir.path().join("out.jsonl");
    let run = ["run", "--plan", "plan.toml", "-C", "workspace", "--input", "rows.jsonl", "-o", "out.jsonl"];
    to(address, &stage, &run).exits(6).says(&["cannot reach", "brigade resume r"]);
    assert_eq!(read(&out).len(), 0, "no row has a result yet");
    let id = stage.ids().remove(0);
    let shown = &stage.brigade(&["show", &id, "--json"]).lines()[0];
    assert_eq!(shown["subtasks"][0]["state"], "waiting", "{shown}");
    stage.brigade(&["retry", &id, "--failed"]).exits(2).says(&["nothing failed"]);
    let review = REVIEW.replace("It says {{c.output}}.", "labelled");
    let api = serve(address, &stage, &format!("{review}[[rule]]\nreply = {{ text = \"fine\" }}"));
    to(address, &stage, &["resume", &id, "-q", "-o", "out.jsonl"]).exits(0);
    let rows = read(&out);
    assert_eq!(rows.iter().map(|r| r["row"].as_u64().unwrap()).collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
    assert!(rows.iter().all(|r| r["status"] == "done"), "{rows:?}");
    assert_eq!(api.ledger().calls.len(), 31, "each row and the review, once");
}
