//! New attempts: which unit starts, on which tier, or why it does not run at all.

use std::sync::Arc;

use serde_json::Value;

use super::afford::Afford;
use super::warm::Turn;
use super::{AT_ONCE, Doors, LOOK_AT, next_in};
use crate::budget::Role;
use crate::ids::{SubtaskId, Tier};
use crate::plan;
use crate::plan::reference::{Reference, lookup, outputs};
use crate::route::{self, Next, Route};
use crate::run::event::{Caller, Event, SubtaskStatus};
use crate::run::state::Key;
use crate::run::{Action, Run, Tried, sight, uses_view};

impl Run {
    pub(in crate::run) fn room(&self) -> u32 {
        let waiting = u32::try_from(self.state.in_batches()).unwrap_or(u32::MAX);
        self.state.start().policy.limits.max_concurrent_subagents.most().saturating_sub(self.state.active.saturating_sub(waiting))
    }

    /// New attempts, most urgent first.
    pub(super) fn starts(&mut self, gate: &mut Doors<'_, '_>, actions: &mut Vec<Action>) {
        if self.unpriced() {
            return;
        }
        if !self.state.desk.planned && self.state.desk.mends > 0 {
            return; // a fault of the whole plan stops new starts until it is mended
        }
        let (mut after, mut waiting) = (None, 0);
        // Behind siblings that wait for one of them, or for room, there may be others that need not.
        let behind = self.waits_until().is_some() || !self.state.start().policy.limits.max_of_type.is_empty();
        let look_at = if behind { LOOK_AT * 16 } else { LOOK_AT };
        while waiting < look_at
            && actions.len() < AT_ONCE
            && let Some(next) = next_in(&self.state.ready, after)
        {
            after = Some(next);
            waiting += usize::from(!self.start_unit(next.1, gate, actions));
        }
    }

    /// Starts (or skips) a unit whose dependencies have ended. `false`: not now.
    pub(super) fn start_unit(&mut self, key: Key, gate: &mut Doors<'_, '_>, actions: &mut Vec<Action>) -> bool {
        if self.item_missing(key) || (!self.state.desk.planned && !self.may_stream(key)) {
            return false;
        }
        if let Some(dep) = self.result_lost(key) {
            let why = format!("what {dep} returned for this row is not on record any more");
            self.end_unit(key, SubtaskStatus::Failed, String::new(), Some(why), None);
            return true;
        }
        if let Some(why) = self.skipped(key) {
            self.end_unit(key, SubtaskStatus::Skipped, String::new(), Some(why), None);
            return true;
        }
        let room = self.room() > 0 && self.has_room(key);
        if !(room || self.batch_room()) || self.state.is_starved(Role::Executor) || self.session.leased_out.contains(&key.task) {
            return false;
        }
        if self.home_waits().is_some() {
            return false;
        }
        if self.too_late(key) {
            self.give_up_late(key);
            return true;
        }
        let route = match self.route(key) {
            Ok(route) => route,
            Err(stuck) => {
                self.up_to_the_planner(key, format!("Subtask {} cannot run: {stuck}", self.state.unit(key)));
                return true;
            }
        };
        let (mut tier, mut why) = self.next_tier(key, &route);
        let policy = self.state.start().policy.clone();
        let (mut model, _) = route.models(&tier, &policy);
        let batched = self.goes_by_batch(key, model);
        let direct = !self.state.must_gather(key);
        // What is to be shown first takes a slot until it is gathered.
        if (batched && !self.batch_room()) || !(room || batched && direct) {
            return false;
        }
        let mut turn = if direct && !batched { self.turn_of(key, &tier, model) } else { Turn::Go };
        if turn == Turn::Wait {
            return false;
        }
        if self.is_used_up(model) {
            return false;
        }
        let mut cheaper = false;
        match self.afford(key, &route, &tier, model) {
            Afford::Yes => {}
            Afford::Cheaper(rung, words) => {
                cheaper = true;
                (tier, why, turn) = (rung, words, Turn::Go);
                model = &policy.tier(&tier).expect("a rung of the policy's ladder").model;
            }
            Afford::No { ended } => return ended,
        }
        self.session.spilled.remove(&key);
        if direct && !batched && !self.enters(gate, key, &tier, model) {
            return false;
        }
        if turn == Turn::Lead {
            self.leads(key, model);
        }
        let work = self.state.work.get(&key);
        let last = work.and_then(|w| w.tried.last()).map(|t| t.tier.clone());
        let before = if key.row.is_none() { self.state.task(key).attempts } else { work.map_or(0, |w| w.tried.len() as u32) };
        let no = before + 1;
        let unit = self.state.unit(key);
        if let Some(from) = last.filter(|from| *from != tier && !cheaper) {
            self.record(Event::Escalated { unit: unit.clone(), from, to: tier.clone(), why: why.clone() });
        }
        self.record(Event::AttemptStarted { unit: unit.clone(), attempt: no, tier, model: model.clone(), why });
        if direct {
            self.session.joining += usize::from(batched);
            actions.push(Action::Call { caller: Caller::Executor { unit, attempt: no } });
        }
        true
    }

    /// Whether a unit may start while the plan is still arriving.
    fn may_stream(&mut self, key: Key) -> bool {
        let known = self.known();
        let spec = &self.state.task(key).spec;
        spec.for_each.is_none() && !uses_view(spec) && plan::startable_while_streaming(spec, &known, |id| self.state.index.contains_key(id))
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
            // Unless its model was exchanged meanwhile for one that does not see.
            (Some(Next::SameTierWithEvidence), Some(last)) if route.ladder.contains(&last.tier) => {
                (last.tier.clone(), format!("{}; once more with the evidence", words(last)))
            }
            _ => (route.tier.clone(), route.why.clone()),
        }
    }

    /// Where a unit may run.
    pub(in crate::run) fn route(&self, key: Key) -> Result<Route, route::Stuck> {
        let task = self.state.task(key);
        let mut facts = route::Facts::of(&task.spec);
        if !task.spec.mcp_servers.is_empty() {
            facts.tools = u32::try_from(task.spec.offered(&self.tools).count()).unwrap_or(u32::MAX);
        }
        let inputs: usize = task.deps.iter().map(|&d| self.output_of(key, d).map_or(0, |(_, text)| text.len())).sum();
        let row = self.item(key).map_or(0, |item| item.to_string().len());
        facts.input_tokens = ((task.spec.description.len() + inputs + row + self.instruction_bytes(key)) / 4) as u64;
        let policy = &self.state.start().policy;
        sight::look(&mut facts, &task.spec, &self.tools, policy, &self.catalog);
        route::start(&facts, policy)
    }

    /// How a dependency ended and what it returned, as seen from a unit.
    pub(in crate::run) fn output_of(&self, key: Key, dep: u32) -> Option<(SubtaskStatus, Arc<str>)> {
        let other = &self.state.tasks[dep as usize];
        match (key.row, self.state.task(key).source) {
            (Some(row), Some(i)) if other.source == Some(i) => self.state.sources[i as usize].rows.get(&row)?.results.get(&dep).cloned(),
            (Some(_), _) if self.state.row_by_row(key.task, dep) => {
                let kept = self.held(key)?.kept.iter().find(|kept| kept.subtask == other.spec.id)?;
                Some((kept.status, kept.output.clone()))
            }
            _ => other.status.map(|status| (status, other.output.clone())),
        }
    }

    pub(in crate::run) fn item_missing(&self, key: Key) -> bool {
        key.row.is_some() && self.item(key).is_none()
    }

    /// A result of an earlier pass over the same row that should be at hand and is not.
    fn result_lost(&self, key: Key) -> Option<&SubtaskId> {
        key.row?;
        let task = self.state.task(key);
        let lost = |&&dep: &&u32| self.state.row_by_row(key.task, dep) && self.output_of(key, dep).is_none();
        task.deps.iter().find(lost).map(|&dep| &self.state.tasks[dep as usize].spec.id)
    }

    /// Why a unit does not run at all.
    fn skipped(&self, key: Key) -> Option<String> {
        let task = self.state.task(key);
        let spec = &task.spec;
        if task.deps.is_empty() && spec.when.is_none() {
            return None;
        }
        let ended: Vec<(u32, Option<SubtaskStatus>)> =
            task.deps.iter().map(|&d| (d, self.output_of(key, d).map(|(status, _)| status))).collect();
        let name = |d: u32| self.state.tasks[d as usize].spec.id.clone();
        let failed = |(d, s): &&(u32, Option<SubtaskStatus>)| *s == Some(SubtaskStatus::Failed) && !self.is_rows_as_a_whole(key, *d);
        if let Some((d, _)) = ended.iter().find(failed) {
            return Some(format!("hangs on {}, which failed", name(*d)));
        }
        let gone = |(_, s): &&(u32, Option<SubtaskStatus>)| *s == Some(SubtaskStatus::Skipped);
        if ended.iter().any(|e| gone(&e)) {
            let wanted = outputs(&spec.description);
            if let Some((d, _)) = ended.iter().filter(gone).find(|(d, _)| wanted.contains(&name(*d))) {
                return Some(format!("hangs on {}, which was skipped", name(*d)));
            }
            if ended.iter().all(|e| gone(&e)) {
                return Some("everything it hangs on was skipped".to_owned());
            }
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
        let rows = self.state.tasks[dep as usize].source.is_some();
        rows && (key.row.is_none() || !self.state.row_by_row(key.task, dep))
    }

    pub(in crate::run) fn value_of(&self, key: Key, reference: &Reference) -> Option<Value> {
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
}

fn words(tried: &Tried) -> String {
    let first = tried.evidence.lines().next().unwrap_or_default();
    first.trim_end_matches(':').chars().take(120).collect()
}
