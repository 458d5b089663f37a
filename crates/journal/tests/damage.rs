//! Whatever happens to the bytes on disk, nothing false is read: the same records, or a typed error.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use brigade_journal::{AppendError, Batch, Blob, BlobHash, Journal, ReadError, Record, Sqlite, Stored, Stream};

fn stream(name: &str) -> Stream {
    Stream::new(name).unwrap()
}

fn bytes(stream: &Stream, seq: u64) -> Vec<u8> {
    let len = 20 + (seq * 37 % 300) as usize;
    format!("{stream} {seq} ").into_bytes().into_iter().cycle().take(len).collect()
}

fn blob_of(stream: &Stream) -> Blob {
    Blob::new(bytes(stream, 1).repeat(120))
}

fn grow(stream: &Stream, from: u64, count: u64) -> Batch {
    let records =
        (from..from + count).map(|seq| Record { bytes: bytes(stream, seq), key: (seq % 2 == 0).then_some(1000 - seq as i64) }).collect();
    Batch::new().expect(stream, from - 1).records(stream, records)
}

/// In memory where there is such a place: these tests are about bytes, not about fsync.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn names() -> Vec<Stream> {
    ["day/2026-11-21", "run/a", "run/b", "run/c"].map(stream).to_vec()
}

/// A closed journal of four streams with records, keys and blobs.
fn made(home: &Path) {
    let journal = Sqlite::open(&home.join("journal.db")).unwrap();
    for round in 0..4 {
        for name in names() {
            journal.append(grow(&name, round * 20 + 1, 20)).wait().unwrap();
        }
    }
    for name in names() {
        journal.append(Batch::new().blob(&name, blob_of(&name))).wait().unwrap();
    }
}

fn pages(read: impl Fn(&mut (i64, u64)) -> Result<Vec<Stored>, ReadError>, mut from: (i64, u64)) -> Result<Vec<Stored>, ReadError> {
    let mut all = Vec::new();
    loop {
        let page = read(&mut from)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

fn in_order(journal: &Sqlite, stream: &Stream) -> Result<Vec<Stored>, ReadError> {
    let step = |from: &mut (i64, u64)| {
        let page = journal.read(stream, from.1, 32)?;
        from.1 += page.len() as u64;
        Ok(page)
    };
    pages(step, (0, 1))
}

fn by_key(journal: &Sqlite, stream: &Stream) -> Result<Vec<Stored>, ReadError> {
    let step = |from: &mut (i64, u64)| {
        let page = journal.read_keyed(stream, *from, 32)?;
        if let Some(last) = page.last() {
            *from = (last.key.unwrap(), last.seq + 1);
        }
        Ok(page)
    };
    pages(step, (i64::MIN, 0))
}

/// Everything a reader can get, `None` where it got a typed error.
fn seen(journal: &Sqlite) -> BTreeMap<String, Option<Vec<Stored>>> {
    let mut seen = BTreeMap::new();
    let as_stored = |bytes| vec![Stored { seq: 0, key: None, bytes }];
    for name in names() {
        seen.insert(format!("{name} in order"), in_order(journal, &name).ok());
        seen.insert(format!("{name} by key"), by_key(journal, &name).ok());
        let version = journal.version(&name).ok();
        seen.insert(format!("{name} version"), version.map(|v| as_stored(v.to_le_bytes().to_vec())));
        let blob = journal.blob(&blob_of(&name).hash()).ok().flatten();
        seen.insert(format!("{name} blob"), blob.map(as_stored));
    }
    let streams = journal.streams("").ok();
    seen.insert("streams".into(), streams.map(|s| as_stored(format!("{s:?}").into_bytes())));
    seen
}

#[test]
fn a_flipped_byte_is_refused_or_harmless_wherever_it_lies() {
    let home = scratch();
    made(home.path());
    let path = home.path().join("journal.db");
    let sound = fs::read(&path).unwrap();
    let expected = seen(&Sqlite::open(&path).unwrap());
    assert!(expected.values().all(Option::is_some));
    let step = std::env::var("BRIGADE_FLIP_STEP").map_or(499, |step| step.parse().unwrap());
    // The headers of the file and of each page byte by byte, the rest by samples.
    let offsets = (0..sound.len()).filter(|at| *at < 100 || at % 4096 < 8 || at % step == 0);
    let (mut refused, mut opened, mut others) = (0, 0, 0);
    for at in offsets {
        let mut damaged = sound.clone();
        damaged[at] ^= 1 << (at % 8);
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(home.path().join(format!("journal.db{suffix}")));
        }
        fs::write(&path, &damaged).unwrap();
        let Ok(journal) = Sqlite::open(&path) else {
            refused += 1;
            continue;
        };
        opened += 1;
        let found = seen(&journal);
        for (what, found) in &found {
            assert!(found.is_none() || *found == expected[what], "byte {at} changed {what}: {found:?}");
        }
        let whole = found.values().filter(|found| found.is_some()).count();
        others += usize::from(whole < found.len() && whole > found.len() / 2);
    }
    println!("{refused} refused at open, {opened} opened, {others} of them with most streams whole");
    assert!(others > 50, "damage to one stream must leave the others");
}

#[test]
fn a_damaged_record_is_named_and_can_be_removed() {
    let home = tempfile::tempdir().unwrap();
    made(home.path());
    let path = home.path().join("journal.db");
    let mut data = fs::read(&path).unwrap();
    let needle = bytes(&stream("run/b"), 33);
    let at = data.windows(needle.len()).position(|window| window == needle).unwrap();
    data[at + 3] ^= 0x40;
    fs::write(&path, data).unwrap();

    let journal = Sqlite::open(&path).unwrap();
    let b = stream("run/b");
    assert!(matches!(journal.read(&b, 1, 99), Err(ReadError::Damaged { stream, seq: 33, .. }) if stream == b));
    assert_eq!(journal.read(&b, 1, 32).unwrap().len(), 32);
    assert_eq!(journal.verify().unwrap().len(), 1);
    for name in names().into_iter().filter(|name| *name != b) {
        assert_eq!(in_order(&journal, &name).unwrap().len(), 80);
    }
    journal.remove(&b).wait().unwrap();
    assert_eq!(journal.verify().unwrap(), []);
}

#[test]
fn removed_bytes_are_gone_from_the_files_after_compaction() {
    let home = tempfile::tempdir().unwrap();
    made(home.path());
    let path = home.path().join("journal.db");
    let journal = Sqlite::open(&path).unwrap();
    journal.remove(&stream("run/b")).wait().unwrap();
    journal.compact().wait().unwrap();
    for file in fs::read_dir(home.path()).unwrap() {
        let data = fs::read(file.unwrap().path()).unwrap();
        assert!(!data.windows(6).any(|window| window == b"run/b "));
    }
    assert_eq!(journal.verify().unwrap(), []);
}

#[test]
fn a_torn_log_recovers_to_a_prefix_that_holds_every_acknowledged_batch() {
    let home = tempfile::tempdir().unwrap();
    let (path, wal) = (home.path().join("journal.db"), home.path().join("journal.db-wal"));
    let run = stream("run/a");
    // The log is emptied after some quiet time: look again should that fall in between.
    let (database, acknowledged, log) = loop {
        let journal = Sqlite::open(&path).unwrap();
        journal.remove(&run).wait().unwrap();
        journal.append(grow(&run, 1, 10)).wait().unwrap();
        let (database, before) = (fs::read(&path).unwrap(), fs::read(&wal).unwrap());
        for seq in 11..=30 {
            journal.append(grow(&run, seq, 1)).wait().unwrap();
        }
        let after = fs::read(&wal).unwrap();
        if after.len() > before.len() && after.starts_with(&before) {
            break (database, before.len(), after);
        }
    };
    let copy = scratch();
    let check = |log: &[u8], what: &str| {
        let path = copy.path().join("journal.db");
        let _ = fs::remove_file(copy.path().join("journal.db-shm"));
        fs::write(&path, &database).unwrap();
        fs::write(copy.path().join("journal.db-wal"), log).unwrap();
        let journal = Sqlite::open(&path).unwrap();
        let found = in_order(&journal, &run).unwrap();
        assert!((10..=30).contains(&found.len()), "{what}: {} records", found.len());
        assert!(found.iter().all(|s| s.bytes == bytes(&run, s.seq)), "{what}");
        let next = found.len() as u64 + 1;
        journal.append(grow(&run, next, 1)).wait().unwrap();
        found.len()
    };
    let mut lengths: Vec<_> = (acknowledged..=log.len()).step_by(509).map(|cut| check(&log[..cut], &format!("cut at {cut}"))).collect();
    assert!(lengths.is_sorted() && lengths.first() == Some(&10));
    lengths.dedup();
    assert!(lengths.len() > 10, "cuts fell between batches: {lengths:?}");
    // Unsynced sectors reach the disk in any order, torn, or not at all.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..120 {
        let mut torn = log.clone();
        for sector in torn[acknowledged..].chunks_mut(512) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match seed >> 61 {
                0 => sector.fill(0),
                1 => sector.iter_mut().for_each(|byte| *byte ^= 0x55),
                _ => {}
            }
        }
        check(&torn, &format!("tear {round}"));
    }
}

#[test]
fn a_checkpoint_cut_short_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (path, wal) = (home.path().join("journal.db"), home.path().join("journal.db-wal"));
    let run = stream("run/a");
    let (before, log, after) = loop {
        let journal = Sqlite::open(&path).unwrap();
        journal.remove(&run).wait().unwrap();
        let (before, empty) = (fs::read(&path).unwrap(), fs::read(&wal).unwrap());
        for seq in 1..=60 {
            journal.append(grow(&run, seq, 1)).wait().unwrap();
        }
        let log = fs::read(&wal).unwrap();
        let other = rusqlite::Connection::open(&path).unwrap();
        other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        let (after, log_after) = (fs::read(&path).unwrap(), fs::read(&wal).unwrap());
        drop(other);
        if log.len() > empty.len() && log.starts_with(&empty) && log == log_after && after != before {
            break (before, log, after);
        }
    };
    let copy = scratch();
    let mut seed = 88_172_645_463_325_252_u64;
    for round in 0..60 {
        let mut mixed = after.clone();
        for (at, page) in mixed.chunks_mut(4096).enumerate() {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let old = before.get(at * 4096..(at + 1) * 4096);
            match (seed % 3, old) {
                (0, Some(old)) => page.copy_from_slice(old),
                (1, Some(old)) => page[..512].copy_from_slice(&old[..512]),
                (0, None) => page.fill(0),
                _ => {}
            }
        }
        let path = copy.path().join("journal.db");
        let _ = fs::remove_file(copy.path().join("journal.db-shm"));
        fs::write(&path, mixed).unwrap();
        fs::write(copy.path().join("journal.db-wal"), &log).unwrap();
        let journal = Sqlite::open(&path).unwrap();
        assert_eq!(in_order(&journal, &run).unwrap().len(), 60, "round {round}");
        assert_eq!(journal.verify().unwrap(), [], "round {round}");
    }
}

#[test]
fn a_lost_blob_page_is_a_typed_error() {
    let home = tempfile::tempdir().unwrap();
    made(home.path());
    let path = home.path().join("journal.db");
    let mut data = fs::read(&path).unwrap();
    let blob = blob_of(&stream("run/c"));
    let needle = &blob.bytes()[6000..6200];
    let at = data.windows(needle.len()).position(|window| window == needle).unwrap();
    data[at..at + 100].fill(0);
    fs::write(&path, data).unwrap();
    let journal = Sqlite::open(&path).unwrap();
    let hash = blob.hash();
    assert_eq!(journal.blob(&hash), Err(ReadError::DamagedBlob { hash }));
    assert_eq!(journal.verify().unwrap(), [ReadError::DamagedBlob { hash }]);
    assert_eq!(journal.blob(&BlobHash::of(b"never")), Ok(None));
}

#[test]
fn a_row_that_is_gone_is_missed_whatever_its_table() {
    let b = stream("run/b");
    for loss in [
        "DELETE FROM records WHERE id = (SELECT id << 32 | version FROM streams WHERE name = 'run/b')",
        "DELETE FROM records WHERE id = (SELECT id << 32 | 7 FROM streams WHERE name = 'run/b')",
        "DELETE FROM keys WHERE stream = (SELECT id FROM streams WHERE name = 'run/b') AND seq = 10",
        "DELETE FROM streams WHERE name = 'run/b'",
        "UPDATE streams SET name = 'run/bb' WHERE name = 'run/b'",
        "UPDATE streams SET version = version - 1 WHERE name = 'run/b'",
        "UPDATE records SET key = 5 WHERE id = (SELECT id << 32 | 10 FROM streams WHERE name = 'run/b')",
    ] {
        let home = scratch();
        made(home.path());
        let path = home.path().join("journal.db");
        rusqlite::Connection::open(&path).unwrap().execute(loss, []).unwrap();
        let journal = Sqlite::open(&path).unwrap();
        let noticed = in_order(&journal, &b).is_err() || by_key(&journal, &b).is_err();
        assert!(noticed, "{loss}");
        assert_ne!(journal.verify().unwrap(), [], "{loss}");
        assert_eq!(in_order(&journal, &stream("run/a")).unwrap().len(), 80, "{loss}");
        // A lost or altered entry must not pass for a new stream.
        if ["DELETE FROM streams", "UPDATE streams"].iter().any(|entry| loss.starts_with(entry)) {
            let anew = journal.append(Batch::new().expect(&b, 0).record(&b, b"anew".to_vec())).wait();
            assert!(matches!(anew, Err(AppendError::Damaged(_))), "{loss}: {anew:?}");
        }
    }
}
