//! Which tier a subtask starts on, and where it goes when that was not enough.
//!
//! Three questions, three functions: [`start`] (where to begin), [`after_failure`] (the answer was bad),
//! [`after_trouble`] (there was no answer). Trouble never raises a tier: a busy provider says nothing
//! about the work. Every decision carries its reason in plain words, for the screen.
//! Nothing here knows a price: estimates arrive in [`Facts`].

mod escalate;
mod start;
mod trouble;

#[cfg(test)]
mod tests;

pub use escalate::{Bounds, Decision, Failure, Next, Tried, after_failure};
pub use start::{Estimate, Facts, Route, Skipped, Stuck, start};
pub use trouble::{GiveUp, Remedy, Repair, Trouble, after_trouble, backoff};
