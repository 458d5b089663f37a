//! Runs looked at and steered from other processes: the built binary against a scripted model API.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

#[path = "seeing/agents.rs"]
mod agents;
#[path = "seeing/batches.rs"]
mod batches;
#[path = "seeing/browser.rs"]
mod browser;
#[path = "seeing/budgets.rs"]
mod budgets;
#[path = "seeing/caching.rs"]
mod caching;
#[path = "seeing/codex.rs"]
mod codex;
#[path = "seeing/compaction.rs"]
mod compaction;
#[path = "seeing/continuing.rs"]
mod continuing;
#[path = "seeing/costing.rs"]
mod costing;
#[path = "seeing/hedging.rs"]
mod hedging;
#[path = "seeing/images.rs"]
mod images;
#[path = "seeing/looking.rs"]
mod looking;
#[path = "seeing/prefixes.rs"]
mod prefixes;
#[path = "seeing/quota.rs"]
mod quota;
#[path = "seeing/rows.rs"]
mod rows;
#[path = "seeing/servers.rs"]
mod servers;
#[path = "seeing/services.rs"]
mod services;
#[path = "seeing/spending.rs"]
mod spending;
#[path = "seeing/stage.rs"]
mod stage;
#[path = "seeing/steering.rs"]
mod steering;
#[path = "seeing/stopping.rs"]
mod stopping;
#[path = "seeing/trusting.rs"]
mod trusting;
#[path = "seeing/unreachable.rs"]
mod unreachable;
#[path = "seeing/writers.rs"]
mod writers;
