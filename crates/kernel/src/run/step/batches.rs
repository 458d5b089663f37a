//! When gathered calls become a batch: when it is full, or nothing can be added to it at once.

use crate::call::Service;
use crate::ids::ModelRef;
use crate::run::event::{CallNo, Event};
use crate::run::state::{Key, Stop};
use crate::run::{Action, Run};

/// Most calls of one file (responses-api.md §6.5).
const MOST_CALLS: usize = 50_000;
/// Most bytes of one file, by our count of the requests: half of what a provider takes (§6.5), for JSON escapes some.
const MOST_BYTES: u64 = 100_000_000;

impl Run {
    /// Batches to be made, and those of an earlier engine to be looked after.
    pub(super) fn batches(&mut self, actions: &mut Vec<Action>) {
        let given_up = matches!(self.state.stop, Some(Stop::Cancel | Stop::Failed(_)));
        if !self.session.draining && (self.state.stop.is_none() || given_up) {
            self.follow(actions);
        }
        if self.stopping() {
            return self.let_go();
        }
        let full = |calls: usize, bytes: u64| calls >= MOST_CALLS || bytes >= MOST_BYTES;
        let rests = actions.is_empty() && !self.state.gathered.is_empty() && !self.more_to_gather();
        let due = self.state.gathered.iter().filter(|(_, gathered)| rests || full(gathered.calls.len(), gathered.bytes));
        let due: Vec<(ModelRef, Vec<CallNo>)> =
            due.map(|(model, gathered)| (model.clone(), gathered.calls.keys().copied().collect())).collect();
        for (model, calls) in due {
            let batch = self.state.last_batch + 1;
            let key = format!("{}-b{batch}", self.state.run());
            self.record(Event::BatchStarted { batch, key: key.clone(), model: model.clone(), calls: calls.clone() });
            self.session.followed.insert(batch);
            actions.push(Action::Batch { batch, key, model, calls, id: None, fresh: true });
        }
    }

    fn follow(&mut self, actions: &mut Vec<Action>) {
        for (&batch, entry) in self.state.batches.iter().filter(|(no, _)| !self.session.followed.contains(no)) {
            actions.push(Action::Batch {
                batch,
                key: entry.key.clone(),
                model: entry.model.clone(),
                calls: entry.calls.iter().copied().collect(),
                id: entry.id.clone(),
                fresh: false,
            });
        }
        self.session.followed.extend(self.state.batches.keys());
    }

    /// Calls that were gathered and never sent are taken back.
    pub(in crate::run) fn let_go(&mut self) {
        let gathered: Vec<CallNo> = self.state.gathered.values().flat_map(|gathered| gathered.calls.keys().copied()).collect();
        for call in gathered {
            self.unsent(call);
        }
    }

    /// Whether rows that are read, shown something, checked or brought back may still join.
    fn more_to_gather(&self) -> bool {
        let joins = |key: &Key| {
            key.row.is_some() && self.state.work.get(key).is_some_and(|w| w.attempt.is_some()) && {
                let model = self.model_of(*key);
                self.goes_by_batch(*key, &model)
            }
        };
        let looked_for = self.session.looking.iter().flatten().any(|key| key.row.is_some());
        let read = !self.session.landing.is_empty() || !self.session.reading.is_empty();
        read || looked_for || self.is_asking_for_rows() || self.state.to_act.iter().any(joins)
    }

    /// Whether the next call of a unit is to travel with others.
    pub(in crate::run) fn goes_by_batch(&self, key: Key, model: &ModelRef) -> bool {
        if !self.state.start().policy.service.batch || key.row.is_none() {
            return false;
        }
        let attempt = self.state.work.get(&key).and_then(|w| w.attempt.as_ref());
        let omit = attempt.map_or(&[][..], |attempt| &attempt.omit);
        self.executor_service(key, model, omit) == Service::Batch
    }

    /// Whether one more row may wait for a batch.
    pub(in crate::run) fn batch_room(&self) -> bool {
        let service = &self.state.start().policy.service;
        service.batch && self.state.in_batches() + self.session.joining < service.batch_rows as usize
    }
}
