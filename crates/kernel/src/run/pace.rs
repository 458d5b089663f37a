//! Pacing: an attempt starts only where the units of its whole work are left, so that what is started can finish inside a window.
//!
//! What an attempt takes is learned from those that ended in this run: calls by type and tier, at least one.

use std::collections::BTreeMap;

use super::Run;
use super::event::Caller;
use super::state::Key;
use crate::ids::{ModelRef, Tier};
use crate::plan::TaskType;
use crate::units::QuotaUnits;

/// Calls of attempts that ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pace {
    ended: BTreeMap<TaskType, BTreeMap<Tier, (u64, u64)>>,
    /// Some attempt took more than one call.
    long: bool,
}

impl Pace {
    /// An attempt ended after so many calls.
    pub(super) fn attempt_ended(&mut self, kind: TaskType, tier: &Tier, calls: u32) {
        let (attempts, all) = self.ended.entry(kind).or_default().entry(tier.clone()).or_default();
        *attempts += 1;
        *all += u64::from(calls);
        self.long |= calls > 1;
    }

    /// Calls that an attempt takes on the average, rounded up; at least one.
    pub fn calls_of(&self, kind: TaskType, tier: &Tier) -> u64 {
        let (attempts, calls) = self.ended.get(&kind).and_then(|tiers| tiers.get(tier)).copied().unwrap_or_default();
        if attempts == 0 { 1 } else { calls.div_ceil(attempts).max(1) }
    }
}

impl Run {
    /// Units that must be left beside a call's own: for the final review, and, where an attempt begins, for the rest of it and
    /// of those under way.
    pub(super) fn held_units(&self, caller: &Caller) -> QuotaUnits {
        let policy = &self.state.start().policy;
        let Caller::Executor { unit, .. } = caller else { return QuotaUnits::default() };
        if policy.quota.windows.is_empty() {
            return QuotaUnits::default();
        }
        let reviewer = policy.reviewer();
        let weighs = |model: &ModelRef| policy.units_of(reviewer, model, self.flagship_service(model, &[])).0;
        let review = policy.tier(reviewer).map_or(0, |bound| weighs(&bound.model));
        let begins = !self.state.is_opened(caller);
        if !begins || !self.state.pace.long {
            return QuotaUnits(review);
        }
        let own = self.state.key(unit);
        let ahead: u64 = self.state.work.keys().map(|key| self.calls_ahead(*key, own == Some(*key))).sum();
        QuotaUnits(review.saturating_add(ahead))
    }

    /// Units of the calls that an attempt under way is still expected to make, the next one of `own` left out.
    fn calls_ahead(&self, key: Key, own: bool) -> u64 {
        let Some(attempt) = self.state.work.get(&key).and_then(|work| work.attempt.as_ref()) else { return 0 };
        if !attempt.opened && !own {
            return 0; // it asks for itself
        }
        let begun = u64::from(attempt.turns) + u64::from(own || matches!(self.state.work[&key].stage, super::Stage::Calling(_)));
        let left = self.state.pace.calls_of(self.state.task(key).spec.kind, &attempt.tier).saturating_sub(begun);
        let service = self.executor_service(key, &attempt.model, &attempt.omit);
        let units = self.state.start().policy.units_of(&attempt.tier, &attempt.model, service).0;
        left.saturating_mul(units)
    }
}
