//! What a fact means: the events that follow from it. Each is recorded and folded before the next is decided.

mod batches;
mod compose;
mod executor;
mod flagship;
mod person;

use super::action::{Fact, RowRead};
use super::event::{Caller, Ending, Event, Saved, SubtaskStatus, Touched, Unit};
use super::state::{Key, Phase, Stage, Stop};
use super::{CallNo, CallResult, Held, Run};
use crate::budget::Measure;
use crate::call::{Answer, CallError};
use crate::ids::{ModelRef, Tier};
use crate::time::{Millis, Timestamp};
use crate::tool::ToolOutput;
use crate::units::NanoUsd;
use crate::usage::Usage;

impl Run {
    /// Takes in what came from outside.
    pub fn hear(&mut self, fact: Fact, now: Timestamp) {
        self.now = now;
        match fact {
            Fact::Opened => self.opened(),
            Fact::PlanGiven { subtasks, notes, bulk, warnings } => {
                let count = subtasks.len() as u32;
                for subtask in subtasks {
                    self.record(Event::PlanSubtask { subtask: Box::new(subtask), streamed: false });
                }
                self.record(Event::PlanCompleted { subtasks: count, coordination_notes: notes, warnings, bulk: Some(bulk) });
                self.reserve_for_review();
            }
            Fact::Priced(priced) => {
                self.session.settled_one();
                self.priced_at(priced);
            }
            Fact::PlannerSaid { call, text } => self.planner_said(call, &text),
            Fact::FirstContent { call } => self.warmed(call),
            Fact::Answered { call, mut answer, ms, first_ms, worked } => {
                self.warmed(call);
                if let Some(worked) = worked {
                    self.errand_ended(call, &mut answer, *worked);
                }
                self.answered(call, answer, ms, first_ms);
            }
            Fact::BatchCreated { batch, id } => self.batch_created(batch, id),
            Fact::BatchLands { batch } => drop(self.session.landing.insert(batch)),
            Fact::BatchOver { batch, end } => self.batch_over(batch, end),
            Fact::BatchRefused { batch, error } => {
                self.session.followed.remove(&batch);
                if self.state.stop.is_none() {
                    self.record(Event::Halted { class: Some(error.class), message: error.message, until: None });
                }
            }
            Fact::Gathered { unit, parts, images, tree, start, conflicts, sides } => {
                self.session.settled_one();
                if self.stage(&unit) == Some(Stage::Gather) {
                    self.gathered(unit, (parts, images), tree, start, &conflicts, &sides);
                }
            }
            Fact::NotShown { unit, reason } => {
                self.session.settled_one();
                let key = self.state.key(&unit).filter(|_| self.stage(&unit) == Some(Stage::Gather));
                if let Some(key) = key {
                    self.ended_otherwise(key, Ending::NeedsContext, reason);
                }
            }
            Fact::GatherFailed { unit, reason } => {
                self.session.settled_one();
                if self.stage(&unit) == Some(Stage::Gather) {
                    self.record(Event::Halted { class: None, message: reason, until: None });
                }
            }
            Fact::ToolDone { unit, attempt, call_id, output, saved, tree, changed, ms } => {
                self.session.settled_one();
                let touched = changed.map(|changed| self.touched(&unit, &changed));
                self.tool_done(unit, attempt, call_id, (output, saved), tree, touched, ms);
            }
            Fact::ToolUnknown { unit, call_id, why } => {
                self.session.settled_one();
                self.tool_unknown(&unit, call_id, why);
            }
            Fact::Cut => self.session.settled_one(),
            Fact::Checked { unit, attempt, check, verdict, evidence, ms } => {
                self.session.settled_one();
                self.checked(unit, attempt, check, verdict, evidence, ms);
            }
            Fact::LookedUp { caller, earlier } => self.looked_up(&caller, earlier),
            Fact::RowsRead { source, rows, total } => {
                self.session.settled_one();
                self.rows_read(source, rows, total);
            }
            Fact::Composed { parts, tree, conflicts, sides } => {
                self.session.settled_one();
                self.composed(parts, tree, &conflicts, &sides);
            }
            Fact::ComposedChecked { unit, check, verdict, evidence, ms } => {
                self.session.settled_one();
                self.composed_checked(unit, check, verdict, &evidence, ms);
            }
            Fact::PatchLost { reason } => {
                self.session.settled_one();
                self.record(Event::Halted { class: None, message: reason, until: None });
            }
            Fact::PatchStored { blob, files } => {
                self.session.settled_one();
                self.record(Event::PatchStored { blob, files });
            }
            Fact::PatchApplied { error } => {
                self.session.settled_one();
                self.session.applying = false;
                self.record(Event::PatchApplied { error });
            }
            Fact::HomeRefused { caller, refused } => self.home_refused(&caller, &refused),
            Fact::Told(text) => self.record(Event::Told { text }),
            Fact::Replied { item, reply } => self.replied(item, reply),
            Fact::CapRaised(cap) => {
                self.record(Event::CapRaised { run_usd: cap });
                self.reserve_for_review();
            }
            Fact::CancelAsked => {
                if self.state.phase != Phase::Ended && self.state.stop != Some(Stop::Cancel) {
                    self.record(Event::Cancelling {});
                }
            }
            Fact::QuotaKnown { provider, windows, at } => {
                self.record(Event::QuotaReported { provider, windows, as_of: Some(at) });
            }
            Fact::WaitAsked => {
                if !self.state.waits {
                    self.record(Event::Waits {});
                }
            }
            Fact::Drain => self.session.draining = true,
            Fact::RetryFailed(units) => {
                for unit in units {
                    self.retry(unit);
                }
            }
        }
    }

    /// The engine takes the run up after another one left it.
    fn opened(&mut self) {
        // What is in a batch is with the provider and comes back; what was gathered for one was never sent.
        self.let_go();
        let lost: Vec<CallNo> = self.state.calls.iter().filter(|(_, flight)| flight.batch.is_none()).map(|(call, _)| *call).collect();
        for call in lost {
            let leased = self.state.ledger.in_flight(crate::budget::LeaseId(call.0)).map_or(NanoUsd::ZERO, |l| l.most.money);
            self.record(Event::CallEnded {
                call,
                result: CallResult::Lost,
                usage: None,
                cost_usd: leased,
                flagship_usd: leased,
                sent: true,
                ms: Millis(0),
                first_ms: None,
            });
        }
        self.record(Event::RunResumed {});
    }

    fn answered(&mut self, call: CallNo, answer: Result<Answer, CallError>, ms: Millis, first_ms: Option<Millis>) {
        let Some(flight) = self.state.calls.get(&call).cloned() else { return };
        let batch = flight.batch;
        let lease = self.state.ledger.in_flight(crate::budget::LeaseId(call.0)).map_or(NanoUsd::ZERO, |l| l.most.money);
        let (usage, service, sent) = match &answer {
            Ok(answer) => (answer.usage, answer.service.unwrap_or(flight.service), true),
            Err(error) => (error.usage, flight.service, error.sent),
        };
        // What a provider charges for a refusal before any token is nothing; it says so by its status.
        let refused = matches!(&answer, Err(e) if e.sent && e.usage.is_none() && e.status.is_some_and(|s| s >= 400));
        let usage = if refused { Some(Usage::default()) } else { usage };
        let cost = match (&usage, sent) {
            (_, false) => NanoUsd::ZERO,
            (Some(usage), _) => self.charge(&flight.model, flight.since, usage, service).unwrap_or(lease),
            (None, _) => lease,
        };
        let flagship = match &usage {
            Some(usage) if sent => self.flagship_charge(&flight.model, flight.since, usage).unwrap_or(cost),
            _ => cost,
        };
        let result = match &answer {
            Ok(answer) => self.result_of(&flight.caller, answer, service),
            Err(error) => self.trouble_of(&flight, error),
        };
        let decides = flight.decides(answer.is_ok());
        let frozen_before = self.frozen();
        self.record(Event::CallEnded { call, result: result.clone(), usage, cost_usd: cost, flagship_usd: flagship, sent, ms, first_ms });
        self.all_came(batch);
        if self.frozen() && !frozen_before {
            let message = format!("call {} was charged {cost}, above its lease of {lease}: no new calls until the cap is raised", call.0);
            self.record(Event::BudgetAlarm { call, message });
        }
        if let Some(key) = flight.key {
            self.session.leased_out.remove(&key.task);
        }
        match (flight.caller, flight.key) {
            (Caller::Executor { .. }, Some(key)) if decides => self.executor_answered(key, answer, result),
            // The other request for the same answer decides, or has.
            (Caller::Executor { .. }, _) => {}
            (caller, _) => self.flagship_answered(&caller, answer, result),
        }
    }

    fn frozen(&self) -> bool {
        self.state.ledger.balance(&crate::budget::Scope::Run, Measure::NanoUsd).is_some_and(|b| b.frozen)
    }

    fn stage(&self, unit: &Unit) -> Option<Stage> {
        let key = self.state.key(unit)?;
        self.state.work.get(&key).map(|w| w.stage)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one fact, in its order")]
    fn tool_done(
        &mut self,
        unit: Unit,
        attempt: u32,
        call_id: String,
        (output, saved): (ToolOutput, Option<Saved>),
        tree: Option<String>,
        touched: Option<Touched>,
        ms: Millis,
    ) {
        let Some(key) = self.state.key(&unit) else { return };
        self.session.tools.remove(&(key, call_id.clone()));
        self.session.unanswered.remove(&(key, call_id.clone()));
        let pending = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()).filter(|a| a.no == attempt);
        let Some(name) = pending.and_then(|a| a.pending.iter().find(|p| p.call_id == call_id)).map(|p| p.name.clone()) else { return };
        let output = self.bearable(key, output);
        self.record(Event::ToolEnded { unit, attempt, call_id, name, output, saved, tree, touched, ms });
    }

    /// Its start is on record and its end is not, as after a crash: `step` sees that and repeats it or asks.
    fn tool_unknown(&mut self, unit: &Unit, call_id: String, why: String) {
        let Some(key) = self.state.key(unit) else { return };
        let call = (key, call_id);
        self.session.tools.remove(&call);
        let unanswered = self.session.unanswered.entry(call).or_default();
        *unanswered = (unanswered.0 + 1, why);
        self.state.fresh.push(key);
    }

    fn rows_read(&mut self, source: u32, rows: Vec<RowRead>, total: Option<u64>) {
        let i = source as usize;
        self.session.reading.retain(|&s| s != i);
        if self.session.stale_reads.remove(&i) {
            return; // asked for before the rows began anew
        }
        self.take_rows(i, rows, total);
    }

    /// Rows that were read, for the pass they were read for.
    pub(super) fn take_rows(&mut self, i: usize, rows: Vec<RowRead>, total: Option<u64>) {
        let none = rows.is_empty();
        if let Some(last) = rows.last() {
            self.session.next_read.insert(i, last.row + 1);
        }
        for row in rows {
            let in_hand = self.state.sources[i].rows.contains_key(&row.row);
            if in_hand && let Ok(item) = &row.item {
                // In hand since before a restart, or tried again: its units wait for the row itself.
                self.session.items.insert((i, row.row), Held { item: item.clone(), kept: row.kept });
                continue;
            }
            // Behind the last row that a person let through, nothing starts.
            let cut = self.state.sources[i].total.is_some_and(|total| row.row >= total);
            if cut || (!in_hand && self.state.sources[i].is_finished(row.row)) {
                continue;
            }
            self.session.incoming.entry(i).or_default().push_back(row);
        }
        if let Some(total) = total
            && self.state.sources[i].total.is_none()
        {
            self.record(Event::RowsEnded { source: self.state.sources[i].from.clone(), rows: total });
        }
        let next = self.session.next_read.get(&i).copied().unwrap_or(self.state.sources[i].below);
        if none && self.state.stop.is_none() && self.state.sources[i].total.is_none_or(|total| next < total) {
            let message =
                format!("the input ends at row {next} now, and had more rows when the run started; bring it back, or start a new run");
            self.record(Event::Halted { class: None, message, until: None });
        }
    }

    /// Ends a unit, and what hangs on its failure or on a result that changed.
    pub(super) fn end_unit(
        &mut self,
        key: Key,
        status: SubtaskStatus,
        output: String,
        error: Option<String>,
        by: Option<(Tier, ModelRef)>,
    ) {
        let task = self.state.task(key);
        let change = if status == SubtaskStatus::Done { self.made(key) } else { None };
        let mends = self.state.work.get(&key).is_some_and(|w| w.onto.is_some());
        let other = (!task.output.is_empty() && *task.output != *output) || (!mends && self.state.changes.get(&key) != change.as_ref());
        let changed = key.row.is_none() && status == SubtaskStatus::Done && other;
        let work = self.state.work.get(&key);
        let (cost, attempts) = work.map_or((NanoUsd::ZERO, 0), |w| (w.cost, w.tried.len() as u32 + u32::from(w.attempt.is_some())));
        let (tier, model) = by.unzip();
        self.record(Event::SubtaskEnded {
            unit: self.state.unit(key),
            status,
            kind: self.state.task(key).spec.kind,
            output,
            tier,
            model,
            attempts,
            cost_usd: cost,
            error,
            reused_from: None,
            change,
        });
        self.forget_row(key);
        if changed {
            self.dependents_again(key.task);
        }
        self.watch_rates(key);
    }

    /// What was made from a result that is no longer so is made again; deeper ones follow when their input changes.
    fn dependents_again(&mut self, task: u32) {
        for task in self.state.tasks[task as usize].dependents.clone() {
            let entry = &self.state.tasks[task as usize];
            if entry.status.is_some_and(|s| s != SubtaskStatus::Dropped) {
                self.reopen(Key { task, row: None }, String::new());
            }
        }
    }

    /// A person wants a failed unit tried again; what was skipped because of it comes back too.
    fn retry(&mut self, unit: Unit) {
        let Some(key) = self.state.key(&unit) else { return };
        let (status, source) = (self.state.task(key).status, self.state.task(key).source);
        match (key.row, source) {
            (Some(row), Some(i)) => {
                // Not when it is done by now, and only something behind it failed.
                let results = self.state.sources[i as usize].failed.get(&row).map_or(&[][..], |results| results);
                if results.iter().any(|(task, (status, _))| *task == key.task && *status != SubtaskStatus::Done) {
                    self.reopen(key, String::new());
                }
            }
            (None, _) if status == Some(SubtaskStatus::Failed) => {
                self.reopen(key, String::new());
                self.revive(key.task);
            }
            _ => {}
        }
    }

    /// Takes up again what was skipped behind a failure that is being mended.
    pub(super) fn revive(&mut self, task: u32) {
        let mut behind = self.state.tasks[task as usize].dependents.clone();
        while let Some(task) = behind.pop() {
            if self.state.tasks[task as usize].status == Some(SubtaskStatus::Skipped) {
                self.reopen(Key { task, row: None }, String::new());
                behind.extend(&self.state.tasks[task as usize].dependents);
            }
        }
    }

    /// Opens a unit again, and what was made from rows that are done again.
    pub(super) fn reopen(&mut self, key: Key, instructions: String) {
        let unit = self.state.unit(key);
        let rows = match (key.row, self.state.task(key).source) {
            (_, None) => Vec::new(),
            (None, Some(_)) => self.state.row_chain(key.task),
            (Some(_), Some(i)) => {
                // The row is read again.
                self.forget_read_ahead(i as usize);
                self.state.sources[i as usize].members.clone()
            }
        };
        self.record(Event::Reopened { unit, instructions, onto: None });
        self.passes_changed();
        for &task in &rows {
            for task in self.state.tasks[task as usize].dependents.clone() {
                let entry = &self.state.tasks[task as usize];
                if !rows.contains(&task) && entry.status.is_some_and(|s| s != SubtaskStatus::Dropped) {
                    self.reopen(Key { task, row: None }, String::new());
                }
            }
        }
    }

    /// Rows read for a pass that has not begun were read for the members it had before.
    pub(super) fn passes_changed(&mut self) {
        for i in 0..self.state.sources.len() {
            if !self.state.has_begun(i) {
                self.forget_read_ahead(i);
            }
        }
    }

    fn forget_read_ahead(&mut self, i: usize) {
        self.session.incoming.remove(&i);
        self.session.next_read.remove(&i);
        if self.session.reading.contains(&i) {
            self.session.stale_reads.insert(i);
        }
    }

    pub(super) fn forget_row(&mut self, key: Key) {
        if let (Some(row), Some(source)) = (key.row, self.state.task(key).source)
            && !self.state.sources[source as usize].rows.contains_key(&row)
        {
            self.session.items.remove(&(source as usize, row));
        }
    }

    fn watch_rates(&mut self, key: Key) {
        let Some(i) = self.state.task(key).source.filter(|_| key.row.is_some()) else { return };
        if let Some((task, why)) = super::rows::over_the_rates(&self.state, &self.state.sources[i as usize]) {
            let unit = self.state.unit(Key { task, row: None });
            self.ask_person(super::Ask::Rates, Some(unit), None, format!("{why}. Go on with the other rows?"), String::new());
        }
    }

    pub(super) fn ask_person(&mut self, ask: super::Ask, unit: Option<Unit>, call_id: Option<String>, question: String, evidence: String) {
        let item = self.state.last_item + 1;
        self.record(Event::InboxOpened { item, ask, unit, call_id, question, evidence });
    }
}
