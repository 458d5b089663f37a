//! Whether a glob can match anything inside a folder, without looking at files: who is shown a folder's instructions.

use std::collections::BTreeSet;

use globset::GlobBuilder;

use super::scope::{fixed_part, plain};

/// Alternatives one glob is opened into before it counts as reaching wherever its fixed part allows.
const ALTERNATIVES: usize = 64;

/// Whether a glob, which also covers all beneath what it names, can match a path inside a folder.
pub(crate) fn reaches(glob: &str, folder: &str) -> bool {
    let glob = &plain(glob);
    if glob.is_empty() {
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
