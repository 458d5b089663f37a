//! What a run brought for what it took: saving against the flagship, accepted results per minute, dollar and review.

use serde_json::{Value, json};

use super::usd;
use crate::run::{Basis, Phase, RunSummary, State, Waited};
use crate::time::{Millis, Timestamp};
use crate::units::{NanoUsd, QuotaUnits};

/// The figures of a run, at its end or so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worth {
    /// What was spent.
    pub cost: NanoUsd,
    /// What the flagship would have cost.
    pub all_flagship: NanoUsd,
    /// Where that figure comes from.
    pub basis: Basis,
    /// Units of a quota.
    pub units: QuotaUnits,
    /// What they would have been on the flagship.
    pub all_flagship_units: QuotaUnits,
    /// Subtasks and rows whose result stands.
    pub accepted: u64,
    /// Questions to a person.
    pub human_reviews: u64,
    /// The whole life of the run, waiting included: that is what it took.
    pub duration: Millis,
    /// What waiting came to.
    pub waited: Waited,
}

impl From<&RunSummary> for Worth {
    fn from(summary: &RunSummary) -> Self {
        Self {
            cost: summary.cost_usd,
            all_flagship: summary.all_flagship_cost_usd,
            basis: summary.all_flagship_basis,
            units: summary.usage.total().quota_units,
            all_flagship_units: summary.all_flagship_units,
            accepted: summary.accepted,
            human_reviews: summary.human_reviews,
            duration: summary.duration_ms,
            waited: summary.waited,
        }
    }
}

impl Worth {
    /// As it ended, or so far; `now`: its last event.
    pub fn so_far(state: &State, now: Timestamp) -> Self {
        if let Some(summary) = state.ended.as_ref().filter(|_| state.phase == Phase::Ended) {
            return summary.into();
        }
        Self {
            cost: state.spent(),
            all_flagship: state.all_flagship,
            basis: Basis::Computed,
            units: state.usage.total().quota_units,
            all_flagship_units: state.all_flagship_units,
            accepted: state.outcomes().done,
            human_reviews: state.tally.asked,
            duration: now - state.started_at,
            waited: state.waiting.waited,
        }
    }

    /// Accepted results a minute.
    pub fn per_minute(&self) -> Option<f64> {
        self.per(self.duration.0 as f64 / 60_000.0)
    }

    /// Accepted results a dollar.
    pub fn per_usd(&self) -> Option<f64> {
        self.per(self.cost.0 as f64 / 1e9)
    }

    /// Accepted results for each question to a person; `None`: nobody was asked.
    pub fn per_review(&self) -> Option<f64> {
        self.per(self.human_reviews as f64)
    }

    fn per(&self, of: f64) -> Option<f64> {
        (of > 0.0).then(|| self.accepted as f64 / of)
    }

    /// The saving as a share of the flagship's bill, negative when there was none; `None` without a bill.
    pub fn saving(&self) -> Option<f64> {
        super::cost::saving(self.cost, self.all_flagship)
    }

    /// The same in units of a quota.
    pub fn units_saving(&self) -> Option<f64> {
        super::cost::saving(NanoUsd(self.units.0), NanoUsd(self.all_flagship_units.0))
    }

    /// The figures that stand beside cost, duration and usage in JSON; null where there is nothing to divide by.
    pub fn fields(&self) -> Value {
        let units = !self.units.is_zero() || !self.all_flagship_units.is_zero();
        json!({
            "all_flagship_basis": self.basis,
            "saving_usd": self.saving_usd(),
            "saving": self.saving(),
            "quota_units": units.then(|| f64::from(self.units)),
            "all_flagship_quota_units": units.then(|| f64::from(self.all_flagship_units)),
            "accepted": self.accepted,
            "human_reviews": self.human_reviews,
            "accepted_per_minute": self.per_minute(),
            "accepted_per_usd": self.per_usd(),
            "accepted_per_human_review": self.per_review(),
            "waited_ms": self.waited.stood_ms,
            "tokens_while_waiting": self.waited.tokens,
        })
    }

    /// Dollars, negative when the run cost more than the flagship would have.
    fn saving_usd(&self) -> Value {
        match (self.all_flagship.saturating_sub(self.cost), self.cost.saturating_sub(self.all_flagship)) {
            (saved, NanoUsd::ZERO) => usd(saved),
            (_, more) => serde_json::from_str(&format!("-{}", more.usd())).unwrap_or_default(),
        }
    }
}
