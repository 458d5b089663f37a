//! What an account's own provider tells of its quota.

use serde::{Deserialize, Serialize};

use crate::time::{Millis, Timestamp};

/// A window of an account, as its provider reports it. Windows are told apart by their length, never by their place in a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportedWindow {
    /// How long it is.
    pub minutes: u64,
    /// How much of it is used, 0 to 100 and a little above.
    pub used_percent: f64,
    /// When it is empty again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Timestamp>,
}

impl ReportedWindow {
    /// How long it is.
    pub fn span(&self) -> Millis {
        Millis(self.minutes.saturating_mul(60_000))
    }
}
