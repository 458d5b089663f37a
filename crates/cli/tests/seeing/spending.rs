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
