//! The one thread that writes: takes what is queued, commits it with one fsync, resolves the tickets.
//!
//! It never resolves a ticket `Ok` before the commit is on disk, and never goes on after an fsync
//! has failed: what the disk holds then is known only to the next one who opens it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, ffi};

use super::file::{self, Identity};
use super::queue::{Next, Queue, Queued, Work};
use super::reader::damage;
use super::{Fault, Options};
use crate::ticket::{Appended, Outcome};
use crate::{AppendError, ReadError, failpoint};

mod ledger;
use ledger::{Inserts, Ledger};

/// Pages in the write-ahead log that call for a checkpoint (4 MiB).
const CHECKPOINT_PAGES: i32 = 1000;
/// Pages at which writing waits a moment for readers to let the log go (64 MiB).
const CROWDED_PAGES: i32 = 16_000;
/// Quiet time after which the log is emptied and given back.
const IDLE: Duration = Duration::from_millis(500);

pub(super) struct Writer {
    conn: Connection,
    path: Arc<Path>,
    wal: PathBuf,
    identity: Identity,
    wal_identity: Option<Identity>,
    queue: Arc<Queue>,
    ledger: Ledger,
    /// Pages in the write-ahead log after the last commit.
    pages: Arc<AtomicI32>,
    /// Milliseconds to wait for another program's lock.
    patience_ms: Arc<AtomicU64>,
    patience: Duration,
}

/// What becomes of a transaction that failed.
enum Failure {
    /// Nothing was written; the batch may come again.
    Refused(AppendError),
    /// Nothing can be relied on any more.
    Fatal(String),
}

impl Writer {
    pub(super) fn new(
        mut conn: Connection,
        path: Arc<Path>,
        identity: Identity,
        queue: Arc<Queue>,
        counted: Arc<AtomicBool>,
        options: &Options,
    ) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicI32::new(0));
        let seen = pages.clone();
        conn.wal_hook(Some(move |_: &mut _, pages| {
            seen.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let patience_ms = Arc::new(AtomicU64::new(as_ms(options.patience)));
        conn.busy_handler(Some(waiting(patience_ms.clone())))?;
        if let Some(bytes) = options.max_bytes {
            let page: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
            let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page;
            conn.pragma_update(None, "max_page_count", pages.clamp(16, i64::from(u32::MAX) - 1))?;
        }
        let wal = file::beside(&path, "-wal");
        let ledger = Ledger::new(path.clone(), counted, &conn)?;
        let patience = options.patience;
        Ok(Self { conn, path, wal, identity, wal_identity: None, queue, ledger, pages, patience_ms, patience })
    }

    pub(super) fn run(mut self) {
        loop {
            let idle = (self.pages.load(Ordering::Relaxed) > 0).then_some(IDLE);
            match self.queue.next(idle) {
                Next::Group(group) => {
                    self.write(group);
                    failpoint::hit("after-tickets");
                    let pages = self.pages.load(Ordering::Relaxed);
                    if pages >= CROWDED_PAGES {
                        self.checkpoint("RESTART", Duration::from_millis(100));
                    } else if pages >= CHECKPOINT_PAGES {
                        self.checkpoint("PASSIVE", Duration::ZERO);
                    }
                }
                Next::Idle => {
                    self.checkpoint("TRUNCATE", Duration::from_millis(20));
                    self.pages.store(0, Ordering::Relaxed);
                }
                Next::Closed => {
                    self.checkpoint("TRUNCATE", Duration::ZERO);
                    return;
                }
            }
        }
    }

    fn write(&mut self, group: Vec<Queued>) {
        let outcomes = match (self.queue.poisoned(), &group[..]) {
            (Some(refusal), _) => vec![Err(refusal); group.len()],
            (None, [Queued { work: Work::Compact, .. }]) => vec![self.compact()],
            (None, _) => self.outcomes(&group),
        };
        let mut freed = 0;
        let mut waiting = Vec::with_capacity(group.len());
        for (queued, outcome) in group.into_iter().zip(outcomes) {
            freed += queued.size;
            waiting.extend(queued.stub.resolve(outcome));
        }
        // Woken only once all are resolved, or each would wake to wait for the next.
        drop(waiting);
        self.queue.leave(freed);
    }

    /// One transaction for all; when it fails as a whole, one for each, so that only the guilty fail.
    fn outcomes(&mut self, group: &[Queued]) -> Vec<Outcome> {
        match self.transact(group) {
            Ok(outcomes) => outcomes,
            // Nobody gets the lock sooner by being tried alone.
            Err(Failure::Refused(refusal @ AppendError::Busy { .. })) => {
                vec![Err(refusal); group.len()]
            }
            Err(Failure::Refused(_)) if group.len() > 1 => group.iter().map(|queued| self.single(queued)).collect(),
            Err(failure) => vec![Err(self.refusal(failure)); group.len()],
        }
    }

    fn single(&mut self, queued: &Queued) -> Outcome {
        if let Some(refusal) = self.queue.poisoned() {
            return Err(refusal);
        }
        match self.transact(std::slice::from_ref(queued)) {
            Ok(mut outcomes) => outcomes.pop().unwrap_or_else(|| Ok(Appended::default())),
            Err(failure) => Err(self.refusal(failure)),
        }
    }

    /// Poisons the journal after a fatal failure.
    fn refusal(&mut self, failure: Failure) -> AppendError {
        match failure {
            Failure::Refused(refusal) => refusal,
            Failure::Fatal(reason) => {
                let path = self.path.to_string_lossy().into();
                let refusal = AppendError::Poisoned { path, reason: reason.into() };
                self.queue.poison(&refusal);
                refusal
            }
        }
    }

    fn transact(&mut self, group: &[Queued]) -> Result<Vec<Outcome>, Failure> {
        let written = self.fill(group);
        let outcomes = match written {
            Ok(outcomes) => outcomes,
            Err(fault) => {
                self.give_up();
                return Err(self.judge(fault));
            }
        };
        failpoint::hit("before-commit");
        if let Err(error) = self.conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])) {
            self.give_up();
            return Err(self.judge(error.into()));
        }
        failpoint::hit("after-commit");
        // Committed, but is it in the file that the next process will open?
        self.same_files().map_err(Failure::Fatal)?;
        Ok(outcomes)
    }

    /// Everything of a transaction but its commit.
    fn fill(&mut self, group: &[Queued]) -> Result<Vec<Outcome>, Fault> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.ledger.refresh(&self.conn)?;
        let mut inserts = Inserts::new(&self.conn)?;
        let mut outcomes = Vec::with_capacity(group.len());
        for queued in group {
            outcomes.push(match &queued.work {
                Work::Append(batch) => self.ledger.append(&self.conn, &mut inserts, batch)?,
                Work::Remove(stream) => self.ledger.remove(&self.conn, stream)?,
                Work::Compact => Ok(Appended::default()),
            });
            failpoint::hit("in-batch");
        }
        self.ledger.store(&self.conn)?;
        Ok(outcomes)
    }

    fn give_up(&mut self) {
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        self.ledger.forget();
    }

    /// What an error means for the batch, and for everybody else.
    fn judge(&self, fault: Fault) -> Failure {
        let path = || self.path.to_string_lossy().into();
        let error = match fault {
            Fault::Read(error) => return Failure::Refused(AppendError::Damaged(error)),
            Fault::Migrated => return Failure::Fatal("a newer brigade has migrated it".into()),
            Fault::Sqlite(error) => error,
        };
        if damage(&error) {
            let reason = error.to_string().into();
            return Failure::Refused(AppendError::Damaged(ReadError::Storage { path: path(), reason }));
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Failure::Refused(AppendError::Full { path: path() }),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Failure::Refused(AppendError::Busy { path: path(), waited_s: self.patience.as_secs() })
            }
            // A failed fsync is never "full", whatever the disk says afterwards.
            _ if !failed_sync(&error) && file::out_of_space(&self.path) => Failure::Refused(AppendError::Full { path: path() }),
            _ => Failure::Fatal(error.to_string()),
        }
    }

    /// Refuses to go on when the path names another file, or none: others would not see our commits.
    fn same_files(&mut self) -> Result<(), String> {
        if Identity::of(&self.path).ok() != Some(self.identity) {
            return Err("its file was deleted or replaced".into());
        }
        let wal = Identity::of(&self.wal).map_err(|_| "its write-ahead log was deleted")?;
        if *self.wal_identity.get_or_insert(wal) != wal {
            return Err("its write-ahead log was replaced".into());
        }
        Ok(())
    }

    /// Copies the log into the database. Being late is no fault: the log keeps everything.
    fn checkpoint(&mut self, mode: &str, patience: Duration) {
        if self.queue.poisoned().is_some() {
            return;
        }
        failpoint::hit("before-checkpoint");
        self.patience_ms.store(as_ms(patience), Ordering::Relaxed);
        let done =
            self.conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok((row.get::<_, i32>(1)?, row.get::<_, i32>(2)?)));
        self.patience_ms.store(as_ms(self.patience), Ordering::Relaxed);
        failpoint::hit("after-checkpoint");
        match done {
            // All copied: the next commit starts the log over.
            Ok((pages, copied)) if copied >= pages => self.pages.store(0, Ordering::Relaxed),
            Ok(_) => {}
            Err(error) => {
                if let Failure::Fatal(reason) = self.judge(error.into()) {
                    self.refusal(Failure::Fatal(reason));
                }
            }
        }
    }

    fn compact(&mut self) -> Outcome {
        self.checkpoint("TRUNCATE", Duration::from_millis(100));
        if let Err(error) = self.conn.execute_batch("VACUUM") {
            let failure = self.judge(error.into());
            return Err(self.refusal(failure));
        }
        self.ledger.forget();
        self.checkpoint("TRUNCATE", Duration::from_millis(100));
        match self.queue.poisoned() {
            Some(refusal) => Err(refusal),
            None => Ok(Appended::default()),
        }
    }
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn failed_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

/// Waits for another program's lock: often at first, since groups of others take milliseconds.
fn waiting(patience_ms: Arc<AtomicU64>) -> impl FnMut(i32) -> bool + Send + 'static {
    let mut since = Instant::now();
    move |tries| {
        if tries == 0 {
            since = Instant::now();
        }
        if as_ms(since.elapsed()) >= patience_ms.load(Ordering::Relaxed) {
            return false;
        }
        let pause = match tries {
            0..20 => Duration::from_micros(100),
            20..200 => Duration::from_millis(1),
            _ => Duration::from_millis(5),
        };
        std::thread::sleep(pause);
        true
    }
}
