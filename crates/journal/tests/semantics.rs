//! What every journal promises, shown on both of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use brigade_journal::{
    AppendError, BATCH_LIMIT, Batch, Blob, BlobHash, InMemory, Journal, RECORD_LIMIT, Record, Sqlite, Stored, Stream, Watch,
};

fn stream(name: &str) -> Stream {
    Stream::new(name).expect("a stream's name")
}

fn record(text: &str) -> Record {
    Record::from(text.as_bytes().to_vec())
}

fn keyed(text: &str, key: i64) -> Record {
    Record { key: Some(key), ..record(text) }
}

fn texts(stored: &[Stored]) -> Vec<&str> {
    stored.iter().map(|s| std::str::from_utf8(&s.bytes).unwrap()).collect()
}

/// Runs one claim against each journal.
fn on_both(claim: impl Fn(Arc<dyn Journal>)) {
    claim(Arc::new(InMemory::new()));
    let home = tempfile::tempdir().unwrap();
    let journal = Arc::new(Sqlite::open(&home.path().join("home/journal.db")).unwrap());
    claim(journal.clone());
    assert_eq!(journal.verify().unwrap(), []);
    drop(journal);
    let again = Sqlite::open(&home.path().join("home/journal.db")).unwrap();
    assert_eq!(again.verify().unwrap(), []);
}

#[test]
fn records_come_back_in_order_with_contiguous_seqs() {
    on_both(|journal| {
        let (a, b) = (stream("run/a"), stream("run/b"));
        let first = Batch::new().record(&a, record("a1")).record(&b, record("b1")).record(&a, record("a2"));
        let appended = journal.append(first).wait().unwrap();
        assert_eq!((appended.version(&a), appended.version(&b)), (Some(2), Some(1)));
        journal.append(Batch::new().records(&a, vec![record(""), record("a4")])).wait().unwrap();

        let read = journal.read(&a, 1, 100).unwrap();
        assert_eq!(texts(&read), ["a1", "a2", "", "a4"]);
        assert_eq!(read.iter().map(|s| s.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(texts(&journal.read(&a, 2, 2).unwrap()), ["a2", ""]);
        assert_eq!(texts(&journal.read(&a, 0, 1).unwrap()), ["a1"]);
        for (from, limit) in [(5, 9), (u64::MAX, usize::MAX), (1, 0)] {
            assert!(journal.read(&a, from, limit).unwrap().is_empty());
        }
        assert_eq!(journal.version(&a).unwrap(), 4);
        assert_eq!(journal.version(&stream("run/none")).unwrap(), 0);
        assert!(journal.read(&stream("run/none"), 1, 9).unwrap().is_empty());
    });
}

#[test]
fn a_conflict_writes_nothing_and_names_both_versions() {
    on_both(|journal| {
        let (run, day) = (stream("run/a"), stream("day/2026-11-21"));
        journal.append(Batch::new().expect(&run, 0).record(&run, record("1"))).wait().unwrap();
        let stale = Batch::new()
            .expect(&day, 0)
            .expect(&run, 0)
            .record(&day, record("x"))
            .record(&run, record("x"))
            .blob(&run, Blob::new(b"x".to_vec()));
        let expected = AppendError::Conflict { stream: run.clone(), expected: 0, found: 1 };
        assert_eq!(journal.append(stale).wait(), Err(expected));
        assert_eq!((journal.version(&run).unwrap(), journal.version(&day).unwrap()), (1, 0));
        assert_eq!(journal.blob(&BlobHash::of(b"x")).unwrap(), None);
        assert_eq!(journal.streams("").unwrap(), [(run, 1)]);
    });
}

#[test]
fn a_refused_batch_fails_alone_among_its_neighbours() {
    on_both(|journal| {
        let run = stream("run/a");
        let tickets: Vec<_> = (0..100_u64)
            .map(|n| {
                let expect = if n % 10 == 5 { 7_000 } else { n - (n + 4) / 10 };
                let batch = Batch::new().expect(&run, expect).record(&run, record(&n.to_string()));
                match n % 10 {
                    6 => journal.append(batch.record(&run, Record::from(vec![0; RECORD_LIMIT + 1]))),
                    _ => journal.append(batch),
                }
            })
            .collect();
        let outcomes: Vec<_> = tickets.into_iter().map(|t| t.wait()).collect();
        assert!(outcomes[0..5].iter().all(Result::is_ok));
        assert!(matches!(&outcomes[5], Err(AppendError::Conflict { expected: 7_000, found: 5, .. })));
        assert!(matches!(&outcomes[6], Err(AppendError::TooLarge { what: "record", size, .. }) if *size == RECORD_LIMIT + 1));
        assert_eq!(texts(&journal.read(&run, 1, 5).unwrap()), ["0", "1", "2", "3", "4"]);
    });
}

#[test]
fn batches_apply_in_the_order_of_the_calls() {
    on_both(|journal| {
        let run = stream("run/a");
        let tickets: Vec<_> =
            (0..2000_u64).map(|n| journal.append(Batch::new().expect(&run, n).record(&run, record(&n.to_string())))).collect();
        for (n, ticket) in (1..).zip(tickets) {
            assert_eq!(ticket.wait().unwrap().version(&run), Some(n));
        }
    });
}

#[test]
fn keyed_reads_go_by_key_and_lose_no_repeated_key_between_pages() {
    on_both(|journal| {
        let out = stream("results/a");
        let rows = vec![
            keyed("r5", 5),
            keyed("r-3", -3),
            record("no key"),
            keyed("r5 again", 5),
            keyed("max", i64::MAX),
            keyed("min", i64::MIN),
            keyed("r5 thrice", 5),
        ];
        journal.append(Batch::new().records(&out, rows)).wait().unwrap();
        let (mut from, mut all) = ((i64::MIN, 0), Vec::new());
        loop {
            let page = journal.read_keyed(&out, from, 2).unwrap();
            let Some(last) = page.last() else { break };
            from = (last.key.unwrap(), last.seq + 1);
            all.extend(page);
        }
        assert_eq!(texts(&all), ["min", "r-3", "r5", "r5 again", "r5 thrice", "max"]);
        assert_eq!(texts(&journal.read_keyed(&out, (5, 0), 1).unwrap()), ["r5"]);
        assert_eq!(texts(&journal.read(&out, 3, 1).unwrap()), ["no key"]);
    });
}

#[test]
fn a_blob_is_kept_once_and_goes_with_its_last_stream() {
    on_both(|journal| {
        let (a, b) = (stream("run/a"), stream("run/b"));
        let bytes = vec![7; 100_000];
        let hash = BlobHash::of(&bytes);
        let unknown = Batch::new().record(&b, record("b1")).blob_ref(&b, hash);
        assert_eq!(journal.append(unknown).wait(), Err(AppendError::UnknownBlob { hash }));
        let twice = Batch::new().blob(&a, Blob::new(bytes.clone())).blob(&a, Blob::new(bytes.clone()));
        journal.append(twice.record(&a, record("a1"))).wait().unwrap();
        let before = journal.size_on_disk().unwrap();
        journal.append(Batch::new().blob_ref(&b, hash)).wait().unwrap();
        assert!(journal.size_on_disk().unwrap() < before + 50_000);
        journal.append(Batch::new().blob_ref(&b, hash)).wait().unwrap();

        assert_eq!(journal.blob(&hash).unwrap(), Some(bytes.clone()));
        journal.remove(&a).wait().unwrap();
        assert_eq!(journal.blob(&hash).unwrap(), Some(bytes));
        journal.remove(&b).wait().unwrap();
        assert_eq!(journal.blob(&hash).unwrap(), None);
        assert_eq!(hash.to_string().parse::<BlobHash>(), Ok(hash));
        assert!("00".parse::<BlobHash>().is_err());
    });
}

#[test]
fn a_removed_stream_starts_again_at_nothing_and_leaves_the_others() {
    on_both(|journal| {
        let (a, b) = (stream("run/a"), stream("run/b"));
        let both = Batch::new().record(&a, keyed("a1", 1)).record(&b, keyed("b1", 1));
        let first = journal.append(both);
        let removed = journal.remove(&a);
        let again = journal.append(Batch::new().expect(&a, 0).record(&a, keyed("a1 again", 1)));
        first.wait().unwrap();
        removed.wait().unwrap();
        again.wait().unwrap();
        journal.remove(&stream("run/never")).wait().unwrap();
        assert_eq!(texts(&journal.read_keyed(&a, (i64::MIN, 0), 9).unwrap()), ["a1 again"]);
        assert_eq!(texts(&journal.read(&b, 1, 9).unwrap()), ["b1"]);
        journal.compact().wait().unwrap();
        assert_eq!(journal.streams("").unwrap(), [(a, 1), (b, 1)]);
    });
}

#[test]
fn streams_are_listed_by_prefix_and_name() {
    on_both(|journal| {
        for name in ["run/b", "run/a", "runs/c", "day/1", "run/a/x"] {
            journal.append(Batch::new().record(&stream(name), record(name))).wait().unwrap();
        }
        let names = |prefix| {
            let streams = journal.streams(prefix).unwrap();
            streams.into_iter().map(|(stream, _)| stream.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names("run/"), ["run/a", "run/a/x", "run/b"]);
        assert_eq!(names("").len(), 5);
        assert!(names("zzz").is_empty());
    });
}

#[test]
fn a_watch_sees_growth_once() {
    on_both(|journal| {
        let (run, other) = (stream("commands/a"), stream("commands/b"));
        let mut watch = Watch::new(run.clone(), 0);
        assert_eq!(watch.poll(&*journal).unwrap(), None);
        journal.append(Batch::new().record(&other, record("x"))).wait().unwrap();
        assert_eq!(watch.poll(&*journal).unwrap(), None);
        journal.append(Batch::new().records(&run, vec![record("1"), record("2")])).wait().unwrap();
        assert_eq!(watch.poll(&*journal).unwrap(), Some(2));
        assert_eq!(watch.poll(&*journal).unwrap(), None);
    });
}

#[test]
fn an_empty_batch_is_a_barrier() {
    on_both(|journal| {
        let run = stream("run/a");
        let tickets: Vec<_> = (0..50).map(|_| journal.append(Batch::new().record(&run, record("x")))).collect();
        journal.append(Batch::new()).wait().unwrap();
        assert_eq!(journal.version(&run).unwrap(), 50);
        drop(tickets);
    });
}

#[test]
fn large_things_pass_up_to_their_limits_and_no_further() {
    on_both(|journal| {
        let run = stream("run/a");
        let largest = Record::from(vec![3; RECORD_LIMIT]);
        let five = Batch::new().records(&run, vec![largest.clone(); 5]);
        journal.append(five).wait().unwrap();
        // Pages of a read stay within their bytes and lose nothing.
        assert_eq!(journal.read(&run, 1, 100).unwrap().len(), 4);
        assert_eq!(journal.read(&run, 5, 100).unwrap(), [Stored { seq: 5, key: None, bytes: largest.bytes.clone() }]);
        let count = BATCH_LIMIT / RECORD_LIMIT;
        let over = Batch::new().records(&run, vec![largest; count]).record(&run, record("x"));
        assert!(matches!(journal.append(over).wait(), Err(AppendError::TooLarge { what: "batch", .. })));
    });
}

#[tokio::test]
async fn a_ticket_is_a_future() {
    let home = tempfile::tempdir().unwrap();
    for journal in [Arc::new(InMemory::new()) as Arc<dyn Journal>, Arc::new(Sqlite::open(&home.path().join("journal.db")).unwrap())] {
        let run = stream("run/a");
        let ticket = journal.append(Batch::new().record(&run, record("x")));
        ticket.admitted().await;
        assert_eq!(ticket.await.unwrap().version(&run), Some(1));
    }
}

#[test]
fn names_outside_the_pattern_are_refused() {
    for name in ["", "/", "run/", "/run", "run//a", "run a", "rün", &"x".repeat(251)] {
        assert!(Stream::new(name).is_err(), "{name}");
    }
    for name in ["run/r01", "day/2026-11-21", "quota/openai/gpt-5.4:x@y+z", &"x".repeat(250)] {
        assert!(Stream::new(name).is_ok(), "{name}");
    }
}
