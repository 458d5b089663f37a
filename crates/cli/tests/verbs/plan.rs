//! `brigade plan` and `brigade simulate`.

use serde_json::{Value, json};

use super::Place;
use super::emulate::Served;

const GOOD: &str = r#"
[[subtasks]]
id = "a"
type = "classify"
description = "Say which."
output_format = "text"
simulate_ms = 100
[[subtasks]]
id = "b"
type = "generate"
description = "Use {{a.output}}"
output_format = "text"
simulate_ms = 300
[[subtasks]]
id = "c"
type = "generate"
description = "On its own."
output_format = "text"
simulate_ms = 200
"#;

const BAD: &str = r#"{"subtasks": [
    {"id": "x", "type": "prose", "description": "d", "depends_on": ["x", "gone", ""], "tools": ["rm"], "colour": "red"},
    {"id": "y", "type": "search", "description": "d", "depends_on": ["z"], "files": ["../up"]},
    {"id": "z", "type": "search", "description": "d", "depends_on": ["y"]},
    {"id": "z", "type": "search", "description": "again"},
    {"id": "Not An Id", "type": "search", "description": "d"}]}"#;

#[test]
fn every_fault_of_a_plan_is_reported_at_once() {
    let place = Place::new();
    place.write("bad.json", BAD);
    let ran = place.run(&["plan", "--check", "bad.json", "--json"]);
    let verdict = ran.json();
    assert_eq!((ran.code, &verdict["ok"]), (2, &json!(false)));
    let mut codes: Vec<&str> = verdict["faults"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
    codes.sort_unstable();
    let expected = [
        "bad_id",
        "cycle",
        "dangling_link",
        "duplicate_node",
        "malformed_link",
        "scope",
        "self_link",
        "unknown_field",
        "unknown_tool",
        "unknown_type",
    ];
    assert_eq!(codes, expected, "{verdict}");
    for fault in verdict["faults"].as_array().unwrap() {
        assert!(fault.get("subtask").is_some() && fault.get("field").is_some() && fault["message"].is_string(), "{fault}");
    }
}

#[test]
fn a_valid_plan_is_exit_0_whichever_way_it_comes() {
    let place = Place::new();
    place.write("good.toml", GOOD);
    let ran = place.run(&["plan", "--check", "good.toml", "--json"]);
    assert_eq!((ran.code, ran.json()), (0, json!({"ok": true, "faults": [], "warnings": []})));
    assert_eq!(place.fed(&["plan", "--check", "-", "--json"], GOOD.as_bytes()).out, ran.out);
    let shown = place.run(&["plan", "--check", "good.toml"]);
    assert_eq!((shown.code, shown.out.as_str()), (0, "good.toml: valid, 3 subtasks\n"));
}

#[test]
fn faults_for_a_person_stand_in_aligned_columns() {
    let place = Place::new();
    place.write("bad.json", BAD);
    let ran = place.run(&["plan", "--check", "bad.json"]);
    assert_eq!(ran.code, 2);
    let column = ran.out.lines().next().unwrap().find("message").unwrap();
    let rows: Vec<&str> = ran.out.lines().skip(1).filter(|line| line.starts_with("fault")).collect();
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().all(|row| row.as_bytes()[column - 1] == b' ' && row.as_bytes()[column] != b' '), "{}", ran.out);
    assert!(ran.out.ends_with("bad.json: 10 faults to mend\n"), "{}", ran.out);
}

#[test]
fn a_tools_file_replaces_the_known_tools() {
    let place = Place::new();
    place.write("p.toml", "[[subtasks]]\nid = \"a\"\ndescription = \"d\"\ntools = [\"Text-to-Image\"]\n");
    place.write("tools.json", r#"[{"id": "Text-to-Image", "desc": "draws"}]"#);
    let codes = |ran: &super::Ran| ran.json()["faults"].as_array().unwrap().iter().map(|f| f["code"].clone()).collect::<Vec<Value>>();
    assert_eq!(codes(&place.run(&["plan", "--check", "p.toml", "--json"])), ["unknown_tool"]);
    assert_eq!(place.run(&["plan", "--check", "p.toml", "--tools", "tools.json", "--json"]).code, 0);
    place.write("tools.json", r#"[{"name": "x"}]"#);
    let ran = place.run(&["plan", "--check", "p.toml", "--tools", "tools.json", "--json"]);
    assert_eq!((ran.code, codes(&ran)), (2, vec![json!("bad_value")]));
}

#[test]
fn simulate_says_how_long_and_how_dear_with_so_many_workers() {
    let place = Place::new();
    place.write("good.toml", GOOD);
    let at = |workers: &str| place.run(&["simulate", "good.toml", "--workers", workers, "--json"]).json();
    let (one, two) = (at("1"), at("2"));
    let times = |r: &Value| ["makespan_ms", "critical_path_ms", "work_ms", "lower_bound_ms"].map(|f| r[f].as_u64().unwrap());
    assert_eq!((times(&one), times(&two)), ([600, 400, 600, 600], [400, 400, 600, 400]));
    assert_eq!(two["calls_per_tier"], json!({"nano": 1, "mini": 2, "flagship": 0}));
    assert!(two["cost_usd"].as_f64().unwrap() > 0.0 && two["cost_usd"] == one["cost_usd"], "{two}");
    assert_eq!(two.as_object().unwrap().len(), 6);
    std::fs::create_dir_all(place.home()).unwrap();
    std::fs::write(place.home().join("config.toml"), "[routes]\ngenerate = \"flagship\"\n[limits]\nmax_concurrent_subagents = 1\n")
        .unwrap();
    let own = place.run(&["simulate", "good.toml", "--json"]).json();
    assert_eq!((times(&own), &own["calls_per_tier"]), (times(&one), &json!({"nano": 1, "mini": 0, "flagship": 2})), "as configured");
    assert!(own["cost_usd"].as_f64() > one["cost_usd"].as_f64(), "{own} {one}");
    let help = place.run(&["simulate", "--help"]).out;
    assert!(help.contains("planner and review are not"), "{help}");
    let refused = place.run(&["simulate", "good.toml", "--fleet"]);
    assert_eq!((refused.code, refused.err.as_str()), (2, "brigade: not supported yet: simulate --fleet\n"));
    place.write("bad.json", BAD);
    assert_eq!(place.run(&["simulate", "bad.json"]).code, 2);
}

const SCENARIO: &str = r#"
[[rule]]
match = { format = "brigade_plan" }
reply = { json = { coordination_notes = "Keep it short.", subtasks = [
    { id = "one", type = "classify", title = "t", description = "Say \"x\".\nPlease.", output_format = "text", depends_on = [], files = [], writes = [], tools = [], complexity = "low", checks = [] },
    { id = "two", type = "summarize", title = "t", description = "Sum up {{one.output}}", output_format = "text", depends_on = ["one"], files = [], writes = [], tools = [], complexity = "low", checks = [] } ] } }
[[rule]]
match = { format = "brigade_review" }
reply = { json = { summary = "s", verdict = "approve", revisions = [], add = [], final_output = "{{two.output}}" } }
[[rule]]
reply = { text = "from a small model" }
"#;

#[test]
fn a_plan_is_asked_for_and_nothing_of_it_is_worked_off_until_its_run_is_resumed() {
    let place = Place::new();
    place.write("s.toml", SCENARIO);
    let served = Served::start(&place, &["s.toml"]);
    let call = |args: &[&str]| {
        let mut command = place.command(args);
        command.env("OPENAI_BASE_URL", &served.url).env("OPENAI_API_KEY", "any").stdin(std::process::Stdio::null());
        super::Ran::of(&command.output().unwrap())
    };
    let ran = call(&["plan", "sum it up", "-o", "plan.toml"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
    assert_eq!(served.models_called(), ["gpt-5.4"], "the planner alone was asked");
    let text = std::fs::read_to_string(place.work().join("plan.toml")).unwrap();
    assert!(text.contains("coordination_notes = \"Keep it short.\"") && text.contains("{{one.output}}"), "{text}");
    assert_eq!(place.run(&["plan", "--check", "plan.toml"]).out, "plan.toml: valid, 2 subtasks\n");

    let id = ran.err.split("brigade resume ").nth(1).unwrap().trim();
    let resumed = call(&["resume", id]);
    assert_eq!((resumed.code, resumed.out.as_str()), (0, "from a small model\n"), "{resumed:?}");
    assert_eq!(served.models_called(), ["gpt-5.4", "gpt-5.4-nano", "gpt-5.4-mini", "gpt-5.4"], "the plan was not paid again");
}
