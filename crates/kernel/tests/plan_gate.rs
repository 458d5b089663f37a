//! What a person or a planner is told about a plan: one line of input per claim.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use brigade_kernel::ids::SubtaskId;
use brigade_kernel::plan::{
    Author, Checked, Code, Format, Known, MAX_SUBTASKS, Parsed, Plan, PlanStream, Standing, Streamed, Verdict, amend, check, parse,
    parse_answer, parse_tools, review, schema,
};
use brigade_kernel::tool::{Effect, ToolSpec};
use serde_json::{Value, json};

fn known() -> Known {
    let tool = |name: &str, effect| ToolSpec {
        name: name.into(),
        description: String::new(),
        parameters: json!({}).into(),
        effect,
        images: false,
    };
    Known::new(&[
        tool("search", Effect::Repeatable),
        tool("read_file", Effect::Repeatable),
        tool("run_command", Effect::Keyed),
        tool("send_page", Effect::Unkeyed),
        tool("mcp__mail__send", Effect::Unkeyed),
        tool("mcp__mail__read", Effect::Unkeyed),
    ])
}

fn person(value: &Value) -> Checked {
    check(&parse(&value.to_string(), Format::Json, Author::Person), &known())
}

fn planner(value: &Value) -> Checked {
    check(&parse_answer(&value.to_string()), &known())
}

fn toml(text: &str) -> Checked {
    check(&parse(text, Format::Toml, Author::Person), &known())
}

/// `code subtask field` of every fault, sorted.
fn told(checked: &Checked) -> Vec<String> {
    let one = |f: &brigade_kernel::plan::Fault| {
        let code = serde_json::to_value(f.code).unwrap();
        format!("{} {} {}", code.as_str().unwrap(), f.subtask.as_deref().unwrap_or("-"), f.field.as_deref().unwrap_or("-"))
    };
    let mut told: Vec<String> = checked.faults.iter().map(one).collect();
    told.sort();
    told
}

/// The faults of a plan of one subtask `a` with these extra fields.
fn one(fields: Value) -> Vec<String> {
    let mut subtask = json!({"id": "a", "output_format": "text", "description": "do"});
    subtask.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    told(&person(&json!({"subtasks": [subtask]})))
}

#[test]
fn every_field_is_judged_by_name() {
    let cases = [
        (json!({}), ""),
        (json!({"id": "A b"}), "bad_id A b id"),
        (json!({"id": null}), "bad_id #1 id"),
        (json!({"id": 7}), "bad_id 7 id"),
        (json!({"type": "sing"}), "unknown_type a type"),
        (json!({"type": 3}), "unknown_type a type"),
        (json!({"type": "verify"}), ""),
        (json!({"tools": ["search", "teleport"]}), "unknown_tool a tools"),
        (json!({"tools": "search"}), "bad_value a tools"),
        (json!({"colour": 1}), "unknown_field a colour"),
        (json!({"complexity": "huge"}), "bad_value a complexity"),
        (json!({"depends_on": ["b"]}), "dangling_link a depends_on"),
        (json!({"depends_on": ["Step 3"]}), "dangling_link a depends_on"),
        (json!({"depends_on": ["<node-1>"]}), "dangling_link a depends_on"),
        (json!({"depends_on": ["a"]}), "self_link a depends_on"),
        (json!({"depends_on": [null]}), "malformed_link a depends_on"),
        (json!({"depends_on": [""]}), "malformed_link a depends_on"),
        (json!({"depends_on": ["->"]}), "malformed_link a depends_on"),
        (json!({"depends_on": [0]}), "malformed_link a depends_on"),
        (json!({"depends_on": [["b"]]}), "malformed_link a depends_on"),
        (json!({"depends_on": [{"source": "a", "target": "b"}]}), "malformed_link a depends_on"),
        (json!({"depends_on": "b"}), "malformed_link a depends_on"),
        (json!({"depends_on": null, "files": null, "complexity": null}), ""),
        (json!({"files": ["/etc/passwd"]}), "scope a files"),
        (json!({"files": ["~/x"]}), "scope a files"),
        (json!({"files": ["C:\\x"]}), "scope a files"),
        (json!({"writes": ["src/../../x"], "checks": [["true"]]}), "scope a writes"),
        (json!({"writes": ["{a,..}/x"]}), "scope a writes"),
        (json!({"writes": ["vendor/.git/hooks/x"]}), "scope a writes"),
        (json!({"writes": [".GIT/config"]}), "scope a writes"),
        (json!({"files": ["src/[a"]}), "bad_value a files"),
        (json!({"files": ["src/**", ".github/x", "a..b"]}), ""),
        (json!({"checks": ["cargo test"]}), "bad_value a checks"),
        (json!({"checks": [[]]}), "bad_value a checks"),
        (json!({"description": "x".repeat(64 * 1024 + 1)}), "bad_value a description"),
        (json!({"description": "{{b.output}}"}), "dangling_link a description"),
        (json!({"description": "{{a.output.x}}"}), "self_link a description"),
        (json!({"description": "{{item.text}}"}), "bad_value a description"),
        (json!({"description": "{{ jinja }} {{#if}} {% %} {{x.y}}"}), ""),
        (json!({"description": "{{item.text}}", "for_each": "input"}), ""),
        (json!({"for_each": "rows"}), "dangling_link a for_each"),
        (json!({"for_each": "No Id"}), "bad_value a for_each"),
        (json!({"when": "{{b.output.x}} == 'y'"}), "dangling_link a when"),
        (json!({"when": "x = y"}), "bad_value a when"),
        (json!({"when": "{{item.a}} == 1"}), "bad_value a when"),
        (json!({"tier": "nano", "ladder": ["nano", "mini"], "model": "x/y", "effort": "low", "verbosity": "high"}), ""),
        (json!({"ladder": ["nano", "nano"]}), "bad_value a ladder"),
        (json!({"model": "gpt"}), "bad_value a model"),
        (json!({"effort": "much"}), "bad_value a effort"),
        (json!({"deadline": "90s", "max_cost_usd": 0.25, "max_attempts": 2, "simulate_ms": 5, "approve": true, "checkpoint": true}), ""),
        (json!({"deadline": 90}), "bad_value a deadline"),
        (json!({"deadline": "0s"}), "bad_value a deadline"),
        (json!({"max_cost_usd": -1}), "bad_value a max_cost_usd"),
        (json!({"max_attempts": 0}), "bad_value a max_attempts"),
        (json!({"simulate_ms": 1.5}), "bad_value a simulate_ms"),
        (json!({"output_schema": {"type": "object"}}), ""),
        (json!({"output_schema": 3}), "bad_value a output_schema"),
        (json!({"quality_bar": 0.9}), "bad_value a quality_bar"),
        (json!({"judge": "is it kind?"}), "bad_value a judge"),
        (json!({"vote": 3}), "bad_value a vote"),
        (json!({"images": ["a.png", "shots/*.jpg"]}), ""),
        (json!({"images": ["../a.png"]}), "scope a images"),
        (json!({"images": vec!["a.png"; 21]}), "too_many a images"),
        (json!({"mcp_servers": ["docs"]}), "bad_value a mcp_servers"),
        (json!({"mcp_servers": ["mail"], "tools": ["mcp__mail__shred"]}), "unknown_tool a tools"),
        (json!({"tools": ["mcp__mail__send"]}), "unknown_tool a tools"),
        (json!({"flex": true}), ""),
        (json!({"flex": "yes"}), "bad_value a flex"),
        (json!({"flex": false, "vote": null, "images": []}), ""),
    ];
    for (fields, expected) in cases {
        assert_eq!(one(fields.clone()).join("; "), expected, "{fields}");
    }
}

#[test]
fn what_comes_later_is_refused_by_name() {
    let checked = person(&json!({"subtasks": [{"id": "a", "vote": 3, "judge": "is it kind?"}]}));
    let messages: Vec<&str> = checked.faults.iter().map(|f| f.message.as_str()).collect();
    assert_eq!(messages, ["not supported yet: judge", "not supported yet: vote"]);
}

#[test]
fn all_faults_come_at_once_and_cycles_name_their_members() {
    let checked = person(&json!({"mood": 1, "subtasks": [
        {"id": "a", "depends_on": ["c", "zz"], "type": "x"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["b", "c"]},
        {"id": "a", "tools": ["y"]}, 5,
    ]}));
    let expected = [
        "bad_value #5 -",
        "cycle a depends_on",
        "dangling_link a depends_on",
        "duplicate_node a id",
        "self_link c depends_on",
        "unknown_field - mood",
        "unknown_tool a tools",
        "unknown_type a type",
    ];
    assert_eq!(told(&checked), expected);
    let cycle = checked.faults.iter().find(|f| f.code == Code::Cycle).unwrap();
    assert!(cycle.message.contains("a waits for c waits for b waits for a"), "{}", cycle.message);
}

#[test]
fn duplicates_are_merged_before_the_cycle_test() {
    let checked = person(&json!({"subtasks": [
        {"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "a", "depends_on": ["b"]},
    ]}));
    assert_eq!(told(&checked), ["cycle a depends_on", "duplicate_node a id"]);
}

#[test]
fn hostile_text_is_an_answer_never_a_crash() {
    let deep = "[".repeat(100_000);
    let deep_object = "{\"a\":".repeat(100_000);
    let deep_toml = format!("a = {}", "[".repeat(100_000));
    let deep_table = format!("[{}a]", "a.".repeat(100_000));
    for text in [deep.as_str(), &deep_object, "", "null", "[]", "3", "{", "\u{feff}{}", "{\"subtasks\": {}}", "{\"a\":1,\"a\":2}"] {
        assert!(check(&parse(text, Format::Json, Author::Person), &known()).plan.is_none(), "{text:.20}");
        assert!(check(&parse_answer(text), &known()).plan.is_none());
        let mut stream = PlanStream::new(known());
        stream.push(text);
        assert!(stream.finish().plan.is_none());
    }
    for text in [deep_toml.as_str(), &deep_table, "", "a = ", "a = 1\na = 2", "[[subtasks]]\nid = 3"] {
        let checked = toml(text);
        assert!(!checked.faults.is_empty(), "{text:.20}");
    }
    let huge = format!("{{\"subtasks\": [], \"coordination_notes\": \"{}\"}}", "x".repeat(17 << 20));
    assert_eq!(told(&check(&parse(&huge, Format::Json, Author::Person), &known())), ["too_many - -"]);
    let twice = r#"{"subtasks":[{"id":"a","id":"b","output_format":"text"}]}"#;
    assert_eq!(told(&check(&parse(twice, Format::Json, Author::Person), &known())), ["bad_value - id"]);
}

#[test]
fn messages_escape_what_a_terminal_would_obey() {
    let evil = "\u{1b}[31m\r\n\u{202e}";
    let checked =
        person(&json!({evil: 1, "subtasks": [{"id": evil, "type": evil, evil: 2, "depends_on": [format!("{evil}x")], "files": [evil]}]}));
    let text = serde_json::to_string(&checked).unwrap() + &checked.faults.iter().map(ToString::to_string).collect::<String>();
    let texts = checked.faults.iter().flat_map(|f| [Some(f.message.clone()), f.subtask.clone(), f.field.clone()]).flatten();
    for text in texts.chain([text]) {
        assert!(!text.contains(['\u{1b}', '\r', '\n', '\u{202e}']), "{text:?}");
    }
    assert!(checked.faults.len() >= 6);
}

#[test]
fn a_planner_may_not_set_what_only_a_person_may() {
    let checked = planner(&json!({"pipeline": "x", "subtasks": [{"id": "a", "tier": "nano", "max_cost_usd": 100, "approve": null}]}));
    assert_eq!(
        told(&checked),
        ["unknown_field - pipeline", "unknown_field a approve", "unknown_field a max_cost_usd", "unknown_field a tier"]
    );
}

#[test]
fn an_empty_or_oversized_plan_is_refused() {
    assert_eq!(told(&person(&json!({"subtasks": []}))), ["bad_value - subtasks"]);
    assert_eq!(told(&person(&json!({}))), ["bad_value - subtasks"]);
    let many: Vec<Value> = (0..=MAX_SUBTASKS).map(|n| json!({"id": format!("s{n}")})).collect();
    assert_eq!(told(&person(&json!({"subtasks": many}))), ["too_many - subtasks"]);
}

const TRIAGE: &str = r#"
pipeline = "triage"
canary = 50
max_failure_rate = 0.1

[[subtasks]]
id = "classify"
type = "label"
description = "Label {{item.text}}"
output_format = "text"
for_each = "input"
output_schema = { type = "object", properties = { label = { type = "string" } } }

[[subtasks]]
id = "refund"
description = "Refund {{item.text}} as {{classify.output.label}}"
output_format = "text"
for_each = "classify"
when = "{{classify.output.label}} == 'refund'"
deadline = "90s"
max_cost_usd = 0.000000001
simulate_ms = 1200
"#;

#[test]
fn a_hand_written_plan_survives_being_written_and_read_again() {
    let checked = toml(TRIAGE);
    assert_eq!(checked.faults, []);
    let plan = checked.plan.unwrap();
    assert_eq!(plan.subtasks[1].depends_on, [SubtaskId::new("classify").unwrap()]);
    let text = serde_json::to_string(&plan).unwrap();
    assert!(!text.contains("null") && !text.contains("[]"), "{text}");
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    let again = check(&parse(&text, Format::of("plan.json", &text), Author::Person), &known());
    assert_eq!(again.plan.unwrap(), plan);
    let toml_again = toml::to_string(&plan).unwrap();
    assert_eq!(toml(&toml_again).plan.unwrap(), plan);
}

#[test]
fn sloppy_plans_are_warned_of_and_pass() {
    let checked = person(&json!({"subtasks": [
        {"id": "a", "description": "x", "type": "classify", "tools": ["search", "read_file"], "writes": ["src/**"]},
        {"id": "b", "description": "x", "output_format": "text", "writes": ["src/lib.rs"], "checks": [["true"]]},
        {"id": "c", "description": "x", "output_format": "text", "writes": ["src/lib.rs"], "checks": [["true"]], "depends_on": ["a", "b"]},
        {"id": "d", "output_format": "text", "writes": ["docs/*.md"], "checks": [["true"]]},
    ]}));
    assert!(checked.plan.is_some());
    let codes: Vec<(&str, &str)> = checked.warnings.iter().map(|w| (w.code, w.subtask.as_deref().unwrap())).collect();
    let expected = [
        ("empty_output_format", "a"),
        ("no_checks", "a"),
        ("many_tools_for_nano", "a"),
        ("no_description", "d"),
        ("overlapping_writes", "b"),
    ];
    assert_eq!(codes, expected);
}

#[test]
fn check_prints_the_promised_object() {
    let form = serde_json::to_value(person(&json!({"subtasks": [{"id": "a", "type": "x", "output_format": "t", "title": "t"}]}))).unwrap();
    assert_eq!(form["ok"], false);
    assert_eq!(form["faults"][0]["code"], "unknown_type");
    assert_eq!(form["faults"][0]["subtask"], "a");
    assert_eq!(form["faults"][0]["field"], "type");
    assert!(form["faults"][0]["message"].as_str().unwrap().contains("use one of search, review_file"));
    assert_eq!(form["warnings"], json!([]));
}

#[test]
fn tools_files_come_in_two_shapes() {
    assert_eq!(parse_tools(r#"[{"id":"a b"},{"id":"c","desc":1}]"#).unwrap(), ["a b", "c"]);
    assert_eq!(parse_tools(r#"{"nodes":[{"id":"x"}],"links":[]}"#).unwrap(), ["x"]);
    for bad in ["", "{}", "[1]", "[{\"id\":\"\"}]", "[{}]"] {
        assert!(parse_tools(bad).is_err(), "{bad}");
    }
}

#[test]
fn subtasks_leave_the_stream_when_their_object_closes() {
    let mut stream = PlanStream::new(known());
    assert_eq!(
        stream.push("Sure! {here} is the plan:\n```json\n{ \"coordination_notes\": \"a ] } \\\" b\", \"subtasks\": [ {\"id\": \"a\""),
        []
    );
    let found = stream.push(", \"description\": \"}]\"}");
    assert!(matches!(&found[..], [Streamed::Subtask(s)] if s.id.as_str() == "a"));
    let found =
        stream.push(", {\"id\": \"b\", \"depends_on\": [\"c\"]}, {\"id\": \"a\"}, {\"id\": \"e\", \"type\": \"no\"}, 7, {\"id\":\"c\"}");
    let kinds: Vec<bool> = found.iter().map(|f| matches!(f, Streamed::Subtask(_))).collect();
    assert_eq!(kinds, [true, false, false, false, true]);
    stream.push("]}\n``` anything {\"subtasks\": [");
    let checked = stream.finish();
    assert_eq!(told(&checked), ["bad_value #5 -", "duplicate_node a id", "unknown_type e type"]);
}

#[test]
fn a_cut_stream_is_no_plan() {
    let whole = json!({"coordination_notes": null, "subtasks": [{"id": "a"}]}).to_string();
    for end in 0..whole.len() {
        let mut stream = PlanStream::new(known());
        stream.push(&whole[..end]);
        assert!(stream.finish().plan.is_none(), "{end}");
    }
}

#[test]
fn a_mend_keeps_accepted_subtasks_unchanged() {
    let first = planner(&json!({"subtasks": [{"id": "a", "description": "first"}]})).plan.unwrap();
    let mut stream = PlanStream::after(known(), first.subtasks.clone());
    let found = stream.push(&json!({"subtasks": [{"id": "a", "description": "second"}, {"id": "b", "depends_on": ["a"]}]}).to_string());
    assert_eq!(found.len(), 1);
    let plan = stream.finish().plan.unwrap();
    assert_eq!((plan.subtasks.len(), &plan.subtasks[0]), (2, &first.subtasks[0]));
}

#[test]
fn only_harmless_subtasks_start_while_the_plan_streams() {
    let plan = planner(&json!({"subtasks": [
        {"id": "reads", "tools": ["search"]}, {"id": "writes", "writes": ["x"]}, {"id": "sends", "tools": ["send_page"]},
        {"id": "waits", "depends_on": ["later"]}, {"id": "later"},
    ]}))
    .plan
    .unwrap();
    let stream = PlanStream::new(known());
    let may: Vec<bool> = plan.subtasks.iter().map(|s| stream.startable_while_streaming(s, |id| id.as_str() == "reads")).collect();
    assert_eq!(may, [true, false, false, false, true]);
}

#[test]
fn only_a_person_joins_a_server() {
    let with = |extra: Value| {
        let mut subtask = json!({"id": "a", "type": "general", "description": "x"});
        subtask.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"subtasks": [subtask]})
    };
    assert_eq!(told(&planner(&with(json!({"mcp_servers": ["mail"]})))), ["unknown_field a mcp_servers"]);
    let stranger = planner(&with(json!({"tools": ["mcp__mail__send"]})));
    assert_eq!(told(&stranger), ["unknown_tool a tools"]);
    assert!(!stranger.faults[0].message.contains("mcp_servers") && !stranger.faults[0].message.contains("mcp__mail__read"));
    let joined = person(&with(json!({"mcp_servers": ["mail"], "tools": ["mcp__mail__send"]}))).plan.unwrap();
    assert!(joined.subtasks[0].grants("mcp__mail__send") && !joined.subtasks[0].grants("mcp__mail__read"));
    let unknown = person(&with(json!({"mcp_servers": ["docs"]})));
    assert!(unknown.faults[0].message.contains("\"docs\" is not configured and trusted (those that are: mail)"), "{unknown:?}");
}

fn patch(value: Value) -> Parsed {
    parse_answer(&value.to_string())
}

#[test]
fn a_patch_changes_what_has_not_started_and_nothing_else() {
    let plan = person(&json!({"subtasks": [
        {"id": "done"}, {"id": "runs", "depends_on": ["done"]}, {"id": "stuck", "depends_on": ["done"], "approve": true},
        {"id": "next", "depends_on": ["stuck"]},
    ]}))
    .plan
    .unwrap();
    let standing = |id: &SubtaskId| match id.as_str() {
        "done" => Standing::Done,
        "runs" => Standing::Started,
        "stuck" => Standing::Stuck,
        _ => Standing::Waiting,
    };
    let cases = [
        (json!({}), ""),
        (json!({"add": [{"id": "new", "depends_on": ["next"]}], "drop": null, "change": [], "coordination_notes": "n"}), ""),
        (json!({"drop": ["runs"]}), "bad_value runs drop"),
        (json!({"drop": ["done"]}), "bad_value done drop; dangling_link runs depends_on; dangling_link stuck depends_on"),
        (json!({"change": [{"id": "runs"}]}), "bad_value runs change"),
        (json!({"drop": ["stuck"]}), "dangling_link next depends_on"),
        (json!({"drop": ["stuck"], "change": [{"id": "next", "depends_on": ["half"]}], "add": [{"id": "half"}]}), ""),
        (json!({"drop": ["stuck", "next"]}), ""),
        (json!({"drop": ["next"], "change": [{"id": "next"}]}), "duplicate_node next change"),
        (json!({"drop": ["next"], "add": [{"id": "next"}]}), "duplicate_node next add"),
        (json!({"drop": ["nobody"]}), "dangling_link nobody drop"),
        (json!({"drop": ["No Id"]}), "dangling_link - drop"),
        (json!({"add": [{"id": "done"}]}), "duplicate_node done id"),
        (json!({"change": [{"id": "stuck", "depends_on": ["next"]}]}), "cycle stuck depends_on"),
        (
            json!({"change": [{"id": "stuck", "tools": ["no"], "depends_on": ["gone"]}]}),
            "dangling_link stuck depends_on; unknown_tool stuck tools",
        ),
        (json!({"add": [{"id": "new", "approve": false}]}), "unknown_field new approve"),
        (json!({"remove": []}), "unknown_field - remove"),
    ];
    for (value, expected) in cases {
        let amended = amend(&plan, &patch(value.clone()), standing, &known());
        let as_checked = Checked { plan: None, faults: amended.faults.clone(), warnings: Vec::new() };
        assert_eq!(told(&as_checked).join("; "), expected, "{value}");
        if let Some((patch, after)) = amended.applied {
            let mut folded = plan.clone();
            patch.apply(&mut folded);
            assert_eq!(folded, after, "{value}");
        }
    }
    let changed = amend(&plan, &patch(json!({"change": [{"id": "stuck", "description": "try again"}]})), standing, &known());
    let (_, after) = changed.applied.unwrap();
    assert!(after.get("stuck").unwrap().approve, "a planner cannot lift an approval");
    assert_eq!(after.get("stuck").unwrap().description, "try again");
}

#[test]
fn reviews_are_judged_against_the_plan() {
    let plan = planner(&json!({"subtasks": [{"id": "a"}]})).plan.unwrap();
    let base = json!({"summary": "s", "verdict": "approve", "revisions": [], "add": [], "final_output": "see {{a.output}}"});
    let cases = [
        (json!({}), ""),
        (json!({"verdict": "maybe"}), "bad_value - verdict"),
        (json!({"verdict": null}), "bad_value - verdict"),
        (json!({"verdict": "revise"}), "bad_value - revisions"),
        (json!({"verdict": "revise", "revisions": [{"subtask": "a", "instructions": "again"}]}), ""),
        (json!({"verdict": "revise", "revisions": [{"subtask": "b", "instructions": "again"}]}), "dangling_link - revisions"),
        (json!({"verdict": "revise", "add": [{"id": "b", "depends_on": ["a"]}], "final_output": "{{b.output}}"}), ""),
        (json!({"verdict": "revise", "add": [{"id": "a"}]}), "duplicate_node a id"),
        (json!({"final_output": "{{z.output}}"}), "dangling_link - final_output"),
        (json!({"score": 5}), "unknown_field - score"),
    ];
    let judged = |text: &str| {
        let named = |id: &str| plan.get(id).map(|s| s.id.clone());
        review(&named, || plan.clone(), &parse_answer(text), &known())
    };
    for (fields, expected) in cases {
        let mut value = base.clone();
        value.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let reviewed = judged(&format!("```json\n{value}\n```"));
        let as_checked = Checked { plan: None, faults: reviewed.faults.clone(), warnings: Vec::new() };
        assert_eq!(told(&as_checked).join("; "), expected, "{fields}");
        assert_eq!(reviewed.review.is_some(), expected.is_empty());
    }
    let found = judged(&base.to_string()).review.unwrap();
    assert_eq!(found.verdict, Verdict::Approve);
}

/// responses-api.md §4.3.
fn assert_strict(schema: &Value, depth: usize) {
    assert!(depth <= 10);
    let Value::Object(map) = schema else { return };
    for banned in ["allOf", "not", "if", "oneOf", "default", "patternProperties", "uniqueItems", "minLength"] {
        assert!(!map.contains_key(banned), "{banned}");
    }
    if let Some(properties) = map.get("properties").and_then(Value::as_object) {
        assert_eq!(map["additionalProperties"], false);
        let names: Vec<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(map["required"], json!(names));
        properties.values().for_each(|p| assert_strict(p, depth + 1));
    }
    if map.contains_key("$ref") {
        assert_eq!(map.len(), 1);
    }
    map.get("items").into_iter().for_each(|i| assert_strict(i, depth + 1));
    map.get("$defs").and_then(Value::as_object).into_iter().flat_map(|d| d.values()).for_each(|d| assert_strict(d, depth + 1));
}

#[test]
fn schemas_keep_to_the_strict_subset_and_accept_what_the_gate_accepts() {
    for schema in [schema::plan(), schema::plan_patch(), schema::review(), schema::judge()] {
        assert_eq!(schema["type"], "object");
        assert_strict(&schema, 1);
    }
    let full = json!({"coordination_notes": null, "subtasks": [{
        "id": "a", "type": "search", "title": "t", "description": "d", "output_format": null, "depends_on": null, "files": ["src/**"],
        "writes": [], "tools": ["search"], "complexity": null, "checks": [["cargo", "test"]],
    }]});
    let validator = jsonschema::validator_for(&schema::plan()).unwrap();
    assert!(validator.is_valid(&full));
    assert!(planner(&full).plan.is_some());
    let mut extra = full.clone();
    extra["subtasks"][0]["tier"] = json!("nano");
    assert!(!validator.is_valid(&extra));
}
