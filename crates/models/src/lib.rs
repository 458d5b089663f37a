//! ASKS: turns a [`Call`] into a provider's JSON and the bytes that come back into an [`Answer`] or a [`CallError`].
//!
//! The only home of provider JSON. It never retries (the engine has the single retry layer), never
//! prices a call, never decides what to do about a failure: it only says truthfully what happened.
//!
//! Read first: [`Model`], then [`Http`] (a provider on the network) and [`Scripted`] (a double in memory).
//! [`Decoder`] reads a recorded answer without a network.

mod batch;
mod chat;
mod decoder;
mod endpoint;
mod fault;
mod http;
mod loose;
mod pace;
mod picture;
mod probe;
mod reply;
mod responses;
mod scripted;
mod secret;
pub mod sse;
#[cfg(test)]
mod testing;

use std::future::Future;
use std::pin::Pin;

use brigade_kernel::call::{Answer, Call, CallError, ErrorClass};

pub use batch::{Batch, BatchLine};
pub use decoder::{Decoded, DecodedError, DecodedItem, Decoder, decode};
pub use endpoint::{Capabilities, Dialect, Endpoint, ToolForm};
pub use http::{BadEndpoint, Batches, Http};
pub use probe::{ListedModel, Probe};
pub use reply::Counts;
pub use scripted::Scripted;
pub use secret::{Redactor, Secret};

/// A future on the heap, as [`Model::call`] returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that answers calls: a provider, or a double of one.
pub trait Model: Send + Sync + std::fmt::Debug {
    /// One request, no retries. Dropping the future cancels the call.
    ///
    /// `sink` sees pieces of the answer as they arrive; they are a preview, and only the returned
    /// [`Answer`] counts: after an error, what was seen belongs to nothing.
    ///
    /// # Errors
    /// A [`CallError`] whose class says what may be done about it.
    fn call<'a>(&'a self, call: &'a Call, sink: &'a mut (dyn FnMut(Delta<'_>) + Send)) -> BoxFuture<'a, Result<Answer, CallError>>;

    /// Its Batch API, where it has one.
    fn batches(&self) -> Option<Batches<'_>> {
        None
    }

    /// Whether it can condense a conversation by itself.
    fn compacts(&self) -> bool {
        false
    }

    /// A call's conversation, condensed: the answer's items stand in place of the call's. One request, no retries.
    ///
    /// # Errors
    /// A [`CallError`]; where [`Model::compacts`] says no, of class `BadRequest`, and nothing was sent.
    fn compact<'a>(&'a self, _call: &'a Call) -> BoxFuture<'a, Result<Answer, CallError>> {
        Box::pin(async { Err(fault::error(ErrorClass::BadRequest, "this provider condenses no conversations", false)) })
    }
}

/// A piece of an answer while it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delta<'a> {
    /// More of the message text.
    Text(&'a str),
    /// More of the reasoning, where the provider shows it.
    Reasoning(&'a str),
    /// More of a refusal.
    Refusal(&'a str),
    /// More of a tool call's arguments: a sign of life, not for use before the answer is whole.
    Arguments(&'a str),
}
