//! On whose behalf a model is called.

use serde::{Deserialize, Serialize};

use super::Unit;
use crate::budget::{Role, Try};

/// On whose behalf a model is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Caller {
    /// The planner, writing or mending the plan.
    Planner,
    /// The planner, answering with a plan patch.
    Replanner,
    /// Whoever condenses the planner's conversation.
    Compactor {
        /// In which way.
        by: CompactBy,
    },
    /// The reviewer.
    Reviewer,
    /// An executor working on a unit.
    Executor {
        /// What it works on.
        #[serde(flatten)]
        unit: Unit,
        /// Which try, from 1.
        attempt: u32,
    },
}

impl Caller {
    /// The role whose token budget pays.
    pub fn role(&self) -> Role {
        match self {
            Self::Planner | Self::Replanner | Self::Compactor { .. } => Role::Planner,
            Self::Reviewer => Role::Reviewer,
            Self::Executor { .. } => Role::Executor,
        }
    }

    /// Which attempt of its subtask pays.
    pub fn attempt(&self) -> Option<Try> {
        match self {
            Self::Executor { unit, attempt } => Some(Try { row: unit.row, no: *attempt }),
            _ => None,
        }
    }
}

/// How the planner's conversation is condensed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompactBy {
    /// By the provider's own endpoint.
    Endpoint,
    /// By a summary that another model writes.
    Summary,
}
