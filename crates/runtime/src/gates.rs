//! One gate per model account, shared by all runs of the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use brigade_kernel::call::{Answer, CallError, ErrorClass};
use brigade_kernel::ids::ModelRef;
use brigade_kernel::schedule::{Gate, Passed};
use brigade_kernel::time::Timestamp;

/// The gates of all accounts.
#[derive(Debug, Clone, Default)]
pub struct Gates(Arc<Mutex<BTreeMap<String, Gate>>>);

impl Gates {
    fn with<T>(&self, model: &ModelRef, act: impl FnOnce(&mut Gate) -> T) -> T {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !gates.contains_key(model.provider()) {
            gates.insert(model.provider().to_owned(), Gate::default());
        }
        act(gates.get_mut(model.provider()).expect("inserted above"))
    }

    /// Lets one call through, or not.
    pub fn enter(&self, model: &ModelRef, now: Timestamp) -> bool {
        self.with(model, |gate| gate.enter(now))
    }

    /// A slot that was granted and not used.
    pub fn give_back(&self, model: &ModelRef, now: Timestamp) {
        self.with(model, |gate| gate.leave(Passed::Neither, now));
    }

    /// A call is over.
    pub fn leave(&self, model: &ModelRef, answer: &Result<Answer, CallError>, now: Timestamp) {
        let passed = match answer {
            Ok(_) => Passed::Served,
            Err(e) if matches!(e.class, ErrorClass::RateLimited | ErrorClass::Overloaded) => Passed::Refused { retry_after: e.retry_after },
            Err(_) => Passed::Neither,
        };
        self.with(model, |gate| gate.leave(passed, now));
    }

    /// When the next closed gate opens.
    pub fn opens_at(&self) -> Option<Timestamp> {
        let gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.values().filter_map(Gate::opens_at).min()
    }
}
