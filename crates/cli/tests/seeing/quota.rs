//! Quota windows as a person meets them: runs that pace themselves, park, wait, and share what there is.

use serde_json::Value;

use crate::stage::{Ended, Stage, types, until};

const ANY: &str = "[[rule]]\nmatch = { contains = \"Do it\" }\nreply = { text = \"done\" }\n";

/// So many subtasks of one call each.
fn plan(n: usize) -> String {
    (0..n).map(|n| format!("[[subtasks]]\nid = \"s{n}\"\ntype = \"extract\"\ndescription = \"Do it, number {n}.\"\n")).collect()
}

/// A home whose runs share a window; what is held back for a review leaves one unit less to subtasks.
fn stage(window: &str, units: &str) -> Stage {
    let review = "[[rule]]\nmatch = { format = \"brigade_review\" }\nreply = { json = { summary = \"ok\", verdict = \"approve\", revisions = [], add = [], final_output = \"all\" } }\n";
    let stage = Stage::new(&format!("{review}{ANY}"));
    std::fs::create_dir_all(stage.home()).unwrap();
    std::fs::write(stage.home().join("config.toml"), format!("[quota]\nwindow = \"{window}\"\nunits = {units}\n")).unwrap();
    stage
}

fn event<'a>(lines: &'a [Value], kind: &str) -> &'a Value {
    lines.iter().find(|line| line["type"] == kind).unwrap_or_else(|| panic!("{kind}: {:?}", types(lines)))
}

#[test]
fn a_run_parks_when_its_window_is_full_and_says_when_to_go_on() {
    let stage = stage("1h", "3");
    let ended = stage.run(&plan(5), &["--json"]).exits(5);
    let lines = ended.lines();
    let parked = event(&lines, "quota.parked");
    assert_eq!((parked["window"].as_str(), parked["waits"].as_bool()), (Some("main"), Some(false)));
    assert_eq!((parked["needed"].as_f64(), parked["left"].as_f64()), (Some(1.0), Some(0.0)));
    let last = lines.last().unwrap();
    assert_eq!((last["type"].as_str(), last["status"].as_str()), (Some("run.paused"), Some("quota_parked")));
    assert_eq!(last["retry_at"], parked["until"]);
    assert_eq!(stage.ledger().calls.len(), 2, "one unit is kept for the review");
    // It is no better at once, for this run or for another.
    let id = last["run_id"].as_str().unwrap();
    stage.brigade(&["resume", id]).exits(5).says(&["parked until", "--wait", "quota window main (1h) of 3 units"]);
    stage.brigade(&["run", "--plan", "plan.toml", "-C", "workspace", "--no-cache"]).exits(5);
    assert_eq!(stage.ledger().calls.len(), 2);
    assert_eq!(stage.state_of(id), "quota_parked");
}

#[test]
fn a_run_that_waits_goes_on_by_itself_each_time_the_window_opens() {
    let stage = stage("2s", "3");
    let lines = stage.run(&plan(5), &["--json", "--wait"]).exits(0).lines();
    let kinds = types(&lines);
    assert!(kinds.contains(&"quota.parked") && kinds.contains(&"quota.resumed") && !kinds.contains(&"run.paused"), "{kinds:?}");
    assert_eq!(lines.last().unwrap()["output"], "all");
    assert_eq!(stage.ledger().calls.len(), 6);
}

#[test]
fn a_waiting_run_that_is_killed_waits_on_when_it_is_resumed() {
    let stage = stage("4s", "3");
    stage.file("plan.toml", &plan(4));
    let mut under = stage.begin(&["run", "--plan", "plan.toml", "-C", "workspace", "--json", "--wait"], 2);
    let id = under.id.clone();
    let parked = || stage.brigade(&["show", &id, "--events", "--json"]).out.contains("quota.parked");
    until("it waits", parked);
    under.child.kill().unwrap();
    under.child.wait().unwrap();
    assert_eq!(stage.ledger().calls.len(), 2, "waiting calls nothing");
    stage.brigade(&["resume", &id]).exits(0);
    assert_eq!(stage.ledger().calls.len(), 5, "nothing twice");
}

#[test]
fn two_runs_share_one_window() {
    let stage = stage("2s", "3");
    stage.file("plan.toml", &plan(3));
    let start = || stage.command(&["run", "--plan", "plan.toml", "-C", "workspace", "--json", "--wait", "--no-cache"]).spawn().unwrap();
    let both = [start(), start()];
    let ends = both.map(|child| Ended::of(&["run"], child.wait_with_output().unwrap()).exits(0));
    // Eight calls through three units take two openings at the least, whoever of them waits.
    let waits: usize = ends.iter().map(|ended| types(&ended.lines()).iter().filter(|kind| **kind == "quota.resumed").count()).sum();
    assert!(waits >= 2, "{waits}");
    assert_eq!(stage.ledger().calls.len(), 8);
}

#[test]
fn a_call_that_weighs_more_than_the_window_is_for_a_person_to_mend() {
    let stage = stage("1h", "0.5");
    let ended = stage.run(&plan(1), &[]).exits(4);
    ended.says(&["quota window main (1h) of 0.5 units", "it may take 1 units", "[quota]"]);
    assert_eq!(stage.ledger().calls.len(), 0);
}

#[test]
fn an_account_that_asks_for_a_long_wait_parks_the_run_until_then() {
    let rules = "[[rule]]\nmatch = { contains = \"Do it\" }\nreply = { status = 429, headers = { retry-after = \"3600\" }, error = { message = \"slow down\" } }\n";
    let stage = Stage::new(rules);
    let lines = stage.run(&plan(1), &["--json"]).exits(5).lines();
    let parked = event(&lines, "quota.parked");
    assert_eq!(parked["window"], "provider");
    assert!(parked["until"].is_string() && lines.last().unwrap()["retry_at"] == parked["until"], "{lines:?}");
}

#[test]
fn quota_shows_what_is_left_and_when_it_comes_back() {
    let stage = stage("1h", "3");
    stage.brigade(&["quota"]).exits(0).says(&["main", "1h", "all are there"]);
    stage.run(&plan(5), &[]).exits(5);
    let quota = stage.brigade(&["quota", "--json"]).exits(0).lines().remove(0);
    let main = &quota["windows"][0];
    assert_eq!((&main["name"], &main["window_ms"]), (&"main".into(), &3_600_000.into()));
    let units = ["units", "used", "leased", "left"].map(|field| main[field].as_f64().unwrap());
    assert_eq!(units, [3.0, 2.0, 0.0, 1.0]);
    assert!(main["next_at"].as_str().unwrap() <= main["empty_at"].as_str().unwrap());
    stage.brigade(&["quota"]).exits(0).says(&["in ", " min"]);
    std::fs::remove_file(stage.home().join("config.toml")).unwrap();
    stage.brigade(&["quota"]).exits(0).says(&["no quota window is set", "[quota]", "units = 300"]);
}

#[test]
fn a_person_who_looks_elsewhere_is_told_when_a_run_waits_goes_on_pauses_and_ends() {
    let stage = stage("2s", "2");
    let told = stage.dir.path().join("told");
    let config = stage.home().join("config.toml");
    let notify = format!(
        "[notify]\ncommand = [\"sh\", \"-c\", 'printf \"%s, %s\\n\" \"$1\" \"$2\" >> \"$3\"', \"sh\", \"{{title}}\", \"{{body}}\", \"{}\"]\n",
        told.display()
    );
    let quota = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{quota}{notify}")).unwrap();
    stage.run(&plan(2), &["--wait"]).exits(0);
    let said = std::fs::read_to_string(&told).unwrap();
    for words in
        ["brigade waits, run r", "main has no room; it goes on by itself until", "brigade goes on, run r", "brigade is done, run r"]
    {
        assert!(said.contains(words), "{words}\n---\n{said}");
    }
    std::fs::write(&config, format!("{}{notify}", quota.replace("2s", "1h"))).unwrap();
    stage.run(&plan(2), &["--no-cache"]).exits(5);
    assert!(std::fs::read_to_string(&told).unwrap().contains("its quota has no room until"));
    // A command that fails is no matter.
    std::fs::write(&config, "[notify]\ncommand = [\"no-such-program-here\"]\n").unwrap();
    stage.run(&plan(1), &["--no-cache"]).exits(0);
}

#[test]
fn an_attempt_begins_only_where_its_whole_work_fits_by_what_attempts_before_it_took() {
    // Each attempt looks twice and then answers: three calls.
    let look = |nth: u32| {
        format!(
            "[[rule]]\nmatch = {{ contains = \"Do it\", nth = {nth} }}\nreply = {{ calls = [{{ name = \"list_files\", arguments = {{ path = \".\" }} }}] }}\n"
        )
    };
    let rules: String = [1, 2, 4, 5, 7, 8].map(look).concat();
    let review = "[[rule]]\nmatch = { format = \"brigade_review\" }\nreply = { text = \"no\" }\n";
    let stage = Stage::new(&format!("{review}{rules}{ANY}"));
    std::fs::create_dir_all(stage.home()).unwrap();
    let config = "[quota]\nwindow = \"1h\"\nunits = 8\n[limits]\nmax_concurrent_subagents = 1\n";
    std::fs::write(stage.home().join("config.toml"), config).unwrap();
    let subtask = |n: u32| {
        format!("[[subtasks]]\nid = \"s{n}\"\ntype = \"search\"\ndescription = \"Do it, number {n}.\"\ntools = [\"list_files\"]\n")
    };
    let lines = stage.run(&[1, 2, 3].map(subtask).concat(), &["--json"]).exits(5).lines();
    // Six of eight are used, one is kept for the review: a first call of the third would fit, its whole work would not.
    assert_eq!(stage.ledger().calls.len(), 6);
    let done = lines.iter().filter(|line| line["type"] == "subtask.completed").count();
    assert_eq!(done, 2, "nothing is left half done");
}
