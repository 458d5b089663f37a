//! How a session ends: when nothing is under way, and nothing can be.

use crate::budget::Scope;
use crate::call::ErrorClass;
use crate::ids::SubtaskId;
use crate::plan::ForEach;
use crate::plan::reference::{Reference, references};
use crate::policy::Slots;
use crate::run::event::{Basis, Event, RunStatus, RunSummary, SubtaskStatus};
use crate::run::park::Parking;
use crate::run::state::{DeskStage, Key, Phase, Stop};
use crate::run::{Action, Run, rows};

impl Run {
    /// Ends the session when nothing is under way and nothing can be.
    pub(super) fn close(&mut self, actions: &[Action]) {
        // A batch goes on without us: who only stands still need not wait for it.
        let leaves = self.session.draining || matches!(self.state.stop, Some(Stop::Provider { .. }));
        let waits = self.state.calls.values().any(|flight| !leaves || flight.batch.is_none());
        if waits || self.session.outstanding > 0 || !actions.is_empty() {
            return;
        }
        if !self.session.draining
            && let Some(why) = self.parked_by_provider()
        {
            return self.park(why);
        }
        let summary = |status, output: String| self.summary(status, output, None);
        if let Some(stop) = self.state.stop.clone() {
            let event = match stop {
                Stop::Cancel => Event::RunEnded(summary(RunStatus::Cancelled, "cancelled".to_owned())),
                Stop::Failed(why) => Event::RunEnded(summary(RunStatus::Failed, why)),
                Stop::Provider { class, message, .. } => {
                    let status = match class {
                        ErrorClass::RateLimited | ErrorClass::Overloaded => RunStatus::QuotaParked,
                        ErrorClass::QuotaExhausted => RunStatus::NeedsPerson,
                        _ => RunStatus::Failed,
                    };
                    Event::RunPaused(self.summary(status, message, Some(class)))
                }
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
        // What only a person can change comes before what time changes.
        let now = self.now;
        let short = self.state.starved.values().min_by_key(|starved| starved.lasts(now)).cloned();
        if let Some(starved) = short {
            if let Scope::Window { name, .. } = &starved.scope
                && starved.retry_at.is_some()
            {
                let window = name.clone();
                let (until, units, message) = (starved.retry_at, starved.units, starved.message);
                return self.park(Parking { window, until, units, message, error: None });
            }
            let summary = RunSummary { short_of: Some(starved.scope), ..summary(RunStatus::BudgetReached, starved.message) };
            return self.record(Event::RunPaused(summary));
        }
        if self.state.parked.is_empty()
            && let Some(why) = self.session.used_up.clone()
        {
            return self.park(why);
        }
        if !self.state.parked.is_empty() || !self.state.to_call.is_empty() || self.state.desk.stage != DeskStage::Idle || self.may_start() {
            return; // the gate opens, or the time comes
        }
        if !self.state.inbox.is_empty() {
            let n = self.state.inbox.len();
            let output = format!("{n} {} for a person", if n == 1 { "item waits" } else { "items wait" });
            return self.record(Event::RunPaused(summary(RunStatus::NeedsPerson, output)));
        }
        if self.state.desk.planned && self.state.start().policy.limits.max_concurrent_subagents == Slots::At(0) {
            // Only a plan was asked for; whoever resumes the run gives it slots.
            return self.record(Event::RunPaused(summary(RunStatus::Cancelled, "planned; resume it to work it off".to_owned())));
        }
        if self.state.desk.planned {
            let open = self.state.tasks.iter().filter(|t| t.status.is_none()).map(|t| t.spec.id.as_str());
            let open: Vec<&str> = open.take(5).collect();
            self.record(Event::RunEnded(summary(RunStatus::Failed, format!("nothing can go on; still open: {}", open.join(", ")))));
        }
    }

    /// Whether only a closed gate keeps something from starting.
    fn may_start(&self) -> bool {
        let rows = || {
            self.state.sources.iter().enumerate().any(|(i, source)| {
                let waiting = self.session.incoming.get(&i).is_some_and(|q| !q.is_empty());
                waiting && self.source_is_open(i) && rows::may_start(&self.state, source) > 0
            })
        };
        // What goes by batch passes no gate.
        self.room() > 0 && !self.unpriced() && (!self.state.ready.is_empty() || rows())
    }

    pub(in crate::run) fn summary(&self, status: RunStatus, output: String, error: Option<ErrorClass>) -> RunSummary {
        RunSummary {
            status,
            output,
            short_of: None,
            error,
            retry_at: None,
            cost_usd: self.state.spent(),
            all_flagship_cost_usd: self.state.all_flagship,
            all_flagship_basis: Basis::Computed,
            all_flagship_units: self.state.all_flagship_units,
            accepted: self.state.outcomes().done,
            human_reviews: self.state.tally.asked,
            waited: self.state.waiting.waited,
            duration_ms: self.now - self.state.started_at,
            usage: self.state.usage.clone(),
        }
    }

    /// The run's answer: the review's words with results in place of their references.
    fn result(&self) -> (RunStatus, String) {
        let template = match self.state.desk.final_output.as_deref() {
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => self.last_results(),
        };
        let template = template.as_str();
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
        let bulk: Vec<_> =
            self.state.tasks.iter().filter(|t| matches!(t.spec.for_each, Some(ForEach::Input | ForEach::Subtask(_)))).collect();
        let rows = bulk.iter().fold((0, 0), |(done, failed), t| (done + t.rows.done, failed + t.rows.failed));
        let status = if rows.0 == 0 && rows.1 > 0 { RunStatus::Failed } else { RunStatus::Completed };
        (status, output)
    }

    /// References to what nothing else was made from: the answer when the reviewer wrote none.
    fn last_results(&self) -> String {
        let left = |d: &u32| self.state.tasks[*d as usize].status != Some(SubtaskStatus::Dropped);
        let last = self.state.tasks.iter().filter(|t| t.status == Some(SubtaskStatus::Done) && !t.dependents.iter().any(left));
        let ids: Vec<&SubtaskId> = last.map(|t| &t.spec.id).collect();
        ids.iter().map(|id| format!("{{{{{id}.output}}}}")).collect::<Vec<_>>().join("\n\n")
    }
}
