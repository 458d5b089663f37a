//! A plan played through by the real [`Run`] on a virtual clock: every answer good, every call as long as estimated.
//!
//! Routes, slots, prompts and prices are the run's own. What no simulation can know is left out: conditions hold, checks
//! pass, nobody is asked, a `for_each` subtask is one row, and what reasoning adds to an answer is not counted.

mod windows;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use serde_json::json;

use super::apply::waits_for;
use super::{Action, BulkRules, CallNo, Caller, Door, Fact, Fetched, Job, Run, RunStarted, Verdict};
use crate::call::Answer;
use crate::catalog::Catalog;
use crate::context::{PartReceipt, tokens_est};
use crate::ids::{ModelRef, RunId, SubtaskId, Tier};
use crate::plan::{Plan, Subtask};
use crate::policy::Policy;
use crate::schedule::{Graph, estimate};
use crate::time::{Millis, Timestamp};
use crate::tool::ToolSpec;
use crate::units::NanoUsd;
use crate::usage::Usage;

use windows::Windows;
pub use windows::{Fitted, Weighed, weigh};

/// Mean output of the 4,159 recorded calls in data/taskgraphs (schedules.jsonl.gz), all tiers together.
const OUTPUT_TOKENS: u64 = 169;
/// An answer of that length, at four bytes a token: what hangs on it reads so much.
const OUTPUT_BYTES: usize = 676;

/// What a plan's subtasks take; planner and review are not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    /// From the first start to the end of the last subtask.
    pub makespan_ms: Millis,
    /// The longest chain: no number of slots is faster.
    pub critical_path_ms: Millis,
    /// All durations together.
    pub work_ms: Millis,
    /// `max(critical_path_ms, ceil(work_ms / slots))`.
    pub lower_bound_ms: Millis,
    /// At the catalog's prices.
    pub cost_usd: NanoUsd,
    /// Calls by tier, in the order of the ladder, rungs without a call included.
    pub calls_per_tier: Vec<(Tier, u64)>,
    /// Each subtask's call, in the order they were made.
    pub played: Vec<Played>,
    /// The review's call.
    pub review: Option<Played>,
}

/// A call as the run made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played {
    /// For which subtask; of a review the last one's.
    pub subtask: SubtaskId,
    /// On which tier.
    pub tier: Tier,
    /// Which model.
    pub model: ModelRef,
    /// That model serves every attempt.
    pub pinned: bool,
    /// The rungs the subtask may use, lowest first.
    pub ladder: Vec<Tier>,
    /// Its prompt as packed, framing aside, at four bytes a token.
    pub input_tokens: u64,
}

/// Calls under way on the virtual clock.
#[derive(Debug, Default)]
struct Wire {
    due: BinaryHeap<Reverse<(Timestamp, CallNo)>>,
    answers: HashMap<CallNo, Usage>,
    played: Vec<Played>,
    review: Option<Played>,
}

/// Plays a checked plan through under this policy, starting at `now` (which decides the prices).
///
/// # Errors
/// Why the run could not be played to its end, in words.
pub fn simulate(plan: &Plan, policy: &Policy, catalog: Arc<Catalog>, tools: Arc<[ToolSpec]>, now: Timestamp) -> Result<Simulated, String> {
    play(plan, policy, catalog, tools, now, None)
}

/// Plays a plan through, with or without windows in which its calls must fit.
fn play(
    plan: &Plan,
    policy: &Policy,
    catalog: Arc<Catalog>,
    tools: Arc<[ToolSpec]>,
    now: Timestamp,
    mut windows: Option<&mut Windows>,
) -> Result<Simulated, String> {
    let slots = policy.limits.max_concurrent_subagents.most() as usize;
    let mut run = opened(plan, policy, catalog, tools, now);
    let mut calls: Vec<(Tier, u64)> = policy.ladder.iter().map(|tier| (tier.clone(), 0)).collect();
    let (mut clock, mut last) = (now, now);
    let mut wire = Wire::default();
    loop {
        turn(&mut run, clock, &mut wire, windows.as_deref_mut())?;
        run.take_events();
        if let Some(ended) = &run.state().ended {
            let asked = run.state().inbox.values().next().map(|item| item.question.clone());
            if run.state().phase != super::Phase::Ended || run.state().stop.is_some() {
                return Err(asked.unwrap_or_else(|| ended.output.clone()));
            }
            break;
        }
        let due = wire.due.peek().map(|Reverse((at, _))| *at);
        let opening = windows.as_deref_mut().and_then(Windows::opening).filter(|(at, _)| due.is_none_or(|due| *at < due));
        if let (Some(opening), Some(windows)) = (opening, windows.as_deref_mut()) {
            clock = opening.0;
            windows.opened(opening);
            continue;
        }
        let Some(at) = due else { return Err("nothing can go on".to_owned()) };
        clock = at;
        while let Some(&Reverse((next, call))) = wire.due.peek()
            && next == at
        {
            wire.due.pop();
            let Some(flight) = run.state().calls.get(&call) else { continue };
            let text = match flight.key {
                None => approval(),
                Some(_) => {
                    last = at;
                    let tier = flight.tier.clone();
                    match calls.iter_mut().find(|(known, _)| *known == tier) {
                        Some((_, n)) => *n += 1,
                        None => calls.push((tier, 1)),
                    }
                    "word".repeat(OUTPUT_BYTES / 4)
                }
            };
            let ms = at - flight.since;
            let answer = Answer { text, usage: wire.answers.remove(&call), ..Answer::default() };
            run.hear(Fact::Answered { call, answer: Ok(answer), ms, first_ms: None, worked: None }, clock);
        }
    }
    let graph = graph(plan);
    Ok(Simulated {
        makespan_ms: last - now,
        critical_path_ms: Millis(graph.critical_path()),
        work_ms: Millis(graph.work()),
        lower_bound_ms: Millis(graph.lower_bound(slots)),
        cost_usd: run.state().tasks.iter().map(|task| task.cost).sum(),
        calls_per_tier: calls,
        played: wire.played,
        review: wire.review,
    })
}

/// A run of the plan with every bound lifted that would end it early.
fn opened(plan: &Plan, policy: &Policy, catalog: Arc<Catalog>, tools: Arc<[ToolSpec]>, now: Timestamp) -> Run {
    let mut policy = policy.clone();
    policy.limits.subtask = None;
    policy.budget.confirm_above_usd = None;
    policy.budget.run_usd = NanoUsd(u64::MAX / 4);
    (policy.budget.planner_tokens, policy.budget.executor_tokens, policy.budget.reviewer_tokens) = (None, None, None);
    let mut run = Run::new(catalog, tools);
    let start = RunStarted {
        run: RunId::new("simulated").expect("a plain word"),
        request: String::new(),
        images: Vec::new(),
        planned: false,
        workspace: String::new(),
        listing: String::new(),
        instructions: Arc::default(),
        roles: String::new(),
        pipeline: plan.pipeline.clone(),
        policy: Arc::new(policy),
        input: None,
        apply: false,
        branch: false,
        continues: None,
        offline: None,
        reuse: false,
        wait: false,
    };
    run.start(start, now);
    let subtasks: Vec<Subtask> = plan.subtasks.iter().map(plain).collect();
    let notes = plan.coordination_notes.clone();
    run.hear(Fact::PlanGiven { subtasks, notes, bulk: BulkRules::default(), warnings: Vec::new() }, now);
    run
}

/// Hands out what is to be done now; all but calls is done at once.
fn turn(run: &mut Run, clock: Timestamp, wire: &mut Wire, mut windows: Option<&mut Windows>) -> Result<(), String> {
    loop {
        let actions = run.step(clock, &mut |_| Door::Open);
        let mut waiting = 0;
        let all = actions.len();
        for action in actions {
            match action {
                Action::Call { caller } if waits(run, &caller, clock, windows.as_deref_mut())? => waiting += 1,
                Action::Call { caller } => call(run, &caller, clock, wire)?,
                Action::Gather { unit, start, .. } => {
                    let gathered = Fact::Gathered {
                        unit,
                        parts: Vec::new(),
                        images: Vec::new(),
                        tree: None,
                        start,
                        conflicts: Vec::new(),
                        sides: Vec::new(),
                    };
                    run.hear(gathered, clock);
                }
                Action::Check { unit, attempt, check } => {
                    let (check, evidence) = (check.name(), String::new());
                    run.hear(Fact::Checked { unit, attempt, check, verdict: Verdict::Pass, evidence, ms: Millis(0) }, clock);
                }
                // It is over when its calls are: they come back one by one here.
                Action::Batch { .. } => {}
                // On this clock nothing is slower than it was said to be.
                Action::Hedge { .. } => {}
                other => return Err(format!("a simulation does not come to {other:?}")),
            }
        }
        // What waits is handed out again.
        if waiting == all {
            return Ok(());
        }
    }
}

/// Whether a subtask's call has to wait for a window.
fn waits(run: &mut Run, caller: &Caller, clock: Timestamp, windows: Option<&mut Windows>) -> Result<bool, String> {
    let (Some(windows), Caller::Executor { unit, .. }) = (windows, caller) else { return Ok(false) };
    let Some(key) = run.state().key(unit) else { return Ok(false) };
    let Some(attempt) = run.state().work.get(&key).and_then(|work| work.attempt.as_ref()) else { return Ok(false) };
    let (tier, model) = (attempt.tier.clone(), run.model_of(key));
    let wait = !windows.admit(&tier, &model, clock)?;
    if wait {
        run.leads_no_more(key);
    }
    Ok(wait)
}

fn call(run: &mut Run, caller: &Caller, clock: Timestamp, wire: &mut Wire) -> Result<(), String> {
    let ms = match caller {
        Caller::Executor { unit, .. } => run.state().key(unit).map_or(Millis(0), |key| estimate(&run.state().task(key).spec)),
        Caller::Reviewer => Millis(0),
        // Only what cannot run at all comes back to the planner here.
        Caller::Planner | Caller::Replanner | Caller::Compactor { .. } => {
            return Err(match &run.state().desk.job {
                Some(Job::Replan { reasons, .. }) => reasons.join("; "),
                _ => "the planner would be asked".to_owned(),
            });
        }
    };
    let prepared = run.prepare(caller, &Fetched::default()).map_err(|e| e.to_string())?;
    let Some(call) = run.begin_call(&prepared, None, clock) else { return Ok(()) };
    let limit = u64::from(prepared.call.max_output_tokens);
    let input_tokens = tokens_est((prepared.ask.tokens - limit) as usize);
    let (tier, model) = (prepared.tier.clone(), prepared.call.model.clone());
    let packed = prepared.receipt.iter().map(PartReceipt::tokens_est).sum();
    match caller {
        Caller::Executor { unit, .. } => {
            let route = run.state().key(unit).and_then(|key| run.route(key).ok());
            let (ladder, pinned) = route.map_or_else(Default::default, |route| (route.ladder, route.pinned));
            wire.played.push(Played { subtask: unit.subtask.clone(), tier, model, pinned, ladder, input_tokens: packed });
        }
        _ => {
            let subtask = wire.played.last().map(|last| last.subtask.clone());
            wire.review = subtask.map(|subtask| Played { subtask, tier, model, pinned: true, ladder: Vec::new(), input_tokens: packed });
        }
    }
    wire.answers.insert(call, Usage { input_tokens, output_tokens: OUTPUT_TOKENS.min(limit), ..Usage::default() });
    wire.due.push(Reverse((clock + ms, call)));
    Ok(())
}

fn approval() -> String {
    json!({"summary": "", "verdict": "approve", "revisions": [], "add": [], "final_output": ""}).to_string()
}

/// A subtask without what only a real run can decide. Those that write run side by side, as they do in a run.
fn plain(subtask: &Subtask) -> Subtask {
    Subtask {
        writes: Vec::new(),
        checks: Vec::new(),
        // What it maps over and what its condition reads comes first all the same.
        depends_on: waits_for(subtask),
        for_each: None,
        when: None,
        approve: false,
        checkpoint: false,
        deadline: None,
        max_cost_usd: None,
        ..subtask.clone()
    }
}

fn graph(plan: &Plan) -> Graph {
    let place: HashMap<&SubtaskId, usize> = plan.subtasks.iter().enumerate().map(|(n, s)| (&s.id, n)).collect();
    Graph {
        durations: plan.subtasks.iter().map(|s| estimate(s).0).collect(),
        waits: plan.subtasks.iter().map(|s| waits_for(s).iter().filter_map(|id| place.get(id).copied()).collect()).collect(),
    }
}
