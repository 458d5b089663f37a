//! What one subtask may read and write: globs, checked before anything is opened.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::{Refusal, RelPath, Want, protect};

/// Most patterns one set takes.
const MAX_PATTERNS: usize = 1_000;

/// A set of globs relative to the workspace; a pattern also covers everything beneath what it names.
#[derive(Debug, Clone)]
pub struct Globs {
    set: Option<GlobSet>,
    written: Vec<String>,
}

impl Globs {
    /// Everything.
    pub fn all() -> Self {
        Self { set: None, written: vec!["**".to_owned()] }
    }

    /// Nothing.
    pub fn none() -> Self {
        Self { set: Some(GlobSet::empty()), written: Vec::new() }
    }

    /// The patterns given; an empty list is [`Globs::none`].
    ///
    /// # Errors
    /// [`Refusal::BadGlob`] naming the pattern: absolute, with `..`, or not a glob.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, Refusal> {
        let bad = |glob: &str, why: String| Refusal::BadGlob { glob: super::path::cut(glob), why };
        if patterns.len() > MAX_PATTERNS {
            return Err(bad("…", format!("{} patterns given, at most {MAX_PATTERNS} taken", patterns.len())));
        }
        let mut set = GlobSetBuilder::new();
        let mut written = Vec::new();
        for pattern in patterns {
            let given = pattern.as_ref();
            if given.starts_with('/') || given.split('/').any(|part| part == "..") {
                return Err(bad(given, "leaves the workspace; write it relative, like src/**".to_owned()));
            }
            if given.len() > super::path::MAX_PATH_BYTES || given.chars().any(char::is_control) {
                return Err(bad(given, "is too long or holds a control character".to_owned()));
            }
            let mut plain = given;
            while let Some(rest) = plain.strip_prefix("./") {
                plain = rest;
            }
            let plain = plain.trim_end_matches('/');
            if plain.is_empty() || plain == "." {
                return Ok(Self::all());
            }
            for text in [plain.to_owned(), format!("{plain}/**")] {
                let glob = GlobBuilder::new(&text).literal_separator(true).build();
                set.add(glob.map_err(|e| bad(given, e.kind().to_string()))?);
            }
            written.push(given.to_owned());
        }
        let set = set.build().map_err(|e| bad("…", e.kind().to_string()))?;
        Ok(Self { set: Some(set), written })
    }

    /// Whether `path` is in the set.
    pub fn holds(&self, path: &str) -> bool {
        self.set.as_ref().is_none_or(|set| set.is_match(path))
    }

    fn shown(&self) -> String {
        if self.written.is_empty() { "nothing".to_owned() } else { self.written.join(", ") }
    }
}

/// The read and the write scope of one caller.
#[derive(Debug, Clone)]
pub struct Scope {
    /// What may be read; what may be written may be read too.
    pub read: Globs,
    /// What may be written.
    pub write: Globs,
}

impl Scope {
    /// Everything but what is protected or secret.
    pub fn whole() -> Self {
        Self { read: Globs::all(), write: Globs::all() }
    }

    /// Whether the name alone may be read.
    ///
    /// # Errors
    /// [`Refusal::Secret`] or [`Refusal::OutOfScope`].
    pub fn may_read(&self, path: &str) -> Result<(), Refusal> {
        if protect::is_secret(path) {
            return Err(Refusal::Secret { path: path.to_owned() });
        }
        if self.read.holds(path) || self.write.holds(path) {
            return Ok(());
        }
        Err(Refusal::OutOfScope { path: path.to_owned(), want: Want::Read, scope: self.read.shown() })
    }

    /// Whether the name alone may be written.
    ///
    /// # Errors
    /// [`Refusal::Protected`], [`Refusal::Secret`] or [`Refusal::OutOfScope`].
    pub fn may_write(&self, path: &RelPath) -> Result<(), Refusal> {
        let path = path.as_str();
        if protect::is_protected(path) {
            return Err(Refusal::Protected { path: path.to_owned() });
        }
        if protect::is_secret(path) {
            return Err(Refusal::Secret { path: path.to_owned() });
        }
        if self.write.holds(path) {
            return Ok(());
        }
        Err(Refusal::OutOfScope { path: path.to_owned(), want: Want::Write, scope: self.write.shown() })
    }
}
