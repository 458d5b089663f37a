//! `list_files`, `read_file`, `write_file`: plain text in, plain text out.

use std::io::{BufRead, BufReader, Read};

use crate::brought::Whole;
use crate::gate::{Base, Edit, NewFile, Refusal, RelPath, Scope};
use crate::output;
use crate::search::{Query, parse, run};
use crate::view::View;

/// Files up to this size are read whole; of larger ones a range must be asked for.
const WHOLE_BYTES: u64 = 16 << 20;
/// How far into a large file a range may reach.
const SCAN_BYTES: u64 = 1 << 30;

/// Text to be shown, and whether some of it is missing.
pub(crate) type Shown = (String, bool);

/// The files in scope, one per line, sorted; folders are not listed.
pub(crate) fn list(view: &View, scope: &Scope, path: Option<&str>, glob: Option<&str>, limit: usize) -> Result<Shown, String> {
    let mut query = Query { hidden: true, ..parse(&["--files".to_owned()]).map_err(|e| e.to_string())? };
    if let Some(path) = path
        && let Some(path) = RelPath::or_root(path).map_err(|e| e.to_string())?
    {
        query.paths.push(path.as_str().to_owned());
    }
    // A glob here picks files; it does not bring ignored ones back, as ripgrep's -g would.
    let only = match glob {
        None => None,
        Some(glob) if glob.contains('/') => Some(crate::gate::Globs::new(&[glob]).map_err(|e| e.to_string())?),
        Some(glob) => Some(crate::gate::Globs::new(&[glob.to_owned(), format!("**/{glob}")]).map_err(|e| e.to_string())?),
    };
    let answer = run(view, scope, &query, usize::MAX).map_err(|e| e.to_string())?;
    let mut text = String::with_capacity(answer.stdout.len());
    for name in answer.stdout.lines().filter(|name| only.as_ref().is_none_or(|only| only.holds(name))) {
        text.push_str(name);
        text.push('\n');
    }
    let how = |first: usize, _: usize, _: usize| format!("narrow it with `path` or `glob` to see what follows file {}", first - 1);
    Ok(match output::cut(&text, limit, how) {
        Some(cut) => (cut, true),
        None => (text, answer.stopped.is_some()),
    })
}

/// A file's text, or the lines from `start` to `end` (counted from 1, both included); where a single line is too long to be had
/// by asking for fewer, also the whole of it.
pub(crate) fn read(
    view: &View,
    scope: &Scope,
    path: &str,
    start: Option<u64>,
    end: Option<u64>,
    limit: usize,
) -> Result<(Shown, Option<Whole>), String> {
    let path = RelPath::new(path).map_err(|e| e.to_string())?;
    let opened = view.root().open_read(scope, &path).map_err(|e| hint(view, scope, e))?;
    let (start_line, end_line) = (start.unwrap_or(1), end.unwrap_or(u64::MAX));
    if start_line == 0 || end_line < start_line {
        return Err(format!(
            "start_line {start_line}, end_line {end_line}: lines are counted from 1, and the last must not be before the first"
        ));
    }
    if opened.bytes > WHOLE_BYTES && end.is_none() {
        return Err(format!("{path:?} has {} bytes; give start_line and end_line", opened.bytes, path = path.as_str()));
    }
    let mut reader = BufReader::new(opened.file.take(SCAN_BYTES));
    let (mut bytes, mut line, mut number) = (Vec::new(), Vec::new(), 0);
    while number < end_line {
        line.clear();
        let read = reader.by_ref().take(WHOLE_BYTES).read_until(b'\n', &mut line).map_err(|e| format!("cannot read {path}: {e}"))?;
        if read == 0 {
            break;
        }
        number += 1;
        if number >= start_line {
            bytes.extend_from_slice(&line);
        }
        if bytes.len() as u64 > 2 * WHOLE_BYTES {
            return Err(format!("lines {start_line} to {number} of {path} already hold {} bytes; ask for fewer", bytes.len()));
        }
    }
    if start.is_some() && number < start_line {
        return Err(format!("{path} has {number} lines; start_line {start_line} is past its end"));
    }
    if bytes.contains(&0) {
        return Err(format!("{path} is binary ({} bytes), not text", opened.bytes));
    }
    let text = String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    let skipped = usize::try_from(start_line - 1).unwrap_or(usize::MAX);
    let whole = Whole::new(text);
    let mut in_a_line = false;
    let how = |first: usize, last: usize, _: usize| {
        in_a_line = first == last;
        if in_a_line {
            return whole.way();
        }
        format!(
            "read_file {:?} with start_line {}, end_line {}",
            path.as_str(),
            first.saturating_add(skipped),
            last.saturating_add(skipped)
        )
    };
    Ok(match output::cut(&whole.text, limit, how) {
        Some(cut) => ((cut, true), Some(whole).filter(|_| in_a_line)),
        None => ((whole.text, false), None),
    })
}

/// Writes a whole file.
pub(crate) fn write(view: &View, scope: &Scope, path: &str, content: &str) -> Result<Shown, String> {
    let path = RelPath::new(path).map_err(|e| e.to_string())?;
    let existed = view.root().look(&path).is_some();
    let to = NewFile { bytes: content.as_bytes().to_vec(), executable: None };
    let edit = Edit { path: path.clone(), base: Base::Any, to: Some(to) };
    view.commit(scope, &[edit]).map_err(|e| e.to_string())?;
    let verb = if existed { "replaced" } else { "created" };
    Ok((format!("{verb} {path} ({} lines, {} bytes)\n", content.lines().count(), content.len()), false))
}

/// A refusal, with the files of the same name when there are a few: models misplace folders more than names.
pub(crate) fn hint(view: &View, scope: &Scope, refused: Refusal) -> String {
    let message = refused.to_string();
    let Refusal::Absent { path } = refused else {
        return message;
    };
    let name = path.rsplit('/').next().unwrap_or(&path);
    let glob = globset::escape(name);
    match list(view, scope, None, Some(&glob), 2_000) {
        Ok((found, false)) if !found.is_empty() => {
            let names: Vec<&str> = found.lines().take(5).collect();
            format!("{message}; files of that name: {}", names.join(", "))
        }
        _ => format!("{message}; list_files shows what there is"),
    }
}
