//! What runs cost, added up over the home, and what a plan will cost before it runs.

use serde_json::Value;

use crate::stage::{ANSWERS, Stage, THREE};

fn cost(stage: &Stage, more: &[&str]) -> Value {
    stage.brigade(&[&["cost", "--json"], more].concat()).exits(0).lines().remove(0)
}

#[test]
fn cost_is_the_sum_of_all_runs_whichever_way_it_is_cut() {
    let stage = Stage::new(ANSWERS);
    stage.brigade(&["cost"]).exits(0).says(&["nothing was spent yet"]);
    let ends = [0, 1].map(|_| stage.run(THREE, &["--json", "--no-cache"]).exits(0).lines().pop().unwrap());
    let spent: f64 = ends.iter().map(|end| end["cost_usd"].as_f64().unwrap()).sum();
    let named = format!("pipeline = \"daily\"\n{THREE}");
    let third = stage.run(&named, &["--json", "--no-cache"]).exits(0).lines().pop().unwrap()["cost_usd"].as_f64().unwrap();
    for by in ["tier", "type", "day", "run", "pipeline"] {
        let told = cost(&stage, &["--by", by]);
        let lines = told["lines"].as_array().unwrap();
        let sum: f64 = lines.iter().map(|line| line["cost_usd"].as_f64().unwrap()).sum();
        assert!((sum - spent - third).abs() < 1e-9, "{by}: {told}");
        assert!((told["total"]["cost_usd"].as_f64().unwrap() - sum).abs() < 1e-9);
        let sums = (&told["runs"], &told["total"]["calls"], &told["total"]["accepted"], &told["offline"]);
        assert_eq!(sums, (&3.into(), &12.into(), &9.into(), &Value::Null), "{by}: {told}");
        if by == "pipeline" {
            let daily = lines.iter().find(|line| line["pipeline"] == "daily").unwrap();
            assert!((daily["cost_usd"].as_f64().unwrap() - third).abs() < 1e-9, "{told}");
        }
        if by == "type" {
            let types: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
            assert!(["reviewer", "extract", "summarize"].iter().all(|name| types.contains(name)), "{types:?}");
        }
    }
    let shown = stage.brigade(&["cost"]).exits(0).says(&["(computed)", "9 accepted", "3 runs", "flagship"]);
    let widths: Vec<usize> = shown.out.lines().take(3).map(|line| line.trim_end().chars().count()).collect();
    assert!(widths.windows(2).all(|w| w[0] == w[1]), "columns line up:\n{}", shown.out);
}

#[test]
fn a_forgotten_run_is_gone_from_the_sum_and_a_lost_cache_changes_nothing() {
    let stage = Stage::new(ANSWERS);
    for _ in 0..2 {
        stage.run(THREE, &["-q", "--no-cache"]).exits(0);
    }
    let before = cost(&stage, &["--by", "run"]);
    let cache = stage.home().join("history");
    for file in std::fs::read_dir(&cache).unwrap().map(|file| file.unwrap().path()) {
        std::fs::write(file, "{\"build\": damaged").unwrap();
    }
    assert_eq!(cost(&stage, &["--by", "run"]), before, "made again, the same");
    std::fs::remove_dir_all(&cache).unwrap();
    assert_eq!(cost(&stage, &["--by", "run"]), before);
    let gone = stage.ids().remove(0);
    stage.brigade(&["forget", &gone, "--yes"]).exits(0);
    let after = cost(&stage, &["--by", "run"]);
    assert_eq!((&after["runs"], after["lines"].as_array().unwrap().len()), (&1.into(), 1), "{after}");
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 1);
    stage.brigade(&["cost", "--since", "soon"]).exits(2).says(&["7d, 36h"]);
    assert_eq!(cost(&stage, &["--since", "2d"])["total"], after["total"]);
}

/// A plan without a model's name, priced.
fn dry(stage: &Stage, more: &[&str]) -> Value {
    stage.run(THREE, &[&["--dry-run", "--json"], more].concat()).exits(0).lines().remove(0)
}

fn dollars(of: &Value) -> f64 {
    of["cost_usd"].as_f64().unwrap()
}

#[test]
fn a_dry_run_of_a_plan_asks_nobody_and_what_it_costs_lies_between_low_and_high() {
    let stage = Stage::new(ANSWERS);
    stage.file("plan.toml", THREE);
    let mut without_key = stage.command(&["run", "--plan", "plan.toml", "-C", "workspace", "--dry-run"]);
    let shown = without_key.env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL").output().unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let text = String::from_utf8(shown.stdout).unwrap();
    for words in ["low", "expected", "high", "calls on nano", "without history: ", "assumed: ", "3 subtasks, and the review"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let told = dry(&stage, &[]);
    assert_eq!((stage.ledger().calls.len(), stage.ids().len()), (0, 0), "no call, and no run");
    assert!(told["sources"].as_array().unwrap().iter().all(|s| s["source"] == "assumption"), "{told}");
    let spent = dollars(stage.run(THREE, &["--json"]).exits(0).lines().last().unwrap());
    assert!(dollars(&told["low"]) <= spent && spent <= dollars(&told["high"]), "{spent} {told}");
    let calls = |case: &str| told[case]["calls_per_tier"]["nano"].as_u64().unwrap();
    assert_eq!((calls("low"), calls("expected"), calls("high")), (2, 2, 4), "{told}");

    let told = dry(&stage, &[]);
    let source = |who: &str| told["sources"].as_array().unwrap().iter().find(|s| s["who"] == who).unwrap().clone();
    assert_eq!((&source("extract")["source"], &source("extract")["seen"]), (&"history".into(), &2.into()), "{told}");
    let off = (dollars(&told["expected"]) - spent).abs() / spent;
    assert!(off < 0.3, "expected is near what equal work cost: {spent} {told}");
    stage.run(THREE, &["--dry-run"]).exits(0).says(&["from history: ", "extract on nano (2 seen)"]);
}

const PLANNED: &str = r#"
[[rule]]
match = { format = "brigade_plan" }
reply = { json = { coordination_notes = "", subtasks = [
    { id = "c", type = "classify", title = "t", description = "say gamma", output_format = "text", depends_on = [], files = [], writes = [], tools = [], complexity = "low", checks = [] } ] } }
[[rule]]
match = { contains = "say gamma" }
reply = { text = "gamma" }
"#;

#[test]
fn a_dry_run_of_a_request_asks_the_planner_alone_and_its_run_can_be_worked_off() {
    let stage = Stage::new(PLANNED);
    let told = stage.brigade(&["run", "do it", "-C", "workspace", "--dry-run", "--json"]).exits(0).lines().remove(0);
    assert_eq!(stage.ledger().calls.len(), 1);
    assert!(told["planning_cost_usd"].as_f64().unwrap() > 0.0, "{told}");
    assert_eq!((&told["plan"]["subtasks"][0]["id"], &told["preview"]["subtasks"]), (&"c".into(), &1.into()), "{told}");
    let id = told["run_id"].as_str().unwrap();
    assert_eq!(stage.brigade(&["resume", id]).exits(0).out, "It says gamma.\n");
    assert_eq!(stage.ledger().calls.len(), 3, "the plan was not paid again");
    stage.brigade(&["plan", "do it", "-C", "workspace", "-o", "made.toml"]).exits(0).says(&["expected", "planning cost $", "made.toml"]);
}

#[test]
fn an_example_costs_what_its_dry_run_says_it_may() {
    let stage = Stage::new(ANSWERS);
    let told = stage.brigade(&["run", "--offline", "triage", "--dry-run", "--json"]).exits(0).lines().remove(0);
    assert_eq!((told["rows"].as_u64(), &told["subtasks"]), (Some(304), &2.into()), "{told}");
    let end = stage.brigade(&["run", "--offline", "triage", "--json", "-o", "rows.jsonl"]).exits(0).lines().pop().unwrap();
    let spent = dollars(&end);
    assert!(dollars(&told["low"]) <= spent && spent <= dollars(&told["high"]), "{spent} {told}");
}

#[test]
fn a_dear_plan_waits_in_the_inbox_until_it_is_approved() {
    let stage = Stage::new(ANSWERS);
    std::fs::create_dir_all(stage.home()).unwrap();
    std::fs::write(stage.home().join("config.toml"), "[budget]\nconfirm_above_usd = 0.000001\n").unwrap();
    let asked = stage.run(THREE, &["--json"]).exits(3).lines();
    let priced = asked.iter().find(|line| line["type"] == "plan.priced").unwrap();
    assert!(priced["asks"] == true && priced["expected"]["cost_usd"].as_f64().unwrap() > 0.000_001, "{priced}");
    assert_eq!((stage.ledger().calls.len(), &asked.last().unwrap()["status"]), (0, &"needs_person".into()));
    let id = stage.ids().remove(0);
    let item = stage.brigade(&["inbox", "--json"]).exits(0).lines().remove(0);
    assert!(item["ask"] == "price" && item["question"].as_str().unwrap().contains("expected to cost $"), "{item}");
    stage.brigade(&["resume", &id, "-q"]).exits(3);
    assert_eq!(stage.ledger().calls.len(), 0, "resuming is not agreeing");
    stage.brigade(&["answer", &format!("{id}/1"), "--approve"]).exits(0);
    assert_eq!(stage.brigade(&["resume", &id]).exits(0).out, "It says alpha and beta.\n");

    stage.run(THREE, &["-q", "--no-cache"]).exits(3);
    let id = stage.ids().remove(0);
    stage.brigade(&["answer", &format!("{id}/1"), "--reject"]).exits(0);
    let calls = stage.ledger().calls.len();
    stage.brigade(&["resume", &id]).exits(1).says(&["a person rejected the price"]);
    assert_eq!(stage.ledger().calls.len(), calls);

    std::fs::write(stage.home().join("config.toml"), "[budget]\nconfirm_above_usd = 1.0\n").unwrap();
    stage.run(THREE, &["-q", "--no-cache"]).exits(0);
}

#[test]
fn units_of_a_quota_stand_beside_those_of_the_flagship_before_and_after() {
    let stage = Stage::new(ANSWERS);
    std::fs::create_dir_all(stage.home()).unwrap();
    let config = "[quota]\nwindow = \"5h\"\nunits = 50\nweights = { flagship = 1.0, mini = 0.3, nano = 0.1 }\n";
    std::fs::write(stage.home().join("config.toml"), config).unwrap();
    assert_eq!(dry(&stage, &[])["low"]["quota_units"], 1.5);
    let run = stage.run(THREE, &[]).exits(0).says(&["1.5 units of the quota, all on the flagship 4, saved 62 %"]);
    let told = cost(&stage, &["--by", "tier"]);
    assert_eq!(
        (&told["total"]["quota_units"], &told["total"]["all_flagship_quota_units"]),
        (&1.5.into(), &4.0.into()),
        "{told}\n{}",
        run.err
    );
    stage.brigade(&["cost"]).exits(0).says(&["units"]);
}
