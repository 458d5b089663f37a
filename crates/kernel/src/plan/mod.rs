//! The task graph: what a planner or a person asks for, and the one gate it enters by.
//!
//! Everything from outside goes through [`parse`] and [`check`] (or [`PlanStream`] while it still
//! arrives, [`PlanPatch`] when it changes); what comes out is a [`Plan`] that is closed, acyclic and
//! within its limits. Nothing here runs a subtask or knows a model's name.
//!
//! Read first: [`Subtask`], then [`check`].

mod amend;
mod check;
mod fault;
mod fields;
mod gate;
pub(crate) mod graph;
mod reach;
mod read;
pub mod reference;
mod review;
pub mod schema;
mod scope;
mod stream;
mod subtask;
mod text;
mod warn;
mod when;

use serde::{Deserialize, Serialize};

pub(crate) use amend::with_planned_fields;
pub use amend::{Amended, PlanPatch, Standing, amend};
pub use check::{Checked, Known, MAX_SUBTASKS, check};
pub use fault::{Code, Fault, Warning};
pub use gate::{Author, Format, MAX_PLAN_BYTES, Parsed, parse, parse_answer, parse_tools};
pub(crate) use reach::reaches;
pub use read::unsupported;
pub use review::{Review, Reviewed, Revision, Verdict, review};
pub(crate) use scope::outside;
pub use scope::{BadGlob, Globs};
pub use stream::{PlanStream, Streamed, startable_while_streaming};
pub use subtask::{Complexity, ForEach, Stops, Subtask, TaskType};
pub use text::{parse_span, usd_from_f64, write_span};
pub use when::{When, WhenError};

/// Largest text of one field: description, `output_format`, a rubric; 64 KiB.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// A checked task graph: ids unique, dependencies closed and acyclic.
///
/// Its serde form is the plan file's own JSON, absent = default, so that a written plan can be read again;
/// text from outside is read by [`check`], never by serde.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Under which name statistics, bars, budgets and reports are kept; hand-written only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// What every planner turn and the review are reminded of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub coordination_notes: String,
    /// Stops for every `for_each` subtask that sets none of its own; hand-written only.
    #[serde(flatten)]
    pub stops: Stops,
    /// In the order written, which decides ties and the order of merging.
    pub subtasks: Vec<Subtask>,
}

impl Plan {
    /// The subtask of that id.
    pub fn get(&self, id: &str) -> Option<&Subtask> {
        self.subtasks.iter().find(|s| s.id.as_str() == id)
    }
}
