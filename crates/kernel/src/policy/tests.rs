use proptest::prelude::*;

use super::*;
use crate::call::Service;
use crate::time::Millis;
use crate::units::{NanoUsd, QuotaUnits};

fn tier(name: &str) -> Tier {
    Tier::new(name).unwrap()
}

fn catalog() -> Vec<Rung> {
    let model = |n: &str| ModelRef::new(&format!("p/{n}-model")).unwrap();
    ["nano", "mini", "flagship"].iter().map(|n| (tier(n), model(n)).into()).collect()
}

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    for (key, value) in pairs {
        settings.set(key, &Setting::from(*value)).unwrap();
    }
    settings
}

fn said(key: &str, value: &str) -> String {
    Settings::default().set(key, &Setting::from(value)).unwrap_err().to_string()
}

#[test]
fn without_settings_the_defaults_are_the_designs() {
    let policy = Settings::default().finish(&catalog()).unwrap();
    assert_eq!(policy, Policy::standard(catalog().into_iter().map(|rung| (rung.tier, rung.model))));
    assert_eq!(policy.tiers["nano"].max_context_tokens, Some(8_000));
    assert_eq!(policy.tiers["mini"].max_context_tokens, Some(32_000));
    assert_eq!(policy.tiers["flagship"].max_context_tokens, None);
    assert_eq!(policy.budget.run_usd.usd(), "5");
    assert_eq!((policy.limits.max_attempts, policy.limits.max_replans, policy.limits.max_subtasks), (4, 3, 10_000));
    assert_eq!((policy.planner().as_str(), policy.reviewer().as_str()), ("flagship", "flagship"));
    assert_eq!(policy.limits.output_tokens.of(Role::Executor, true), 8_000);
}

/// A value that each kind takes and that is no default.
fn sample(kind: Kind) -> &'static str {
    match kind {
        Kind::Tier => "mini",
        Kind::Tiers => "nano,mini",
        Kind::Model | Kind::Models | Kind::Route => "other/model",
        Kind::Effort | Kind::Verbosity => "high",
        Kind::Count { .. } | Kind::MaybeCount { .. } => "999",
        Kind::Usd | Kind::MaybeUsd => "7.25",
        Kind::Span | Kind::MaybeSpan => "77s",
        Kind::Slots => "9",
        Kind::Types => "debug, rank",
        Kind::MaybeTier => "mini",
        Kind::Grounds => "check,conflict",
        Kind::Switch => "false",
        Kind::Share => "0.125",
        Kind::MaybeRetention => "24h",
        Kind::MaybeUnits | Kind::Weight => "7.5",
        Kind::Text => "Be brief.",
    }
}

#[test]
fn every_listed_key_changes_the_policy() {
    let plain = Policy::standard(catalog().into_iter().map(|rung| (rung.tier, rung.model)));
    for key in KEYS {
        let free =
            if ["tiers.", "limits.tiers.", "quota.weights."].iter().any(|tiers| key.name.starts_with(tiers)) { "mini" } else { "classify" };
        let name = key.name.replace('*', free);
        let value = if key.name == "limits.max_attempts" { "9" } else { sample(key.kind) };
        let small = ["limits.max_tries", "hedging.percentile", "hedging.min_samples"].contains(&key.name);
        let value = if key.name.contains("max_review") || small { "77" } else { value };
        let value = if ["tiers.*.hedge", "service.batch", "limits.spill"].contains(&key.name) { "true" } else { value };
        // A window is a span and units: neither means anything alone.
        let other = match name.strip_prefix("quota.").and_then(|rest| rest.rsplit('.').next()) {
            Some("window") => Some((name.trim_end_matches("window").to_owned() + "units", "8")),
            Some("units") => Some((name.trim_end_matches("units").to_owned() + "window", "9s")),
            _ => None,
        };
        let pairs = other.iter().map(|(key, value)| (key.as_str(), *value)).chain([(name.as_str(), value)]);
        let policy = settings(&pairs.collect::<Vec<_>>()).finish(&catalog()).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_ne!(policy, plain, "{name} is parsed and ignored");
        assert_ne!(policy.hash(), plain.hash(), "{name}");
    }
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    assert_eq!(said("limits.max_atempts", "4"), "unknown key limits.max_atempts; did you mean limits.max_attempts?");
    assert_eq!(said("limit.max_replans", "4"), "unknown key limit.max_replans; did you mean limits.max_replans?");
    assert_eq!(said("tiers.big.modell", "x"), "unknown key tiers.big.modell; did you mean tiers.big.model?");
    assert_eq!(said("routes.clasify", "nano"), "unknown key routes.clasify; did you mean routes.classify?");
    assert_eq!(said("entirely.different", "x"), "unknown key entirely.different");
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for key in ["quality.classify", "shadow.rate", "limits.hedging"] {
        assert_eq!(said(key, "1"), format!("not supported yet: {key}"));
    }
    let empty = Settings::default().set("shadow", &Setting::Empty).unwrap_err();
    assert_eq!(empty.to_string(), "not supported yet: shadow");
}

#[test]
fn bad_values_name_key_value_and_remedy() {
    assert_eq!(said("limits.max_attempts", "0"), "limits.max_attempts = \"0\": use a whole number from 1 to 100");
    assert_eq!(said("effort.planner", "lots"), "effort.planner = \"lots\": use one of none, minimal, low, medium, high, xhigh, max");
    for amount in ["0", "-1", "nan", "inf", "1e308", "0.0000000001", "5 dollars", ""] {
        assert!(said("budget.run_usd", amount).contains("use dollars above 0"), "{amount}");
    }
    assert!(said("tiers.mini.model", "no-provider").ends_with("use \"PROVIDER/MODEL\""));
    assert!(said("tiers.Big One.model", "p/m").contains("is not a name"));
    let list = Settings::default().set("limits.max_attempts", &Setting::List(vec!["1".into()])).unwrap_err();
    assert!(list.to_string().contains("use one value"));
}

#[test]
fn money_is_exact() {
    let policy = settings(&[("budget.run_usd", "0.100000001"), ("budget.confirm_above_usd", "1_000.5")]).finish(&catalog()).unwrap();
    assert_eq!(policy.budget.run_usd, NanoUsd(100_000_001));
    assert_eq!(policy.budget.confirm_above_usd, Some(NanoUsd(1_000_500_000_000)));
}

#[test]
fn a_ladder_of_other_tiers_needs_their_models() {
    let named = settings(&[("ladder", "small,large"), ("tiers.small.model", "local/a"), ("tiers.large.model", "local/b")]);
    let policy = named.finish(&catalog()).unwrap();
    assert_eq!((policy.ladder.len(), policy.planner().as_str()), (2, "large"));
    let missing = settings(&[("ladder", "small,large"), ("tiers.small.model", "local/a")]).finish(&catalog()).unwrap_err();
    assert!(missing.to_string().starts_with("tiers.large.model = (absent)"), "{missing}");
    let stray = settings(&[("tiers.small.model", "local/a")]).finish(&catalog()).unwrap_err();
    assert!(stray.to_string().contains("give the order"), "{stray}");
    let lone = settings(&[("tiers.small.model", "local/a")]).finish(&[]).unwrap();
    assert_eq!(lone.ladder, [tier("small")]);
    let unused = settings(&[("ladder", "nano,mini"), ("tiers.flagship.effort", "high")]).finish(&catalog()).unwrap_err();
    assert!(unused.to_string().contains("put flagship on the ladder"), "{unused}");
    let none = Settings::default().finish(&[]).unwrap_err();
    assert!(none.to_string().contains("name at least one tier"), "{none}");
}

#[test]
fn the_catalogs_words_on_a_tier_hold_until_a_setting_says_otherwise() {
    let mut rungs = catalog();
    rungs[0].max_context_tokens = Some(8_192);
    rungs[2].effort = Some(Effort::Medium);
    let policy = settings(&[("tiers.flagship.effort", "high")]).finish(&rungs).unwrap();
    assert_eq!(policy.tiers["nano"].max_context_tokens, Some(8_192));
    assert_eq!(policy.tiers["mini"].max_context_tokens, Some(32_000));
    assert_eq!(policy.tiers["flagship"].effort, Some(Effort::High));
}

#[test]
fn what_is_shown_of_a_policy_makes_the_same_policy() {
    let pairs = [
        ("limits.max_concurrent_subagents", "12"),
        ("tiers.mini.alternates", "p/b,p/c"),
        ("routes.rank", "other/model"),
        ("budget.confirm_above_usd", "0.5"),
        ("roles.planner", "mini"),
        ("roles.reviewer", "flagship"),
        ("roles.executor", "nano"),
        ("escalation.start_at_most", "mini"),
        ("escalation.only_on", "form,check"),
        ("additions.planner", "You plan."),
        ("prompt_cache.executor", "false"),
        ("quota.window", "5h"),
        ("quota.units", "300.5"),
        ("quota.windows.week.window", "7d"),
        ("quota.windows.week.units", "2000"),
        ("quota.weights.mini", "0.3"),
    ];
    let policy = settings(&pairs).finish(&catalog()).unwrap();
    let mut again = Settings::default();
    for (key, value) in policy.entries() {
        again.set(&key, &Setting::from(value.as_str())).unwrap_or_else(|fault| panic!("{fault}"));
    }
    assert_eq!(again.finish(&catalog()).unwrap(), policy);
    let shown: Vec<String> = policy.entries().into_iter().map(|(key, _)| key).collect();
    for key in KEYS.iter().filter(|key| !key.name.contains('*')) {
        assert!(shown.iter().any(|k| k == key.name), "{} is not shown", key.name);
    }
}

#[test]
fn roles_and_routes_must_be_on_the_ladder() {
    for key in ["roles.planner", "roles.executor", "escalation.start_at_most", "routes.classify", "ladders.classify"] {
        let fault = settings(&[(key, "huge")]).finish(&catalog()).unwrap_err();
        assert!(fault.to_string().contains("no such tier: use one of nano, mini, flagship"), "{fault}");
    }
}

#[test]
fn a_quota_window_is_a_span_and_units() {
    let half = settings(&[("quota.units", "300")]).finish(&catalog()).unwrap_err().to_string();
    assert_eq!(half, "quota.window = (absent): write both, e.g. window = \"5h\"");
    let half = settings(&[("quota.windows.week.window", "7d")]).finish(&catalog()).unwrap_err().to_string();
    assert!(half.starts_with("quota.windows.week.units = (absent)"), "{half}");
    let gone = settings(&[("quota.units", "300"), ("quota.window", "none")]).finish(&catalog()).unwrap();
    assert!(gone.quota.is_empty());
    let stray = settings(&[("quota.weights.huge", "1")]).finish(&catalog()).unwrap_err().to_string();
    assert!(stray.contains("no such tier: use one of nano, mini, flagship"), "{stray}");
    assert!(said("quota.units", "0").contains("use units above 0"));
    assert!(said("quota.windows.main.units", "5").contains("choose another name"));
    assert!(said("quota.windows.A b.units", "5").contains("name a window with"));
    assert!(said("quota.weights.mini", "1001").contains("a weight from 0 to 1000"));
}

#[test]
fn a_call_weighs_what_its_tier_does_and_twice_that_when_it_is_to_be_fast() {
    let model = ModelRef::new("p/any").unwrap();
    let plain = Policy::standard(catalog().into_iter().map(|rung| (rung.tier, rung.model)));
    assert_eq!(plain.units_of(&tier("mini"), &model, Service::Default), QuotaUnits(0));
    let quota = [("quota.window", "5h"), ("quota.units", "50"), ("quota.weights.mini", "0.3")];
    let mut policy = settings(&quota).finish(&catalog()).unwrap();
    assert_eq!(policy.units_of(&tier("mini"), &model, Service::Default), QuotaUnits(300));
    assert_eq!(policy.units_of(&tier("mini"), &model, Service::Priority), QuotaUnits(600));
    assert_eq!(policy.units_of(&tier("flagship"), &model, Service::Flex), QuotaUnits(1_000));
    // What an agent says of its own model is nearer to the truth than the tier's weight.
    let agent = AgentPolicy { units: [("own".to_owned(), QuotaUnits(700))].into(), ..AgentPolicy::default() };
    policy.agents.insert("p".to_owned(), agent);
    assert_eq!(policy.units_of(&tier("mini"), &ModelRef::new("p/own").unwrap(), Service::Default), QuotaUnits(700));
    assert_eq!(policy.units_of(&tier("mini"), &model, Service::Default), QuotaUnits(300));
}

#[test]
fn what_widens_a_quota_is_named() {
    let of = |pairs: &[(&str, &str)]| settings(pairs).finish(&catalog()).unwrap().quota;
    let bound = of(&[("quota.window", "5h"), ("quota.units", "50"), ("quota.weights.mini", "0.3")]);
    let with =
        |key, value| of(&[("quota.window", "5h"), ("quota.units", "50"), ("quota.weights.mini", "0.3"), (key, value)]).widens(&bound);
    for (key, value) in [
        ("quota.units", "51"),
        ("quota.window", "4h"),
        ("quota.window", "none"),
        ("quota.weights.mini", "0.2"),
        ("quota.weights.nano", "0.9"),
    ] {
        let named = if value == "none" { "quota.window" } else { key };
        assert_eq!(with(key, value).as_deref(), Some(named), "{key} = {value}");
    }
    for (key, value) in [("quota.units", "49"), ("quota.window", "6h"), ("quota.weights.mini", "0.4"), ("quota.weights.nano", "1")] {
        assert_eq!(with(key, value), None, "{key} = {value}");
    }
    assert_eq!(
        of(&[
            ("quota.windows.day.window", "1d"),
            ("quota.windows.day.units", "5"),
            ("quota.window", "5h"),
            ("quota.units", "50"),
            ("quota.weights.mini", "0.3")
        ])
        .widens(&bound),
        None
    );
    assert_eq!(bound.widens(&QuotaPolicy::default()), None);
}

#[test]
fn effort_is_the_types_then_the_tiers_then_the_roles() {
    let policy =
        settings(&[("effort.debug", "high"), ("tiers.mini.effort", "none"), ("effort.executor", "medium")]).finish(&catalog()).unwrap();
    let of = |kind, on: &str| policy.effort(Role::Executor, Some(kind), &tier(on));
    assert_eq!(of(TaskType::Debug, "mini"), Effort::High);
    assert_eq!(of(TaskType::Search, "mini"), Effort::None);
    assert_eq!(of(TaskType::Search, "nano"), Effort::Medium);
    let plain = Policy::standard(catalog().into_iter().map(|rung| (rung.tier, rung.model)));
    assert_eq!(plain.effort(Role::Planner, None, &tier("flagship")), Effort::Medium);
    assert_eq!(plain.effort(Role::Executor, Some(TaskType::Rank), &tier("nano")), Effort::Low);
}

#[test]
fn a_policy_survives_the_journal() {
    let pairs = [
        ("limits.max_concurrent_subagents", "12"),
        ("limits.subtask_deadline", "15m"),
        ("prompts.planner", "Plan."),
        ("routes.rank", "other/model"),
        ("effort.label", "low"),
    ];
    let policy = settings(&pairs).finish(&catalog()).unwrap();
    let text = serde_json::to_string(&policy).unwrap();
    let back: Policy = serde_json::from_str(&text).unwrap();
    assert_eq!(back, policy);
    assert_eq!(back.hash(), policy.hash());
    assert_eq!(back.limits.subtask, Some(Millis(900_000)));
    assert_eq!(back.limits.max_concurrent_subagents, Slots::At(12));
    assert_eq!(back.effort[&Who::Type(TaskType::Classify)], Effort::Low);
}

proptest! {
    #[test]
    fn no_key_and_no_value_panics(key in "[a-z_.*]{0,40}|[^\n]{0,40}|(limits|budget|tiers|routes)\\.[a-z_.]{0,30}", value in "\\PC{0,40}") {
        let mut settings = Settings::default();
        let _ = settings.set(&key, &Setting::from(value.as_str()));
        let _ = settings.finish(&catalog());
    }

    #[test]
    fn any_value_of_a_known_key_is_taken_or_refused_by_its_name(n in 0..KEYS.len(), value in "[0-9._a-z/,-]{0,20}") {
        let name = KEYS[n].name.replace('*', "classify");
        if let Err(fault) = Settings::default().set(&name, &Setting::from(value.as_str())) {
            prop_assert!(fault.to_string().starts_with(&name), "{fault}");
        }
    }
}

#[test]
fn a_share_is_read_to_the_thousandth_and_no_further() {
    for (text, share) in [("0", 0), ("0.05", 50), (".5", 500), ("1", 1_000), ("1.000", 1_000), ("0.125", 125)] {
        assert_eq!(Share::parse(text), Some(Share(share)), "{text}");
    }
    for text in ["", ".", "1.001", "2", "0.0001", "-0", "5%", "1e-2", "01"] {
        assert_eq!(Share::parse(text), None, "{text}");
    }
}

#[test]
fn a_tiers_own_deadlines_stand_in_for_all_others() {
    let policy = settings(&[("limits.call_deadline", "50s"), ("tiers.mini.call_deadline", "7s"), ("tiers.nano.idle_deadline", "3s")]);
    let policy = policy.finish(&catalog()).unwrap();
    let of = |tier: &str| policy.deadlines(&Tier::new(tier).unwrap());
    assert_eq!((of("mini").total.0, of("nano").total.0, of("flagship").total.0), (7_000, 50_000, 50_000));
    assert_eq!((of("nano").idle.0, of("mini").idle), (3_000, policy.limits.call.idle));
}
