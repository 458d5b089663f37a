//! What should be in flight and is not. Costs what changed, not what there is.

use std::sync::Arc;

use serde_json::Value;

use super::action::{Action, RowRead};
use super::event::{Caller, Event, RunStatus, RunSummary, SubtaskOrInput, SubtaskStatus};
use super::state::{DeskStage, Key, Parked, Phase, Stage, Stop};
use super::{Ask, Run, rows};
use crate::call::ErrorClass;
use crate::ids::{ModelRef, Tier};
use crate::plan::reference::{Reference, lookup, outputs, references};
use crate::plan::{self, ForEach};
use crate::policy::Slots;
use crate::route::{self, Next, Route};
use crate::time::{Millis, Timestamp};
use crate::tool::{Effect, ToolOutput};

/// Attempts in flight when the user sets no number: what one account's gate may allow, and 100 MB can hold.
const AUTO_SLOTS: u32 = 1_024;
/// Rows read at a time.
const ROWS_AT_ONCE: u64 = 512;

/// Asks the gate of a model's account for a slot; a granted slot is the caller's to give back.
pub type Gate<'a> = dyn FnMut(&ModelRef) -> bool + 'a;

impl Run {
    /// Says what to do now.
    pub fn step(&mut self, now: Timestamp, gate: &mut Gate<'_>) -> Vec<Action> {
        self.now = now;
        let mut actions = Vec::new();
        if matches!(self.state.phase, Phase::New | Phase::Ended) || self.state.ended.is_some() {
            return actions;
        }
        if !self.stopping() {
            self.acts(&mut actions);
            if self.state.starved.is_none() {
                self.calls(gate, &mut actions);
                self.desk(gate, &mut actions);
                self.starts(gate, &mut actions);
                self.rows(gate, &mut actions);
            }
            // Starts may have made parts wanted.
            self.acts(&mut actions);
            self.patch(&mut actions);
        }
        self.close(&actions);
        actions
    }

    fn stopping(&self) -> bool {
        self.session.draining || self.state.stop.is_some()
    }

    /// When `step` should be called again though nothing was heard.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        self.state.wakes_at().filter(|_| !self.stopping())
    }

    fn hand_out(&mut self, actions: &mut Vec<Action>, action: Action) {
        self.session.outstanding += 1;
        actions.push(action);
    }

    /// Parts, tools and checks of units that just came to want them.
    fn acts(&mut self, actions: &mut Vec<Action>) {
        for key in std::mem::take(&mut self.state.fresh) {
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
        let view = super::uses_view(&task.spec);
        let work = self.state.work.get(&key);
        let tier = work.and_then(|w| w.attempt.as_ref()).and_then(|a| self.state.start().policy.tier(&a.tier));
        let limit = tier.and_then(|t| t.max_context_tokens).unwrap_or(100_000);
        Action::Gather {
            unit: self.state.unit(key),
            files: task.spec.files.clone(),
            about: format!("{} {}", task.spec.title, task.spec.description),
            limit_bytes: u64::from(limit) * 4,
            view,
            reset_to: work.filter(|w| w.dirty).and_then(|w| w.base_tree.clone()),
        }
    }

    fn tools(&mut self, key: Key, actions: &mut Vec<Action>) {
        let unit = self.state.unit(key);
        let Some(attempt) = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()) else { return };
        let no = attempt.no;
        for call in attempt.pending.clone() {
            if call.asked.is_some() {
                continue;
            }
            match call.name.as_str() {
                "end" => {
                    let why = super::turn::ending(&call.arguments).err().unwrap_or_else(|| "call end alone, with no other tool".to_owned());
                    let output = ToolOutput::refused(why);
                    let event = Event::ToolEnded {
                        unit: unit.clone(),
                        attempt: no,
                        call_id: call.call_id,
                        name: call.name,
                        output,
                        tree: None,
                        ms: Millis(0),
                    };
                    self.record(event);
                }
                "ask" => {
                    let question = serde_json::from_str::<Value>(&call.arguments)
                        .ok()
                        .and_then(|v| v.get("question").and_then(Value::as_str).map(str::to_owned))
                        .unwrap_or(call.arguments);
                    self.ask_person(Ask::Question, Some(unit.clone()), Some(call.call_id), question, String::new());
                }
                name => {
                    let writes = self.tools.iter().any(|t| t.name == name && t.effect != Effect::Repeatable);
                    if writes && !call.started {
                        self.record(Event::ToolStarted { unit: unit.clone(), attempt: no, call_id: call.call_id.clone(), name: call.name.clone() });
                    }
                    let action = Action::Tool { unit: unit.clone(), attempt: no, call_id: call.call_id, name: call.name, arguments: call.arguments, writes };
                    self.hand_out(actions, action);
                }
            }
        }
    }

    /// Calls of attempts under way.
    fn calls(&mut self, gate: &mut Gate<'_>, actions: &mut Vec<Action>) {
        let due = self.state.parked.iter().take_while(|(at, _)| *at <= self.now);
        let due: Vec<Key> = due.filter_map(|(_, who)| if let Parked::Unit(key) = who { Some(*key) } else { None }).collect();
        let waiting: Vec<Key> = due.into_iter().chain(self.state.to_call.iter().map(|(_, key)| *key)).collect();
        for key in waiting {
            let Some(attempt) = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()) else { continue };
            if self.item_missing(key) {
                continue;
            }
            let (no, model) = (attempt.no, self.model_of(key));
            if self.too_late(key) {
                let reason = "its deadline passed".to_owned();
                self.attempt_failed(key, super::Ending::Failed, route::Failure::TooManyTurns, reason);
                continue;
            }
            if !gate(&model) {
                break;
            }
            actions.push(Action::Call { caller: Caller::Executor { unit: self.state.unit(key), attempt: no } });
        }
    }

    /// The model an attempt asks: its tier's, or the alternate it fell back to.
    pub(super) fn model_of(&self, key: Key) -> ModelRef {
        let attempt = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()).expect("only a unit with an attempt calls");
        match attempt.alternate {
            0 => attempt.model.clone(),
            n => {
                let tier = self.state.start().policy.tier(&attempt.tier);
                tier.and_then(|t| t.alternates.get(n as usize - 1)).unwrap_or(&attempt.model).clone()
            }
        }
    }

    fn too_late(&self, key: Key) -> bool {
        let limit = self.state.task(key).spec.deadline.or(self.state.start().policy.limits.subtask);
        let since = self.state.work.get(&key).and_then(|w| w.since);
        limit.zip(since).is_some_and(|(limit, since)| self.now > since + limit)
    }

    fn desk(&mut self, gate: &mut Gate<'_>, actions: &mut Vec<Action>) {
        let due = match self.state.desk.stage {
            DeskStage::Call => true,
            DeskStage::Parked => self.state.parked.iter().any(|(at, who)| *who == Parked::Desk && *at <= self.now),
            DeskStage::Idle | DeskStage::Calling(_) => false,
        };
        let Some(caller) = self.desk_caller().filter(|_| due) else { return };
        if gate(&self.desk_model().1) {
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
            0 => &bound.model,
            n => bound.alternates.get(n as usize - 1).unwrap_or(&bound.model),
        };
        (tier.clone(), model.clone())
    }

    fn room(&self) -> u32 {
        let slots = match self.state.start().policy.limits.max_concurrent_subagents {
            Slots::Auto => AUTO_SLOTS,
            Slots::At(n) => n,
        };
        slots.saturating_sub(self.state.active)
    }

    /// New attempts, most urgent first.
    fn starts(&mut self, gate: &mut Gate<'_>, actions: &mut Vec<Action>) {
        if !self.state.desk.planned && self.state.desk.mends > 0 {
            return; // a fault of the whole plan stops new starts until it is mended
        }
        let mut passed_over = 0;
        loop {
            let next = self.state.ready.iter().nth(passed_over);
            // Who holds the view goes on in it, on whichever tier; nobody else may.
            let writer = self.state.ready_writers.iter().find(|(_, key)| self.state.writer.is_none_or(|holder| holder == *key));
            let writer = writer.filter(|_| self.state.desk.planned);
            let Some(&(_, key)) = [next, writer].into_iter().flatten().min() else { return };
            if !self.start_unit(key, gate, actions) {
                if self.room() == 0 || passed_over > 256 {
                    return;
                }
                passed_over += 1;
                if self.state.ready.len() <= passed_over {
                    return;
                }
            }
        }
    }

    /// Starts (or skips) a unit whose dependencies have ended. `false`: not now.
    fn start_unit(&mut self, key: Key, gate: &mut Gate<'_>, actions: &mut Vec<Action>) -> bool {
        if self.item_missing(key) || (!self.state.desk.planned && !self.may_stream(key)) {
            return false;
        }
        if let Some(why) = self.skipped(key) {
            self.end_unit(key, SubtaskStatus::Skipped, String::new(), Some(why), None);
            return true;
        }
        if self.room() == 0 {
            return false;
        }
        let route = match self.route(key) {
            Ok(route) => route,
            Err(stuck) => {
                self.up_to_the_planner(key, format!("Subtask {} cannot run: {stuck}", self.state.unit(key)));
                return true;
            }
        };
        let (tier, why) = self.next_tier(key, &route);
        let policy = self.state.start().policy.clone();
        let (model, _) = route.models(&tier, &policy);
        let direct = !super::uses_view(&self.state.task(key).spec) && self.state.task(key).spec.files.is_empty();
        if direct && !gate(model) {
            return false;
        }
        let work = self.state.work.get(&key);
        let last = work.and_then(|w| w.tried.last()).map(|t| t.tier.clone());
        let no = work.map_or(0, |w| w.tried.len() as u32) + 1;
        let unit = self.state.unit(key);
        if let Some(from) = last.filter(|from| *from != tier) {
            self.record(Event::Escalated { unit: unit.clone(), from, to: tier.clone(), why: why.clone() });
        }
        self.record(Event::AttemptStarted { unit: unit.clone(), attempt: no, tier, model: model.clone(), why });
        if direct {
            actions.push(Action::Call { caller: Caller::Executor { unit, attempt: no } });
        }
        true
    }

    /// Whether a unit may start while the plan is still arriving.
    fn may_stream(&self, key: Key) -> bool {
        let spec = &self.state.task(key).spec;
        spec.for_each.is_none() && plan::startable_while_streaming(spec, &self.known(), |id| self.state.index.contains_key(id))
    }

    fn next_tier(&self, key: Key, route: &Route) -> (Tier, String) {
        let work = self.state.work.get(&key);
        if work.is_some_and(|w| w.granted > 0) {
            let top = route.ladder.last().unwrap_or(&route.tier);
            return (top.clone(), "a person said how to go on".to_owned());
        }
        let last = work.and_then(|w| w.tried.last());
        match (self.next_after_failure(key), last) {
            (Some(Next::TierUp(up)), Some(last)) => (up, format!("{} on {}", words(last), last.tier)),
            (Some(Next::SameTierWithEvidence), Some(last)) => (last.tier.clone(), format!("{}; once more with the evidence", words(last))),
            _ => (route.tier.clone(), route.why.clone()),
        }
    }

    /// Where a unit may run.
    pub(super) fn route(&self, key: Key) -> Result<Route, route::Stuck> {
        let task = self.state.task(key);
        let mut facts = route::Facts::of(&task.spec);
        let inputs: usize = task.deps.iter().map(|&d| self.output_of(key, d).map_or(0, |(_, text)| text.len())).sum();
        let row = self.item(key).map_or(0, |item| item.to_string().len());
        facts.input_tokens = ((task.spec.description.len() + inputs + row) / 4) as u64;
        route::start(&facts, &self.state.start().policy)
    }

    /// How a dependency ended and what it returned, as seen from a unit.
    pub(super) fn output_of(&self, key: Key, dep: u32) -> Option<(SubtaskStatus, Arc<str>)> {
        let other = &self.state.tasks[dep as usize];
        match (key.row, self.state.task(key).source) {
            (Some(row), Some(i)) if other.source == Some(i) => {
                self.state.sources[i as usize].rows.get(&row)?.results.get(&dep).cloned()
            }
            _ => other.status.map(|status| (status, other.output.clone())),
        }
    }

    fn item_missing(&self, key: Key) -> bool {
        key.row.is_some() && self.item(key).is_none()
    }

    /// Why a unit does not run at all.
    fn skipped(&self, key: Key) -> Option<String> {
        let spec = &self.state.task(key).spec;
        let ended: Vec<_> = self.state.task(key).deps.iter().map(|&d| (d, self.output_of(key, d))).collect();
        let status = |of: &Option<(SubtaskStatus, Arc<str>)>| of.as_ref().map(|(s, _)| *s);
        let name = |d: u32| self.state.tasks[d as usize].spec.id.clone();
        if let Some((d, _)) = ended.iter().find(|(d, e)| status(e) == Some(SubtaskStatus::Failed) && !self.is_rows_as_a_whole(key, *d)) {
            return Some(format!("hangs on {}, which failed", name(*d)));
        }
        let gone = |e: &Option<(SubtaskStatus, Arc<str>)>| matches!(status(e), Some(SubtaskStatus::Skipped));
        let wanted = outputs(&spec.description);
        if let Some((d, _)) = ended.iter().find(|(d, e)| gone(e) && wanted.contains(&name(*d))) {
            return Some(format!("hangs on {}, which was skipped", name(*d)));
        }
        if !ended.is_empty() && ended.iter().all(|(_, e)| gone(e)) {
            return Some("everything it hangs on was skipped".to_owned());
        }
        let when = spec.when.as_ref()?;
        let mut values: Vec<(Reference, Value)> = Vec::new();
        for reference in when.references() {
            if let Some(value) = self.value_of(key, reference) {
                values.push((reference.clone(), value));
            }
        }
        let holds = when.holds(&|wanted: &Reference| values.iter().find(|(r, _)| r == wanted).map(|(_, v)| v));
        (!holds).then(|| format!("when {} is false", when.as_str()))
    }

    /// Failed rows do not fail what reads the rows as a whole.
    fn is_rows_as_a_whole(&self, key: Key, dep: u32) -> bool {
        self.state.tasks[dep as usize].source.is_some() && (key.row.is_none() || self.state.tasks[dep as usize].source != self.state.task(key).source)
    }

    fn value_of(&self, key: Key, reference: &Reference) -> Option<Value> {
        match reference {
            Reference::Item { path } => lookup(self.item(key)?, path).cloned(),
            Reference::Output { id, path } => {
                let &dep = self.state.index.get(id)?;
                let (_, text) = self.output_of(key, dep)?;
                let value = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.to_string()));
                lookup(&value, path).cloned()
            }
        }
    }

    /// Rows: read ahead, and started while there is room.
    fn rows(&mut self, gate: &mut Gate<'_>, actions: &mut Vec<Action>) {
        if !self.state.desk.planned {
            return;
        }
        for i in 0..self.state.sources.len() {
            if !self.source_is_open(i) {
                continue;
            }
            self.read_ahead(i, actions);
            while rows::may_start(&self.state, &self.state.sources[i]) > 0 && self.room() > 0 {
                let Some(row) = self.session.incoming.get_mut(&i).and_then(std::collections::VecDeque::pop_front) else { break };
                if !self.start_row(i, &row, gate, actions) {
                    self.session.items.remove(&(i, row.row));
                    self.session.incoming.entry(i).or_default().push_front(row);
                    break;
                }
            }
        }
    }

    /// Whether all that the rows of a source wait for, rows aside, has ended.
    fn source_is_open(&self, i: usize) -> bool {
        let source = &self.state.sources[i];
        if source.total.is_some_and(|total| source.finished >= total) {
            return false;
        }
        source.members.iter().all(|&task| {
            let deps = &self.state.tasks[task as usize].deps;
            let per_row = deps.iter().any(|&d| self.state.tasks[d as usize].source == Some(i as u32));
            per_row || deps.iter().all(|&d| self.state.tasks[d as usize].status.is_some())
        })
    }

    fn read_ahead(&mut self, i: usize, actions: &mut Vec<Action>) {
        let source = &self.state.sources[i];
        let first = source.reopened.first().copied().unwrap_or(source.below).min(source.below);
        let from = self.session.next_read.get(&i).copied().unwrap_or(first);
        let waiting = self.session.incoming.get(&i).map_or(0, std::collections::VecDeque::len) as u64;
        if self.session.reading.contains(&i) || waiting >= ROWS_AT_ONCE / 2 || source.total.is_some_and(|total| from >= total) {
            return;
        }
        match source.from.clone() {
            SubtaskOrInput::Input => {
                self.session.reading.push(i);
                self.hand_out(actions, Action::ReadRows { source: SubtaskOrInput::Input, from, count: ROWS_AT_ONCE });
            }
            SubtaskOrInput::Subtask(id) => self.list_of(i, &id),
        }
    }

    /// The rows of a list that a subtask returned.
    fn list_of(&mut self, i: usize, id: &crate::ids::SubtaskId) {
        let output = self.state.index.get(id).map(|&t| self.state.tasks[t as usize].output.clone()).unwrap_or_else(|| "".into());
        let list = match serde_json::from_str::<Value>(&output) {
            Ok(Value::Array(list)) => Some(list),
            // Structured output must be an object: a list comes as its only list field.
            Ok(Value::Object(map)) => map.into_iter().find_map(|(_, v)| if let Value::Array(list) = v { Some(list) } else { None }),
            _ => None,
        };
        let Some(list) = list else {
            for task in self.state.sources[i].members.clone() {
                if self.state.tasks[task as usize].status.is_some() {
                    continue;
                }
                let key = Key { task, row: None };
                self.end_unit(key, SubtaskStatus::Failed, String::new(), Some(format!("{id} returned no list")), None);
            }
            return;
        };
        let total = list.len() as u64;
        self.session.next_read.insert(i, total);
        let source = self.state.sources[i].from.clone();
        for (row, item) in list.into_iter().enumerate() {
            let row = row as u64;
            let item = Arc::new(item);
            if self.state.sources[i].rows.contains_key(&row) {
                self.session.items.insert((i, row), item);
            } else if !self.state.sources[i].is_finished(row) {
                self.session.incoming.entry(i).or_default().push_back(RowRead { row, item: Ok(item) });
            }
        }
        if self.state.sources[i].total.is_none() {
            self.record(Event::RowsEnded { source, rows: total });
        }
    }

    /// Starts the first subtasks of a row. `false`: the gate is closed.
    fn start_row(&mut self, i: usize, row: &RowRead, gate: &mut Gate<'_>, actions: &mut Vec<Action>) -> bool {
        let members = self.state.sources[i].members.clone();
        let item = match &row.item {
            Ok(item) => item.clone(),
            Err(why) => {
                for (n, task) in members.into_iter().enumerate() {
                    let status = if n == 0 { SubtaskStatus::Failed } else { SubtaskStatus::Skipped };
                    self.end_unit(Key { task, row: Some(row.row) }, status, String::new(), Some(why.clone()), None);
                }
                return true;
            }
        };
        self.session.items.insert((i, row.row), item);
        let mut began = false;
        for task in members {
            let key = Key { task, row: Some(row.row) };
            // Ending the first member may have put later ones into the ready queue already.
            if self.state.row_unit_is_ripe(i, row.row, task) && !self.state.work.contains_key(&key) {
                if self.start_unit(key, gate, actions) {
                    began = true;
                } else if !began {
                    return false;
                } else {
                    self.state.enter(key, Stage::Ready);
                }
            }
        }
        true
    }

    fn patch(&mut self, actions: &mut Vec<Action>) {
        let idle = self.state.calls.is_empty() && self.session.outstanding == 0;
        if self.state.phase == Phase::Reviewing && self.state.desk.job.is_none() && self.state.wants_patch() && idle && !self.session.storing {
            self.session.storing = true;
            self.hand_out(actions, Action::StorePatch);
        }
        if self.state.phase == Phase::Closing
            && self.state.start().apply
            && !self.session.applying
            && let Some(patch) = self.state.patch.as_ref().filter(|p| p.applied.is_none())
        {
            let blob = patch.blob.clone();
            self.session.applying = true;
            self.hand_out(actions, Action::ApplyPatch { blob });
        }
    }

    /// Ends the session when nothing is under way and nothing can be.
    fn close(&mut self, actions: &[Action]) {
        if !self.state.calls.is_empty() || self.session.outstanding > 0 || !actions.is_empty() {
            return;
        }
        let summary = |status, output: String| self.summary(status, output, None);
        if let Some(stop) = self.state.stop.clone() {
            let event = match stop {
                Stop::Cancel => Event::RunEnded(summary(RunStatus::Cancelled, "cancelled".to_owned())),
                Stop::Failed(why) => Event::RunEnded(summary(RunStatus::Failed, why)),
                Stop::Provider { class, message } => {
                    let status = match class {
                        ErrorClass::RateLimited | ErrorClass::Overloaded => RunStatus::QuotaParked,
                        ErrorClass::QuotaExhausted => RunStatus::NeedsPerson,
                        _ => RunStatus::Failed,
                    };
                    Event::RunPaused(self.summary(status, message, Some(class)))
                }
                Stop::Drain => Event::RunPaused(summary(RunStatus::Cancelled, "interrupted".to_owned())),
            };
            return self.record(event);
        }
        if self.session.draining {
            return self.record(Event::RunPaused(summary(RunStatus::Cancelled, "interrupted; resume it to go on".to_owned())));
        }
        if self.state.phase == Phase::Closing {
            let (status, output) = self.result();
            return self.record(Event::RunEnded(summary(status, output)));
        }
        if let Some(starved) = self.state.starved.clone() {
            return self.record(Event::RunPaused(summary(RunStatus::BudgetReached, starved.message)));
        }
        if !self.state.parked.is_empty() || !self.state.to_call.is_empty() || self.state.desk.stage != DeskStage::Idle || self.room() == 0 {
            return; // the gate opens, or the time comes
        }
        if !self.state.inbox.is_empty() {
            let n = self.state.inbox.len();
            let output = format!("{n} {} for a person", if n == 1 { "item waits" } else { "items wait" });
            return self.record(Event::RunPaused(summary(RunStatus::NeedsPerson, output)));
        }
        let startable = !self.state.ready.is_empty() || !self.state.ready_writers.is_empty();
        let rows = self.session.incoming.values().any(|q| !q.is_empty());
        if !startable && !rows && self.state.desk.planned {
            let open: Vec<_> = self.state.tasks.iter().filter(|t| t.status.is_none()).map(|t| t.spec.id.to_string()).take(5).collect();
            self.record(Event::RunEnded(summary(RunStatus::Failed, format!("nothing can go on; still open: {}", open.join(", ")))));
        }
    }

    fn summary(&self, status: RunStatus, output: String, error: Option<ErrorClass>) -> RunSummary {
        RunSummary {
            status,
            output,
            error,
            cost_usd: self.state.spent(),
            all_flagship_cost_usd: self.state.all_flagship,
            duration_ms: self.now - self.state.started_at,
            usage: self.state.usage.clone(),
        }
    }

    /// The run's answer: the review's words with results in place of their references.
    fn result(&self) -> (RunStatus, String) {
        let template = self.state.desk.final_output.as_deref().unwrap_or_default();
        let mut output = String::with_capacity(template.len());
        let mut at = 0;
        for (place, reference) in references(template) {
            let Reference::Output { id, path } = &reference else { continue };
            let Some(&task) = self.state.index.get(id) else { continue };
            output.push_str(&template[at..place.start]);
            let text = &self.state.tasks[task as usize].output;
            if path.is_empty() {
                output.push_str(text);
            } else if let Some(value) = self.value_of(Key { task, row: None }, &reference) {
                output.push_str(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
            at = place.end;
        }
        output.push_str(&template[at..]);
        let bulk: Vec<_> = self.state.tasks.iter().filter(|t| matches!(t.spec.for_each, Some(ForEach::Input | ForEach::Subtask(_)))).collect();
        let rows = bulk.iter().fold((0, 0), |(done, failed), t| (done + t.rows.done, failed + t.rows.failed));
        let status = if rows.0 == 0 && rows.1 > 0 { RunStatus::Failed } else { RunStatus::Completed };
        (status, output)
    }
}

fn words(tried: &super::Tried) -> String {
    let first = tried.evidence.lines().next().unwrap_or_default();
    first.chars().take(120).collect()
}
