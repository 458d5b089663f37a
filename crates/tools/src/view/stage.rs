//! Where a command of a view runs: the workspace, hidden in part by whiteouts, and the view's files over it, mounted as one folder;
//! or, where that cannot be mounted, a copy made for this one command.
//!
//! Layers, topmost first: `upper` (what commands wrote), `delta` (the view's files), `gone` (whiteouts of what it removed),
//! the store's `mask` (whiteouts of what does not count), the workspace. Setting them up costs what the view changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::changes::make_room;
use super::fold::{Stamp, clear};
use super::{Layer, Turn, View, ViewError};
use crate::sandbox::{Layers, Spec};

/// Stands while what `upper` holds is what a fold left there.
const SETTLED: &str = "settled";

/// A view made ready for one command. Dropped without [`Stage::finish`], what the command did is thrown away.
#[derive(Debug)]
pub(crate) struct Stage {
    view: View,
    how: How,
    /// Nobody else changes the view meanwhile; `None` in place.
    turn: Option<Turn>,
}

#[derive(Debug)]
enum How {
    InPlace,
    Mounted(Layers),
    Copied(PathBuf, BTreeMap<String, Stamp>),
}

impl View {
    /// Waits for its turn, and makes ready.
    pub(crate) fn stage(&self) -> Result<Stage, ViewError> {
        if self.0.layer.is_none() {
            return Ok(Stage { view: self.clone(), how: How::InPlace, turn: None });
        }
        let (layer, home) = self.own("a command")?;
        let turn = Some(self.take_turn());
        let how = match layer.store.unmountable() {
            None => How::Mounted(layer.layers(self.path(), home)?),
            Some(_) => {
                let (dir, stamps) = layer.copy(self.path(), &home.join("copy"))?;
                How::Copied(dir, stamps)
            }
        };
        Ok(Stage { view: self.clone(), how, turn })
    }
}

impl Stage {
    /// Says where the command runs.
    pub fn set(&self, spec: &mut Spec) {
        match &self.how {
            How::InPlace => spec.view_dir = self.view.path().to_owned(),
            How::Mounted(layers) => {
                spec.view_dir = layers.upper.clone();
                spec.layers = Some(layers.clone());
            }
            How::Copied(dir, _) => spec.view_dir = dir.clone(),
        }
    }

    /// Layers cannot be mounted here, for this reason: ready again, with a copy.
    pub fn without_layers(self, why: String) -> Result<Self, ViewError> {
        let view = self.view.clone();
        if let Some(layer) = &view.0.layer {
            layer.store.found_unmountable(why);
        }
        drop(self);
        view.stage()
    }

    /// Makes what the command did the view's own.
    pub fn finish(self) -> Result<(), ViewError> {
        let Some(layer) = &self.view.0.layer else { return Ok(()) };
        let deeds = match &self.how {
            How::InPlace => return Ok(()),
            How::Mounted(layers) => layer.deeds_in_upper(self.view.root(), &layers.upper),
            How::Copied(dir, stamps) => layer.deeds_in_copy(self.view.root(), dir, stamps),
        };
        deeds.and_then(|deeds| layer.fold(self.view.path(), deeds))?;
        match &layer.home {
            Some(home) => fs::write(home.join(SETTLED), "").map_err(|e| ViewError::io("mark", home, e)),
            None => Ok(()),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What is left of either is cleared again before its next use.
        match &self.how {
            How::InPlace => {}
            How::Mounted(layers) => _ = clear(&layers.work),
            How::Copied(dir, _) => _ = clear(dir),
        }
        drop(self.turn.take());
    }
}

impl Layer {
    fn layers(&self, delta: &Path, home: &Path) -> Result<Layers, ViewError> {
        let (upper, work, gone) = (home.join("upper"), home.join("work"), home.join("gone"));
        // A command whose end nobody saw may have left anything in there.
        let settled = fs::remove_file(home.join(SETTLED)).is_ok();
        for (folder, anew) in [(&upper, !settled), (&work, true), (&gone, true)] {
            if anew {
                clear(folder).map_err(|e| ViewError::io("clear", folder, e))?;
            }
            fs::create_dir_all(folder).map_err(|e| ViewError::io("make", folder, e))?;
        }
        let whiteouts = self.whiteouts()?;
        mask(&gone, whiteouts.iter().map(Path::new)).map_err(|e| ViewError::io("make a whiteout in", &gone, e))?;
        let lower = vec![delta.to_owned(), gone, self.store.mask_dir(), self.store.root().path().to_owned()];
        Ok(Layers { lower, upper, work })
    }

    /// What hides the removed files of the base: the topmost folders in which nothing is left, or the files.
    fn whiteouts(&self) -> Result<Vec<String>, ViewError> {
        let (state, base) = (self.state(), self.store.names()?);
        let mut found: Vec<String> = Vec::new();
        for (path, _) in state.changes.iter().filter(|(_, change)| change.before.is_some() && change.after.is_none()) {
            if found.last().is_some_and(|last| path.strip_prefix(last.as_str()).is_some_and(|rest| rest.starts_with('/'))) {
                continue;
            }
            let empty = |folder: &&str| base.beneath(folder).iter().all(|(name, _)| state.changes.contains_key(name));
            let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
            found.push(folders.into_iter().find(empty).unwrap_or(path).to_owned());
        }
        Ok(found)
    }

    /// A copy of all that is seen, with what its files look like.
    fn copy(&self, delta: &Path, into: &Path) -> Result<(PathBuf, BTreeMap<String, Stamp>), ViewError> {
        clear(into).map_err(|e| ViewError::io("clear", into, e))?;
        fs::create_dir_all(into).map_err(|e| ViewError::io("make", into, e))?;
        let mut stamps = BTreeMap::new();
        let base = self.store.names()?;
        let state = self.state();
        let unchanged = base.all().iter().map(|(name, _)| name).filter(|name| !state.changes.contains_key(*name));
        let unchanged = unchanged.map(|name| (name, self.store.root().path()));
        let own = state.changes.iter().filter(|(_, change)| change.after.is_some()).map(|(name, _)| (name, delta));
        for (name, layer) in unchanged.chain(own) {
            let (from, to) = (layer.join(name), into.join(name));
            make_room(into, name)?;
            match copy_one(&from, &to) {
                // The user removed it, or what it was, meanwhile.
                Err(error) if layer != delta && error.kind() != std::io::ErrorKind::StorageFull => {}
                Err(error) => return Err(ViewError::io("copy", &from, error)),
                Ok(()) => {
                    let meta = fs::symlink_metadata(&to).map_err(|e| ViewError::io("look at", &to, e))?;
                    stamps.insert(name.clone(), Stamp::of(&meta));
                }
            }
        }
        Ok((into.to_owned(), stamps))
    }
}

/// No link is followed; a file's blocks are shared where the file system can.
fn copy_one(from: &Path, to: &Path) -> std::io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    if meta.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if !meta.is_file() {
        return Err(std::io::Error::other("no file any more"));
    }
    let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let mut source = File::options().read(true).custom_flags(nofollow).open(from)?;
    let mut target = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    std::io::copy(&mut source, &mut target)?;
    // Its owner can write it, whatever it was in the workspace.
    target.set_permissions(fs::Permissions::from_mode((meta.permissions().mode() & 0o777) | 0o600))
}

/// Makes whiteouts: devices 0:0, which any user may make and an overlay takes for "nothing is here".
pub(super) fn mask<'a>(dir: &Path, paths: impl Iterator<Item = &'a Path>) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut last = PathBuf::new();
    for path in paths {
        let at = dir.join(path);
        if let Some(folder) = at.parent().filter(|folder| **folder != last) {
            fs::create_dir_all(folder)?;
            last = folder.to_owned();
        }
        whiteout(&at)?;
    }
    Ok(())
}

/// One of them.
pub(crate) fn whiteout(at: &Path) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        Ok(mknodat(CWD, at, FileType::CharacterDevice, Mode::empty(), 0)?)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = at;
        Err(std::io::Error::other("only Linux has overlays"))
    }
}
