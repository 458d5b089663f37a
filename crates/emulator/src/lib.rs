//! Pretends: a scripted model API over real HTTP, with a ledger of every call.
//!
//! A scenario file says what each request is answered; the emulator speaks the Responses and the
//! Chat dialect, checks requests as the real service does, and misbehaves only where the script
//! says so. Nothing here thinks, and nothing here is shared with `models`: the wire types are
//! written twice on purpose, so that one misreading cannot hide in both.
//! Read [`Scenario`] first, then [`Emulator`].

mod answer;
mod ask;
mod batches;
mod catalog;
mod chat;
mod fault;
mod json;
mod ledger;
mod limits;
mod lookup;
mod picture;
mod play;
mod refusal;
mod responses;
mod rules;
mod scenario;
mod schema;
mod server;
mod store;
mod template;

pub use ledger::{CallRecord, LedgerSnapshot, Outcome, Spent, Totals};
pub use scenario::{Scenario, ScenarioError};
pub use server::{Emulator, Options, Running, StartError, serve_until};
