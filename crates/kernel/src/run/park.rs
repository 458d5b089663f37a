//! Standing still for a quota: why, until when, and how a run that may wait goes on by itself.
//!
//! Nothing is in flight while a run is parked, so waiting costs no tokens. Whether it waits is on record
//! ([`super::RunStarted::wait`], [`Event::Waits`]), and so is until when: whoever takes the run up after a crash waits on.

use super::Run;
use super::event::{Event, RunStatus, RunSummary};
use super::state::{Standstill, Stop};
use crate::call::ErrorClass;
use crate::time::{Millis, Timestamp};
use crate::units::QuotaUnits;

/// When an account is tried again that refused without saying for how long.
const TRY_AGAIN: Millis = Millis(300_000);

/// Why a run parks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parking {
    /// Whose limit: a window's name, or the provider's.
    pub window: String,
    /// When there is room again, where that is known.
    pub until: Option<Timestamp>,
    /// What the next call needs, and what is left, in units.
    pub units: Option<(QuotaUnits, QuotaUnits)>,
    /// Why, in a sentence.
    pub message: String,
    /// The provider's fault, if it is the reason.
    pub error: Option<ErrorClass>,
}

impl Run {
    /// Nothing is under way and a quota is the reason: parks, and pauses unless the run waits.
    pub(super) fn park(&mut self, why: Parking) {
        let waits = self.state.waits;
        let until = why.until.or_else(|| waits.then(|| self.now + TRY_AGAIN));
        if self.state.standstill.is_none() {
            self.record(Event::QuotaParked {
                window: why.window,
                until,
                needed: why.units.map(|(needed, _)| needed),
                left: why.units.map(|(_, left)| left),
                message: why.message.clone(),
                waits,
            });
        }
        if !waits {
            let summary = self.summary(RunStatus::QuotaParked, why.message, why.error);
            self.record(Event::RunPaused(RunSummary { retry_at: until, ..summary }));
        }
    }

    /// The provider's limit, when it is why the run stopped.
    pub(super) fn parked_by_provider(&self) -> Option<Parking> {
        let Some(Stop::Provider { class: class @ (ErrorClass::RateLimited | ErrorClass::Overloaded), message, until }) = &self.state.stop
        else {
            return None;
        };
        let window = "provider".to_owned();
        Some(Parking { window, until: *until, units: None, message: message.clone(), error: Some(*class) })
    }

    /// The time has come: goes on.
    pub(super) fn unpark(&mut self) {
        let over = |standstill: &&Standstill| standstill.until.is_some_and(|until| until <= self.now);
        if self.state.waits
            && let Some(standstill) = self.state.standstill.as_ref().filter(over)
        {
            self.record(Event::QuotaResumed { window: standstill.window.clone() });
        }
    }

    /// When a run that waits goes on.
    pub(super) fn parked_until(&self) -> Option<Timestamp> {
        let waits = self.state.waits && !self.session.draining && !matches!(self.state.stop, Some(Stop::Cancel | Stop::Failed(_)));
        self.state.standstill.as_ref().filter(|_| waits)?.until
    }
}
