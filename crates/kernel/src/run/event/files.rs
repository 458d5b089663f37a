//! What events say of files: excerpts that were shown, trees and the changes between them, what did not fit together.

use serde::{Deserialize, Serialize};

use super::Unit;
use crate::image::Image;

/// An excerpt of the workspace gathered for a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatheredPart {
    /// Workspace-relative path.
    pub path: String,
    /// Hash of the stored blob.
    pub blob: String,
    /// Its size.
    pub bytes: u64,
}

/// An image of the workspace gathered for a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatheredImage {
    /// Workspace-relative path.
    pub path: String,
    /// The image.
    #[serde(flatten)]
    pub image: Image,
}

/// The whole of a tool's output of which only a part is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// What `open_output` takes to show it.
    pub id: String,
    /// Hash of the stored blob.
    pub blob: String,
}

/// What a unit's accepted work made of the files: from the tree it started from to the one it ended with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where it started.
    pub from: String,
    /// What it made of that.
    pub to: String,
}

/// One accepted change among those that make up a tree, in the order they are laid on the base.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Part {
    /// Whose.
    #[serde(flatten)]
    pub unit: Unit,
    /// Where it started; `None`: the base itself, for a merge that holds all that it started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it made of that.
    pub to: String,
}

/// A file that two parts changed, each in its own way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Which file; it holds both sides between conflict markers.
    pub path: String,
    /// Whose change was laid first.
    pub first: Unit,
    /// Whose change did not fit on it.
    pub second: Unit,
}

/// One side of a conflict, for whoever merges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Whose.
    #[serde(flatten)]
    pub unit: Unit,
    /// Its changes as a diff, cut to size; tainted.
    pub diff: String,
}

/// What an attempt changed so far, measured against the tree it started from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Touched {
    /// Files outside of what it may write, the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<String>,
    /// Changed lines.
    pub lines: u64,
}
