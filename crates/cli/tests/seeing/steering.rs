use rustix::process::Signal;

use crate::stage::{ANSWERS, Stage, THREE, until};

const APPROVE: &str = r#"
[[subtasks]]
id = "c"
type = "summarize"
description = "join the ends"
approve = true
"#;

/// Slow enough to be met under way, however busy the machine.
fn slow() -> String {
    ANSWERS.replace("reply = { text = \"beta\" }", "reply = { text = \"beta\" }\ndelay_ms = 120000")
}

#[test]
fn what_waits_for_a_person_is_listed_answered_once_and_then_goes_on() {
    let stage = Stage::new(ANSWERS);
    stage.run(APPROVE, &["-q"]).exits(3);
    let id = stage.ids().remove(0);
    assert_eq!(stage.state_of(&id), "needs_person");
    let open = stage.brigade(&["inbox", "--json"]).exits(0).lines();
    assert_eq!((open.len(), open[0]["ask"].as_str(), open[0]["subtask"].as_str()), (1, Some("approve"), Some("c")));
    let item = open[0]["id"].as_str().unwrap();
    stage.brigade(&["inbox"]).exits(0).says(&[item, "approve"]);

    stage.brigade(&["answer", item]).exits(2);
    stage.brigade(&["answer", &format!("{id}/99"), "--approve"]).exits(2).says(&["no inbox item 99"]);
    stage.brigade(&["answer", "--all", "--where", "subtask = 'c'", "--approve"]).exits(2).says(&["not supported yet"]);
    stage.brigade(&["answer", "--all", "--where", "ask = 'failed'", "--approve"]).exits(2).says(&["nothing"]);
    stage.brigade(&["answer", "1", "--approve"]).exits(0).says(&["answered", &format!("brigade resume {id}")]);
    assert_eq!(stage.state_of(&id), "paused", "true at once");
    stage.brigade(&["answer", item, "--approve"]).exits(2).says(&["answered before"]);
    stage.brigade(&["inbox"]).exits(0).says(&["nothing waits"]);

    stage.brigade(&["resume", &id, "-q"]).exits(0);
    let answered = stage.brigade(&["show", &id, "--events", "--json"]).out.matches("inbox.answered").count();
    assert_eq!(answered, 1, "taken in once");
}

#[test]
fn a_running_run_names_its_engine_is_told_and_cancelled() {
    let stage = Stage::new(&slow());
    let under = stage.start(THREE, 2);
    let id = under.id.clone();
    let pid = under.child.id().to_string();
    stage.brigade(&["ps"]).exits(0).says(&["running", &pid]);
    stage.brigade(&["resume", &id]).exits(2).says(&[&pid]);
    stage.brigade(&["forget", &id, "--yes"]).exits(2).says(&[&pid, "cancel"]);
    stage.brigade(&["tell", &id, "be brief"]).exits(0);
    until("the words are on record", || stage.brigade(&["show", &id, "--events", "--json"]).out.contains("be brief"));
    stage.brigade(&["cancel", &id]).exits(0).says(&["cancelled"]);
    let ended = under.end().exits(1);
    assert_eq!(ended.lines().last().unwrap()["status"], "cancelled");
    assert_eq!(stage.state_of(&id), "cancelled");
    stage.brigade(&["cancel", &id]).exits(2).says(&["over"]);
    stage.brigade(&["tell", &id, "too late"]).exits(2).says(&["over"]);
}

#[test]
fn a_run_that_nobody_works_on_is_cancelled_at_once() {
    let stage = Stage::new(ANSWERS);
    stage.run(APPROVE, &["-q"]).exits(3);
    let id = stage.ids().remove(0);
    stage.brigade(&["cancel", &id]).exits(0).says(&["cancelled"]);
    assert_eq!(stage.state_of(&id), "cancelled");
    stage.brigade(&["inbox"]).exits(0).says(&["nothing waits"]);
    stage.brigade(&["resume", &id]).exits(2).says(&["over"]);
}

#[test]
fn attach_shows_another_process_run_from_the_first_event_to_its_end() {
    let stage = Stage::new(&ANSWERS.replace("reply = { text = \"beta\" }", "reply = { text = \"beta\" }\ndelay_ms = 1500"));
    let under = stage.start(THREE, 2);
    let seen = stage.brigade(&["attach", &under.id, "--json"]).exits(0);
    let live = under.end().exits(0);
    assert_eq!(seen.out, live.out);
    let id = live.lines()[0]["run_id"].as_str().unwrap().to_owned();
    stage.brigade(&["attach", &id]).exits(0).says(&["It says alpha and beta.", "spent"]);
}

#[test]
fn leaving_an_attached_screen_leaves_the_run_alone() {
    let stage = Stage::new(&ANSWERS.replace("reply = { text = \"beta\" }", "reply = { text = \"beta\" }\ndelay_ms = 3000"));
    let under = stage.start(THREE, 2);
    let attached = stage.command(&["attach", &under.id]).spawn().unwrap();
    let attached = crate::stage::Under { child: attached, id: under.id.clone() };
    attached.signal(Signal::INT);
    attached.end();
    under.end().exits(0);
}

#[test]
fn what_failed_is_tried_again_and_nothing_else() {
    let refusal = r#"
[[rule]]
match = { format = "brigade_plan_patch" }
reply = { json = { add = [], drop = [], change = [], coordination_notes = "" } }
[[rule]]
match = { contains = "say beta" }
times = 1
reply = { status = 400, error = { message = "no", code = "invalid_prompt" } }
"#;
    let stage = Stage::new(&format!("{refusal}{ANSWERS}"));
    let first = stage.run(&THREE.replace("\"say beta\"", "\"say beta\"\nmax_attempts = 1"), &["-q", "--no-cache"]);
    let id = stage.ids().remove(0);
    if first.code == Some(3) {
        stage.brigade(&["answer", "--all", "--reject"]).exits(0);
        stage.brigade(&["resume", &id, "-q"]);
    }
    let shown = &stage.brigade(&["show", &id, "--json"]).lines()[0];
    assert_eq!(
        (shown["subtasks"][1]["state"].as_str(), shown["subtasks"][2]["state"].as_str()),
        (Some("failed"), Some("skipped")),
        "{shown}"
    );
    stage.brigade(&["retry", &id]).exits(2);
    stage.brigade(&["retry", &id, "--failed", "-q"]).exits(0);
    let shown = &stage.brigade(&["show", &id, "--json"]).lines()[0];
    for subtask in shown["subtasks"].as_array().unwrap() {
        assert_eq!(subtask["state"], "done", "{shown}");
    }
    let alpha = stage.brigade(&["show", &id, "--events", "--json"]).lines();
    let tries = alpha.iter().filter(|l| l["type"] == "attempt.started" && l["subtask"] == "a").count();
    assert_eq!(tries, 1, "what was accepted is not tried again");
    stage.brigade(&["retry", &id, "--failed"]).exits(2).says(&["nothing failed"]);
}

#[test]
fn forgotten_and_pruned_runs_leave_nothing() {
    let stage = Stage::new(ANSWERS);
    for _ in 0..2 {
        stage.run(THREE, &["-q"]).exits(0);
    }
    stage.run(APPROVE, &["-q"]).exits(3);
    let ids = stage.ids();
    stage.brigade(&["forget", &ids[1]]).exits(2).says(&["--yes"]);
    stage.brigade(&["forget", &ids[1], "--yes"]).exits(0);
    stage.brigade(&["show", &ids[1]]).exits(2);
    stage.brigade(&["prune", "--older-than", "soon"]).exits(2).says(&["30d"]);
    stage.brigade(&["prune", "--older-than", "1d"]).exits(0).says(&["0 runs removed"]);
    stage.brigade(&["prune", "--older-than", "0s"]).exits(0).says(&[&ids[2], "1 run removed"]);
    assert_eq!(stage.ids(), [ids[0].clone()], "what can be resumed stays");
    let bytes = std::fs::read(stage.home().join("journal.sqlite")).unwrap();
    assert!(!bytes.windows(ids[1].len()).any(|w| w == ids[1].as_bytes()), "no trace in the file");
}
