//! Agents: programs with hands and a model of their own (Codex CLI, Claude Code, any that prints JSON lines), sent on errands.
//!
//! An errand is one attempt of a subtask, or one job of the planner or reviewer. The program runs in the sandbox, in the
//! unit's view, with a private home that holds a copy of its login; its lines are read at one gate, with limits.
//! Nothing here decides whether an answer is good or who is asked next.
//!
//! Read first: [`Agent::run`], then `presets.toml`.

mod claude;
mod codex;
mod config;
mod doctor;
mod door;
mod find;
mod lines;
mod plain;
mod preset;
mod private;
mod prompt;
mod quota;
mod report;
mod run;

pub use config::{AgentConfig, Draft, FIELDS};
pub use doctor::{Seen, seen, version};
pub use find::{Found, find};
pub use preset::known;
pub use run::{Agent, Done, Errand};
