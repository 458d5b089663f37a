//! The run, driven by a world in miniature.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod attempts;
mod batches;
mod bulk;
mod compaction;
mod errands;
mod gates;
mod hedge;
mod images;
mod instructed;
mod laws;
mod mcp;
mod merges;
mod open;
mod park;
mod passes;
mod plan;
mod price;
mod services;
mod trouble;
mod waiting;
mod warm;
mod work;
mod world;
