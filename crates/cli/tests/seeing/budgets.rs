//! Caps that runs share, as processes see them: a day's, the home's; and what a person is told and can do.

use crate::stage::{ANSWERS, Stage, THREE, types};

fn configured(stage: &Stage, config: &str) {
    std::fs::create_dir_all(stage.home()).unwrap();
    std::fs::write(stage.home().join("config.toml"), config).unwrap();
}

fn spent(lines: &[serde_json::Value]) -> f64 {
    lines.last().unwrap()["cost_usd"].as_f64().unwrap()
}

#[test]
fn a_day_cap_holds_over_runs_and_a_raise_lets_a_paused_one_go_on() {
    let stage = Stage::new(ANSWERS);
    configured(&stage, "[budget]\nday_usd = 0.3\n");
    let first = stage.run(THREE, &["--json", "--no-cache"]).exits(0).lines();
    // So little is left that no call of another run fits.
    configured(&stage, &format!("[budget]\nday_usd = {:.9}\n", spent(&first) + 0.000_001));
    let calls = stage.ledger().calls.len();
    let second = stage.run(THREE, &["--json", "--no-cache"]).exits(4).lines();
    assert_eq!(stage.ledger().calls.len(), calls, "nothing was sent");
    assert_eq!(second.last().unwrap()["status"], "budget_reached");
    assert_eq!(spent(&second), 0.0);
    assert!(types(&second).contains(&"budget.refused"));
    let id = second[0]["run_id"].as_str().unwrap();
    stage.brigade(&["resume", id]).exits(4).says(&["day budget", "budget.day_usd", "00:00 UTC", &format!("brigade resume {id}")]);
    configured(&stage, "[budget]\nday_usd = 1.0\n");
    stage.brigade(&["resume", id]).exits(0).says(&["It says alpha and beta."]);
}

#[test]
fn what_an_uncapped_run_spent_in_the_morning_counts_against_a_cap_set_at_noon() {
    let stage = Stage::new(ANSWERS);
    let first = stage.run(THREE, &["--json"]).exits(0).lines();
    configured(&stage, &format!("[budget]\nhome_usd = {:.9}\n", spent(&first) + 0.000_001));
    let id = first[0]["run_id"].as_str().unwrap();
    stage.brigade(&["forget", id, "--yes"]).exits(0);
    stage.run(THREE, &["--no-cache"]).exits(4).says(&["home budget", "budget.home_usd"]);
}

#[test]
fn a_new_cap_reaches_a_run_at_work_and_what_is_in_flight_settles() {
    let slow = "[[rule]]\nmatch = { contains = \"say alpha\" }\ndelay_ms = 1500\nreply = { text = \"alpha\" }\n";
    let stage = Stage::new(&format!("{slow}{ANSWERS}"));
    let under = stage.start(THREE, 2);
    let id = under.id.clone();
    stage.brigade(&["resume", &id, "--max-budget-usd", "0.0000001"]).exits(0).says(&["is at work", "it may spend"]);
    let lines = under.end().exits(4).lines();
    assert!(spent(&lines) > 0.000_000_1, "calls in flight are charged as they are");
    assert!(types(&lines).contains(&"budget.raised"));
    let calls = stage.ledger().calls.len();
    stage.brigade(&["resume", &id]).exits(4);
    assert_eq!(stage.ledger().calls.len(), calls, "no new calls");
    stage.brigade(&["resume", &id, "--max-budget-usd", "5"]).exits(0).says(&["It says alpha and beta."]);
}

#[test]
fn what_is_done_is_given_when_money_runs_out_with_what_is_missing() {
    let reply = |word: &str| {
        let usage = "usage = { input_tokens = 900, output_tokens = 1600 }";
        format!("[[rule]]\nmatch = {{ contains = \"say {word}\" }}\nreply = {{ text = \"{word}\", {usage} }}\n")
    };
    let counted = format!("{}{}", reply("alpha"), reply("beta"));
    let stage = Stage::new(&counted);
    // Three subtasks after one another: what the first two used leaves too little for the third.
    let plan = THREE.replace("description = \"say beta\"", "description = \"say beta\"\ndepends_on = [\"a\"]");
    configured(&stage, "[budget]\nexecutor_tokens = 9500\non_exhausted = \"finish_partial\"\n[limits]\nexecutor_output_tokens = 4000\n");
    let ended = stage.run(&plan, &["--no-cache"]).exits(4).says(&["executor token budget", "budget.executor_tokens"]);
    assert_eq!(ended.out, "beta\n\nThis is a part: it was not reviewed, and one subtask is missing.\n- c: not done\n", "{}", ended.err);
}

#[test]
fn a_killed_run_leaves_no_cap_blocked() {
    let slow = "[[rule]]\nmatch = { contains = \"say alpha\" }\ndelay_ms = 60000\nreply = { text = \"alpha\" }\n";
    let stage = Stage::new(&format!("{slow}{ANSWERS}"));
    // Room for one call in flight that takes its worst case, and for little more.
    configured(&stage, "[budget]\nday_usd = 0.02\n");
    let only = "[[subtasks]]\nid = \"c\"\ntype = \"extract\"\ndescription = \"say alpha\"\n";
    let under = stage.start(only, 1);
    under.signal(rustix::process::Signal::KILL);
    let _ = under.end();
    let journal = brigade_journal::Sqlite::open(&stage.home().join("journal.sqlite")).unwrap();
    let total = || brigade_runtime::treasury::Book::open(&journal).unwrap().ledger.total();
    let leased = total().leased.money;
    assert!(leased.0 > 0 && total().settled.money.0 == 0, "its lease stands");
    // Nothing else fits beside it, until it is known to be dead: then it is charged, and the cap says so.
    configured(&stage, &format!("[budget]\nday_usd = {:.9}\n", leased.0 as f64 / 1e9 * 1.5));
    let beta = only.replace("alpha", "beta");
    stage.run(&beta, &["--no-cache"]).exits(4);
    assert_eq!((total().settled.money, total().leased.money.0), (leased, 0), "charged in full, as lost");
    configured(&stage, "[budget]\nday_usd = 1\n");
    stage.run(&beta, &["--no-cache"]).exits(0);
}
