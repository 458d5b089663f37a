//! How things end: subtasks, attempts, checks, runs.

use serde::{Deserialize, Serialize};

/// How a subtask, or one row of it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubtaskStatus {
    /// Its result passed its checks.
    Done,
    /// Nobody got it right, or it asked for what cannot be had.
    Failed,
    /// Its `when` was false, or it hangs on a skipped subtask.
    Skipped,
    /// A plan patch took it out.
    Dropped,
}

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// A final answer, or `end {status: "done"}`.
    Done,
    /// The executor cannot go on.
    Blocked,
    /// The work is more than one narrow subtask.
    TooBig,
    /// Something it needs was not given.
    NeedsContext,
    /// The work lies outside what it was granted.
    OutOfScope,
    /// No usable answer: refusal, filter, cut answer, too many turns.
    Failed,
    /// Cut short by a plan patch, a cancel, or a restart that could not go on.
    Abandoned,
}

/// A verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not; the evidence says why.
    Fail,
    /// The check itself could not tell.
    Unsure,
}

/// How a run ended or why it stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum RunStatus {
    Completed,
    Failed,
    Cancelled,
    NeedsPerson,
    BudgetReached,
    QuotaParked,
}
