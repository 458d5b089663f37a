//! The walk that ripgrep would make, over a list of names instead of a folder: a view is files of two folders.

use ignore::Match;
use ignore::overrides::Override;
use ignore::types::Types;

use super::rules::{AT, RIPGREP, RIPGREP_NO_GIT, Rules, Said};
use super::walk::{overrides, path_order, types};
use super::{Query, SearchError};
use crate::gate::{RelPath, Root, Scope};

/// Largest ignore file read.
const IGNORE_BYTES: u64 = 4 << 20;

/// Names one thread sifts at least.
const SHARE: usize = 4_000;

/// Files beneath `start` (relative, empty = all), relative to it, in order. `names` are all files of the tree, in that order too.
pub(super) fn files(root: &Root, names: &[String], as_git: bool, start: &str, query: &Query) -> Result<Vec<String>, SearchError> {
    let under = if start.is_empty() { String::new() } else { format!("{start}/") };
    let from = names.partition_point(|name| path_order(name, &under).is_lt());
    let count = names[from..].partition_point(|name| name.starts_with(&under));
    let beneath = &names[from..from + count];
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8)).min(count.div_ceil(SHARE)).max(1);
    let git = as_git || query.no_require_git;
    let read = |path: &str| {
        names.binary_search_by(|name| path_order(name, path)).ok()?;
        root.read(&Scope::whole(), &RelPath::new(path).ok()?, IGNORE_BYTES).ok()
    };
    let sift = |share: &[String]| -> Result<Vec<String>, SearchError> {
        let rules = Rules::new(
            if query.no_ignore {
                &[]
            } else if git {
                RIPGREP
            } else {
                RIPGREP_NO_GIT
            },
            read,
        );
        let sieve = Sieve { overrides: overrides(AT, query)?, types: types(query)?, hidden: query.hidden, rules };
        Ok(sift(root, share, &under, query, sieve))
    };
    std::thread::scope(|scope| {
        let shares = beneath.chunks(count.div_ceil(threads).max(1));
        let running: Vec<_> = shares.map(|share| scope.spawn(move || sift(share))).collect();
        let mut found = Vec::with_capacity(count);
        for thread in running {
            found.append(&mut thread.join().expect("sifting names does not panic")?);
        }
        Ok(found)
    })
}

fn sift(root: &Root, names: &[String], under: &str, query: &Query, mut sieve: Sieve<'_>) -> Vec<String> {
    let mut found = Vec::new();
    // Folders on the way to the last name, each with whether the walk goes into it.
    let mut way: Vec<(&str, bool)> = Vec::new();
    for name in names {
        while way.last().is_some_and(|(folder, _)| !name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))) {
            way.pop();
        }
        let mut into = way.last().is_none_or(|(_, into)| *into);
        let known = way.last().map_or(under.len(), |(folder, _)| folder.len() + 1);
        for (at, _) in name[known..].match_indices('/') {
            let folder = &name[..known + at];
            into = into && sieve.passes(folder, true);
            way.push((folder, into));
        }
        if !into || query.max_depth.is_some_and(|most| way.len() + 1 > most) || !sieve.passes(name, false) {
            continue;
        }
        if query.max_filesize.is_some_and(|most| bytes(root, name).is_some_and(|bytes| bytes > most)) {
            continue;
        }
        found.push(name[under.len()..].to_owned());
    }
    found
}

fn bytes(root: &Root, name: &str) -> Option<u64> {
    Some(root.open_read(&Scope::whole(), &RelPath::new(name).ok()?).ok()?.bytes)
}

struct Sieve<'a> {
    overrides: Override,
    types: Types,
    hidden: bool,
    rules: Rules<'a>,
}

impl Sieve<'_> {
    /// The order is that of `ignore`'s own walk: globs of the command line, ignore files, types, hidden names.
    fn passes(&mut self, path: &str, is_folder: bool) -> bool {
        let full = || format!("{AT}/{path}");
        if !self.overrides.is_empty() {
            match self.overrides.matched(full(), is_folder) {
                Match::None => {}
                Match::Ignore(_) => return false,
                Match::Whitelist(_) => return true,
            }
        }
        let mut wanted = match self.rules.say(path, is_folder) {
            Said::Ignored => return false,
            Said::Wanted => true,
            Said::Nothing => false,
        };
        if !self.types.is_empty() {
            match self.types.matched(full(), is_folder) {
                Match::None => {}
                Match::Ignore(_) => return false,
                Match::Whitelist(_) => wanted = true,
            }
        }
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        wanted || self.hidden || !name.starts_with('.')
    }
}
