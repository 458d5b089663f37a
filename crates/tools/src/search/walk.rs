//! Which files a search or a listing covers: the ignore rules of ripgrep, over one workspace.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use ignore::overrides::{Override, OverrideBuilder};
use ignore::types::{Types, TypesBuilder};
use ignore::{WalkBuilder, WalkState};

use super::{Query, SearchError};
use crate::gate::Root;

/// A workspace as a search sees it.
#[derive(Debug, Clone)]
pub(crate) enum Tree {
    /// The user's own: what stands in a folder, with the ignore files above it.
    Folder(PathBuf),
    /// A view: its files by name, in order, read through its root.
    Names {
        names: Vec<String>,
        /// Ignore files count without a `.git` folder: a view of a repository has none.
        as_git: bool,
    },
}

/// Most files one walk takes.
const MAX_FILES: usize = 2_000_000;

/// Files beneath `start` (relative, empty = all), relative to it with `/`, sorted. False = the walk was stopped.
pub(super) fn files(root: &Root, tree: &Tree, start: &str, query: &Query, deadline: Instant) -> Result<(Vec<String>, bool), SearchError> {
    let tree = match tree {
        Tree::Names { names, as_git } => return Ok((super::names::files(root, names, *as_git, start, query)?, true)),
        Tree::Folder(path) => path,
    };
    let from = if start.is_empty() { tree.clone() } else { tree.join(start) };
    let found = Mutex::new(Vec::new());
    let stopped = std::sync::atomic::AtomicBool::new(false);
    builder(tree, &from, query)?.build_parallel().run(|| {
        let mut batch = Batch { into: &found, files: Vec::new() };
        let (from, stopped) = (&from, &stopped);
        Box::new(move |entry| {
            let Ok(entry) = entry else {
                return WalkState::Continue;
            };
            if entry.file_type().is_some_and(|kind| kind.is_file())
                && let Some(name) = entry.path().strip_prefix(from).ok().and_then(Path::to_str)
            {
                batch.push(name);
            }
            if Instant::now() > deadline || batch.files.len() > MAX_FILES {
                stopped.store(true, std::sync::atomic::Ordering::Relaxed);
                return WalkState::Quit;
            }
            WalkState::Continue
        })
    });
    let mut files = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    files.sort_by(|a, b| path_order(a, b));
    Ok((files, !stopped.into_inner()))
}

/// Files one thread found, handed over when it ends.
struct Batch<'a> {
    into: &'a Mutex<Vec<String>>,
    files: Vec<String>,
}

impl Batch<'_> {
    fn push(&mut self, name: &str) {
        self.files.push(name.to_owned());
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.into.lock().unwrap_or_else(std::sync::PoisonError::into_inner).append(&mut self.files);
    }
}

/// Order of a walk that sorts each folder by name: folders and files mixed, component by component.
pub(crate) fn path_order(a: &str, b: &str) -> std::cmp::Ordering {
    // A slash sorts before every character a name can hold.
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    a.get(same).map(key).cmp(&b.get(same).map(key))
}

pub(super) fn overrides(at: impl AsRef<Path>, query: &Query) -> Result<Override, SearchError> {
    let mut overrides = OverrideBuilder::new(at);
    for (glob, case_counts) in &query.globs {
        let fold = !*case_counts || query.glob_fold;
        let added = overrides.case_insensitive(fold).and_then(|o| o.add(glob));
        added.map_err(|e| SearchError(format!("glob {glob:?}: {e}")))?;
    }
    overrides.build().map_err(|e| SearchError(format!("globs: {e}")))
}

pub(super) fn types(query: &Query) -> Result<Types, SearchError> {
    let mut types = TypesBuilder::new();
    types.add_defaults();
    for (name, wanted) in &query.types {
        if *wanted {
            types.select(name)
        } else {
            types.negate(name)
        };
    }
    types.build().map_err(|e| SearchError(e.to_string()))
}

fn builder(tree: &Path, from: &Path, query: &Query) -> Result<WalkBuilder, SearchError> {
    let (overrides, types) = (overrides(tree, query)?, types(query)?);
    let mut builder = WalkBuilder::new(from);
    builder
        .follow_links(false)
        .hidden(!query.hidden)
        .parents(!query.no_ignore)
        .ignore(!query.no_ignore)
        .git_ignore(!query.no_ignore)
        .git_exclude(!query.no_ignore)
        .git_global(!query.no_ignore)
        .require_git(!query.no_require_git)
        .max_depth(query.max_depth)
        .max_filesize(query.max_filesize)
        .overrides(overrides)
        .types(types)
        .threads(std::thread::available_parallelism().map_or(1, |n| n.get().min(8)))
        .filter_entry(|entry| entry.file_name() != ".git" || entry.depth() == 0 || entry.file_type().is_some_and(|kind| kind.is_file()));
    if !query.no_ignore {
        builder.add_custom_ignore_filename(".rgignore");
    }
    Ok(builder)
}
