//! `search`: ripgrep's own libraries behind the path gate, with ripgrep's arguments and ripgrep's answers.
//!
//! Flags that are not offered are refused by name, as an error of use. Results come sorted by path, and stop at a bound.
//! Never searched: `.git`, secrets, files out of the read scope, anything but regular files.

mod args;
mod names;
mod rules;
mod run;
mod walk;

pub use args::{Query, parse};
pub(crate) use rules::{CONTENT, Rules, Said};
pub use run::{Answer, run};
pub(crate) use walk::{Tree, path_order};

/// Why a search was not made; ripgrep would exit 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SearchError(pub String);
