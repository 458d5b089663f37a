//! ACTS: the loop that journals events and performs actions. The only place for tasks and timers.
//!
//! It decides nothing: when a `match` here would choose a run's future, it belongs in `kernel`.
//! Read first: [`engine`], then [`perform`].

pub mod accounts;
mod batches;
mod claims;
pub mod clock;
pub mod commands;
mod compose;
mod content;
pub mod engine;
pub mod errand;
pub mod failpoint;
pub mod gates;
pub mod hands;
pub mod history;
pub mod home;
pub mod input;
pub mod land;
pub mod mcp;
mod outputs;
pub mod partial;
pub mod perform;
mod price;
pub mod record;
pub mod reuse;
pub mod rows;
mod schema;
pub mod start;
pub mod treasury;

pub use clock::Clock;
pub use engine::{Engine, EngineError, Leave, Models, World};
pub use errand::Agents;
pub use hands::Hands;
pub use home::{Home, HomeError};
pub use mcp::Mcp;
pub use record::Recorded;
pub use start::{Shared, StartError};
pub use treasury::Treasury;
