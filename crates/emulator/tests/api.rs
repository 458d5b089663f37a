//! The emulator over real HTTP: each test is a claim of the emulator checklist (responses-api.md
//! §10.1); numbers in comments are its items.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail like tests")]

#[path = "api/batches.rs"]
mod batches;
#[path = "api/chain.rs"]
mod chain;
#[path = "api/chat.rs"]
mod chat;
#[path = "api/compact.rs"]
mod compact;
#[path = "api/faults.rs"]
mod faults;
#[path = "api/ledger.rs"]
mod ledger;
#[path = "api/output.rs"]
mod output;
#[path = "api/requests.rs"]
mod requests;
#[path = "api/rules.rs"]
mod rules;
#[path = "api/schema.rs"]
mod schema;
#[path = "api/stage.rs"]
mod stage;
#[path = "api/streams.rs"]
mod streams;
