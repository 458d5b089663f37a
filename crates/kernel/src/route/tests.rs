use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::call::ErrorClass;
use crate::ids::{ModelRef, Tier};
use crate::plan::{Complexity, TaskType};
use crate::policy::{Ground, Policy, RouteTo};
use crate::time::{Millis, Timestamp};
use crate::units::NanoUsd;

fn tier(name: &str) -> Tier {
    Tier::new(name).unwrap()
}

fn model(name: &str) -> ModelRef {
    ModelRef::new(name).unwrap()
}

fn policy_of(names: &[&str]) -> Policy {
    Policy::standard(names.iter().map(|n| (tier(n), model(&format!("p/{n}-model")))))
}

fn usual() -> Policy {
    policy_of(&["nano", "mini", "flagship"])
}

fn facts(kind: &str) -> Facts {
    Facts { kind: TaskType::parse(kind).unwrap(), ..Facts::default() }
}

fn started(facts: &Facts, policy: &Policy) -> String {
    start(facts, policy).unwrap().tier.to_string()
}

#[test]
fn every_type_starts_where_the_table_says() {
    let table = [
        ("nano", "classify extract rank simple_edit label format"),
        ("mini", "search review_file debug diff generate test document screenshot summarize verify frontend"),
        ("flagship", "merge general"),
    ];
    for (expected, kinds) in table {
        for kind in kinds.split(' ') {
            assert_eq!(started(&facts(kind), &usual()), expected, "{kind}");
        }
    }
}

#[test]
fn high_complexity_raises_debug_and_multi_file_work_to_the_flagship() {
    let high = |kind, multi_file| Facts { complexity: Complexity::High, multi_file, ..facts(kind) };
    assert_eq!(started(&high("debug", false), &usual()), "flagship");
    assert_eq!(started(&high("generate", true), &usual()), "flagship");
    assert_eq!(started(&high("generate", false), &usual()), "mini");
    assert_eq!(started(&high("classify", false), &usual()), "mini");
}

#[test]
fn an_agent_is_passed_over_for_long_input_and_not_for_tools_of_ours() {
    let mut policy = usual();
    policy.agents.insert("p".to_owned(), Default::default());
    assert_eq!(started(&Facts { tools: 9, ..facts("extract") }, &policy), "nano");
    assert_eq!(started(&Facts { input_tokens: 9_000, ..facts("extract") }, &policy), "mini");
    assert_eq!(started(&facts("debug"), &policy), "mini");
}

#[test]
fn nano_is_passed_over_for_a_second_tool_or_long_input_and_says_so() {
    let two_tools = start(&Facts { tools: 2, ..facts("extract") }, &usual()).unwrap();
    assert_eq!(two_tools.why, "extract starts here by default; not nano: 2 tools, it takes 1");
    let long = start(&Facts { input_tokens: 9_000, ..facts("extract") }, &usual()).unwrap();
    assert_eq!(long.tier.as_str(), "mini");
    let longer = start(&Facts { input_tokens: 40_000, ..facts("extract") }, &usual()).unwrap();
    assert_eq!(longer.tier.as_str(), "flagship");
    assert_eq!(longer.skipped.len(), 2);
}

#[test]
fn the_plan_wins_over_configuration_and_configuration_over_the_table() {
    let mut policy = usual();
    policy.routes.insert(TaskType::Classify, RouteTo::Tier(tier("mini")));
    assert_eq!(started(&facts("classify"), &policy), "mini");
    let named = Facts { tier: Some(tier("flagship")), ..facts("classify") };
    assert_eq!(started(&named, &policy), "flagship");
    let ladder = Facts { ladder: vec![tier("nano"), tier("flagship")], ..facts("debug") };
    assert_eq!(start(&ladder, &policy).unwrap().ladder, [tier("nano"), tier("flagship")]);
    let one = start(&Facts { model: Some(model("q/own")), ..facts("classify") }, &policy).unwrap();
    assert_eq!((one.model.as_str(), one.ladder.len(), one.pinned), ("q/own", 1, true));
    assert!(one.models(&one.tier, &policy).1.is_empty());
}

#[test]
fn a_configured_model_serves_its_rung_and_failures_climb_past_it() {
    let mut policy = usual();
    policy.routes.insert(TaskType::Classify, RouteTo::Model(model("local/small")));
    let route = start(&facts("classify"), &policy).unwrap();
    assert_eq!((route.tier.as_str(), route.model.as_str()), ("nano", "local/small"));
    assert_eq!(route.models(&tier("mini"), &policy).0.as_str(), "p/mini-model");
}

#[test]
fn unknown_tiers_are_refused_with_the_known_ones() {
    let stuck = start(&Facts { tier: Some(tier("huge")), ..facts("classify") }, &usual()).unwrap_err();
    assert_eq!(stuck.to_string(), "no such tier: huge; configured are nano, mini, flagship");
}

#[test]
fn ladders_with_other_names_are_used_by_place() {
    let ladder = policy_of(&["tiny", "small", "large"]);
    for (kind, expected) in [("classify", "tiny"), ("search", "small"), ("merge", "large")] {
        assert_eq!(started(&facts(kind), &ladder), expected);
    }
    assert_eq!(started(&facts("merge"), &policy_of(&["only"])), "only");
    assert_eq!(started(&facts("search"), &policy_of(&["nano", "flagship"])), "flagship");
    assert_eq!(started(&facts("classify"), &policy_of(&["mini", "flagship"])), "mini");
}

#[test]
fn deadline_and_cost_filter_rungs_and_explain_themselves() {
    let estimate = |usd: &str, ms| Estimate { cost: NanoUsd::parse_usd(usd).unwrap(), duration: Millis(ms) };
    let estimates: BTreeMap<_, _> =
        [("nano", estimate("0.001", 500)), ("mini", estimate("0.01", 4_000)), ("flagship", estimate("0.2", 20_000))]
            .map(|(t, e)| (tier(t), e))
            .into();
    let cheap = Facts { max_cost: NanoUsd::parse_usd("0.05"), estimates: estimates.clone(), ..facts("search") };
    let route = start(&cheap, &usual()).unwrap();
    assert_eq!(route.ladder, [tier("mini")]);
    assert_eq!(route.skipped[0].why, "would cost up to $0.2000, cap $0.0500");
    let quick = Facts { deadline: Some(Millis(1_000)), estimates: estimates.clone(), ..facts("search") };
    assert_eq!(started(&quick, &usual()), "nano");
    let explicit = Facts { tier: Some(tier("mini")), ..quick.clone() };
    assert!(matches!(start(&explicit, &usual()), Err(Stuck::NothingFits { .. })));
    let none = Facts { deadline: Some(Millis(1)), ..quick };
    let said = start(&none, &usual()).unwrap_err().to_string();
    assert!(said.starts_with("no tier fits: "), "{said}");
}

#[test]
fn executors_start_on_the_rung_they_were_given_and_still_not_below_what_it_bears() {
    let mut policy = usual();
    policy.roles.executor = Some(tier("nano"));
    assert_eq!(started(&facts("search"), &policy), "nano");
    assert_eq!(started(&facts("general"), &policy), "nano");
    assert_eq!(started(&facts("debug"), &policy), "mini", "nano never debugs");
    assert_eq!(started(&Facts { tools: 4, ..facts("search") }, &policy), "mini", "nano takes one tool");
    assert_eq!(started(&facts("merge"), &policy), "flagship", "a conflict is no usual work");
    policy.roles.executor = Some(tier("flagship"));
    assert_eq!(started(&facts("classify"), &policy), "flagship");
    policy.routes.insert(TaskType::Classify, RouteTo::Tier(tier("mini")));
    assert_eq!(started(&facts("classify"), &policy), "mini", "a type's own route is more specific");
}

#[test]
fn nothing_starts_above_the_bound_but_what_a_person_named_or_its_grounds_name() {
    let high = Facts { complexity: Complexity::High, ..facts("debug") };
    let mut policy = usual();
    policy.escalation.start_at_most = Some(tier("mini"));
    for (facts, expected) in [(facts("general"), "mini"), (facts("merge"), "mini"), (high.clone(), "mini"), (facts("rank"), "nano")] {
        assert_eq!(started(&facts, &policy), expected, "{}", facts.kind);
    }
    let named = Facts { tier: Some(tier("flagship")), ..facts("general") };
    assert_eq!(started(&named, &policy), "flagship");
    policy.escalation.only_on = Some([Ground::Complexity, Ground::Conflict].into());
    assert_eq!(started(&facts("general"), &policy), "mini");
    assert_eq!(started(&facts("merge"), &policy), "flagship");
    assert_eq!(started(&high, &policy), "flagship");
}

#[test]
fn a_failure_that_may_not_raise_a_tier_goes_to_the_planner_after_one_more_try() {
    let ladder = usual().ladder;
    let bounds = Bounds { max_attempts: 4, may_replan: true, may_rise: false };
    let mut tried = vec![Tried { tier: tier("mini"), failure: Failure::Check }];
    assert_eq!(after_failure(&tried, &ladder, bounds).next, Next::SameTierWithEvidence);
    tried.push(tried[0].clone());
    let decision = after_failure(&tried, &ladder, bounds);
    assert_eq!(decision.next, Next::AskPlanner);
    assert!(decision.why.contains("escalation.only_on raises no tier"), "{}", decision.why);
}

#[test]
fn a_failed_check_repeats_once_then_climbs_then_asks() {
    let route = start(&facts("classify"), &usual()).unwrap();
    let bounds = Bounds { max_attempts: 4, may_replan: true, may_rise: true };
    let mut tried = Vec::new();
    let mut seen = Vec::new();
    let mut here = route.tier.clone();
    loop {
        tried.push(Tried { tier: here.clone(), failure: Failure::Check });
        let decision = after_failure(&tried, &route.ladder, bounds);
        seen.push(decision.why.clone());
        match decision.next {
            Next::SameTierWithEvidence => {}
            Next::TierUp(up) => here = up,
            Next::AskPlanner | Next::AskPerson => break,
        }
    }
    assert_eq!(
        seen,
        [
            "a check failed: nano tries once more with the evidence",
            "a check failed on nano: mini takes over with the evidence",
            "a check failed on mini: flagship takes over with the evidence",
            "a check failed on flagship, and all 4 attempts are used: the planner decides",
        ]
    );
}

#[test]
fn a_loop_or_a_long_input_climbs_at_once_and_a_spent_planner_means_a_person() {
    let ladder = usual().ladder;
    let bounds = Bounds { max_attempts: 4, may_replan: false, may_rise: true };
    let one = |name, failure| [Tried { tier: tier(name), failure }];
    for failure in [Failure::Loop, Failure::ContextTooLong, Failure::Refusal, Failure::TooManyTurns, Failure::Length, Failure::Review] {
        assert_eq!(after_failure(&one("mini", failure), &ladder, bounds).next, Next::TierUp(tier("flagship")));
    }
    assert_eq!(after_failure(&one("flagship", Failure::Loop), &ladder, bounds).next, Next::AskPerson);
    assert_eq!(after_failure(&one("flagship", Failure::Review), &ladder, bounds).next, Next::SameTierWithEvidence);
    assert_eq!(after_failure(&[], &ladder, bounds).next, Next::AskPerson);
}

fn trouble(class: ErrorClass, tries: u32) -> Trouble {
    Trouble { class, tries, retry_after: None, alternates: 0, max_tries: 6, seed: 7 }
}

#[test]
fn hopeless_errors_get_one_attempt() {
    use ErrorClass as E;
    let table = [
        (E::QuotaExhausted, GiveUp::Quota),
        (E::Refused, GiveUp::Refused),
        (E::ContextTooLong, GiveUp::TooLong),
        (E::BadRequest, GiveUp::BadRequest),
        (E::ModelNotFound, GiveUp::NoModel),
        (E::Cancelled, GiveUp::Cancelled),
    ];
    for (class, expected) in table {
        assert_eq!(after_trouble(&trouble(class, 1), Timestamp(0)).repair, Repair::GiveUp(expected), "{class}");
    }
    let quota = Trouble { alternates: 3, ..trouble(E::QuotaExhausted, 1) };
    assert_eq!(after_trouble(&quota, Timestamp(0)).repair, Repair::GiveUp(GiveUp::Quota), "no fallback spend");
}

#[test]
fn a_stated_wait_is_kept_and_a_long_one_parks_the_run() {
    let told = Trouble { retry_after: Some(Millis(7_000)), ..trouble(ErrorClass::RateLimited, 1) };
    let Repair::Wait(until) = after_trouble(&told, Timestamp(1_000)).repair else { panic!("waits") };
    assert!((8_000..=9_750).contains(&until.0), "{until:?}");
    let long = Trouble { retry_after: Some(Millis(120_001)), ..told };
    assert_eq!(after_trouble(&long, Timestamp(0)).repair, Repair::GiveUp(GiveUp::Park { until: Some(Timestamp(120_001)) }));
    let elsewhere = Trouble { alternates: 1, ..long };
    assert_eq!(after_trouble(&elsewhere, Timestamp(0)).repair, Repair::Alternate);
}

#[test]
fn a_withdrawn_model_goes_to_its_alternate_and_lost_references_are_rebuilt_once() {
    let gone = Trouble { alternates: 1, ..trouble(ErrorClass::ModelNotFound, 1) };
    assert_eq!(after_trouble(&gone, Timestamp(0)).repair, Repair::Alternate);
    assert_eq!(after_trouble(&trouble(ErrorClass::LostReference, 1), Timestamp(0)).repair, Repair::Rebuild);
    assert_eq!(after_trouble(&trouble(ErrorClass::LostReference, 2), Timestamp(0)).repair, Repair::GiveUp(GiveUp::BadRequest));
}

fn any_failure() -> impl Strategy<Value = Failure> {
    prop::sample::select(vec![
        Failure::Check,
        Failure::Unsure,
        Failure::Form,
        Failure::Review,
        Failure::Length,
        Failure::TooManyTurns,
        Failure::Loop,
        Failure::ContextTooLong,
        Failure::Refusal,
    ])
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let shape = (
        prop::sample::select(TaskType::ALL.to_vec()),
        prop::sample::select(vec![Complexity::Low, Complexity::Medium, Complexity::High]),
        any::<bool>(),
        0u32..4,
        prop::option::of(0u32..6),
        0u64..50_000,
    );
    let asked = (
        prop::option::of(prop::sample::select(vec!["nano", "mini", "flagship"])),
        prop::option::of(0u64..10_000),
        prop::option::of(0u64..10_000),
        prop::collection::vec((0u64..10_000, 0u64..10_000), 3),
    );
    (shape, asked).prop_map(|((kind, complexity, multi_file, tools, tool_calls, input_tokens), (named, deadline, cap, estimates))| {
        let estimates = ["nano", "mini", "flagship"].iter().zip(estimates);
        Facts {
            kind,
            complexity,
            multi_file,
            tools,
            tool_calls,
            input_tokens,
            tier: named.map(tier),
            ladder: Vec::new(),
            model: None,
            deadline: deadline.map(Millis),
            max_cost: cap.map(NanoUsd),
            blind: Default::default(),
            estimates: estimates.map(|(t, (cost, ms))| (tier(t), Estimate { cost: NanoUsd(cost), duration: Millis(ms) })).collect(),
        }
    })
}

proptest! {
    #[test]
    fn never_below_an_explicit_tier_and_never_over_a_cap(facts in any_facts()) {
        let policy = usual();
        let at = |t: &Tier| policy.ladder.iter().position(|x| x == t);
        if let Ok(route) = start(&facts, &policy) {
            prop_assert_eq!(&route.ladder[0], &route.tier);
            prop_assert!(route.ladder.windows(2).all(|w| at(&w[0]) < at(&w[1])));
            prop_assert!(!route.why.is_empty());
            if let Some(named) = &facts.tier {
                prop_assert!(at(&route.tier) >= at(named));
            } else {
                prop_assert!(facts.kind != TaskType::Debug || route.tier.as_str() != "nano");
            }
            for rung in &route.ladder {
                let estimate = facts.estimates[rung];
                prop_assert!(facts.max_cost.is_none_or(|cap| estimate.cost <= cap));
                prop_assert!(facts.deadline.is_none_or(|most| estimate.duration <= most));
                prop_assert!(!route.skipped.iter().any(|s| s.tier == *rung));
            }
        }
    }

    #[test]
    fn more_work_never_starts_lower(facts in any_facts(), tools in 0u32..4, tokens in 0u64..50_000) {
        let policy = usual();
        let bare = Facts { deadline: None, max_cost: None, ..facts };
        let more = Facts { tools: bare.tools + tools, input_tokens: bare.input_tokens + tokens, complexity: Complexity::High, ..bare.clone() };
        let at = |f: &Facts| start(f, &policy).ok().and_then(|r| policy.ladder.iter().position(|t| *t == r.tier));
        prop_assert!(at(&bare) <= at(&more));
    }

    #[test]
    fn every_ladder_ends_and_no_tier_is_tried_three_times(
        failures in prop::collection::vec(any_failure(), 64), rungs in 1usize..10, max_attempts in 1u32..100, may_replan: bool, may_rise: bool,
    ) {
        let ladder: Vec<Tier> = (0..rungs).map(|n| tier(&format!("t{n}"))).collect();
        let bounds = Bounds { max_attempts, may_replan, may_rise };
        let mut tried: Vec<Tried> = Vec::new();
        let mut here = ladder[0].clone();
        for failure in failures {
            tried.push(Tried { tier: here.clone(), failure });
            let decision = after_failure(&tried, &ladder, bounds);
            prop_assert!(!decision.why.is_empty());
            match decision.next {
                Next::SameTierWithEvidence => {}
                Next::TierUp(up) => {
                    let at = |t: &Tier| ladder.iter().position(|x| x == t);
                    prop_assert_eq!(at(&up), at(&here).map(|n| n + 1));
                    here = up;
                }
                Next::AskPlanner | Next::AskPerson => {
                    prop_assert_eq!(decision.next == Next::AskPlanner, may_replan);
                    prop_assert!(ladder.iter().all(|t| tried.iter().filter(|x| x.tier == *t).count() <= 2));
                    prop_assert!(tried.len() <= max_attempts as usize);
                    return Ok(());
                }
            }
        }
        prop_assert!(false, "climbed forever: {:?}", tried.len());
    }

    #[test]
    fn waits_are_bounded_deterministic_and_end(seed: u64, class in prop::sample::select(vec![
        ErrorClass::RateLimited, ErrorClass::Overloaded, ErrorClass::Server, ErrorClass::Unreachable,
        ErrorClass::CutStream, ErrorClass::TimedOut, ErrorClass::Garbage,
    ]), max_tries in 1u32..100, told in prop::option::of(0u64..200_000)) {
        for tries in 1..=max_tries {
            let trouble = Trouble { class, tries, retry_after: told.map(Millis), alternates: 0, max_tries, seed };
            let remedy = after_trouble(&trouble, Timestamp(50));
            prop_assert_eq!(&remedy, &after_trouble(&trouble, Timestamp(50)));
            match remedy.repair {
                Repair::Wait(until) => {
                    prop_assert!(tries < max_tries);
                    let waited = until.0 - 50;
                    match told.filter(|t| *t > 0) {
                        Some(told) => prop_assert!(waited >= told && waited <= told + 2_000),
                        None => {
                            let whole = (500u64 << (tries - 1).min(20)).min(8_000);
                            prop_assert!(waited <= whole && waited >= whole - whole / 4);
                        }
                    }
                }
                Repair::GiveUp(_) => prop_assert!(tries == max_tries || told.is_some_and(|t| t > 120_000)),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
