//! Which of the ready subtasks is the most urgent, and how many calls an account lets through.
//!
//! List scheduling: whenever a slot is free, the ready task of the highest rank starts; no slot idles while a task is
//! ready. A rank is the time from a task's start to the end of everything that waits for it, or the best of a few orders
//! tried in virtual time ([`best_ranks`]).
//!
//! Nothing here starts anything, or knows a price or a limit.

mod claims;
mod estimate;
mod gate;
mod order;

pub use claims::{Claim, Whose, whose};
pub use estimate::{call_ms, calls_expected, estimate};
pub use gate::{Class, Gate, Mark, Member, Pace, Pass, Passed, Timing, Visitor, Wait};
pub use order::{Graph, Timetable, best_ranks, run};
