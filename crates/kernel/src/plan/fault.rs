//! What is wrong with a plan, said so that its author can mend it; and what is merely sloppy.

use serde::Serialize;

/// The kind of a fault; the names of `plan --check` (design.md "Faces").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A tool nobody offers.
    UnknownTool,
    /// No such task type.
    UnknownType,
    /// Two subtasks of one id.
    DuplicateNode,
    /// A dependency that no subtask answers to.
    DanglingLink,
    /// A subtask that depends on itself; not also a cycle.
    SelfLink,
    /// A dependency that names nothing: no text, or text without a letter or digit.
    MalformedLink,
    /// Subtasks that wait for each other.
    Cycle,
    /// A path outside the workspace, or into its repository's own files.
    Scope,
    /// An id that does not fit its pattern, or none.
    BadId,
    /// Over a limit of number, or a file over its size.
    TooMany,
    /// A field nobody knows, or that this author may not set.
    UnknownField,
    /// Anything else that cannot be read; also `not supported yet`.
    BadValue,
}

/// One thing that must be mended before the plan can run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// Its kind.
    pub code: Code,
    /// The subtask's id as written (escaped and cut), or `#3` for the third when it has none.
    pub subtask: Option<String>,
    /// The field's name.
    pub field: Option<String>,
    /// What is wrong, with the value, and what to do; control characters escaped.
    pub message: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.subtask, &self.field) {
            (Some(subtask), Some(field)) => write!(f, "subtask {subtask}, {field}: {}", self.message),
            (Some(subtask), None) => write!(f, "subtask {subtask}: {}", self.message),
            (None, Some(field)) => write!(f, "{field}: {}", self.message),
            (None, None) => f.write_str(&self.message),
        }
    }
}

/// Legal, but likely not meant; shown to the planner once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// A short name: `no_checks`, `empty_output_format`, `overlapping_writes`, `many_tools_for_nano`, `no_description`.
    pub code: &'static str,
    /// The subtask's id.
    pub subtask: Option<String>,
    /// The field's name.
    pub field: Option<String>,
    /// What is unusual, and what to do.
    pub message: String,
}

/// A value from outside as it may stand in a message: quoted, control and bidirectional characters escaped, cut to 80 characters.
pub(crate) fn shown(value: &str) -> String {
    format!("{:?}", cut(value))
}

/// An id from outside as it may stand in a `subtask` member: escaped and cut, unquoted.
pub(crate) fn label(value: &str) -> String {
    // Nearly every id is plain, and one is made for each of ten thousand subtasks.
    if value.len() <= 80 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return value.to_owned();
    }
    cut(value).escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value.to_owned(),
    }
}
