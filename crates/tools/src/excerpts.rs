//! Texts of the files in a subtask's read scope, for its prompt. Reads only; what is not text is left out.

use crate::files;
use crate::gate::{Globs, RelPath, Scope};
use crate::view::View;

/// Largest file taken.
const FILE_BYTES: u64 = 1 << 20;
/// Most files taken.
const MOST_FILES: usize = 200;

/// Path and text of every file that the globs name, in path order, up to `limit_bytes` in all.
/// Callers trim by relevance; this only bounds what is read.
pub fn excerpts(view: &View, globs: &[String], limit_bytes: u64) -> Vec<(String, String)> {
    let Ok(read) = Globs::new(globs) else { return Vec::new() };
    let scope = Scope { read, write: Globs::none() };
    let Ok((names, _)) = files::list(view, &scope, None, None, usize::MAX) else { return Vec::new() };
    let mut found = Vec::new();
    let mut room = limit_bytes;
    for name in names.lines().take(MOST_FILES) {
        let Ok(path) = RelPath::new(name) else { continue };
        let Ok(bytes) = view.root().read(&scope, &path, FILE_BYTES) else { continue };
        let Ok(text) = String::from_utf8(bytes) else { continue };
        if text.contains('\0') {
            continue;
        }
        room = room.saturating_sub(text.len() as u64);
        found.push((name.to_owned(), text));
        if room == 0 {
            break;
        }
    }
    found
}

/// Every file of the workspace, one path a line, cut to `limit` bytes: what a planner is told of it.
pub fn listing(view: &View, limit: usize) -> String {
    let Ok((names, _)) = files::list(view, &Scope::whole(), None, None, usize::MAX) else { return String::new() };
    if names.len() <= limit {
        return names;
    }
    let end = names[..limit].rfind('\n').unwrap_or(0);
    format!("{}\n({} more files)\n", &names[..end], names[end..].lines().count().saturating_sub(1))
}
