//! Remembers: bytes in, bytes out, in order. Append-only streams of records, checksums, recovery.
//!
//! It has never heard of a run: it cannot tell what a record means, never rewrites one, and never
//! guesses at damaged bytes. Read [`Journal`] first; [`Sqlite`] is the real one, [`InMemory`] an
//! honest one for tests and dry runs. Whoever acts on a [`Ticket`] that resolved `Ok` may rely on
//! the batch surviving power loss.

mod batch;
mod checksum;
pub mod failpoint;
mod lock;
mod memory;
mod refusals;
mod sqlite;
mod stream;
mod ticket;
mod watch;

use std::fmt::Debug;
use std::io;

pub use batch::{BATCH_LIMIT, BLOB_LIMIT, Batch, Blob, BlobHash, RECORD_LIMIT, Record};
pub use lock::{LockError, RunLock};
pub use memory::InMemory;
pub use refusals::{AppendError, ReadError};
pub use sqlite::{OpenError, Options, Sqlite};
pub use stream::{BadStream, Stream};
pub use ticket::{Admitted, Appended, Ticket};
pub use watch::Watch;

/// Bytes a reader is given at most in one call (64 MiB); one record is always given.
pub const READ_LIMIT: usize = 64 << 20;

/// One record as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Place in its stream, contiguous from 1.
    pub seq: u64,
    /// The sort key given with the record, if any.
    pub key: Option<i64>,
    /// The bytes as given.
    pub bytes: Vec<u8>,
}

/// An append-only store of named streams and content-addressed blobs.
///
/// ```text
/// append(A) append(B) ─► queue ─► one transaction, one fsync ─► ticket A, ticket B resolve
/// ```
///
/// - Batches are applied in the order of the `append` calls, each all or nothing. A batch that
///   fails does not stop the ones behind it: chain dependent batches by [`Batch::expect`].
/// - Several processes may append to one journal; a stream's version moves only by appends.
/// - Reads see whole batches only, block the calling thread for a page-cache read (microseconds per
///   record), and verify every byte they return.
pub trait Journal: Send + Sync + Debug {
    /// Queues a batch and returns at once; the ticket resolves when the batch is durable or refused.
    /// Dropping the ticket does not withdraw the batch.
    fn append(&self, batch: Batch) -> Ticket;

    /// Queues the removal of a stream, its records, and the blobs no other stream refers to.
    /// Removing what is not there succeeds. Space returns to the file, and the bytes linger there
    /// until they are overwritten: `compact` gives the space to the disk and wipes them.
    fn remove(&self, stream: &Stream) -> Ticket;

    /// Queues giving free space back to the disk; nothing removed before is in the file after. Slow on a large journal; appends wait behind it.
    fn compact(&self) -> Ticket;

    /// The stream's last seq, 0 when it has no records.
    ///
    /// # Errors
    /// [`ReadError`] when the stream's head is damaged or the storage cannot be read.
    fn version(&self, stream: &Stream) -> Result<u64, ReadError>;

    /// Records from `from_seq` (1 is the first) in order: at most `limit`, fewer when they pass
    /// [`READ_LIMIT`] bytes, none only past the end.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] names stream and seq when any record asked for is not what was written.
    fn read(&self, stream: &Stream, from_seq: u64, limit: usize) -> Result<Vec<Stored>, ReadError>;

    /// Records that carry a key, ordered by (key, seq), from that pair on; limits as in `read`.
    /// The next page starts at `(last.key, last.seq + 1)`.
    ///
    /// # Errors
    /// As `read`.
    fn read_keyed(&self, stream: &Stream, from: (i64, u64), limit: usize) -> Result<Vec<Stored>, ReadError>;

    /// Every stream whose name starts with `prefix` (`""` is all), by name, with its version.
    ///
    /// # Errors
    /// [`ReadError`] when the directory of streams is damaged.
    fn streams(&self, prefix: &str) -> Result<Vec<(Stream, u64)>, ReadError>;

    /// The blob of that hash, verified; `None` when no stream holds it.
    ///
    /// # Errors
    /// [`ReadError::DamagedBlob`] when the bytes no longer have that hash.
    fn blob(&self, hash: &BlobHash) -> Result<Option<Vec<u8>>, ReadError>;

    /// A number that differs from the last one whenever anybody, in any process, has committed since.
    /// Costs microseconds; [`Watch`] is built on it.
    ///
    /// # Errors
    /// [`ReadError`] when the storage cannot be read.
    fn pulse(&self) -> Result<u64, ReadError>;

    /// Bytes held on disk (in memory for [`InMemory`]), write-ahead log included.
    ///
    /// # Errors
    /// When the files cannot be looked at.
    fn size_on_disk(&self) -> io::Result<u64>;
}
