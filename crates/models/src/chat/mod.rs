//! The Chat Completions dialect, as local servers and gateways speak it.

pub(crate) mod fold;
pub(crate) mod request;
mod think;
