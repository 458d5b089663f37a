//! After a command: what it changed becomes the view's own. Nothing of it runs any more, and nothing it left is followed or trusted.
//!
//! Files that count and are small enough move into the view's folder, with plain modes. Ignored files, empty folders and what no
//! tree can hold stay where the command put them, for the next command. Devices, pipes and sockets go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::base::left_alone;
use super::changes::{MAX_FILE_BYTES, make_room, plain, prune};
use super::delta::{Change, Entry, Kind};
use super::states::put;
use super::{Layer, ViewError};
use crate::gate::{Found, Hash, RelPath, Root, is_secret};
use crate::search::{CONTENT, Rules, Said};

/// Most files a view may have changed.
pub const MAX_CHANGED_FILES: usize = 50_000;
/// Largest ignore file read.
const IGNORE_BYTES: u64 = 4 << 20;

/// What a command did, by the view's paths.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    /// Files and links, and where they lie now.
    pub puts: BTreeMap<String, (PathBuf, Kind)>,
    /// Files that were seen before and are gone.
    pub gone: BTreeSet<String>,
    pub left_out: BTreeMap<String, String>,
}

impl Layer {
    /// Everything the view holds at a path, or beneath it.
    fn held(&self, path: &str) -> Result<Vec<String>, ViewError> {
        let (state, base) = (self.state(), self.store.names()?);
        let inside = |name: &str| name == path || name.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        let own = state.changes.range(path.to_owned()..).take_while(|(name, _)| name.starts_with(path));
        let own = own.filter(|(name, change)| change.after.is_some() && inside(name)).map(|(name, _)| name.clone());
        let seen = base.holds(path).then(|| path.to_owned()).into_iter();
        let beneath = base.beneath(path).iter().map(|(name, _)| name.clone());
        Ok(own.chain(seen.chain(beneath).filter(|name| !state.changes.contains_key(name))).collect())
    }

    fn holds(&self, path: &str) -> Result<bool, ViewError> {
        let known = self.state().changes.get(path).map(|change| change.after.is_some());
        Ok(known.unwrap_or(self.store.names()?.holds(path)))
    }

    /// What a command left in an overlay's upper folder.
    pub(super) fn deeds_in_upper(&self, root: &Root, upper: &Path) -> Result<Deeds, ViewError> {
        let read = |path: &str| match fs::symlink_metadata(upper.join(path)) {
            Ok(meta) if meta.is_file() && meta.len() <= IGNORE_BYTES => fs::read(upper.join(path)).ok(),
            Ok(_) => None,
            Err(_) => root.open_own(path).ok().or_else(|| self.store.root().open_own(path).ok()).and_then(|opened| {
                let path = RelPath::new(path).ok()?;
                if !self.holds(path.as_str()).ok()? {
                    return None;
                }
                opened.read_all(&path, IGNORE_BYTES).ok()
            }),
        };
        let mut look = Look { layer: self, top: upper, root, rules: Rules::new(CONTENT, read), deeds: Deeds::default(), unchanged: None };
        look.folder("", false)?;
        Ok(look.deeds)
    }

    /// What a command changed in a copy of the tree; `unchanged` knows what it looked like.
    pub(super) fn deeds_in_copy(&self, root: &Root, copy: &Path, unchanged: &BTreeMap<String, Stamp>) -> Result<Deeds, ViewError> {
        let read =
            |path: &str| fs::symlink_metadata(copy.join(path)).ok().filter(Metadata::is_file).and_then(|_| fs::read(copy.join(path)).ok());
        let mut look =
            Look { layer: self, top: copy, root, rules: Rules::new(CONTENT, read), deeds: Deeds::default(), unchanged: Some(unchanged) };
        look.folder("", false)?;
        let there = |path: &str| fs::symlink_metadata(copy.join(path)).is_ok_and(|meta| !meta.is_dir());
        let gone = unchanged.keys().filter(|path| !there(path)).cloned().collect();
        look.deeds.gone = gone;
        Ok(look.deeds)
    }

    /// Makes the deeds the view's own. What was there before is kept first; then nothing here can fail but the disk.
    pub(super) fn fold(&self, dir: &Path, deeds: Deeds) -> Result<(), ViewError> {
        let changed = self.state().changes.keys().chain(deeds.puts.keys()).chain(&deeds.gone).collect::<BTreeSet<_>>().len();
        if changed > MAX_CHANGED_FILES {
            return Err(ViewError::TooMuch { changed, limit: MAX_CHANGED_FILES });
        }
        let mut before = BTreeMap::new();
        for path in deeds.puts.keys().chain(&deeds.gone) {
            if !self.state().changes.contains_key(path) {
                before.insert(path.clone(), self.keep_before(path)?);
            }
        }
        // Removals first: what stands there again now is among the puts.
        for path in &deeds.gone {
            let own = dir.join(path);
            if fs::symlink_metadata(&own).is_ok_and(|meta| !meta.is_dir()) {
                fs::remove_file(&own).map_err(|e| ViewError::io("remove", &own, e))?;
            }
            prune(dir, path);
            let mut state = self.change();
            let change = state.changes.entry(path.clone()).or_insert_with(|| Change { before: before[path], after: None });
            change.after = None;
        }
        for (path, (from, kind)) in &deeds.puts {
            let after = take(dir, path, from, *kind)?;
            let mut state = self.change();
            let change = state.changes.entry(path.clone()).or_insert_with(|| Change { before: before[path], after: None });
            change.after = Some(after);
        }
        let mut state = self.change();
        // Neither there before nor after: a file that came and went.
        state.changes.retain(|_, change| change.before.is_some() || change.after.is_some());
        for path in deeds.puts.keys() {
            state.left_out.remove(path);
        }
        state.left_out.extend(deeds.left_out);
        Ok(())
    }
}

/// Moves one content into the view's folder.
fn take(dir: &Path, path: &str, from: &Path, kind: Kind) -> Result<Entry, ViewError> {
    let fail = |e| ViewError::io("take over", from, e);
    if kind == Kind::Link {
        let target = fs::read_link(from).map_err(fail)?.into_os_string().into_encoded_bytes();
        let entry = Entry { kind, hash: Hash::of(&target) };
        put(dir, path, entry, &target)?;
        fs::remove_file(from).map_err(fail)?;
        return Ok(entry);
    }
    // A name with another name elsewhere is copied: the view's files change one by one.
    let single = fs::symlink_metadata(from).map_err(fail)?.nlink() == 1;
    // No set-uid bit survives, and its owner can always read and write it.
    let mode = if kind == Kind::Executable { 0o755 } else { 0o644 };
    fs::set_permissions(from, fs::Permissions::from_mode(mode)).map_err(fail)?;
    let bytes = fs::read(from).map_err(fail)?;
    let entry = Entry { kind, hash: Hash::of(&bytes) };
    if single {
        make_room(dir, path)?;
        fs::rename(from, dir.join(path)).map_err(fail)?;
    } else {
        put(dir, path, entry, &bytes)?;
        fs::remove_file(from).map_err(fail)?;
    }
    Ok(entry)
}

/// What tells that a file was not touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    bytes: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub fn of(meta: &Metadata) -> Self {
        Self {
            inode: meta.ino(),
            bytes: meta.size(),
            mode: meta.mode(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

struct Look<'a> {
    layer: &'a Layer,
    top: &'a Path,
    root: &'a Root,
    rules: Rules<'a>,
    deeds: Deeds,
    /// For a copy: how its files looked. An upper folder holds changed files only.
    unchanged: Option<&'a BTreeMap<String, Stamp>>,
}

impl Look<'_> {
    /// `ignored`: only what the view already holds counts in here.
    fn folder(&mut self, folder: &str, ignored: bool) -> Result<(), ViewError> {
        let full = self.top.join(folder);
        readable(&full);
        let entries = fs::read_dir(&full).map_err(|e| ViewError::io("read", &full, e))?;
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let at = entry.path();
            let Ok(meta) = fs::symlink_metadata(&at) else { continue };
            let kind = meta.file_type();
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let shown = Path::new(folder).join(&name).to_string_lossy().into_owned();
                self.deeds.left_out.insert(shown, "its name is not UTF-8".to_owned());
                continue;
            };
            let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            if kind.is_char_device() && meta.rdev() == 0 && self.unchanged.is_none() {
                self.deeds.gone.extend(self.layer.held(&path)?);
                remove(&at)?;
            } else if kind.is_dir() {
                self.subfolder(&path, name, &at, ignored)?;
            } else if kind.is_file() || kind.is_symlink() {
                self.file(path, name, at, &meta, ignored)?;
            } else {
                self.deeds.left_out.insert(path, "a pipe, socket or device".to_owned());
                remove(&at)?;
            }
        }
        Ok(())
    }

    fn subfolder(&mut self, path: &str, name: &str, at: &Path, ignored: bool) -> Result<(), ViewError> {
        if self.unchanged.is_none() {
            let stands = RelPath::new(path).ok().and_then(|path| self.root.stands(&path));
            // Made anew by the command: nothing of what was there is in it.
            if is_opaque(at) || stands.is_some_and(|found| found != Found::Folder) {
                self.deeds.gone.extend(self.layer.held(path)?);
                transparent(at)?;
            }
        }
        let ignored = ignored || left_alone(at, name) || self.rules.say(path, true) == Said::Ignored;
        if ignored && self.layer.held(path)?.is_empty() {
            return Ok(());
        }
        self.folder(path, ignored)
    }

    fn file(&mut self, path: String, name: &str, at: PathBuf, meta: &Metadata, ignored: bool) -> Result<(), ViewError> {
        if self.unchanged.is_some_and(|known| known.get(&path) == Some(&Stamp::of(meta))) {
            return Ok(());
        }
        let known = self.layer.holds(&path)?;
        if !known && (ignored || left_alone(&at, name) || self.rules.say(&path, false) == Said::Ignored) {
            return Ok(());
        }
        let why = if is_secret(&path) {
            Some("it may hold a secret".to_owned())
        } else if meta.is_file() && meta.len() > MAX_FILE_BYTES {
            Some(format!("larger than {MAX_FILE_BYTES} bytes"))
        } else if meta.is_symlink() && fs::read_link(&at).is_ok_and(|target| target.to_str().is_none()) {
            Some("a link whose target is not UTF-8".to_owned())
        } else {
            None
        };
        if let Some(why) = why {
            self.deeds.left_out.insert(path, why);
            return Ok(());
        }
        if self.unchanged.is_none() {
            let beneath = self.layer.held(&path)?.into_iter().filter(|held| *held != path);
            self.deeds.gone.extend(beneath);
        }
        let kind = if meta.is_symlink() { Kind::Link } else { plain(meta.permissions().mode() & 0o100 != 0) };
        self.deeds.puts.insert(path, (at, kind));
        Ok(())
    }
}

/// A command may have shut its folders; they are ours all the same.
fn readable(folder: &Path) {
    if let Ok(meta) = fs::symlink_metadata(folder)
        && meta.is_dir()
        && meta.permissions().mode() & 0o700 != 0o700
    {
        let _ = fs::set_permissions(folder, fs::Permissions::from_mode(meta.permissions().mode() | 0o700));
    }
}

fn remove(path: &Path) -> Result<(), ViewError> {
    fs::remove_file(path).map_err(|e| ViewError::io("remove", path, e))
}

/// How an overlay mounted by a user marks a folder that hides what lies beneath.
const OPAQUE: &str = "user.overlay.opaque";

fn is_opaque(folder: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::lgetxattr(folder, OPAQUE, &mut value).is_ok_and(|bytes| bytes == 1 && value == *b"y")
}

fn transparent(folder: &Path) -> Result<(), ViewError> {
    match rustix::fs::lremovexattr(folder, OPAQUE) {
        Ok(()) => Ok(()),
        // It never was opaque.
        Err(_) if !is_opaque(folder) => Ok(()),
        Err(error) => Err(ViewError::io("open up", folder, error)),
    }
}

/// Removes whatever stands at `path`, however a command left its modes; links are removed, never followed, and nothing there is no error.
///
/// # Errors
/// What the disk says of the first that stays.
pub fn clear(path: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(error),
        Ok(meta) if !meta.is_dir() => return fs::remove_file(path),
        Ok(_) => {}
    }
    if fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    unlock(path);
    fs::remove_dir_all(path)
}

fn unlock(folder: &Path) {
    readable(folder);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unlock(&entry.path());
        }
    }
}
