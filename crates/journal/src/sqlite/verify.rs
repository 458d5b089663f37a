//! Reads everything once and names all that is damaged.

use super::reader::{Readers, count_keys};
use super::{Fault, Sqlite, directory};
use crate::{BlobHash, Journal, ReadError, Stream};

/// Records looked at in one snapshot.
const PAGE: usize = 1000;

pub(super) fn verify(journal: &Sqlite, readers: &Readers) -> Result<Vec<ReadError>, ReadError> {
    let mut damage = Vec::new();
    let whole = readers.snapshot(None, |conn| {
        let report: Vec<String> =
            conn.prepare("PRAGMA integrity_check(20)")?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        if report != ["ok"] {
            let path = readers.path().to_string_lossy().into();
            return Err(ReadError::DamagedDirectory { path, what: report.join("; ").into() }.into());
        }
        directory::count(conn, readers.path())
    });
    damage.extend(whole.err());
    let streams = match journal.streams("") {
        Ok(streams) => streams,
        Err(error) => {
            damage.push(error);
            return Ok(damage);
        }
    };
    for (stream, _) in streams {
        damage.extend(stream_damage(journal, readers, &stream));
    }
    damage.extend(blob_damage(readers)?);
    Ok(damage)
}

fn stream_damage(journal: &Sqlite, readers: &Readers, stream: &Stream) -> Option<ReadError> {
    let mut from = 1;
    loop {
        match journal.read(stream, from, PAGE) {
            Ok(page) => match page.last() {
                Some(last) => from = last.seq + 1,
                None => break,
            },
            Err(error) => return Some(error),
        }
    }
    let keys = readers.snapshot(Some(stream), |conn| match readers.find(conn, stream)? {
        Some(entry) => count_keys(conn, stream, &entry),
        None => Ok(()),
    });
    keys.err()
}

fn blob_damage(readers: &Readers) -> Result<Vec<ReadError>, ReadError> {
    let hashes = readers.snapshot(None, |conn| {
        let mut statement = conn.prepare("SELECT hash FROM blobs ORDER BY id")?;
        let hashes = statement.query_map([], |row| row.get::<_, [u8; 32]>(0))?;
        hashes.collect::<rusqlite::Result<Vec<_>>>().map_err(Fault::from)
    })?;
    Ok(hashes.into_iter().filter_map(|hash| readers.blob(&BlobHash(hash)).err()).collect())
}
