//! Why an append or a read did not happen.

use std::sync::Arc;

use crate::{BlobHash, Stream};

/// Why a batch was not written. Except after [`Poisoned`](Self::Poisoned), nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended first. Read again and decide anew.
    #[error("stream {stream} is at version {found}, not at {expected}")]
    Conflict {
        /// The stream that was not where the batch expected it.
        stream: Stream,
        /// The version the batch expected.
        expected: u64,
        /// The version found.
        found: u64,
    },
    /// Disk or quota is full. The same batch may be appended again once space has returned.
    #[error("no space left for the journal {path}: free some space, then resume")]
    Full {
        /// The journal's file.
        path: Arc<str>,
    },
    /// Another program has held the write lock for longer than brigade waits. Appending again is safe.
    #[error("the journal {path} has been locked by another program for {waited_s} s: end that program, then resume")]
    Busy {
        /// The journal's file.
        path: Arc<str>,
        /// Seconds waited.
        waited_s: u64,
    },
    /// The storage can no longer be trusted; every later append is refused too. Whether this batch
    /// survived is known only when the journal is opened again.
    #[error("the journal {path} can no longer be trusted ({reason}): stop, check the disk, start again")]
    Poisoned {
        /// The journal's file.
        path: Arc<str>,
        /// What happened.
        reason: Arc<str>,
    },
    /// The batch asks for more than the journal takes at once.
    #[error("a {what} of {size} bytes is over the limit of {limit}: split it")]
    TooLarge {
        /// `record`, `blob`, `batch`, or `stream` (then counted in records).
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit it passed.
        limit: usize,
    },
    /// The batch refers to a blob that is not in the journal.
    #[error("blob {hash} is not in the journal")]
    UnknownBlob {
        /// The hash referred to.
        hash: BlobHash,
    },
    /// What the batch would extend is damaged. Other streams go on.
    #[error(transparent)]
    Damaged(ReadError),
}

/// Why nothing could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The record at `seq` (0: the stream's head) is not what was written.
    #[error("stream {stream} is damaged at record {seq}: {what}")]
    Damaged {
        /// The damaged stream.
        stream: Stream,
        /// The first damaged record.
        seq: u64,
        /// What gave it away.
        what: &'static str,
    },
    /// The bytes stored under this hash have another hash.
    #[error("blob {hash} is damaged")]
    DamagedBlob {
        /// The hash asked for.
        hash: BlobHash,
    },
    /// The list of streams lost or changed entries.
    #[error("the directory of streams in {path} is damaged: {what}")]
    DamagedDirectory {
        /// The journal's file.
        path: Arc<str>,
        /// What gave it away.
        what: Arc<str>,
    },
    /// The storage does not answer.
    #[error("cannot read the journal {path}: {reason}")]
    Storage {
        /// The journal's file.
        path: Arc<str>,
        /// The storage's own words.
        reason: Arc<str>,
    },
}
