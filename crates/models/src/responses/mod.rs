//! The Responses dialect: what is sent, and what comes back.

pub(crate) mod compact;
pub(crate) mod event;
pub(crate) mod fold;
pub(crate) mod item;
pub(crate) mod request;
