//! Changing a view's files: through tools, all edits or none; what was there before is kept first.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::delta::{Change, Entry, Kind};
use super::fold::clear;
use super::{Layer, ViewError};
use crate::gate::{Base, Edit, Found, Hash, NewFile, Refusal, RelPath, Root, Scope};
use crate::search::path_order;

/// Larger files cannot be changed in a view: they are data, not source.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 20;

impl Layer {
    /// The view's plain files, in the order of a sorted walk.
    pub(super) fn names(&self) -> Vec<String> {
        let state = self.state();
        let Ok(base) = self.store.names() else { return Vec::new() };
        let mut own: Vec<&String> = state
            .changes
            .iter()
            .filter(|(_, change)| change.after.is_some_and(|entry| entry.kind != Kind::Link))
            .map(|(path, _)| path)
            .collect();
        own.sort_by(|a, b| path_order(a, b));
        let mut own = own.into_iter().peekable();
        let mut names = Vec::with_capacity(base.all().len() + own.len());
        for (name, link) in base.all() {
            while let Some(first) = own.next_if(|own| path_order(own, name).is_lt()) {
                names.push(first.clone());
            }
            if !link && !state.changes.contains_key(name) {
                names.push(name.clone());
            }
        }
        names.extend(own.cloned());
        names
    }

    pub(super) fn commit(&self, root: &Root, scope: &Scope, edits: &[Edit]) -> Result<(), Refusal> {
        for edit in edits {
            scope.may_write(&edit.path)?;
        }
        let Some(home) = &self.home else {
            let path = edits.first().map(|edit| edit.path.as_str().to_owned()).unwrap_or_default();
            return Err(Refusal::Io { what: "write", path, error: "this view only reads".to_owned() });
        };
        let mut own = Vec::new();
        let mut changes = Vec::new();
        for edit in edits {
            let (change, put) = self.plan(root, edit)?;
            own.extend(put);
            changes.push((edit.path.as_str().to_owned(), change));
        }
        crate::gate::commit(root, &Scope::whole(), &own, false)?;
        let mut state = self.change();
        for (path, change) in changes {
            if change.after.is_none() {
                prune(root.path(), &path);
            }
            // What a command left there, ignored then, would stand over it at the next command.
            let _ = uncover(&home.join("upper"), &path);
            state.left_out.remove(&path);
            state.changes.insert(path, change);
        }
        Ok(())
    }

    /// What an edit means for this view: the change on record, and what to do in its own folder.
    fn plan(&self, root: &Root, edit: &Edit) -> Result<(Change, Option<Edit>), Refusal> {
        let path = edit.path.as_str();
        let own = || path.to_owned();
        for (at, _) in path.match_indices('/') {
            match RelPath::new(&path[..at]).ok().and_then(|folder| root.stands(&folder)) {
                None | Some(Found::Folder) => {}
                Some(Found::Link) => return Err(Refusal::SymbolicLink { path: own() }),
                Some(_) => return Err(Refusal::BadPath { path: own(), why: "goes through something that is not a folder" }),
            }
        }
        let now = match root.stands(&edit.path) {
            None => None,
            Some(Found::File) => {
                let opened = root.open_read(&Scope::whole(), &edit.path)?;
                let executable = opened.mode & 0o111 != 0;
                Some((opened.read_all(&edit.path, MAX_FILE_BYTES)?, executable))
            }
            Some(Found::Link) => return Err(Refusal::SymbolicLink { path: own() }),
            Some(Found::Folder) => return Err(Refusal::NotRegular { path: own(), kind: "a folder" }),
            Some(Found::Other) => return Err(Refusal::NotRegular { path: own(), kind: "something else" }),
        };
        match (edit.base, &now) {
            (Base::Absent, Some(_)) => return Err(Refusal::Exists { path: own() }),
            (Base::Is(_), None) => return Err(Refusal::Absent { path: own() }),
            (Base::Is(hash), Some((bytes, _))) if Hash::of(bytes) != hash => return Err(Refusal::Conflict { path: own() }),
            (_, None) if edit.to.is_none() => return Err(Refusal::Absent { path: own() }),
            _ => {}
        }
        let known = self.state().changes.get(path).copied();
        let before = match (known, &now) {
            (Some(known), _) => known.before,
            (None, None) => None,
            (None, Some((bytes, executable))) => {
                let kept = self.store.objects().keep(bytes);
                let hash = kept.map_err(|e| Refusal::Io { what: "keep", path: own(), error: e.to_string() })?;
                Some(Entry { kind: plain(*executable), hash })
            }
        };
        let executable = edit.to.as_ref().and_then(|to| to.executable).unwrap_or(now.is_some_and(|(_, executable)| executable));
        let after = edit.to.as_ref().map(|to| Entry { kind: plain(executable), hash: Hash::of(&to.bytes) });
        let in_own = known.is_some_and(|known| known.after.is_some());
        let to = edit.to.as_ref().map(|to| NewFile { bytes: to.bytes.clone(), executable: Some(executable) });
        let put =
            (to.is_some() || in_own).then(|| Edit { path: edit.path.clone(), base: if in_own { Base::Any } else { Base::Absent }, to });
        Ok((Change { before, after }, put))
    }

    /// What the base holds at a path, kept for good; `None`: nothing.
    pub(super) fn keep_before(&self, path: &str) -> Result<Option<Entry>, ViewError> {
        let base = self.store.root();
        let kind = match self.store.names()?.link(path) {
            None => return Ok(None),
            Some(true) => Kind::Link,
            Some(false) => match base.open_own(path) {
                Ok(opened) => plain(opened.mode & 0o111 != 0),
                // The user removed it meanwhile.
                Err(_) => return Ok(None),
            },
        };
        let bytes = content(base, path, kind).map_err(|e| ViewError::io("keep", Path::new(path), e))?;
        Ok(Some(Entry { kind, hash: self.store.objects().keep(&bytes)? }))
    }
}

pub(super) fn plain(executable: bool) -> Kind {
    if executable { Kind::Executable } else { Kind::File }
}

/// What one folder alone holds at a path, no link followed.
pub(super) fn content(root: &Root, path: &str, kind: Kind) -> std::io::Result<Vec<u8>> {
    if kind == Kind::Link {
        return Ok(root.target(path)?.into_bytes());
    }
    let mut bytes = Vec::new();
    root.open_own(path)?.file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Removes folders above `path` that are empty now.
pub(super) fn prune(dir: &Path, path: &str) {
    for folder in Path::new(path).ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        if fs::remove_dir(dir.join(folder)).is_err() {
            break;
        }
    }
}

/// Makes way for a file at `path`: real folders above it, nothing in its place.
pub(super) fn make_room(dir: &Path, path: &str) -> Result<(), ViewError> {
    let fail = |e| ViewError::io("make way for", &dir.join(path), e);
    uncover(dir, path).map_err(fail)?;
    if let Some(folder) = Path::new(path).parent() {
        fs::create_dir_all(dir.join(folder)).map_err(fail)?;
    }
    Ok(())
}

/// Removes what stands at `path`, and whatever above it is no folder.
pub(super) fn uncover(dir: &Path, path: &str) -> std::io::Result<()> {
    for (at, _) in path.match_indices('/') {
        let above = dir.join(&path[..at]);
        match fs::symlink_metadata(&above) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return fs::remove_file(&above),
            Err(_) => return Ok(()),
        }
    }
    clear(&dir.join(path))
}
