//! A view's states: recording, setting back, and what lies between two trees.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard};

use super::changes::{content, make_room, prune};
use super::delta::{Change, Delta, Entry, Kind};
use super::fold::clear;
use super::objects::write_whole;
use super::{Layer, Store, View, ViewError};
use crate::gate::{Hash, RelPath, is_protected};
use crate::patch::land::{Side, diff_file};
use crate::patch::{LeftOut, Patch};

impl View {
    /// Records the present state durably, so that [`View::restore`] can come back to it.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn snapshot(&self) -> Result<Hash, ViewError> {
        let _turn = self.take_turn();
        let layer = self.0.layer.as_ref().ok_or(ViewError::NotOwn("a snapshot"))?;
        let state = layer.state();
        let new = state.real().filter_map(|(path, change)| Some((path.as_str(), &change.after.as_ref()?.hash)));
        let read = |path: &str| {
            let kind = state.changes.get(path).and_then(|change| change.after).map_or(Kind::File, |entry| entry.kind);
            content(&self.0.root, path, kind).map_err(|e| ViewError::io("record", Path::new(path), e))
        };
        layer.store.objects().keep_all(new, read)?;
        layer.store.record(&state)
    }

    /// Sets the view back to a recorded tree. What commands left in ignored places goes, unless nothing else has to change.
    ///
    /// # Errors
    /// [`ViewError::NotRecorded`] when the tree is unknown or one of its contents is lost; checked before anything changes.
    pub fn restore(&self, tree: &Hash) -> Result<(), ViewError> {
        let (layer, home) = self.own("restore")?;
        let _turn = self.take_turn();
        if layer.state().name(&layer.store.base_id()) == *tree {
            return Ok(());
        }
        layer.set(self.path(), tree)?;
        let upper = home.join("upper");
        clear(&upper).map_err(|e| ViewError::io("clear", &upper, e))
    }
}

impl Layer {
    pub(super) fn state(&self) -> RwLockReadGuard<'_, Delta> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self) -> RwLockWriteGuard<'_, Delta> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the folder and the state those of a recorded tree.
    pub(super) fn set(&self, dir: &Path, tree: &Hash) -> Result<(), ViewError> {
        let wanted = self.store.recorded(tree)?;
        let now = self.state().clone();
        let after = |delta: &Delta, path: &str| delta.changes.get(path).and_then(|change| change.after);
        let mut contents = Vec::new();
        for (path, entry) in wanted.changes.iter().filter_map(|(path, change)| Some((path, change.after?))) {
            if after(&now, path) != Some(entry) {
                let bytes = self.store.objects().read(&entry.hash);
                let lost = || ViewError::NotRecorded { tree: *tree, why: format!("the content of {path} is lost") };
                contents.push((path, entry, bytes.ok_or_else(lost)?));
            }
        }
        for (path, _) in now.changes.iter().filter(|(path, change)| change.after.is_some() && after(&wanted, path).is_none()) {
            let gone = dir.join(path);
            fs::remove_file(&gone).or_else(absent).map_err(|e| ViewError::io("remove", &gone, e))?;
            prune(dir, path);
        }
        for (path, entry, bytes) in contents {
            put(dir, path, entry, &bytes)?;
        }
        *self.change() = wanted;
        Ok(())
    }
}

fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Puts one content into a view's own folder, in which no link is ever a folder's part.
pub(super) fn put(dir: &Path, path: &str, entry: Entry, bytes: &[u8]) -> Result<(), ViewError> {
    make_room(dir, path)?;
    let full = dir.join(path);
    if entry.kind == Kind::Link {
        use std::os::unix::ffi::OsStrExt;
        return std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(bytes), &full).map_err(|e| ViewError::io("write", &full, e));
    }
    write_whole(&full, bytes, false)?;
    let mode = if entry.kind == Kind::Executable { 0o755 } else { 0o644 };
    fs::set_permissions(&full, fs::Permissions::from_mode(mode)).map_err(|e| ViewError::io("write", &full, e))
}

impl Store {
    /// What has to change in one tree to make it the other, as one patch.
    ///
    /// # Errors
    /// When a tree is unknown, or a content is lost.
    pub fn diff(&self, from: &Hash, to: &Hash) -> Result<Patch, ViewError> {
        let (from, to) = (self.recorded(from)?, self.recorded(to)?);
        let mut patch = Patch { text: String::new(), left_out: to.left_out() };
        for path in paths(&from, &to) {
            let (old, new) = sides(&from, &to, path);
            if old == new {
                continue;
            }
            match self.diff_one(path, old, new) {
                Ok(part) => patch.text.push_str(&part),
                Err(why) => patch.left_out.push(LeftOut { path: path.clone(), why }),
            }
        }
        patch.left_out.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(patch)
    }

    fn diff_one(&self, path: &str, old: Option<Entry>, new: Option<Entry>) -> Result<String, String> {
        if [old, new].into_iter().flatten().any(|entry| entry.kind == Kind::Link) {
            return Err("a symbolic link was made, changed or removed".to_owned());
        }
        if is_protected(path) {
            return Err("protected: version control, hooks, CI, agent instructions and shell start files are never written".to_owned());
        }
        RelPath::new(path).map_err(|e| e.to_string())?;
        let read = |entry: Option<Entry>, lost: &str| {
            let bytes = entry.map(|entry| self.objects().read(&entry.hash).ok_or(format!("{lost} is lost"))).transpose()?;
            Ok::<_, String>(bytes.zip(entry))
        };
        let (before, after) = (read(old, "what it was before")?, read(new, "its new content")?);
        let side = |one: &'_ Option<(Vec<u8>, Entry)>| one.as_ref().map(|(_, entry)| entry.kind == Kind::Executable);
        diff_file(
            path,
            before.as_ref().map(|(bytes, _)| Side { bytes, executable: side(&before) == Some(true) }),
            after.as_ref().map(|(bytes, _)| Side { bytes, executable: side(&after) == Some(true) }),
        )
    }
}

/// Every path that either tree changed, in order.
pub(super) fn paths<'a>(from: &'a Delta, to: &'a Delta) -> BTreeSet<&'a String> {
    from.changes.keys().chain(to.changes.keys()).collect()
}

/// What stands at a path in two trees; where a tree did not change it, that is what the other one found in the base.
pub(super) fn sides(from: &Delta, to: &Delta, path: &str) -> (Option<Entry>, Option<Entry>) {
    let (old, new) = (from.changes.get(path), to.changes.get(path));
    let stands = |own: Option<&Change>, other: Option<&Change>| own.map_or_else(|| other.and_then(|one| one.before), |own| own.after);
    (stands(old, new), stands(new, old))
}
