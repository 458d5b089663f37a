//! A plan played through by the real [`Run`] on a virtual clock: every answer good, every call as long as estimated.
//!
//! What no simulation can know is left out: conditions hold, checks pass, nobody is asked, and rows are not read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use serde_json::json;

use super::{Action, BulkRules, CallNo, Caller, Fact, Fetched, Run, RunStarted, Verdict};
use crate::call::Answer;
use crate::catalog::Catalog;
use crate::context::tokens_est;
use crate::ids::{RunId, Tier};
use crate::plan::{Plan, Subtask};
use crate::policy::{Policy, Slots};
use crate::schedule::{self, estimate};
use crate::time::{Millis, Timestamp};
use crate::tool::ToolSpec;
use crate::units::NanoUsd;
use crate::usage::Usage;

/// Share of its output limit that a call is taken to use; ours, until a run has numbers of its own.
const OUTPUT_SHARE: u64 = 8;

/// What a plan takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    /// From the first start to the end of the last subtask; the review is not part of it.
    pub makespan_ms: Millis,
    /// The longest chain: no number of workers is faster.
    pub critical_path_ms: Millis,
    /// All durations together.
    pub work_ms: Millis,
    /// `max(critical_path_ms, ceil(work_ms / workers))`.
    pub lower_bound_ms: Millis,
    /// At the catalog's prices, the review included.
    pub cost_usd: NanoUsd,
    /// Calls by tier, the review included.
    pub calls_per_tier: BTreeMap<Tier, u64>,
}

/// Plays a checked plan through with so many workers, starting at `now` (which decides the prices).
///
/// # Errors
/// Why the run could not be played to its end, in words.
pub fn simulate(
    plan: &Plan,
    workers: u32,
    policy: &Policy,
    catalog: Arc<Catalog>,
    tools: Arc<[ToolSpec]>,
    now: Timestamp,
) -> Result<Simulated, String> {
    let mut policy = policy.clone();
    policy.limits.max_concurrent_subagents = Slots::At(workers.max(1));
    policy.limits.subtask = None;
    policy.budget.run_usd = NanoUsd(u64::MAX / 4);
    (policy.budget.planner_tokens, policy.budget.executor_tokens, policy.budget.reviewer_tokens) = (None, None, None);
    let mut run = Run::new(catalog, tools);
    let start = RunStarted {
        run: RunId::new("simulated").expect("a plain word"),
        request: String::new(),
        planned: false,
        workspace: String::new(),
        listing: String::new(),
        policy: Arc::new(policy),
        input: None,
        apply: false,
        continues: None,
        offline: None,
        reuse: false,
    };
    run.start(start, now);
    let subtasks: Vec<Subtask> = plan.subtasks.iter().map(plain).collect();
    let graph = schedule::Graph::of(plan, estimate);
    run.hear(Fact::PlanGiven { subtasks, notes: String::new(), bulk: BulkRules::default(), warnings: Vec::new() }, now);

    let (mut clock, mut last) = (now, now);
    let mut due: BinaryHeap<Reverse<(Timestamp, CallNo)>> = BinaryHeap::new();
    let mut answers: BTreeMap<CallNo, Usage> = BTreeMap::new();
    loop {
        turn(&mut run, clock, &mut due, &mut answers)?;
        run.take_events();
        if let Some(ended) = &run.state().ended {
            if run.state().phase != super::Phase::Ended || run.state().stop.is_some() {
                return Err(ended.output.clone());
            }
            break;
        }
        let Some(&Reverse((at, _))) = due.peek() else { return Err("nothing can go on".to_owned()) };
        clock = at;
        while let Some(&Reverse((next, call))) = due.peek()
            && next == at
        {
            due.pop();
            let flight = run.state().calls.get(&call);
            let executor = flight.is_some_and(|f| f.key.is_some());
            let (text, ms) = if executor { ("done".to_owned(), at - now) } else { (approval(), Millis(0)) };
            if executor {
                last = at;
            }
            let answer = Answer { text, usage: answers.remove(&call), ..Answer::default() };
            run.hear(Fact::Answered { call, answer: Ok(answer), ms, first_ms: None }, clock);
        }
    }
    let path = graph.longest_paths().into_iter().max().unwrap_or(0);
    let work: u64 = graph.durations.iter().sum();
    let calls = run.state().start().policy.ladder.iter();
    Ok(Simulated {
        makespan_ms: last - now,
        critical_path_ms: Millis(path),
        work_ms: Millis(work),
        lower_bound_ms: Millis(path.max(work.div_ceil(u64::from(workers.max(1))))),
        cost_usd: run.state().spent(),
        calls_per_tier: calls.filter_map(|t| Some((t.clone(), run.state().usage.get(t)?.calls))).collect(),
    })
}

/// Hands out what is to be done now; all but calls is done at once.
fn turn(
    run: &mut Run,
    clock: Timestamp,
    due: &mut BinaryHeap<Reverse<(Timestamp, CallNo)>>,
    answers: &mut BTreeMap<CallNo, Usage>,
) -> Result<(), String> {
    loop {
        let actions = run.step(clock, &mut |_| true);
        if actions.is_empty() {
            return Ok(());
        }
        for action in actions {
            match action {
                Action::Call { caller } => {
                    let prepared = run.prepare(&caller, &Fetched::default()).map_err(|e| e.to_string())?;
                    let Some(call) = run.begin_call(&prepared, clock) else { continue };
                    let ms = match &caller {
                        Caller::Executor { unit, .. } => {
                            run.state().key(unit).map_or(Millis(0), |key| estimate(&run.state().task(key).spec))
                        }
                        _ => Millis(0),
                    };
                    let output = u64::from(prepared.call.max_output_tokens) / OUTPUT_SHARE;
                    let input = prepared.ask.tokens - u64::from(prepared.call.max_output_tokens);
                    let usage = Usage { input_tokens: tokens_est(input as usize), output_tokens: output, ..Usage::default() };
                    answers.insert(call, usage);
                    due.push(Reverse((clock + ms, call)));
                }
                Action::Gather { unit, .. } => run.hear(Fact::Gathered { unit, parts: Vec::new(), tree: None }, clock),
                Action::Check { unit, attempt, check } => {
                    let (check, evidence) = (check.name(), String::new());
                    run.hear(Fact::Checked { unit, attempt, check, verdict: Verdict::Pass, evidence, ms: Millis(0) }, clock);
                }
                other => return Err(format!("a simulation does not come to {other:?}")),
            }
        }
    }
}

fn approval() -> String {
    json!({"summary": "", "verdict": "approve", "revisions": [], "add": [], "final_output": ""}).to_string()
}

/// A subtask without what only a real run can decide.
fn plain(subtask: &Subtask) -> Subtask {
    Subtask {
        writes: Vec::new(),
        checks: Vec::new(),
        tools: Vec::new(),
        files: Vec::new(),
        for_each: None,
        when: None,
        approve: false,
        checkpoint: false,
        deadline: None,
        max_cost_usd: None,
        ..subtask.clone()
    }
}
