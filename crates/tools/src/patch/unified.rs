//! Unified diffs, from `git diff` or plain: read strictly where it matters (paths, modes, binary), leniently in line counts.

use super::{Dialect, Hunk, Line, MAX_HUNKS, Op, PatchError};
use crate::gate::RelPath;

/// Whether the text has the marks of a unified diff.
pub(super) fn looks_like(text: &str) -> bool {
    let mut last = "";
    for line in text.lines() {
        if line.starts_with("diff --git ") || (last.starts_with("--- ") && line.starts_with("+++ ")) {
            return true;
        }
        last = line;
    }
    false
}

/// What the lines above a file's hunks said.
#[derive(Default)]
struct Header {
    /// `None` inside = `/dev/null`.
    old: Option<Option<String>>,
    new: Option<Option<String>>,
    from: Option<String>,
    to: Option<String>,
    copy: bool,
    created: bool,
    deleted: bool,
    old_mode: Option<String>,
    new_mode: Option<String>,
    line: usize,
}

struct Reader<'a> {
    lines: Vec<&'a str>,
    next: usize,
    hunks: usize,
}

/// Reads the operations of a unified diff.
pub(super) fn parse(text: &str) -> Result<Vec<Op>, PatchError> {
    let lf = text.bytes().filter(|b| *b == b'\n').count();
    let crlf = lf > 0 && text.matches("\r\n").count() == lf;
    let lines = text.split('\n').map(|line| if crlf { line.strip_suffix('\r').unwrap_or(line) } else { line }).collect();
    let mut reader = Reader { lines, next: 0, hunks: 0 };
    let mut ops = Vec::new();
    while let Some(line) = reader.peek() {
        if line.starts_with("diff --git ") || reader.at_file_header(0) {
            ops.push(reader.file()?);
        } else if line.starts_with("@@ ") {
            return reader.bad("a hunk without a file: put `--- a/PATH` and `+++ b/PATH` above it");
        } else {
            // Anything between two files is a comment: a commit message, a fence, blank lines.
            reader.next += 1;
        }
    }
    Ok(ops)
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.lines.get(self.next).copied()
    }

    fn bad<T>(&self, message: impl Into<String>) -> Result<T, PatchError> {
        Err(PatchError::Malformed { line: self.next + 1, message: message.into() })
    }

    /// Whether `---`, `+++` stand at `ahead` lines from here.
    fn at_file_header(&self, ahead: usize) -> bool {
        let at = self.next + ahead;
        let starts = |i: usize, mark: &str| self.lines.get(i).is_some_and(|line| line.starts_with(mark));
        starts(at, "--- ") && starts(at + 1, "+++ ")
    }

    fn file(&mut self) -> Result<Op, PatchError> {
        let mut header = Header { line: self.next + 1, ..Header::default() };
        let mut names = None;
        if let Some(rest) = self.peek().and_then(|line| line.strip_prefix("diff --git ")) {
            names = git_names(rest);
            self.next += 1;
            self.extended(&mut header)?;
        }
        if self.at_file_header(0) {
            header.old = Some(file_name(&self.lines[self.next][4..]));
            header.new = Some(file_name(&self.lines[self.next + 1][4..]));
            self.next += 2;
        }
        let mut hunks = Vec::new();
        while self.peek().is_some_and(|line| line.starts_with("@@")) {
            hunks.push(self.hunk()?);
        }
        header.op(names, hunks)
    }

    fn extended(&mut self, header: &mut Header) -> Result<(), PatchError> {
        while let Some(line) = self.peek() {
            let take = |mark: &str| line.strip_prefix(mark).map(|rest| rest.trim_end().to_owned());
            if let Some(mode) = take("old mode ") {
                header.old_mode = Some(mode);
            } else if let Some(mode) = take("new mode ") {
                header.new_mode = Some(mode);
            } else if let Some(mode) = take("new file mode ") {
                (header.created, header.new_mode) = (true, Some(mode));
            } else if let Some(mode) = take("deleted file mode ") {
                (header.deleted, header.old_mode) = (true, Some(mode));
            } else if let Some(name) = take("rename from ") {
                header.from = Some(unquoted(&name));
            } else if let Some(name) = take("rename to ") {
                header.to = Some(unquoted(&name));
            } else if line.starts_with("copy from ") || line.starts_with("copy to ") {
                header.copy = true;
            } else if line.starts_with("GIT binary patch") || line.starts_with("Binary files ") {
                return self.bad("binary patches are not supported: leave binary files out");
            } else if !line.starts_with("index ") && !line.starts_with("similarity index ") && !line.starts_with("dissimilarity index ") {
                break;
            }
            self.next += 1;
        }
        Ok(())
    }

    fn hunk(&mut self) -> Result<Hunk, PatchError> {
        self.hunks += 1;
        if self.hunks > MAX_HUNKS {
            return self.bad(format!("more than {MAX_HUNKS} hunks: split the patch"));
        }
        let Some((at, mut old_left, mut new_left)) = hunk_range(self.lines[self.next]) else {
            return self.bad("write the hunk's head as `@@ -START,COUNT +START,COUNT @@`");
        };
        let mut hunk = Hunk { at: Some(at), line: self.next + 1, ..Hunk::default() };
        self.next += 1;
        while let Some(line) = self.peek() {
            let counted = old_left > 0 || new_left > 0;
            // A removed line may itself begin with `-- `: only a whole new header, with a hunk below, ends a hunk that still has lines to come.
            let hunk_below = self.lines.get(self.next + 2).is_some_and(|line| line.starts_with("@@ "));
            if self.at_file_header(0) && (!counted || hunk_below) {
                break;
            }
            match line.split_at_checked(1) {
                Some((" ", text)) => {
                    hunk.lines.push(Line::Keep(text.to_owned()));
                    (old_left, new_left) = (old_left.saturating_sub(1), new_left.saturating_sub(1));
                }
                Some(("-", text)) => {
                    hunk.lines.push(Line::Remove(text.to_owned()));
                    old_left = old_left.saturating_sub(1);
                }
                Some(("+", text)) => {
                    hunk.lines.push(Line::Add(text.to_owned()));
                    new_left = new_left.saturating_sub(1);
                }
                Some(("\\", _)) => match hunk.lines.last() {
                    Some(Line::Keep(_)) => (hunk.old_unended, hunk.new_unended) = (true, true),
                    Some(Line::Remove(_)) => hunk.old_unended = true,
                    Some(Line::Add(_)) => hunk.new_unended = true,
                    None => return self.bad("`\\ No newline at end of file` must stand below a line of the hunk"),
                },
                None if line.is_empty() && old_left > 0 && new_left > 0 && self.next + 1 < self.lines.len() => {
                    // An unchanged empty line whose blank an editor took away.
                    hunk.lines.push(Line::Keep(String::new()));
                    (old_left, new_left) = (old_left - 1, new_left - 1);
                }
                _ => break,
            }
            self.next += 1;
        }
        if hunk.lines.is_empty() {
            return self.bad("the hunk holds no lines");
        }
        Ok(hunk)
    }
}

impl Header {
    fn op(self, names: Option<(String, String)>, hunks: Vec<Hunk>) -> Result<Op, PatchError> {
        let bad = |message: &str| Err(PatchError::Malformed { line: self.line, message: message.to_owned() });
        for mode in [&self.old_mode, &self.new_mode].into_iter().flatten() {
            match mode.as_str() {
                "100644" | "100755" => {}
                "120000" => {
                    return Err(PatchError::Refused(
                        "the patch makes or changes a symbolic link (mode 120000); that is never done".to_owned(),
                    ));
                }
                "160000" => {
                    return Err(PatchError::Refused("the patch makes or changes a submodule (mode 160000); that is never done".to_owned()));
                }
                _ => return bad("the only file modes taken are 100644 and 100755"),
            }
        }
        if self.copy {
            return Err(PatchError::Refused("copies are not supported: add the new file with its content".to_owned()));
        }
        let git = names.is_some();
        let (old, new) = match (self.old.clone(), self.new.clone()) {
            (Some(old), Some(new)) => strip(old, new, git),
            _ => match (self.from.clone(), self.to.clone(), names) {
                (Some(from), Some(to), _) => (Some(from), Some(to)),
                (_, _, Some((old, new))) => strip(Some(old), Some(new), true),
                _ => return bad("the file's name is missing: write `--- a/PATH` and `+++ b/PATH`"),
            },
        };
        let executable = match (&self.old_mode, &self.new_mode) {
            (Some(old), Some(new)) if old == new => None,
            (_, Some(new)) if !self.created => Some(new == "100755"),
            (_, Some(new)) => (new == "100755").then_some(true),
            _ => None,
        };
        let path = |name: &str| RelPath::new(name).map_err(PatchError::from);
        match (old, new) {
            (_, Some(new)) if self.created => Self::added(path(&new)?, hunks, executable),
            (Some(old), _) if self.deleted => Ok(Op::Delete { path: path(&old)?, hunks }),
            (None, Some(new)) => Self::added(path(&new)?, hunks, executable),
            (Some(old), None) => Ok(Op::Delete { path: path(&old)?, hunks }),
            (Some(old), Some(new)) => {
                let to = if old == new { None } else { Some(path(&new)?) };
                if hunks.is_empty() && to.is_none() && executable.is_none() {
                    return bad("the file's part holds no change: add a hunk that begins with `@@ -START,COUNT +START,COUNT @@`");
                }
                Ok(Op::Update { path: path(&old)?, to, hunks, executable, dialect: Dialect::Unified })
            }
            (None, None) => bad("both sides are /dev/null"),
        }
    }

    fn added(path: RelPath, hunks: Vec<Hunk>, executable: Option<bool>) -> Result<Op, PatchError> {
        let mut content = String::new();
        for hunk in &hunks {
            for (i, line) in hunk.lines.iter().enumerate() {
                let Line::Add(text) = line else {
                    let message = "a new file's lines must all start with `+`".to_owned();
                    return Err(PatchError::Malformed { line: hunk.line + i + 1, message });
                };
                content.push_str(text);
                content.push('\n');
            }
        }
        if hunks.last().is_some_and(|hunk| hunk.new_unended) {
            content.pop();
        }
        Ok(Op::Add { path, content, executable, must_be_new: true })
    }
}

/// `@@ -3,4 +5,6 @@ …` → (3, 4, 6); a bare `@@` counts nothing.
fn hunk_range(line: &str) -> Option<(usize, usize, usize)> {
    let rest = line.strip_prefix("@@")?;
    if rest.trim().is_empty() {
        return Some((1, 0, 0));
    }
    let (ranges, _) = rest.split_once("@@")?;
    let mut parts = ranges.split_whitespace();
    let mut range = |sign| {
        let part: &str = parts.next()?.strip_prefix(sign)?;
        let (start, count) = part.split_once(',').unwrap_or((part, "1"));
        Some((start.parse::<usize>().ok()?, count.parse::<usize>().ok()?))
    };
    let (old, new) = (range('-')?, range('+')?);
    // With nothing on the old side the number names the line before.
    let at = if old.1 == 0 { old.0.saturating_add(1) } else { old.0 };
    Some((at, old.1, new.1))
}

/// The name on a `---` or `+++` line; `None` for `/dev/null`.
fn file_name(text: &str) -> Option<String> {
    let name =
        if text.starts_with('"') { unquoted(text.trim_end()) } else { text.split('\t').next().unwrap_or(text).trim_end().to_owned() };
    (name != "/dev/null").then_some(name)
}

/// Takes away the `a/` and `b/` that git puts before names.
fn strip(old: Option<String>, new: Option<String>, git: bool) -> (Option<String>, Option<String>) {
    let has = |name: &Option<String>, mark: &str| name.as_ref().is_none_or(|name| name.starts_with(mark));
    if (git || old.is_some() || new.is_some()) && has(&old, "a/") && has(&new, "b/") {
        let cut = |name: Option<String>| name.map(|name| name[2..].to_owned());
        return (cut(old), cut(new));
    }
    (old, new)
}

/// The two names of a `diff --git` line, which are only needed when nothing else names the file: then both are the same.
fn git_names(rest: &str) -> Option<(String, String)> {
    if let Some(inner) = rest.strip_prefix('"') {
        let end = inner.find("\" ")? + 2;
        return Some((unquoted(&rest[..end]), unquoted(rest[end..].trim())));
    }
    let rest = rest.trim_end();
    let middle = rest.match_indices(" b/").find(|(at, _)| rest.get(2..*at) == rest.get(at + 3..));
    match middle {
        Some((at, _)) => Some((rest[..at].to_owned(), rest[at + 1..].to_owned())),
        None => rest.split_once(' ').map(|(old, new)| (old.to_owned(), new.to_owned())),
    }
}

/// Undoes git's C-style quotes; a name that is not UTF-8 then keeps replacement characters and matches nothing.
fn unquoted(name: &str) -> String {
    let Some(inner) = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return name.to_owned();
    };
    let mut out = Vec::new();
    let mut bytes = inner.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'a') => out.push(7),
            Some(b'b') => out.push(8),
            Some(b'v') => out.push(11),
            Some(b'f') => out.push(12),
            Some(digit @ b'0'..=b'3') => {
                let mut code = digit - b'0';
                for _ in 0..2 {
                    if let Some(next @ b'0'..=b'7') = bytes.peek().copied() {
                        code = code.wrapping_mul(8).wrapping_add(next - b'0');
                        bytes.next();
                    }
                }
                out.push(code);
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A name as git writes it in a diff: quoted when it holds anything that would break the line.
pub(super) fn quoted(name: &str) -> String {
    if !name.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        return name.to_owned();
    }
    let mut out = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    out.push_str(&format!("\\{byte:03o}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
