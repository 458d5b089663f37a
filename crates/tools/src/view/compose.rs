//! Laying what several subtasks changed onto the base, one after the other, file by file.
//!
//! A file that two parts changed is merged line by line against what each was made from; bytes stay exact. Where that does not go,
//! both sides stand in the file between conflict markers. A binary file cannot hold both: it stays as the first part left it, or,
//! where one side removed it, as the other changed it.

use std::collections::BTreeMap;

use diffy::{ConflictStyle, IncompleteHunkStyle, MergeOptions};

use super::delta::{Change, Delta, Entry, Kind};
use super::states::{paths, sides};
use super::{Store, ViewError};
use crate::gate::Hash;

/// What one subtask changed: from the tree it started on to its result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Part {
    pub label: String,
    pub from: Hash,
    pub to: Hash,
}

/// Parts laid onto the base in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// With all changes in it, and conflict markers where there are conflicts.
    pub tree: Hash,
    /// In order of their paths, each path at most once for a pair of parts.
    pub conflicts: Vec<Conflict>,
}

/// Two parts that did not agree about a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The file.
    pub path: String,
    /// The label of the part whose change was there.
    pub first: String,
    /// And of the one that was laid onto it.
    pub second: String,
}

/// The label of a side that no part changed.
const BASE: &str = "base";

impl Store {
    /// Lays the parts onto the base, in order.
    ///
    /// # Errors
    /// [`ViewError::NotRecorded`] when a tree is unknown or a content is lost.
    pub fn compose(&self, parts: &[Part]) -> Result<Composed, ViewError> {
        let mut laid = Laid { store: self, whole: Delta::default(), owners: BTreeMap::new(), conflicts: Vec::new() };
        for part in parts {
            let (from, to) = (self.recorded(&part.from)?, self.recorded(&part.to)?);
            for path in paths(&from, &to) {
                let (old, new) = sides(&from, &to, path);
                if old == new {
                    continue;
                }
                let before = from.changes.get(path).or_else(|| to.changes.get(path)).and_then(|change| change.before);
                laid.lay(part, path, before, old, new)?;
            }
            laid.whole.left_out.extend(to.left_out.into_iter().filter(|one| from.left_out.get(&one.0) != Some(&one.1)));
        }
        laid.untangle()?;
        let mut conflicts = laid.conflicts;
        conflicts.sort();
        conflicts.dedup();
        Ok(Composed { tree: self.record(&laid.whole)?, conflicts })
    }

    fn object(&self, entry: Entry, path: &str, tree: &Hash) -> Result<Vec<u8>, ViewError> {
        let why = || format!("the content of {path} is lost");
        self.objects().read(&entry.hash).ok_or_else(|| ViewError::NotRecorded { tree: *tree, why: why() })
    }
}

struct Laid<'a> {
    store: &'a Store,
    whole: Delta,
    /// Which part changed a path last.
    owners: BTreeMap<String, String>,
    conflicts: Vec<Conflict>,
}

impl Laid<'_> {
    fn lay(&mut self, part: &Part, path: &str, before: Option<Entry>, old: Option<Entry>, new: Option<Entry>) -> Result<(), ViewError> {
        let here = self.whole.changes.get(path).copied().unwrap_or(Change { before, after: before });
        let ours = here.after;
        let after = if ours == old {
            new
        } else if ours == new {
            return Ok(());
        } else {
            let first = self.owners.get(path).cloned().unwrap_or_else(|| BASE.to_owned());
            let (after, agreed) = self.merge(part, path, &first, [old, ours, new])?;
            if !agreed {
                self.conflicts.push(Conflict { path: path.to_owned(), first, second: part.label.clone() });
            }
            after
        };
        self.whole.changes.insert(path.to_owned(), Change { before: here.before, after });
        self.owners.insert(path.to_owned(), part.label.clone());
        Ok(())
    }

    /// What stands there afterwards, and whether both sides agreed to it.
    fn merge(&self, part: &Part, path: &str, first: &str, entries: [Option<Entry>; 3]) -> Result<(Option<Entry>, bool), ViewError> {
        let [old, ours, new] = entries;
        let whole = |entry: Option<Entry>| entry.map(|entry| self.store.object(entry, path, &part.to)).transpose();
        let (base, mine, theirs) = (whole(old)?, whole(ours)?, whole(new)?);
        // Where one side says nothing of the executable bit, the other decides.
        let bit = |entry: Option<Entry>| entry.map(|entry| entry.kind == Kind::Executable);
        let executable = if bit(ours) == bit(old) || ours.is_none() { bit(new).or(bit(ours)) } else { bit(ours) };
        let kind = if executable == Some(true) { Kind::Executable } else { Kind::File };
        let kept = ours.or(new);
        let is_text = |side: &Option<Vec<u8>>| side.as_ref().is_none_or(|bytes| !bytes.contains(&0));
        let is_link = entries.iter().flatten().any(|entry| entry.kind == Kind::Link);
        if is_link || !(is_text(&base) && is_text(&mine) && is_text(&theirs)) {
            let same = !is_link && ours.map(|e| e.hash) == new.map(|e| e.hash);
            let (only_mine, only_theirs) = (new.map(|e| e.hash) == old.map(|e| e.hash), ours.map(|e| e.hash) == old.map(|e| e.hash));
            let hash = if only_theirs { new } else { ours }.map(|e| e.hash);
            return Ok(match hash.filter(|_| !is_link && (same || only_mine || only_theirs)) {
                Some(hash) => (Some(Entry { kind, hash }), true),
                None => (kept, false),
            });
        }
        let both_there = mine.is_some() && theirs.is_some() && base.is_some();
        let side = |bytes: &Option<Vec<u8>>| bytes.clone().unwrap_or_default();
        let (text, agreed) = if both_there || (mine.is_some() && mine == theirs) {
            merged(&side(&base), &side(&mine), &side(&theirs), first, &part.label)
        } else {
            // One side removed it, or both made it: there is nothing to merge against.
            (marked(&side(&mine), &side(&theirs), first, &part.label), false)
        };
        let hash = self.store.objects().keep(&text)?;
        Ok((Some(Entry { kind, hash }), agreed))
    }

    /// No path can be a file and a folder: what stands in the way of an earlier file is taken out, and told as a conflict.
    fn untangle(&mut self) -> Result<(), ViewError> {
        let base = self.store.names()?;
        let stands = |whole: &Delta, path: &str| whole.changes.get(path).map_or_else(|| base.holds(path), |change| change.after.is_some());
        let there: Vec<String> = self.whole.changes.iter().filter(|(_, c)| c.after.is_some()).map(|(path, _)| path.clone()).collect();
        for path in there {
            let Some(above) = path.match_indices('/').map(|(at, _)| &path[..at]).find(|above| stands(&self.whole, above)) else { continue };
            let owner = |path: &str| self.owners.get(path).cloned().unwrap_or_else(|| BASE.to_owned());
            self.conflicts.push(Conflict { path: path.clone(), first: owner(above), second: owner(&path) });
            if let Some(change) = self.whole.changes.get_mut(&path) {
                change.after = None;
            }
        }
        self.whole.changes.retain(|_, change| change.before.is_some() || change.after.is_some());
        Ok(())
    }
}

/// A marker that stands in neither side: the library names the sides itself, and its lines are found again by this.
fn marker(sides: [&[u8]; 3]) -> usize {
    let longest = |bytes: &[u8]| bytes.chunk_by(|a, b| a == b).filter(|run| b"<=>".contains(&run[0])).map(<[u8]>::len).max().unwrap_or(0);
    sides.into_iter().map(longest).max().unwrap_or(0).max(7) + 1
}

fn merged(base: &[u8], ours: &[u8], theirs: &[u8], first: &str, second: &str) -> (Vec<u8>, bool) {
    let length = marker([base, ours, theirs]);
    let mut options = MergeOptions::new();
    options.set_conflict_style(ConflictStyle::Merge).set_incomplete_hunk_style(IncompleteHunkStyle::Git).set_conflict_marker_length(length);
    let text = match options.merge_bytes(base, ours, theirs) {
        Ok(text) => return (text, true),
        Err(text) => text,
    };
    let long = |sign: &str, rest: &str| format!("{}{rest}\n", sign.repeat(length)).into_bytes();
    let lines = [
        (long("<", " ours"), format!("<<<<<<< {first}\n")),
        (long("=", ""), "=======\n".to_owned()),
        (long(">", " theirs"), format!(">>>>>>> {second}\n")),
    ];
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let named = lines.iter().find(|(long, _)| long == line).map(|(_, named)| named.as_bytes());
        out.extend_from_slice(named.unwrap_or(line));
    }
    (out, false)
}

fn marked(ours: &[u8], theirs: &[u8], first: &str, second: &str) -> Vec<u8> {
    let ended = |side: &[u8]| if side.is_empty() || side.ends_with(b"\n") { side.to_vec() } else { [side, b"\n"].concat() };
    let lines = [format!("<<<<<<< {first}\n").into_bytes(), ended(ours), b"=======\n".to_vec(), ended(theirs)];
    [lines.concat(), format!(">>>>>>> {second}\n").into_bytes()].concat()
}
