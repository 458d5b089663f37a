//! Work in hand anywhere in the home: claimed before it is paid for, so that whoever wants the same waits for it.
//!
//! A claim holds while its run's engine is at work and has not taken it back. Who of several goes ahead is decided in the kernel.

use brigade_journal::{Batch, Journal, Record, Stream};
use brigade_kernel::ids::RunId;
use brigade_kernel::schedule::Claim;

use crate::home::Home;
use crate::reuse::key_of;

/// Claims to one piece of work that are looked at: runs come and go, equal work at one time is of few.
const LOOK_AT: usize = 256;
/// Records after which a stream of claims that nobody needs is cleared.
const MANY: u64 = 1_000;

fn stream() -> Stream {
    Stream::new("claims").expect("a fixed name of plain letters")
}

/// The record of a claim, or of its end.
pub fn record(work: &str, run: &RunId, over: bool) -> (Stream, Record) {
    let bytes = serde_json::to_vec(&Claim { work: work.to_owned(), run: run.clone(), over }).expect("plain values");
    (stream(), Record { bytes, key: Some(key_of(work)) })
}

/// All words on some work, oldest first.
pub fn of(journal: &dyn Journal, work: &str) -> Vec<Claim> {
    let key = key_of(work);
    // What cannot be read is nobody's: then work may be paid twice, and never waited for in vain.
    let found = journal.read_keyed(&stream(), (key, 0), LOOK_AT).unwrap_or_default();
    let same = found.into_iter().take_while(|stored| stored.key == Some(key));
    same.filter_map(|stored| serde_json::from_slice::<Claim>(&stored.bytes).ok()).filter(|claim| claim.work == work).collect()
}

/// Clears claims that have piled up, when nobody else is at work.
pub fn tidy(home: &Home, me: &RunId) {
    let journal = home.journal();
    let many = journal.version(&stream()).is_ok_and(|version| version > MANY);
    let alone = || home.runs().is_ok_and(|runs| runs.iter().all(|(run, _)| run == me || home.engine_of(run).is_none()));
    if many && alone() {
        // Whoever starts just now may lose a claim, and pay twice for what was in hand at that moment.
        drop(journal.remove(&stream()));
    }
}

/// Appends one word and waits until it is durable.
pub async fn say(journal: &dyn Journal, work: &str, run: &RunId, over: bool) {
    let (stream, record) = record(work, run, over);
    // A claim that is not kept costs at most a second payment.
    let _ = journal.append(Batch::new().record(&stream, record)).await;
}
