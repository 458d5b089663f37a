//! The `*** Begin Patch` format that the GPT-5 family is trained on.

use std::borrow::Cow;

use super::{Dialect, Hunk, Line, MAX_HUNKS, Op, PatchError};
use crate::gate::RelPath;

const BEGIN: &str = "*** Begin Patch";
const END: &str = "*** End Patch";
const ADD: &str = "*** Add File:";
const DELETE: &str = "*** Delete File:";
const UPDATE: &str = "*** Update File:";
const MOVE: &str = "*** Move to:";
const END_OF_FILE: &str = "*** End of File";

/// A patch's lines from its first marker to its last line.
pub(super) struct Body {
    lines: Vec<String>,
    /// How many lines stood before it.
    first: usize,
}

/// Takes an envelope out of a shell heredoc or a markdown fence; `None` when `text` is no envelope.
pub(super) fn unwrap(text: &str) -> Option<Body> {
    // A patch written with CRLF throughout means the line ends of its transport, not of the files.
    let lf = text.bytes().filter(|b| *b == b'\n').count();
    let crlf = lf > 0 && text.matches("\r\n").count() == lf;
    let text: Cow<'_, str> = if crlf { text.replace("\r\n", "\n").into() } else { text.into() };
    let all: Vec<&str> = text.split('\n').collect();
    let mut first = all.iter().take_while(|line| line.trim().is_empty()).count();
    let mut last = all.len() - all[first..].iter().rev().take_while(|line| line.trim().is_empty()).count();
    if first >= last {
        return None;
    }
    let opening = all[first].trim();
    let heredoc = || opening.split_once("<<").map(|(_, word)| word.trim_start_matches('-').trim().trim_matches(['\'', '"']));
    let closing = if opening.starts_with("```") { Some("```") } else { heredoc() };
    if let Some(closing) = closing
        && last - first > 2
        && all[last - 1].trim() == closing
        && all[first + 1].trim() == BEGIN
    {
        first += 1;
        last -= 1;
        last -= all[first..last].iter().rev().take_while(|line| line.trim().is_empty()).count();
    }
    (all[first].trim() == BEGIN).then(|| Body { lines: all[first..last].iter().map(|line| (*line).to_owned()).collect(), first })
}

struct Reader<'a> {
    body: &'a Body,
    /// Index of the next line.
    next: usize,
    /// Index of the end marker.
    end: usize,
    hunks: usize,
}

/// Reads the operations of an envelope.
pub(super) fn parse(body: &Body) -> Result<Vec<Op>, PatchError> {
    let end = body.lines.len() - 1;
    let bad = |index: usize, message: &str| Err(PatchError::Malformed { line: body.first + index + 1, message: message.to_owned() });
    if let Some(second) = body.lines.iter().skip(1).position(|line| line.starts_with(BEGIN)) {
        return bad(second + 1, "a second `*** Begin Patch`: send one patch with all changes between one Begin and one End");
    }
    if end == 0 || body.lines[end].trim() != END {
        return bad(end, "the last line must be `*** End Patch`: the patch seems cut off, send it whole");
    }
    let mut reader = Reader { body, next: 1, end, hunks: 0 };
    let mut ops = Vec::new();
    while let Some(line) = reader.peek() {
        if line.trim().is_empty() {
            reader.next += 1;
        } else {
            ops.push(reader.op()?);
        }
    }
    Ok(ops)
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a str> {
        (self.next < self.end).then(|| self.body.lines[self.next].as_str())
    }

    fn bad<T>(&self, message: impl Into<String>) -> Result<T, PatchError> {
        Err(PatchError::Malformed { line: self.body.first + self.next + 1, message: message.into() })
    }

    fn path(&self, text: &str) -> Result<RelPath, PatchError> {
        Ok(RelPath::new(text.trim())?)
    }

    fn op(&mut self) -> Result<Op, PatchError> {
        let header = self.body.lines[self.next].trim();
        if let Some(name) = header.strip_prefix(ADD) {
            let path = self.path(name)?;
            self.next += 1;
            let mut content = String::new();
            while let Some(line) = self.peek().and_then(|line| line.strip_prefix('+')) {
                content.push_str(line);
                content.push('\n');
                self.next += 1;
            }
            return Ok(Op::Add { path, content, executable: None, must_be_new: false });
        }
        if let Some(name) = header.strip_prefix(DELETE) {
            let path = self.path(name)?;
            self.next += 1;
            return Ok(Op::Delete { path, hunks: Vec::new() });
        }
        if let Some(name) = header.strip_prefix(UPDATE) {
            return self.update(name);
        }
        self.bad(format!(
            "{:?} is no file header: write `{ADD} PATH` (then lines that start with +), `{DELETE} PATH` or `{UPDATE} PATH`",
            header.chars().take(60).collect::<String>()
        ))
    }

    fn update(&mut self, name: &str) -> Result<Op, PatchError> {
        let path = self.path(name)?;
        let header = self.next;
        self.next += 1;
        let mut to = None;
        if let Some(name) = self.peek().and_then(|line| line.trim().strip_prefix(MOVE)) {
            to = Some(self.path(name)?);
            self.next += 1;
        }
        let mut hunks = Vec::new();
        while let Some(line) = self.peek() {
            if line.trim().is_empty() {
                self.next += 1;
            } else if line.starts_with("***") {
                break;
            } else if !hunks.is_empty() && !line.starts_with("@@") {
                return self.bad("a new hunk must begin with `@@`");
            } else if line.trim_start().starts_with(UPDATE) || line.trim_start().starts_with(ADD) || line.trim_start().starts_with(DELETE) {
                break;
            } else {
                hunks.push(self.hunk()?);
            }
        }
        if hunks.is_empty() {
            self.next = header;
            return self.bad(format!(
                "the update of {:?} holds no change: add a hunk that begins with `@@`, or leave the file out",
                path.as_str()
            ));
        }
        Ok(Op::Update { path, to, hunks, executable: None, dialect: Dialect::Envelope })
    }

    fn hunk(&mut self) -> Result<Hunk, PatchError> {
        self.hunks += 1;
        if self.hunks > MAX_HUNKS {
            return self.bad(format!("more than {MAX_HUNKS} hunks: split the patch"));
        }
        let mut hunk = Hunk { line: self.body.first + self.next + 1, ..Hunk::default() };
        while let Some(anchor) = self.peek().and_then(|line| line.strip_prefix("@@")) {
            let anchor = anchor.strip_prefix(' ').unwrap_or(anchor);
            let anchor = without_numbers(anchor);
            if !anchor.trim().is_empty() {
                hunk.anchors.push(anchor.to_owned());
            }
            self.next += 1;
        }
        while let Some(line) = self.peek() {
            if line.trim_end() == END_OF_FILE {
                hunk.at_end = true;
                self.next += 1;
                break;
            }
            if line.starts_with("@@") || line.starts_with("***") {
                break;
            }
            hunk.lines.push(match line.split_at_checked(1) {
                None if line.is_empty() => Line::Keep(String::new()),
                Some((" ", text)) => Line::Keep(text.to_owned()),
                Some(("+", text)) => Line::Add(text.to_owned()),
                Some(("-", text)) => Line::Remove(text.to_owned()),
                _ if line.trim().is_empty() => Line::Keep(line.to_owned()),
                _ => return self.bad("every line of a hunk must start with a space (unchanged), `-` (removed) or `+` (added)"),
            });
            self.next += 1;
        }
        if hunk.lines.is_empty() {
            return self.bad("the hunk holds no lines: give the lines to change, with `-` and `+`, below `@@`");
        }
        Ok(hunk)
    }
}

/// An anchor without the `-1,3 +1,4 @@` that models copy from unified diffs; such numbers are not needed here.
fn without_numbers(anchor: &str) -> &str {
    let Some((numbers, rest)) = anchor.split_once("@@") else {
        return anchor;
    };
    let mut parts = numbers.split_whitespace();
    let range = |part: Option<&str>, sign| {
        part.and_then(|p| p.strip_prefix(sign)).is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit() || b == b','))
    };
    let is_range = range(parts.next(), '-') && range(parts.next(), '+') && parts.next().is_none();
    if is_range { rest.strip_prefix(' ').unwrap_or(rest) } else { anchor }
}
