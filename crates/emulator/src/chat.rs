//! The Chat Completions dialect: `POST /v1/chat/completions`, streamed and not.

mod request;
mod write;

pub(crate) use request::read;
pub(crate) use write::{stream, whole};
