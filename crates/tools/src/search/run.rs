//! Searching the files of a walk, in parallel and in order.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use grep_printer::{StandardBuilder, SummaryBuilder, SummaryKind};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder};

use super::args::{Case, Output, Query};
use super::walk::{Tree, files};
use super::{SearchError, path_order};
use crate::gate::{Found, RelPath, Root, Scope};

/// How long one search may take.
const TIME: Duration = Duration::from_secs(30);
/// Files above this are passed over and counted.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Memory for one file when lines are joined or endless.
const HEAP_BYTES: usize = 256 << 20;
/// Files searched between two looks at the clock and at what was printed.
const BATCH: usize = 16;
/// How far past the whole output's limit one file may print.
const SLACK: usize = 64 << 10;

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// As ripgrep prints it.
    pub stdout: String,
    /// Whether anything was found: ripgrep's exit code 0 instead of 1.
    pub found: bool,
    /// The search stopped early: at `limit` characters or at its time.
    pub stopped: Option<&'static str>,
    /// Files not searched, and why, when there were any.
    pub notes: Vec<String>,
}

struct Target {
    /// Beneath the root.
    path: String,
    /// As printed.
    shown: String,
    /// Named on the command line itself.
    explicit: bool,
}

/// Runs a query over `tree`; stops soon after `limit` bytes of output.
///
/// # Errors
/// A bad pattern, glob, type or path.
pub(crate) fn search(root: &Root, tree: &Tree, scope: &Scope, query: &Query, limit: usize) -> Result<Answer, SearchError> {
    let deadline = Instant::now() + TIME;
    let mut answer = Answer::default();
    let mut targets = Vec::new();
    let with_filename = collect(root, tree, query, deadline, &mut targets, &mut answer)?;
    targets.retain(|target| scope.may_read(&target.path).is_ok() || note_secret(&mut answer, &target.path));
    if query.output == Output::Files {
        for target in &targets {
            // Only what is there, beneath, at this moment: the walk went by names.
            if RelPath::new(&target.path).is_ok_and(|path| root.look(&path) == Some(Found::File)) {
                answer.stdout.push_str(&target.shown);
                answer.stdout.push('\n');
            }
            if answer.stdout.len() > limit {
                answer.stopped = Some("limit");
                break;
            }
        }
        answer.found = !answer.stdout.is_empty();
        return Ok(answer);
    }
    let matcher = matcher(query)?;
    let work = Work { root, scope, query, matcher, with_filename, deadline, per_file: limit.saturating_add(SLACK) };
    work.all(&targets, limit, &mut answer);
    Ok(answer)
}

/// Runs a query over an opened workspace with ripgrep's rules for it.
///
/// # Errors
/// A bad pattern, glob, type or path.
pub fn run(view: &crate::View, scope: &Scope, query: &Query, limit: usize) -> Result<Answer, SearchError> {
    search(view.root(), &view.tree(), scope, query, limit)
}

fn note_secret(answer: &mut Answer, path: &str) -> bool {
    if crate::gate::is_secret(path) {
        answer.notes.push(format!("{path} (may hold a secret)"));
    }
    false
}

/// Gathers what to search; returns whether file names are printed.
fn collect(
    root: &Root,
    tree: &Tree,
    query: &Query,
    deadline: Instant,
    targets: &mut Vec<Target>,
    answer: &mut Answer,
) -> Result<bool, SearchError> {
    let mut walk = |start: &str, prefix: &str, targets: &mut Vec<Target>| -> Result<(), SearchError> {
        let (found, whole) = files(root, tree, start, query, deadline)?;
        if !whole {
            answer.stopped = Some("time");
        }
        let under = if start.is_empty() { String::new() } else { format!("{start}/") };
        targets.extend(found.into_iter().map(|name| Target {
            path: format!("{under}{name}"),
            shown: format!("{prefix}{name}"),
            explicit: false,
        }));
        Ok(())
    };
    if query.paths.is_empty() {
        walk("", "", targets)?;
        return Ok(query.with_filename.unwrap_or(true));
    }
    let mut several = query.paths.len() > 1;
    for given in &query.paths {
        let slash = if given.ends_with('/') { "" } else { "/" };
        let path = RelPath::or_root(given).map_err(|e| SearchError(e.to_string()))?;
        match path {
            None => {
                walk("", &format!("{given}{slash}"), targets)?;
                several = true;
            }
            Some(path) => match root.look(&path) {
                Some(Found::Folder) => {
                    walk(path.as_str(), &format!("{given}{slash}"), targets)?;
                    several = true;
                }
                Some(Found::File | Found::Link) => {
                    targets.push(Target { path: path.as_str().to_owned(), shown: given.clone(), explicit: true });
                }
                Some(Found::Other) => {
                    return Err(SearchError(format!("{given}: neither a file nor a folder")));
                }
                None => {
                    return Err(SearchError(format!("{given}: no such file or folder in the workspace")));
                }
            },
        }
    }
    Ok(query.with_filename.unwrap_or(several))
}

fn matcher(query: &Query) -> Result<RegexMatcher, SearchError> {
    let mut builder = RegexMatcherBuilder::new();
    builder
        .multi_line(true)
        .unicode(true)
        .octal(false)
        .fixed_strings(query.fixed)
        .whole_line(query.line)
        .word(query.word)
        .case_insensitive(query.case == Case::Ignore)
        .case_smart(query.case == Case::Smart)
        .size_limit(32 << 20)
        .dfa_size_limit(64 << 20);
    if query.multiline {
        builder.dot_matches_new_line(query.dotall);
    } else {
        builder.line_terminator(Some(b'\n')).dot_matches_new_line(false);
        if !query.text && !query.binary {
            builder.ban_byte(Some(b'\0'));
        }
    }
    builder.build_many(&query.patterns).map_err(|e| {
        let hint = if query.fixed { "" } else { "\nescape special characters with a backslash, or search plain text with -F" };
        SearchError(format!("{e}{hint}"))
    })
}

struct Work<'a> {
    root: &'a Root,
    scope: &'a Scope,
    query: &'a Query,
    matcher: RegexMatcher,
    with_filename: bool,
    deadline: Instant,
    per_file: usize,
}

impl Work<'_> {
    fn searcher(&self) -> Searcher {
        let query = self.query;
        let mut builder = SearcherBuilder::new();
        builder
            .line_number(query.line_number)
            .invert_match(query.invert)
            .multi_line(query.multiline)
            .before_context(query.before)
            .after_context(query.after)
            .max_matches(query.max_count)
            .heap_limit(Some(HEAP_BYTES));
        builder.build()
    }

    /// Searches `targets` on all cores; what they print is put together in their order.
    fn all(&self, targets: &[Target], limit: usize, answer: &mut Answer) {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8)).min(targets.len().div_ceil(64)).max(1);
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel::<(usize, Vec<Vec<u8>>, Vec<String>)>(64);
            for _ in 0..threads {
                let send = send.clone();
                let (next, stop) = (&next, &stop);
                scope.spawn(move || {
                    let mut searcher = self.searcher();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(batch) = targets.chunks(BATCH).nth(at).filter(|_| !stop.load(Ordering::Relaxed)) else {
                            break;
                        };
                        let (mut parts, mut notes) = (Vec::new(), Vec::new());
                        for target in batch {
                            let (printed, note) = self.one(target, &mut searcher);
                            notes.extend(note);
                            if !printed.is_empty() {
                                parts.push(printed);
                            }
                        }
                        if send.send((at, parts, notes)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(send);
            let mut waiting = std::collections::BTreeMap::new();
            let mut printed = Vec::new();
            let mut at = 0;
            for (index, parts, notes) in receive {
                answer.notes.extend(notes);
                waiting.insert(index, parts);
                while let Some(parts) = waiting.remove(&at) {
                    at += 1;
                    for part in parts {
                        if !printed.is_empty() && self.query.output == Output::Lines {
                            if self.query.heading {
                                printed.push(b'\n');
                            } else if self.query.before > 0 || self.query.after > 0 {
                                printed.extend_from_slice(b"--\n");
                            }
                        }
                        printed.extend_from_slice(&part);
                    }
                }
                if printed.len() > limit && !stop.swap(true, Ordering::Relaxed) {
                    answer.stopped = Some("limit");
                }
                if Instant::now() > self.deadline && !stop.swap(true, Ordering::Relaxed) {
                    answer.stopped = Some("time");
                }
            }
            answer.found = !printed.is_empty();
            answer.stdout = String::from_utf8(printed).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        });
        answer.notes.sort_by(|a, b| path_order(a, b));
    }

    /// Searches one file; what it prints, and a note if it was not searched.
    fn one(&self, target: &Target, searcher: &mut Searcher) -> (Vec<u8>, Option<String>) {
        let query = self.query;
        let Ok(path) = RelPath::new(&target.path) else {
            return (Vec::new(), Some(format!("{:?} (its name holds control characters)", target.path)));
        };
        let opened = match self.root.open_read(self.scope, &path) {
            Ok(opened) => opened,
            Err(refused) => return (Vec::new(), Some(refused.to_string())),
        };
        if opened.bytes > MAX_FILE_BYTES {
            return (Vec::new(), Some(format!("{} ({} bytes, over the limit)", target.path, opened.bytes)));
        }
        searcher.set_binary_detection(if query.text {
            BinaryDetection::none()
        } else if query.binary || target.explicit {
            BinaryDetection::convert(b'\0')
        } else {
            BinaryDetection::quit(b'\0')
        });
        let mut out = Capped { bytes: Vec::new(), most: self.per_file, full: false };
        let result = match query.output {
            Output::Lines => {
                let mut printer = StandardBuilder::new()
                    .heading(query.heading)
                    .path(self.with_filename)
                    .only_matching(query.only_matching)
                    .column(query.column)
                    .byte_offset(query.byte_offset)
                    .trim_ascii(query.trim)
                    .max_columns(query.max_columns)
                    .separator_context(Some(b"--".to_vec()))
                    .build_no_color(&mut out);
                let sink = printer.sink_with_path(&self.matcher, &target.shown);
                searcher.search_file(&self.matcher, &opened.file, sink)
            }
            other => {
                let kind = match other {
                    Output::Count => SummaryKind::Count,
                    Output::CountMatches => SummaryKind::CountMatches,
                    Output::FilesWithout => SummaryKind::PathWithoutMatch,
                    _ => SummaryKind::PathWithMatch,
                };
                let mut printer = SummaryBuilder::new().kind(kind).path(self.with_filename).exclude_zero(true).build_no_color(&mut out);
                let sink = printer.sink_with_path(&self.matcher, &target.shown);
                searcher.search_file(&self.matcher, &opened.file, sink)
            }
        };
        let note = match result {
            Ok(()) => None,
            // Past the whole output's limit: the search stops there and says so.
            Err(_) if out.full => None,
            Err(error) => Some(format!("{}: {error}", target.path)),
        };
        (out.bytes, note)
    }
}

/// Stops a printer that would fill the memory.
struct Capped {
    bytes: Vec<u8>,
    most: usize,
    full: bool,
}

impl std::io::Write for Capped {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        self.full = self.bytes.len() + part.len() > self.most;
        if self.full {
            return Err(std::io::Error::other("too much output"));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
