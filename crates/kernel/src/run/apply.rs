//! The fold: what each event makes of the [`State`]. Decides nothing, refuses nothing.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use super::event::{Ask as AskFor, CallResult, Caller, Event, PatchedBy, Reply, Stamped, SubtaskOrInput, SubtaskStatus};
use super::state::{
    Attempt, DeskStage, InFlight, InboxItem, Job, Key, Parked, Patch, Phase, PendingTool, Source, Stage, Starved, State, Stop, Task,
    Tried,
};
use crate::budget::{Ask, Caps, Charge, LeaseId, Ledger, Role};
use crate::policy::BudgetPolicy;
use crate::call::{End, Item, Speaker};
use crate::context::{self, CheckLine};
use crate::plan::{ForEach, PlanPatch, Subtask, Verdict as ReviewVerdict};
use crate::route::Repair;
use crate::schedule;
use crate::time::Timestamp;
use crate::units::NanoUsd;
use crate::usage::Usage;

impl State {
    /// Takes one event in.
    pub fn apply(&mut self, stamped: &Stamped) {
        let at = stamped.at;
        match &stamped.event {
            Event::RunStarted(start) => {
                self.ledger = Ledger::new(&caps(&start.policy.budget));
                self.started_at = at;
                self.phase = Phase::Planning;
                if start.planned {
                    self.desk.job = Some(Job::Plan { faults: Vec::new() });
                    self.desk.stage = DeskStage::Call;
                }
                self.started = Some(Arc::new((**start).clone()));
            }
            Event::RunResumed {} => {
                self.ended = None;
                if self.stop != Some(Stop::Cancel) {
                    self.stop = None;
                }
                self.starved = None;
                self.fresh = self.to_act.iter().copied().collect();
            }
            Event::Repinned { policy } => {
                let mut start = self.start().clone();
                let caps = caps(&policy.budget);
                self.ledger.set_role_cap(Role::Planner, caps.planner_tokens);
                self.ledger.set_role_cap(Role::Executor, caps.executor_tokens);
                self.ledger.set_role_cap(Role::Reviewer, caps.reviewer_tokens);
                start.policy = policy.clone();
                self.started = Some(Arc::new(start));
            }
            Event::PlanSubtask { subtask, .. } => self.add_task((**subtask).clone()),
            Event::PlanFaulted { faults, mend } => {
                self.desk.mends = *mend;
                match &mut self.desk.job {
                    Some(Job::Plan { faults: old } | Job::Replan { faults: old, .. } | Job::Review { faults: old }) => old.clone_from(faults),
                    None => {}
                }
                self.desk.stage = DeskStage::Call;
                if !matches!(self.desk.job, Some(Job::Review { .. })) {
                    self.desk.turns.extend(context::mend("", faults, &[], &[]));
                }
            }
            Event::PlanCompleted { coordination_notes, bulk, .. } => {
                self.notes.clone_from(coordination_notes);
                self.bulk = bulk.unwrap_or_default();
                self.desk.planned = true;
                self.desk.job = None;
                self.desk.stage = DeskStage::Idle;
                self.desk.mends = 0;
                self.phase = Phase::Running;
                self.settle_graph();
                self.next_job();
            }
            Event::PlanPatched { patch, by } => {
                self.patch_plan(patch, *by);
                self.desk.mends = 0;
            }
            Event::PlannerAsked { unit, reason } => {
                if let Some(key) = self.key(unit) {
                    self.rest(key, Stage::Planner);
                }
                self.desk.reasons.push_back(reason.clone());
                self.next_job();
            }
            Event::ContextGathered { unit, parts, tree } => {
                let Some(key) = self.key(unit) else { return };
                if tree.is_some() {
                    self.tree.clone_from(tree);
                }
                if let Some(work) = self.work.get_mut(&key) {
                    work.parts = Some(parts.clone());
                    work.dirty = false;
                    if work.base_tree.is_none() {
                        work.base_tree.clone_from(tree);
                    }
                    if let Some(attempt) = &mut work.attempt {
                        attempt.tree.clone_from(tree);
                    }
                }
                self.enter(key, Stage::Call);
            }
            Event::AttemptStarted { unit, attempt, tier, model, .. } => {
                let Some(key) = self.key(unit) else { return };
                self.begin(key, *attempt, tier, model, at);
            }
            Event::CallStarted { call, caller, tier, model, lease_usd, lease_tokens, .. } => {
                self.last_call = self.last_call.max(call.0);
                let key = self.caller_key(caller);
                let ask = Ask { role: caller.role(), subtask: key.map(|k| self.task(k).spec.id.clone()), money: *lease_usd, tokens: *lease_tokens };
                // Admitted when it was journaled; a lease that no longer fits is still booked by `settle`.
                let _ = self.ledger.lease(LeaseId(call.0), &ask);
                match key {
                    Some(key) => {
                        self.leave_queues(key);
                        if let Some(work) = self.work.get_mut(&key) {
                            work.stage = Stage::Calling(*call);
                        }
                    }
                    None => {
                        self.parked.retain(|(_, who)| *who != Parked::Desk);
                        if *caller == Caller::Replanner && !self.desk.asked {
                            self.desk.turns.extend(super::prepare::replan_packed(self).items.pop());
                            self.desk.asked = true;
                        }
                        self.desk.stage = DeskStage::Calling(*call);
                    }
                }
                let flight = InFlight { caller: caller.clone(), key, tier: tier.clone(), model: model.clone(), since: at };
                self.calls.insert(*call, flight);
            }
            Event::CallEnded { call, result, usage, cost_usd, flagship_usd, sent, .. } => {
                let Some(flight) = self.calls.remove(call) else { return };
                let lease = LeaseId(call.0);
                // An unknown lease cannot be: `call.started` made it. Nothing is left to book then.
                let _ = match usage {
                    _ if !sent => self.ledger.release(lease),
                    Some(usage) => self
                        .ledger
                        .settle(lease, Charge::Known { money: *cost_usd, tokens: usage.input_tokens + usage.output_tokens })
                        .map(drop),
                    None => self.ledger.settle(lease, Charge::Unknown).map(drop),
                };
                if *sent {
                    self.usage.record(&flight.tier, usage.as_ref());
                    self.all_flagship += *flagship_usd;
                }
                self.starved = None;
                match flight.key {
                    Some(key) => self.answered(key, result, *cost_usd, usage.unwrap_or_default()),
                    None => self.desk_answered(&flight.caller, result),
                }
            }
            Event::ToolStarted { unit, call_id, .. } => {
                if let Some(pending) = self.pending(unit, call_id) {
                    pending.started = true;
                }
            }
            Event::ToolEnded { unit, call_id, output, tree, .. } => {
                let Some(key) = self.key(unit) else { return };
                if tree.is_some() {
                    self.tree.clone_from(tree);
                }
                let Some(attempt) = self.work.get_mut(&key).and_then(|w| w.attempt.as_mut()) else { return };
                attempt.pending.retain(|p| p.call_id != *call_id);
                attempt.items.push(Item::ToolOutput { call_id: call_id.clone(), output: output.for_model() });
                attempt.tool_calls += 1;
                if tree.is_some() {
                    attempt.tree.clone_from(tree);
                }
                if attempt.pending.is_empty() {
                    self.enter(key, Stage::Call);
                }
            }
            Event::CheckEnded { unit, verdict, check, evidence, .. } => {
                let Some(key) = self.key(unit) else { return };
                if key.row.is_none() {
                    let line = CheckLine { name: check.clone(), passed: *verdict == super::event::Verdict::Pass, evidence: evidence.clone() };
                    self.tasks[key.task as usize].checks.push(line);
                }
                if let Some(attempt) = self.work.get_mut(&key).and_then(|w| w.attempt.as_mut())
                    && *verdict == super::event::Verdict::Pass
                {
                    attempt.checked += 1;
                    self.to_act.insert(key);
                    self.fresh.push(key);
                }
            }
            Event::AttemptEnded { unit, tier, ending, failure, accepted, reason, .. } => {
                let Some(key) = self.key(unit) else { return };
                let tried = Tried { tier: tier.clone(), ending: *ending, failure: *failure, evidence: reason.clone() };
                self.finish_attempt(key, tried, *accepted);
            }
            Event::Escalated { unit, .. } => {
                self.tally.escalations += 1;
                if let (Some(_), Some(&task)) = (unit.row, self.index.get(&unit.subtask)) {
                    self.tasks[task as usize].rows.escalated += 1;
                }
            }
            Event::SubtaskEnded { unit, status, output, tier, error, reused_from, .. } => {
                let Some(key) = self.key(unit) else { return };
                if reused_from.is_some() {
                    self.tally.reused += 1;
                }
                self.end_unit(key, *status, output, tier.clone(), error.clone());
            }
            Event::Reopened { unit, instructions } => {
                let Some(key) = self.key(unit) else { return };
                self.reopen(key, instructions);
            }
            Event::RowsEnded { source, rows } => {
                if let Some(i) = self.sources.iter().position(|s| s.from == *source) {
                    self.sources[i].total = Some(*rows);
                    self.close_source(i);
                }
            }
            Event::LeaseRefused { scope, message } => {
                self.starved = Some(Starved { scope: scope.clone(), message: message.clone() });
            }
            Event::CapRaised { run_usd } => {
                self.ledger.set_run_cap(*run_usd);
                self.starved = None;
            }
            Event::BudgetAlarm { .. } => {}
            Event::InboxOpened { item, ask, unit, call_id, question, evidence } => {
                self.last_item = self.last_item.max(*item);
                self.tally.asked += 1;
                let key = unit.as_ref().and_then(|u| self.key(u));
                match (ask, key, call_id) {
                    (AskFor::Question, Some(_), Some(call_id)) => {
                        if let Some(pending) = unit.as_ref().and_then(|u| self.pending(u, call_id)) {
                            pending.asked = Some(*item);
                        }
                    }
                    (AskFor::Rates, _, _) => {
                        if let Some(source) = key.and_then(|k| self.tasks[k.task as usize].source) {
                            self.sources[source as usize].halted = true;
                        }
                    }
                    (_, Some(key), _) => self.rest(key, Stage::Person(*item)),
                    _ => {}
                }
                let entry = InboxItem {
                    ask: *ask,
                    unit: key,
                    call_id: call_id.clone(),
                    question: question.clone(),
                    evidence: evidence.clone(),
                };
                self.inbox.insert(*item, entry);
            }
            Event::InboxAnswered { item, reply } => {
                if let Some(entry) = self.inbox.remove(item) {
                    self.replied(&entry, reply);
                }
            }
            Event::Heard { commands } => self.commands = *commands,
            Event::Told { text } => {
                self.desk.reasons.push_back(format!("The person who asked for this work now says: {text}"));
                self.next_job();
            }
            Event::Reviewed { verdict, summary, review, .. } => {
                self.desk.reviews += 1;
                self.desk.mends = 0;
                self.desk.summary.clone_from(summary);
                self.desk.job = None;
                self.desk.stage = DeskStage::Idle;
                self.phase = Phase::Running;
                self.desk.final_output = Some(review.final_output.clone());
                if *verdict == ReviewVerdict::Approve {
                    self.phase = Phase::Closing;
                }
            }
            Event::ReviewFailed { .. } => {
                self.desk.job = None;
                self.desk.stage = DeskStage::Idle;
                self.desk.mends = 0;
            }
            Event::PatchStored { blob, files } => {
                self.patch = Some(Patch { blob: blob.clone(), files: files.clone(), tree: self.tree.clone(), applied: None });
                self.next_job();
            }
            Event::PatchApplied { error } => {
                if let Some(patch) = &mut self.patch {
                    patch.applied = Some(error.clone().map_or(Ok(()), Err));
                }
            }
            Event::Halted { class, message } => {
                self.stop = Some(match class {
                    Some(class) => Stop::Provider { class: *class, message: message.clone() },
                    None => Stop::Failed(message.clone()),
                });
            }
            Event::Cancelling {} => self.stop = Some(Stop::Cancel),
            Event::RunPaused(summary) => self.ended = Some(summary.clone()),
            Event::RunEnded(summary) => {
                self.ended = Some(summary.clone());
                self.phase = Phase::Ended;
            }
        }
    }

    fn reopen(&mut self, key: Key, instructions: &str) {
        let task = &mut self.tasks[key.task as usize];
        let members = match (key.row, task.source) {
            (Some(row), Some(i)) => {
                task.rows.failed = task.rows.failed.saturating_sub(1);
                let source = &mut self.sources[i as usize];
                if source.is_finished(row) {
                    source.finished -= 1;
                    source.reopened.insert(row);
                }
                source.members.clone()
            }
            _ => vec![key.task],
        };
        if !instructions.is_empty() {
            self.tasks[key.task as usize].instructions.push(instructions.to_owned());
        }
        for member in members {
            if self.tasks[member as usize].status.take().is_some() {
                self.open += 1;
            }
        }
        self.phase = Phase::Running;
        if key.row.is_none() {
            self.wake_task(key.task);
        }
    }

    fn caller_key(&self, caller: &Caller) -> Option<Key> {
        match caller {
            Caller::Executor { unit, .. } => self.key(unit),
            _ => None,
        }
    }

    fn pending(&mut self, unit: &super::event::Unit, call_id: &str) -> Option<&mut PendingTool> {
        let key = self.key(unit)?;
        let attempt = self.work.get_mut(&key)?.attempt.as_mut()?;
        attempt.pending.iter_mut().find(|p| p.call_id == call_id)
    }

    fn priority(&self, key: Key) -> Reverse<u64> {
        Reverse(self.tasks[key.task as usize].priority)
    }

    fn leave_queues(&mut self, key: Key) {
        let entry = (self.priority(key), key);
        self.ready.remove(&entry);
        self.ready_writers.remove(&entry);
        self.to_call.remove(&entry);
        self.to_act.remove(&key);
        if matches!(self.work.get(&key).map(|w| w.stage), Some(Stage::Parked)) {
            self.parked.retain(|(_, who)| *who != Parked::Unit(key));
        }
    }

    /// Moves a unit to a stage and into the queue that belongs to it.
    pub(super) fn enter(&mut self, key: Key, stage: Stage) {
        self.leave_queues(key);
        let entry = (self.priority(key), key);
        match stage {
            Stage::Ready if uses_view(&self.tasks[key.task as usize].spec) => {
                self.ready_writers.insert(entry);
            }
            Stage::Ready => {
                self.ready.insert(entry);
            }
            Stage::Call => {
                self.to_call.insert(entry);
            }
            Stage::Gather | Stage::Tools | Stage::Checks => {
                self.to_act.insert(key);
                self.fresh.push(key);
            }
            Stage::Calling(_) | Stage::Parked | Stage::Planner | Stage::Person(_) => {}
        }
        self.work.entry(key).or_default().stage = stage;
    }

    /// A unit stops until the planner or a person answers; the view is free for others.
    fn rest(&mut self, key: Key, stage: Stage) {
        self.enter(key, stage);
        if self.writer == Some(key) {
            self.writer = None;
        }
    }

    fn begin(&mut self, key: Key, no: u32, tier: &crate::ids::Tier, model: &crate::ids::ModelRef, at: Timestamp) {
        let view = uses_view(&self.tasks[key.task as usize].spec);
        if view {
            self.writer = Some(key);
        }
        if let (Some(row), Some(source)) = (key.row, self.tasks[key.task as usize].source) {
            self.sources[source as usize].rows.entry(row).or_default();
        }
        self.active += 1;
        self.tally.attempts += 1;
        self.tasks[key.task as usize].attempts += 1;
        self.tasks[key.task as usize].checks.clear();
        let files = !self.tasks[key.task as usize].spec.files.is_empty();
        let work = self.work.entry(key).or_default();
        work.since.get_or_insert(at);
        work.granted = work.granted.saturating_sub(1);
        work.attempt = Some(Attempt {
            no,
            tier: tier.clone(),
            model: model.clone(),
            items: Vec::new(),
            turns: 0,
            tool_calls: 0,
            repeated: (0, 0),
            doubled: false,
            alternate: 0,
            omit: Vec::new(),
            pending: Vec::new(),
            answer: None,
            checked: 0,
            tree: work.base_tree.clone(),
            cost: NanoUsd::ZERO,
            usage: Usage::default(),
        });
        let gather = view || (files && work.parts.is_none());
        self.enter(key, if gather { Stage::Gather } else { Stage::Call });
    }

    fn answered(&mut self, key: Key, result: &CallResult, cost: NanoUsd, usage: Usage) {
        self.tasks[key.task as usize].cost += cost;
        let Some(work) = self.work.get_mut(&key) else { return };
        work.cost += cost;
        let Some(attempt) = &mut work.attempt else { return };
        attempt.cost += cost;
        attempt.usage += usage;
        let stage = match result {
            CallResult::Answered { text, items, end, .. } => {
                work.trouble = 0;
                attempt.turns += 1;
                if *end == End::Length && !attempt.doubled {
                    attempt.doubled = true;
                    Stage::Call
                } else if items.iter().any(|i| matches!(i, Item::ToolCall { .. })) && *end == End::Completed {
                    attempt.pending = super::turn::pending(items);
                    attempt.repeated = super::turn::repeated(attempt.repeated, items);
                    attempt.items.extend(items.iter().cloned());
                    Stage::Tools
                } else {
                    attempt.answer = Some(text.as_str().into());
                    Stage::Checks
                }
            }
            CallResult::Failed { repair: Repair::Wait(until), .. } => {
                work.trouble += 1;
                self.parked.insert((*until, Parked::Unit(key)));
                Stage::Parked
            }
            CallResult::Failed { repair: Repair::Alternate, .. } => {
                work.trouble = 0;
                attempt.alternate += 1;
                Stage::Call
            }
            CallResult::Failed { repair: Repair::DropField, param, message, .. } => {
                work.trouble += 1;
                attempt.omit.push(super::turn::field_named(param.as_deref().unwrap_or(message)));
                Stage::Call
            }
            CallResult::Failed { repair: Repair::Rebuild, .. } => {
                work.trouble += 1;
                attempt.items.retain(|i| !matches!(i, Item::Opaque { .. }));
                Stage::Call
            }
            CallResult::Failed { .. } | CallResult::Lost => Stage::Call,
        };
        if stage == Stage::Parked {
            let entry = (self.priority(key), key);
            self.to_call.remove(&entry);
            if let Some(work) = self.work.get_mut(&key) {
                work.stage = Stage::Parked;
            }
        } else {
            self.enter(key, stage);
        }
    }

    fn desk_answered(&mut self, caller: &Caller, result: &CallResult) {
        self.desk.stage = DeskStage::Call;
        match result {
            CallResult::Answered { text, end, .. } => {
                self.desk.trouble = 0;
                if *end == End::Length && !self.desk.doubled {
                    self.desk.doubled = true;
                } else {
                    self.desk.doubled = false;
                    if *caller != Caller::Reviewer {
                        self.desk.turns.push(Item::Message { speaker: Speaker::Assistant, text: text.clone() });
                    }
                }
            }
            CallResult::Failed { repair: Repair::Wait(until), .. } => {
                self.desk.trouble += 1;
                self.desk.stage = DeskStage::Parked;
                self.parked.insert((*until, Parked::Desk));
            }
            CallResult::Failed { repair: Repair::Alternate, .. } => {
                self.desk.trouble = 0;
                self.desk.alternate += 1;
            }
            CallResult::Failed { repair: Repair::DropField, param, message, .. } => {
                self.desk.trouble += 1;
                self.desk.omit.push(super::turn::field_named(param.as_deref().unwrap_or(message)));
            }
            CallResult::Failed { repair: Repair::Rebuild, .. } => {
                self.desk.trouble += 1;
                self.desk.turns.retain(|i| !matches!(i, Item::Opaque { .. }));
            }
            CallResult::Failed { .. } | CallResult::Lost => {}
        }
    }

    fn finish_attempt(&mut self, key: Key, tried: Tried, accepted: bool) {
        self.active = self.active.saturating_sub(1);
        let Some(work) = self.work.get_mut(&key) else { return };
        let attempt = work.attempt.take();
        let (answer, tree) = attempt.map_or((None, None), |a| (a.answer, a.tree));
        if accepted {
            work.accepted = answer;
            if tree.is_some() && tree != work.base_tree {
                self.changed = true;
            }
        } else {
            work.accepted = answer.or(work.accepted.take());
            work.dirty = tree.is_some() && tree != work.base_tree;
        }
        work.tried.push(tried);
        self.enter(key, Stage::Ready);
    }

    fn end_unit(&mut self, key: Key, status: SubtaskStatus, output: &str, tier: Option<crate::ids::Tier>, error: Option<String>) {
        self.leave_queues(key);
        if self.writer == Some(key) {
            self.writer = None;
        }
        if let Some(work) = self.work.remove(&key)
            && work.attempt.is_some()
        {
            self.active = self.active.saturating_sub(1);
        }
        match status {
            SubtaskStatus::Done => self.tally.done += 1,
            SubtaskStatus::Failed => self.tally.failed += 1,
            SubtaskStatus::Skipped | SubtaskStatus::Dropped => self.tally.skipped += 1,
        }
        if let Some(row) = key.row {
            self.end_row_unit(key.task, row, status, output);
            return;
        }
        let task = &mut self.tasks[key.task as usize];
        if task.status.is_none() {
            self.open -= 1;
        }
        task.status = Some(status);
        task.output = output.into();
        task.tier = tier;
        task.error = error;
        self.wake_dependents(key.task);
        self.next_job();
    }

    fn end_row_unit(&mut self, task: u32, row: u64, status: SubtaskStatus, output: &str) {
        let rows = &mut self.tasks[task as usize].rows;
        match status {
            SubtaskStatus::Done => rows.done += 1,
            SubtaskStatus::Failed => rows.failed += 1,
            SubtaskStatus::Skipped | SubtaskStatus::Dropped => rows.skipped += 1,
        }
        super::rows::sample(&mut self.tasks[task as usize], row, status, output);
        let Some(i) = self.tasks[task as usize].source.map(|s| s as usize) else { return };
        let members = self.sources[i].members.len();
        let entry = self.sources[i].rows.entry(row).or_default();
        entry.results.insert(task, (status, output.into()));
        if entry.results.len() < members {
            self.wake_row(i, row);
            return;
        }
        let source = &mut self.sources[i];
        source.rows.remove(&row);
        source.finished += 1;
        if !source.reopened.remove(&row) {
            source.above.insert(row);
        }
        while source.above.remove(&source.below) {
            source.below += 1;
        }
        self.close_source(i);
    }

    /// Ends the members of a source whose rows have all ended.
    fn close_source(&mut self, i: usize) {
        if self.sources[i].total.is_none_or(|total| self.sources[i].finished < total) {
            return;
        }
        for task in self.sources[i].members.clone() {
            let entry = &mut self.tasks[task as usize];
            if entry.status.is_none() {
                let all_failed = entry.rows.failed > 0 && entry.rows.done == 0 && entry.rows.skipped == 0;
                entry.status = Some(if all_failed { SubtaskStatus::Failed } else { SubtaskStatus::Done });
                entry.output = super::rows::in_brief(entry).into();
                self.open -= 1;
                self.wake_dependents(task);
            }
        }
        self.next_job();
    }

    fn wake_dependents(&mut self, task: u32) {
        for dependent in self.tasks[task as usize].dependents.clone() {
            self.wake_task(dependent);
        }
    }

    /// Makes a task ready if nothing stands before it any more.
    fn wake_task(&mut self, task: u32) {
        let entry = &self.tasks[task as usize];
        if entry.status.is_some() || entry.unknown > 0 || !entry.deps.iter().all(|&d| self.tasks[d as usize].status.is_some()) {
            if let Some(i) = entry.source.filter(|_| entry.status.is_none()) {
                self.wake_rows(i as usize);
            }
            return;
        }
        let key = Key { task, row: None };
        if entry.source.is_some() || entry.spec.for_each.is_some() {
            if let Some(i) = entry.source {
                self.wake_rows(i as usize);
            }
        } else if !self.work.contains_key(&key) {
            self.enter(key, Stage::Ready);
        }
    }

    fn wake_rows(&mut self, i: usize) {
        let rows: Vec<u64> = self.sources[i].rows.keys().copied().collect();
        for row in rows {
            self.wake_row(i, row);
        }
    }

    /// Makes the members of a row ready whose row and task dependencies have ended.
    fn wake_row(&mut self, i: usize, row: u64) {
        for task in self.sources[i].members.clone() {
            let key = Key { task, row: Some(row) };
            if !self.work.contains_key(&key) && self.row_unit_is_ripe(i, row, task) {
                self.enter(key, Stage::Ready);
            }
        }
    }

    /// Whether everything before one row of a task has ended (and it has not itself).
    pub(super) fn row_unit_is_ripe(&self, i: usize, row: u64, task: u32) -> bool {
        let results = self.sources[i].rows.get(&row).map(|r| &r.results);
        if results.is_some_and(|r| r.contains_key(&task)) {
            return false;
        }
        self.tasks[task as usize].deps.iter().all(|&dep| {
            if self.tasks[dep as usize].source == Some(i as u32) {
                results.is_some_and(|r| r.contains_key(&dep))
            } else {
                self.tasks[dep as usize].status.is_some()
            }
        })
    }

    fn add_task(&mut self, spec: Subtask) {
        let task = self.tasks.len() as u32;
        let id = spec.id.clone();
        let mut named: Vec<_> = spec.depends_on.clone();
        if let Some(ForEach::Subtask(from)) = &spec.for_each
            && !named.contains(from)
        {
            named.push(from.clone());
        }
        let mut entry = Task {
            deps: Vec::with_capacity(named.len()),
            unknown: 0,
            dependents: self.forward.remove(&id).unwrap_or_default(),
            source: None,
            status: None,
            output: "".into(),
            error: None,
            tier: None,
            priority: schedule::estimate(&spec).0,
            attempts: 0,
            cost: NanoUsd::ZERO,
            instructions: Vec::new(),
            rows: Default::default(),
            sample: Vec::new(),
            checks: Vec::new(),
            spec: Arc::new(spec),
        };
        for dep in named {
            if let Some(&d) = self.index.get(&dep) {
                entry.deps.push(d);
                self.tasks[d as usize].dependents.push(task);
            } else {
                entry.unknown += 1;
                self.forward.entry(dep).or_default().push(task);
            }
        }
        for &waiting in &entry.dependents {
            let waiting = &mut self.tasks[waiting as usize];
            waiting.unknown -= 1;
            waiting.deps.push(task);
        }
        self.index.insert(id, task);
        self.tasks.push(entry);
        self.open += 1;
        self.wake_task(task);
    }

    fn patch_plan(&mut self, patch: &PlanPatch, by: PatchedBy) {
        for id in &patch.drop {
            if let Some(&task) = self.index.get(id) {
                self.end_unit(Key { task, row: None }, SubtaskStatus::Dropped, "", None, None);
            }
        }
        for spec in &patch.change {
            self.change_task(spec.clone());
        }
        for spec in &patch.add {
            self.add_task(spec.clone());
        }
        if let Some(notes) = &patch.coordination_notes {
            self.notes.clone_from(notes);
        }
        if self.desk.planned {
            self.desk.replans += u32::from(by == PatchedBy::Planner);
            self.desk.job = None;
            self.desk.stage = DeskStage::Idle;
            self.phase = Phase::Running;
        }
        self.settle_graph();
        self.next_job();
    }

    fn change_task(&mut self, spec: Subtask) {
        let Some(&task) = self.index.get(&spec.id) else { return };
        let key = Key { task, row: None };
        self.leave_queues(key);
        self.work.remove(&key);
        for dep in std::mem::take(&mut self.tasks[task as usize].deps) {
            self.tasks[dep as usize].dependents.retain(|&d| d != task);
        }
        let entry = &mut self.tasks[task as usize];
        if entry.status.take().is_some() {
            self.open += 1;
        }
        for dep in &spec.depends_on {
            if let Some(&d) = self.index.get(dep) {
                self.tasks[task as usize].deps.push(d);
                self.tasks[d as usize].dependents.push(task);
            }
        }
        self.tasks[task as usize].spec = Arc::new(spec);
    }

    /// After the graph changed as a whole: priorities, row sources, what is ready.
    fn settle_graph(&mut self) {
        let graph = schedule::Graph {
            durations: self.tasks.iter().map(|t| schedule::estimate(&t.spec).0).collect(),
            waits: self.tasks.iter().map(|t| t.deps.iter().map(|&d| d as usize).collect()).collect(),
        };
        let priorities = graph.longest_paths();
        for queue in [&mut self.ready, &mut self.ready_writers, &mut self.to_call] {
            let old = std::mem::take(queue);
            queue.extend(old.into_iter().map(|(_, key)| (Reverse(priorities[key.task as usize]), key)));
        }
        for (task, priority) in self.tasks.iter_mut().zip(priorities) {
            task.priority = priority;
        }
        for task in 0..self.tasks.len() as u32 {
            self.find_source(task);
        }
        for task in 0..self.tasks.len() as u32 {
            self.wake_task(task);
        }
    }

    /// Maps a `for_each` subtask to its source: its dependency's, when that one runs per row too.
    fn find_source(&mut self, task: u32) -> Option<u32> {
        let entry = &self.tasks[task as usize];
        if entry.source.is_some() {
            return entry.source;
        }
        let from = match entry.spec.for_each.clone()? {
            ForEach::Input => SubtaskOrInput::Input,
            ForEach::Subtask(id) => {
                let parent = *self.index.get(&id)?;
                if self.tasks[parent as usize].spec.for_each.is_some() {
                    let source = self.find_source(parent)?;
                    self.join_source(task, source);
                    return Some(source);
                }
                SubtaskOrInput::Subtask(id)
            }
        };
        let source = self.sources.iter().position(|s| s.from == from).unwrap_or_else(|| {
            self.sources.push(Source {
                from,
                members: Vec::new(),
                total: None,
                below: 0,
                above: Default::default(),
                reopened: Default::default(),
                rows: Default::default(),
                finished: 0,
                halted: false,
                waived: false,
            });
            self.sources.len() - 1
        }) as u32;
        self.join_source(task, source);
        Some(source)
    }

    fn join_source(&mut self, task: u32, source: u32) {
        self.tasks[task as usize].source = Some(source);
        let members = &mut self.sources[source as usize].members;
        members.push(task);
        members.sort_unstable();
    }

    fn replied(&mut self, item: &InboxItem, reply: &Reply) {
        match (item.ask, item.unit, reply) {
            (AskFor::Failed | AskFor::Approve, Some(key), Reply::Text { text }) => {
                if let Some(work) = self.work.get_mut(&key) {
                    work.instructions.push(text.clone());
                    work.granted += 1;
                }
                self.enter(key, Stage::Ready);
            }
            (AskFor::Review, _, Reply::Approve) => self.phase = Phase::Closing,
            (AskFor::Review, _, Reply::Text { text }) => {
                self.desk.reasons.push_back(format!("A person judged the result and says: {text}"));
                self.phase = Phase::Running;
                self.next_job();
            }
            (AskFor::Review, _, Reply::Reject) => self.stop = Some(Stop::Failed("a person rejected the result".to_owned())),
            (AskFor::Rates, Some(key), reply) => {
                let Some(i) = self.tasks[key.task as usize].source.map(|s| s as usize) else { return };
                if *reply == Reply::Reject {
                    self.sources[i].total = Some(self.sources[i].finished + self.sources[i].rows.len() as u64);
                    self.close_source(i);
                } else {
                    self.sources[i].waived = true;
                    self.sources[i].halted = false;
                }
            }
            _ => {}
        }
    }

    /// Puts the flagship to its next job, if there is one and it is free.
    fn next_job(&mut self) {
        if self.desk.job.is_some() || !self.desk.planned || self.phase == Phase::Closing || self.phase == Phase::Ended {
            return;
        }
        self.desk.trouble = 0;
        self.desk.doubled = false;
        self.desk.asked = false;
        if !self.desk.reasons.is_empty() {
            let reasons = std::mem::take(&mut self.desk.reasons);
            self.desk.job = Some(Job::Replan { reasons: VecDeque::into(reasons), faults: Vec::new() });
            self.desk.stage = DeskStage::Call;
        } else if self.open == 0 && !self.inbox.values().any(|i| i.ask == AskFor::Review) {
            self.phase = Phase::Reviewing;
            if self.wants_patch() {
                return;
            }
            self.desk.job = Some(Job::Review { faults: Vec::new() });
            self.desk.stage = DeskStage::Call;
        }
    }

    /// Whether the view changed since the stored patch.
    pub(super) fn wants_patch(&self) -> bool {
        self.changed && self.patch.as_ref().is_none_or(|p| p.tree != self.tree)
    }
}

/// Whether a subtask works in the run's view: it writes, runs commands, or is checked by one.
pub fn uses_view(spec: &Subtask) -> bool {
    const WRITERS: [&str; 3] = ["apply_patch", "write_file", "run_command"];
    !spec.writes.is_empty() || !spec.checks.is_empty() || spec.tools.iter().any(|t| WRITERS.contains(&t.as_str()))
}

fn caps(budget: &BudgetPolicy) -> Caps {
    Caps {
        run: budget.run_usd,
        planner_tokens: budget.planner_tokens,
        executor_tokens: budget.executor_tokens,
        reviewer_tokens: budget.reviewer_tokens,
    }
}
