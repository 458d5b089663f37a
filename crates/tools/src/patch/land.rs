//! A view's result as one patch, and its landing in the user's tree: whole, on unchanged files only.
//!
//! The text is a git-style diff whose `index` lines carry SHA-256 of both sides, so that it can land long after its view is gone,
//! and land twice without harm.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use similar::{Algorithm, DiffTag, capture_diff_slices_deadline, group_diff_ops};

use super::apply::exactly;
use super::{Op, PatchError, Rules, parse, plan, unified};
use crate::gate::{Hash, Refusal, RelPath, Root, Scope, commit};

/// After this long a diff is written coarser, never wrong.
const DIFF_TIME: Duration = Duration::from_secs(3);

/// The changes of a view, as text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Patch {
    /// Git-style unified diff; empty when nothing changed.
    pub text: String,
    /// Changes the text does not hold, each with the reason.
    pub left_out: Vec<LeftOut>,
}

/// A change that cannot be part of a patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Which file.
    pub path: String,
    /// Why.
    pub why: String,
}

/// What landing did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Landed {
    /// Files written or deleted now.
    pub written: Vec<String>,
    /// Files that were already as the patch wants them.
    pub already: Vec<String>,
}

/// Why nothing was landed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LandError {
    /// The user changed these files since the view was made.
    #[error("changed since the run began, so nothing was applied: {}", .paths.join(", "))]
    Conflict {
        /// Which.
        paths: Vec<String>,
    },
    /// The patch is damaged, or asks for what the gate refuses.
    #[error(transparent)]
    Patch(#[from] PatchError),
}

impl From<Refusal> for LandError {
    fn from(refused: Refusal) -> Self {
        match refused {
            Refusal::Conflict { path } | Refusal::Exists { path } => Self::Conflict { paths: vec![path] },
            other => Self::Patch(other.into()),
        }
    }
}

impl Patch {
    /// Whether there is anything to land.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The files it touches, in order.
    ///
    /// # Errors
    /// When the text is damaged.
    pub fn paths(&self) -> Result<Vec<String>, PatchError> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        Ok(parse(&self.text)?.iter().map(|op| path_of(op).as_str().to_owned()).collect())
    }

    /// Writes the patch into `root`, all of it or nothing: every file must be as it was when the view was made.
    ///
    /// # Errors
    /// [`LandError::Conflict`] listing every file that is not.
    pub fn apply_to(&self, root: &Root, scope: &Scope) -> Result<Landed, LandError> {
        let mut landed = Landed::default();
        if self.is_empty() {
            return Ok(landed);
        }
        let sides = self.sides();
        let mut ops = parse(&self.text)?;
        exactly(&mut ops);
        if sides.len() != ops.len() {
            return Err(damaged("a file has no `index` line").into());
        }
        let read = |path: &RelPath| root.read(scope, path, crate::gate::MAX_WRITE_BYTES);
        let mut conflicts = Vec::new();
        let mut to_do = Vec::new();
        // Per file: its old content's hash, and its new content.
        let mut known = Vec::new();
        for (op, side) in ops.into_iter().zip(sides) {
            let path = path_of(&op).clone();
            scope.may_write(&path).map_err(PatchError::from)?;
            let bytes = match read(&path) {
                Ok(bytes) => Some(bytes),
                Err(Refusal::Absent { .. }) => None,
                Err(refused) => return Err(refused.into()),
            };
            let now = bytes.as_deref().map(Hash::of);
            // Content alone does not tell whether a change of the executable bit has landed: it is simply set again.
            let only_mode = side.0 == side.1;
            if now == side.1 && !only_mode {
                landed.already.push(path.as_str().to_owned());
                known.push((path, side.0, bytes.unwrap_or_default()));
            } else if now == side.0 {
                landed.written.push(path.as_str().to_owned());
                to_do.push((op, side));
            } else {
                conflicts.push(path.as_str().to_owned());
            }
        }
        if !conflicts.is_empty() {
            return Err(LandError::Conflict { paths: conflicts });
        }
        let ops: Vec<Op> = to_do.iter().map(|(op, _)| op.clone()).collect();
        let (edits, _) = plan(&ops, Rules { executable: true }, read)?;
        for edit in &edits {
            let new = edit.to.as_ref().map(|file| Hash::of(&file.bytes));
            let meant = to_do.iter().find(|(op, _)| path_of(op) == &edit.path).and_then(|(_, (_, new))| *new);
            if new != meant {
                return Err(damaged(&format!("{} does not come out as recorded", edit.path)).into());
            }
        }
        commit(root, scope, &edits, true)?;
        for edit in edits {
            let old = to_do.iter().find(|(op, _)| path_of(op) == &edit.path).and_then(|(_, (old, _))| *old);
            known.push((edit.path, old, edit.to.map(|file| file.bytes).unwrap_or_default()));
        }
        // A landing that was killed may have left staged or replaced contents beside the files.
        for (path, old, new) in &known {
            crate::gate::clear_leftovers(root, path, |bytes| new.starts_with(bytes) || Some(Hash::of(bytes)) == *old);
        }
        Ok(landed)
    }

    /// The content hashes before and after, per file; `None` = no file.
    fn sides(&self) -> Vec<(Option<Hash>, Option<Hash>)> {
        let none = Hash::parse(NO_FILE);
        let side = |text: &str| Hash::parse(text.split(' ').next().unwrap_or(text));
        let lines = self.text.lines().filter_map(|line| line.strip_prefix("index ")?.split_once(".."));
        lines
            .filter_map(|(old, new)| Some((side(old)?, side(new)?)))
            .map(|(old, new)| (Some(old).filter(|h| Some(*h) != none), Some(new).filter(|h| Some(*h) != none)))
            .collect()
    }
}

const NO_FILE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn damaged(what: &str) -> PatchError {
    PatchError::Refused(format!("the patch is damaged: {what}"))
}

fn path_of(op: &Op) -> &RelPath {
    match op {
        Op::Add { path, .. } | Op::Delete { path, .. } | Op::Update { path, .. } => path,
    }
}

/// One side of a file's change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<'a> {
    pub bytes: &'a [u8],
    pub executable: bool,
}

/// One file's part of a patch.
///
/// # Errors
/// Why it cannot be part of one.
pub(crate) fn diff_file(path: &str, old: Option<Side<'_>>, new: Option<Side<'_>>) -> Result<String, String> {
    let text = |side: Option<Side<'_>>| -> Result<String, String> {
        let Some(side) = side else {
            return Ok(String::new());
        };
        let text = std::str::from_utf8(side.bytes).ok().filter(|text| !text.contains('\0'));
        text.map(str::to_owned).ok_or_else(|| "binary or not UTF-8".to_owned())
    };
    let (old_text, new_text) = (text(old)?, text(new)?);
    let hash = |side: Option<Side<'_>>| side.map_or(NO_FILE.to_owned(), |side| Hash::of(side.bytes).to_string());
    let mode = |side: Side<'_>| if side.executable { "100755" } else { "100644" };
    let (a, b) = (unified::quoted(&format!("a/{path}")), unified::quoted(&format!("b/{path}")));
    let mut out = format!("diff --git {a} {b}\n");
    match (old, new) {
        (None, Some(new)) => out.push_str(&format!("new file mode {}\n", mode(new))),
        (Some(old), None) => out.push_str(&format!("deleted file mode {}\n", mode(old))),
        (Some(old), Some(new)) if old.executable != new.executable => {
            out.push_str(&format!("old mode {}\nnew mode {}\n", mode(old), mode(new)));
        }
        _ => {}
    }
    out.push_str(&format!("index {}..{}\n", hash(old), hash(new)));
    if old_text == new_text {
        return Ok(out);
    }
    let name = |there: bool, name: &str| {
        if there { name.to_owned() } else { "/dev/null".to_owned() }
    };
    // Git ends a name with blanks in it by a tab.
    let tab = |name: &str| {
        if name.contains(' ') && !name.starts_with('"') { "\t" } else { "" }
    };
    out.push_str(&format!("--- {}{}\n+++ {}{}\n", name(old.is_some(), &a), tab(&a), name(new.is_some(), &b), tab(&b)));
    hunks(&old_text, &new_text, &mut out);
    Ok(out)
}

fn hunks(old: &str, new: &str, out: &mut String) {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, Some(Instant::now() + DIFF_TIME));
    let line = |out: &mut String, sign: char, text: &str| {
        out.push(sign);
        out.push_str(text);
        if !text.ends_with('\n') {
            out.push_str("\n\\ No newline at end of file\n");
        }
    };
    for group in group_diff_ops(ops, 3) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let range = |start: usize, end: usize| format!("{},{}", if end > start { start + 1 } else { start }, end - start);
        let old_range = range(first.old_range().start, last.old_range().end);
        let new_range = range(first.new_range().start, last.new_range().end);
        out.push_str(&format!("@@ -{old_range} +{new_range} @@\n"));
        for op in group {
            let (tag, old_range, new_range) = op.as_tag_tuple();
            if tag == DiffTag::Equal {
                old[old_range].iter().for_each(|text| line(out, ' ', text));
            } else {
                old[old_range].iter().for_each(|text| line(out, '-', text));
                new[new_range].iter().for_each(|text| line(out, '+', text));
            }
        }
    }
}
