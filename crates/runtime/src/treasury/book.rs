//! The home's ledger as one process has read it, and the streams that it is read from.

use brigade_journal::{Batch, Journal, Stream};
use brigade_kernel::budget::HomeLease;
use brigade_kernel::budget::home::{Ended, HomeLedger, Open, Promise, Promised, RunMark, Spent};
use brigade_kernel::ids::RunId;
use brigade_kernel::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Answer, Asked, TreasuryError};

/// Records read at a time.
const PAGE: usize = 4_096;
/// After so many records a checkpoint is written, so that the next process need not read them.
const CHECKPOINT_EVERY: u64 = 4_096;
/// How often the dead are looked for.
const REAP_EVERY: Millis = Millis(1_000);

/// Where promises stand.
pub fn leases() -> Stream {
    Stream::new("leases").expect("a stream's name")
}

/// Where it stands what calls took.
pub fn spending() -> Stream {
    Stream::new("spending").expect("a stream's name")
}

fn checkpoints() -> Stream {
    Stream::new("ledger").expect("a stream's name")
}

/// A record of `spending`.
pub fn spending_of(calls: Vec<Spent>) -> Vec<u8> {
    serde_json::to_vec(&Ended { calls }).expect("plain values")
}

/// Asks that were judged together.
#[derive(Debug)]
pub struct Judged {
    /// What is to be written.
    pub record: Promised,
    /// One for each ask, good once the record is written.
    pub answers: Vec<Answer>,
}

/// The ledger, and how far both streams are in it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Book {
    /// The fold.
    pub ledger: HomeLedger,
    leases: u64,
    spending: u64,
    #[serde(skip)]
    pulse: Option<u64>,
    /// Records since the last checkpoint.
    #[serde(skip)]
    fresh: u64,
    #[serde(skip)]
    reaped: Timestamp,
}

impl Book {
    /// Reads the last checkpoint and what came after it.
    ///
    /// # Errors
    /// [`TreasuryError`].
    pub fn open(journal: &dyn Journal) -> Result<Self, TreasuryError> {
        let last = journal.version(&checkpoints())?;
        let stored = if last > 0 { journal.read(&checkpoints(), last, 1)?.pop() } else { None };
        let mut book = match stored {
            Some(stored) => decode("ledger", stored.seq, &stored.bytes)?,
            None => Self::default(),
        };
        book.refresh(journal)?;
        Ok(book)
    }

    /// Takes in what was appended since, by whatever process.
    ///
    /// # Errors
    /// [`TreasuryError`].
    pub fn refresh(&mut self, journal: &dyn Journal) -> Result<(), TreasuryError> {
        let pulse = journal.pulse()?;
        if self.pulse == Some(pulse) {
            return Ok(());
        }
        // In this order: a lease is durable before what it ends in.
        let spending_to = journal.version(&spending())?;
        let leases_to = journal.version(&leases())?;
        while self.leases < leases_to {
            for stored in journal.read(&leases(), self.leases + 1, PAGE)? {
                let record: Promised = decode("leases", stored.seq, &stored.bytes)?;
                self.ledger.promised(stored.seq, &record);
                self.leases = stored.seq;
                self.fresh += 1;
            }
        }
        while self.spending < spending_to {
            let page = usize::try_from(spending_to - self.spending).unwrap_or(PAGE).min(PAGE);
            for stored in journal.read(&spending(), self.spending + 1, page)? {
                let record: Ended = decode("spending", stored.seq, &stored.bytes)?;
                self.ledger.ended(&record);
                self.spending = stored.seq;
                self.fresh += 1;
            }
        }
        self.pulse = Some(pulse);
        if self.fresh >= CHECKPOINT_EVERY {
            self.fresh = 0;
            let bytes = serde_json::to_vec(self).expect("plain values");
            // A cache: where it cannot be written, more is read the next time.
            drop(journal.append(Batch::new().record(&checkpoints(), bytes)));
        }
        Ok(())
    }

    /// Judges asks one after another. What is granted is in the fold from here on: say whether it was written.
    pub fn judge(&mut self, asks: &[Asked], now: Timestamp) -> Judged {
        let seq = self.leases + 1;
        let mut record = Promised { at: now, calls: Vec::new() };
        let mut answer = |asked: &Asked| {
            if let Err(refused) = self.ledger.admit(&asked.caps, &asked.ask, now) {
                return Answer::Refused(refused);
            }
            let lease = HomeLease { seq, n: record.calls.len() as u32 };
            let (run, most) = (RunMark::of(&asked.run), asked.ask.most);
            self.ledger.promise(lease, Open { run, at: now, most });
            record.calls.push(Promise { run, most });
            Answer::Granted(lease, most, self.ledger.near(&asked.caps, now))
        };
        let answers = asks.iter().map(&mut answer).collect();
        Judged { record, answers }
    }

    /// What writes a record that was judged, if nobody else has promised anything since.
    pub fn batch(&self, record: &Promised) -> Batch {
        let bytes = serde_json::to_vec(record).expect("plain values");
        Batch::new().expect(&leases(), self.leases).record(&leases(), bytes)
    }

    /// The record that was judged last is written.
    pub fn written(&mut self) {
        self.leases += 1;
        self.fresh += 1;
    }

    /// The record that was judged last is not written: nothing of it holds.
    pub fn unwritten(&mut self, record: &Promised) {
        self.ledger.unpromised(self.leases + 1, record);
    }

    /// Leases of a run that have not ended.
    pub fn open_of(&self, run: &RunId) -> Vec<HomeLease> {
        let run = RunMark::of(run);
        self.ledger.open().filter(|(_, open)| open.run == run).map(|(lease, _)| lease).collect()
    }

    /// Whether it is time to look for the dead again; if so, it counts as done.
    pub(super) fn may_reap(&mut self, now: Timestamp) -> bool {
        let due = now - self.reaped >= REAP_EVERY;
        if due {
            self.reaped = now;
        }
        due
    }
}

fn decode<T: for<'a> Deserialize<'a>>(stream: &'static str, seq: u64, bytes: &[u8]) -> Result<T, TreasuryError> {
    serde_json::from_slice(bytes).map_err(|e| TreasuryError::Foreign { stream, seq, reason: e.to_string() })
}
