//! Trying a patch on file contents in memory. Nothing here opens a file: the caller lends a reader.

use std::collections::BTreeMap;

use super::lines::{FileLine, split, split_exact, usual_end};
use super::{Dialect, Hunk, Line, Op, PatchError, seek};
use crate::gate::{Base, Edit, Hash, NewFile, Refusal, RelPath};

/// Most hunks times lines that are matched, so that no patch costs more than seconds.
const MAX_SEEK: usize = 300_000_000;

/// What a patch may do beyond changing text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// Set or clear the executable bit.
    pub executable: bool,
}

/// Takes our own diff at its word: see [`Dialect::Exact`].
pub(super) fn exactly(ops: &mut [Op]) {
    for op in ops {
        if let Op::Update { dialect, .. } = op {
            *dialect = Dialect::Exact;
        }
    }
}

/// One file's part of what a patch would do, for the summary a model is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change {
    Added(RelPath),
    Changed(RelPath),
    Deleted(RelPath),
    Moved(RelPath, RelPath),
}

/// A file as the patch sees it so far.
struct Held {
    base: Base,
    /// `None`: not there (any more).
    text: Option<String>,
    executable: Option<bool>,
}

/// Works out the edits `ops` ask for, reading through `read` (a missing file is [`Refusal::Absent`]).
///
/// # Errors
/// The first operation that does not fit; nothing is changed by this function anyway.
pub fn plan(
    ops: &[Op],
    rules: Rules,
    mut read: impl FnMut(&RelPath) -> Result<Vec<u8>, Refusal>,
) -> Result<(Vec<Edit>, Vec<Change>), PatchError> {
    let mut files: BTreeMap<RelPath, Held> = BTreeMap::new();
    let mut changes = Vec::new();
    for op in ops {
        match op {
            Op::Add { path, content, executable, must_be_new } => {
                check_bit(path, *executable, rules)?;
                let there = hold(&mut files, path, &mut read, false)?;
                if *must_be_new && there.text.is_some() {
                    return Err(stale(path, "the patch makes this file new, but it exists: send a change of it instead"));
                }
                // The line ends an overwritten file had are kept; a new file's are as the patch has them.
                there.text = Some(content.clone());
                there.executable = executable.or(there.executable);
                changes.push(Change::Added(path.clone()));
            }
            Op::Delete { path, hunks } => {
                let there = hold(&mut files, path, &mut read, hunks.is_empty())?;
                let Some(text) = &there.text else {
                    return Err(absent(path, "delete"));
                };
                if !hunks.is_empty() && !update(path, text, hunks, Dialect::Unified)?.is_empty() {
                    return Err(stale(path, "the patch deletes this file but not all of its lines: read it again"));
                }
                there.text = None;
                changes.push(Change::Deleted(path.clone()));
            }
            Op::Update { path, to, hunks, executable, dialect } => {
                check_bit(path, *executable, rules)?;
                let there = hold(&mut files, path, &mut read, false)?;
                let Some(text) = &there.text else {
                    return Err(absent(path, "update"));
                };
                let new = update(path, text, hunks, *dialect)?;
                let bit = executable.or(there.executable);
                match to {
                    None => {
                        (there.text, there.executable) = (Some(new), bit);
                        changes.push(Change::Changed(path.clone()));
                    }
                    Some(to) => {
                        there.text = None;
                        let target = hold(&mut files, to, &mut read, true)?;
                        if *dialect != Dialect::Envelope && target.text.is_some() {
                            return Err(stale(to, "the patch renames a file to this name, but it exists"));
                        }
                        (target.text, target.executable) = (Some(new), bit);
                        changes.push(Change::Moved(path.clone(), to.clone()));
                    }
                }
            }
        }
    }
    let edits = files.into_iter().filter_map(|(path, held)| {
        let to = held.text.map(|text| NewFile { bytes: text.into_bytes(), executable: held.executable });
        // Made and deleted again within the patch: nothing to do.
        (to.is_some() || held.base != Base::Absent).then_some(Edit { path, base: held.base, to })
    });
    Ok((edits.collect(), changes))
}

/// The file as it stands after the operations so far. `any`: its content does not matter, so it may be anything.
fn hold<'a>(
    files: &'a mut BTreeMap<RelPath, Held>,
    path: &RelPath,
    read: &mut impl FnMut(&RelPath) -> Result<Vec<u8>, Refusal>,
    any: bool,
) -> Result<&'a mut Held, PatchError> {
    if !files.contains_key(path) {
        let held = match read(path) {
            Err(Refusal::Absent { .. }) => Held { base: Base::Absent, text: None, executable: None },
            Err(refused) => return Err(refused.into()),
            Ok(bytes) => {
                let base = Base::Is(Hash::of(&bytes));
                let text = match String::from_utf8(bytes) {
                    Ok(text) => text,
                    Err(bytes) if any => String::from_utf8_lossy(bytes.as_bytes()).into_owned(),
                    Err(_) => {
                        return Err(stale(path, "it is not UTF-8 text and cannot be patched"));
                    }
                };
                Held { base, text: Some(text), executable: None }
            }
        };
        files.insert(path.clone(), held);
    }
    Ok(files.get_mut(path).expect("inserted above"))
}

fn check_bit(path: &RelPath, executable: Option<bool>, rules: Rules) -> Result<(), PatchError> {
    if executable.is_some() && !rules.executable {
        return Err(PatchError::Refused(format!(
            "the patch changes whether {:?} is executable; that is not granted: leave the mode out",
            path.as_str()
        )));
    }
    Ok(())
}

fn stale(path: &RelPath, message: impl Into<String>) -> PatchError {
    PatchError::Stale { path: path.as_str().to_owned(), message: message.into() }
}

fn absent(path: &RelPath, verb: &str) -> PatchError {
    stale(path, format!("cannot {verb} it: it does not exist; nothing was changed"))
}

/// `text` after `hunks`.
fn update(path: &RelPath, text: &str, hunks: &[Hunk], dialect: Dialect) -> Result<String, PatchError> {
    let exact = dialect == Dialect::Exact;
    let lines = if exact { split_exact(text) } else { split(text) };
    let end = usual_end(&lines);
    if hunks.len().saturating_mul(lines.len()) > MAX_SEEK {
        return Err(PatchError::Refused(format!(
            "{path}: {} hunks on {} lines is too much to match: write the file whole",
            hunks.len(),
            lines.len()
        )));
    }
    let mut out: Vec<FileLine<'_>> = Vec::with_capacity(lines.len());
    // Lines of the old file already dealt with.
    let mut done = 0;
    // Hunks that only add, and say not where, go to the end.
    let mut tail: Vec<FileLine<'_>> = Vec::new();
    let mut drift = 0isize;
    let shorter: Vec<_> = hunks.iter().map(|hunk| without_last_blank(&hunk.lines)).collect();
    for (hunk, shorter) in hunks.iter().zip(&shorter) {
        let mut from = done;
        for anchor in &hunk.anchors {
            let Some(at) = seek::first(&lines, &[anchor.as_str()], from, false) else {
                let below = if from > 0 { format!(" below line {from}") } else { String::new() };
                return Err(stale(
                    path,
                    format!(
                        "patch line {}: no line {:?}{below}; copy the line after @@ from the file, or write only @@",
                        hunk.line,
                        shorten(anchor)
                    ),
                ));
            };
            from = at + 1;
        }
        let mut hunk_lines: &[Line] = &hunk.lines;
        let mut old = old_side(hunk_lines);
        if old.is_empty() && dialect == Dialect::Envelope {
            tail.extend(hunk_lines.iter().filter_map(|line| added(line, end)));
            continue;
        }
        let find = |old: &[&str]| match dialect {
            Dialect::Envelope => seek::first(&lines, old, from, hunk.at_end),
            Dialect::Unified | Dialect::Exact => {
                let hint = hunk.at.unwrap_or(1).saturating_sub(1).saturating_add_signed(drift);
                seek::nearest(&lines, old, from, hint, exact)
            }
        };
        let mut found = find(&old);
        if found.is_none()
            && dialect == Dialect::Envelope
            && let Some(shorter) = shorter
        {
            // A blank line at the end is more often the writer's than the file's.
            hunk_lines = shorter;
            old = old_side(hunk_lines);
            found = if old.is_empty() { None } else { find(&old) };
        }
        let Some(at) = found else {
            return Err(not_found(path, hunk, &lines, &old, from, done));
        };
        if dialect != Dialect::Envelope {
            check_ends(path, hunk, &lines, at + old.len())?;
            drift = at as isize - hunk.at.unwrap_or(1).saturating_sub(1) as isize;
        }
        out.extend(lines[done..at].iter().cloned());
        let mut next = at;
        for line in hunk_lines {
            match line {
                Line::Keep(_) => {
                    out.push(lines[next].clone());
                    next += 1;
                }
                Line::Remove(_) => next += 1,
                Line::Add(_) => out.extend(added(line, end)),
            }
        }
        done = next;
        if dialect != Dialect::Envelope
            && hunk.new_unended
            && let Some(last) = out.last_mut()
        {
            last.end = "";
        }
    }
    out.extend(lines[done..].iter().cloned());
    out.append(&mut tail);
    let last = out.len().saturating_sub(1);
    for (i, line) in out.iter_mut().enumerate() {
        if line.end.is_empty() && (i < last || dialect == Dialect::Envelope) {
            line.end = end;
        }
    }
    Ok(out.iter().flat_map(|line| [line.text, line.end]).collect())
}

/// The lines a hunk expects in the file.
fn old_side(lines: &[Line]) -> Vec<&str> {
    let old = |line| match line {
        &Line::Keep(ref text) | &Line::Remove(ref text) => Some(text.as_str()),
        Line::Add(_) => None,
    };
    lines.iter().filter_map(old).collect()
}

/// The hunk without the blank line that ends its old side, if one does.
fn without_last_blank(lines: &[Line]) -> Option<Vec<Line>> {
    let at = lines.iter().rposition(|line| !matches!(line, Line::Add(_)))?;
    let (Line::Keep(text) | Line::Remove(text)) = &lines[at] else {
        return None;
    };
    if !text.is_empty() {
        return None;
    }
    let mut shorter = lines.to_vec();
    if at + 1 < lines.len() && matches!(lines[at], Line::Keep(_)) {
        // What is added below it was meant to stand apart.
        shorter[at] = Line::Add(String::new());
    } else {
        shorter.remove(at);
    }
    Some(shorter)
}

fn added<'a>(line: &'a Line, end: &'static str) -> Option<FileLine<'a>> {
    let Line::Add(text) = line else { return None };
    let text = if end == "\r\n" { text.strip_suffix('\r').unwrap_or(text) } else { text };
    Some(FileLine { text, end })
}

/// A unified diff that says how the file ends must be right about it.
fn check_ends(path: &RelPath, hunk: &Hunk, lines: &[FileLine<'_>], reached: usize) -> Result<(), PatchError> {
    if (hunk.old_unended || hunk.new_unended) && reached != lines.len() {
        return Err(stale(path, format!("patch line {}: the patch says the file ends there, but more lines follow", hunk.line)));
    }
    Ok(())
}

fn not_found(path: &RelPath, hunk: &Hunk, lines: &[FileLine<'_>], old: &[&str], from: usize, done: usize) -> PatchError {
    let mut message = format!("patch line {}: these lines are not in the file", hunk.line);
    if hunk.at_end {
        message.push_str(" at its end");
    } else if from > 0 {
        message.push_str(&format!(" below line {from}"));
    }
    message.push_str(":\n");
    for line in old.iter().take(6) {
        message.push_str(&format!("  {}\n", shorten(line)));
    }
    if old.len() > 6 {
        message.push_str(&format!("  … and {} more\n", old.len() - 6));
    }
    if done > 0 && seek::first(lines, old, 0, false).is_some() {
        message.push_str("They stand above an earlier hunk: order the hunks from top to bottom of the file. ");
    } else if let Some(at) = old.iter().position(|line| seek::first(lines, &[line], 0, false).is_none()) {
        message.push_str(&format!("First line that is nowhere in it: {:?}. ", shorten(old[at])));
    }
    message.push_str("Read the file again and copy the unchanged and removed lines exactly. Nothing was changed.");
    stale(path, message)
}

fn shorten(line: &str) -> String {
    match line.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
