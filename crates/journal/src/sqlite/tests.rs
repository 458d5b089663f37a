//! Opening, locks and replaced files, seen from inside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

use rusqlite::Connection;

use super::*;
use crate::{Record, Stream};

fn home() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("home/journal.db");
    (home, path)
}

fn run() -> Stream {
    Stream::new("run/a").unwrap()
}

fn one() -> Batch {
    Batch::new().record(&run(), Record::from(vec![7; 300]))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn home_and_files_are_the_owners_alone() {
    let (_home, path) = home();
    let journal = Sqlite::open(&path).unwrap();
    journal.append(one()).wait().unwrap();
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for suffix in ["", "-wal", "-shm"] {
        assert_eq!(mode(&file::beside(&path, suffix)), 0o600);
    }
}

#[test]
fn the_linked_sqlite_is_new_enough_and_syncs_fully() {
    let (_home, path) = home();
    let conn = {
        file::prepare(&path).unwrap();
        schema::connect_writer(&path, schema::STEPS).unwrap()
    };
    let text = |pragma| conn.pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
    assert_eq!(text("journal_mode"), String::from("wal").into());
    assert_eq!(text("synchronous"), 2.into());
    assert_eq!(text("application_id"), schema::APPLICATION_ID.into());
    assert_eq!(text("user_version"), schema::supported(schema::STEPS).into());
}

#[test]
fn what_is_not_a_journal_is_refused_and_left_alone() {
    let (_home, path) = home();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "a letter to my aunt, rather longer than a database header would ever have to be".repeat(9)).unwrap();
    assert!(matches!(Sqlite::open(&path), Err(OpenError::NotAJournal { .. })));
    fs::remove_file(&path).unwrap();
    let foreign = Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    drop(foreign);
    let before = fs::read(&path).unwrap();
    assert!(matches!(Sqlite::open(&path), Err(OpenError::NotAJournal { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// A schema of the day after tomorrow.
const LATER: &[&str] = &["ALTER TABLE home ADD COLUMN motto TEXT", "UPDATE home SET motto = 'onwards'"];

#[test]
fn an_older_schema_is_migrated_once_with_a_backup_and_a_newer_one_refused() {
    let (_home, path) = home();
    let old = Sqlite::open(&path).unwrap();
    old.append(one()).wait().unwrap();
    let options = Options::default();
    let new = Sqlite::open_as(&path, &options, LATER).unwrap();
    assert_eq!(new.version(&run()).unwrap(), 1);
    new.append(one()).wait().unwrap();
    // Who still runs the old schema stops writing; who starts it is refused.
    assert!(matches!(old.append(one()).wait(), Err(AppendError::Poisoned { .. })));
    assert!(matches!(Sqlite::open(&path), Err(OpenError::Newer { found: 3, supported: 1, .. })));
    drop((old, new));
    drop(Sqlite::open_as(&path, &options, LATER).unwrap());

    let backup = file::beside(&path, ".v1.backup");
    assert_eq!(mode(&backup), 0o600);
    let kept = Sqlite::open(&backup).unwrap();
    assert_eq!((kept.version(&run()).unwrap(), kept.verify().unwrap()), (1, vec![]));
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let (_home, path) = home();
    Sqlite::open(&path).unwrap().append(one()).wait().unwrap();
    let broken = &["ALTER TABLE home ADD COLUMN motto TEXT", "no sql at all"];
    assert!(Sqlite::open_as(&path, &Options::default(), broken).is_err());
    let journal = Sqlite::open(&path).unwrap();
    assert_eq!((journal.version(&run()).unwrap(), journal.verify().unwrap()), (1, vec![]));
}

#[test]
fn network_file_systems_are_known_by_their_numbers() {
    assert_eq!(file::network_magic(0x6969), Some("NFS"));
    assert_eq!(file::network_magic(0xff53_4d42), Some("SMB"));
    for local in [0xef53, 0x0102_1994, 0x9123_683e, 0x5846_5342, 0x794c_7630] {
        assert_eq!(file::network_magic(local), None);
    }
}

#[test]
fn a_file_deleted_or_replaced_while_open_ends_all_appends_and_is_not_made_again() {
    for (suffix, replace) in [("", false), ("", true), ("-wal", false), ("-wal", true)] {
        let (_home, path) = home();
        let journal = Sqlite::open(&path).unwrap();
        journal.append(one()).wait().unwrap();
        let lost = file::beside(&path, suffix);
        let copy = fs::read(&lost).unwrap();
        fs::remove_file(&lost).unwrap();
        if replace {
            fs::write(&lost, &copy).unwrap();
        }
        for _ in 0..2 {
            assert!(matches!(journal.append(one()).wait(), Err(AppendError::Poisoned { .. })), "{suffix} {replace}");
        }
        assert!(journal.remove(&run()).wait().is_err() && journal.compact().wait().is_err());
        drop(journal);
        assert_eq!(lost.exists(), replace);
        assert!(!replace || fs::read(&lost).unwrap() == copy);
    }
}

#[test]
fn an_append_waits_for_another_programs_lock_and_says_when_it_gives_up() {
    let (_home, path) = home();
    let options = Options { patience: Duration::from_millis(30), ..Options::default() };
    let hasty = Sqlite::open_with(&path, options).unwrap();
    let patient = Sqlite::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = patient.append(one());
    assert!(matches!(hasty.append(one()).wait(), Err(AppendError::Busy { .. })));
    assert_eq!(patient.version(&run()).unwrap(), 0);
    other.execute_batch("COMMIT").unwrap();
    waiting.wait().unwrap();
    hasty.append(one()).wait().unwrap();
    assert_eq!(patient.version(&run()).unwrap(), 2);
}

#[test]
fn an_external_reader_stops_neither_appends_nor_close() {
    let (_home, path) = home();
    let journal = Sqlite::open(&path).unwrap();
    journal.append(one()).wait().unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN; SELECT count(*) FROM records").unwrap();
    for _ in 0..20 {
        journal.append(one()).wait().unwrap();
    }
    drop(journal);
    assert_eq!(Sqlite::open(&path).unwrap().version(&run()).unwrap(), 21);
}

#[test]
fn a_journal_at_its_size_limit_refuses_and_goes_on_after_removal() {
    let (_home, path) = home();
    let options = Options { max_bytes: Some(400 << 10), ..Options::default() };
    let journal = Sqlite::open_with(&path, options).unwrap();
    let other = Stream::new("run/b").unwrap();
    let large = || Batch::new().record(&other, Record::from(vec![1; 300 << 10]));
    journal.append(one()).wait().unwrap();
    journal.append(large()).wait().unwrap();
    // Of a group, what fits is written and what does not is refused.
    let group = [journal.append(large()), journal.append(one()), journal.append(large())];
    let outcomes = group.map(|ticket| ticket.wait());
    assert!(matches!(outcomes, [Err(AppendError::Full { .. }), Ok(_), Err(AppendError::Full { .. })]), "{outcomes:?}");
    journal.remove(&other).wait().unwrap();
    journal.append(large()).wait().unwrap();
    assert_eq!((journal.version(&run()).unwrap(), journal.verify().unwrap()), (2, vec![]));
}

#[test]
fn appenders_that_wait_to_be_admitted_keep_the_queue_within_its_bound() {
    let (_home, path) = home();
    let options = Options { queue_bytes: 100_000, ..Options::default() };
    let journal = Sqlite::open_with(&path, options).unwrap();
    // Nobody writes until the lock is released, so what is queued stays queued.
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut admitted = |ticket: &Ticket| std::pin::pin!(ticket.admitted()).poll(&mut context);
    let batch = || Batch::new().record(&run(), Record::from(vec![0; 9_000]));
    let tickets: Vec<_> = (0..20).map(|_| journal.append(batch())).collect();
    let within = tickets.iter().filter(|ticket| admitted(ticket) == Poll::Ready(())).count();
    assert_eq!(within, 100_000 / batch().size());
    other.execute_batch("COMMIT").unwrap();
    journal.append(Batch::new()).wait().unwrap();
    assert!(tickets.iter().all(|ticket| admitted(ticket) == Poll::Ready(())));
    assert_eq!(journal.version(&run()).unwrap(), 20);
}

#[test]
fn a_hundred_thousand_records_come_back_in_order_and_the_file_grows_linearly() {
    let (_home, path) = home();
    let journal = Sqlite::open(&path).unwrap();
    let mut sizes = Vec::new();
    for quarter in 0..4_i64 {
        let numbers = quarter * 25_000..(quarter + 1) * 25_000;
        let records = numbers.map(|n| Record { bytes: n.to_le_bytes().to_vec(), key: Some(n ^ 1) }).collect();
        journal.append(Batch::new().records(&run(), records)).wait().unwrap();
        journal.compact().wait().unwrap();
        sizes.push(journal.size_on_disk().unwrap());
    }
    let (mut from, mut key, mut count) = (1, (i64::MIN, 0), 0_i64);
    loop {
        let page = journal.read(&run(), from, 999).unwrap();
        let keyed = journal.read_keyed(&run(), key, 999).unwrap();
        let (Some(last), Some(last_key)) = (page.last(), keyed.last()) else {
            break;
        };
        for (n, (stored, keyed)) in (count..).zip(page.iter().zip(&keyed)) {
            assert_eq!((stored.seq, &stored.bytes[..]), (n as u64 + 1, &n.to_le_bytes()[..]));
            assert_eq!((keyed.key, &keyed.bytes[..]), (Some(n), &(n ^ 1).to_le_bytes()[..]));
        }
        count += page.len() as i64;
        (from, key) = (last.seq + 1, (last_key.key.unwrap(), last_key.seq + 1));
    }
    assert_eq!(count, 100_000);
    assert!(sizes[3] < sizes[0] * 4 + 100_000, "{sizes:?}");
}

#[test]
fn a_dropped_journal_writes_what_was_queued() {
    let (_home, path) = home();
    let journal = Sqlite::open(&path).unwrap();
    let tickets: Vec<_> = (0..100).map(|_| journal.append(one())).collect();
    drop(journal);
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
    assert_eq!(Sqlite::open(&path).unwrap().version(&run()).unwrap(), 100);
    assert_eq!(fs::metadata(file::beside(&path, "-wal")).map_or(0, |wal| wal.len()), 0);
}
