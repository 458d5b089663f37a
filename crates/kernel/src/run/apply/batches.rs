//! The fold of batches: who is gathered, who is on the way, who came back.

use crate::ids::ModelRef;
use crate::run::event::CallNo;
use crate::run::state::{Batch, InFlight, State};
use crate::time::Timestamp;

impl State {
    /// A call waits for a batch to be made.
    pub(super) fn gather_call(&mut self, call: CallNo, model: &ModelRef, bytes: u64) {
        let gathered = self.gathered.entry(model.clone()).or_default();
        gathered.bytes += bytes;
        gathered.calls.insert(call, bytes);
    }

    pub(super) fn batch_started(&mut self, no: u32, key: &str, model: &ModelRef, calls: &[CallNo], at: Timestamp) {
        self.last_batch = self.last_batch.max(no);
        for call in calls {
            self.ungather(*call, model);
            if let Some(flight) = self.calls.get_mut(call) {
                flight.batch = Some(no);
            }
        }
        let batch = Batch {
            key: key.to_owned(),
            model: model.clone(),
            calls: calls.iter().copied().collect(),
            lines: calls.len() as u64,
            id: None,
            since: at,
        };
        self.batches.insert(no, batch);
    }

    /// A call of a batch, or one gathered for it, has ended.
    pub(super) fn leaves_batch(&mut self, call: CallNo, flight: &InFlight) {
        match flight.batch {
            Some(no) => {
                if let Some(batch) = self.batches.get_mut(&no) {
                    batch.calls.remove(&call);
                }
            }
            None => self.ungather(call, &flight.model),
        }
    }

    fn ungather(&mut self, call: CallNo, model: &ModelRef) {
        let Some(gathered) = self.gathered.get_mut(model) else { return };
        if let Some(bytes) = gathered.calls.remove(&call) {
            gathered.bytes -= bytes;
        }
        if gathered.calls.is_empty() {
            self.gathered.remove(model);
        }
    }

    /// Attempts that wait for a batch: they take no slot.
    pub(in crate::run) fn in_batches(&self) -> usize {
        let gathered: usize = self.gathered.values().map(|gathered| gathered.calls.len()).sum();
        gathered + self.batches.values().map(|batch| batch.calls.len()).sum::<usize>()
    }
}
