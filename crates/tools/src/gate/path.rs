//! A path as a model may write it: relative, plain, checked once. Nothing here touches the disk.

use std::fmt;

use super::Refusal;

/// Longest path taken, in bytes; the kernel's own limit is 4,096 with the terminating zero.
pub const MAX_PATH_BYTES: usize = 4_000;
/// Longest name of one component, in bytes, on every file system in common use.
const MAX_NAME_BYTES: usize = 255;

/// A path beneath the root: no `..`, not absolute, no control characters, no empty parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(String);

impl RelPath {
    /// Checks and takes a path; `./` and doubled slashes are dropped.
    ///
    /// # Errors
    /// [`Refusal::BadPath`] with the reason and what to write instead.
    pub fn new(text: &str) -> Result<Self, Refusal> {
        let bad = |why| Err(Refusal::BadPath { path: cut(text), why });
        if text.len() > MAX_PATH_BYTES {
            return bad("is longer than 4,000 bytes");
        }
        if text.chars().any(char::is_control) {
            return bad("holds a control character or a newline");
        }
        if text.starts_with('/') {
            return bad("is absolute; give it relative to the workspace");
        }
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return bad("holds `..`; give it relative to the workspace, without `..`"),
                _ if part.len() > MAX_NAME_BYTES => {
                    return bad("holds a name longer than 255 bytes");
                }
                _ => parts.push(part),
            }
        }
        if parts.is_empty() {
            return bad("names no file; give one relative to the workspace, like src/main.rs");
        }
        Ok(Self(parts.join("/")))
    }

    /// As [`RelPath::new`], with `""` and `.` standing for the root: `None`.
    pub fn or_root(text: &str) -> Result<Option<Self>, Refusal> {
        if text.split('/').all(|part| part.is_empty() || part == ".") && !text.starts_with('/') {
            return Ok(None);
        }
        Self::new(text).map(Some)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder part and the last name.
    pub fn split(&self) -> (Option<&str>, &str) {
        match self.0.rsplit_once('/') {
            Some((folder, name)) => (Some(folder), name),
            None => (None, &self.0),
        }
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
