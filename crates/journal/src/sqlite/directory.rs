//! Which streams there are, how long each is, and what its last checksum was.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OptionalExtension, Row};

use super::Fault;
use crate::{ReadError, Stream, checksum};

/// One stream's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) version: u64,
    /// Checksum of the last record, or the stream's seed.
    pub(super) head: u64,
    /// Sum of the checksums of its keys.
    pub(super) keys: u64,
}

impl Entry {
    pub(super) fn new(stream: &Stream, id: i64) -> Self {
        Self { id, version: 0, head: checksum::seed(stream.as_str(), id), keys: 0 }
    }

    /// The entry's own checksum.
    pub(super) fn sum(&self, name: &str) -> u64 {
        checksum::entry(name, self.id, self.version, self.head ^ self.keys.rotate_left(32))
    }

    /// Key of the record before the first.
    pub(super) fn base(&self) -> i64 {
        self.id << 32
    }

    /// From columns id, version, head, keys, sum.
    fn from_row(row: &Row<'_>) -> rusqlite::Result<(Self, u64)> {
        let unsigned = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        let entry = Self { id: row.get(0)?, version: unsigned(1)?, head: unsigned(2)?, keys: unsigned(3)? };
        Ok((entry, unsigned(4)?))
    }
}

/// The stream's entry; `None` only when the directory as a whole has been counted and found sound,
/// so that a lost entry never looks like a new stream. Call it inside a transaction.
pub(super) fn find(conn: &Connection, path: &Path, stream: &Stream, counted: &AtomicBool) -> Result<Option<Entry>, Fault> {
    let found = conn
        .prepare_cached("SELECT id, version, head, keys, sum FROM streams WHERE name = ?1")?
        .query_row([stream.as_str()], Entry::from_row)
        .optional()?;
    match found {
        Some((entry, sum)) if sum == entry.sum(stream.as_str()) => Ok(Some(entry)),
        Some(_) => Err(ReadError::Damaged { stream: stream.clone(), seq: 0, what: "its directory entry" }.into()),
        None => {
            count_once(conn, path, counted)?;
            Ok(None)
        }
    }
}

/// [`count`], unless it has been done since the journal was opened.
pub(super) fn count_once(conn: &Connection, path: &Path, counted: &AtomicBool) -> Result<(), Fault> {
    if !counted.load(Ordering::Relaxed) {
        count(conn, path)?;
        counted.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Reads the whole directory and compares it with what the home row says. One pass of about a
/// microsecond per stream, once per open journal.
pub(super) fn count(conn: &Connection, path: &Path) -> Result<(), Fault> {
    let home = Home::load(conn)?;
    let mut statement = conn.prepare_cached("SELECT id, version, head, keys, sum, name FROM streams ORDER BY name")?;
    let mut rows = statement.query([])?;
    let (mut streams, mut digest, mut last) = (0, 0_u64, String::new());
    while let Some(row) = rows.next()? {
        let (entry, sum) = Entry::from_row(row)?;
        let name = row.get_ref(5)?.as_str().map_err(|_| damaged(path, "a name is no text"))?;
        if entry.sum(name) != sum || name <= last.as_str() {
            return Err(damaged(path, &format!("the entry of {name:?}")));
        }
        last.clear();
        last.push_str(name);
        streams += 1;
        digest = digest.wrapping_add(sum);
    }
    if (streams, digest) != (home.streams, home.digest) {
        return Err(damaged(path, &format!("{streams} streams of {}", home.streams)));
    }
    Ok(())
}

/// What the home row should say: streams and the sum of their checksums as they stand.
pub(super) fn add_up(conn: &Connection) -> rusqlite::Result<(i64, u64)> {
    let mut statement = conn.prepare("SELECT sum FROM streams")?;
    let mut rows = statement.query([])?;
    let (mut streams, mut digest) = (0, 0_u64);
    while let Some(row) = rows.next()? {
        streams += 1;
        digest = digest.wrapping_add(row.get::<_, i64>(0)?.cast_unsigned());
    }
    Ok((streams, digest))
}

fn damaged(path: &Path, what: &str) -> Fault {
    ReadError::DamagedDirectory { path: path.to_string_lossy().into(), what: what.into() }.into()
}

/// Streams by prefix, each with its version.
pub(super) fn list(conn: &Connection, path: &Path, prefix: &str) -> Result<Vec<(Stream, u64)>, Fault> {
    let mut statement =
        conn.prepare_cached("SELECT id, version, head, keys, sum, name FROM streams WHERE name >= ?1 AND name < ?2 ORDER BY name")?;
    let mut rows = statement.query([prefix, &format!("{prefix}\u{10ffff}")])?;
    let mut streams = Vec::new();
    while let Some(row) = rows.next()? {
        let (entry, sum) = Entry::from_row(row)?;
        let name = row.get_ref(5)?.as_str().map_err(|_| damaged(path, "a name is no text"))?;
        let stream = Stream::new(name).map_err(|bad| damaged(path, &bad.to_string()))?;
        if entry.sum(name) != sum {
            return Err(ReadError::Damaged { stream, seq: 0, what: "its directory entry" }.into());
        }
        streams.push((stream, entry.version));
    }
    Ok(streams)
}

/// The directory's own row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) next_id: i64,
    pub(super) streams: i64,
    /// Sum of the checksums of all entries.
    pub(super) digest: u64,
}

impl Home {
    pub(super) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        conn.prepare_cached("SELECT next_id, streams, digest FROM home")?
            .query_row([], |row| Ok(Self { next_id: row.get(0)?, streams: row.get(1)?, digest: row.get::<_, i64>(2)?.cast_unsigned() }))
    }

    pub(super) fn store(&self, conn: &Connection) -> rusqlite::Result<()> {
        conn.prepare_cached("UPDATE home SET next_id = ?1, streams = ?2, digest = ?3")?
            .execute((self.next_id, self.streams, self.digest.cast_signed()))
            .map(drop)
    }
}

/// Writes an entry.
pub(super) fn store(conn: &Connection, stream: &Stream, entry: &Entry) -> rusqlite::Result<()> {
    let sum = entry.sum(stream.as_str());
    conn.prepare_cached(
        "INSERT INTO streams (name, id, version, head, keys, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (name) DO UPDATE SET version = ?3, head = ?4, keys = ?5, sum = ?6",
    )?
    .execute((
        stream.as_str(),
        entry.id,
        entry.version.cast_signed(),
        entry.head.cast_signed(),
        entry.keys.cast_signed(),
        sum.cast_signed(),
    ))
    .map(drop)
}
