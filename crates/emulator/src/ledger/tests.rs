use super::*;

fn arrival(seq: u64, rule: usize, counted: &[usize]) -> Arrival<'_> {
    Arrival {
        seq,
        path: "/v1/responses",
        model: "m",
        request_id: Some("r-1"),
        fingerprint: 7,
        rule: Some(rule),
        counted,
        status: 200,
        stream: true,
        usage_sent: true,
        images: 0,
        service: None,
        note: None,
    }
}

fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_reopened_file_keeps_calls_totals_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let usage = Spent { input_tokens: 10, output_tokens: 3, ..Spent::default() };
    {
        let (ledger, kept) = Ledger::open(Some(&path), true, 1).unwrap();
        assert!(kept.answered.is_empty());
        for _ in 0..2 {
            let seq = ledger.next_seq();
            assert!(block(ledger.arrive(arrival(seq, 2, &[2, 3])).wait()));
        }
        ledger.end(1, Outcome::Completed, Some(usage));
    }
    // a crash tears the last line
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"event\":\"arri");
    std::fs::write(&path, bytes).unwrap();

    let (ledger, kept) = Ledger::open(Some(&path), true, 1).unwrap();
    assert_eq!((kept.answered, kept.counted), (vec![2, 2], vec![2, 3, 2, 3]));
    assert_eq!(ledger.next_seq(), 3);
    let snapshot = ledger.snapshot();
    assert_eq!(snapshot.calls.iter().map(|call| call.outcome).collect::<Vec<_>>(), [Outcome::Completed, Outcome::Lost]);
    let totals = snapshot.totals["m"];
    assert_eq!((totals.calls, totals.completed, totals.lost, totals.usage), (2, 1, 1, usage));
    drop(ledger);

    let (_, other) = Ledger::open(Some(&path), false, 2).unwrap();
    assert!(other.answered.is_empty(), "the counts belong to another scenario");
    let (_, again) = Ledger::open(Some(&path), false, 1).unwrap();
    assert_eq!(again.answered, vec![2, 2]);
}

#[test]
fn a_file_that_is_no_ledger_is_refused_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    std::fs::write(&path, "hello\n{\"event\":\"end\",\"seq\":1,\"outcome\":\"cut\",\"usage\":null}\n").unwrap();
    let error = Ledger::open(Some(&path), false, 1).unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[test]
fn fingerprints_differ_for_near_requests() {
    let all: std::collections::BTreeSet<u64> =
        ["", "a", "b", "ab", "ba", "aaaaaaaa", "aaaaaaaab", "aaaaaaaa\0"].map(|text| fingerprint(text.as_bytes())).into();
    assert_eq!(all.len(), 8);
    assert_eq!(fingerprint(b"abc"), fingerprint(b"abc"));
}
