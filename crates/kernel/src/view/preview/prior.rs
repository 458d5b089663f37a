//! What is assumed of a call or an attempt until there is history, each figure with its source.

use crate::ids::Tier;
use crate::policy::{Policy, Who};
use crate::view::history::Stats;

/// Output tokens of a call: tenth percentile and mean of the 4,159 recorded calls of data/taskgraphs, all tiers together.
const OUTPUT: (f64, f64) = (8.0, 169.0);
/// Tokens of a review's answer; ours.
const REVIEW_OUTPUT: f64 = 300.0;
/// What one tool brings back on average, in tokens; ours.
pub const TOOL_OUTPUT: f64 = 1_000.0;
/// A slow call beside the median: the 95th percentile of the slowest of the three tiers of data/latency is 3.8 times it.
const SLOW: f64 = 4.0;
/// First attempts that pass, below the top and on it; ours, and why a preview without history is only a guess.
const PASS: (f64, f64) = (0.85, 0.95);
/// How many attempts it takes to move half-way from the assumption to what was seen.
const DOUBT: f64 = 4.0;

/// What one attempt on one tier takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Calls of an attempt.
    pub calls: f64,
    /// Input tokens of a call, where seen.
    pub input: Option<f64>,
    /// Share of them that the provider's cache serves.
    pub cached: f64,
    /// Output tokens of a call: few, usual.
    pub output: (f64, f64),
    /// Milliseconds of a call: usual, slow.
    pub ms: (f64, f64),
    /// Attempts whose result stands, as a share.
    pub pass: f64,
    /// Attempts (calls, for a role) seen.
    pub seen: u64,
}

impl Shape {
    /// From what was seen of such work on such a tier, over assumptions.
    pub fn of(stats: Option<&Stats>, who: Who, tier: &Tier, policy: &Policy, calls: f64, call_ms: f64) -> Self {
        let pass = if tier == policy.top() { PASS.1 } else { PASS.0 };
        let usual = if who == Who::Reviewer { REVIEW_OUTPUT } else { OUTPUT.1 };
        let mut shape = Self { calls, input: None, cached: 0.0, output: (OUTPUT.0, usual), ms: (call_ms, call_ms * SLOW), pass, seen: 0 };
        let Some(stats) = stats else { return shape };
        let role = matches!(who, Who::Reviewer | Who::Planner | Who::PlannerPatch);
        shape.seen = if role { stats.calls } else { stats.attempts };
        if stats.attempts > 0 {
            shape.calls = (stats.calls as f64 / stats.attempts as f64).max(1.0);
            shape.pass = (stats.passed as f64 + DOUBT * pass) / (stats.attempts as f64 + DOUBT);
        }
        let known = stats.calls.saturating_sub(stats.unknown);
        if known > 0 {
            shape.input = Some(stats.tokens.input_tokens as f64 / known as f64);
            shape.cached = stats.cached_share().unwrap_or_default();
            let few = stats.output_tokens.quantile(5).unwrap_or_default() as f64;
            shape.output = (few.min(OUTPUT.0), stats.tokens.output_tokens as f64 / known as f64);
        }
        if let (Some(usual), Some(slow)) = (stats.latency_ms.quantile(50), stats.latency_ms.quantile(95)) {
            shape.ms = (usual as f64, (slow as f64).max(usual as f64));
        }
        shape
    }
}
