//! What a plan is expected to take, three ways; a record like any other, so that a person's word about it can be understood later.

use serde::{Deserialize, Serialize};

use crate::ids::Tier;
use crate::policy::Who;
use crate::time::Millis;
use crate::units::{NanoUsd, QuotaUnits};

/// Money, time and calls of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// Subtasks and review; what planning cost is known and not in it.
    pub cost: NanoUsd,
    /// From the first start to the end of the review.
    pub duration: Millis,
    /// By tier, in the order of the ladder, rungs without a call included.
    pub calls: Vec<(Tier, u64)>,
    /// Units of a quota.
    #[serde(default, skip_serializing_if = "QuotaUnits::is_zero")]
    pub units: QuotaUnits,
}

impl Estimate {
    /// This, and nowhere less than that: what is rounded or scheduled otherwise does not turn the order round.
    pub fn at_least(mut self, that: &Self) -> Self {
        self.cost = self.cost.max(that.cost);
        self.duration = self.duration.max(that.duration);
        self.units = self.units.max(that.units);
        for ((_, calls), (_, least)) in self.calls.iter_mut().zip(&that.calls) {
            *calls = (*calls).max(*least);
        }
        self
    }
}

/// Where the figures of one kind of work come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Whose work.
    pub who: Who,
    /// On which tier it starts.
    pub tier: Tier,
    /// Subtasks and rows of this plan (reviews, for the reviewer).
    pub units: u64,
    /// Attempts (calls, for the reviewer) of earlier runs behind the figures; 0: they are assumptions.
    pub from: u64,
}

/// A priced plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Preview {
    /// All goes well, briefly.
    pub low: Estimate,
    /// As earlier work went, or as is assumed.
    pub expected: Estimate,
    /// Everything climbs to the top, at length.
    pub high: Estimate,
    /// The run's cap lies below the worst case, and stops it there.
    pub capped: bool,
    /// Subtasks of the plan.
    pub subtasks: u64,
    /// Rows of the input, where a subtask maps over them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// What rests on what.
    pub seen: Vec<Seen>,
    /// What was assumed, in words.
    pub assumed: Vec<String>,
}
