//! The journal on SQLite: one writer thread that shares an fsync among all who wait, a few readers.
//!
//! [`Sqlite`] is the handle; `writer` owns the only connection that writes, `reader` verifies what
//! it returns, `schema` decides whose file this is, `directory` knows the streams.

mod directory;
mod file;
mod queue;
mod reader;
mod schema;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use queue::{Queue, Queued, Work};
use reader::Readers;
use writer::Writer;

use crate::{AppendError, Batch, BlobHash, Journal, ReadError, Stored, Stream, Ticket};

/// Bytes that may wait for the disk before [`Ticket::admitted`] makes appenders wait (64 MiB).
const QUEUE_BYTES: usize = 64 << 20;

/// Why there is no journal to use.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Directory or file cannot be written.
    #[error("cannot write {path}: make it writable, or point BRIGADE_HOME elsewhere")]
    ReadOnly {
        /// What cannot be written.
        path: PathBuf,
    },
    /// The home lies on a file system shared between machines.
    #[error("{path} lies on a network file system ({kind}), where locks do not hold: point BRIGADE_HOME at a local disk")]
    Network {
        /// The home.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
    /// A later brigade wrote it.
    #[error("the journal {path} has schema {found}, this brigade knows up to {supported}: use the newer brigade")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest version this build reads.
        supported: i64,
    },
    /// Some other database, or no database at all.
    #[error("{path} is not a brigade journal: move it away, or point BRIGADE_HOME elsewhere")]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// The file does not read as a database any more.
    #[error("the journal {path} is damaged ({reason}): keep a copy, then restore a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's own words.
        reason: String,
    },
    /// The linked SQLite has the WAL-reset fault.
    #[error("SQLite {found} may lose committed data: build with 3.51.3 or later")]
    OldSqlite {
        /// The version linked.
        found: String,
    },
    /// SQLite would not wait for the disk.
    #[error("the journal {path} cannot be written durably: this SQLite refuses synchronous = FULL")]
    NotDurable {
        /// The file.
        path: PathBuf,
    },
    /// No space to open it.
    #[error("no space left to open the journal {path}: free some space")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another program holds it.
    #[error("the journal {path} has been locked by another program for 60 s: end that program")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot open {path}: {source}")]
    Unreachable {
        /// What could not be opened.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl OpenError {
    fn from_sqlite(path: &Path, error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_path_buf();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotAJournal { path },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { path },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, reason: error.to_string() },
            _ if file::out_of_space(&path) => Self::Full { path },
            _ => Self::Unreachable { path, source: io::Error::other(error) },
        }
    }
}

/// What can go wrong inside: SQLite's own errors, or damage that we found.
#[derive(Debug)]
enum Fault {
    Sqlite(rusqlite::Error),
    Read(ReadError),
    /// The tables are no longer this brigade's.
    Migrated,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// How a journal is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes the database may grow to, like a disk of that size; `None` is no limit.
    pub max_bytes: Option<u64>,
    /// Bytes that may wait for the disk before [`Ticket::admitted`] makes appenders wait.
    pub queue_bytes: usize,
    /// How long an append waits for another program's lock.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_bytes: None, queue_bytes: QUEUE_BYTES, patience: Duration::from_secs(120) }
    }
}

/// The durable journal. Dropping it writes what is queued, then ends its thread.
pub struct Sqlite {
    path: Arc<Path>,
    queue: Arc<Queue>,
    readers: Readers,
    /// What a ticket says whose writer is gone.
    abandoned: AppendError,
    writer: Option<JoinHandle<()>>,
}

impl Sqlite {
    /// Opens the journal at this path, e.g. `$BRIGADE_HOME/journal.db`; makes it, and its
    /// directory, when there is none.
    ///
    /// # Errors
    /// [`OpenError`] names the path and the remedy.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, Options::default())
    }

    /// Opens with other bounds than the default ones.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with(path: &Path, options: Options) -> Result<Self, OpenError> {
        Self::open_as(path, &options, schema::STEPS)
    }

    fn open_as(path: &Path, options: &Options, steps: &[&str]) -> Result<Self, OpenError> {
        file::prepare(path)?;
        let unreachable = |source| OpenError::Unreachable { path: path.into(), source };
        let path: Arc<Path> = std::path::absolute(path).map_err(unreachable)?.into();
        let conn = schema::connect_writer(&path, steps)?;
        let identity = file::Identity::of(&path).map_err(unreachable)?;
        let counted = Arc::new(AtomicBool::new(false));
        let readers = Readers::open(path.clone(), identity, counted.clone()).map_err(|e| OpenError::from_sqlite(&path, e))?;
        let queue = Arc::new(Queue::new(options.queue_bytes));
        let writer =
            Writer::new(conn, path.clone(), identity, queue.clone(), counted, options).map_err(|e| OpenError::from_sqlite(&path, e))?;
        let writer = std::thread::Builder::new().name("journal".into()).spawn(move || writer.run()).map_err(unreachable)?;
        let abandoned = AppendError::Poisoned { path: path.to_string_lossy().into(), reason: "its writer ended".into() };
        Ok(Self { path, queue, readers, abandoned, writer: Some(writer) })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads everything and names all damage: streams, blobs, and SQLite's own structure. Slow.
    ///
    /// # Errors
    /// [`ReadError::Storage`] when it cannot even be looked at.
    pub fn verify(&self) -> Result<Vec<ReadError>, ReadError> {
        verify::verify(self, &self.readers)
    }

    fn enqueue(&self, work: Work, size: usize) -> Ticket {
        let (ticket, stub) = Ticket::new(self.abandoned.clone());
        match self.queue.enter(Queued { work, stub, size }) {
            Some(place) => ticket.behind(queue::gate(&self.queue), place),
            None => ticket,
        }
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Journal for Sqlite {
    fn append(&self, batch: Batch) -> Ticket {
        match batch.check() {
            Ok(()) => {
                let size = batch.size();
                self.enqueue(Work::Append(batch), size)
            }
            Err(refusal) => Ticket::resolved(Err(refusal)),
        }
    }

    fn remove(&self, stream: &Stream) -> Ticket {
        self.enqueue(Work::Remove(stream.clone()), 128)
    }

    fn compact(&self) -> Ticket {
        self.enqueue(Work::Compact, 128)
    }

    fn version(&self, stream: &Stream) -> Result<u64, ReadError> {
        self.readers.version(stream)
    }

    fn read(&self, stream: &Stream, from_seq: u64, limit: usize) -> Result<Vec<Stored>, ReadError> {
        self.readers.read(stream, from_seq, limit)
    }

    fn read_keyed(&self, stream: &Stream, from: (i64, u64), limit: usize) -> Result<Vec<Stored>, ReadError> {
        self.readers.read_keyed(stream, from, limit)
    }

    fn streams(&self, prefix: &str) -> Result<Vec<(Stream, u64)>, ReadError> {
        self.readers.streams(prefix)
    }

    fn blob(&self, hash: &BlobHash) -> Result<Option<Vec<u8>>, ReadError> {
        self.readers.blob(hash)
    }

    fn pulse(&self) -> Result<u64, ReadError> {
        self.readers.pulse()
    }

    fn size_on_disk(&self) -> io::Result<u64> {
        file::size_on_disk(&self.path)
    }
}
