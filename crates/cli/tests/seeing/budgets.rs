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
