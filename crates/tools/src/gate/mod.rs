//! The path gate: the only way from a name to a file (promises.md §3.2, I11).
//!
//! One directory handle per workspace; every open resolves beneath it in the kernel, so that no link, mount or race
//! leads out. No prefix is ever compared to decide what is inside, and nothing is opened again by name between a check and its use.
//! Refuses: paths out of scope, secrets, protected names (for writing), anything but regular files,
//! and, for writing, symbolic links and files with other hard links. Read [`Root`] first.

mod open;
mod path;
mod protect;
mod scope;
#[cfg(test)]
mod tests;
mod union;
mod write;

pub use open::{Found, Opened, Root};
pub use path::{MAX_PATH_BYTES, RelPath};
pub use protect::{is_protected, is_secret};
pub use scope::{Globs, Scope};
pub(crate) use union::Beneath;
pub use write::{Base, Edit, NewFile, commit};
pub(crate) use write::{MAX_WRITE_BYTES, TEMP_PREFIX, clear_leftovers};

use sha2::{Digest, Sha256};

/// What a path was wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Want {
    Read,
    Write,
}

/// Why the gate said no. The message names the path and, where there is one, the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refusal {
    #[error("path {path:?} {why}")]
    BadPath { path: String, why: &'static str },
    #[error("glob {glob:?} {why}")]
    BadGlob { glob: String, why: String },
    #[error(
        "{path:?} is protected: version control, hooks, CI, agent instructions and shell start files are never written; leave it to the user"
    )]
    Protected { path: String },
    #[error("{path:?} may hold a secret: keys, .env files and credential stores are never read or written")]
    Secret { path: String },
    #[error("{path:?} is outside what this subtask may {}: {scope}", if *want == Want::Read { "read" } else { "write" })]
    OutOfScope { path: String, want: Want, scope: String },
    #[error("{path:?} leads out of the workspace")]
    Escapes { path: String },
    #[error("{path:?} is reached through a symbolic link; name the file it points to")]
    SymbolicLink { path: String },
    #[error("{path:?} is {kind}, not a regular file")]
    NotRegular { path: String, kind: &'static str },
    #[error("{path:?} has {links} hard links, so writing it could change a file elsewhere; delete it and write it anew, or leave it")]
    HardLinked { path: String, links: u64 },
    #[error("{path:?} does not exist")]
    Absent { path: String },
    #[error("{path:?} exists already")]
    Exists { path: String },
    #[error("{path:?} changed since it was read; read it again")]
    Conflict { path: String },
    #[error("{path:?} has {bytes} bytes; at most {limit} are taken")]
    TooLarge { path: String, bytes: u64, limit: u64 },
    #[error("cannot {what} {path:?}: {error}")]
    Io { what: &'static str, path: String, error: String },
}

/// SHA-256 of a file's content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 lowercase hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut out = [0; 32];
        let ok = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        for (i, byte) in out.iter_mut().enumerate().take(if ok { 32 } else { 0 }) {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
        }
        ok.then_some(Self(out))
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}
