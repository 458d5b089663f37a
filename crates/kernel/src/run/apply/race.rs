//! The fold of two requests for one answer.

use crate::call::Service;
use crate::run::event::{CallNo, CallResult};
use crate::run::state::{InFlight, Stage, State};
use crate::time::Millis;
use crate::units::NanoUsd;

impl State {
    /// A call began, for the second time where it is `of` another.
    pub(super) fn race_begins(&mut self, call: CallNo, of: Option<CallNo>) {
        if let Some(first) = of.and_then(|of| self.calls.get_mut(&of)) {
            first.rival = Some(call);
        }
    }

    /// What a call's end means for the other request for the same answer, and for the pace of its model.
    pub(super) fn raced(&mut self, call: CallNo, flight: &InFlight, result: &CallResult, cost: NanoUsd, ms: Millis) {
        let answered = matches!(result, CallResult::Answered { .. });
        // Who may take his time tells nothing of the others.
        if answered && !matches!(flight.service, Service::Flex | Service::Batch) {
            self.latencies.entry((flight.tier.clone(), flight.model.clone())).or_default().add(ms);
        }
        if flight.outrun {
            self.tally.outrun_usd += cost;
        }
        let Some((other, rival)) = flight.rival.and_then(|other| Some((other, self.calls.get_mut(&other)?))) else { return };
        rival.rival = None;
        rival.outrun = answered;
        if !answered
            && let Some(work) = flight.key.and_then(|key| self.work.get_mut(&key)).filter(|work| work.stage == Stage::Calling(call))
        {
            // All hope is on the other one.
            work.stage = Stage::Calling(other);
        }
    }
}
