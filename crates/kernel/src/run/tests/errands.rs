//! Errands: attempts that an agent makes in one call, leased at its bounds, with what became of the files.

use serde_json::json;

use super::world::*;
use crate::call::ErrorClass;
use crate::policy::{AgentPolicy, Billing, Policy, Who};
use crate::run::*;
use crate::units::{NanoUsd, QuotaUnits};

/// The lower rungs are an agent's; models of the catalog's vendor, which the agent resells.
fn by_agent(billing: Billing) -> Policy {
    let mut policy = policy();
    let agent = AgentPolicy { billing, max_input_tokens: 10_000, max_output_tokens: 1_000, ..AgentPolicy::default() };
    policy.agents.insert("openai".to_owned(), agent);
    policy
}

fn writer() -> serde_json::Value {
    json!([{"id": "a", "type": "simple_edit", "description": "do it", "writes": ["a.txt"], "tools": ["write_file"], "checks": [["t"]]}])
}

fn world(billing: Billing, plan: serde_json::Value) -> World {
    World::given_under(by_agent(billing), plan)
}

#[test]
fn an_errand_is_leased_at_its_bounds_and_offered_no_tool_of_ours() {
    let mut world = world(Billing::Tokens, writer());
    world.on_errand = Box::new(|_, _| vec![("a.txt", "new".to_owned())]);
    assert_eq!(world.go().status, RunStatus::Completed);
    let call = world.calls_of("a")[0].clone();
    assert!(call.tools.is_empty() && call.max_output_tokens == 1_000);
    assert!(call.instructions.contains("You run as a program") && !call.instructions.is_empty());
    let started = world.events().find_map(|event| match event {
        Event::CallStarted { lease_usd, lease_tokens, .. } => Some((*lease_usd, *lease_tokens)),
        _ => None,
    });
    // 10,000 in at $0.20 and 1,000 out at $1.25 the million.
    assert_eq!(started, Some((NanoUsd(3_250_000), 11_000)));
    assert_eq!(world.run.state().patch.as_ref().map(|patch| patch.files.len()), Some(1));
}

#[test]
fn a_quota_pays_in_units_and_never_in_money() {
    let mut world = world(Billing::Quota, writer());
    world.on_errand = Box::new(|_, _| vec![("a.txt", "new".to_owned())]);
    let end = world.go();
    assert_eq!((end.status, world.spent(), end.all_flagship_cost_usd), (RunStatus::Completed, NanoUsd::ZERO, NanoUsd::ZERO));
    // One attempt and the review.
    assert_eq!(end.usage.total().quota_units, QuotaUnits(2_000));
}

#[test]
fn each_attempt_of_an_agent_starts_from_the_same_files() {
    let mut world = world(Billing::Tokens, writer());
    world.on_errand = Box::new(|_, attempt| vec![("a.txt", format!("try {attempt}"))]);
    world.on_check = Box::new(|_, attempt, _| if attempt < 3 { (Verdict::Fail, "no".to_owned()) } else { (Verdict::Pass, String::new()) });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.tiers("a"), ["nano", "nano", "mini"]);
    assert_eq!(world.stored.last().and_then(|files| files.get("a.txt")).map(String::as_str), Some("try 3"));
}

#[test]
fn what_an_agent_writes_outside_fails_the_attempt() {
    let mut world = world(Billing::Tokens, writer());
    world.on_errand =
        Box::new(|_, attempt| vec![("a.txt", "x".to_owned()), (if attempt == 1 { "b.txt" } else { "a.txt" }, "x".to_owned())]);
    assert_eq!(world.go().status, RunStatus::Completed);
    let scope = world.events().filter(|e| matches!(e, Event::CheckEnded { check, verdict: Verdict::Fail, .. } if check == "scope")).count();
    assert_eq!((scope, world.tiers("a").len()), (1, 2));
}

#[test]
fn an_agent_that_comes_to_no_answer_has_had_its_try() {
    for class in [ErrorClass::TimedOut, ErrorClass::Garbage] {
        let mut world = world(Billing::Tokens, writer()).script(move |asked| match (asked.subtask(), asked.nth) {
            ("a", 0) => error(class),
            _ => usual(asked),
        });
        world.on_errand = Box::new(|_, attempt| vec![("a.txt", format!("try {attempt}"))]);
        assert_eq!(world.go().status, RunStatus::Completed, "{class}");
        assert_eq!(world.tiers("a"), ["nano", "mini"], "the next try is a tier up, not the same call again");
    }
}

#[test]
fn trouble_at_the_door_is_waited_out_on_the_same_attempt() {
    let mut world = world(Billing::Tokens, writer()).script(|asked| match (asked.subtask(), asked.nth) {
        ("a", 0) => error(ErrorClass::RateLimited),
        _ => usual(asked),
    });
    world.on_errand = Box::new(|_, attempt| vec![("a.txt", format!("try {attempt}"))]);
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.tiers("a"), ["nano"]);
    assert_eq!(world.stored.last().and_then(|files| files.get("a.txt")).map(String::as_str), Some("try 1"));
}

#[test]
fn an_answer_that_is_nothing_but_an_ending_is_one() {
    for (said, ending) in [
        (r#"{"status": "blocked", "reason": "no"}"#, Ending::Blocked),
        ("```json\n{\"status\": \"too_big\", \"reason\": \"cut it\"}\n```", Ending::TooBig),
        // Words of the work itself are not mistaken for one.
        (r#"{"status": "blocked", "reason": "no", "more": 1}"#, Ending::Done),
        (r#"{"status": "open", "reason": "no"}"#, Ending::Done),
    ] {
        let plan = json!([{"id": "a", "type": "classify", "description": "do it"}]);
        let mut world = world(Billing::Tokens, plan).script(move |asked| match asked.subtask() {
            "a" => say(said),
            _ => usual(asked),
        });
        world.go();
        let ended = world.events().find_map(|e| if let Event::AttemptEnded { ending, .. } = e { Some(*ending) } else { None });
        assert_eq!(ended, Some(ending), "{said}");
    }
}

#[test]
fn a_lost_errand_is_charged_as_leased_and_leaves_no_tree() {
    let mut world = world(Billing::Tokens, writer());
    world.on_errand = Box::new(|_, attempt| vec![("a.txt", format!("try {attempt}"))]);
    while world.calls.is_empty() {
        world.turn();
        world.advance();
    }
    world.crash();
    world.reopen();
    assert_eq!(world.go().status, RunStatus::Completed);
    let costs: Vec<NanoUsd> =
        world.events().filter_map(|e| if let Event::CallEnded { cost_usd, .. } = e { Some(*cost_usd) } else { None }).collect();
    assert_eq!(costs[0], NanoUsd(3_250_000));
    assert_eq!(world.tiers("a"), ["nano"], "the same attempt, once more");
}

#[test]
fn siblings_of_an_agent_do_not_wait_for_a_cache_that_is_not_ours() {
    let plan: Vec<_> = (0..4).map(|n| json!({"id": format!("s{n}"), "type": "summarize", "description": "do it"})).collect();
    for (agents, at_once) in [(true, 4), (false, 1)] {
        let mut policy = by_agent(Billing::Tokens);
        policy.prompts.insert(Who::Executor, "a long rule. ".repeat(1_000));
        if !agents {
            policy.agents.clear();
        }
        let mut world = World::given_under(policy, json!(plan));
        world.turn();
        assert_eq!(world.calls.len(), at_once, "agents: {agents}");
    }
}
