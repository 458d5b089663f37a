//! The gate of one model account: how many calls may be in flight, and when none may.
//!
//! Grows by one with every success, halves on a refusal, closes for as long as the provider asks, and opens with a
//! single probe (promises.md I15). Shared by all runs of a process; pure, so it can be attacked by generated cases.

use crate::time::{Millis, Timestamp};

/// Closed for this long when the provider says nothing (responses-api.md §7: first SDK delay).
const SILENT_CLOSE: Millis = Millis(500);
/// A provider's wait beyond this is its runs' matter: they park.
const LONGEST_CLOSE: Millis = Millis(120_000);

/// How calls on one account are let through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    in_flight: u32,
    /// `None` until the provider has refused something.
    limit: Option<u32>,
    closed_until: Option<Timestamp>,
    /// One call is out to see whether the account serves again.
    probing: bool,
    refusals: u32,
}

/// What a call that passed the gate says about the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// It was served.
    Served,
    /// It was refused for rate or load.
    Refused {
        /// How long the provider asked to wait.
        retry_after: Option<Millis>,
    },
    /// Something else went wrong, or it was never sent.
    Neither,
}

impl Gate {
    /// Lets one call through, or not.
    pub fn enter(&mut self, now: Timestamp) -> bool {
        if self.probing || self.closed_until.is_some_and(|until| now < until) {
            return false;
        }
        if self.limit.is_some_and(|limit| self.in_flight >= limit) {
            return false;
        }
        if self.closed_until.take().is_some() {
            self.probing = true;
        }
        self.in_flight += 1;
        true
    }

    /// A call that was let through is over.
    pub fn leave(&mut self, passed: Passed, now: Timestamp) {
        let was = self.in_flight;
        self.in_flight = self.in_flight.saturating_sub(1);
        match passed {
            Passed::Served => {
                self.probing = false;
                self.refusals = 0;
                self.limit = self.limit.map(|limit| limit.saturating_add(1));
            }
            Passed::Refused { retry_after } => {
                self.probing = false;
                self.refusals = self.refusals.saturating_add(1);
                // Calls sent together are refused together: they halve it once.
                if self.closed_until.is_none_or(|until| now >= until) {
                    self.limit = Some((was / 2).max(1));
                }
                let silent = Millis(SILENT_CLOSE.0 << self.refusals.min(4).saturating_sub(1));
                let wait = retry_after.unwrap_or(silent).min(LONGEST_CLOSE);
                self.closed_until = self.closed_until.max(Some(now + wait));
            }
            Passed::Neither => self.probing = false,
        }
    }

    /// When a closed gate opens.
    pub fn opens_at(&self) -> Option<Timestamp> {
        self.closed_until
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_sends_one_probe_per_window() {
        let mut gate = Gate::default();
        for _ in 0..1_000 {
            assert!(gate.enter(Timestamp(0)));
        }
        for _ in 0..1_000 {
            gate.leave(Passed::Refused { retry_after: Some(Millis(7_000)) }, Timestamp(10));
        }
        assert!(!gate.enter(Timestamp(6_999)));
        assert!(gate.enter(Timestamp(7_010)), "the probe");
        assert!(!gate.enter(Timestamp(7_010)), "one only");
        gate.leave(Passed::Served, Timestamp(7_500));
        assert!(gate.enter(Timestamp(7_500)));
    }

    #[test]
    fn a_gate_that_was_never_refused_is_wide_open() {
        let mut gate = Gate::default();
        assert!((0..100_000).all(|_| gate.enter(Timestamp(0))));
    }

    #[test]
    fn successes_open_it_again() {
        let mut gate = Gate::default();
        for _ in 0..8 {
            gate.enter(Timestamp(0));
        }
        gate.leave(Passed::Refused { retry_after: None }, Timestamp(0));
        for _ in 0..7 {
            gate.leave(Passed::Neither, Timestamp(0));
        }
        let mut now = Timestamp(10_000);
        for round in 0..4 {
            let mut passed = 0;
            while gate.enter(now) {
                passed += 1;
            }
            assert!(passed >= round, "round {round}: {passed}");
            for _ in 0..passed {
                gate.leave(Passed::Served, now);
            }
            now = now + Millis(1_000);
        }
    }
}
