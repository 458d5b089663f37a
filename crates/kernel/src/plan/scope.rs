//! Scopes as text: whether a glob stays inside the workspace, and whether two may meet.
//!
//! This is the plan's half of the rule; what a path really leads to is decided where files are opened.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobSetBuilder};

/// Why a glob may not be a scope, with the remedy.
pub(super) fn refusal(glob: &str) -> Option<&'static str> {
    if glob.trim().is_empty() {
        return Some("is empty; name a path relative to the workspace");
    }
    if glob.chars().any(char::is_control) {
        return Some("holds a control character; remove it");
    }
    let drive = glob.as_bytes().get(1) == Some(&b':') && glob.as_bytes()[0].is_ascii_alphabetic();
    if glob.starts_with(['/', '\\', '~']) || drive {
        return Some("is absolute; name a path relative to the workspace");
    }
    // Braces hold alternatives, so each of them is a possible component.
    let parts = || glob.split(['/', '\\', '{', '}', ',']).map(str::trim);
    if parts().any(|part| part == "..") {
        return Some("leaves the workspace by `..`; name a path inside it");
    }
    if parts().any(|part| part.trim_end_matches(['.', ' ']).eq_ignore_ascii_case(".git")) {
        return Some("is inside .git, which no subtask may touch; name files of the work tree");
    }
    None
}

fn is_literal(glob: &str) -> bool {
    !glob.contains(['*', '?', '[', '{', '\\'])
}

/// Whether a glob can be compiled.
pub(super) fn is_readable(glob: &str) -> bool {
    is_literal(glob) || GlobBuilder::new(glob).literal_separator(true).build().is_ok()
}

/// The part before the first wildcard: every path the glob matches starts with it.
pub(super) fn fixed_part(glob: &str) -> &str {
    let end = glob.find(['*', '?', '[', '{', '\\']).unwrap_or(glob.len());
    glob[..end].trim_start_matches("./")
}

/// Whether two globs surely meet; two patterns that only might are not warned of.
pub(super) fn meet(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim_start_matches("./"), b.trim_start_matches("./"));
    let covers = |glob: &str, other: &str| {
        let whole = glob == "**" || glob == "**/*" || glob.ends_with("/**") && is_literal(&glob[..glob.len() - 3]);
        if whole {
            return fixed_part(other).starts_with(fixed_part(glob)) || glob.starts_with("**");
        }
        is_literal(other) && GlobBuilder::new(glob).literal_separator(true).build().is_ok_and(|g| g.compile_matcher().is_match(other))
    };
    a == b || covers(a, b) || covers(b, a)
}

/// The paths that no glob of a write scope covers; a glob also covers all beneath what it names.
pub(crate) fn outside(writes: &[String], paths: &[String]) -> Vec<String> {
    let mut set = GlobSetBuilder::new();
    for glob in writes {
        let plain = glob.trim_start_matches("./").trim_end_matches('/');
        if plain.is_empty() || plain == "." {
            return Vec::new();
        }
        for text in [plain.to_owned(), format!("{plain}/**")] {
            // One that cannot be read covers nothing: no tool has let it pass either.
            if let Ok(glob) = GlobBuilder::new(&text).literal_separator(true).build() {
                set.add(glob);
            }
        }
    }
    let covered = set.build().ok();
    paths.iter().filter(|path| covered.as_ref().is_none_or(|set| !set.is_match(path))).cloned().collect()
}

/// Alternatives one glob is opened into before it counts as reaching wherever its fixed part allows.
const ALTERNATIVES: usize = 64;

/// Whether a glob, which also covers all beneath what it names, can match a path inside a folder.
pub(crate) fn reaches(glob: &str, folder: &str) -> bool {
    let glob = glob.trim_start_matches("./").trim_end_matches('/');
    if glob.is_empty() || glob == "." {
        return true;
    }
    let folder: Vec<&str> = folder.split('/').collect();
    match opened(glob) {
        Some(globs) => globs.iter().any(|glob| into(&glob.split('/').collect::<Vec<_>>(), &folder)),
        None => {
            let (fixed, folder) = (fixed_part(glob), folder.join("/") + "/");
            fixed.starts_with(&folder) || folder.starts_with(fixed)
        }
    }
}

/// Whether a path inside the folder can begin with what these parts match: all places in the glob that each name leads to.
fn into(glob: &[&str], folder: &[&str]) -> bool {
    let skips = |at: usize| glob.get(at) == Some(&"**");
    let with_skips = |places: BTreeSet<usize>| {
        let further = places.iter().flat_map(|&at| (at..).take_while(|&at| skips(at)).map(|at| at + 1));
        further.chain(places.iter().copied()).collect::<BTreeSet<usize>>()
    };
    let matches = |part: &str, name: &str| {
        let glob = GlobBuilder::new(part).literal_separator(true).build();
        glob.is_ok_and(|glob| glob.compile_matcher().is_match(name))
    };
    let mut places = with_skips(BTreeSet::from([0]));
    for name in folder {
        // All of it is matched: it named a folder around this one.
        if places.contains(&glob.len()) {
            return true;
        }
        let next = places.into_iter().filter_map(|at| match glob[at] {
            "**" => Some(at),
            part => matches(part, name).then_some(at + 1),
        });
        places = with_skips(next.collect());
    }
    !places.is_empty()
}

/// A glob with its `{a,b}` written out; `None` where that is too much or too odd.
fn opened(glob: &str) -> Option<Vec<String>> {
    if glob.contains('\\') {
        return None;
    }
    let mut done = Vec::new();
    let mut open = vec![glob.to_owned()];
    while let Some(glob) = open.pop() {
        let Some(start) = glob.find('{') else {
            done.push(glob);
            continue;
        };
        let end = start + glob[start..].find('}')?;
        let inner = &glob[start + 1..end];
        if inner.contains('{') || done.len() + open.len() > ALTERNATIVES {
            return None;
        }
        open.extend(inner.split(',').map(|one| format!("{}{one}{}", &glob[..start], &glob[end + 1..])));
    }
    Some(done)
}
