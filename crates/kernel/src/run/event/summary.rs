//! The closing line of a session: what the run came to.

use serde::{Deserialize, Serialize};

use super::RunStatus;
use crate::budget::{Scope, UsageByTier};
use crate::call::ErrorClass;
use crate::run::state::Waited;
use crate::time::{Millis, Timestamp};
use crate::units::{NanoUsd, QuotaUnits};

/// Where an all-flagship cost comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The same tokens at the flagship's prices.
    #[default]
    Computed,
    /// The flagship really did the work as well.
    Measured,
}

impl Basis {
    /// As it stands on screen and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Computed => "computed",
            Self::Measured => "measured",
        }
    }
}

/// The closing line of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// How it ended.
    pub status: RunStatus,
    /// The result, on completion; else why it stands still, in a sentence.
    pub output: String,
    /// Whose cap is reached, when that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_of: Option<Scope>,
    /// Why it could not go on, when a fault is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorClass>,
    /// When it can go on, where it is parked and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// All money spent so far.
    pub cost_usd: NanoUsd,
    /// What the same tokens would have cost on the flagship: computed, not measured.
    pub all_flagship_cost_usd: NanoUsd,
    /// Where the figure before comes from.
    #[serde(default)]
    pub all_flagship_basis: Basis,
    /// Units of a quota that the same calls would have counted on the flagship.
    #[serde(default, skip_serializing_if = "QuotaUnits::is_zero")]
    pub all_flagship_units: QuotaUnits,
    /// Since the run started, waiting included.
    pub duration_ms: Millis,
    /// Subtasks and rows whose result stands.
    #[serde(default)]
    pub accepted: u64,
    /// Questions to a person.
    #[serde(default)]
    pub human_reviews: u64,
    /// What waiting came to.
    #[serde(default)]
    pub waited: Waited,
    /// Calls and tokens by tier.
    pub usage: UsageByTier,
}
