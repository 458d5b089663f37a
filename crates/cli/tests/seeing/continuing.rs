use rustix::process::Signal;

use crate::stage::Stage;

/// Two requests, the second one answered only by a planner that was shown all of the first.
const TURNS: &str = r#"
[[rule]]
match = { format = "brigade_review" }
reply = { json = { summary = "said as asked", verdict = "approve", revisions = [], add = [], final_output = "{{word.output}}" } }
[[rule]]
match = { format = "brigade_plan", contains = ["say the word", "SAY-IT", "said as asked", "alpha", "now louder"] }
reply = { json = { coordination_notes = "", subtasks = [ { id = "word", type = "extract", title = "louder", description = "LOUD", output_format = "text", depends_on = [], files = [], writes = [], tools = [], complexity = "low", checks = [] } ] } }
[[rule]]
match = { format = "brigade_plan", contains = "say the word" }
reply = { json = { coordination_notes = "", subtasks = [ { id = "word", type = "extract", title = "word", description = "SAY-IT", output_format = "text", depends_on = [], files = [], writes = [], tools = [], complexity = "low", checks = [] } ] } }
[[rule]]
match = { contains = "LOUD" }
reply = { text = "ALPHA" }
[[rule]]
match = { contains = "SAY-IT" }
reply = { text = "alpha" }
"#;

#[test]
fn a_request_that_continues_a_run_is_planned_with_all_that_was_said_and_done_in_it() {
    let stage = Stage::new(TURNS);
    assert_eq!(stage.brigade(&["run", "say the word", "-C", "workspace", "-q"]).exits(0).out, "alpha\n");
    let first = stage.ids().remove(0);
    let louder = ["run", "now louder", "-C", "workspace", "-q", "--continue"];
    assert_eq!(stage.brigade(&[&louder[..], &[&first]].concat()).exits(0).out, "ALPHA\n");
    let plans: Vec<_> = stage.ledger().calls.iter().filter_map(|call| call.rule).filter(|rule| [2, 3].contains(rule)).collect();
    assert_eq!(plans, [3, 2], "the second planner call holds the first's request, plan, review and result");
    let second = stage.ids().remove(0);
    assert_ne!(second, first);
    assert_eq!(stage.state_of(&first), "completed");
}

#[test]
fn only_a_run_that_is_over_is_continued() {
    let stage = Stage::new(&TURNS.replace("reply = { text = \"alpha\" }", "delay_ms = 120000\nreply = { text = \"late\" }"));
    let more = ["run", "now louder", "-C", "workspace", "--continue"];
    stage.brigade(&[&more[..], &["r00000000000000000"]].concat()).exits(2).says(&["no run r00000000000000000"]);
    let under = stage.begin(&["run", "say the word", "-C", "workspace", "--json"], 2);
    let (id, pid) = (under.id.clone(), under.child.id().to_string());
    stage.brigade(&[&more[..], &[&id]].concat()).exits(2).says(&[&id, "still at work", &pid]);
    under.signal(Signal::KILL);
    under.end();
    stage.brigade(&[&more[..], &[&id]].concat()).exits(2).says(&[&id, "not over", "brigade resume"]);
    assert_eq!((stage.ids().len(), stage.ledger().calls.len()), (1, 2), "nothing was begun or paid");
}
