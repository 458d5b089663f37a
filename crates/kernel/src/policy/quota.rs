//! What a subscription allows: so many units in a rolling window, and what one call of each tier weighs.
//!
//! The windows share the weights, so all of them count the same units. Nothing here knows what has been used:
//! that is the home's ledger, and the arithmetic is [`crate::budget::Window`]'s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Policy;
use crate::call::Service;
use crate::ids::{ModelRef, Tier};
use crate::time::Millis;
use crate::units::QuotaUnits;

/// The window of `[quota]` itself; those of `[quota.windows.NAME]` carry their own names.
pub const MAIN_WINDOW: &str = "main";
/// What fast service weighs, as a multiple of the default.
const FAST: u64 = 2;

/// Windows and weights; without either nothing is counted but what agents of a subscription report.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaPolicy {
    /// By name, the one of `[quota]` itself as [`MAIN_WINDOW`].
    pub windows: BTreeMap<String, QuotaWindow>,
    /// Units of one call by tier; a tier that is not listed weighs one.
    pub weights: BTreeMap<Tier, QuotaUnits>,
}

/// One rolling window: at no instant more than `units` in the last `span`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuotaWindow {
    /// How long a unit counts.
    pub span: Millis,
    /// How many may count at once.
    pub units: QuotaUnits,
}

impl QuotaPolicy {
    /// Whether nothing is configured.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.weights.is_empty()
    }

    /// What one call of a tier weighs at the default service.
    pub fn weight(&self, tier: &Tier) -> QuotaUnits {
        self.weights.get(tier).copied().unwrap_or(QuotaUnits::ONE)
    }

    /// The key by which this allows more than `bound` does, if one does: what a workspace may not set.
    pub fn widens(&self, bound: &Self) -> Option<String> {
        for (name, window) in &bound.windows {
            let key = |field: &str| match name.as_str() {
                MAIN_WINDOW => format!("quota.{field}"),
                name => format!("quota.windows.{name}.{field}"),
            };
            let now = self.windows.get(name).copied().unwrap_or_default();
            if now.units > window.units {
                return Some(key("units"));
            }
            if now.span < window.span {
                return Some(key("window"));
            }
        }
        let bounds = !bound.windows.is_empty();
        let lighter = |tier: &&Tier| bounds && self.weight(tier) < bound.weight(tier);
        self.weights.keys().find(lighter).map(|tier| format!("quota.weights.{tier}"))
    }
}

impl Policy {
    /// What one call counts on the flagship.
    pub fn flagship_units(&self) -> QuotaUnits {
        let top = self.top();
        self.tier(top).map_or_else(QuotaUnits::default, |bound| self.units_of(top, &bound.model, Service::Default))
    }

    /// What one call (of an agent: one errand) counts against the quota. An agent's own figure for its model comes first,
    /// then the tier's weight; without `[quota]` only agents that a subscription pays count at all.
    pub fn units_of(&self, tier: &Tier, model: &ModelRef, service: Service) -> QuotaUnits {
        let agent = self.agent(model);
        let own = agent.filter(|agent| self.quota.is_empty() || agent.units.contains_key(model.model()));
        let units = match own {
            Some(agent) => agent.units_of(model),
            None if self.quota.is_empty() => QuotaUnits::default(),
            None => self.quota.weight(tier),
        };
        let times = if service == Service::Priority { FAST } else { 1 };
        QuotaUnits(units.0.saturating_mul(times))
    }
}
