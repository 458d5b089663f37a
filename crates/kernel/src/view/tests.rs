use super::context::Contexts;
use super::cost::Bill;
use super::history::{Digest, History, Stats};
use super::timeline::{Folding, Line, Who};
use crate::call::{End, Item};
use crate::context::PartReceipt;
use crate::ids::{ModelRef, SubtaskId, Tier};
use crate::plan::{Subtask, TaskType};
use crate::policy::Who as Whose;
use crate::run::{CallNo, CallResult, Caller, Ending, Event, GatheredPart, Stamped, SubtaskStatus, Unit, Verdict};
use crate::time::{Millis, Timestamp};
use crate::tool::ToolOutput;
use crate::units::{NanoUsd, QuotaUnits};
use crate::usage::Usage;

fn id(name: &str) -> SubtaskId {
    SubtaskId::new(name).unwrap()
}

fn unit(name: &str, row: Option<u64>) -> Unit {
    Unit { subtask: id(name), row }
}

fn at(ms: u64, event: Event) -> Stamped {
    Stamped { at: Timestamp(1_000_000 + ms), event }
}

fn planned(name: &str, deps: &[&str]) -> Event {
    let mut subtask = Subtask::new(id(name));
    subtask.depends_on = deps.iter().map(|d| id(d)).collect();
    Event::PlanSubtask { subtask: Box::new(subtask), streamed: false }
}

fn called(call: u64, caller: Caller, tier: &str) -> Event {
    Event::CallStarted {
        call: CallNo(call),
        caller,
        tier: Tier::new(tier).unwrap(),
        model: ModelRef::new("openai/m").unwrap(),
        lease_usd: NanoUsd(900),
        lease_tokens: 10,
        max_output_tokens: 5,
        units: QuotaUnits::default(),
        home: None,
        hedge_of: None,
        opening: Vec::new(),
    }
}

fn answered(call: u64, ms: u64, cost: u64, sent: bool) -> Event {
    Event::CallEnded {
        call: CallNo(call),
        result: CallResult::Lost,
        usage: Some(Usage { input_tokens: 7, ..Usage::default() }),
        cost_usd: NanoUsd(cost),
        flagship_usd: NanoUsd(cost * 4),
        sent,
        ms: Millis(ms),
        first_ms: None,
    }
}

fn executor(name: &str, row: Option<u64>) -> Caller {
    Caller::Executor { unit: unit(name, row), attempt: 1 }
}

fn ended(name: &str, row: Option<u64>) -> Event {
    Event::SubtaskEnded {
        unit: unit(name, row),
        status: SubtaskStatus::Done,
        kind: TaskType::General,
        output: String::new(),
        tier: None,
        model: None,
        attempts: 1,
        cost_usd: NanoUsd::ZERO,
        error: None,
        reused_from: None,
        change: None,
    }
}

fn checked(name: &str, ms: u64) -> Event {
    Event::CheckEnded {
        unit: unit(name, None),
        attempt: 1,
        tier: Tier::new("nano").unwrap(),
        model: ModelRef::new("openai/m").unwrap(),
        check: "schema".to_owned(),
        verdict: Verdict::Pass,
        evidence: String::new(),
        reused_from: None,
        ms: Millis(ms),
    }
}

#[test]
fn a_bill_sums_alike_by_tier_by_role_and_in_total() {
    let mut bill = Bill::default();
    for event in [
        called(1, Caller::Planner, "flagship"),
        answered(1, 5, 100, true),
        called(2, executor("a", None), "nano"),
        called(3, executor("a", None), "mini"),
        answered(3, 5, 20, true),
        answered(2, 5, 3, true),
        called(4, executor("b", None), "nano"),
        answered(4, 5, 50, false),
        called(5, Caller::Reviewer, "flagship"),
    ] {
        bill.saw(&event);
    }
    assert_eq!(bill.total.cost, NanoUsd(123));
    assert_eq!(bill.total.calls, 3, "a call that never left costs nothing");
    assert_eq!(bill.tiers.values().map(|s| s.cost).sum::<NanoUsd>(), bill.total.cost);
    assert_eq!(bill.roles.values().map(|s| s.cost).sum::<NanoUsd>(), bill.total.cost);
    assert_eq!(bill.subtasks[&id("a")].cost, NanoUsd(23));
    assert!(!bill.subtasks.contains_key(&id("b")));
    assert_eq!(bill.in_flight(), (1, NanoUsd(900)));
    assert_eq!(bill.total.saving(), Some(0.75));
}

fn line<'a>(lines: &'a [Line], name: &str) -> &'a Line {
    lines.iter().find(|l| l.who == Who::Subtask(id(name))).unwrap()
}

#[test]
fn time_of_a_subtask_is_model_tool_check_and_queue() {
    let mut fold = Folding::default();
    for (ms, event) in [
        (0, planned("a", &[])),
        (0, planned("b", &[])),
        (0, planned("c", &["a", "b"])),
        (10, called(1, executor("a", None), "nano")),
        (10, called(2, executor("b", None), "nano")),
        (40, answered(1, 30, 1, true)),
        (40, ended("a", None)),
        (90, answered(2, 80, 1, true)),
        (100, checked("b", 10)),
        (100, ended("b", None)),
        (120, called(3, executor("c", None), "nano")),
        (150, answered(3, 30, 1, true)),
        (150, ended("c", None)),
    ] {
        fold.saw(&at(ms, event));
    }
    let timeline = fold.timeline();
    assert_eq!(timeline.wall, Millis(150));
    let (a, b, c) = (line(&timeline.lines, "a"), line(&timeline.lines, "b"), line(&timeline.lines, "c"));
    assert_eq!((b.model, b.check, b.queue), (Millis(80), Millis(10), Some(Millis(10))));
    assert_eq!((c.ready, c.from, c.to, c.queue), (Millis(100), Millis(120), Millis(150), Some(Millis(20))));
    assert_eq!((a.critical, b.critical, c.critical), (false, true, true), "the path goes through what was waited for last");
}

#[test]
fn rows_share_a_line_that_claims_no_queue() {
    let mut fold = Folding::default();
    fold.saw(&at(0, planned("each", &[])));
    for row in 0..3 {
        fold.saw(&at(1, called(row + 1, executor("each", Some(row)), "nano")));
    }
    for row in 0..3 {
        fold.saw(&at(50, answered(row + 1, 49, 1, true)));
        fold.saw(&at(50, ended("each", Some(row))));
    }
    let timeline = fold.timeline();
    let each = line(&timeline.lines, "each");
    assert_eq!((each.rows, each.model, each.queue, each.to), (3, Millis(147), None, Millis(50)));
}

fn part(name: &str, bytes: u64, trimmed: u64) -> PartReceipt {
    PartReceipt { name: name.to_owned(), bytes, trimmed }
}

/// An attempt of `name` that is shown `task` and so many files, uses a tool, and answers.
fn worked(contexts: &mut Contexts, call: u64, name: &str, row: Option<u64>, files: &[(&str, &str, u64)]) {
    let (unit, tier, model) = (unit(name, row), Tier::new("mini").unwrap(), ModelRef::new("openai/m").unwrap());
    let began = Event::AttemptStarted { unit: unit.clone(), attempt: 1, tier: tier.clone(), model: model.clone(), why: String::new() };
    let parts =
        files.iter().map(|(path, blob, bytes)| GatheredPart { path: (*path).into(), blob: (*blob).into(), bytes: *bytes }).collect();
    let gathered =
        Event::ContextGathered { unit: unit.clone(), parts, images: Vec::new(), tree: None, start: Vec::new(), conflicts: Vec::new() };
    let mut opening = vec![part("rules", 400, 0), part("tools", 100, 0), part("task", 40, 0)];
    opening.extend(files.iter().map(|(path, _, bytes)| part(&format!("file {path}"), bytes / 2, bytes / 2)));
    let caller = Caller::Executor { unit: unit.clone(), attempt: 1 };
    let started = |n: u64, parts: Vec<PartReceipt>| match called(n, caller.clone(), "mini") {
        Event::CallStarted { call, caller, tier, model, lease_usd, lease_tokens, max_output_tokens, units, home, hedge_of, .. } => {
            let opening = parts;
            Event::CallStarted { call, caller, tier, model, lease_usd, lease_tokens, max_output_tokens, units, home, hedge_of, opening }
        }
        other => other,
    };
    let said = |n: u64, text: &str, items: Vec<Item>| {
        let result = CallResult::Answered { text: text.into(), refusal: None, items, end: End::Completed, model: None, service: None };
        let usage = Some(Usage { input_tokens: 200, cached_tokens: 50, ..Usage::default() });
        let (cost_usd, ms) = (NanoUsd::ZERO, Millis(1));
        Event::CallEnded { call: CallNo(n), result, usage, cost_usd, flagship_usd: cost_usd, sent: true, ms, first_ms: None }
    };
    let asks = Item::ToolCall { call_id: "c1".into(), name: "search".into(), arguments: "0123456789".into() };
    let output = ToolOutput { ok: true, output: "x".repeat(98), ..ToolOutput::default() };
    let events = [
        began,
        gathered,
        started(call, opening),
        said(call, "", vec![asks]),
        Event::ToolEnded {
            unit: unit.clone(),
            attempt: 1,
            call_id: "c1".into(),
            name: "search".into(),
            output,
            saved: None,
            tree: None,
            touched: None,
            ms: Millis(1),
        },
        started(call + 1, Vec::new()),
        said(call + 1, "twenty bytes of text", Vec::new()),
        Event::AttemptEnded {
            unit,
            attempt: 1,
            tier,
            model,
            ending: Ending::Done,
            failure: None,
            accepted: true,
            reason: String::new(),
            cost_usd: NanoUsd::ZERO,
            usage: Usage::default(),
        },
    ];
    events.iter().for_each(|event| contexts.saw(event));
}

#[test]
fn full_history_holds_everything_once_and_whole() {
    let mut contexts = Contexts::of(unit("b", None));
    let plan = [planned("a", &[]), planned("b", &["a"])];
    let said: u64 = plan
        .iter()
        .map(|e| if let Event::PlanSubtask { subtask, .. } = e { serde_json::to_vec(subtask).unwrap().len() as u64 } else { 0 })
        .sum();
    plan.iter().for_each(|event| contexts.saw(event));
    worked(&mut contexts, 1, "a", None, &[("x", "1", 1_000), ("y", "1", 300)]);
    // `b` sees x as it was, and y changed.
    worked(&mut contexts, 3, "b", None, &[("x", "1", 1_000), ("y", "2", 310)]);
    let contexts = contexts.finish();
    let shown = &contexts.shown[0];
    let turns = (2 + 6 + 10) + (2 + 98);
    assert_eq!(shown.bytes(), 400 + 100 + 40 + 500 + 155 + turns);
    assert_eq!(shown.sent_bytes, 2 * shown.bytes() - turns);
    let of_a = turns + 20 + 1_000 + 300;
    assert_eq!(shown.full_bytes, 400 + 100 + said + of_a + 310 + turns);
    assert_eq!(shown.usage.unwrap().input_tokens, 400);
    assert_eq!((contexts.total().attempts, contexts.shown.len()), (2, 1));
}

#[test]
fn rows_are_history_once_each_by_what_they_add_to_the_description() {
    let mut contexts = Contexts::of(unit("a", Some(1)));
    let mut subtask = Subtask::new(id("a"));
    subtask.description = "d".repeat(25);
    let said = serde_json::to_vec(&subtask).unwrap().len() as u64;
    contexts.saw(&Event::PlanSubtask { subtask: Box::new(subtask), streamed: false });
    worked(&mut contexts, 1, "a", Some(0), &[]);
    worked(&mut contexts, 3, "a", Some(1), &[]);
    let (turns, row) = (118, 40 - 25);
    assert_eq!(contexts.shown[0].full_bytes, 500 + said + (row + turns + 20) + (row + turns));
}

/// An attempt that came to its end on a tier.
fn tried(name: &str, attempt: u32, tier: &str, accepted: bool) -> Event {
    Event::AttemptEnded {
        unit: unit(name, None),
        attempt,
        tier: Tier::new(tier).unwrap(),
        model: ModelRef::new("openai/m").unwrap(),
        ending: Ending::Done,
        failure: None,
        accepted,
        reason: String::new(),
        cost_usd: NanoUsd::ZERO,
        usage: Usage::default(),
    }
}

/// A subtask that fails on nano and is done on mini, the day after.
fn climbed() -> Vec<Stamped> {
    const DAY: u64 = 86_400_000;
    let up =
        Event::Escalated { unit: unit("a", None), from: Tier::new("nano").unwrap(), to: Tier::new("mini").unwrap(), why: String::new() };
    vec![
        at(0, planned("a", &[])),
        at(1, called(1, executor("a", None), "nano")),
        at(2, answered(1, 100, 10, true)),
        at(3, tried("a", 1, "nano", false)),
        at(DAY, up),
        at(DAY, called(2, executor("a", None), "mini")),
        at(DAY + 1, answered(2, 300, 40, true)),
        at(DAY + 2, tried("a", 2, "mini", true)),
        at(DAY + 3, ended("a", None)),
    ]
}

#[test]
fn statistics_stand_by_day_type_and_tier_and_add_up_to_the_bill() {
    let (mut digest, mut bill) = (Digest::default(), Bill::default());
    for event in climbed() {
        digest.saw(&event);
        bill.saw(&event.event);
    }
    let mut history = History::default();
    history.add(&digest);
    let general = Whose::Type(TaskType::General);
    let of = |tier: &str| history.of(None, general, &Tier::new(tier).unwrap()).unwrap().clone();
    let (nano, mini) = (of("nano"), of("mini"));
    assert_eq!((nano.firsts, nano.firsts_passed, nano.attempts, nano.escalated, nano.cost), (1, 0, 1, 1, NanoUsd(10)));
    assert_eq!((mini.firsts, mini.attempts, mini.passed, mini.pass_rate()), (0, 1, 1, None));
    let days: std::collections::BTreeSet<_> = digest.cells.keys().map(|cell| cell.day).collect();
    assert_eq!(days.len(), 2);
    let all = digest.since(crate::catalog::Day::FIRST);
    assert_eq!(
        (all.calls, all.tokens, all.cost, all.all_flagship),
        (bill.total.calls, bill.total.tokens, bill.total.cost, bill.total.all_flagship)
    );
    assert_eq!((all.accepted, digest.since(*days.last().unwrap()).cost), (1, NanoUsd(40)));
}

#[test]
fn statistics_put_away_at_any_event_go_on_as_if_they_had_not_been() {
    let whole = climbed().iter().fold(Digest::default(), |mut digest, event| {
        digest.saw(event);
        digest
    });
    for at in 0..climbed().len() {
        let mut digest = Digest::default();
        for (n, event) in climbed().iter().enumerate() {
            if n == at {
                digest = serde_json::from_slice(&serde_json::to_vec(&digest).unwrap()).unwrap();
            }
            digest.saw(event);
        }
        assert_eq!(digest, whole, "put away before event {at}");
    }
}

#[test]
fn what_is_opened_again_was_not_accepted() {
    let mut digest = Digest::default();
    let again = Event::Reopened { unit: unit("a", None), instructions: String::new(), onto: None };
    climbed().into_iter().chain([at(5, again), at(6, ended("a", None))]).for_each(|event| digest.saw(&event));
    assert_eq!(digest.since(crate::catalog::Day::FIRST).accepted, 1);
    assert_eq!(digest.cells.values().map(|stats| stats.accepted).sum::<u64>(), 1);
}

#[test]
fn statistics_of_two_runs_are_the_same_in_either_order() {
    let digests: Vec<Digest> = [climbed(), climbed().into_iter().take(4).collect()]
        .into_iter()
        .map(|events| {
            let mut digest = Digest::default();
            digest.pipeline = Some("p".to_owned());
            events.iter().for_each(|event| digest.saw(event));
            digest
        })
        .collect();
    let (mut forth, mut back) = (History::default(), History::default());
    digests.iter().for_each(|digest| forth.add(digest));
    digests.iter().rev().for_each(|digest| back.add(digest));
    assert_eq!(forth, back);
    let nano = Tier::new("nano").unwrap();
    let seen: &Stats = forth.of(Some("p"), Whose::Type(TaskType::General), &nano).unwrap();
    assert_eq!(seen.firsts, 2);
    assert_eq!(forth.of(Some("other"), Whose::Type(TaskType::General), &nano), Some(seen), "all runs stand in for a pipeline without any");
}
