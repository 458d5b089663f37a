//! The parts that models play: who plans, who works, who judges.

use std::fmt;

use serde::{Deserialize, Serialize};

/// On whose behalf a model is called; decides the tier, the settings, and the budget that pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Plans, adjusts, answers executors that are stuck.
    Planner,
    /// Works on one subtask.
    Executor,
    /// Judges the result.
    Reviewer,
}

impl Role {
    /// Every role, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Planner, Self::Executor, Self::Reviewer];

    /// The name in configuration and on screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planner => "planner",
            Self::Executor => "executor",
            Self::Reviewer => "reviewer",
        }
    }

    /// Whether the share held back for the final judgement is open to this role.
    pub fn may_use_reserve(self) -> bool {
        !matches!(self, Self::Executor)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
