use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::stage::{ANSWERS, Stage, THREE, until};

/// The second answer takes longer than any test; the first is there at once.
fn stuck() -> String {
    format!("[[rule]]\nmatch = {{ contains = \"say beta\" }}\ntimes = 1\ndelay_ms = 120000\nreply = {{ text = \"late\" }}\n{ANSWERS}")
}

fn alpha_is_done(stage: &Stage, id: &str) -> bool {
    let lines = stage.brigade(&["show", id, "--events", "--json"]).lines();
    lines.iter().any(|l| l["type"] == "subtask.completed" && l["subtask"] == "a")
}

fn calls_about(stage: &Stage, id: &str, subtask: &str) -> u64 {
    let bill = &stage.brigade(&["show", id, "--cost", "--json"]).lines()[0];
    bill["subtasks"][subtask]["calls"].as_u64().unwrap_or_default()
}

#[test]
fn an_interrupt_drains_to_a_run_that_resumes_without_paying_twice() {
    let stage = Stage::new(&stuck());
    let under = stage.start(THREE, 2);
    until("alpha is on record", || alpha_is_done(&stage, &under.id));
    let id = under.id.clone();
    let since = Instant::now();
    under.signal(Signal::INT);
    let ended = under.end().exits(130);
    // The promise is five seconds; a busy machine gets more, and the hung call would take two minutes.
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    assert_eq!(ended.lines().last().unwrap()["type"], "run.paused");
    assert_eq!(stage.state_of(&id), "interrupted");
    stage.brigade(&["resume", "--last", "-q"]).exits(0);
    assert_eq!(calls_about(&stage, &id, "a"), 1);
    let about_alpha = stage.ledger().calls.len();
    assert_eq!(about_alpha, 5, "alpha, beta cut, beta, the join, the review");
}

/// One subtask whose check takes longer than any test.
const LONG_CHECK: &str = r#"
[[subtasks]]
id = "slow"
type = "generate"
description = "say alpha"
checks = [["sleep", "300"]]
"#;

#[test]
fn a_command_under_way_holds_up_neither_an_interrupt_nor_a_cancel() {
    for cancelled in [false, true] {
        let stage = Stage::new(ANSWERS);
        let under = stage.start(LONG_CHECK, 1);
        let (id, since) = (under.id.clone(), Instant::now());
        until("the check runs", || {
            stage.brigade(&["show", &id, "--events", "--json"]).lines().iter().any(|l| l["type"] == "attempt.started")
        });
        std::thread::sleep(Duration::from_millis(500));
        if cancelled {
            stage.brigade(&["cancel", &id]).exits(0);
        } else {
            under.signal(Signal::INT);
        }
        let ended = under.end().exits(if cancelled { 1 } else { 130 });
        assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
        let last = ended.lines().last().cloned().unwrap();
        assert_eq!(last["type"], if cancelled { "run.completed" } else { "run.paused" }, "{last}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once_and_it_still_resumes() {
    let stage = Stage::new(&stuck());
    let mut under = stage.start(THREE, 2);
    until("alpha is on record", || alpha_is_done(&stage, &under.id));
    let id = under.id.clone();
    // Two signals that arrive together are one: sent until it is gone, which is before the draining would be over.
    until("it leaves", || {
        under.signal(Signal::TERM);
        under.child.try_wait().unwrap().is_some()
    });
    under.end().exits(130).says(&["left at once", &format!("brigade resume {id}")]);
    assert_eq!(stage.state_of(&id), "interrupted");
    stage.brigade(&["resume", &id, "-q"]).exits(0);
    assert_eq!(calls_about(&stage, &id, "a"), 1);
}

#[test]
fn a_killed_engine_loses_nothing_finished() {
    let stage = Stage::new(&stuck());
    let under = stage.start(THREE, 2);
    until("alpha is on record", || alpha_is_done(&stage, &under.id));
    let id = under.id.clone();
    under.signal(Signal::KILL);
    under.end();
    assert_eq!(stage.state_of(&id), "interrupted");
    let attached = stage.brigade(&["attach", &id]).exits(130);
    assert!(attached.err.contains("brigade resume"), "{}", attached.err);
    let resumed = stage.brigade(&["resume", &id]).exits(0);
    assert_eq!(resumed.out, "It says alpha and beta.\n");
    assert_eq!(calls_about(&stage, &id, "a"), 1);
    assert_eq!(stage.ledger().calls.len(), 5);
    assert_eq!(stage.state_of(&id), "completed");
}
