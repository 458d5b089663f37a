//! Which of the ready subtasks starts next, and what a plan takes with so many workers.
//!
//! List scheduling: whenever a worker is free, the ready task of the highest rank starts; no worker idles while a task
//! is ready. The rank is the time from a task's start to the end of everything that waits for it ([`Ranks`]), or, for a
//! plan that is known whole, the best of a few orders tried in virtual time ([`best_ranks`]). The engine and
//! `brigade simulate` take tasks from the same [`Ready`].
//!
//! Nothing here starts anything, or knows a price or a limit.

mod estimate;
mod gate;
mod ranks;
mod ready;
mod virtual_time;

pub use estimate::estimate;
pub use gate::{Gate, Passed};
pub use ranks::Ranks;
pub use ready::Ready;
pub use virtual_time::{Graph, Report, Timetable, best_ranks, run, simulate};
