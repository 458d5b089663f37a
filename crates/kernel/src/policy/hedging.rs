//! When a slow call gets a second request, on tiers that are told to.

use serde::{Deserialize, Serialize};

/// A share of a whole, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(pub u32);

impl Share {
    /// Reads `0.05`: from 0 to 1 with at most three places.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, places) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.len() > 1 || places.len() > 3 || !digits(whole) || !digits(places) || text.trim_matches('.').is_empty() {
            return None;
        }
        let of = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u32>().ok() };
        let share = of(whole)? * 1_000 + of(&format!("{places:0<3}"))?;
        (share <= 1_000).then_some(Self(share))
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

/// Bounds on second requests; a tier has them only where `hedge` is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hedging {
    /// A call is slow that takes longer than so many of a hundred of its tier and model.
    pub percentile: u32,
    /// Calls that must have been answered before any counts as slow.
    pub min_samples: u32,
    /// Of all calls of a run, at most this share are second requests.
    pub max_share: Share,
}

impl Default for Hedging {
    fn default() -> Self {
        Self { percentile: 95, min_samples: 20, max_share: Share(50) }
    }
}
