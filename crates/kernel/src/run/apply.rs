//! The fold: what each event makes of the [`State`]. Decides nothing, refuses nothing.

mod batches;
mod graph;
mod merges;
mod passes;
mod person;
mod race;
mod rows;
mod unit;
mod weather;

pub use graph::waits_for;

use std::sync::Arc;

use super::caps;
use super::event::{Ask as AskFor, CallResult, Caller, Ending, Event, Stamped};
use super::state::{
    Composed, DeskStage, InFlight, InboxItem, Job, Overflow, Parked, Patch, PendingTool, Phase, Pricing, Reason, Stage, Standstill,
    Starved, State, Stop, Task, Tried,
};
use crate::budget::{Ask, Charge, LeaseId, Ledger, Try};
use crate::call::{End, Item, Service, Speaker};
use crate::context::{self, CheckLine};
use crate::plan::{Subtask, Verdict as ReviewVerdict};
use crate::route::{GiveUp, Repair};
use crate::units::{NanoUsd, QuotaUnits};

impl State {
    /// Takes one event in.
    pub fn apply(&mut self, stamped: &Stamped) {
        let at = stamped.at;
        match &stamped.event {
            Event::RunStarted(start) => {
                self.ledger = Ledger::new(&caps::of_run(&start.policy));
                self.started_at = at;
                self.phase = Phase::Planning;
                self.waits = start.wait;
                if start.planned {
                    self.desk.job = Some(Job::Plan { faults: Vec::new() });
                    self.desk.stage = DeskStage::Call;
                }
                self.started = Some(Arc::new((**start).clone()));
            }
            Event::RunResumed {} => {
                self.waiting.goes_on(at);
                let early = |standstill: &Standstill| standstill.until.is_some_and(|until| until > at);
                let waiting = self.waits && self.standstill.as_ref().is_some_and(early);
                self.storms.clear();
                self.ended = None;
                // What a person decided stands; a run that had ended is taken up for something new.
                self.stop = self.stop.take().filter(|stop| match stop {
                    Stop::Cancel => true,
                    Stop::Failed(_) => self.phase != Phase::Ended,
                    // Whoever waits, waits on.
                    Stop::Provider { .. } => waiting,
                });
                if !waiting {
                    // Whoever resumes may know better than an old report.
                    self.reports = super::Reports::default();
                }
                self.standstill = self.standstill.take().filter(|_| waiting);
                if waiting {
                    self.waiting.stands(at);
                }
                self.starved.retain(|_, starved| waiting && starved.lasts(at));
                // Whoever resumes has seen to the account.
                self.inbox.retain(|_, item| item.ask != AskFor::Account);
                self.fresh = self.to_act.iter().copied().collect();
            }
            Event::Repinned { policy } => {
                let mut start = self.start().clone();
                self.ledger.set_caps(&caps::of_run(policy));
                start.policy = policy.clone();
                self.started = Some(Arc::new(start));
                self.cap_subtasks();
                self.work.values_mut().for_each(|work| work.below = None);
            }
            Event::PlanSubtask { subtask, .. } => self.add_task((**subtask).clone()),
            Event::PlanFaulted { faults, mend } => {
                self.desk.mends = *mend;
                match &mut self.desk.job {
                    Some(Job::Plan { faults: old } | Job::Replan { faults: old, .. } | Job::Review { faults: old }) => {
                        old.clone_from(faults)
                    }
                    None => {}
                }
                self.desk.stage = DeskStage::Call;
                if !matches!(self.desk.job, Some(Job::Review { .. })) {
                    let begun = |t: &&Task| t.attempts > 0 || t.status.is_some();
                    let frozen: Vec<_> = match self.desk.job {
                        Some(Job::Plan { .. }) => self.tasks.iter().filter(begun).map(|t| t.spec.id.clone()).collect(),
                        _ => Vec::new(),
                    };
                    self.desk.turns.extend(context::mend("", faults, &[], &frozen));
                }
            }
            Event::PlanCompleted { coordination_notes, bulk, .. } => {
                self.notes.clone_from(coordination_notes);
                self.bulk = bulk.unwrap_or_default();
                self.desk.planned = true;
                self.desk.job = None;
                self.desk.stage = DeskStage::Idle;
                self.desk.mends = 0;
                self.desk.frozen = 0;
                self.phase = Phase::Running;
                self.settle_graph();
                self.next_job();
            }
            Event::PlanPatched { patch, by } => {
                self.patch_plan(patch, *by);
                self.desk.mends = 0;
            }
            Event::Compacted { by, before, after, turns, .. } => self.compacted(*by, *before, *after, turns),
            Event::PlannerAsked { unit, reason } => {
                let unit = self.key(unit);
                if let Some(key) = unit {
                    self.enter(key, Stage::Planner);
                }
                self.desk.reasons.push_back(Reason { unit, text: reason.clone() });
                self.next_job();
            }
            Event::MergePlanned { subtask, files, sides } => self.add_merge(subtask, files, sides),
            Event::ContextGathered { unit, parts, images, tree, start, conflicts } => {
                let Some(key) = self.key(unit) else { return };
                self.merge_starts(key, start, conflicts);
                if let Some(work) = self.work.get_mut(&key) {
                    work.parts = Some(parts.clone());
                    work.images.clone_from(images);
                    work.base_tree.clone_from(tree);
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
            Event::CallStarted {
                call,
                caller,
                tier,
                model,
                lease_usd,
                lease_tokens,
                max_output_tokens,
                service,
                units,
                home,
                hedge_of,
                ..
            } => {
                self.last_call = self.last_call.max(call.0);
                let key = self.key_of(caller);
                self.watch_call(*call, key, at);
                let ask = Ask {
                    role: caller.role(),
                    subtask: key.map(|k| self.task(k).spec.id.clone()),
                    attempt: caller.attempt(),
                    money: *lease_usd,
                    tokens: *lease_tokens,
                    units: *units,
                };
                // Admitted when it was journaled; a lease that no longer fits is still booked by `settle`.
                let _ = self.ledger.lease(LeaseId(call.0), &ask);
                match key {
                    Some(_) if hedge_of.is_some() => self.tally.hedges += 1,
                    Some(key) => {
                        self.leave_queues(key);
                        if let Some(work) = self.work.get_mut(&key) {
                            work.stage = Stage::Calling(*call);
                            if let Some(attempt) = &mut work.attempt {
                                attempt.opened = true;
                            }
                        }
                    }
                    None => {
                        self.parked.retain(|(_, who)| *who != Parked::Desk);
                        if *caller == Caller::Replanner && !self.desk.asked {
                            let message = super::prepare::replan_packed(self);
                            let told = message.receipt.iter().filter(|part| part.name.starts_with("result of ")).count();
                            self.desk.compaction.results += told as u32;
                            self.desk.news.clear();
                            self.desk.turns.extend(message.items);
                            self.desk.asked = true;
                        }
                        if *caller == Caller::Planner && self.desk.mends == 0 {
                            self.desk.frozen = self.tasks.len() as u32;
                        }
                        if *caller == Caller::Reviewer {
                            self.ledger.hold_back(NanoUsd::ZERO);
                        }
                        self.desk.stage = DeskStage::Calling(*call);
                    }
                }
                self.race_begins(*call, *hedge_of);
                let flight = InFlight {
                    caller: caller.clone(),
                    key,
                    tier: tier.clone(),
                    model: model.clone(),
                    service: *service,
                    batch: None,
                    since: at,
                    home: *home,
                    rival: *hedge_of,
                    outrun: false,
                };
                if *service == Service::Batch {
                    self.gather_call(*call, model, lease_tokens.saturating_sub(u64::from(*max_output_tokens)));
                }
                self.calls.insert(*call, flight);
            }
            Event::CallEnded { call, result, usage, cost_usd, flagship_usd, sent, ms, .. } => {
                let Some(flight) = self.calls.remove(call) else { return };
                if flight.service == Service::Batch {
                    self.leaves_batch(*call, &flight);
                }
                let lease = LeaseId(call.0);
                let units = self.ledger.in_flight(lease).map_or(QuotaUnits::default(), |lease| lease.most.units);
                let leased = self.ledger.in_flight(lease).map_or(0, |lease| lease.most.tokens);
                let tokens = if *sent { usage.map(|usage| usage.input_tokens + usage.output_tokens) } else { Some(0) };
                self.waiting.ended(*call, tokens, leased);
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
                    self.usage.count(&flight.tier, units);
                    self.all_flagship += *flagship_usd;
                    self.all_flagship_units += self.start().policy.flagship_units();
                }
                self.weather(&flight, result, at);
                self.starved.retain(|_, starved| starved.lasts(at));
                if flight.caller == Caller::Reviewer {
                    self.ledger.hold_back(self.reserve);
                }
                match flight.key {
                    Some(key) => {
                        self.spent_on(key, *cost_usd, usage.unwrap_or_default());
                        self.raced(*call, &flight, result, *cost_usd, *ms);
                        if flight.decides(matches!(result, CallResult::Answered { .. })) {
                            self.answered(key, result);
                        }
                    }
                    None => self.desk_answered(&flight.caller, result),
                }
            }
            Event::BatchStarted { batch, key, model, calls } => self.batch_started(*batch, key, model, calls, at),
            Event::BatchCreated { batch, id } => {
                if let Some(batch) = self.batches.get_mut(batch) {
                    batch.id = Some(id.clone());
                }
            }
            Event::BatchEnded { batch, .. } => drop(self.batches.remove(batch)),
            Event::AgentWorked { caller, tree, touched, .. } => {
                if let Caller::Executor { unit, attempt: no } = caller
                    && let Some(key) = self.key(unit)
                    && let Some(attempt) = self.work.get_mut(&key).and_then(|w| w.attempt.as_mut()).filter(|a| a.no == *no)
                {
                    if tree.is_some() {
                        attempt.tree.clone_from(tree);
                    }
                    if let Some(touched) = touched {
                        attempt.touched.clone_from(touched);
                    }
                }
            }
            Event::ToolStarted { unit, call_id, .. } => {
                if let Some(pending) = self.pending(unit, call_id) {
                    pending.started = true;
                }
            }
            Event::ToolEnded { unit, call_id, output, saved, tree, touched, .. } => {
                let Some(key) = self.key(unit) else { return };
                let Some(work) = self.work.get_mut(&key) else { return };
                work.saved.extend(saved.iter().map(|saved| (saved.id.clone(), saved.blob.clone())));
                let Some(attempt) = work.attempt.as_mut() else { return };
                attempt.pending.retain(|p| p.call_id != *call_id);
                let (text, images) = (output.for_model(), output.images.clone());
                attempt.items.push(Item::ToolOutput { call_id: call_id.clone(), output: text, images });
                attempt.tool_calls += 1;
                if tree.is_some() {
                    attempt.tree.clone_from(tree);
                }
                if let Some(touched) = touched {
                    attempt.touched.clone_from(touched);
                }
                if attempt.pending.is_empty() {
                    self.enter(key, Stage::Call);
                } else {
                    // A write waits for the one before it.
                    self.fresh.push(key);
                }
            }
            Event::CheckEnded { unit, verdict, check, evidence, .. } => {
                let Some(key) = self.key(unit) else { return };
                if key.row.is_none() {
                    let line =
                        CheckLine { name: check.clone(), passed: *verdict == super::event::Verdict::Pass, evidence: evidence.clone() };
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
            Event::AttemptEnded { unit, attempt, tier, ending, failure, accepted, reason, .. } => {
                let Some(key) = self.key(unit) else { return };
                let tried = Tried { tier: tier.clone(), ending: *ending, failure: *failure, evidence: reason.clone() };
                if let Some(turns) = self.work.get(&key).and_then(|work| work.attempt.as_ref()).map(|attempt| attempt.turns) {
                    self.pace.attempt_ended(self.tasks[key.task as usize].spec.kind, tier, turns);
                }
                self.ledger.forget_attempt(&unit.subtask, Try { row: unit.row, no: *attempt });
                self.finish_attempt(key, tried, *accepted);
                if *ending == Ending::Unaffordable
                    && let Some(work) = self.work.get_mut(&key)
                {
                    work.below = Some(tier.clone());
                }
            }
            Event::Escalated { unit, .. } => {
                self.tally.escalations += 1;
                let Some(key) = self.key(unit) else { return };
                let first = self.work.get_mut(&key).is_none_or(|w| !std::mem::replace(&mut w.escalated, true));
                if first && key.row.is_some() {
                    self.tasks[key.task as usize].rows.escalated += 1;
                }
            }
            Event::SubtaskEnded { unit, status, output, tier, error, reused_from, change, .. } => {
                let Some(key) = self.key(unit) else { return };
                match reused_from {
                    Some(run) if run == self.run() => self.tally.shared += 1,
                    Some(_) => self.tally.reused += 1,
                    None => {}
                }
                self.keep_change(key, *status, change.as_ref());
                self.end_unit(key, *status, output, tier.clone(), error.clone());
            }
            Event::Reopened { unit, instructions, onto } => {
                let Some(key) = self.key(unit) else { return };
                self.reopen(key, instructions, onto.as_ref());
            }
            Event::RowsEnded { source, rows } => {
                for i in 0..self.sources.len() {
                    if self.sources[i].from == *source && self.sources[i].total.is_none() {
                        self.sources[i].total = Some(*rows);
                        self.close_source(i);
                    }
                }
            }
            Event::LeaseRefused { role, scope, message, retry_at, units } => {
                let starved = Starved { scope: scope.clone(), message: message.clone(), retry_at: *retry_at, units: *units };
                self.starved.insert(*role, starved);
            }
            Event::BudgetWarning { near } => drop(self.warned.insert((near.scope.clone(), near.measure), near.cap)),
            Event::Reserved { review_usd } => {
                self.reserve = *review_usd;
                self.ledger.hold_back(*review_usd);
            }
            Event::Priced { asks, .. } => self.pricing = if *asks { Pricing::Asked } else { Pricing::Settled },
            Event::CapRaised { run_usd } => {
                self.ledger.set_run_cap(*run_usd);
                self.starved.clear();
                self.work.values_mut().for_each(|work| work.below = None);
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
                    (AskFor::Composed, _, _) => {
                        if let Some(composed) = &mut self.composed {
                            composed.asked = Some(*item);
                        }
                    }
                    (_, Some(key), _) => self.enter(key, Stage::Person(*item)),
                    _ => {}
                }
                let entry =
                    InboxItem { ask: *ask, unit: key, call_id: call_id.clone(), question: question.clone(), evidence: evidence.clone() };
                self.inbox.insert(*item, entry);
            }
            Event::InboxAnswered { item, reply } => {
                if let Some(entry) = self.inbox.remove(item) {
                    self.replied(*item, &entry, reply);
                }
            }
            Event::Heard { commands } => self.commands = *commands,
            Event::Told { text } => {
                let text = format!("The person who asked for this work now says: {text}");
                self.desk.reasons.push_back(Reason { unit: None, text });
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
                if *verdict == ReviewVerdict::Approve && self.desk.reasons.is_empty() && self.open == 0 {
                    self.phase = Phase::Closing;
                } else if *verdict == ReviewVerdict::Approve {
                    // A person spoke, or work was taken up again, while it was judged.
                    self.next_job();
                }
            }
            Event::ReviewFailed { .. } => {
                self.desk.job = None;
                self.desk.stage = DeskStage::Idle;
                self.desk.mends = 0;
            }
            Event::Composed { parts, tree } => {
                // A question about what was composed before is about nothing now.
                self.inbox.retain(|_, item| item.ask != AskFor::Composed);
                self.composed = Some(Composed { parts: parts.clone(), tree: tree.clone(), passed: 0, waived: false, asked: None });
            }
            Event::ComposedChecked { verdict, .. } => {
                if let Some(composed) = &mut self.composed {
                    composed.passed += u32::from(*verdict == super::event::Verdict::Pass);
                }
            }
            Event::PatchStored { blob, files } => {
                let parts = self.composed.as_ref().map(|composed| composed.parts.clone()).unwrap_or_default();
                self.patch = Some(Patch { blob: blob.clone(), files: files.clone(), parts, applied: None });
                self.next_job();
            }
            Event::PartialApplied { blob, files } => self.partial = Some((blob.clone(), files.clone())),
            Event::PatchUndone { .. } => match &mut self.patch {
                Some(patch) if patch.applied == Some(Ok(())) => patch.applied = None,
                _ => self.partial = None,
            },
            Event::PatchApplied { error } => {
                if let Some(patch) = &mut self.patch {
                    patch.applied = Some(error.clone().map_or(Ok(()), Err));
                }
            }
            Event::Halted { class, message, until } => {
                self.stop = Some(match class {
                    Some(class) => Stop::Provider { class: *class, message: message.clone(), until: *until },
                    None => Stop::Failed(message.clone()),
                });
            }
            Event::QuotaReported { provider, windows, as_of } => self.reports.take(provider, windows, as_of.unwrap_or(at)),
            Event::Waits {} => self.waits = true,
            Event::QuotaParked { window, until, .. } => {
                self.waiting.stands(at);
                self.standstill = Some(Standstill { window: window.clone(), until: *until });
            }
            Event::QuotaResumed { .. } => {
                self.waiting.goes_on(at);
                self.standstill = None;
                self.storms.clear();
                self.starved.clear();
                self.stop = self.stop.take().filter(|stop| !matches!(stop, Stop::Provider { .. }));
            }
            Event::Cancelling {} => self.stop = Some(Stop::Cancel),
            Event::RunPaused(summary) => {
                self.waiting.stands(at);
                self.ended = Some(summary.clone());
            }
            Event::RunEnded(summary) => {
                self.ended = Some(summary.clone());
                self.phase = Phase::Ended;
            }
        }
    }

    fn pending(&mut self, unit: &super::event::Unit, call_id: &str) -> Option<&mut PendingTool> {
        let key = self.key(unit)?;
        let attempt = self.work.get_mut(&key)?.attempt.as_mut()?;
        attempt.pending.iter_mut().find(|p| p.call_id == call_id)
    }

    fn desk_answered(&mut self, caller: &Caller, result: &CallResult) {
        self.desk.stage = DeskStage::Call;
        match result {
            // What became of it is an event of its own.
            _ if matches!(caller, Caller::Compactor { .. }) => {}
            CallResult::Failed { repair: Repair::GiveUp(GiveUp::TooLong), .. } if *caller == Caller::Replanner && self.may_shrink() => {
                self.desk.compaction.overflow = Overflow::Seen;
            }
            CallResult::Answered { text, items, end, .. } => {
                self.desk.trouble = 0;
                if *end == End::Length && !self.desk.doubled {
                    self.desk.doubled = true;
                } else {
                    self.desk.doubled = false;
                    if *caller != Caller::Reviewer && items.is_empty() {
                        self.desk.turns.push(Item::message(Speaker::Assistant, text.clone()));
                    } else if *caller != Caller::Reviewer {
                        self.desk.turns.extend(items.iter().cloned());
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
                self.desk.omit.push(super::turn::field_named(param.as_deref().unwrap_or(message)));
            }
            CallResult::Failed { repair: Repair::Rebuild, .. } => {
                self.desk.turns.retain(|i| !matches!(i, Item::Opaque { .. }));
            }
            CallResult::Failed { .. } => self.desk.trouble = 0,
            CallResult::Lost => {}
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
        self.desk.compaction.overflow = Overflow::No;
        if !self.desk.reasons.is_empty() {
            let reasons = std::mem::take(&mut self.desk.reasons);
            let units = reasons.iter().filter_map(|r| r.unit).collect();
            let reasons = reasons.into_iter().map(|r| r.text).collect();
            self.desk.job = Some(Job::Replan { reasons, units, faults: Vec::new() });
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

    /// Whether accepted work changed since the stored patch.
    pub(super) fn wants_patch(&self) -> bool {
        if self.changes.is_empty() && self.patch.is_none() {
            return false;
        }
        let parts = self.parts();
        self.patch.as_ref().map_or(!parts.is_empty(), |patch| patch.parts != parts)
    }
}

/// Whether a subtask works in a view of its own: it writes, runs commands, or is checked by one.
pub fn uses_view(spec: &Subtask) -> bool {
    may_write(spec) || !spec.checks.is_empty()
}

/// Whether a subtask may leave its view other than it was: it writes, or runs commands.
pub fn may_write(spec: &Subtask) -> bool {
    const WRITERS: [&str; 3] = ["apply_patch", "write_file", "run_command"];
    !spec.writes.is_empty() || spec.tools.iter().any(|t| WRITERS.contains(&t.as_str()))
}
