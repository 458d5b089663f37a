//! What a state holds of the run's files: the stored patch, all work put together, what a merge settles.

use crate::run::event::{Part, Side};

/// The stored patch of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Its blob.
    pub blob: String,
    /// The files it touches.
    pub files: Vec<String>,
    /// What it is made of.
    pub parts: Vec<Part>,
    /// Whether it was written to the user's tree; `Err` says why not.
    pub applied: Option<Result<(), String>>,
}

/// All accepted changes laid onto the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// What it is made of.
    pub parts: Vec<Part>,
    /// The tree.
    pub tree: String,
    /// Checks it has passed.
    pub passed: u32,
    /// A person takes it though a check fails.
    pub waived: bool,
    /// The question about a check that fails.
    pub asked: Option<u32>,
}

/// What a merging subtask settles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// Files that hold both sides.
    pub files: Vec<String>,
    /// Both sides.
    pub sides: Vec<Side>,
    /// What its tree started from, all of which its result stands for.
    pub start: Vec<Part>,
}
