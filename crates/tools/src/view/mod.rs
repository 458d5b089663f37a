//! Where edits land: views of one workspace, each apart from the user's tree and from one another; or the user's own tree in place.
//!
//! A view is the workspace, never copied and never written, plus a folder that holds what this view changed. What a view changed
//! first is kept, so that its changes are a [`Patch`] that says what it was made from, and can be merged with those of other views
//! ([`Store::compose`]). A state of files is a tree, named by a hash over the base and the changes; its record costs what changed.
//!
//! The user goes on working. What a view itself changed is safe from that: its old and its new content are kept. A file that a view
//! only reads shows the user's new content; one the user adds is no part of the base. [`Patch::apply_to`] compares with what the patch
//! was made from, and lands nothing where the user's bytes differ.
//!
//! Never seen: `.git`, secrets, ignored files, pipes, sockets, devices, links that lead out. Commands see the same files, mounted as one
//! folder (`stage.rs`); what they leave in ignored places stays with the view for the next command, and is no part of a tree.

mod base;
mod changes;
mod compose;
mod content;
mod delta;
mod fold;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod merging;
mod objects;
mod stage;
mod states;
mod store;
#[cfg(test)]
mod tests;
mod tracked;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};

pub use base::MAX_TREE_FILES;
pub use compose::{Composed, Conflict, Part};
pub use delta::{Entry, Kind};
pub use fold::{MAX_CHANGED_FILES, clear};
pub(crate) use stage::{Stage, whiteout};
pub use store::Store;

use crate::gate::{Hash, Refusal, Root, Scope};
use crate::patch::{LeftOut, Patch};
use crate::search::Tree;
use delta::Delta;

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
    /// Only a view of its own can do that.
    #[error("{0} needs a view of its own; this one only reads, or works in place")]
    NotOwn(&'static str),
    /// A command changed more than a tree holds.
    #[error("{changed} files were changed, at most {limit} can be: nothing of it was kept; let .gitignore cover what is not source")]
    TooMuch {
        /// Files.
        changed: usize,
        /// Most files.
        limit: usize,
    },
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
    layer: Option<Layer>,
    turn: Turns,
}

/// What a view of a store has, beside one in place.
#[derive(Debug)]
struct Layer {
    store: Store,
    /// Holds `delta/` and what commands need; `None`: this view only reads.
    home: Option<PathBuf>,
    /// Shared with the root, which asks it what of the base is still seen.
    state: Arc<RwLock<Delta>>,
}

/// Changes of one view are made one after the other; a command holds its turn until it has ended.
#[derive(Debug, Default)]
struct Turns {
    taken: Mutex<bool>,
    free: Condvar,
}

/// Given back on drop.
#[derive(Debug)]
struct Turn(View);

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.0.turn.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.0.turn.free.notify_one();
    }
}

impl View {
    /// The user's own tree, for `brigade tool call -C`. Costs nothing.
    ///
    /// # Errors
    /// When `dir` is no folder, or is `/` or the home folder.
    pub fn in_place(dir: &Path) -> Result<Self, ViewError> {
        let root = base::workspace(dir)?;
        Ok(Self(Arc::new(Inner { root, layer: None, turn: Turns::default() })))
    }

    /// The gate to it.
    pub fn root(&self) -> &Root {
        &self.0.root
    }

    /// The folder of its own files: for a view in place the user's tree, else what was changed.
    pub fn path(&self) -> &Path {
        self.0.root.path()
    }

    /// What of the workspace is not seen, and why. Ignored files are not listed.
    pub fn skipped(&self) -> &[LeftOut] {
        self.0.layer.as_ref().map_or(&[], |layer| layer.store.skipped())
    }

    pub(crate) fn tree(&self) -> Tree {
        match &self.0.layer {
            None => Tree::Folder(self.path().to_owned()),
            Some(layer) => Tree::Names { names: layer.names(), as_git: layer.store.as_git() },
        }
    }

    /// Makes edits, one caller at a time; what they replace is kept, so that the view can be set back.
    pub(crate) fn commit(&self, scope: &Scope, edits: &[crate::gate::Edit]) -> Result<(), Refusal> {
        let _turn = self.take_turn();
        match &self.0.layer {
            None => crate::gate::commit(&self.0.root, scope, edits, false),
            Some(layer) => layer.commit(&self.0.root, scope, edits),
        }
    }

    fn take_turn(&self) -> Turn {
        let mut taken = self.0.turn.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken {
            taken = self.0.turn.free.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = true;
        Turn(self.clone())
    }

    /// The view's layer and its own folder.
    fn own(&self, what: &'static str) -> Result<(&Layer, &Path), ViewError> {
        let layer = self.0.layer.as_ref().ok_or(ViewError::NotOwn(what))?;
        Ok((layer, layer.home.as_deref().ok_or(ViewError::NotOwn(what))?))
    }

    /// The name of the tree it stands at now.
    ///
    /// # Errors
    /// When it works in place.
    pub fn tree_hash(&self) -> Result<Hash, ViewError> {
        let layer = self.0.layer.as_ref().ok_or(ViewError::NotOwn("a tree hash"))?;
        Ok(layer.state().name(&layer.store.base_id()))
    }

    /// What changed since the base, as one patch.
    ///
    /// # Errors
    /// When it works in place, or a content is lost.
    pub fn diff(&self) -> Result<Patch, ViewError> {
        let tree = self.snapshot()?;
        let layer = self.0.layer.as_ref().ok_or(ViewError::NotOwn("a diff"))?;
        layer.store.diff(&layer.store.base(), &tree)
    }
}
