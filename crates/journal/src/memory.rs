//! A journal that forgets at exit and keeps every other promise: order, conflicts, limits, removal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::batch::BlobHash;
use crate::ticket::{Appended, Outcome};
use crate::{AppendError, Batch, Journal, READ_LIMIT, ReadError, Stored, Stream, Ticket};

/// A journal in memory, for tests and dry runs.
#[derive(Debug, Default)]
pub struct InMemory {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    streams: BTreeMap<Stream, Kept>,
    blobs: HashMap<BlobHash, (Vec<u8>, BTreeSet<Stream>)>,
    commits: u64,
}

#[derive(Debug, Default)]
struct Kept {
    records: Vec<Stored>,
    keyed: BTreeSet<(i64, u64)>,
}

impl InMemory {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn version(&self, stream: &Stream) -> u64 {
        self.streams.get(stream).map_or(0, |kept| kept.records.len() as u64)
    }

    fn append(&mut self, batch: Batch) -> Outcome {
        batch.check()?;
        for (stream, expected) in &batch.expects {
            let found = self.version(stream);
            if found != *expected {
                return Err(AppendError::Conflict { stream: stream.clone(), expected: *expected, found });
            }
        }
        for (_, hash) in &batch.blob_refs {
            let brought = batch.blobs.iter().any(|(_, blob)| blob.hash() == *hash);
            if !brought && !self.blobs.contains_key(hash) {
                return Err(AppendError::UnknownBlob { hash: *hash });
            }
        }
        let touched: Vec<Stream> = batch.growth().into_keys().cloned().collect();
        for (stream, records) in batch.appends {
            let kept = self.streams.entry(stream).or_default();
            for record in records {
                let seq = kept.records.len() as u64 + 1;
                kept.keyed.extend(record.key.map(|key| (key, seq)));
                kept.records.push(Stored { seq, key: record.key, bytes: record.bytes });
            }
        }
        for (stream, blob) in batch.blobs {
            self.streams.entry(stream.clone()).or_default();
            let entry = self.blobs.entry(blob.hash()).or_insert_with(|| (blob.bytes().to_vec(), BTreeSet::new()));
            entry.1.insert(stream);
        }
        for (stream, hash) in batch.blob_refs {
            self.streams.entry(stream.clone()).or_default();
            if let Some(entry) = self.blobs.get_mut(&hash) {
                entry.1.insert(stream);
            }
        }
        self.commits += 1;
        let versions = touched.into_iter().map(|stream| (stream.clone(), self.version(&stream))).collect();
        Ok(Appended { versions })
    }
}

/// The page that starts here: at most `limit` records and, but for the first, `READ_LIMIT` bytes.
fn page<'a>(records: impl Iterator<Item = &'a Stored>, limit: usize) -> Vec<Stored> {
    let mut bytes = 0;
    let fits = |stored: &&Stored| {
        let fits = bytes == 0 || bytes + stored.bytes.len() <= READ_LIMIT;
        bytes += stored.bytes.len().max(1);
        fits
    };
    records.take(limit).take_while(fits).cloned().collect()
}

impl Journal for InMemory {
    fn append(&self, batch: Batch) -> Ticket {
        Ticket::resolved(self.held().append(batch))
    }

    fn remove(&self, stream: &Stream) -> Ticket {
        let mut held = self.held();
        held.streams.remove(stream);
        held.blobs.retain(|_, (_, holders)| !holders.remove(stream) || !holders.is_empty());
        held.commits += 1;
        Ticket::resolved(Ok(Appended::default()))
    }

    fn compact(&self) -> Ticket {
        Ticket::resolved(Ok(Appended::default()))
    }

    fn version(&self, stream: &Stream) -> Result<u64, ReadError> {
        Ok(self.held().version(stream))
    }

    fn read(&self, stream: &Stream, from_seq: u64, limit: usize) -> Result<Vec<Stored>, ReadError> {
        let held = self.held();
        let Some(kept) = held.streams.get(stream) else {
            return Ok(Vec::new());
        };
        let skip = usize::try_from(from_seq.saturating_sub(1)).unwrap_or(usize::MAX);
        Ok(page(kept.records.iter().skip(skip), limit))
    }

    fn read_keyed(&self, stream: &Stream, from: (i64, u64), limit: usize) -> Result<Vec<Stored>, ReadError> {
        let held = self.held();
        let Some(kept) = held.streams.get(stream) else {
            return Ok(Vec::new());
        };
        let records = kept.keyed.range(from..).filter_map(|(_, seq)| kept.records.get(*seq as usize - 1));
        Ok(page(records, limit))
    }

    fn streams(&self, prefix: &str) -> Result<Vec<(Stream, u64)>, ReadError> {
        let held = self.held();
        let named = held.streams.iter().filter(|(stream, _)| stream.as_str().starts_with(prefix));
        Ok(named.map(|(stream, kept)| (stream.clone(), kept.records.len() as u64)).collect())
    }

    fn blob(&self, hash: &BlobHash) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.held().blobs.get(hash).map(|(bytes, _)| bytes.clone()))
    }

    fn pulse(&self) -> Result<u64, ReadError> {
        Ok(self.held().commits)
    }

    fn size_on_disk(&self) -> io::Result<u64> {
        let held = self.held();
        let records = held.streams.values().flat_map(|kept| &kept.records).map(|stored| stored.bytes.len());
        let blobs = held.blobs.values().map(|(bytes, _)| bytes.len());
        Ok(records.chain(blobs).sum::<usize>() as u64)
    }
}
