//! What is appended together: expectations, records, blobs. All or nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::{AppendError, Stream};

/// Bytes of one record at most (16 MiB); larger things are blobs.
pub const RECORD_LIMIT: usize = 16 << 20;
/// Bytes of one blob at most (64 MiB).
pub const BLOB_LIMIT: usize = 64 << 20;
/// Bytes of one batch at most (128 MiB), records and blobs together.
pub const BATCH_LIMIT: usize = 128 << 20;

/// One record to append.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// What to remember; any bytes, also none.
    pub bytes: Vec<u8>,
    /// Sort key for [`read_keyed`](crate::Journal::read_keyed), e.g. a row's number. Keys may repeat.
    pub key: Option<i64>,
}

impl From<Vec<u8>> for Record {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, key: None }
    }
}

/// SHA-256 of a blob; as text 64 lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobHash(pub(crate) [u8; 32]);

impl BlobHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a blob's hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a blob hash: use 64 lowercase hex digits")]
pub struct BadBlobHash {
    /// The text as given, cut to 80 characters.
    pub value: String,
}

impl FromStr for BlobHash {
    type Err = BadBlobHash;
    fn from_str(text: &str) -> Result<Self, BadBlobHash> {
        let bad = || BadBlobHash { value: text.chars().take(80).collect() };
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        if text.len() != 64 {
            return Err(bad());
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let (high, low) = digit(pair[0]).zip(digit(pair[1])).ok_or_else(bad)?;
            *byte = high << 4 | low;
        }
        Ok(Self(hash))
    }
}

/// Bytes kept once, however many streams refer to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    hash: BlobHash,
    bytes: Vec<u8>,
}

impl Blob {
    /// Hashes and takes the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { hash: BlobHash::of(&bytes), bytes }
    }

    /// Its name.
    pub fn hash(&self) -> BlobHash {
        self.hash
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What is written together or not at all. An empty batch is a barrier: it resolves when
/// everything appended before it has.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(crate) expects: Vec<(Stream, u64)>,
    pub(crate) appends: Vec<(Stream, Vec<Record>)>,
    pub(crate) blobs: Vec<(Stream, Blob)>,
    pub(crate) blob_refs: Vec<(Stream, BlobHash)>,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The batch is refused unless the stream's last seq is exactly this.
    pub fn expect(mut self, stream: &Stream, version: u64) -> Self {
        self.expects.push((stream.clone(), version));
        self
    }

    /// Appends one record.
    pub fn record(self, stream: &Stream, record: impl Into<Record>) -> Self {
        self.records(stream, vec![record.into()])
    }

    /// Appends records in this order.
    pub fn records(mut self, stream: &Stream, mut records: Vec<Record>) -> Self {
        match self.appends.last_mut() {
            Some((last, all)) if last == stream => all.append(&mut records),
            _ => self.appends.push((stream.clone(), records)),
        }
        self
    }

    /// Keeps a blob for as long as the stream lives (or another that refers to it).
    pub fn blob(mut self, stream: &Stream, blob: Blob) -> Self {
        self.blobs.push((stream.clone(), blob));
        self
    }

    /// Keeps a blob that is in the journal already, or earlier in this batch, for this stream too.
    pub fn blob_ref(mut self, stream: &Stream, hash: BlobHash) -> Self {
        self.blob_refs.push((stream.clone(), hash));
        self
    }

    /// Bytes it carries, as the queue counts them.
    pub fn size(&self) -> usize {
        let records = self.appends.iter().flat_map(|(_, records)| records).map(|r| r.bytes.len() + 64);
        let blobs = self.blobs.iter().map(|(_, blob)| blob.bytes.len() + 128);
        records.chain(blobs).sum::<usize>() + 128
    }

    /// How many records go to each stream, by name.
    pub(crate) fn growth(&self) -> BTreeMap<&Stream, u64> {
        let mut growth = BTreeMap::new();
        for (stream, records) in &self.appends {
            *growth.entry(stream).or_default() += records.len() as u64;
        }
        growth
    }

    /// Refuses what is too large before it reaches the queue.
    pub(crate) fn check(&self) -> Result<(), AppendError> {
        let records = self.appends.iter().flat_map(|(_, records)| records).map(|r| r.bytes.len());
        let blobs = self.blobs.iter().map(|(_, blob)| blob.bytes.len());
        let too_large = |what, size, limit| Err(AppendError::TooLarge { what, size, limit });
        if let Some(size) = records.clone().find(|size| *size > RECORD_LIMIT) {
            return too_large("record", size, RECORD_LIMIT);
        }
        if let Some(size) = blobs.clone().find(|size| *size > BLOB_LIMIT) {
            return too_large("blob", size, BLOB_LIMIT);
        }
        let size = records.chain(blobs).sum();
        if size > BATCH_LIMIT {
            return too_large("batch", size, BATCH_LIMIT);
        }
        Ok(())
    }
}
