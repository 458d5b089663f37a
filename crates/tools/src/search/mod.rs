//! `search`: ripgrep's own libraries behind the path gate, with ripgrep's arguments and ripgrep's answers.
//!
//! Flags that are not offered are refused by name, as an error of use. Results come sorted by path, and stop at a bound.
//! Never searched: `.git`, secrets, files out of the read scope, anything but regular files.

mod args;
mod names;
mod rules;
mod run;
mod walk;

use std::time::{Duration, Instant};

pub use args::{Query, parse};
pub(crate) use rules::{CONTENT, Rules, Said};
pub use run::{Answer, run};
pub(crate) use walk::{Tree, path_order};

/// How long files of one name are looked for.
const NAMED_TIME: Duration = Duration::from_secs(5);

/// Every file of this name that a search would cover, hidden folders included, and whether all folders were looked at.
pub(crate) fn named(view: &crate::View, name: &str) -> (Vec<String>, bool) {
    let Ok(query) = parse(&["--files".to_owned()]) else { return (Vec::new(), true) };
    let query = Query { hidden: true, ..query };
    let Ok((mut found, whole)) = walk::files(view.root(), &view.tree(), "", &query, Instant::now() + NAMED_TIME) else {
        return (Vec::new(), false);
    };
    found.retain(|path| path.rsplit('/').next() == Some(name));
    (found, whole)
}

/// Why a search was not made; ripgrep would exit 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SearchError(pub String);
