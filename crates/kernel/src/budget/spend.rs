//! What a run has used by tier, and what the same tokens would have cost on the flagship.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::call::Service;
use crate::catalog::Price;
use crate::ids::Tier;
use crate::units::{NanoUsd, QuotaUnits, round_up};
use crate::usage::Usage;

/// Calls and tokens of one tier: the `usage` entry of `run.completed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TierUsage {
    /// Calls sent, whether or not usage was reported.
    pub calls: u64,
    /// Tokens as reported.
    #[serde(flatten)]
    pub tokens: Usage,
    /// Units of subscriptions' quotas.
    #[serde(default, skip_serializing_if = "QuotaUnits::is_zero")]
    pub quota_units: QuotaUnits,
}

/// Usage of a run, by tier in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UsageByTier(BTreeMap<Tier, TierUsage>);

impl UsageByTier {
    /// Counts one call; `None`: its usage is unknown.
    pub fn record(&mut self, tier: &Tier, usage: Option<&Usage>) {
        let entry = match self.0.get_mut(tier) {
            Some(entry) => entry,
            None => self.0.entry(tier.clone()).or_default(),
        };
        entry.calls += 1;
        if let Some(usage) = usage {
            entry.tokens += *usage;
        }
    }

    /// Counts what a call took out of a quota.
    pub fn count(&mut self, tier: &Tier, units: QuotaUnits) {
        if !units.is_zero() {
            self.0.entry(tier.clone()).or_default().quota_units += units;
        }
    }

    /// What one tier has used.
    pub fn get(&self, tier: &Tier) -> Option<&TierUsage> {
        self.0.get(tier)
    }

    /// Every tier used.
    pub fn iter(&self) -> impl Iterator<Item = (&Tier, &TierUsage)> {
        self.0.iter()
    }

    /// All tiers together.
    pub fn total(&self) -> TierUsage {
        self.0.values().fold(TierUsage::default(), |mut sum, tier| {
            sum.calls += tier.calls;
            sum.tokens += tier.tokens;
            sum.quota_units += tier.quota_units;
            sum
        })
    }
}

/// What the tokens of these tiers would have cost on the flagship, at its default service and
/// without a surcharge for long input, which sums cannot show: [`Comparison`] prices call by call.
pub fn all_flagship(usage: &UsageByTier, flagship: &Price) -> NanoUsd {
    let rates = flagship.rates(Service::Default, 0);
    round_up(usage.iter().map(|(_, tier)| rates.pico(&tier.tokens)).sum())
}

/// A run's bill beside the bill for the same tokens on the flagship; *computed*, not measured:
/// the flagship might have needed fewer tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// What was spent.
    pub spent: NanoUsd,
    /// What the flagship would have cost.
    pub all_flagship: NanoUsd,
}

impl Comparison {
    /// Adds one call. A call whose usage is unknown counts alike on both sides.
    pub fn record(&mut self, spent: NanoUsd, usage: Option<&Usage>, service: Service, flagship: &Price) {
        self.spent += spent;
        self.all_flagship += usage.map_or(spent, |usage| crate::catalog::cost(flagship, usage, service));
    }

    /// Nano-dollars saved; negative when the split cost more than the flagship alone.
    pub fn saving_nano(&self) -> i128 {
        i128::from(self.all_flagship.0) - i128::from(self.spent.0)
    }

    /// The saving as a share of the flagship's bill; `None` when that bill is nothing.
    pub fn saving_share(&self) -> Option<f64> {
        (self.all_flagship.0 > 0).then(|| self.saving_nano() as f64 / self.all_flagship.0 as f64)
    }
}
