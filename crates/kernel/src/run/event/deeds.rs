//! What an agent did on an errand, as it told of it: for the record, and for nothing else.

use serde::{Deserialize, Serialize};

/// One thing an agent says it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// What kind: `command`, `file`, `tool`, `said`, or the agent's own word.
    pub kind: String,
    /// The command, the path, the words, cut to size; tainted.
    pub what: String,
    /// Whether it went well, where the agent says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
}
