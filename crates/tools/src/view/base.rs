//! The base of a run's views: which files of the workspace count, told by one walk and never copied.
//!
//! What counts: files and links that no ignore rule covers, hidden ones too, and what git tracks. Never: version control's own
//! folders, secrets, pipes, sockets, devices, links that lead out. Its id is a hash over names, sizes and times; no content is read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ignore::{WalkBuilder, WalkState};

use super::{ViewError, tracked};
use crate::gate::{Hash, Root, TEMP_PREFIX, is_secret};
use crate::patch::LeftOut;
use crate::search::path_order;

/// Most files a workspace holds.
pub const MAX_TREE_FILES: usize = 300_000;

/// Names of the base, in the order of a sorted walk.
#[derive(Debug, Default)]
pub(super) struct Base {
    /// Each with whether it is a link.
    names: Vec<(String, bool)>,
}

impl Base {
    pub fn parse(text: &str) -> Option<Self> {
        let mut names = Vec::new();
        for line in text.lines() {
            let mut parts = line.splitn(4, ' ');
            let link = match parts.next()? {
                "f" | "x" => false,
                "l" => true,
                _ => return None,
            };
            let name = parts.nth(2)?;
            // Nearly every name stands between its quotes as it is.
            let plain = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|name| !name.contains('\\'));
            names.push((plain.map_or_else(|| serde_json::from_str(name).ok(), |name| Some(name.to_owned()))?, link));
        }
        // Written in this order; a damaged file must not make a search in it lie.
        names.is_sorted_by(|a, b| path_order(&a.0, &b.0).is_lt()).then_some(Self { names })
    }

    pub fn holds(&self, path: &str) -> bool {
        self.link(path).is_some()
    }

    /// Whether it holds a link at `path`; `None` when it holds nothing there.
    pub fn link(&self, path: &str) -> Option<bool> {
        let at = self.names.binary_search_by(|(name, _)| path_order(name, path)).ok()?;
        Some(self.names[at].1)
    }

    /// Everything in a folder, at any depth; the empty name is the root.
    pub fn beneath(&self, folder: &str) -> &[(String, bool)] {
        if folder.is_empty() {
            return &self.names;
        }
        let inside = |name: &str| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        // A slash sorts first, so a folder's content follows it directly.
        let from = self.names.partition_point(|(name, _)| path_order(name, folder).is_lt() || name == folder);
        let count = self.names[from..].partition_point(|(name, _)| inside(name));
        &self.names[from..from + count]
    }

    pub fn all(&self) -> &[(String, bool)] {
        &self.names
    }
}

/// What a look at the workspace found.
pub(super) struct Surveyed {
    /// The stored form of the base; [`Base::parse`] reads it.
    pub text: String,
    pub skipped: Vec<LeftOut>,
    /// What a command must not see, though it stands in the workspace: topmost names only.
    pub masked: Vec<PathBuf>,
    /// A file or folder belongs to somebody else: an overlay could not change it.
    pub foreign: Option<String>,
}

impl Surveyed {
    pub fn id(&self) -> Hash {
        Hash::of(self.text.as_bytes())
    }
}

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

#[derive(Debug, Default)]
struct Walked {
    files: BTreeSet<String>,
    folders: BTreeSet<String>,
    skipped: Vec<LeftOut>,
}

pub(super) fn survey(root: &Root) -> Result<Surveyed, ViewError> {
    let dir = root.path();
    let mut walked = walk(dir);
    walked.files.extend(tracked::files(root));
    if walked.files.len() > MAX_TREE_FILES {
        let why = format!("it holds more than {MAX_TREE_FILES} files; name a smaller folder with -C or add to .gitignore");
        return Err(ViewError::Workspace { path: dir.display().to_string(), why });
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut foreign = None;
    let mut owned = |meta: &fs::Metadata, path: &str| {
        if foreign.is_none() && (meta.uid() != uid || meta.gid() != gid) {
            foreign = Some(format!("{path:?} belongs to user {} and group {}", meta.uid(), meta.gid()));
        }
    };
    let mut kept = BTreeMap::new();
    for name in walked.files {
        let mut skip = |why: &str| walked.skipped.push(LeftOut { path: name.clone(), why: why.to_owned() });
        if is_secret(&name) {
            skip("it may hold a secret");
            continue;
        }
        let Ok(meta) = fs::symlink_metadata(dir.join(&name)) else { continue };
        let kind = if meta.is_symlink() {
            let target = fs::read_link(dir.join(&name)).ok().and_then(|target| target.to_str().map(str::to_owned));
            if !target.is_some_and(|target| stays(&name, &target)) || root.link_stays(&name).is_err() {
                skip("a link that leads out of the workspace");
                continue;
            }
            'l'
        } else if meta.is_file() {
            if meta.permissions().mode() & 0o111 != 0 { 'x' } else { 'f' }
        } else {
            skip("a pipe, socket or device");
            continue;
        };
        owned(&meta, &name);
        for (at, _) in name.match_indices('/') {
            if !walked.folders.contains(&name[..at]) {
                walked.folders.insert(name[..at].to_owned());
            }
        }
        kept.insert(name, (kind, meta.len(), (meta.mtime(), meta.mtime_nsec())));
    }
    walked.folders.insert(String::new());
    let mut masked = Vec::new();
    for folder in &walked.folders {
        let path = dir.join(folder);
        if let Ok(meta) = fs::symlink_metadata(&path) {
            owned(&meta, folder);
        }
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            let name: OsString = entry.file_name();
            let shown = name.to_str().map(|name| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") });
            if !shown.is_some_and(|shown| kept.contains_key(&shown) || walked.folders.contains(&shown)) {
                masked.push(Path::new(folder).join(name));
            }
        }
    }
    let mut names: Vec<_> = kept.into_iter().collect();
    names.sort_by(|a, b| path_order(&a.0, &b.0));
    let mut text = String::new();
    for (name, (kind, bytes, (seconds, nanoseconds))) in names {
        text.push_str(&format!("{kind} {bytes} {seconds}.{nanoseconds:09} {}\n", serde_json::Value::from(name)));
    }
    walked.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Surveyed { text, skipped: walked.skipped, masked, foreign })
}

fn walk(dir: &Path) -> Walked {
    let all = Mutex::new(Walked::default());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    let mut builder = WalkBuilder::new(dir);
    builder.hidden(false).require_git(false).follow_links(false).threads(threads);
    builder.filter_entry(|entry| entry.depth() == 0 || !left_alone(entry.path(), entry.file_name().to_str().unwrap_or("")));
    builder.build_parallel().run(|| {
        let mut part = Part { into: &all, own: Walked::default() };
        Box::new(move |entry| {
            let Ok(entry) = entry else { return WalkState::Continue };
            let (Some(kind), Ok(path)) = (entry.file_type(), entry.path().strip_prefix(dir)) else {
                return WalkState::Continue;
            };
            let Some(name) = path.to_str() else {
                let why = "its name is not UTF-8".to_owned();
                part.own.skipped.push(LeftOut { path: path.to_string_lossy().into_owned(), why });
                return if kind.is_dir() { WalkState::Skip } else { WalkState::Continue };
            };
            if kind.is_dir() {
                part.own.folders.insert(name.to_owned());
            } else {
                part.own.files.insert(name.to_owned());
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

impl Drop for Part<'_> {
    fn drop(&mut self) {
        let mut all = self.into.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.files.append(&mut self.own.files);
        all.folders.append(&mut self.own.folders);
        all.skipped.append(&mut self.own.skipped);
    }
}

/// Version control's own folders, our temporary files, and caches that say so themselves.
pub(super) fn left_alone(path: &Path, name: &str) -> bool {
    const CACHES: &[&str] = &["__pycache__", "node_modules", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".DS_Store"];
    is_version_control(name) || name.starts_with(TEMP_PREFIX) || CACHES.contains(&name) || path.join("CACHEDIR.TAG").is_file()
}

fn is_version_control(name: &str) -> bool {
    [".git", ".hg", ".svn", ".jj"].contains(&name)
}

/// Whether a link's target stays beneath the root by its letters alone (the kernel has looked at what is there).
fn stays(name: &str, target: &str) -> bool {
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
    !target.starts_with('/')
}
