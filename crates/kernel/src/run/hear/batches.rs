//! What becomes of a batch: taken, over, or gone. Each of its calls ends by its own line, or here.

use crate::call::{CallError, ErrorClass};
use crate::run::Run;
use crate::run::action::BatchEnd;
use crate::run::event::{CallNo, Event};
use crate::run::prepare::SERVICE_FIELD;
use crate::time::Millis;

impl Run {
    /// The provider has it, under this name.
    pub(super) fn batch_created(&mut self, batch: u32, id: String) {
        if self.state.batches.get(&batch).is_some_and(|known| known.id.is_none()) {
            self.record(Event::BatchCreated { batch, id });
        }
    }

    /// Nothing more comes of it: calls without a line end as the end says.
    pub(super) fn batch_over(&mut self, batch: u32, end: BatchEnd) {
        self.session.landing.remove(&batch);
        let Some(known) = self.state.batches.get(&batch) else { return };
        let (left, since): (Vec<CallNo>, _) = (known.calls.iter().copied().collect(), known.since);
        let (status, error) = match end {
            BatchEnd::Over { status } => {
                let message = format!("the batch ended ({status}) without a line for this call");
                (status, CallError { sent: false, ..CallError::new(ErrorClass::Server, message) })
            }
            BatchEnd::NotTaken(error) => (format!("not taken: {error}"), not_taken(error)),
            BatchEnd::Gone { why } => (format!("gone: {why}"), CallError::new(ErrorClass::Server, why)),
        };
        // First: calls that come back go into another one.
        self.record(Event::BatchEnded { batch, status });
        for call in left {
            self.answered(call, Err(error.clone()), self.now - since, None);
        }
    }

    /// The last of its lines has come: nothing more can.
    pub(super) fn all_came(&mut self, batch: Option<u32>) {
        let Some(batch) = batch else { return };
        if self.state.batches.get(&batch).is_some_and(|known| known.calls.is_empty()) {
            self.session.landing.remove(&batch);
            self.record(Event::BatchEnded { batch, status: "completed".to_owned() });
        }
    }

    /// A gathered call is taken back before anything was sent.
    pub(in crate::run) fn unsent(&mut self, call: CallNo) {
        let error =
            CallError { sent: false, ..CallError::new(ErrorClass::Cancelled, "not sent: the engine stops before its batch was made") };
        self.answered(call, Err(error), Millis(0), None);
    }
}

/// Nothing was sent. Where trying again is no use, the calls go one by one.
fn not_taken(error: CallError) -> CallError {
    let hopeless =
        !error.class.is_availability() && !matches!(error.class, ErrorClass::Refused | ErrorClass::QuotaExhausted | ErrorClass::Cancelled);
    let class = if hopeless { ErrorClass::UnsupportedField } else { error.class };
    let param = if hopeless { Some(SERVICE_FIELD.to_owned()) } else { error.param };
    CallError { class, param, sent: false, usage: None, ..error }
}
