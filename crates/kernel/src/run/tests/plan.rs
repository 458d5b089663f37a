//! From a plan to a reviewed result.

use serde_json::json;

use super::world::*;
use crate::run::*;

fn three() -> serde_json::Value {
    json!([
        {"id": "a", "type": "classify", "description": "first"},
        {"id": "b", "type": "extract", "description": "second {{a.output}}"},
        {"id": "c", "type": "summarize", "description": "third", "depends_on": ["b"]}
    ])
}

#[test]
fn a_plan_file_of_three_subtasks_comes_to_a_reviewed_result() {
    let mut world = World::given(three());
    let end = world.go();
    assert_eq!((end.status, end.output.as_str()), (RunStatus::Completed, "the end"));
    assert_eq!(world.output("c"), "ok c");
    assert!(world.calls_of("b")[0].items.iter().any(|i| format!("{i:?}").contains("ok a")), "b is shown a's result");
    assert_eq!(world.tiers("c"), ["mini"]);
    assert_eq!(world.kinds().last().unwrap(), "run.completed");
    assert!(world.spent().0 > 0 && end.cost_usd == world.spent());
}

#[test]
fn the_first_subtask_starts_before_the_plan_has_ended() {
    let plan = json!({"coordination_notes": "n", "subtasks": [planned("a", &[]), planned("b", &["a"]), planned("c", &[])]});
    let mut world = World::planned().script(move |asked| match asked.caller {
        Caller::Planner => say(plan.to_string()).streamed(40, 50),
        _ => usual(asked),
    });
    let end = world.go();
    assert_eq!(end.status, RunStatus::Completed);
    let at = |wanted: &str| world.durable.iter().position(|s| format!("{:?}", s.event).starts_with(wanted)).unwrap();
    assert!(at("AttemptStarted") < at("PlanCompleted"));
    assert_eq!(world.calls.iter().filter(|c| c.1 == Caller::Planner).count(), 1);
}
