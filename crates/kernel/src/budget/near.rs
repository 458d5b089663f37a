//! A cap of which four fifths are spent.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Measure, Scope};

/// How much of a cap is spent when a person is warned, in percent.
const WARN_AT: u64 = 80;

/// A cap that is nearly spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Near {
    /// Whose.
    pub scope: Scope,
    /// What it counts.
    pub measure: Measure,
    /// Spent for good.
    pub spent: u64,
    /// Of so much.
    pub cap: u64,
}

impl Near {
    /// The warning, if so much is spent.
    pub fn of(scope: &Scope, measure: Measure, spent: u64, cap: u64) -> Option<Self> {
        let near = u128::from(spent) * 100 >= u128::from(cap) * u128::from(WARN_AT) && spent > 0;
        near.then(|| Self { scope: scope.clone(), measure, spent, cap })
    }
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = u128::from(self.spent) * 100 / u128::from(self.cap.max(1));
        let show = |amount| self.measure.show(amount);
        write!(f, "{}: {} of {} spent ({percent} %)", self.scope.budget(self.measure), show(self.spent), show(self.cap))
    }
}
