//! Making a view: which files of a workspace are copied, and how.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ignore::{WalkBuilder, WalkState};

use super::manifest::{Entry, Kind, Manifest};
use super::{Copy, Inner, View, ViewError, record, tracked};
use crate::gate::{Hash, RelPath, Root, Scope, TEMP_PREFIX, is_secret};
use crate::patch::LeftOut;

/// Most files a view holds.
pub const MAX_TREE_FILES: usize = 300_000;
/// Most bytes a view holds.
pub const MAX_TREE_BYTES: u64 = 8 << 30;
/// Larger files are left out: they are data, not source.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// Opens a folder as a workspace, unless it is one that never is.
pub(super) fn workspace(dir: &Path) -> Result<Root, ViewError> {
    let refused = |why: &str| ViewError::Workspace { path: dir.display().to_string(), why: why.to_owned() };
    let root = Root::open(dir).map_err(|e| refused(&format!("{e}; give a folder with -C")))?;
    if root.path().parent().is_none() {
        return Err(refused("it is the root of the file system; give a project folder with -C"));
    }
    let home = std::env::var_os("HOME").and_then(|home| Path::new(&home).canonicalize().ok());
    if home.is_some_and(|home| home == root.path()) {
        return Err(refused("it is your home folder; give a project folder with -C"));
    }
    Ok(root)
}

/// What a walk found: plain names, and what is left out.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub files: BTreeMap<String, WalkedKind>,
    pub skipped: Vec<LeftOut>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WalkedKind {
    File,
    Link,
}

/// Files beneath `dir` that count as its content: hidden ones too, ignored ones not.
pub(super) fn walk(dir: &Path, parents: bool) -> Walked {
    let all = Mutex::new(Walked::default());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    let mut builder = WalkBuilder::new(dir);
    builder.hidden(false).require_git(false).parents(parents).git_global(parents).follow_links(false).threads(threads);
    builder.filter_entry(|entry| entry.depth() == 0 || !left_alone(entry.path(), entry.file_name().to_str().unwrap_or("")));
    builder.build_parallel().run(|| {
        let mut part = Part { into: &all, own: Walked::default() };
        Box::new(move |entry| {
            let Ok(entry) = entry else {
                return WalkState::Continue;
            };
            let Some(kind) = entry.file_type().filter(|kind| !kind.is_dir()) else {
                return WalkState::Continue;
            };
            let Ok(path) = entry.path().strip_prefix(dir) else {
                return WalkState::Continue;
            };
            let Some(name) = path.to_str() else {
                part.skip(&path.to_string_lossy(), "its name is not UTF-8");
                return WalkState::Continue;
            };
            if kind.is_file() {
                part.own.files.insert(name.to_owned(), WalkedKind::File);
            } else if kind.is_symlink() {
                part.own.files.insert(name.to_owned(), WalkedKind::Link);
            } else {
                part.skip(name, "a pipe, socket or device");
            }
            if part.own.files.len() > MAX_TREE_FILES { WalkState::Quit } else { WalkState::Continue }
        })
    });
    all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Part<'a> {
    into: &'a Mutex<Walked>,
    own: Walked,
}

impl Part<'_> {
    fn skip(&mut self, path: &str, why: &str) {
        self.own.skipped.push(LeftOut { path: path.to_owned(), why: why.to_owned() });
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        let mut all = self.into.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.files.append(&mut self.own.files);
        all.skipped.append(&mut self.own.skipped);
    }
}

/// Version control's own folders, our temporary files, and caches that say so themselves.
fn left_alone(path: &Path, name: &str) -> bool {
    const CACHES: &[&str] = &["__pycache__", "node_modules", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".DS_Store"];
    [".git", ".hg", ".svn", ".jj"].contains(&name)
        || name.starts_with(TEMP_PREFIX)
        || CACHES.contains(&name)
        || path.join("CACHEDIR.TAG").is_file()
}

pub(super) fn create(base: &Path, into: &Path) -> Result<View, ViewError> {
    let base_root = workspace(base)?;
    let refused = |why: String| ViewError::Workspace { path: base.display().to_string(), why };
    if let Some(parent) = into.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| ViewError::io("make", parent, e))?;
    }
    fs::create_dir(into).map_err(|e| ViewError::io("make", into, e))?;
    let into = into.canonicalize().map_err(|e| ViewError::io("open", into, e))?;
    if into.starts_with(base_root.path()) {
        let _ = fs::remove_dir(&into);
        return Err(refused("the view would lie inside it; set BRIGADE_HOME to a folder outside the workspace".to_owned()));
    }
    let tree = into.join("tree");
    for folder in ["tree", "objects", "trees"] {
        let path = into.join(folder);
        fs::create_dir(&path).map_err(|e| ViewError::io("make", &path, e))?;
    }
    let mut walked = walk(base_root.path(), true);
    // What git tracks counts even where an ignore rule covers it.
    for name in tracked::files(&base_root) {
        let meta = fs::symlink_metadata(base_root.path().join(&name));
        let kind = meta.map(|meta| if meta.is_symlink() { WalkedKind::Link } else { WalkedKind::File });
        if let Ok(kind) = kind {
            walked.files.entry(name).or_insert(kind);
        }
    }
    if walked.files.len() > MAX_TREE_FILES {
        return Err(refused(format!("it holds more than {MAX_TREE_FILES} files; name a smaller folder with -C or add to .gitignore")));
    }
    let names: Vec<(String, WalkedKind)> = std::mem::take(&mut walked.files).into_iter().collect();
    let (base_manifest, skipped) = copy_all(&base_root, &tree, &names)?;
    walked.skipped.extend(skipped);
    walked.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    let as_git = base_root.path().ancestors().any(|dir| dir.join(".git").exists());
    let meta = Meta { base: base_root.path().to_owned(), as_git, skipped: walked.skipped };
    write_new(&into.join("meta.json"), &serde_json::to_vec(&meta).expect("plain strings always serialise"))?;
    // Last: its presence says that the copy is whole.
    write_new(&into.join("base"), base_manifest.to_text().as_bytes())?;
    open(&into)
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Meta {
    base: PathBuf,
    as_git: bool,
    skipped: Vec<LeftOut>,
}

pub(super) fn open(into: &Path) -> Result<View, ViewError> {
    let damaged = |why: &str| ViewError::Workspace { path: into.display().to_string(), why: why.to_owned() };
    let meta = fs::read(into.join("meta.json")).map_err(|e| ViewError::io("open view", into, e))?;
    let meta: Meta = serde_json::from_slice(&meta).map_err(|_| damaged("its meta.json is damaged"))?;
    let base = fs::read_to_string(into.join("base")).map_err(|e| ViewError::io("open view", into, e))?;
    let base = Manifest::parse(&base).ok_or_else(|| damaged("its base list is damaged"))?;
    let base_root = workspace(&meta.base)?;
    let tree = into.join("tree");
    let root = Root::open(&tree).map_err(|e| ViewError::io("open", &tree, e))?;
    let seen = Mutex::new(record::Seen::default());
    let copy = Copy { home: into.to_owned(), base_root, base, skipped: meta.skipped, seen };
    Ok(View(Arc::new(Inner { root, copy: Some(copy), as_git: meta.as_git, writing: Mutex::new(()) })))
}

type Copied = (Manifest, Vec<LeftOut>);

fn copy_all(base: &Root, tree: &Path, names: &[(String, WalkedKind)]) -> Result<Copied, ViewError> {
    let mut last = "";
    for (name, _) in names {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        if folder != last {
            fs::create_dir_all(tree.join(folder)).map_err(|e| ViewError::io("make", &tree.join(folder), e))?;
            last = folder;
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    let budget = std::sync::atomic::AtomicU64::new(0);
    let parts: Vec<Result<Copied, ViewError>> = std::thread::scope(|scope| {
        let chunks = names.chunks(names.len().div_ceil(threads).max(1));
        let running: Vec<_> = chunks.map(|part| scope.spawn(|| copy_part(base, tree, part, &budget))).collect();
        running.into_iter().map(|thread| thread.join().expect("copying does not panic")).collect()
    });
    let mut all = Copied::default();
    for part in parts {
        let (manifest, skipped) = part?;
        all.0.0.extend(manifest.0);
        all.1.extend(skipped);
    }
    Ok(all)
}

fn copy_part(base: &Root, tree: &Path, names: &[(String, WalkedKind)], budget: &std::sync::atomic::AtomicU64) -> Result<Copied, ViewError> {
    let mut done = Copied::default();
    let scope = Scope::whole();
    let mut buffer = vec![0; 256 << 10];
    for (name, kind) in names {
        let mut skip = |why: String| done.1.push(LeftOut { path: name.clone(), why });
        if is_secret(name) {
            skip("it may hold a secret".to_owned());
            continue;
        }
        if *kind == WalkedKind::Link {
            match copy_link(base, tree, name) {
                Ok(hash) => _ = done.0.0.insert(name.clone(), Entry { kind: Kind::Link, hash }),
                Err(why) => skip(why),
            }
            continue;
        }
        let opened = RelPath::new(name).and_then(|path| base.open_read(&scope, &path));
        let opened = match opened {
            Ok(opened) => opened,
            Err(refused) => {
                skip(refused.to_string());
                continue;
            }
        };
        if opened.bytes > MAX_FILE_BYTES {
            skip(format!("it has {} bytes, over the limit of {MAX_FILE_BYTES}", opened.bytes));
            continue;
        }
        let total = budget.fetch_add(opened.bytes, std::sync::atomic::Ordering::Relaxed) + opened.bytes;
        if total > MAX_TREE_BYTES {
            let why = format!("it holds more than {MAX_TREE_BYTES} bytes; name a smaller folder with -C or add to .gitignore");
            return Err(ViewError::Workspace { path: base.path().display().to_string(), why });
        }
        let to = tree.join(name);
        let executable = opened.mode & 0o111 != 0;
        let hash = copy_file(&opened.file, &to, opened.mode, &mut buffer).map_err(|e| ViewError::io("copy", &to, e))?;
        let kind = if executable { Kind::Executable } else { Kind::File };
        done.0.0.insert(name.clone(), Entry { kind, hash });
    }
    Ok(done)
}

/// Copies one file, sharing its blocks where the file system can, and hashes what was copied.
fn copy_file(mut from: &File, to: &Path, mode: u32, buffer: &mut [u8]) -> std::io::Result<Hash> {
    use sha2::{Digest, Sha256};
    let mut out = File::options().read(true).write(true).create_new(true).mode(0o600).open(to)?;
    let shared = share_blocks(&out, from);
    let mut hasher = Sha256::new();
    loop {
        let read = if shared { out.read(buffer)? } else { from.read(buffer)? };
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        if !shared {
            out.write_all(&buffer[..read])?;
        }
    }
    // Its owner can write it in the view, whatever it was in the workspace: a read-only file would stop the tools.
    out.set_permissions(fs::Permissions::from_mode((mode & 0o777) | 0o600))?;
    Ok(Hash::from_digest(hasher.finalize().into()))
}

fn share_blocks(to: &File, from: &File) -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::sync::atomic::{AtomicU32, Ordering};
        /// Tries that failed in a row: a file system that cannot share blocks is not asked forever.
        static FAILED: AtomicU32 = AtomicU32::new(0);
        if FAILED.load(Ordering::Relaxed) > 64 {
            return false;
        }
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => {
                FAILED.store(0, Ordering::Relaxed);
                true
            }
            Err(_) => {
                FAILED.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (to, from);
        false
    }
}

fn copy_link(base: &Root, tree: &Path, name: &str) -> Result<Hash, String> {
    let target = fs::read_link(base.path().join(name)).map_err(|e| e.to_string())?;
    let target = target.to_str().ok_or("its target is not UTF-8")?.to_owned();
    if target.starts_with('/') || !stays(name, &target) || base.link_stays(name).is_err() {
        return Err("a link that leads out of the workspace".to_owned());
    }
    std::os::unix::fs::symlink(&target, tree.join(name)).map_err(|e| e.to_string())?;
    Ok(Hash::of(target.as_bytes()))
}

/// Whether a relative target stays beneath the root by its letters alone (the kernel has looked at what is there).
pub(super) fn stays(name: &str, target: &str) -> bool {
    let mut depth = name.matches('/').count();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return false,
            },
            _ => depth += 1,
        }
    }
    true
}

pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), ViewError> {
    let temp = path.with_extension(format!("new-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temp, path)
    };
    write().map_err(|e| ViewError::io("write", path, e))
}
