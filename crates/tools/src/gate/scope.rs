//! What one subtask may read and write: globs, checked before anything is opened.

use brigade_kernel::plan;

use super::{Refusal, RelPath, Want, protect};

/// A set of globs relative to the workspace, and how they were written.
#[derive(Debug, Clone)]
pub struct Globs {
    set: plan::Globs,
    written: Vec<String>,
}

impl Globs {
    /// Everything.
    pub fn all() -> Self {
        Self { set: plan::Globs::all(), written: vec!["**".to_owned()] }
    }

    /// Nothing.
    pub fn none() -> Self {
        Self { set: plan::Globs::none(), written: Vec::new() }
    }

    /// The patterns given; an empty list is [`Globs::none`].
    ///
    /// # Errors
    /// [`Refusal::BadGlob`] naming the pattern, as [`plan::Globs::new`] says.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, Refusal> {
        let set = plan::Globs::new(patterns).map_err(|bad| Refusal::BadGlob { glob: bad.glob, why: bad.why })?;
        Ok(Self { set, written: patterns.iter().map(|pattern| pattern.as_ref().to_owned()).collect() })
    }

    /// Whether `path` is in the set.
    pub fn holds(&self, path: &str) -> bool {
        self.set.hold(path)
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
