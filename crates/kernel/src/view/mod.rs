//! What people and programs are shown of a run: folds of its events, and nothing that is not in them.

pub mod context;
pub mod cost;
pub mod history;
pub mod preview;
mod public;
pub mod sketch;
pub mod timeline;
pub mod worth;

pub use public::{public, rfc3339, usd};

/// `1 file`, `3 files`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests;
