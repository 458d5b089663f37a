//! Where edits land: a tree of its own, apart from the user's, or the user's own tree in place.
//!
//! A view remembers what it was made from (content hashes), can be set back to any state it was recorded in, and gives its changes
//! as one [`Patch`]. Nothing here writes into the user's tree; [`Patch::apply_to`] does, and only onto unchanged files.
//! Never copied: `.git`, secrets, ignored files, pipes, sockets, devices, links that lead out.

mod copy;
mod manifest;
mod record;
#[cfg(test)]
mod tests;
mod tracked;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub use copy::{MAX_TREE_BYTES, MAX_TREE_FILES};
pub use manifest::{Entry, Kind, Manifest};

use crate::gate::{Hash, Refusal, Root, Scope};
use crate::patch::LeftOut;
use crate::search::Tree;

/// Why a view could not be made, read or set back.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The folder may not be a workspace.
    #[error("{path} cannot be a workspace: {why}")]
    Workspace {
        /// As given.
        path: String,
        /// And what to do.
        why: String,
    },
    /// A recorded state is not there (any more).
    #[error("the view cannot be set back to {tree}: {why}")]
    NotRecorded {
        /// The state asked for.
        tree: Hash,
        /// What is missing.
        why: String,
    },
    /// Only a copy can do that.
    #[error("{0} needs a view that is a copy; this one works in place")]
    InPlace(&'static str),
    /// The gate said no.
    #[error(transparent)]
    Gate(#[from] Refusal),
    /// The disk said no.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: String,
        /// The system's words.
        source: std::io::Error,
    },
}

impl ViewError {
    fn io(what: &'static str, path: &Path, source: impl Into<std::io::Error>) -> Self {
        Self::Io { what, path: path.display().to_string(), source: source.into() }
    }
}

/// A tree that tools work on. Cheap to clone; all clones are the same view.
#[derive(Debug, Clone)]
pub struct View(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: Root,
    copy: Option<Copy>,
    as_git: bool,
    /// Changes of one view are made one after the other.
    writing: Mutex<()>,
}

/// What only a copied view has.
#[derive(Debug)]
struct Copy {
    /// Holds `tree/`, `objects/`, `trees/`, `base`.
    home: PathBuf,
    /// The user's workspace.
    base_root: Root,
    base: Manifest,
    skipped: Vec<LeftOut>,
    seen: Mutex<record::Seen>,
}

impl View {
    /// The user's own tree, for `brigade tool call -C` and for subtasks that only read. Costs nothing.
    ///
    /// # Errors
    /// When `dir` is no folder, or is `/` or the home folder.
    pub fn in_place(dir: &Path) -> Result<Self, ViewError> {
        let root = copy::workspace(dir)?;
        let as_git = false;
        Ok(Self(Arc::new(Inner { root, copy: None, as_git, writing: Mutex::new(()) })))
    }

    /// Copies the workspace `base` into the new folder `into`.
    ///
    /// # Errors
    /// When `base` may not be a workspace or is over the limits, or `into` exists or lies inside `base`.
    pub fn create(base: &Path, into: &Path) -> Result<Self, ViewError> {
        copy::create(base, into)
    }

    /// Opens a view made earlier by [`View::create`], in the state it was left in.
    ///
    /// # Errors
    /// When it is not there or damaged.
    pub fn open(into: &Path) -> Result<Self, ViewError> {
        copy::open(into)
    }

    /// The gate to it.
    pub fn root(&self) -> &Root {
        &self.0.root
    }

    /// Its folder on disk: where a command runs.
    pub fn path(&self) -> &Path {
        self.0.root.path()
    }

    /// Whether it is apart from the user's tree.
    pub fn is_copy(&self) -> bool {
        self.0.copy.is_some()
    }

    /// What of the workspace was not copied, and why. Ignored files are not listed.
    pub fn skipped(&self) -> &[LeftOut] {
        self.0.copy.as_ref().map_or(&[], |copy| &copy.skipped)
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree { path: self.path().to_owned(), as_git: self.0.as_git, parents: !self.is_copy() }
    }

    /// Makes edits, one caller at a time; what they replace is kept, so that the view can be set back.
    pub(crate) fn commit(&self, scope: &Scope, edits: &[crate::gate::Edit]) -> Result<(), Refusal> {
        let _one = self.0.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(copy) = &self.0.copy {
            copy.keep_before(&self.0.root, edits);
        }
        crate::gate::commit(&self.0.root, scope, edits, false)
    }
}
