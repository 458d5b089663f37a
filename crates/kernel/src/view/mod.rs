//! What people and programs are shown of a run: folds of its events, and nothing that is not in them.

mod public;

pub use public::{public, rfc3339};
