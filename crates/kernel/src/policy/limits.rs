//! Bounds: how often, how long, how many, how much. Every loop of a run ends at one of these.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Role;
use crate::call::Deadlines;
use crate::ids::Tier;
use crate::plan::TaskType;
use crate::time::Millis;

/// How often a planner is shown the faults of its plan and may mend it (design.md "The plan").
pub const MAX_MENDS: u32 = 2;

/// Bounds on a run and its attempts; defaults are design.md's where it gives one, ours elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Attempts in flight at once.
    pub max_concurrent_subagents: Slots,
    /// Attempts of one subtask over all tiers; 1 to 100.
    pub max_attempts: u32,
    /// Plan patches asked of the planner in one run.
    pub max_replans: u32,
    /// How often a review may send work back.
    pub max_review_rounds: u32,
    /// Estimated tokens by which the planner's conversation grows before it is condensed.
    pub compact_tokens: u32,
    /// Results told to the planner before its conversation is condensed.
    pub compact_results: u32,
    /// How often that may be tried in one run; then it goes on as it is, up to the model's window.
    pub max_compactions: u32,
    /// Subtasks of a run, additions included; rows of a `for_each` do not count.
    pub max_subtasks: u32,
    /// Model calls of one attempt.
    pub max_turns: u32,
    /// Tool calls of one attempt.
    pub max_tool_calls: u32,
    /// How often one attempt may make the same tool call with the same arguments; one more ends it.
    pub max_identical_calls: u32,
    /// How often one call is sent to one model while it is unavailable, before an alternate is asked.
    pub max_tries: u32,
    /// Attempts of one type in flight at once, where configured.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub max_of_type: BTreeMap<TaskType, u32>,
    /// Calls of one run in flight at once on one tier, where configured.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub max_on_tier: BTreeMap<Tier, u32>,
    /// Whether executors' calls go to an alternate of their tier, at another provider, while their own account is closed.
    pub spill: bool,
    /// Output limits per role.
    pub output_tokens: OutputTokens,
    /// Deadlines of every model call.
    pub call: Deadlines,
    /// From a subtask's first start to its end, unless it has its own; `None` = bounded by the rest only.
    pub subtask: Option<Millis>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_concurrent_subagents: Slots::Auto,
            max_attempts: 4,
            max_replans: 3,
            max_review_rounds: 2,
            compact_tokens: 80_000,
            compact_results: 10,
            max_compactions: 20,
            max_subtasks: 10_000,
            max_turns: 24,
            max_tool_calls: 48,
            max_identical_calls: 3,
            max_tries: 6,
            max_of_type: BTreeMap::new(),
            max_on_tier: BTreeMap::new(),
            spill: false,
            output_tokens: OutputTokens::default(),
            call: Deadlines::default(),
            subtask: None,
        }
    }
}

/// Deadlines of one rung's calls, where they differ from all others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnDeadlines {
    /// From sending a call to its first content.
    pub first_token: Option<Millis>,
    /// Between two pieces of content.
    pub idle: Option<Millis>,
    /// One whole call.
    pub total: Option<Millis>,
}

impl OwnDeadlines {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// These, and `all` where these are silent.
    pub fn over(&self, all: Deadlines) -> Deadlines {
        Deadlines {
            first_token: self.first_token.unwrap_or(all.first_token),
            idle: self.idle.unwrap_or(all.idle),
            total: self.total.unwrap_or(all.total),
        }
    }
}

/// How many attempts may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slots {
    /// As many as the gate of the model account allows.
    #[default]
    Auto,
    /// At most so many. Configuration asks for at least 1; with 0 a run pauses when its plan is whole (`brigade plan`).
    At(u32),
}

/// Attempts in flight when the user sets no number: what one account's gate may allow, and 100 MB can hold.
const AUTO_SLOTS: u32 = 1_024;

impl Slots {
    /// So many at most, whatever the gate allows.
    pub fn most(self) -> u32 {
        match self {
            Self::Auto => AUTO_SLOTS,
            Self::At(n) => n,
        }
    }
}

/// `max_output_tokens` by role (design.md "Money"). Reasoning counts against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct OutputTokens {
    pub planner: u32,
    pub reviewer: u32,
    pub executor: u32,
}

impl Default for OutputTokens {
    fn default() -> Self {
        Self { planner: 16_000, reviewer: 8_000, executor: 4_000 }
    }
}

impl OutputTokens {
    /// The limit of a call; `again` after an answer that ended at its limit: doubled, once.
    pub fn of(self, role: Role, again: bool) -> u32 {
        let limit = match role {
            Role::Planner => self.planner,
            Role::Reviewer => self.reviewer,
            Role::Executor => self.executor,
        };
        if again { limit.saturating_mul(2) } else { limit }
    }
}
