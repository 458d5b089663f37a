use serde_json::Value;

use crate::stage::{ANSWERS, Stage, THREE, types};

#[test]
fn a_plan_of_three_ends_with_its_result_on_stdout_and_the_rest_on_stderr() {
    let stage = Stage::new(ANSWERS);
    let run = stage.run(THREE, &[]).exits(0);
    assert_eq!(run.out, "It says alpha and beta.\n");
    for words in ["done", "review", "(computed)", "3 accepted", "nano", "flagship", "no human review"] {
        assert!(run.err.contains(words), "{words}: {}", run.err);
    }
    assert!(!run.err.contains('\x1b'), "no colour where there is no terminal: {}", run.err);
    assert_eq!(stage.ledger().calls.len(), 4);
}

#[test]
fn json_lines_come_in_order_with_their_fields_and_show_repeats_them() {
    let stage = Stage::new(ANSWERS);
    let live = stage.run(THREE, &["--json"]).exits(0);
    let lines = live.lines();
    let kinds = types(&lines);
    assert_eq!(kinds[..5], ["run.started", "plan.subtask", "plan.subtask", "plan.subtask", "plan.completed"]);
    assert_eq!(kinds.last(), Some(&"run.completed"));
    for (kind, times) in [("attempt.started", 3), ("attempt.completed", 3), ("subtask.completed", 3), ("review.completed", 1)] {
        assert_eq!(kinds.iter().filter(|k| **k == kind).count(), times, "{kind} in {kinds:?}");
    }
    let mut last = 0;
    for line in &lines {
        assert_eq!(line["run_id"], lines[0]["run_id"]);
        assert!(line["seq"].as_u64().unwrap() > last, "{line}");
        last = line["seq"].as_u64().unwrap();
        let at = line["at"].as_str().unwrap();
        assert!(at.len() == 24 && at.ends_with('Z'), "{at}");
        if line["type"].as_str().unwrap().starts_with("attempt.") {
            assert!(
                line["subtask"].is_string() && line["attempt"].is_u64() && line["tier"].is_string() && line["model"].is_string(),
                "{line}"
            );
        }
    }
    let end = lines.last().unwrap();
    assert_eq!(end["status"], "completed");
    assert_eq!(end["output"], "It says alpha and beta.");
    assert!(
        end["cost_usd"].as_f64().unwrap() > 0.0 && end["all_flagship_cost_usd"].as_f64().unwrap() > end["cost_usd"].as_f64().unwrap(),
        "{end}"
    );
    assert_eq!(end["usage"]["flagship"]["calls"], 1);
    let id = lines[0]["run_id"].as_str().unwrap();
    assert_eq!(stage.brigade(&["show", id, "--events", "--json"]).exits(0).out, live.out);
}

#[test]
fn a_finished_run_is_shown_from_every_side() {
    let stage = Stage::new(ANSWERS);
    stage.run(THREE, &["-q"]).exits(0);
    let listed = stage.brigade(&["ps", "--json"]).exits(0).lines();
    assert_eq!(
        (listed[0]["state"].as_str(), &listed[0]["subtasks_done"], &listed[0]["subtasks"]),
        (Some("completed"), &3.into(), &3.into())
    );
    let id = listed[0]["run_id"].as_str().unwrap();
    stage.brigade(&["ps"]).exits(0).says(&["completed", "3/3", id]);
    stage.brigade(&["show", id]).exits(0).says(&["completed", "all there", "It says alpha and beta.", "(computed)", "saved"]);
    stage.brigade(&["show", id, "--events"]).exits(0).says(&["planned", "start", "done", "stopped"]);
    stage.brigade(&["show", id, "--timeline"]).exits(0).says(&["* c", "(reviewer)", "critical path", "━"]);

    let bill = &stage.brigade(&["show", id, "--cost", "--json"]).exits(0).lines()[0];
    let whole = &stage.brigade(&["show", id, "--json"]).exits(0).lines()[0];
    let sum = |part: &Value| part.as_object().unwrap().values().map(|v| v["cost_usd"].as_f64().unwrap()).sum::<f64>();
    for part in ["tiers", "roles"] {
        assert!((sum(&bill[part]) - whole["cost_usd"].as_f64().unwrap()).abs() < 1e-9, "{bill}");
    }
    assert_eq!(bill["subtasks"].as_object().unwrap().len(), 3);
    stage.brigade(&["show", id, "--cost"]).exits(0).says(&["tier", "reviewer", "executor", "(computed)"]);

    stage.brigade(&["show", id, "--patch"]).exits(2).says(&["changed no file"]);
    stage.brigade(&["show", id, "--plan", "--cost"]).exits(2);
    stage.brigade(&["show", "r00000000000000000"]).exits(2).says(&["no run"]);
}

#[test]
fn what_a_subtask_was_shown_is_listed_beside_what_full_history_would_have_been() {
    let stage = Stage::new(ANSWERS);
    stage.run(THREE, &["-q"]).exits(0);
    let id = &stage.ids()[0];
    let shown = stage.brigade(&["show", id, "--context", "c"]).exits(0);
    let shown =
        shown.says(&["c, attempt 1 on mini", "rules", "tools", "task", "result of a", "result of b", "full history would have been"]);
    let object = &stage.brigade(&["show", id, "--context", "c", "--json"]).exits(0).lines()[0];
    let attempt = &object["attempts"][0];
    let parts = attempt["parts"].as_array().unwrap();
    let sum = |field: &str| parts.iter().map(|part| part[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("bytes").div_ceil(4), attempt["tokens_est"].as_u64().unwrap());
    assert_eq!((attempt["calls"].as_u64(), &attempt["ending"]), (Some(1), &"done".into()));
    let call =
        stage.ledger().calls.into_iter().find(|call| call.usage.is_some_and(|u| Some(u.input_tokens) == attempt["input_tokens"].as_u64()));
    assert!(call.is_some(), "what the provider billed: {attempt}");
    assert!(attempt["full_history_tokens_est"].as_u64() > attempt["tokens_est"].as_u64(), "{attempt}");
    stage.brigade(&["show", id, "--context"]).exits(0).says(&["a", "b", "c", "all", "share"]);
    let sums = &stage.brigade(&["show", id, "--context", "--json"]).exits(0).lines()[0];
    assert_eq!(sums["subtasks"]["c"]["tokens_est"], attempt["tokens_est"], "{shown:?}", shown = shown.out);
    stage.brigade(&["show", id, "--context", "d"]).exits(2).says(&["no attempt of d"]);
    stage.brigade(&["show", id, "--context", "a[x]"]).exits(2).says(&["a[x]", "ID[ROW]"]);
}

#[test]
fn the_context_of_a_run_at_work_and_of_one_that_died_is_shown_as_far_as_it_came() {
    let slow = ANSWERS.replace("reply = { text = \"alpha\" }", "reply = { text = \"alpha\" }\ndelay_ms = 600000");
    let stage = Stage::new(&slow);
    let under = stage.start(THREE, 2);
    let told = ["a, attempt 1 on nano", "under way", "rules", "the provider has reported none yet"];
    stage.brigade(&["show", &under.id, "--context", "a"]).exits(0).says(&told);
    under.signal(rustix::process::Signal::KILL);
    let id = under.id.clone();
    under.end();
    stage.brigade(&["show", &id, "--context", "a"]).exits(0).says(&told);
}

#[test]
fn a_shown_plan_runs_again_with_what_a_person_wrote() {
    let stage = Stage::new(ANSWERS);
    let plan = THREE.replacen("type = \"extract\"", "type = \"extract\"\ntier = \"mini\"\ndeadline = \"90s\"\nmax_cost_usd = 0.25", 1);
    stage.run(&plan, &["-q"]).exits(0);
    let id = stage.ids().remove(0);
    let shown = stage.brigade(&["show", &id, "--plan"]).exits(0).says(&["◄─ a, b"]);
    let written: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(written["subtasks"][0]["tier"], "mini");
    stage.file("again.json", &shown.out);
    stage.brigade(&["run", "--plan", "again.json", "-C", "workspace", "-q"]).exits(0);
    let second = stage.ids().remove(0);
    assert_ne!(second, id);
    assert_eq!(stage.brigade(&["show", &second, "--plan"]).out, shown.out);
}

#[test]
fn without_a_key_three_lines_say_what_to_do_and_nothing_is_spent() {
    let stage = Stage::new(ANSWERS);
    stage.file("plan.toml", THREE);
    let output =
        stage.command(&["run", "--plan", "plan.toml"]).env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(err.lines().count(), 3, "{err}");
    assert!(err.contains("OPENAI_API_KEY") && err.contains("--offline"), "{err}");
    assert_eq!(stage.ledger().calls.len(), 0);
    assert!(stage.ids().is_empty());
}
