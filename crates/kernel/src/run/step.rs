//! What should be in flight and is not. Costs what changed, not what there is.

mod afford;
mod batches;
mod close;
mod compose;
mod doors;
mod partial;
mod price;
mod rows;
mod start;
mod warm;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::ops::Bound;

use serde_json::Value;

use super::action::Action;
use super::event::{Caller, CompactBy, Event, Unit};
use super::state::{DeskStage, Key, Parked, PendingTool, Phase, Queue, Stage};
use super::{Ask, Run};
use crate::budget::Role;
use crate::ids::{ModelRef, Tier};
use crate::time::{Millis, Timestamp};
use crate::tool::{Effect, OPEN_OUTPUT, ToolOutput};
use crate::units::NanoUsd;
pub(super) use doors::Doors;
pub use doors::{Door, Gate};
pub(super) use warm::Warmth;

/// Units looked at in one step that have to wait, before the rest is left to the next step.
const LOOK_AT: usize = 64;
/// Actions after which a step begins nothing further: the first are on their way while the next are prepared.
const AT_ONCE: usize = 64;

/// Times a keyed call is made without an answer before a person is asked.
const MOST_TRIES: u32 = 3;

/// The entry of a queue after another one.
fn next_in(queue: &Queue, after: Option<(Reverse<u64>, Key)>) -> Option<(Reverse<u64>, Key)> {
    match after {
        None => queue.first().copied(),
        Some(after) => queue.range((Bound::Excluded(after), Bound::Unbounded)).next().copied(),
    }
}

impl Run {
    /// Says what to do now; called again until it says nothing, for it may leave the rest to the next step.
    pub fn step(&mut self, now: Timestamp, gate: &mut Gate<'_>) -> Vec<Action> {
        self.now = now;
        self.session.promised = NanoUsd::ZERO;
        self.session.errands.clear();
        self.session.used_up = None;
        self.session.joining = 0;
        let mut actions = Vec::new();
        if matches!(self.state.phase, Phase::New | Phase::Ended) || self.state.ended.is_some() {
            return actions;
        }
        self.unpark();
        let mut doors = Doors::new(gate, &self.state);
        while !self.stopping() {
            let before = self.outbox.len();
            self.acts(&mut actions);
            self.calls(&mut doors, &mut actions);
            self.hedges(&mut doors, &mut actions);
            self.desk(&mut doors, &mut actions);
            self.price(&mut actions);
            self.starts(&mut doors, &mut actions);
            self.rows(&mut doors, &mut actions);
            // Starts may have made parts wanted.
            self.acts(&mut actions);
            self.patch(&mut actions);
            // What was skipped or refused may have made way for something else.
            if !actions.is_empty() || self.outbox.len() == before {
                break;
            }
        }
        self.batches(&mut actions);
        self.close(&actions);
        actions
    }

    pub(super) fn stopping(&self) -> bool {
        self.session.draining || self.state.stop.is_some()
    }

    /// When `step` should be called again though nothing was heard.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        let times = [self.state.wakes_at(), self.waits_until(), self.home_waits(), self.hedges_at()];
        let soon = times.into_iter().flatten().min();
        [soon.filter(|_| !self.stopping()), self.parked_until()].into_iter().flatten().min()
    }

    fn hand_out(&mut self, actions: &mut Vec<Action>, action: Action) {
        self.session.outstanding += 1;
        actions.push(action);
    }

    /// Parts, tools and checks of units that just came to want them.
    fn acts(&mut self, actions: &mut Vec<Action>) {
        let mut seen = HashSet::new();
        for key in std::mem::take(&mut self.state.fresh) {
            if !seen.insert(key) {
                continue;
            }
            match self.state.work.get(&key).map(|w| w.stage) {
                Some(Stage::Gather) => {
                    let action = self.gather(key);
                    self.hand_out(actions, action);
                }
                Some(Stage::Tools) => self.tools(key, actions),
                Some(Stage::Checks) => {
                    let Some(attempt) = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()) else { continue };
                    let (no, at) = (attempt.no, attempt.checked as usize);
                    if let Some(check) = self.checks_of(key).into_iter().nth(at) {
                        let unit = self.state.unit(key);
                        self.hand_out(actions, Action::Check { unit, attempt: no, check });
                    }
                }
                _ => {}
            }
        }
    }

    fn gather(&self, key: Key) -> Action {
        let task = self.state.task(key);
        let work = self.state.work.get(&key);
        let tier = work.and_then(|w| w.attempt.as_ref()).and_then(|a| self.state.start().policy.tier(&a.tier));
        let limit = tier.and_then(|t| t.max_context_tokens).unwrap_or(100_000);
        Action::Gather {
            unit: self.state.unit(key),
            files: task.spec.files.clone(),
            about: format!("{} {}", task.spec.title, task.spec.description),
            limit_bytes: u64::from(limit) * 4,
            view: super::uses_view(&task.spec),
            start: self.state.start_of(key),
            onto: work.and_then(|w| w.onto.clone()),
            images: task.spec.images.clone(),
        }
    }

    /// Tools that were asked for: reads all at once, writes one after another.
    fn tools(&mut self, key: Key, actions: &mut Vec<Action>) {
        let unit = self.state.unit(key);
        let Some(attempt) = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()) else { return };
        let (no, tree) = (attempt.no, attempt.tree.clone());
        let mut writing = false;
        for call in attempt.pending.clone() {
            let at_work = (key, call.call_id.clone());
            if call.asked.is_some() {
                continue;
            }
            let effect = self.tools.iter().find(|t| t.name == call.name).map(|t| t.effect);
            let writes = effect.is_some_and(|e| e != Effect::Repeatable);
            if self.session.tools.contains(&at_work) {
                writing |= writes;
                continue;
            }
            let granted = self.state.task(key).spec.grants(&call.name);
            match call.name.as_str() {
                "end" => {
                    let why = super::turn::ending(&call.arguments).err().unwrap_or_else(|| "call end alone, with no other tool".to_owned());
                    self.tool_refused(&unit, no, call, why);
                }
                name if !granted => {
                    let why = format!("there is no tool {name:?} here; use only those you were given, or call end");
                    self.tool_refused(&unit, no, call, why);
                }
                "ask" => {
                    let question = serde_json::from_str::<Value>(&call.arguments)
                        .ok()
                        .and_then(|v| v.get("question").and_then(Value::as_str).map(str::to_owned))
                        .unwrap_or(call.arguments);
                    self.ask_person(Ask::Question, Some(unit.clone()), Some(call.call_id), question, String::new());
                }
                name if call.started && self.must_ask(&at_work, effect) => {
                    // It may have happened: not again without a person's word (promises.md I6).
                    let how = match self.session.unanswered.get(&at_work) {
                        Some((_, why)) => format!("{name} was called ({why})"),
                        None => format!("the engine stopped while {name} was under way"),
                    };
                    let question = format!("{unit}: {how}, and nobody knows whether it happened. What should the model be told?");
                    self.ask_person(Ask::Question, Some(unit.clone()), Some(call.call_id), question, call.arguments);
                }
                _ if writes && writing => {}
                name => {
                    let opens = match (name == OPEN_OUTPUT).then(|| self.opens(key, &call.arguments)) {
                        Some(Err(why)) => {
                            self.tool_refused(&unit, no, call, why);
                            continue;
                        }
                        opens => opens.and_then(Result::ok),
                    };
                    let again = call.started;
                    if writes && !again {
                        let (call_id, name) = (call.call_id.clone(), call.name.clone());
                        self.record(Event::ToolStarted { unit: unit.clone(), attempt: no, call_id, name });
                    }
                    writing |= writes;
                    self.session.tools.insert(at_work);
                    let action = Action::Tool {
                        unit: unit.clone(),
                        attempt: no,
                        call_id: call.call_id,
                        name: name.to_owned(),
                        arguments: call.arguments,
                        writes,
                        reset_to: tree.clone().filter(|_| again),
                        opens,
                    };
                    self.hand_out(actions, action);
                }
            }
        }
    }

    /// Whether only a person can say what became of a call: it must not be repeated, or was to no avail.
    fn must_ask(&self, call: &(Key, String), effect: Option<Effect>) -> bool {
        let tries = self.session.unanswered.get(call).map_or(0, |(tries, _)| *tries);
        // A tool that is no longer known may have been one that must not be repeated.
        effect.is_none_or(|effect| effect == Effect::Unkeyed) || tries >= MOST_TRIES
    }

    fn tool_refused(&mut self, unit: &Unit, attempt: u32, call: PendingTool, why: String) {
        self.record(Event::ToolEnded {
            unit: unit.clone(),
            attempt,
            call_id: call.call_id,
            name: call.name,
            output: ToolOutput::refused(why),
            saved: None,
            tree: None,
            touched: None,
            ms: Millis(0),
        });
    }

    /// Calls of attempts under way.
    fn calls(&mut self, gate: &mut Doors<'_, '_>, actions: &mut Vec<Action>) {
        if self.state.is_starved(Role::Executor) {
            return;
        }
        let due = self.state.parked.iter().take_while(|(at, _)| *at <= self.now);
        let due: Vec<Key> = due.filter_map(|(_, who)| if let Parked::Unit(key) = who { Some(*key) } else { None }).take(LOOK_AT).collect();
        for key in due {
            self.call(key, gate, actions);
        }
        let mut after = None;
        let mut waiting = 0;
        while waiting < LOOK_AT
            && actions.len() < AT_ONCE
            && let Some(next) = next_in(&self.state.to_call, after)
        {
            after = Some(next);
            if !self.call(next.1, gate, actions) {
                waiting += 1;
            }
        }
    }

    /// Makes the next call of an attempt, unless it has to wait.
    fn call(&mut self, key: Key, gate: &mut Doors<'_, '_>, actions: &mut Vec<Action>) -> bool {
        let Some(attempt) = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()) else { return false };
        if self.session.looking.contains(&Some(key)) {
            return true; // it does not wait for a gate, nor keeps others from theirs
        }
        if self.item_missing(key) || self.session.leased_out.contains(&key.task) {
            return false;
        }
        let no = attempt.no;
        if self.home_waits().is_some() || self.is_asking(|| Caller::Executor { unit: self.state.unit(key), attempt: no }) {
            return false;
        }
        let (opened, tier) = (attempt.opened, attempt.tier.clone());
        self.session.spilled.remove(&key);
        let model = self.model_of(key);
        if self.too_late(key) {
            self.give_up_late(key);
            return true;
        }
        let batched = self.goes_by_batch(key, &model);
        let turn = if opened || batched { warm::Turn::Go } else { self.turn_of(key, &tier, &model) };
        let waits = turn == warm::Turn::Wait || self.is_used_up(&model);
        if waits || !(batched || self.enters(gate, key, &tier, &model)) {
            return false;
        }
        if turn == warm::Turn::Lead {
            self.leads(key, &model);
        }
        actions.push(Action::Call { caller: Caller::Executor { unit: self.state.unit(key), attempt: no } });
        true
    }

    /// The model an attempt asks: its tier's, the alternate it fell back to, or the one its next call goes to meanwhile.
    pub(super) fn model_of(&self, key: Key) -> ModelRef {
        if let Some(meanwhile) = self.session.spilled.get(&key) {
            return meanwhile.clone();
        }
        let attempt = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()).expect("only a unit with an attempt calls");
        match attempt.alternate {
            0 => attempt.model.clone(),
            n => (*self.stand_ins(Some(key), &attempt.tier).get(n as usize - 1).unwrap_or(&&attempt.model)).clone(),
        }
    }

    pub(in crate::run) fn too_late(&self, key: Key) -> bool {
        let limit = self.state.task(key).spec.deadline.or(self.state.start().policy.limits.subtask);
        let since = self.state.work.get(&key).and_then(|w| w.since);
        limit.zip(since).is_some_and(|(limit, since)| self.now > since + limit)
    }

    fn desk(&mut self, gate: &mut Doors<'_, '_>, actions: &mut Vec<Action>) {
        let due = match self.state.desk.stage {
            DeskStage::Call => true,
            DeskStage::Parked => self.state.parked.iter().any(|(at, who)| *who == Parked::Desk && *at <= self.now),
            DeskStage::Idle | DeskStage::Calling(_) => false,
        };
        if !due || self.session.looking.contains(&None) {
            return;
        }
        let Some(caller) = self.desk_caller().filter(|c| !self.state.is_starved(c.role())) else { return };
        if self.home_waits().is_some() || self.is_asking(|| caller.clone()) {
            return;
        }
        let (tier, model) = match caller {
            Caller::Compactor { by: CompactBy::Summary } => self.summary_model(),
            _ => self.desk_model(),
        };
        if !self.is_used_up(&model) && gate.enter(&tier, &model) == Door::Open {
            actions.push(Action::Call { caller });
        }
    }

    /// The tier and model of the flagship's job.
    pub(super) fn desk_model(&self) -> (Tier, ModelRef) {
        let policy = &self.state.start().policy;
        let tier = match self.state.desk.job {
            Some(super::Job::Review { .. }) => policy.reviewer(),
            _ => policy.planner(),
        };
        let bound = policy.tier(tier).expect("a policy's roles are on its ladder");
        let model = match self.state.desk.alternate {
            0 => bound.model.clone(),
            n => (*self.stand_ins(None, tier).get(n as usize - 1).unwrap_or(&&bound.model)).clone(),
        };
        (tier.clone(), model)
    }
}
