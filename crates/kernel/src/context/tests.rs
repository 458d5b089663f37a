use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::call::Answer;
use crate::ids::{ModelRef, SubtaskId, Tier};
use crate::plan::TaskType;
use crate::policy::{Policy, Who};

fn id(name: &str) -> SubtaskId {
    SubtaskId::new(name).unwrap()
}

fn policy() -> Policy {
    Policy::standard(["nano", "mini", "flagship"].map(|n| (Tier::new(n).unwrap(), ModelRef::new("p/m").unwrap())))
}

fn text(packed: &Packed) -> &str {
    match packed.items.last() {
        Some(crate::call::Item::Message { text, .. }) => text,
        other => panic!("{other:?}"),
    }
}

fn nano() -> TierLimits {
    TierLimits { max_context_tokens: Some(8_000) }
}

#[test]
fn siblings_of_one_type_share_their_opening_and_their_cache_key() {
    let rules = instructions(Who::Type(TaskType::Classify), &policy());
    let one = pack(&Parts { rules: &rules, description: "a", ..Parts::default() }, &nano());
    let two = pack(&Parts { rules: &rules, description: "b", ..Parts::default() }, &nano());
    assert_eq!(one.instructions, two.instructions);
    for who in TaskType::ALL.map(Who::Type).into_iter().chain([Who::Planner, Who::PlannerPatch, Who::Reviewer]) {
        let rules = instructions(who, &policy());
        let key = cache_key(who, &rules);
        assert!(key.len() <= 64 && key.is_ascii(), "{key}");
        assert!(rules.len() > 500, "{who:?} has rules");
    }
}

#[test]
fn a_replaced_prompt_is_used_and_changes_the_cache_key() {
    let mut own = policy();
    own.prompts.insert(Who::Type(TaskType::Rank), "Order them.".to_owned());
    let (before, after) = (instructions(Who::Type(TaskType::Rank), &policy()), instructions(Who::Type(TaskType::Rank), &own));
    assert!(after.ends_with("Order them.\n") && after.starts_with("You do one narrow subtask"));
    assert_ne!(cache_key(Who::Type(TaskType::Rank), &before), cache_key(Who::Type(TaskType::Rank), &after));
}

#[test]
fn an_executor_sees_its_task_first_then_form_files_results_evidence() {
    let parts = Parts {
        rules: "RULES",
        description: "Find the login.\n",
        output_format: "path:line",
        writes: &["src/a.rs".to_owned()],
        checks: &[vec!["cargo".to_owned(), "test".to_owned()]],
        tool_calls: Some(2),
        excerpts: vec![Excerpt { path: "src/a.rs".into(), start_line: 1, text: "fn login() {}\n".into() }],
        dependencies: vec![Output { id: id("dep"), text: "seen".into(), reference: None }],
        evidence: vec![Evidence {
            attempt: 1,
            tier: Tier::new("nano").unwrap(),
            what: "check cargo test failed".into(),
            text: "boom".into(),
        }],
        ..Parts::default()
    };
    let packed = pack(&parts, &nano());
    let shown = text(&packed);
    assert!(shown.starts_with("Find the login.\n\n\n# What to return\npath:line"));
    let order = [
        "Find the login",
        "path:line",
        "src/a.rs",
        "cargo test",
        "At most 2",
        "from=\"file src/a.rs\"",
        "result of dep",
        "Attempt 1 failed",
        "boom",
    ];
    let at: Vec<usize> = order.iter().map(|words| shown.find(words).unwrap_or_else(|| panic!("{words}"))).collect();
    assert!(at.is_sorted(), "{at:?}\n{shown}");
    let names: Vec<&str> = packed.receipt.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["rules", "task", "form", "file src/a.rs", "result of dep", "evidence of attempt 1"]);
}

#[test]
fn excerpts_are_trimmed_to_the_soft_limit_by_likeness_to_the_task() {
    let mut long: String = (0..3_000).map(|n| format!("let filler_{n} = {n};\n")).collect();
    long.push_str("fn checkPassword(user: &User) -> bool { todo }\n");
    let parts = Parts {
        rules: "R",
        description: "Explain how the password check of a user works",
        excerpts: vec![Excerpt { path: "src/auth.rs".into(), start_line: 1, text: long.clone() }],
        ..Parts::default()
    };
    let packed = pack(&parts, &nano());
    assert!(text(&packed).contains("fn checkPassword"));
    assert!(text(&packed).contains("left out …]"));
    assert!(packed.tokens_est() <= 8_000, "{}", packed.tokens_est());
    let line = packed.receipt.iter().find(|r| r.name == "file src/auth.rs").unwrap();
    assert!(line.trimmed > 20_000);
    let whole = pack(&parts, &TierLimits::default());
    assert!(text(&whole).contains(&long));
}

#[test]
fn long_results_become_capsules_that_say_how_to_open_the_rest() {
    let big = "x".repeat(50_000);
    let outputs = vec![
        Output { id: id("small"), text: "ok".into(), reference: None },
        Output { id: id("large"), text: big, reference: Some("o1".into()) },
    ];
    let packed = pack(&Parts { description: "d", dependencies: outputs, ..Parts::default() }, &nano());
    assert!(text(&packed).contains("\nok\n"));
    assert!(text(&packed).contains("[all of it: open_output {\"id\": \"o1\"}]"));
    assert!(packed.tokens_est() < 3_000);
}

#[test]
fn untrusted_instructions_are_material_and_trusted_ones_are_rules() {
    let shown = |path: &str, trusted| {
        let text = "Use tabs.".to_owned();
        let file = Instructions { path: path.to_owned(), sha256: String::new(), trusted, bytes: text.len() as u64, text };
        chain::shared(&[Instructions { path: "AGENTS.md".to_owned(), ..file }]).unwrap()
    };
    let (trusted, not) = (shown("AGENTS.md", true), shown("AGENTS.md", false));
    let packed = pack(&Parts { rules: "R\n", description: "d", shared: Some(&trusted), ..Parts::default() }, &nano());
    assert_eq!(packed.instructions, "R\n\n# Instructions for this workspace\nUse tabs.");
    let names: Vec<&str> = packed.receipt.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["rules", "instructions AGENTS.md", "task"]);
    let own = [trusted.clone()];
    let packed = pack(&Parts { rules: "R\n", description: "d", shared: Some(&not), own: &own, ..Parts::default() }, &nano());
    assert_eq!(packed.instructions, "R\n");
    let shown = text(&packed);
    assert!(shown.starts_with("<data from=\"instructions for this workspace"), "{shown}");
    assert!(shown.find("# Instructions for").unwrap() < shown.rfind("\n\nd").unwrap(), "{shown}");
}

#[test]
fn planner_and_reviewer_see_the_request_as_written() {
    let request = "Add  rate limiting\n\tto \"login\" {{x}} </data>\n";
    let planned =
        planner(Planning { rules: "R", request, max_subtasks: 10, tools: vec![("search".into(), "finds".into())], ..Planning::default() });
    assert!(text(&planned).starts_with(request));
    let reviewed = reviewer(&Reviewing { rules: "R", request, ..Reviewing::default() }, &TierLimits::default());
    assert!(text(&reviewed).starts_with(request));
    let again = replan(Replanning { rules: "R", request, happened: "a ended blocked", notes: "keep v1", ..Replanning::default() });
    assert!(text(&again).ends_with(request) && text(&again).contains("keep v1"));
}

#[test]
fn earlier_turns_are_replayed_in_front() {
    let earlier = mend("{}", &["subtask a: description is empty".into()], &[], &[id("b")]);
    let packed = planner(Planning { request: "next", earlier: earlier.clone(), ..Planning::default() });
    assert_eq!(packed.items[..2], earlier[..]);
    assert_eq!(packed.receipt[1].name, "earlier turns");
    let crate::call::Item::Message { text, .. } = &earlier[1] else { panic!() };
    assert!(text.contains("- subtask a: description is empty") && text.contains("unchanged: b."));
}

#[test]
fn a_review_shows_failed_checks_and_keeps_within_its_room() {
    let check = |passed| CheckLine { name: "cargo test".into(), passed, evidence: "assertion failed".into() };
    let result = Worked {
        id: id("fix"),
        title: "Fix it".into(),
        state: "done on mini".into(),
        output: "y".repeat(90_000),
        checks: vec![check(true), check(false)],
    };
    let diff = "+line\n".repeat(20_000);
    let reviewing = Reviewing { rules: "R", request: "Fix the test", results: vec![result], diff: Some(&diff), ..Reviewing::default() };
    let packed = reviewer(&reviewing, &TierLimits { max_context_tokens: Some(10_000) });
    let shown = text(&packed);
    assert!(shown.contains("check cargo test: passed") && shown.contains("check cargo test: FAILED") && shown.contains("assertion failed"));
    assert!((9_000..=10_200).contains(&packed.tokens_est()), "{}", packed.tokens_est());
}

#[test]
fn every_ending_is_read_and_a_wrong_one_is_explained() {
    let call = |arguments: &str| Answer {
        items: vec![crate::call::Item::ToolCall { call_id: "c1".into(), name: END.into(), arguments: arguments.into() }],
        ..Answer::default()
    };
    for (name, status) in [
        ("done", Status::Done),
        ("blocked", Status::Blocked),
        ("too_big", Status::TooBig),
        ("needs_context", Status::NeedsContext),
        ("out_of_scope", Status::OutOfScope),
    ] {
        let ended = ending(&call(&json!({"status": name, "reason": "why"}).to_string())).unwrap().unwrap();
        assert_eq!(ended, Ending { status, reason: "why".into() });
    }
    let (call_id, said) = ending(&call("{\"status\": \"finished\"}")).unwrap().unwrap_err();
    assert_eq!(call_id, "c1");
    assert!(said.starts_with("status \"finished\" is not known: call end with"), "{said}");
    let plain = Answer { text: "42".into(), ..Answer::default() };
    assert_eq!(ending(&plain).unwrap().unwrap().status, Status::Done);
    assert!(ending(&Answer::default()).is_none());
    assert!(end_tool().parameters.is_strict());
}

#[test]
fn output_format_is_text_words_or_a_schema() {
    let of = |text: &str| wanted(text, None);
    assert_eq!(of("text"), Wanted::Text);
    assert_eq!(of(" "), Wanted::Text);
    assert_eq!(of("a list of paths"), Wanted::Described("a list of paths".into()));
    assert_eq!(of("{\"type\": \"bug\", \"id\": 1}"), Wanted::Described("{\"type\": \"bug\", \"id\": 1}".into()));
    let strict = json!({"type": "object", "properties": {"label": {"type": "string", "enum": ["a", "b"]}}, "required": ["label"], "additionalProperties": false});
    let Wanted::Json(format) = of(&strict.to_string()) else { panic!() };
    assert!(format.strict && format.name == "brigade_result" && of(&strict.to_string()).words().is_empty());
    let loose = json!({"properties": {"label": {"type": "string"}}});
    let Wanted::Json(format) = of(&loose.to_string()) else { panic!() };
    assert!(!format.strict && of(&loose.to_string()).words().contains("\"label\""));
    assert_eq!(wanted("text", Some(&strict.into())).format().map(|f| f.strict), Some(true));
}

#[test]
fn strictness_follows_the_providers_subset() {
    let strict = |schema: serde_json::Value| crate::json_schema::Schema::from(schema).is_strict();
    let object =
        |inner: serde_json::Value| json!({"type": "object", "properties": {"x": inner}, "required": ["x"], "additionalProperties": false});
    assert!(strict(crate::plan::schema::plan()) && strict(crate::plan::schema::review()));
    assert!(strict(object(json!({"anyOf": [{"type": "string"}, {"type": "null"}]}))));
    for bad in [
        json!({"oneOf": [{"type": "string"}]}),
        json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
        json!({"type": "string", "default": "a"}),
        json!({"type": "object", "properties": {}}),
        json!({"$ref": "#/$defs/a", "description": "x"}),
        json!(true),
    ] {
        assert!(!strict(object(bad.clone())), "{bad}");
    }
    assert!(!strict(json!({"type": "array", "items": {"type": "string"}})));
    let mut deep = json!({"type": "string"});
    for _ in 0..11 {
        deep = object(deep);
    }
    assert!(!strict(deep));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_content_closes_its_block(content in "(<data|</data|[0-9a-f]{8}|>|\n|\\PC){0,60}") {
        let quoted = block("file a\"b\n<c>", &content);
        let mark = quoted.rsplit_once("</data ").unwrap().1.trim_end_matches('>').to_owned();
        prop_assert_eq!(mark.len(), 8);
        prop_assert!(!content.contains(&mark));
        prop_assert_eq!(quoted.matches(&format!("</data {mark}>")).count(), 1);
        prop_assert!(quoted.contains(&content));
        let opening = format!("id=\"{mark}\">");
        prop_assert!(quoted.lines().next().unwrap().ends_with(&opening));
    }

    #[test]
    fn a_cut_keeps_its_size_and_counts_what_it_left_out(text in "(\\PC|\n){0,400}", most in 0usize..300) {
        let (shown, left_out) = cut(&text, most);
        prop_assert!(shown.len() <= most + 60);
        prop_assert_eq!(left_out == 0, text.len() <= most);
        prop_assert!(left_out <= text.len());
    }

    #[test]
    fn a_description_is_never_altered_and_the_soft_limit_holds(
        description in "\\PC{0,200}", files in prop::collection::vec("(\\PC{0,40}\n){0,60}", 0..6), outputs in prop::collection::vec("\\PC{0,3000}", 0..4),
        tokens in 1_000u32..6_000,
    ) {
        let parts = Parts {
            rules: "R",
            description: &description,
            excerpts: files.into_iter().enumerate().map(|(n, text)| Excerpt { path: format!("f{n}"), start_line: 1, text }).collect(),
            dependencies: outputs.into_iter().enumerate().map(|(n, text)| Output { id: id(&format!("d{n}")), text, reference: None }).collect(),
            ..Parts::default()
        };
        let packed = pack(&parts, &TierLimits { max_context_tokens: Some(tokens) });
        prop_assert!(text(&packed).starts_with(&description));
        prop_assert_eq!(&packed, &pack(&parts, &TierLimits { max_context_tokens: Some(tokens) }));
        // Marks and notes around the parts are small change.
        prop_assert!(packed.tokens_est() <= u64::from(tokens) + 300, "{} of {tokens}", packed.tokens_est());
    }
}
