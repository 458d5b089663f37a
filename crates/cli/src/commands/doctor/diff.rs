//! A proposed change of a file as a unified diff that says beside each hunk what it saves.

use std::ops::Range;

use brigade_kernel::context::tokens_est;

/// Lines around a change.
const CONTEXT: usize = 3;

/// Lines that go, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// From 0.
    pub lines: Range<usize>,
    /// In words.
    pub why: String,
}

/// What becomes of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Relative to where the diff is applied.
    pub path: String,
    /// Its text now; `None`: it is made.
    before: Option<String>,
    /// Lines that go, in order.
    pub gone: Vec<Removal>,
    /// Lines that come, before the line of that number.
    pub put: Vec<(usize, String)>,
    /// Paragraphs that come at its end.
    pub added: Vec<String>,
}

/// One line of the result.
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str, &'a str),
    New(String),
}

impl Edit {
    /// No change yet.
    pub fn of(path: &str, before: Option<&str>) -> Self {
        Self { path: path.to_owned(), before: before.map(str::to_owned), gone: Vec::new(), put: Vec::new(), added: Vec::new() }
    }

    fn lines(&self) -> Vec<Line<'_>> {
        let before = self.before.as_deref().unwrap_or_default();
        let mut old: Vec<&str> = before.split('\n').collect();
        let ended = old.last() == Some(&"");
        if ended {
            old.pop();
        }
        let mut lines = Vec::new();
        for (n, line) in old.iter().enumerate() {
            lines.extend(self.put.iter().filter(|(at, _)| *at == n).map(|(_, text)| Line::New(text.clone())));
            match self.gone.iter().find(|removal| removal.lines.contains(&n)) {
                Some(removal) => lines.push(Line::Gone(line, &removal.why)),
                // A last line without an end gets one when something follows.
                None if n + 1 == old.len() && !ended && !self.added.is_empty() => {
                    lines.push(Line::Gone(line, "gets a line end"));
                    lines.push(Line::New((*line).to_owned()));
                }
                None => lines.push(Line::Same(line)),
            }
        }
        for added in &self.added {
            if !lines.is_empty() {
                lines.push(Line::New(String::new()));
            }
            lines.extend(added.lines().map(|line| Line::New(line.to_owned())));
        }
        lines
    }

    fn unended(&self) -> bool {
        self.before.as_deref().is_some_and(|text| !text.is_empty() && !text.ends_with('\n'))
    }

    /// The file as it would be.
    pub fn after(&self) -> String {
        let lines = self.lines();
        let kept: Vec<&str> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Same(text) => Some(*text),
                Line::New(text) => Some(text.as_str()),
                Line::Gone(..) => None,
            })
            .collect();
        let last_same = matches!(lines.last(), Some(Line::Same(_)));
        let end = if kept.is_empty() || (last_same && self.unended()) { "" } else { "\n" };
        kept.join("\n") + end
    }

    /// The diff, with a line in front that says what the file costs now and then.
    pub fn diff(&self) -> String {
        let lines = self.lines();
        let (now, then) = (tokens_est(self.before.as_deref().unwrap_or_default().len()), tokens_est(self.after().len()));
        let path = &self.path;
        let mut text = format!("{path}: about {now} tokens now, {then} then\ndiff --git a/{path} b/{path}\n");
        match self.before {
            Some(_) => text.push_str(&format!("--- a/{path}\n+++ b/{path}\n")),
            None => text.push_str(&format!("new file mode 100644\n--- /dev/null\n+++ b/{path}\n")),
        }
        for hunk in hunks(&lines) {
            self.hunk(&lines, hunk, &mut text);
        }
        text
    }

    fn hunk(&self, lines: &[Line<'_>], hunk: Range<usize>, text: &mut String) {
        let old = |range: Range<usize>| lines[range].iter().filter(|line| !matches!(line, Line::New(_))).count();
        let new = |range: Range<usize>| lines[range].iter().filter(|line| !matches!(line, Line::Gone(..))).count();
        // Where nothing of a side is in the hunk, the line before it is named.
        let start = |before: usize, count: usize| if count == 0 { before } else { before + 1 };
        let (olds, news) = (old(hunk.clone()), new(hunk.clone()));
        let (from, to) = (start(old(0..hunk.start), olds), start(new(0..hunk.start), news));
        let mut saved = 0;
        let mut whys: Vec<&str> = Vec::new();
        for line in &lines[hunk.clone()] {
            if let Line::Gone(gone, why) = line {
                saved += gone.len() + 1;
                if !whys.contains(why) {
                    whys.push(why);
                }
            }
        }
        let note = match saved {
            0 => String::new(),
            saved => format!(" saves about {} tokens: {}", tokens_est(saved), whys.join("; ")),
        };
        text.push_str(&format!("@@ -{from},{olds} +{to},{news} @@{note}\n"));
        let last_old = lines.iter().rposition(|line| !matches!(line, Line::New(_)));
        for n in hunk {
            let (mark, line) = match &lines[n] {
                Line::Same(line) => (' ', *line),
                Line::Gone(line, _) => ('-', *line),
                Line::New(line) => ('+', line.as_str()),
            };
            text.push_str(&format!("{mark}{line}\n"));
            if self.unended() && Some(n) == last_old {
                text.push_str("\\ No newline at end of file\n");
            }
        }
    }
}

/// Changes with the lines around them, those that touch as one.
fn hunks(lines: &[Line<'_>]) -> Vec<Range<usize>> {
    let mut hunks: Vec<Range<usize>> = Vec::new();
    for (n, _) in lines.iter().enumerate().filter(|(_, line)| !matches!(line, Line::Same(_))) {
        let around = n.saturating_sub(CONTEXT)..(n + CONTEXT + 1).min(lines.len());
        match hunks.last_mut() {
            Some(last) if last.end >= around.start => last.end = around.end,
            _ => hunks.push(around),
        }
    }
    hunks
}
