//! Calls that travel together: gathered, then handed to a provider's Batch API as one file.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::ModelRef;
use crate::run::event::CallNo;
use crate::time::Timestamp;

/// Calls of one model that are leased and not sent yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gathered {
    /// Each with the most bytes that its request has.
    pub calls: BTreeMap<CallNo, u64>,
    /// All of them.
    pub bytes: u64,
}

/// A batch that is with its provider, or on its way there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Our name for it, which the provider keeps beside its own.
    pub key: String,
    /// The model of all its calls.
    pub model: ModelRef,
    /// Calls that have not come back.
    pub calls: BTreeSet<CallNo>,
    /// How many it began with.
    pub lines: u64,
    /// The provider's name for it, once it is known to have taken it.
    pub id: Option<String>,
    /// Since when.
    pub since: Timestamp,
}
