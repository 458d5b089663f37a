//! The planner's conversation condensed in a real run: by the provider's endpoint where it serves one, else by a summary.

use super::stage::Stage;

/// Three checkpoints: the planner is asked after each, and answers at length.
const PLAN: &str = r#"
[[subtasks]]
id = "one"
type = "extract"
description = "FIND-one"
checkpoint = true
[[subtasks]]
id = "two"
type = "extract"
description = "FIND-two"
checkpoint = true
depends_on = ["one"]
[[subtasks]]
id = "three"
type = "extract"
description = "FIND-three"
checkpoint = true
depends_on = ["two"]
[[subtasks]]
id = "four"
type = "extract"
description = "FIND-four"
checkpoint = true
depends_on = ["three"]
"#;

fn rules(server: &str) -> String {
    let patch = format!(
        "{{\\\"add\\\": [], \\\"drop\\\": [], \\\"change\\\": [], \\\"coordination_notes\\\": \\\"NOTE\\\"}}{}",
        " ".repeat(20_000)
    );
    format!(
        r#"
{server}
[[rule]]
match = {{ format = "brigade_review" }}
reply = {{ json = {{ summary = "good", verdict = "approve", revisions = [], add = [], final_output = "done" }} }}
[[rule]]
match = {{ format = "brigade_plan_patch" }}
reply = {{ text = "{patch}" }}
[[rule]]
match = {{ model = "gpt-5.4-mini", contains = "<data from=\"turn 1: to the planner\"" }}
reply = {{ text = "SUMMARY-OF-TURNS" }}
[[rule]]
match = {{ contains = "FIND-" }}
reply = {{ text = "found" }}
"#
    )
}

/// Runs the plan with the endpoint switched on; bodies of the planner's turns, and the paths of all calls.
fn planner_turns(server: &str) -> (Vec<String>, Vec<&'static str>) {
    let stage = Stage::new(&rules(server));
    std::fs::create_dir_all(stage.home()).unwrap();
    std::fs::write(stage.home().join("config.toml"), "[providers.openai]\ncompaction = true\n[limits]\ncompact_results = 1\n").unwrap();
    let run = stage.run(PLAN, &["-v"]).exits(0).says(&["the planner's conversation"]);
    assert_eq!(run.out, "done\n");
    let id = &stage.ids()[0];
    let ledger = stage.ledger();
    // What the provider billed for condensing is on the run's bill.
    let bill = &stage.brigade(&["show", id, "--cost", "--json"]).exits(0).lines()[0];
    let billed: u64 = ledger.calls.iter().filter_map(|call| call.usage).map(|usage| usage.input_tokens).sum();
    assert_eq!(bill["total"]["input_tokens"].as_u64(), Some(billed));
    let bodies = stage.api.bodies().into_iter().map(|(_, body)| String::from_utf8(body).unwrap());
    (bodies.filter(|body| body.contains("brigade_plan_patch")).collect(), ledger.calls.iter().map(|call| call.path).collect())
}

#[test]
fn the_providers_own_endpoint_condenses_the_planners_turns_and_its_item_goes_back_as_it_came() {
    let (turns, paths) = planner_turns("");
    assert_eq!(paths.iter().filter(|path| **path == "/v1/responses/compact").count(), 1, "{paths:?}");
    assert_eq!(turns.len(), 4);
    let last = &turns[3];
    assert!(last.contains("\"encrypted_content\":\"emulated-compaction-") && !last.contains("x_brigade_model"), "{last}");
    assert!(last.len() < turns[2].len() / 2 && last.contains("FIND-four") && last.contains("NOTE"), "{last}");
}

#[test]
fn where_the_endpoint_is_missing_a_smaller_model_writes_a_summary() {
    let (turns, paths) = planner_turns("[server]\nno_compaction = true\n");
    assert!(!paths.contains(&"/v1/responses/compact"), "{paths:?}");
    assert!(turns[3].contains("SUMMARY-OF-TURNS") && turns[3].contains("FIND-four"), "{}", turns[3]);
}
