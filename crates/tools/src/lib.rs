//! (being built)

pub mod command;
pub mod sandbox;
