//! The run, driven by a world in miniature.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod laws;
mod plan;
mod world;
