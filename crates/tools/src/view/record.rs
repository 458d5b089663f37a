//! A view's states: hashing, recording, setting back, and what changed since it was made.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::copy::{WalkedKind, stays, walk, write_new};
use super::manifest::{Entry, Kind, Manifest};
use super::{Copy, View, ViewError};
use crate::gate::{Edit, Hash, RelPath, Root, Scope, is_protected, is_secret};
use crate::patch::land::{Side, diff_file};
use crate::patch::{LeftOut, Patch};

/// Larger files are not part of a view's states, nor of its patch.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Content hashes by path, valid while size, times and inode stay the same.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<String, (Stamp, Hash)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    inode: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

impl View {
    /// The hash of all that counts as the view's content: not ignored files, caches and secrets.
    ///
    /// # Errors
    /// When the tree cannot be read, or works in place.
    pub fn tree_hash(&self) -> Result<Hash, ViewError> {
        Ok(self.copy("a tree hash")?.scan(self.root())?.0.hash())
    }

    /// Records the present state durably, so that [`View::restore`] can come back to it.
    ///
    /// # Errors
    /// When the tree cannot be read or the record not written.
    pub fn snapshot(&self) -> Result<Hash, ViewError> {
        let copy = self.copy("a snapshot")?;
        let _one = self.0.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (manifest, _) = copy.scan(self.root())?;
        for (path, entry) in &manifest.0 {
            if copy.base.0.get(path).is_none_or(|base| base.hash != entry.hash) {
                copy.keep(&entry.hash, || content(self.root(), path, entry.kind))?;
            }
        }
        let hash = manifest.hash();
        let record = copy.home.join("trees").join(hash.to_string());
        if !record.exists() {
            write_new(&record, manifest.to_text().as_bytes())?;
        }
        Ok(hash)
    }

    /// Sets the tree back to a recorded state, or to the one it was made in.
    ///
    /// # Errors
    /// [`ViewError::NotRecorded`] when the state is unknown or one of its contents is lost; checked before anything changes.
    pub fn restore(&self, tree: &Hash) -> Result<(), ViewError> {
        let copy = self.copy("restore")?;
        let _one = self.0.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let lost = |why: String| ViewError::NotRecorded { tree: *tree, why };
        let wanted = if copy.base.hash() == *tree {
            copy.base.clone()
        } else {
            let text = fs::read_to_string(copy.home.join("trees").join(tree.to_string()));
            let text = text.map_err(|_| lost("it was never recorded".to_owned()))?;
            Manifest::parse(&text).filter(|m| m.hash() == *tree).ok_or_else(|| lost("its record is damaged".to_owned()))?
        };
        let (now, left_out) = copy.scan(self.root())?;
        let differs = |path: &String, entry: &Entry| now.0.get(path) != Some(entry);
        let mut contents = Vec::new();
        for (path, entry) in wanted.0.iter().filter(|(path, entry)| differs(path, entry)) {
            let bytes = copy.find(path, entry).ok_or_else(|| lost(format!("the content of {path} is lost")))?;
            contents.push((path, entry, bytes));
        }
        let gone = now.0.keys().chain(left_out.iter().map(|one| &one.path)).filter(|path| !wanted.0.contains_key(*path));
        for path in gone {
            clear(&self.path().join(path))?;
        }
        for (path, entry, bytes) in contents {
            put(self.path(), path, entry.kind, &bytes)?;
        }
        Ok(())
    }

    /// What changed since the view was made, as one patch.
    ///
    /// # Errors
    /// When the tree cannot be read, or works in place.
    pub fn diff(&self) -> Result<Patch, ViewError> {
        let copy = self.copy("a diff")?;
        let (now, mut left_out) = copy.scan(self.root())?;
        let mut text = String::new();
        let paths: std::collections::BTreeSet<&String> = copy.base.0.keys().chain(now.0.keys()).collect();
        for path in paths {
            let (old, new) = (copy.base.0.get(path), now.0.get(path));
            if old == new {
                continue;
            }
            match self.diff_one(copy, path, old, new) {
                Ok(part) => text.push_str(&part),
                Err(why) => left_out.push(LeftOut { path: path.clone(), why }),
            }
        }
        Ok(Patch { text, left_out })
    }

    fn diff_one(&self, copy: &Copy, path: &str, old: Option<&Entry>, new: Option<&Entry>) -> Result<String, String> {
        if [old, new].into_iter().flatten().any(|entry| entry.kind == Kind::Link) {
            return Err("a symbolic link was made, changed or removed".to_owned());
        }
        if is_protected(path) {
            return Err("protected: version control, hooks, CI, agent instructions and shell start files are never written".to_owned());
        }
        RelPath::new(path).map_err(|e| e.to_string())?;
        let before = old.map(|entry| copy.find(path, entry).ok_or("what it was before is lost")).transpose()?;
        let after = new.map(|entry| content(self.root(), path, entry.kind)).transpose().map_err(|e| e.to_string())?;
        let side = |entry: Option<&Entry>| entry.is_some_and(|entry| entry.kind == Kind::Executable);
        diff_file(
            path,
            before.as_deref().map(|bytes| Side { bytes, executable: side(old) }),
            after.as_deref().map(|bytes| Side { bytes, executable: side(new) }),
        )
    }

    fn copy(&self, what: &'static str) -> Result<&Copy, ViewError> {
        self.0.copy.as_ref().ok_or(ViewError::InPlace(what))
    }
}

impl Copy {
    /// The tree as it is now, and what of it is no part of its state.
    fn scan(&self, root: &Root) -> Result<(Manifest, Vec<LeftOut>), ViewError> {
        let tree = root.path();
        let mut walked = walk(tree, false);
        // What came from the workspace counts even where a rule of the view's own would now pass over it.
        for path in self.base.0.keys() {
            if !walked.files.contains_key(path)
                && let Ok(meta) = fs::symlink_metadata(tree.join(path))
            {
                let kind = if meta.is_symlink() { WalkedKind::Link } else { WalkedKind::File };
                if meta.is_file() || meta.is_symlink() {
                    walked.files.insert(path.clone(), kind);
                }
            }
        }
        let mut manifest = Manifest::default();
        let mut left_out = walked.skipped;
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (path, kind) in walked.files {
            if is_secret(&path) {
                left_out.push(LeftOut { path, why: "it may hold a secret".to_owned() });
                continue;
            }
            match seen.entry(root, &path, kind) {
                Ok(Some(entry)) => _ = manifest.0.insert(path, entry),
                Ok(None) => left_out.push(LeftOut { path, why: format!("larger than {MAX_FILE_BYTES} bytes") }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(ViewError::io("read", &tree.join(path), error)),
            }
        }
        Ok((manifest, left_out))
    }

    /// A recorded content: from the side folder, or from the user's tree while it is still the same there.
    fn find(&self, path: &str, entry: &Entry) -> Option<Vec<u8>> {
        if let Ok(bytes) = fs::read(self.object(&entry.hash)) {
            return Some(bytes).filter(|bytes| Hash::of(bytes) == entry.hash);
        }
        let bytes = match entry.kind {
            Kind::Link => fs::read_link(self.base_root.path().join(path)).ok()?.to_str()?.as_bytes().to_vec(),
            _ => self.base_root.read(&Scope::whole(), &RelPath::new(path).ok()?, MAX_FILE_BYTES).ok()?,
        };
        Some(bytes).filter(|bytes| Hash::of(bytes) == entry.hash)
    }

    /// Keeps what `edits` replace. What cannot be kept is found in the user's tree, or reported when it is asked for.
    pub(super) fn keep_before(&self, root: &Root, edits: &[Edit]) {
        for edit in edits {
            if let Ok(bytes) = root.read(&Scope::whole(), &edit.path, MAX_FILE_BYTES) {
                let _ = self.keep(&Hash::of(&bytes), || Ok(bytes));
            }
        }
    }

    fn keep(&self, hash: &Hash, bytes: impl FnOnce() -> std::io::Result<Vec<u8>>) -> Result<(), ViewError> {
        let object = self.object(hash);
        if object.exists() {
            return Ok(());
        }
        let bytes = bytes().map_err(|e| ViewError::io("read", &object, e))?;
        if Hash::of(&bytes) != *hash {
            let changed = std::io::Error::other("a file changed while the view was recorded");
            return Err(ViewError::io("record", &object, changed));
        }
        write_new(&object, &bytes)
    }

    fn object(&self, hash: &Hash) -> PathBuf {
        self.home.join("objects").join(hash.to_string())
    }
}

impl Seen {
    /// `None`: too large to be part of a state.
    fn entry(&mut self, root: &Root, path: &str, kind: WalkedKind) -> std::io::Result<Option<Entry>> {
        let full = root.path().join(path);
        if kind == WalkedKind::Link {
            let hash = Hash::of(fs::read_link(&full)?.as_os_str().as_encoded_bytes());
            return Ok(Some(Entry { kind: Kind::Link, hash }));
        }
        let meta = fs::symlink_metadata(&full)?;
        if !meta.is_file() || meta.len() > MAX_FILE_BYTES {
            return Ok(None);
        }
        let kind = if meta.permissions().mode() & 0o100 != 0 { Kind::Executable } else { Kind::File };
        let stamp = Stamp {
            bytes: meta.len(),
            inode: meta.ino(),
            changed: (meta.ctime(), meta.ctime_nsec()),
            modified: (meta.mtime(), meta.mtime_nsec()),
        };
        if let Some((known, hash)) = self.0.get(path)
            && *known == stamp
            && old_enough(&stamp)
        {
            return Ok(Some(Entry { kind, hash: *hash }));
        }
        let hash = Hash::of(&content(root, path, kind)?);
        self.0.insert(path.to_owned(), (stamp, hash));
        Ok(Some(Entry { kind, hash }))
    }
}

/// Two changes within one tick of the file system's clock look the same: a fresh stamp proves nothing.
fn old_enough(stamp: &Stamp) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    u64::try_from(stamp.changed.0).is_ok_and(|changed| changed + 2 < now)
}

fn content(root: &Root, path: &str, kind: Kind) -> std::io::Result<Vec<u8>> {
    let full = root.path().join(path);
    if kind == Kind::Link {
        return Ok(fs::read_link(full)?.as_os_str().as_encoded_bytes().to_vec());
    }
    let path = RelPath::new(path).map_err(|e| std::io::Error::other(e.to_string()));
    match path {
        Ok(path) => root.read(&Scope::whole(), &path, MAX_FILE_BYTES).map_err(|e| std::io::Error::other(e.to_string())),
        // A command may make a name that the gate takes from nobody: it is read as it stands, links not followed.
        Err(_) => {
            use std::os::unix::fs::OpenOptionsExt;
            let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
            let mut bytes = Vec::new();
            fs::File::options().read(true).custom_flags(flags).open(full)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        }
    }
}

/// Removes one file of the view.
fn clear(path: &Path) -> Result<(), ViewError> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(ViewError::io("remove", path, error)),
    }
    Ok(())
}

fn put(tree: &Path, path: &str, kind: Kind, bytes: &[u8]) -> Result<(), ViewError> {
    let full = tree.join(path);
    let fail = |e| ViewError::io("restore", &full, e);
    let parent = full.parent().unwrap_or(tree);
    // A command may have put a link where a folder was: nothing is written through it.
    let mut at = tree.to_owned();
    for part in Path::new(path).parent().into_iter().flat_map(Path::components) {
        at.push(part);
        if fs::symlink_metadata(&at).is_ok_and(|meta| !meta.is_dir()) {
            fs::remove_file(&at).map_err(fail)?;
        }
    }
    fs::create_dir_all(parent).map_err(fail)?;
    if fs::symlink_metadata(&full).is_ok_and(|meta| meta.is_dir()) {
        fs::remove_dir(&full).map_err(fail)?;
    }
    clear(&full)?;
    if kind == Kind::Link {
        let target = String::from_utf8_lossy(bytes).into_owned();
        if target.starts_with('/') || !stays(path, &target) {
            return Err(fail(std::io::Error::other("a link that leads out is not restored")));
        }
        return std::os::unix::fs::symlink(target, &full).map_err(fail);
    }
    fs::write(&full, bytes).map_err(fail)?;
    let mode = if kind == Kind::Executable { 0o755 } else { 0o644 };
    fs::set_permissions(&full, fs::Permissions::from_mode(mode)).map_err(fail)
}
