//! What one transaction does to streams and blobs: checks first, then writes, entries last.
//!
//! Entries are kept between transactions and trusted only while no other process has committed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::super::Fault;
use super::super::directory::{self, Entry, Home};
use crate::ticket::{Appended, Outcome};
use crate::{AppendError, Batch, BlobHash, ReadError, Record, Stream, checksum};

/// Records of one stream at most; the other half of a record's id is its stream's.
const STREAM_LIMIT: u64 = u32::MAX as u64;
/// Entries remembered between transactions.
const REMEMBERED: usize = 10_000;

/// A stream as this transaction sees it.
struct Known {
    stream: Stream,
    entry: Entry,
    /// The entry's checksum in the table; `None` when it is not there yet.
    stored: Option<u64>,
    moved: bool,
}

/// The statements every record needs, looked up once per transaction.
pub(super) struct Inserts<'c> {
    record: CachedStatement<'c>,
    key: CachedStatement<'c>,
}

impl<'c> Inserts<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        let record = conn.prepare_cached("INSERT INTO records (id, key, sum, bytes) VALUES (?1, ?2, ?3, ?4)")?;
        let key = conn.prepare_cached("INSERT INTO keys (stream, key, seq) VALUES (?1, ?2, ?3)")?;
        Ok(Self { record, key })
    }

    fn insert(&mut self, entry: &mut Entry, records: &[Record]) -> rusqlite::Result<()> {
        for record in records {
            let seq = entry.version + 1;
            let sum = checksum::record(entry.head, entry.id, seq, record.key, &record.bytes);
            let id = entry.base() + seq.cast_signed();
            self.record.execute((id, record.key, sum.cast_signed(), &record.bytes[..]))?;
            if let Some(key) = record.key {
                self.key.execute((entry.id, key, seq.cast_signed()))?;
                entry.keys = entry.keys.wrapping_add(checksum::key(seq, key));
            }
            entry.version = seq;
            entry.head = sum;
        }
        Ok(())
    }
}

pub(super) struct Ledger {
    path: Arc<Path>,
    counted: Arc<AtomicBool>,
    places: HashMap<Stream, usize>,
    known: Vec<Known>,
    /// Places of the streams whose entries have moved in this transaction.
    moved: Vec<usize>,
    home: Option<Home>,
    home_moved: bool,
    data_version: i64,
    schema: i64,
}

impl Ledger {
    pub(super) fn new(path: Arc<Path>, counted: Arc<AtomicBool>, conn: &Connection) -> rusqlite::Result<Self> {
        let schema = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(Self {
            path,
            counted,
            places: HashMap::new(),
            known: Vec::new(),
            moved: Vec::new(),
            home: None,
            home_moved: false,
            data_version: -1,
            schema,
        })
    }

    /// Forgets what another process may have changed; call it first in each transaction.
    pub(super) fn refresh(&mut self, conn: &Connection) -> Result<(), Fault> {
        let number = |pragma| conn.prepare_cached(pragma)?.query_row([], |row| row.get::<_, i64>(0));
        let seen = number("PRAGMA data_version")?;
        if seen != self.data_version || self.known.len() > REMEMBERED {
            self.forget();
            // A newer brigade may have migrated the file under us: then our rows are no longer theirs.
            if number("PRAGMA user_version")? != self.schema {
                return Err(Fault::Migrated);
            }
            self.data_version = seen;
        }
        Ok(())
    }

    /// Forgets everything, after a transaction that was rolled back.
    pub(super) fn forget(&mut self) {
        self.places.clear();
        self.known.clear();
        self.moved.clear();
        self.home = None;
        self.home_moved = false;
        self.data_version = -1;
    }

    /// Where the stream stands in `known`, if there is such a stream.
    fn place(&mut self, conn: &Connection, stream: &Stream) -> Result<Option<usize>, Fault> {
        if let Some(place) = self.places.get(stream) {
            return Ok(Some(*place));
        }
        let Some(entry) = directory::find(conn, &self.path, stream, &self.counted)? else {
            return Ok(None);
        };
        Ok(Some(self.remember(stream, entry, Some(entry.sum(stream.as_str())))))
    }

    fn remember(&mut self, stream: &Stream, entry: Entry, stored: Option<u64>) -> usize {
        let place = self.known.len();
        self.known.push(Known { stream: stream.clone(), entry, stored, moved: false });
        self.places.insert(stream.clone(), place);
        place
    }

    fn version(&mut self, conn: &Connection, stream: &Stream) -> Result<u64, Fault> {
        Ok(self.place(conn, stream)?.map_or(0, |place| self.known[place].entry.version))
    }

    fn home(&mut self, conn: &Connection) -> Result<&mut Home, Fault> {
        if self.home.is_none() {
            self.home = Some(Home::load(conn)?);
        }
        Ok(self.home.as_mut().expect("loaded just above"))
    }

    /// The stream's entry to write to, made when there is none.
    fn entry(&mut self, conn: &Connection, stream: &Stream) -> Result<&mut Entry, Fault> {
        let place = match self.place(conn, stream)? {
            Some(place) => place,
            None => {
                let home = self.home(conn)?;
                let id = home.next_id;
                home.next_id += 1;
                home.streams += 1;
                self.home_moved = true;
                self.remember(stream, Entry::new(stream, id), None)
            }
        };
        let known = &mut self.known[place];
        if !std::mem::replace(&mut known.moved, true) {
            self.moved.push(place);
        }
        Ok(&mut known.entry)
    }

    /// The outer result is the transaction's fate, the inner one the batch's own.
    pub(super) fn append(&mut self, conn: &Connection, inserts: &mut Inserts<'_>, batch: &Batch) -> Result<Outcome, Fault> {
        match self.admit(conn, batch) {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => return Ok(Err(refusal)),
            Err(Fault::Read(error)) => return Ok(Err(AppendError::Damaged(error))),
            Err(fault) => return Err(fault),
        }
        for (stream, blob) in &batch.blobs {
            let id = match find_blob(conn, &blob.hash())? {
                Some(id) => id,
                None => {
                    conn.prepare_cached("INSERT INTO blobs (hash, bytes) VALUES (?1, ?2)")?
                        .execute(params![&blob.hash().0[..], blob.bytes()])?;
                    conn.last_insert_rowid()
                }
            };
            self.refer(conn, stream, id)?;
        }
        for (stream, hash) in &batch.blob_refs {
            let id = find_blob(conn, hash)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            self.refer(conn, stream, id)?;
        }
        let mut versions: Vec<(Stream, u64)> = Vec::with_capacity(batch.appends.len());
        for (stream, records) in &batch.appends {
            let entry = self.entry(conn, stream)?;
            inserts.insert(entry, records)?;
            let version = entry.version;
            match versions.iter_mut().find(|(named, _)| named == stream) {
                Some((_, earlier)) => *earlier = version,
                None => versions.push((stream.clone(), version)),
            }
        }
        Ok(Ok(Appended { versions }))
    }

    /// Looks at everything a batch depends on before the first byte is written.
    fn admit(&mut self, conn: &Connection, batch: &Batch) -> Result<Result<(), AppendError>, Fault> {
        for (stream, expected) in &batch.expects {
            let found = self.version(conn, stream)?;
            if found != *expected {
                return Ok(Err(AppendError::Conflict { stream: stream.clone(), expected: *expected, found }));
            }
        }
        // A batch is far too small to matter twice: its whole growth is counted against each stream.
        let growth: usize = batch.appends.iter().map(|(_, records)| records.len()).sum();
        for (stream, _) in &batch.appends {
            let size = self.version(conn, stream)? + growth as u64;
            if size > STREAM_LIMIT {
                let (size, limit) = (usize::try_from(size).unwrap_or(usize::MAX), STREAM_LIMIT as usize);
                return Ok(Err(AppendError::TooLarge { what: "stream", size, limit }));
            }
        }
        for (stream, _) in &batch.blobs {
            self.place(conn, stream)?;
        }
        for (stream, hash) in &batch.blob_refs {
            self.place(conn, stream)?;
            let brought = batch.blobs.iter().any(|(_, blob)| blob.hash() == *hash);
            if !brought && find_blob(conn, hash)?.is_none() {
                return Ok(Err(AppendError::UnknownBlob { hash: *hash }));
            }
        }
        Ok(Ok(()))
    }

    fn refer(&mut self, conn: &Connection, stream: &Stream, blob: i64) -> Result<(), Fault> {
        let id = self.entry(conn, stream)?.id;
        conn.prepare_cached("INSERT INTO blob_refs (stream, blob) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?.execute((id, blob))?;
        Ok(())
    }

    pub(super) fn remove(&mut self, conn: &Connection, stream: &Stream) -> Result<Outcome, Fault> {
        // What this transaction holds in memory must be in the tables before rows are deleted there.
        self.store(conn)?;
        self.places.remove(stream);
        let found = conn
            .prepare_cached("SELECT id, sum FROM streams WHERE name = ?1")?
            .query_row([stream.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        let Some((id, sum)) = found else {
            return Ok(Ok(Appended::default()));
        };
        let damaged = matches!(self.place(conn, stream), Err(Fault::Read(ReadError::Damaged { .. })));
        self.places.remove(stream);
        delete(conn, stream, id)?;
        let home = self.home(conn)?;
        home.streams -= 1;
        home.digest = home.digest.wrapping_sub(sum.cast_unsigned());
        if damaged {
            // Its checksum was part of the sum as it was written, not as it is read now.
            (home.streams, home.digest) = directory::add_up(conn)?;
        }
        self.home_moved = true;
        Ok(Ok(Appended::default()))
    }

    /// Writes the entries that have moved; call it last in each transaction.
    pub(super) fn store(&mut self, conn: &Connection) -> Result<(), Fault> {
        if !self.moved.is_empty() {
            let mut digest = self.home(conn)?.digest;
            for place in std::mem::take(&mut self.moved) {
                let known = &mut self.known[place];
                let sum = known.entry.sum(known.stream.as_str());
                directory::store(conn, &known.stream, &known.entry)?;
                digest = digest.wrapping_add(sum).wrapping_sub(known.stored.unwrap_or(0));
                known.stored = Some(sum);
                known.moved = false;
            }
            self.home(conn)?.digest = digest;
            self.home_moved = true;
        }
        if self.home_moved {
            self.home(conn)?.store(conn)?;
            self.home_moved = false;
        }
        Ok(())
    }
}

fn find_blob(conn: &Connection, hash: &BlobHash) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT id FROM blobs WHERE hash = ?1")?.query_row([&hash.0[..]], |row| row.get(0)).optional()
}

fn delete(conn: &Connection, stream: &Stream, id: i64) -> rusqlite::Result<()> {
    conn.execute(
        "DELETE FROM blobs WHERE id IN (SELECT blob FROM blob_refs WHERE stream = ?1)
         AND NOT EXISTS (SELECT 1 FROM blob_refs r WHERE r.blob = blobs.id AND r.stream <> ?1)",
        [id],
    )?;
    conn.execute("DELETE FROM blob_refs WHERE stream = ?1", [id])?;
    conn.execute("DELETE FROM keys WHERE stream = ?1", [id])?;
    conn.execute("DELETE FROM records WHERE id BETWEEN ?1 AND ?2", [id << 32, (id << 32) + i64::from(u32::MAX)])?;
    conn.execute("DELETE FROM streams WHERE name = ?1", [stream.as_str()])?;
    Ok(())
}
