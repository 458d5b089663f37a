//! What a run starts with.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::call::Item;
use crate::context::Instructions;
use crate::ids::RunId;
use crate::image::Image;
use crate::policy::Policy;

/// Where the rows of a bulk run come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Absolute path.
    pub path: String,
    /// Bytes when the run started; the file may grow behind them.
    pub bytes: u64,
    /// SHA-256 of those bytes, hex.
    pub sha256: String,
}

/// What a run starts with. Everything later decisions read is in here or in a later event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run.
    pub run: RunId,
    /// The request's text, verbatim; may be empty with `--plan`.
    pub request: String,
    /// Images that belong to the request, for the planner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// Whether a planner writes the plan (else the plan's subtasks follow as events).
    pub planned: bool,
    /// Absolute path of the workspace.
    pub workspace: String,
    /// A listing of the workspace for the planner, cut to size; tainted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub listing: String,
    /// The workspace's instruction files as they were: the run goes by these to its end.
    #[serde(default, skip_serializing_if = "<[Instructions]>::is_empty")]
    pub instructions: Arc<[Instructions]>,
    /// Roles that the workspace describes and that are bound to no type, for the planner; tainted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub roles: String,
    /// The name of the plan, if it has one: statistics are kept by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// The configuration that rules this run.
    pub policy: Arc<Policy>,
    /// Rows, for bulk plans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputFile>,
    /// Whether the verified patch is applied to the user's tree at the end.
    pub apply: bool,
    /// Whether the verified patch becomes a git branch at the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub branch: bool,
    /// Summary of the run that this one continues, for the planner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<Continued>,
    /// Where scripted answers come from, when the run is offline; shown wherever the run is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<String>,
    /// Whether results of earlier runs may be reused.
    #[serde(default)]
    pub reuse: bool,
    /// Whether it sits out its quota by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wait: bool,
}

/// What `--continue` carries over: the planner's context of an earlier run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Continued {
    /// The earlier run.
    pub run: RunId,
    /// The planner's conversation so far: requests, plans in brief, reviews.
    pub turns: Vec<Item>,
}
