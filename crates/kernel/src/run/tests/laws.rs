//! Laws of a run under generated plans, answers, troubles and crashes.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::*;
use crate::budget::{Measure, Scope};
use crate::call::{Call, End, ErrorClass, Item};
use crate::context;
use crate::plan::ForEach;
use crate::policy::{Slots, Who};
use crate::run::*;
use crate::tool::ToolOutput;
use crate::units::NanoUsd;
use crate::usage::Usage;
use crate::view::context::Contexts;

/// Chance from a seed: every case can be played again.
#[derive(Clone)]
struct Dice(Rc<RefCell<u64>>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(seed | 1)))
    }
    fn roll(&self, sides: u64) -> u64 {
        let mut state = self.0.borrow_mut();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) % sides
    }
    fn chance(&self, percent: u64) -> bool {
        self.roll(100) < percent
    }
    fn pick<T: Clone>(&self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize].clone()
    }
}

/// How hostile the world is, in percent.
#[derive(Debug, Clone, Copy)]
struct Weather {
    trouble: u64,
    bad: u64,
    tools: u64,
    lies: u64,
    crash: u64,
}

fn plan_of(dice: &Dice, size: u64, bulk: bool, writers: u64) -> Value {
    let kinds = ["classify", "extract", "search", "generate", "debug", "general", "summarize"];
    let mut subtasks: Vec<Value> = Vec::new();
    for n in 0..size {
        let mut deps: Vec<String> = Vec::new();
        for earlier in 0..n {
            if dice.chance(30) {
                deps.push(format!("s{earlier}"));
            }
        }
        let mut one = json!({"id": format!("s{n}"), "type": dice.pick(&kinds), "description": format!("do s{n}")});
        if dice.chance(25) {
            one["tools"] = json!(["search", "write_file", "ask", "send_mail"]);
        }
        if dice.chance(20) {
            one["writes"] = json!(["src/**"]);
        } else if dice.chance(writers) {
            // Two files for all: they meet.
            one["type"] = json!("generate");
            one["writes"] = json!([dice.pick(&["f", "g"])]);
            one["tools"] = json!(["write_file", "run_command"]);
        }
        if dice.chance(20) {
            one["checks"] = json!([["true"], ["also"]]);
        }
        if dice.chance(15) {
            one["output_schema"] = json!({"type": "object"});
        }
        if dice.chance(10) {
            one["approve"] = json!(true);
        } else if dice.chance(10) {
            one["checkpoint"] = json!(true);
        }
        if dice.chance(10) {
            one["max_cost_usd"] = json!(0.02);
        }
        if dice.chance(10) {
            one["deadline"] = json!("20s");
        }
        if dice.chance(10) {
            one["flex"] = json!(true);
        }
        if bulk && dice.chance(60) {
            one["for_each"] = json!("input");
        }
        one["depends_on"] = json!(deps);
        if let Some(dep) = deps.first().filter(|_| dice.chance(20)) {
            one["when"] = json!(format!("{{{{{dep}.output}}}} != 'ok 1'"));
        }
        subtasks.push(one);
    }
    json!(subtasks)
}

fn executor(dice: &Dice, weather: Weather, asked: &Asked<'_>) -> Reply_ {
    if dice.chance(weather.trouble) {
        let classes = [
            ErrorClass::RateLimited,
            ErrorClass::Server,
            ErrorClass::CutStream,
            ErrorClass::TimedOut,
            ErrorClass::UnsupportedField,
            ErrorClass::LostReference,
            ErrorClass::ContextTooLong,
            ErrorClass::BadRequest,
            ErrorClass::Overloaded,
            ErrorClass::Refused,
            ErrorClass::QuotaExhausted,
            ErrorClass::ModelNotFound,
            ErrorClass::Unreachable,
        ];
        let mut reply = error(dice.pick(&classes));
        if let Err(error) = &mut reply.answer {
            error.sent = dice.chance(80);
        }
        return reply.after(dice.roll(900));
    }
    let mut reply = if dice.chance(weather.tools) {
        let mut reply = call_tool(
            &format!("c{}", dice.roll(4)),
            dice.pick(&["search", "write_file", "ask", "send_mail", "nope"]),
            json!({"n": dice.roll(2)}),
        );
        if dice.chance(40)
            && let Ok(answer) = &mut reply.answer
        {
            let second =
                Item::ToolCall { call_id: format!("c{}", dice.roll(4)), name: "write_file".to_owned(), arguments: "{}".to_owned() };
            answer.items.push(second);
            answer.items.push(Item::Opaque { raw: json!({"type": "reasoning"}) });
        }
        reply
    } else if dice.chance(weather.bad) {
        match dice.roll(6) {
            0 => end("blocked", "no way"),
            1 => end("too_big", ""),
            2 => end("what", "?"),
            3 => say("cut").ends(End::Length),
            4 => say("filtered").ends(End::ContentFilter),
            _ => {
                let mut reply = say("");
                if let Ok(answer) = &mut reply.answer {
                    answer.refusal = Some("I will not".to_owned());
                }
                reply
            }
        }
    } else {
        say(format!("ok {}", asked.nth))
    };
    if dice.chance(weather.lies) {
        let lies = [None, Some(Usage { input_tokens: 90_000, output_tokens: 90_000, ..Usage::default() }), Some(Usage::default())];
        reply = reply.usage(dice.pick(&lies));
    }
    reply.after(dice.roll(500))
}

fn flagship(dice: &Dice, weather: Weather, asked: &Asked<'_>, ids: &[String]) -> Reply_ {
    if dice.chance(weather.trouble) {
        return error(dice.pick(&[ErrorClass::Server, ErrorClass::CutStream, ErrorClass::RateLimited, ErrorClass::UnsupportedField]));
    }
    let text = match asked.caller {
        _ if dice.chance(weather.bad) => "{\"what\": ".to_owned(),
        Caller::Planner => {
            let mut subtasks = Vec::new();
            for n in 0..=dice.roll(5) {
                let deps: Vec<String> = (0..n).filter(|_| dice.chance(30)).map(|m| format!("p{m}")).collect();
                let deps: Vec<&str> = deps.iter().map(String::as_str).collect();
                let deps = if dice.chance(weather.bad / 4) { vec!["nowhere"] } else { deps };
                subtasks.push(planned(&format!("p{n}"), &deps));
            }
            json!({"coordination_notes": "note", "subtasks": subtasks}).to_string()
        }
        Caller::Reviewer => {
            let mut said = review(dice.pick(&["approve", "approve", "approve", "revise", "escalate"]));
            if said["verdict"] == "revise" {
                said["revisions"] = json!([{"subtask": dice.pick(ids), "instructions": "better"}]);
            }
            said.to_string()
        }
        _ => {
            let mut patch = json!({"add": [], "drop": [], "change": [], "coordination_notes": null});
            match dice.roll(4) {
                0 => patch["add"] = json!([planned(&format!("x{}", dice.roll(100_000)), &[dice.pick(ids).as_str()])]),
                1 => patch["drop"] = json!([dice.pick(ids)]),
                2 => patch["change"] = json!([planned(&dice.pick(ids), &[])]),
                _ => {}
            }
            patch.to_string()
        }
    };
    let reply = say(text);
    if *asked.caller == Caller::Planner { reply.streamed(7, 30) } else { reply.after(dice.roll(300)) }
}

/// Every tool call has exactly one output, before anything else is asked of the model.
fn transcript_is_valid(call: &Call) {
    let mut open: Vec<&str> = Vec::new();
    let mut seen = HashSet::new();
    for item in &call.items {
        match item {
            Item::ToolCall { call_id, .. } => open.push(call_id),
            Item::ToolOutput { call_id, .. } => {
                let at = open.iter().position(|id| id == call_id).unwrap_or_else(|| panic!("an output without a call: {call_id}"));
                open.remove(at);
                seen.insert(call_id);
            }
            Item::Message { .. } => assert!(open.is_empty(), "a message between a tool call and its output"),
            Item::Opaque { .. } => {}
        }
    }
    assert!(open.is_empty(), "calls without output: {open:?}");
}

fn money_is_kept(world: &World) {
    let ledger = &world.run.state().ledger;
    for scope in [Scope::Run, Scope::Subtask(id("s0")), Scope::Subtask(id("s1"))] {
        if let Some(balance) = ledger.balance(&scope, Measure::NanoUsd)
            && let Some(cap) = balance.cap
        {
            assert!(balance.frozen || balance.settled + balance.leased <= cap, "{scope}: {balance:?}");
        }
    }
}

/// Who writes does so once, mostly where it may, and is done.
fn writing(dice: &Dice, asked: &Asked<'_>) -> Reply_ {
    let wrote = matches!(asked.call.items.last(), Some(Item::ToolOutput { .. }));
    if wrote {
        return say(format!("ok {}", dice.roll(2))).after(dice.roll(500));
    }
    let (tool, path) = if dice.chance(10) { ("run_command", "elsewhere") } else { ("write_file", "") };
    let arguments = if path.is_empty() { json!({}) } else { json!({"path": path}) };
    call_tool(&format!("c{}", dice.roll(1_000_000)), tool, arguments).after(dice.roll(500))
}

/// Every attempt starts from exactly the accepted work it hangs on; nothing accepted is lost in what is stored, unless
/// somebody who had it before him replaced it; nothing is stored that holds a conflict.
fn files_are_kept(world: &World) {
    let state = world.run.state();
    let changed = |change: &Change| {
        let (from, to) = (&world.trees[&change.from], &world.trees[&change.to]);
        let paths: HashSet<&String> = from.keys().chain(to.keys()).filter(|path| from.get(*path) != to.get(*path)).collect();
        paths.into_iter().map(|path| (path.clone(), to.get(path).cloned())).collect::<Vec<_>>()
    };
    // Which views are live: one for each attempt in a view, and each stands where its attempt does.
    for (key, work) in &state.work {
        let Some(attempt) = work.attempt.as_ref().filter(|_| uses_view(&state.task(*key).spec)) else { continue };
        if let (Stage::Checks, Some(tree), Some(view)) = (work.stage, &attempt.tree, world.views.get(&state.unit(*key))) {
            assert_eq!(view, &world.trees[tree], "{}: its view holds what somebody else made", state.unit(*key));
        }
    }
    let Some(patch) = state.patch.as_ref().filter(|p| p.applied.is_none() && state.composed.as_ref().is_some_and(|c| c.parts == p.parts))
    else {
        return;
    };
    let Some(stored) = state.composed.as_ref().map(|composed| &world.trees[&composed.tree]) else { return };
    if patch.parts != state.parts() {
        return;
    }
    let accepted: Vec<(Key, &Change)> = state.changes.iter().map(|(key, change)| (*key, change)).collect();
    for (key, change) in &accepted {
        // A merge settles what it saw, and nothing that was made anew after it.
        let saw = |merge: &Merge| merge.start.iter().any(|part| part.unit == state.unit(*key) && part.to == change.to);
        for (path, content) in changed(change) {
            let later = accepted.iter().any(|(other, change)| {
                let before = state.before(*other);
                let built_on = before.contains(key) || before.contains(&Key { task: key.task, row: None });
                built_on && state.task(*other).merge.as_ref().map_or_else(|| changed(change).iter().any(|(p, _)| *p == path), saw)
            });
            let mended = state.repairs.iter().any(|(_, change)| changed(change).iter().any(|(p, _)| *p == path));
            assert!(
                later || mended || stored.get(&path) == content.as_ref(),
                "{} made {path} {content:?}, and it is {:?}: {}",
                state.unit(*key),
                stored.get(&path),
                last(world)
            );
        }
    }
    // A person may take a merge as it is, markers and all: the question says so.
    let taken = |event: &Event| matches!(event, Event::InboxOpened { ask: Ask::Failed, unit: Some(unit), .. } if unit.subtask.as_str().starts_with("merge"));
    let taken = world.events().any(taken);
    assert!(taken || stored.values().all(|text| !text.contains("<<<")), "a conflict is stored: {stored:?}\n{}", last(world));
}

/// An attempt starts from the accepted work of all it hangs on, and of nobody else.
fn starts_are_exact(world: &World) {
    let mut of: HashMap<Unit, Vec<(String, Change)>> = HashMap::new();
    for event in world.events() {
        if let Event::SubtaskEnded { unit, change: Some(change), .. } = event {
            of.entry(unit.clone()).or_default().push((unit.to_string(), change.clone()));
        }
    }
    let state = world.run.state();
    for (unit, tree, before) in &world.started {
        let hung_on = |other: &Unit| {
            state.key(other).is_some_and(|other| before.contains(&other) || before.contains(&Key { task: other.task, row: None }))
        };
        for content in world.trees[tree].values() {
            // Contents name who wrote them; a conflict names both.
            let strangers = of.keys().filter(|other| !hung_on(other) && content.contains(&format!("{other}:"))).collect::<Vec<_>>();
            let own = strangers.iter().all(|other| *other == unit);
            assert!(strangers.is_empty() || own, "{unit} starts from {content:?}, made by {strangers:?}: {}", last(world));
        }
    }
}

fn replay_equals_live(world: &World) {
    let mut run = Run::new(world.catalog.clone(), world.tools.clone());
    for stamped in world.durable.iter().chain(&world.run.outbox) {
        // As it would come back from the journal.
        let text = serde_json::to_string(stamped).unwrap();
        run.replay(&serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")));
    }
    let mut live = Run::new(world.catalog.clone(), world.tools.clone());
    for stamped in world.durable.iter().chain(&world.run.outbox) {
        live.replay(stamped);
    }
    live.state.fresh.clear();
    run.state.fresh.clear();
    assert_eq!(run.state, live.state, "what is read back is what was written");
    assert!(same(world.run.state(), &live.state), "replay is not live: {}", difference(world.run.state(), &live.state));
}

/// Lines in which two states differ.
fn difference(a: &State, b: &State) -> String {
    let (a, b) = (format!("{a:#?}"), format!("{b:#?}"));
    let there: HashSet<&str> = b.lines().collect();
    let here: HashSet<&str> = a.lines().collect();
    let only = |of: &str, other: &HashSet<&str>| of.lines().filter(|l| !other.contains(l)).take(30).collect::<Vec<_>>().join("\n");
    format!("live:\n{}\nreplayed:\n{}", only(&a, &there), only(&b, &here))
}

/// Equal, but for what is no part of the fold.
fn same(a: &State, b: &State) -> bool {
    a.tasks == b.tasks
        && a.work == b.work
        && (&a.ready, &a.to_call, &a.to_act, &a.parked) == (&b.ready, &b.to_call, &b.to_act, &b.parked)
        && (&a.calls, &a.ledger, &a.desk, &a.inbox, &a.sources) == (&b.calls, &b.ledger, &b.desk, &b.inbox, &b.sources)
        && (a.phase, a.active, &a.active_of, a.open, a.mended, a.tally) == (b.phase, b.active, &b.active_of, b.open, b.mended, b.tally)
        && (&a.gathered, &a.batches, a.last_batch) == (&b.gathered, &b.batches, b.last_batch)
        && (&a.changes, &a.repairs, &a.merges, &a.composed) == (&b.changes, &b.repairs, &b.merges, &b.composed)
        && (&a.patch, &a.stop, &a.starved, a.reserve) == (&b.patch, &b.stop, &b.starved, b.reserve)
        && (&a.usage, &a.notes, &a.index, &a.forward, &a.ended, &a.grants)
            == (&b.usage, &b.notes, &b.index, &b.forward, &b.ended, &b.grants)
}

/// What the receipts on record say was sent is what was sent, byte for byte.
fn receipts_add_up(world: &World) {
    let mut contexts = Contexts::default();
    world.events().for_each(|event| contexts.saw(event));
    let sent = world.calls.iter().filter(|(_, caller, ..)| matches!(caller, Caller::Executor { .. })).map(|(.., call)| {
        let items: usize = call.items.iter().map(context::item_bytes).sum();
        let tools: usize = call.tools.iter().map(context::tool_bytes).sum();
        (call.instructions.len() + items + tools + call.format.as_ref().map_or(0, context::format_bytes)) as u64
    });
    assert_eq!(contexts.finish().total().sent_bytes, sent.sum::<u64>());
}

/// What the events say of order: nothing starts early, nothing twice at once, no number twice.
fn order_is_kept(world: &World) {
    let mut deps: HashMap<String, Vec<String>> = HashMap::new();
    let (mut running, mut ended, mut mapped) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut numbers = HashSet::new();
    let mut outcomes = HashSet::new();
    for event in world.events() {
        let mut learn = |s: &crate::plan::Subtask| {
            deps.insert(s.id.to_string(), s.depends_on.iter().map(ToString::to_string).collect());
            if matches!(s.for_each, Some(ForEach::Input | ForEach::Subtask(_))) {
                mapped.insert(s.id.to_string());
            }
        };
        match event {
            Event::PlanSubtask { subtask, .. } | Event::MergePlanned { subtask, .. } => learn(subtask),
            Event::PlanPatched { patch, .. } => {
                patch.add.iter().chain(&patch.change).for_each(&mut learn);
                for s in &patch.change {
                    ended.remove(&(s.id.to_string(), None));
                }
            }
            Event::AttemptStarted { unit, .. } => {
                assert!(running.insert(unit.clone()), "{unit} starts twice at once");
                for dep in &deps[unit.subtask.as_str()] {
                    let there = if mapped.contains(dep) {
                        unit.row.is_none() || ended.contains(&(dep.clone(), unit.row))
                    } else {
                        ended.contains(&(dep.clone(), None))
                    };
                    assert!(there, "{unit} starts before {dep} has ended");
                }
            }
            Event::AttemptEnded { unit, .. } => assert!(running.remove(unit), "{unit} ends and was not running"),
            Event::SubtaskEnded { unit, .. } => {
                running.remove(unit);
                ended.insert((unit.subtask.to_string(), unit.row));
            }
            Event::Reopened { unit, .. } => {
                ended.remove(&(unit.subtask.to_string(), unit.row));
            }
            Event::CallStarted { call, .. } => assert!(numbers.insert(*call), "call {call:?} is made twice"),
            Event::CallEnded { call, .. } => assert!(outcomes.insert(*call), "call {call:?} ends twice"),
            _ => {}
        }
    }
    assert_eq!(numbers.len(), world.calls.len());
}

fn play(seed: u64, size: u64, by_hand: bool, bulk: bool, writers: u64, weather: Weather) {
    let dice = Dice::new(seed);
    let mut policy = policy();
    if dice.chance(50) {
        policy.limits.max_concurrent_subagents = Slots::At(1 + dice.roll(4) as u32);
    }
    if dice.chance(40) {
        policy.budget.run_usd = NanoUsd(60_000_000 + dice.roll(400_000_000));
    }
    if dice.chance(30) {
        // Long enough for siblings to wait for the first of them.
        policy.prompts.insert(Who::Executor, "Do as you are told. ".repeat(300));
    }
    if dice.chance(20) {
        policy.budget.planner_tokens = Some(60_000);
    }
    let mut ids: Vec<String> = (0..size).map(|n| format!("s{n}")).collect();
    policy.service.batch = bulk && writers == 0 && dice.chance(70);
    policy.service.batch_at.insert("openai".to_owned());
    policy.service.batch_rows = 1 + dice.roll(12) as u32;
    let mut world = World::new(policy, !by_hand);
    world.batch_ms = dice.pick(&[100, 5_000, 3_600_000]);
    world.no_batches = dice.pick(&[None, None, None, Some(ErrorClass::BadRequest), Some(ErrorClass::Server)]);
    if by_hand {
        let rules =
            BulkRules { canary: dice.chance(30).then_some(2), max_failure_rate: dice.chance(30).then_some(0.3), max_escalation_rate: None };
        world.give(plan_of(&dice, size, bulk, writers), rules);
    } else {
        ids = (0..5).map(|n| format!("p{n}")).collect();
    }
    world.rows = (0..dice.roll(8)).map(|n| json!({"n": n})).collect();
    world.slots = dice.chance(30).then(|| 1 + dice.roll(4) as u32);
    world.watch = |world| {
        money_is_kept(world);
        files_are_kept(world);
    };
    let (d, w, names) = (dice.clone(), weather, ids.clone());
    world.script = Box::new(move |asked| {
        transcript_is_valid(asked.call);
        match asked.caller {
            Caller::Executor { .. } if writers > 0 && d.chance(70) => writing(&d, asked),
            Caller::Executor { .. } => executor(&d, w, asked),
            _ => flagship(&d, w, asked, &names),
        }
    });
    let (d, w) = (dice.clone(), weather);
    world.on_check =
        Box::new(move |_, _, _| if d.chance(w.bad) { (Verdict::Fail, "wrong".to_owned()) } else { (Verdict::Pass, String::new()) });
    let d = dice.clone();
    world.on_tool = Box::new(move |_, name, _| {
        (
            ToolOutput { ok: true, output: "x".repeat(d.roll(50) as usize), ..ToolOutput::default() },
            name.starts_with("write") || name == "run_command",
        )
    });
    let (d, w) = (dice.clone(), weather);
    world.on_composed =
        Box::new(move |_, _, _| if d.chance(w.bad) { (Verdict::Fail, "not together".to_owned()) } else { (Verdict::Pass, String::new()) });

    let mut sessions = 0;
    let mut crashes = 0;
    loop {
        let ended = world.go_for(1 + dice.roll(60) as u32);
        assert!(world.turns < 30_000, "the run does not come to an end: {}", last(&world));
        replay_equals_live(&world);
        let Some(summary) = ended else {
            if dice.chance(weather.crash) && crashes < 12 {
                crashes += 1;
                if dice.chance(50) {
                    // Decided and not durable: lost.
                    world.advance();
                }
                world.crash();
            } else if dice.chance(2) {
                world.hear(Fact::Told("mind the gap".to_owned()));
            }
            continue;
        };
        assert!(matches!(world.kinds().last().unwrap().as_str(), "run.completed" | "run.paused"));
        assert!(!summary.output.starts_with("nothing can go on"), "{}: {}", summary.output, last(&world));
        let state = world.run.state();
        let in_batches = if state.phase == Phase::Ended { 0 } else { state.in_batches() };
        assert_eq!(state.ledger.calls_in_flight(), in_batches, "nothing is promised but to batches when nothing runs");
        assert_eq!(state.ledger.leased() == NanoUsd::ZERO, in_batches == 0);
        order_is_kept(&world);
        receipts_add_up(&world);
        starts_are_exact(&world);
        let over = world.run.state().phase == Phase::Ended;
        sessions += 1;
        if sessions > 40 {
            break;
        }
        if over {
            if sessions > 3 || !dice.chance(30) {
                break;
            }
            // A person tries the failed units again.
            let units: Vec<Unit> = world
                .events()
                .filter_map(|e| match e {
                    Event::SubtaskEnded { unit, status: SubtaskStatus::Failed, .. } => Some(unit.clone()),
                    _ => None,
                })
                .collect();
            if units.is_empty() {
                break;
            }
            world.reopen();
            world.hear(Fact::RetryFailed(units));
            if world.run.state().phase == Phase::Ended {
                break;
            }
            continue;
        }
        let items: Vec<u32> = world.run.state().inbox.keys().copied().collect();
        for item in items {
            let reply = match dice.roll(4) {
                0 => Reply::Reject,
                1 if sessions < 20 => Reply::Text { text: "like this".to_owned() },
                _ => Reply::Approve,
            };
            world.hear(Fact::Replied { item, reply });
        }
        if summary.status == RunStatus::BudgetReached {
            let cap = world.spent().0 * 2 + 300_000_000;
            world.hear(Fact::CapRaised(NanoUsd(cap)));
            if sessions > 10 {
                break;
            }
        }
        if dice.chance(5) {
            world.hear(Fact::CancelAsked);
        }
        world.reopen();
    }
    assert!(sessions <= 40, "the run pauses for ever: {}", last(&world));
}

fn last(world: &World) -> String {
    let from = world.durable.len().saturating_sub(25);
    world.durable[from..].iter().map(|s| format!("{:.300}", format!("{:?}", s.event))).collect::<Vec<_>>().join("\n")
}

fn weather() -> impl Strategy<Value = Weather> {
    (0u64..25, 0u64..40, 0u64..50, 0u64..10, 0u64..60).prop_map(|(trouble, bad, tools, lies, crash)| Weather {
        trouble,
        bad,
        tools,
        lies,
        crash,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn a_plan_by_hand_keeps_every_law(seed: u64, size in 1u64..8, weather in weather()) {
        play(seed, size, true, false, 0, weather);
    }

    #[test]
    fn writers_side_by_side_keep_every_law(seed: u64, size in 2u64..9, weather in weather()) {
        play(seed, size, true, false, 80, weather);
    }

    #[test]
    fn rows_that_write_keep_every_law(seed: u64, size in 1u64..5, weather in weather()) {
        play(seed, size, true, true, 80, weather);
    }

    #[test]
    fn a_bulk_plan_keeps_every_law(seed: u64, size in 1u64..6, weather in weather()) {
        play(seed, size, true, true, 0, weather);
    }

    #[test]
    fn a_streamed_plan_keeps_every_law(seed: u64, weather in weather()) {
        play(seed, 1, false, false, 0, weather);
    }
}

/// Few by default, as many as `PROPTEST_CASES` says.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48)
}
