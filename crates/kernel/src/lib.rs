//! DECIDES: the vocabulary of brigade, and a run as a pure state machine.
//!
//! Nothing here is async, reads a clock, draws a random number, or opens a file or socket:
//! time, file contents and answers arrive as values, and what should happen leaves as values.
//! That is what lets a run be replayed, attacked by generated cases, and simulated.
//!
//! Read first: [`call`] (what is asked of a model and what comes back), then `run`.

pub mod budget;
pub mod call;
pub mod catalog;
pub mod context;
pub mod ids;
pub mod image;
pub mod json_schema;
pub mod plan;
pub mod policy;
pub mod role;
pub mod route;
pub mod run;
pub mod schedule;
pub mod time;
pub mod tool;
pub mod units;
pub mod usage;
pub mod view;
