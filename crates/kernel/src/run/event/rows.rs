//! Where rows come from, and what bounds them.

use serde::{Deserialize, Serialize};

use crate::ids::SubtaskId;

/// Where the rows of a `for_each` come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubtaskOrInput {
    /// `--input`.
    Input,
    /// The list that this subtask returned.
    Subtask(SubtaskId),
}

/// What bounds a bulk run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BulkRules {
    /// So many rows first; the rest when they went well.
    pub canary: Option<u64>,
    /// 0..1 of finished rows.
    pub max_failure_rate: Option<f64>,
    /// 0..1 of finished rows.
    pub max_escalation_rate: Option<f64>,
}
