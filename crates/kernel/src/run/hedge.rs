//! A second request for a call that takes longer than nearly all others of its tier: the first answer counts, the other is cut.
//!
//! ```text
//!   call 7  ───────────────────────────────×  cut, charged as leased
//!   call 9          p95 ┄ ├──────────┤        answers first: call 7's unit goes on with it
//! ```
//!
//! Only calls whose answer is acted on when it is whole: never the planner's, which streams; never an agent's, which acts. How long
//! calls take is told by the run's own, model by model. A second request is leased like any other, and never made where its lease does
//! not fit, nor where runs share a cap: asking the home would hold up what is to be quick.

use std::collections::VecDeque;

use super::event::Caller;
use super::prepare::{Fetched, Prepared};
use super::state::{InFlight, Key, Stage};
use super::step::Doors;
use super::{Action, CallNo, Door, Run};
use crate::budget::Role;
use crate::call::Service;
use crate::catalog;
use crate::ids::{ModelRef, Tier};
use crate::time::{Millis, Timestamp};

/// Calls by which a model's pace is told: the last ones, for it changes with the hour.
const REMEMBERED: usize = 256;

/// How long a model's last calls on a tier took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latencies(VecDeque<u64>);

impl Latencies {
    /// A call was answered.
    pub(super) fn add(&mut self, ms: Millis) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(ms.0);
    }

    /// What so many of a hundred calls did not take longer than; `None` below `least` calls.
    pub fn percentile(&self, percent: u32, least: u32) -> Option<Millis> {
        if self.0.is_empty() || self.0.len() < least as usize {
            return None;
        }
        let mut sorted: Vec<u64> = self.0.iter().copied().collect();
        let at = (sorted.len() * percent as usize).div_ceil(100).clamp(1, sorted.len()) - 1;
        Some(Millis(*sorted.select_nth_unstable(at).1))
    }
}

impl Run {
    /// Calls that may get a second request, each with when it is due.
    fn hedgeable(&self) -> impl Iterator<Item = (CallNo, Key, &InFlight, Timestamp)> {
        let policy = &self.state.start().policy;
        let on = policy.tiers.values().any(|tier| tier.hedge) && self.may_hedge() && self.home_caps().is_empty();
        let mut latencies: Vec<(&Tier, &ModelRef, Option<Millis>)> = Vec::new();
        on.then(|| self.state.calls.iter()).into_iter().flatten().filter_map(move |(&call, flight)| {
            let key = flight.key.filter(|_| matches!(flight.caller, Caller::Executor { .. }))?;
            if matches!(flight.service, Service::Flex | Service::Batch) {
                return None; // these may take their time
            }
            let first = flight.rival.is_none() && !flight.outrun && !self.session.hedged.contains(&call);
            if !first || !policy.tier(&flight.tier)?.hedge || policy.agent(&flight.model).is_some() {
                return None;
            }
            if self.state.work.get(&key).is_none_or(|work| work.stage != Stage::Calling(call)) {
                return None; // nobody waits for it any more
            }
            let known = latencies.iter().find(|(tier, model, _)| **tier == flight.tier && **model == flight.model).map(|(.., pace)| *pace);
            let pace = known.unwrap_or_else(|| {
                let rules = &policy.hedging;
                let pace = self.state.latencies.get(&(flight.tier.clone(), flight.model.clone()));
                let pace = pace.and_then(|pace| pace.percentile(rules.percentile, rules.min_samples));
                latencies.push((&flight.tier, &flight.model, pace));
                pace
            })?;
            Some((call, key, flight, flight.since + pace))
        })
    }

    /// Whether one more second request stays within their share of all calls.
    fn may_hedge(&self) -> bool {
        let made = self.state.tally.hedges + 1;
        made * 1_000 <= self.state.last_call * u64::from(self.state.start().policy.hedging.max_share.0)
            && !self.state.is_starved(Role::Executor)
    }

    /// When the next call has taken too long.
    pub(super) fn hedges_at(&self) -> Option<Timestamp> {
        self.hedgeable().map(|(.., at)| at).min()
    }

    /// Second requests that are due.
    pub(super) fn hedges(&mut self, gate: &mut Doors<'_, '_>, actions: &mut Vec<Action>) {
        let now = self.now;
        let due: Vec<(CallNo, Caller, Tier, ModelRef)> = self
            .hedgeable()
            .filter(|(.., at)| *at <= now)
            .map(|(call, key, flight, _)| {
                // Another machine is the better bet, where the tier has one.
                let other = self.stand_ins(Some(key), &flight.tier).into_iter().find(|model| **model != flight.model);
                (call, flight.caller.clone(), flight.tier.clone(), other.unwrap_or(&flight.model).clone())
            })
            .collect();
        for (of, caller, tier, model) in due {
            if !self.may_hedge() || gate.enter(&tier, &model) != Door::Open {
                return;
            }
            self.session.hedged.insert(of);
            actions.push(Action::Hedge { of, caller, model });
        }
    }

    /// The same call once more, of this model.
    ///
    /// # Errors
    /// Why the model may not be called.
    pub fn prepare_hedge(&self, of: CallNo, caller: &Caller, model: &ModelRef, fetched: &Fetched) -> Result<Prepared, catalog::Refusal> {
        let mut prepared = self.prepare_on(caller, Some(model), fetched)?;
        prepared.hedge_of = Some(of);
        Ok(prepared)
    }

    /// Calls that lost a race and are still in flight: whoever made them ends them.
    pub fn outrun(&self) -> impl Iterator<Item = CallNo> {
        let calls = (self.state.tally.hedges > 0).then(|| self.state.calls.iter()).into_iter().flatten();
        calls.filter(|(_, flight)| flight.outrun).map(|(call, _)| *call)
    }
}

impl InFlight {
    /// Whether an answer, or its absence, is what the caller goes on with.
    pub(super) fn decides(&self, answered: bool) -> bool {
        !self.outrun && (answered || self.rival.is_none())
    }
}
