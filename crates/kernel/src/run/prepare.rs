//! From "call on behalf of X" to the call itself: the prompt packed, the worst case priced.

mod kit;
mod planner;
mod service;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::event::{Caller, Event, GatheredImage, Side, SubtaskStatus};
use super::state::{Job, Key, State};
use super::{CallNo, Run, errand, sight};
use crate::budget::{Ask, Measure, Role, Scope};
use crate::call::{Call, Deadlines, Effort, Format, Item, Retention, Service, Verbosity};
use crate::catalog::{self, Day, InputSize};
use crate::context::{
    self, Evidence, Excerpt, Output, PartReceipt, Parts, Picture, Replanning, Reviewing, Shown, Standing, TierLimits, Worked,
};
use crate::ids::{ModelRef, Tier};
use crate::image::Pictures;
use crate::plan::{self, reference::references};
use crate::policy::{Policy, Who};
use crate::time::Timestamp;
use crate::tool::{OPEN_OUTPUT, ToolSpec};
use crate::units::NanoUsd;

pub(super) use service::FIELD as SERVICE_FIELD;

/// Bytes a request holds besides the texts counted: field names, brackets, settings.
const FRAME_BYTES: usize = 1_024;
/// Subtasks shown to a review one by one.
const MOST_SUBTASKS_REVIEWED: usize = 200;
/// The same for each item of the conversation and each tool.
const ITEM_BYTES: usize = 96;

/// What one result is expected to add to the review's input, in bytes; ours, an estimate and no bound.
const RESULT_BYTES: u64 = 2_000;
/// What all results together are expected to add at most.
const MOST_REVIEWED: u64 = 200_000;

/// The stable opening of each role and type, made once: it is the same bytes for every call.
#[derive(Debug, Default)]
pub(super) struct Openings(Mutex<HashMap<Whose, Arc<Opening>>>);

#[derive(Debug)]
struct Opening {
    text: String,
    cache_key: String,
}

/// Whose opening it is, and whether the workspace's instructions follow it in the prefix.
type Whose = (Who, bool);

impl Openings {
    fn of(&self, who: Who, policy: &Policy, shared: Option<&Shown>) -> Arc<Opening> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let text = context::instructions(who, policy);
            let cache_key = match shared {
                Some(shared) => context::cache_key(who, &format!("{text}{}", shared.text)),
                None => context::cache_key(who, &text),
            };
            Arc::new(Opening { text, cache_key })
        };
        made.entry((who, shared.is_some())).or_insert_with(make).clone()
    }
}

/// What the runtime fetched for a call.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// Excerpts of files in the unit's read scope.
    pub excerpts: Vec<Excerpt>,
    /// The run's patch, for the reviewer.
    pub diff: Option<String>,
    /// The first rows of the input, for the planner.
    pub rows: Option<(Option<u64>, String)>,
}

/// A call ready to be leased and sent.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The call.
    pub call: Call,
    /// On whose behalf.
    pub caller: Caller,
    /// On which tier.
    pub tier: Tier,
    /// Its worst case.
    pub ask: Ask,
    /// What its prompt is made of.
    pub receipt: Vec<PartReceipt>,
    /// The call it is the second request for.
    pub hedge_of: Option<CallNo>,
}

impl Prepared {
    /// What an account may count it as: its input as estimated, and all the output it may have (responses-api.md §7).
    pub fn tokens(&self) -> u64 {
        let output = u64::from(self.call.max_output_tokens);
        self.ask.tokens.saturating_sub(output) / 4 + output
    }
}

pub(super) struct Shape {
    pub(super) tier: Tier,
    pub(super) model: ModelRef,
    pub(super) packed: context::Packed,
    pub(super) cache_key: Option<String>,
    /// How long its prefix is to be kept, where configured.
    pub(super) retention: Option<Option<Retention>>,
    /// The role whose output limit holds, where it is not the caller's.
    pub(super) limited_as: Option<Role>,
    pub(super) tools: Vec<ToolSpec>,
    pub(super) allowed_tools: Vec<String>,
    pub(super) format: Option<Format>,
    pub(super) effort: Effort,
    pub(super) verbosity: Option<Verbosity>,
    pub(super) doubled: bool,
    pub(super) omit: Vec<String>,
    pub(super) deadlines: Deadlines,
    pub(super) service: Service,
}

/// What an executor's next call takes from its attempt.
struct Turn<'a> {
    tier: &'a Tier,
    model: ModelRef,
    items: &'a [Item],
    doubled: bool,
    omit: &'a [String],
}

impl<'a> Turn<'a> {
    fn of(run: &'a Run, key: Key) -> Self {
        let attempt = run.state.work.get(&key).and_then(|w| w.attempt.as_ref()).expect("only a unit with an attempt calls");
        Self { tier: &attempt.tier, model: run.model_of(key), items: &attempt.items, doubled: attempt.doubled, omit: &attempt.omit }
    }
}

impl Run {
    /// Packs the prompt of a call and prices its worst case.
    ///
    /// # Errors
    /// Why the model may not be called: it has no price, or is past its retirement.
    pub fn prepare(&self, caller: &Caller, fetched: &Fetched) -> Result<Prepared, catalog::Refusal> {
        self.prepare_on(caller, None, fetched)
    }

    /// The same for an executor's call of another model than its attempt's.
    pub(super) fn prepare_on(&self, caller: &Caller, model: Option<&ModelRef>, fetched: &Fetched) -> Result<Prepared, catalog::Refusal> {
        let shape = match (caller, self.state.key_of(caller)) {
            (Caller::Compactor { by }, _) => self.compaction_call(*by),
            (Caller::Executor { .. }, Some(key)) => {
                let turn = Turn::of(self, key);
                let model = model.cloned().unwrap_or_else(|| turn.model.clone());
                self.executor_call(key, &Turn { model, ..turn }, fetched)
            }
            _ => self.flagship_call(caller, fetched),
        };
        self.priced(caller, shape)
    }

    /// The worst case of the first call of an attempt that has not begun; file excerpts aside.
    pub(super) fn first_ask(&self, key: Key, tier: &Tier, model: &ModelRef) -> Option<Ask> {
        let caller = Caller::Executor { unit: self.state.unit(key), attempt: 1 };
        let turn = Turn { tier, model: model.clone(), items: &[], doubled: false, omit: &[] };
        let shape = self.executor_call(key, &turn, &Fetched::default());
        // A model that may not be called is refused when it is.
        self.priced(&caller, shape).ok().map(|p| p.ask)
    }

    fn priced(&self, caller: &Caller, shape: Shape) -> Result<Prepared, catalog::Refusal> {
        let policy = &self.state.start().policy;
        let found = self.catalog.lookup(&shape.model, Day::of(self.now))?;
        let mut items = shape.packed.items;
        sight::newest_images(&mut items);
        let role = caller.role();
        let window = found.model.output_window.and_then(|w| u32::try_from(w).ok()).unwrap_or(u32::MAX);
        let limit = policy.limits.output_tokens.of(shape.limited_as.unwrap_or(role), shape.doubled).min(window);
        let cached = shape.cache_key.is_some();
        let without = |field: &str| shape.omit.iter().any(|o| o == field);
        let call = Call {
            model: shape.model.clone(),
            instructions: shape.packed.instructions,
            items,
            tools: shape.tools,
            allowed_tools: shape.allowed_tools,
            format: shape.format,
            max_output_tokens: limit,
            effort: found.model.clamp_effort(shape.effort).filter(|_| !without("reasoning")),
            verbosity: shape.verbosity.filter(|_| !without("verbosity")),
            cache_retention: found.model.clamp_retention(shape.retention).filter(|_| cached && !without("prompt_cache_retention")),
            cache_key: shape.cache_key.filter(|_| !without("prompt_cache_key")),
            service: shape.service,
            request_id: format!("{}-c{}", self.state.run(), self.state.last_call + 1),
            deadlines: shape.deadlines,
            pictures: Pictures::default(),
        };
        let seen: u64 = call.images().map(|image| found.model.image_tokens(image.width, image.height)).sum();
        let bytes = request_bytes(&call) as u64 + seen;
        let ask = Ask {
            role,
            subtask: self.state.key_of(caller).map(|key| self.state.task(key).spec.id.clone()),
            attempt: caller.attempt(),
            money: catalog::worst_case(found.price, InputSize::Bytes(bytes), limit, call.service),
            tokens: bytes + u64::from(limit),
            units: policy.units_of(&shape.tier, &call.model, call.service),
        };
        let mut prepared = Prepared { call, caller: caller.clone(), tier: shape.tier, ask, receipt: shape.packed.receipt, hedge_of: None };
        if let Some(agent) = policy.agent(&prepared.call.model) {
            errand::bound(&mut prepared, agent, found.price);
        }
        context::with_call(&mut prepared.receipt, &prepared.call.tools, prepared.call.format.as_ref());
        Ok(prepared)
    }

    /// A call that was prepared is not made now: nobody waits for it.
    pub fn put_off(&mut self, caller: &Caller) {
        if let Some(key) = self.state.key_of(caller) {
            self.leads_no_more(key);
        }
    }

    /// Holds back what the final review may cost, but never more than a quarter of the cap: a small cap still starts work.
    pub(super) fn reserve_for_review(&mut self) {
        let Ok(review) = self.prepare(&Caller::Reviewer, &Fetched::default()) else { return };
        let Ok(found) = self.catalog.lookup(&review.call.model, Day::of(self.now)) else { return };
        let cap = self.state.ledger.balance(&Scope::Run, Measure::NanoUsd).and_then(|b| b.cap).unwrap_or(u64::MAX);
        let open = u64::from(self.state.open).min(MOST_REVIEWED / RESULT_BYTES);
        let bytes = request_bytes(&review.call) as u64 + open * RESULT_BYTES;
        let worst = match self.state.start().policy.agent(&review.call.model) {
            Some(_) => review.ask.money,
            None => catalog::worst_case(found.price, InputSize::Bytes(bytes), review.call.max_output_tokens, review.call.service),
        };
        let review_usd = NanoUsd(worst.0.min(cap / 4));
        if review_usd != self.state.reserve {
            self.record(Event::Reserved { review_usd });
        }
    }

    /// The call cannot be made at all: the run cannot go on.
    pub fn cannot_call(&mut self, why: String, now: Timestamp) {
        self.now = now;
        self.record(Event::Halted { class: None, message: why, until: None });
    }

    fn executor_call(&self, key: Key, turn: &Turn<'_>, fetched: &Fetched) -> Shape {
        let state = &self.state;
        let policy = &state.start().policy;
        let task = state.task(key);
        let spec = &task.spec;
        let who = Who::Type(spec.kind);
        let (shared, own) = (self.shared_with(key), self.own_instructions(key));
        let opening = self.openings.of(who, policy, shared);
        let rules = &opening.text;
        let wanted = &task.wanted;
        let words = wanted.words();
        let (description, row) = self.description(key);
        let mut dependencies = self.inputs(key);
        let row_is_data = row.is_some();
        dependencies.extend(row);
        let granted: Vec<&ToolSpec> = spec.offered(&self.tools).collect();
        let agent = policy.agent(&turn.model).is_some();
        if agent {
            // It has tools of its own, and none to open a result with.
            dependencies.iter_mut().for_each(|output| output.reference = None);
        }
        let tool_calls = (!granted.is_empty() && !agent).then(|| policy.max_tool_calls(turn.tier));
        let front = rules.len() + shared.map_or(0, |shared| shared.text.len()) + wanted.format().map_or(0, context::format_bytes);
        let (tools, allowed_tools) = self.kit(spec.kind, &granted, turn, front);
        let parts = Parts {
            rules,
            shared,
            own: &own,
            description: &description,
            output_format: &words,
            writes: &spec.writes,
            checks: &spec.checks,
            tool_calls,
            images: self.shown(key, &turn.model),
            excerpts: fetched.excerpts.clone(),
            dependencies,
            evidence: self.evidence(key, turn.tier),
        };
        let limits = policy.tier(turn.tier).map(TierLimits::from).unwrap_or_default();
        let mut packed = context::pack(&parts, &limits);
        if row_is_data && let Some(part) = packed.receipt.iter_mut().rfind(|part| part.name == format!("result of {}", spec.id)) {
            part.name = "row".to_owned();
        }
        packed.items.extend(turn.items.iter().cloned());
        let role = Role::Executor;
        let service = self.executor_service(key, &turn.model, turn.omit);
        let mut deadlines = service::patient(policy.deadlines(turn.tier), service);
        if let Some((limit, since)) = spec.deadline.or(policy.limits.subtask).zip(state.work.get(&key).and_then(|w| w.since)) {
            let left = (since + limit) - self.now;
            deadlines.total.0 = deadlines.total.0.min(left.0.max(1));
        }
        Shape {
            tier: turn.tier.clone(),
            model: turn.model.clone(),
            packed,
            cache_key: policy.prompt_cache(role, Some(spec.kind)).then(|| opening.cache_key.clone()),
            retention: policy.prompt_cache_retention(role, Some(spec.kind)),
            limited_as: None,
            tools,
            allowed_tools,
            format: wanted.format().cloned(),
            effort: spec.effort.unwrap_or_else(|| policy.effort(role, Some(spec.kind), turn.tier)),
            verbosity: spec.verbosity.or_else(|| policy.verbosity(role, Some(spec.kind), turn.tier)),
            doubled: turn.doubled,
            omit: turn.omit.to_vec(),
            deadlines,
            service,
        }
    }

    /// The images a unit is shown, each with what it counts as for its model.
    fn shown(&self, key: Key, model: &ModelRef) -> Vec<Picture> {
        let images = self.state.work.get(&key).map_or(&[][..], |work| &work.images);
        let picture = |shown: &GatheredImage| Picture {
            name: shown.path.clone(),
            image: shown.image.clone(),
            tokens: self.image_tokens(model, &shown.image),
        };
        images.iter().map(picture).collect()
    }

    /// The description as the executor reads it; a row that it does not mention follows as data.
    fn description(&self, key: Key) -> (String, Option<Output>) {
        let spec = &self.state.task(key).spec;
        let Some(item) = self.item(key) else { return (spec.description.clone(), None) };
        let mentions = references(&spec.description).iter().any(|(_, r)| matches!(r, plan::reference::Reference::Item { .. }));
        if mentions {
            return (plan::reference::fill_items(&spec.description, item), None);
        }
        let text = item.as_str().map_or_else(|| item.to_string(), str::to_owned);
        let row = spec.id.clone();
        (spec.description.clone(), Some(Output { id: row, text, reference: None }))
    }

    /// Results the unit builds on.
    fn inputs(&self, key: Key) -> Vec<Output> {
        let task = self.state.task(key);
        if let Some(merge) = &task.merge {
            return merge.sides.iter().filter_map(|side| self.side(side)).collect();
        }
        let can_open = task.spec.tools.iter().any(|t| t == OPEN_OUTPUT);
        let input = |&dep: &u32| {
            let id = self.state.tasks[dep as usize].spec.id.clone();
            let (status, text) = self.output_of(key, dep)?;
            let text = match status {
                SubtaskStatus::Done => text.to_string(),
                SubtaskStatus::Skipped | SubtaskStatus::Dropped => "(skipped)".to_owned(),
                SubtaskStatus::Failed => format!("(failed) {text}"),
            };
            let reference = can_open.then(|| id.to_string());
            Some(Output { id, text, reference })
        };
        task.deps.iter().filter_map(input).collect()
    }

    /// One side of a conflict: what it was to do, what it said, what it changed.
    fn side(&self, side: &Side) -> Option<Output> {
        let task = &self.state.tasks[*self.state.index.get(&side.unit.subtask)? as usize];
        let text = format!(
            "What {} was to do:\n{}\n\nWhat it said:\n{}\n\nWhat it changed:\n{}",
            side.unit, task.spec.description, task.output, side.diff
        );
        Some(Output { id: task.spec.id.clone(), text, reference: None })
    }

    fn evidence(&self, key: Key, tier: &Tier) -> Vec<Evidence> {
        let task = self.state.task(key);
        let work = self.state.work.get(&key);
        let tried = work.map_or(&[][..], |w| &w.tried);
        let said = |text: &String| Evidence {
            attempt: tried.len() as u32,
            tier: tier.clone(),
            what: "it was sent back with these instructions".to_owned(),
            text: text.clone(),
        };
        let instructions = work.map_or(&[][..], |w| &w.instructions);
        let tried = tried.iter().enumerate().filter(|(_, t)| !t.evidence.is_empty()).map(|(n, t)| Evidence {
            attempt: n as u32 + 1,
            tier: t.tier.clone(),
            what: t.evidence.lines().next().unwrap_or_default().to_owned(),
            text: t.evidence.clone(),
        });
        tried.chain(task.instructions.iter().map(said)).chain(instructions.iter().map(said)).collect()
    }

    fn flagship_call(&self, caller: &Caller, fetched: &Fetched) -> Shape {
        let state = &self.state;
        let policy = &state.start().policy;
        let (tier, model) = self.desk_model();
        let (who, packed, format) = match caller {
            Caller::Reviewer => {
                let mut packed = review_packed(state, fetched);
                if let Some(Job::Review { faults }) = &state.desk.job
                    && !faults.is_empty()
                {
                    packed.items.extend(context::mend("", faults, &[], &[]));
                }
                (Who::Reviewer, packed, structured("brigade_review", plan::schema::review()))
            }
            Caller::Replanner => {
                let rules = context::instructions(Who::PlannerPatch, policy);
                let mut packed = context::replayed(rules, self.planner_base(fetched));
                if !state.desk.asked {
                    let mut new = replan_packed(state);
                    packed.items.append(&mut new.items);
                    packed.receipt.extend(new.receipt.into_iter().skip(1)); // the rules stand there already
                }
                (Who::PlannerPatch, packed, structured("brigade_plan_patch", plan::schema::plan_patch()))
            }
            _ => {
                let rules = context::instructions(Who::Planner, policy);
                let mut packed = self.planner_packed(&rules, fetched);
                let accepted = if state.desk.mends == 0 { state.tasks.len() } else { state.desk.frozen as usize };
                if accepted > 0 {
                    let mut plan = self.plan();
                    plan.subtasks.truncate(accepted);
                    packed.items.push(context::the_rest(&plan));
                }
                packed.items.extend(state.desk.turns.iter().cloned());
                (Who::Planner, packed, structured("brigade_plan", plan::schema::plan()))
            }
        };
        let role = caller.role();
        Shape {
            service: self.flagship_service(&model, &state.desk.omit),
            effort: policy.effort(role, None, &tier),
            verbosity: policy.verbosity(role, None, &tier),
            deadlines: policy.deadlines(&tier),
            tier,
            model,
            packed,
            cache_key: policy.prompt_cache(role, None).then(|| self.cache_key(who)),
            retention: policy.prompt_cache_retention(role, None),
            limited_as: None,
            tools: Vec::new(),
            allowed_tools: Vec::new(),
            format: Some(format),
            doubled: state.desk.doubled,
            omit: state.desk.omit.clone(),
        }
    }

    /// The hint by which a flagship's calls find their cache.
    pub(super) fn cache_key(&self, who: Who) -> String {
        self.openings.of(who, &self.state.start().policy, None).cache_key.clone()
    }
}

impl State {
    /// The unit a caller works for.
    pub(super) fn key_of(&self, caller: &Caller) -> Option<Key> {
        match caller {
            Caller::Executor { unit, .. } => self.key(unit),
            _ => None,
        }
    }
}

fn structured(name: &str, schema: Value) -> Format {
    Format { name: name.to_owned(), schema: schema.into(), strict: true }
}

/// The planner's next message about a run under way. Called alike when the call is made and when it is folded.
pub(super) fn replan_packed(state: &State) -> context::Packed {
    let start = state.start();
    let rules = context::instructions(Who::PlannerPatch, &start.policy);
    let happened = match &state.desk.job {
        Some(Job::Replan { reasons, .. }) => reasons.join("\n\n"),
        _ => String::new(),
    };
    let standing =
        state.tasks.iter().map(|t| Standing { id: t.spec.id.clone(), state: state_word(state, t), title: t.spec.title.clone() }).collect();
    let results = state
        .tasks
        .iter()
        .enumerate()
        .filter(|(n, t)| state.desk.news.contains(&(*n as u32)) && t.status == Some(SubtaskStatus::Done) && !t.output.is_empty())
        .map(|(_, t)| Output { id: t.spec.id.clone(), text: t.output.to_string(), reference: None })
        .collect();
    // With a plan by hand this is the planner's first word of them.
    let shared = if start.planned { None } else { context::chain::shared(&start.instructions) };
    context::replan(Replanning {
        rules: &rules,
        shared: shared.as_ref(),
        request: &start.request,
        standing,
        happened: &happened,
        evidence: "",
        told: &[],
        results,
        notes: &state.notes,
        replans_left: start.policy.limits.max_replans.saturating_sub(state.desk.replans + 1),
    })
}

fn state_word(state: &State, task: &super::Task) -> String {
    match task.status {
        Some(SubtaskStatus::Done) => "done".to_owned(),
        Some(SubtaskStatus::Failed) => "failed".to_owned(),
        Some(SubtaskStatus::Skipped) => "skipped".to_owned(),
        Some(SubtaskStatus::Dropped) => "dropped".to_owned(),
        None => {
            let key = state.index.get(&task.spec.id).map(|&task| Key { task, row: None });
            let work = key.and_then(|k| state.work.get(&k));
            match work.map(|w| w.stage) {
                Some(super::Stage::Planner) => "needs you".to_owned(),
                Some(super::Stage::Person(_)) => "waits for a person".to_owned(),
                Some(_) => "running".to_owned(),
                None => "waiting".to_owned(),
            }
        }
    }
}

fn review_packed(state: &State, fetched: &Fetched) -> context::Packed {
    let start = state.start();
    let rules = context::instructions(Who::Reviewer, &start.policy);
    let bulk = state.tasks.iter().any(|t| t.source.is_some());
    let there: Vec<_> = state.tasks.iter().filter(|t| t.status != Some(SubtaskStatus::Dropped)).collect();
    let (shown, sampled) = to_review(&there);
    let results = shown
        .into_iter()
        .map(|t| Worked {
            id: t.spec.id.clone(),
            title: if t.spec.title.is_empty() { t.spec.description.clone() } else { t.spec.title.clone() },
            state: match &t.error {
                Some(error) => format!("{}: {error}", state_word(state, t)),
                None => state_word(state, t),
            },
            output: t.output.to_string(),
            checks: t.checks.clone(),
        })
        .collect();
    let limits = state.start().policy.tier(start.policy.reviewer()).map(TierLimits::from).unwrap_or_default();
    let reviewing = Reviewing {
        rules: &rules,
        request: &start.request,
        results,
        diff: fetched.diff.as_deref(),
        notes: &state.notes,
        sampled: sampled.as_deref().or(bulk.then_some("of the rows, some of each outcome")),
        rounds_left: start.policy.limits.max_review_rounds.saturating_sub(state.desk.reviews),
    };
    context::reviewer(&reviewing, &limits)
}

/// The subtasks a review looks at: all of a usual plan; of a huge one those that went wrong and an even spread of the rest.
fn to_review<'a>(there: &[&'a super::Task]) -> (Vec<&'a super::Task>, Option<String>) {
    if there.len() <= MOST_SUBTASKS_REVIEWED {
        return (there.to_vec(), None);
    }
    let wrong = |t: &&&super::Task| t.status != Some(SubtaskStatus::Done);
    let mut shown: Vec<_> = there.iter().filter(wrong).take(MOST_SUBTASKS_REVIEWED / 2).copied().collect();
    let stride = there.len().div_ceil(MOST_SUBTASKS_REVIEWED - shown.len());
    shown.extend(there.iter().step_by(stride).filter(|t| t.status == Some(SubtaskStatus::Done)).copied());
    let done = there.iter().filter(|t| t.status == Some(SubtaskStatus::Done)).count();
    let text = format!("{} of {} subtasks, the failed ones first; {done} are done in all", shown.len(), there.len());
    (shown, Some(text))
}

/// Bytes of the whole serialised request, counted without making it; never too few tokens for it.
fn request_bytes(call: &Call) -> usize {
    let items: usize = call.items.iter().map(|item| ITEM_BYTES + context::item_bytes(item)).sum();
    let tools: usize = call.tools.iter().map(|tool| ITEM_BYTES + context::tool_bytes(tool)).sum();
    let format = call.format.as_ref().map_or(0, context::format_bytes);
    FRAME_BYTES + call.instructions.len() + items + tools + format
}
