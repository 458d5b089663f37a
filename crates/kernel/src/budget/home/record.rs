//! What stands in the two streams of a home's ledger.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::Amounts;
use crate::ids::RunId;
use crate::time::Timestamp;

/// Names one lease of the home by where it stands in the stream `leases`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(u64, u32)", into = "(u64, u32)")]
pub struct HomeLease {
    /// The record.
    pub seq: u64,
    /// The entry in it, from 0.
    pub n: u32,
}

impl From<(u64, u32)> for HomeLease {
    fn from((seq, n): (u64, u32)) -> Self {
        Self { seq, n }
    }
}

impl From<HomeLease> for (u64, u32) {
    fn from(lease: HomeLease) -> Self {
        (lease.seq, lease.n)
    }
}

/// Tells the calls of one run from those of others, and says nothing of it once it is forgotten: a digest of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunMark(u64);

impl RunMark {
    /// The mark of a run.
    pub fn of(run: &RunId) -> Self {
        let digest = Sha256::digest(run.as_str().as_bytes());
        let first = digest.first_chunk().expect("a digest has 32 bytes");
        Self(u64::from_be_bytes(*first))
    }
}

/// Promises that were judged together: a record of `leases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promised {
    /// When.
    pub at: Timestamp,
    /// One after another.
    pub calls: Vec<Promise>,
}

/// A promise to one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// Whose call.
    pub run: RunMark,
    /// The most it can take.
    #[serde(flatten)]
    pub most: Amounts,
}

/// Calls that ended: a record of `spending`. It names no run, and so outlives every one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// One after another.
    pub calls: Vec<Spent>,
}

/// What one call took; nothing, if it was never sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Its lease, if it needed one of the home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<HomeLease>,
    /// When it began.
    pub at: Timestamp,
    /// What it took.
    #[serde(flatten)]
    pub took: Amounts,
}
