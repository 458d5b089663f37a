//! What a person sees: progress while a run works, tables afterwards. Everything is a fold of recorded events.

mod closing;
mod columns;
pub mod contexts;
mod failures;
mod living;
mod preview;
mod progress;
mod results;
mod say;
pub mod seen;

pub use closing::{closing, instant, next};
pub use columns::{Column, Table, cut, one_line, span};
pub use failures::Failures;
pub use preview::preview;
pub use progress::{Level, Progress};
pub use results::Results;
pub use say::{json_line, paint, print, print_from_outside, remark};
