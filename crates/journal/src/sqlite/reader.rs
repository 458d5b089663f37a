//! Reads that verify: nothing leaves here whose checksum, place or neighbour does not fit.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row};

use super::directory::{self, Entry};
use super::file::Identity;
use super::{Fault, schema};
use crate::{BlobHash, READ_LIMIT, ReadError, Stored, Stream, checksum};

/// Connections kept for reading; a fifth reader waits for one of them.
const READERS: usize = 4;

struct Pool {
    idle: Vec<Connection>,
    open: usize,
}

/// A few connections, lent to whoever reads.
pub(super) struct Readers {
    path: Arc<Path>,
    identity: Identity,
    pool: Mutex<Pool>,
    returned: Condvar,
    pulse: Mutex<Option<Connection>>,
    /// Whether the directory has been counted since the journal was opened.
    counted: Arc<AtomicBool>,
    /// Streams whose keys have been added up since then, by id.
    keys_counted: Mutex<HashSet<i64>>,
}

impl Readers {
    pub(super) fn open(path: Arc<Path>, identity: Identity, counted: Arc<AtomicBool>) -> rusqlite::Result<Self> {
        let first = schema::connect_reader(&path)?;
        Ok(Self {
            path,
            identity,
            pool: Mutex::new(Pool { idle: vec![first], open: 1 }),
            returned: Condvar::new(),
            pulse: Mutex::new(None),
            counted,
            keys_counted: Mutex::default(),
        })
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A further connection, unless the path names another file by now: its pages would be mixed
    /// with our log.
    fn connect(&self) -> Result<Connection, Fault> {
        if Identity::of(&self.path).ok() != Some(self.identity) {
            return Err(self.storage("the file was deleted or replaced").into());
        }
        Ok(schema::connect_reader(&self.path)?)
    }

    fn borrow(&self) -> Result<Connection, Fault> {
        let mut pool = self.pool();
        loop {
            if let Some(conn) = pool.idle.pop() {
                return Ok(conn);
            }
            if pool.open < READERS {
                match self.connect() {
                    Ok(conn) => {
                        pool.open += 1;
                        return Ok(conn);
                    }
                    // Out of descriptors, say: share those there are.
                    Err(fault) if pool.open == 0 => return Err(fault),
                    Err(_) => {}
                }
            }
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, conn: Connection) {
        self.pool().idle.push(conn);
        self.returned.notify_one();
    }

    /// Runs a read in one snapshot. Damage that SQLite itself reports is laid at `stream`'s door.
    pub(super) fn snapshot<T>(&self, stream: Option<&Stream>, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, ReadError> {
        let conn = self.borrow().map_err(|fault| self.explain(fault, stream))?;
        let result = (|| {
            conn.prepare_cached("BEGIN")?.execute([])?;
            let result = read(&conn);
            let ended = conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
            if ended.is_err() && !conn.is_autocommit() {
                let _ = conn.execute_batch("ROLLBACK");
            }
            result
        })();
        self.give_back(conn);
        result.map_err(|fault| self.explain(fault, stream))
    }

    fn storage(&self, reason: &str) -> ReadError {
        ReadError::Storage { path: self.path.to_string_lossy().into(), reason: reason.into() }
    }

    pub(super) fn explain(&self, fault: Fault, stream: Option<&Stream>) -> ReadError {
        match (fault, stream) {
            (Fault::Read(error), _) => error,
            (Fault::Migrated, _) => self.storage("a newer brigade has migrated it"),
            (Fault::Sqlite(error), Some(stream)) if damage(&error) => {
                ReadError::Damaged { stream: stream.clone(), seq: 0, what: "a page of the database" }
            }
            (Fault::Sqlite(error), _) => self.storage(&error.to_string()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn find(&self, conn: &Connection, stream: &Stream) -> Result<Option<Entry>, Fault> {
        directory::find(conn, &self.path, stream, &self.counted)
    }

    pub(super) fn version(&self, stream: &Stream) -> Result<u64, ReadError> {
        self.snapshot(Some(stream), |conn| Ok(self.find(conn, stream)?.map_or(0, |entry| entry.version)))
    }

    pub(super) fn streams(&self, prefix: &str) -> Result<Vec<(Stream, u64)>, ReadError> {
        self.snapshot(None, |conn| {
            directory::count_once(conn, &self.path, &self.counted)?;
            directory::list(conn, &self.path, prefix)
        })
    }

    pub(super) fn read(&self, stream: &Stream, from_seq: u64, limit: usize) -> Result<Vec<Stored>, ReadError> {
        self.snapshot(Some(stream), |conn| match self.find(conn, stream)? {
            Some(entry) => records(conn, stream, &entry, from_seq.max(1), limit),
            None => Ok(Vec::new()),
        })
    }

    pub(super) fn read_keyed(&self, stream: &Stream, from: (i64, u64), limit: usize) -> Result<Vec<Stored>, ReadError> {
        self.snapshot(Some(stream), |conn| {
            let Some(entry) = self.find(conn, stream)? else {
                return Ok(Vec::new());
            };
            let counted = || self.keys_counted.lock().unwrap_or_else(PoisonError::into_inner);
            if !counted().contains(&entry.id) {
                count_keys(conn, stream, &entry)?;
                counted().insert(entry.id);
            }
            keyed(conn, stream, &entry, from, limit)
        })
    }

    pub(super) fn blob(&self, hash: &BlobHash) -> Result<Option<Vec<u8>>, ReadError> {
        let bytes = self.snapshot(None, |conn| {
            let mut statement = conn.prepare_cached("SELECT bytes FROM blobs WHERE hash = ?1")?;
            let found = statement.query_row([&hash.0[..]], |row| row.get::<_, Vec<u8>>(0)).optional();
            match found {
                Err(error) if damage(&error) || conversion(&error) => Err(ReadError::DamagedBlob { hash: *hash }.into()),
                found => Ok(found?),
            }
        })?;
        match bytes {
            Some(bytes) if BlobHash::of(&bytes) != *hash => Err(ReadError::DamagedBlob { hash: *hash }),
            bytes => Ok(bytes),
        }
    }

    /// `data_version` tells one connection of other connections' commits, so one connection is kept
    /// for it.
    pub(super) fn pulse(&self) -> Result<u64, ReadError> {
        let mut kept = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        let result = (|| {
            let conn = match kept.take() {
                Some(conn) => conn,
                None => self.connect()?,
            };
            let conn = kept.insert(conn);
            let version: i64 = conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
            Ok(version.cast_unsigned())
        })();
        result.map_err(|fault| self.explain(fault, None))
    }
}

/// Whether SQLite says that the file, not the disk or a lock, is at fault.
pub(super) fn damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// A column that no longer holds what was put there.
fn conversion(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..))
}

/// One record row: id, key, sum, bytes.
fn taken(row: &Row<'_>) -> rusqlite::Result<(i64, Option<i64>, u64, Vec<u8>)> {
    Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.cast_unsigned(), row.get(3)?))
}

fn records(conn: &Connection, stream: &Stream, entry: &Entry, from: u64, limit: usize) -> Result<Vec<Stored>, Fault> {
    let end = entry.version.min(from.saturating_add(limit as u64).saturating_sub(1));
    if from > end {
        return Ok(Vec::new());
    }
    let at = |seq: u64| entry.base() + seq.cast_signed();
    let lost = |seq: u64, what| Fault::Read(ReadError::Damaged { stream: stream.clone(), seq, what });
    let unfit = |seq: u64| {
        move |error: rusqlite::Error| match damage(&error) || conversion(&error) {
            true => lost(seq, "a page of the database"),
            false => error.into(),
        }
    };
    let mut previous = match from {
        1 => checksum::seed(stream.as_str(), entry.id),
        _ => conn
            .prepare_cached("SELECT sum FROM records WHERE id = ?1")?
            .query_row([at(from - 1)], |row| row.get::<_, i64>(0))
            .optional()
            .map_err(unfit(from - 1))?
            .ok_or_else(|| lost(from - 1, "it is missing"))?
            .cast_unsigned(),
    };
    let mut statement = conn.prepare_cached("SELECT id, key, sum, bytes FROM records WHERE id BETWEEN ?1 AND ?2 ORDER BY id")?;
    let mut rows = statement.query([at(from), at(end)]).map_err(unfit(from))?;
    let mut read = Vec::with_capacity(usize::try_from(end - from + 1).unwrap_or(0).min(4096));
    let mut size = 0;
    for seq in from..=end {
        let row = rows.next().map_err(unfit(seq))?.ok_or_else(|| lost(seq, "it is missing"))?;
        let (id, key, sum, bytes) = taken(row).map_err(unfit(seq))?;
        if id != at(seq) {
            return Err(lost(seq, "it is missing"));
        }
        if sum != checksum::record(previous, entry.id, seq, key, &bytes) {
            return Err(lost(seq, "its checksum does not fit"));
        }
        if seq == entry.version && sum != entry.head {
            return Err(lost(seq, "it is not the last one written"));
        }
        size += bytes.len();
        if size > READ_LIMIT && !read.is_empty() {
            break;
        }
        previous = sum;
        read.push(Stored { seq, key, bytes });
    }
    Ok(read)
}

/// Adds up the keys of a stream: a lost key would make a record invisible to keyed reads.
pub(super) fn count_keys(conn: &Connection, stream: &Stream, entry: &Entry) -> Result<(), Fault> {
    let mut statement = conn.prepare_cached("SELECT seq, key FROM keys WHERE stream = ?1 ORDER BY key, seq")?;
    let mut rows = statement.query([entry.id])?;
    let (mut sum, mut last) = (0_u64, None);
    let mut sorted = true;
    while let Some(row) = rows.next()? {
        let (seq, key) = (row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?);
        sum = sum.wrapping_add(checksum::key(seq, key));
        sorted &= last < Some((key, seq));
        last = Some((key, seq));
    }
    if sum == entry.keys && sorted {
        return Ok(());
    }
    Err(ReadError::Damaged { stream: stream.clone(), seq: 0, what: "its keys do not add up" }.into())
}

fn keyed(conn: &Connection, stream: &Stream, entry: &Entry, from: (i64, u64), limit: usize) -> Result<Vec<Stored>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT r.id, r.key, r.sum, r.bytes, k.key, k.seq, p.sum FROM keys k
         LEFT JOIN records r ON r.id = ?2 + k.seq LEFT JOIN records p ON p.id = ?2 + k.seq - 1
         WHERE k.stream = ?1 AND (k.key, k.seq) >= (?3, ?4) ORDER BY k.key, k.seq LIMIT ?5",
    )?;
    let from_seq = i64::try_from(from.1).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query((entry.id, entry.base(), from.0, from_seq, limit))?;
    let (mut read, mut size) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let seq = row.get::<_, i64>(5)?.cast_unsigned();
        let lost = |what| Fault::Read(ReadError::Damaged { stream: stream.clone(), seq, what });
        let previous = match seq {
            1 => Some(checksum::seed(stream.as_str(), entry.id)),
            _ => row.get::<_, Option<i64>>(6)?.map(i64::cast_unsigned),
        };
        let unfit = |error: rusqlite::Error| match damage(&error) {
            true => lost("a page of the database"),
            false if conversion(&error) => lost("it is missing"),
            false => error.into(),
        };
        let (_, key, sum, bytes) = taken(row).map_err(unfit)?;
        let previous = previous.ok_or_else(|| lost("the record before it is missing"))?;
        if key != Some(row.get(4)?) || sum != checksum::record(previous, entry.id, seq, key, &bytes) {
            return Err(lost("its checksum does not fit"));
        }
        size += bytes.len();
        if size > READ_LIMIT && !read.is_empty() {
            break;
        }
        read.push(Stored { seq, key, bytes });
    }
    Ok(read)
}
