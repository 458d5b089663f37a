//! Patches as models write them: the `*** Begin Patch` envelope and unified diffs, applied exactly or refused whole.
//!
//! A patch is read into [`Op`]s, tried against file contents in memory, and only then written, all of it or none, through the gate.
//! Refuses: links and submodules (modes 120000, 160000), changes of the executable bit unless allowed, binary patches, paths out of scope.

mod apply;
mod envelope;
pub(crate) mod land;
mod lines;
mod reverse;
mod seek;
mod show;
#[cfg(test)]
mod tests;
mod unified;

pub use apply::{Change, Rules, plan};
pub use land::{LandError, Landed, LeftOut, Patch};
pub use show::difference;

use crate::gate::{Refusal, RelPath};

/// Longest patch taken.
pub const MAX_PATCH_BYTES: usize = 16 << 20;
/// Most files one patch may touch, and most hunks it may hold.
pub const MAX_FILES: usize = 10_000;
pub(crate) const MAX_HUNKS: usize = 100_000;

/// Why a patch was not applied. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The text is no patch; says on which line and what should stand there.
    #[error("patch line {line}: {message}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong and how to write it.
        message: String,
    },
    /// It is one, and does not fit the file.
    #[error("{path}: {message}")]
    Stale {
        /// The file.
        path: String,
        /// Which lines were not found, and what to do.
        message: String,
    },
    /// It asks for what is never done.
    #[error("{0}")]
    Refused(String),
    /// The gate said no.
    #[error(transparent)]
    Gate(#[from] Refusal),
}

/// One file operation of a patch, in the order written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a whole file, over whatever stood there.
    Add {
        /// Which.
        path: RelPath,
        /// Its lines, each without its end.
        content: String,
        /// From `new file mode`.
        executable: Option<bool>,
        /// Whether an existing file is an error: yes for unified diffs.
        must_be_new: bool,
    },
    /// Deletes a file.
    Delete {
        /// Which.
        path: RelPath,
        /// The lines it must hold, when the patch spells them out.
        hunks: Vec<Hunk>,
    },
    /// Changes a file, and perhaps its name.
    Update {
        /// Which.
        path: RelPath,
        /// Its new name.
        to: Option<RelPath>,
        /// The changes in order; may be empty for a unified diff that only renames.
        hunks: Vec<Hunk>,
        /// A change of the executable bit.
        executable: Option<bool>,
        /// How lines are counted and ends are kept.
        dialect: Dialect,
    },
}

/// What the two formats leave unsaid, each in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// No line numbers; the file always ends with a newline afterwards.
    Envelope,
    /// Line numbers are hints; the end of the file is as the patch says.
    Unified,
    /// A unified diff made by us for this very content: nothing is tolerated, a carriage return is a character like any other.
    Exact,
}

/// A run of lines to find and what to make of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hunk {
    /// Lines to be found first, one after the other, above the hunk.
    pub anchors: Vec<String>,
    /// Context, removed and added lines in order.
    pub lines: Vec<Line>,
    /// Where a unified diff expects it, counted from 1.
    pub at: Option<usize>,
    /// The hunk reaches the end of the file.
    pub at_end: bool,
    /// The old side's last line has no newline.
    pub old_unended: bool,
    /// The new side's last line has no newline.
    pub new_unended: bool,
    /// Where it stands in the patch, counted from 1.
    pub line: usize,
}

/// One line of a hunk, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Line {
    Keep(String),
    Remove(String),
    Add(String),
}

/// Reads a patch in either format.
///
/// # Errors
/// [`PatchError::Malformed`] or [`PatchError::Refused`] with what to write instead.
pub fn parse(text: &str) -> Result<Vec<Op>, PatchError> {
    if text.len() > MAX_PATCH_BYTES {
        return Err(PatchError::Refused(format!("the patch has {} bytes; at most {MAX_PATCH_BYTES} are taken: split it", text.len())));
    }
    let ops = match envelope::unwrap(text) {
        Some(body) => envelope::parse(&body)?,
        None if unified::looks_like(text) => unified::parse(text)?,
        None => {
            let message = "the first line must be `*** Begin Patch` (or send a unified diff with `--- a/FILE` and `+++ b/FILE` lines)";
            return Err(PatchError::Malformed { line: 1, message: message.to_owned() });
        }
    };
    if ops.is_empty() {
        return Err(PatchError::Refused("the patch changes no file".to_owned()));
    }
    if ops.len() > MAX_FILES {
        return Err(PatchError::Refused(format!("the patch touches {} files; at most {MAX_FILES} are taken: split it", ops.len())));
    }
    Ok(ops)
}
