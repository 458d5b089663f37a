use std::sync::Arc;

use super::*;
use crate::plan::{Author, Format, Known, check, parse};
use crate::tool::{Effect, ToolSpec};
use crate::view::history::{Cell, Digest, Stats};
use crate::view::sketch::Sketch;

fn policy() -> Policy {
    let rung = |tier: &str, model: &str| (Tier::new(tier).unwrap(), ModelRef::new(model).unwrap());
    Policy::standard([rung("nano", "openai/gpt-5.4-nano"), rung("mini", "openai/gpt-5.4-mini"), rung("flagship", "openai/gpt-5.4")])
}

fn tools() -> Arc<[ToolSpec]> {
    let search = ToolSpec {
        name: "search".to_owned(),
        description: "finds".to_owned(),
        parameters: json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false}).into(),
        effect: Effect::Repeatable,
        images: false,
    };
    vec![search].into()
}

fn plan(text: &str) -> Plan {
    let checked = check(&parse(text, Format::Toml, Author::Person), &Known::new(tools().iter()));
    checked.plan.unwrap_or_else(|| panic!("{:?}", checked.faults))
}

const MIXED: &str = r#"
[[subtasks]]
id = "find"
type = "search"
description = "Where is it?"
tools = ["search"]
files = ["src/**"]
[[subtasks]]
id = "label"
type = "classify"
description = "Which is {{find.output}}?"
[[subtasks]]
id = "maybe"
type = "summarize"
description = "Sum up {{label.output}}"
when = "{{label.output}} == 'yes'"
"#;

const ROWS: &str = r#"
[[subtasks]]
id = "label"
type = "classify"
description = "Which is it?"
for_each = "input"
[[subtasks]]
id = "draft"
type = "summarize"
description = "Answer {{label.output}}"
for_each = "label"
"#;

fn priced(plan: &Plan, policy: &Policy, history: &History, rows: Option<InputRows>) -> Preview {
    let (catalog, tools) = (Arc::new(Catalog::built_in()), tools());
    let now = Timestamp(1_795_000_000_000);
    preview(&Priced { plan, policy, catalog: &catalog, tools: &tools, history, rows, now }).unwrap()
}

/// So many attempts of a type on a tier, each of two calls.
fn seen(kind: crate::plan::TaskType, tier: &str, attempts: u64, passed: u64) -> History {
    let mut sketch = Sketch::default();
    (0..attempts * 2).for_each(|_| sketch.add(2_000));
    let stats = Stats {
        calls: attempts * 2,
        tokens: Usage { input_tokens: attempts * 2 * 5_000, output_tokens: attempts * 2 * 700, ..Usage::default() },
        latency_ms: sketch.clone(),
        output_tokens: sketch,
        attempts,
        passed,
        firsts: attempts,
        firsts_passed: passed,
        ..Stats::default()
    };
    let mut digest = Digest::default();
    digest.cells.insert(Cell { day: Day::FIRST, who: Who::Type(kind), tier: Some(Tier::new(tier).unwrap()) }, stats);
    let mut history = History::default();
    history.add(&digest);
    history
}

#[test]
fn low_is_below_expected_and_expected_below_high_whatever_was_seen() {
    let mut tight = policy();
    tight.limits.max_concurrent_subagents = crate::policy::Slots::At(1);
    let rows = Some(InputRows { count: 300, bytes: 60_000 });
    let kind = crate::plan::TaskType::Classify;
    let histories = [History::default(), seen(kind, "nano", 40, 2), seen(kind, "nano", 3, 3), seen(kind, "flagship", 9, 9)];
    for (text, rows) in [(MIXED, None), (ROWS, rows), (ROWS, None)] {
        for policy in [&policy(), &tight] {
            for history in &histories {
                let preview = priced(&plan(text), policy, history, rows);
                for (less, more) in [(&preview.low, &preview.expected), (&preview.expected, &preview.high)] {
                    assert!(less.cost < more.cost && less.duration < more.duration, "{preview:?}");
                    assert!(less.calls.iter().zip(&more.calls).all(|(a, b)| a.0 == b.0 && a.1 <= b.1), "{preview:?}");
                }
                assert!(preview.low.cost > NanoUsd::ZERO, "{preview:?}");
            }
        }
    }
}

#[test]
fn what_was_seen_takes_the_place_of_assumptions_and_says_how_often() {
    let kind = crate::plan::TaskType::Classify;
    let (none, good, bad) = (History::default(), seen(kind, "nano", 50, 50), seen(kind, "nano", 50, 0));
    let of = |history: &History| priced(&plan(MIXED), &policy(), history, None);
    let (guess, good, bad) = (of(&none), of(&good), of(&bad));
    assert!(guess.seen.iter().all(|s| s.from == 0));
    assert_eq!(good.seen.iter().find(|s| s.who == Who::Type(kind)).unwrap().from, 50);
    assert!(good.expected.cost > guess.expected.cost, "calls were longer than assumed");
    assert!(bad.expected.cost > good.expected.cost, "what fails is done again, higher up");
    let on_mini = |preview: &Preview| preview.expected.calls[1].1;
    assert!(on_mini(&bad) > on_mini(&good), "{bad:?} {good:?}");
}

#[test]
fn rows_multiply_what_maps_over_them_and_nothing_else() {
    let with = |count: u64| priced(&plan(ROWS), &policy(), &History::default(), Some(InputRows { count, bytes: count * 400 }));
    let (one, many) = (with(1), with(1_000));
    let calls = |preview: &Preview| preview.low.calls.iter().map(|(_, n)| n).sum::<u64>();
    assert_eq!((calls(&one), calls(&many)), (2 + 1, 2_000 + 1), "the review is one call");
    assert_eq!(many.rows, Some(1_000));
    assert!(many.expected.cost.0 > one.expected.cost.0 * 100);
}

#[test]
fn the_worst_case_stops_at_the_cap_and_says_so() {
    let mut policy = policy();
    policy.budget.run_usd = NanoUsd::DOLLAR;
    let preview = priced(&plan(ROWS), &policy, &History::default(), Some(InputRows { count: 100_000, bytes: 1 << 24 }));
    assert!(preview.capped && preview.expected.cost > NanoUsd::DOLLAR && preview.high.cost >= preview.expected.cost, "{preview:?}");
    policy.budget.run_usd = NanoUsd(5 * NanoUsd::DOLLAR.0);
    let small = priced(&plan(MIXED), &policy, &History::default(), None);
    assert!(!small.capped && small.high.cost <= policy.budget.run_usd, "{small:?}");
}
