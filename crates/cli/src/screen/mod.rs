//! What a person sees: progress while a run works, tables afterwards. Everything is a fold of recorded events.

mod closing;
pub mod columns;
mod progress;
mod results;
mod say;
pub mod seen;

pub use closing::{closing, next};
pub use progress::{Level, Progress};
pub use results::Results;
pub use say::{json_line, paint, print, print_from_outside, remark, table};
