//! The fold of refusals: whether an account refuses everybody.

use crate::call::{ErrorClass, Service};
use crate::run::event::CallResult;
use crate::run::state::{InFlight, State};
use crate::time::Timestamp;

impl State {
    /// Whether the account refuses everybody, or serves again.
    pub(super) fn weather(&mut self, flight: &InFlight, result: &CallResult, at: Timestamp) {
        let provider = flight.model.provider();
        let overloaded = matches!(result, CallResult::Failed { class: ErrorClass::Overloaded, .. });
        if flight.service == Service::Batch || (flight.service == Service::Flex && overloaded) {
            return; // that there is no room for cheap calls says nothing of the others
        }
        match result {
            CallResult::Answered { .. } => drop(self.storms.remove(provider)),
            CallResult::Failed { class: ErrorClass::RateLimited | ErrorClass::Overloaded, .. } => {
                let storm = self.storms.get(provider).copied().unwrap_or_default().after(flight.since, at);
                self.storms.insert(provider.to_owned(), storm);
            }
            CallResult::Failed { .. } | CallResult::Lost => {}
        }
    }
}
