//! What was asked and what it cost: one record a call, in memory and, if wanted, in a file.
//!
//! The file has one JSON line when a call arrives and one when it ends. In durable mode the
//! arrival line is on the disk before the first byte of the answer leaves, so that no crash of
//! the caller, or of this process, hides a call. It never decides an answer.

mod file;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

pub(crate) use file::Kept;

/// Calls kept in memory; older ones are in the file and in the totals.
const MOST_IN_MEMORY: usize = 1_000_000;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not ended yet.
    Running,
    /// The whole answer was handed to the connection.
    Completed,
    /// The script cut it.
    Cut,
    /// An error was answered.
    Error,
    /// The caller left before the end.
    ClientGone,
    /// This process died before the end (known after a restart).
    Lost,
}

/// Tokens a call is billed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// All input.
    pub input_tokens: u64,
    /// Input from the cache, a part of the input.
    pub cached_tokens: u64,
    /// Input written to the cache, a part of the input.
    pub cache_write_tokens: u64,
    /// All output.
    pub output_tokens: u64,
    /// Output that was reasoning, a part of the output.
    pub reasoning_tokens: u64,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallRecord {
    /// From 1, in order of arrival; goes on after a restart with the same file.
    pub seq: u64,
    /// RFC 3339, UTC, milliseconds.
    #[serde(serialize_with = "file::at")]
    pub at: i64,
    /// Route.
    pub path: &'static str,
    /// Model asked for, as far as it could be read.
    pub model: Arc<str>,
    /// `x-client-request-id` of the request.
    pub request_id: Option<Box<str>>,
    /// Hash of path and body: equal requests have equal fingerprints.
    #[serde(serialize_with = "file::hex")]
    pub fingerprint: u64,
    /// Rule that answered, from 1.
    pub rule: Option<usize>,
    /// HTTP status.
    pub status: u16,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Calls being answered when it arrived, itself included.
    pub in_flight: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What it is billed; `None` while running and for refusals.
    pub usage: Option<Spent>,
    /// Whether the answer told the caller its usage.
    pub usage_sent: bool,
    /// Images that the request showed.
    #[serde(skip_serializing_if = "none")]
    pub images: u64,
    /// The service it is billed at, where not the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Box<str>>,
    /// What the answer did against the request's schema, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Box<str>>,
}

fn none(count: &u64) -> bool {
    *count == 0
}

/// Sums for one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// All calls, refused ones included.
    pub calls: u64,
    /// By outcome.
    pub completed: u64,
    /// Answers the script cut.
    pub cut: u64,
    /// Errors answered.
    pub errors: u64,
    /// Callers that left.
    pub client_gone: u64,
    /// Calls that ended with this process.
    pub lost: u64,
    /// Tokens billed.
    #[serde(flatten)]
    pub usage: Spent,
}

/// The ledger at one moment: the body of `GET /_ledger`.
#[derive(Debug, Clone, Serialize)]
pub struct LedgerSnapshot {
    /// In order of arrival.
    pub calls: Vec<CallRecord>,
    /// By model.
    pub totals: BTreeMap<Arc<str>, Totals>,
    /// Calls being answered now.
    pub in_flight: u64,
    /// Most at once so far.
    pub max_in_flight: u64,
    /// Calls no longer listed, only summed up.
    pub forgotten: u64,
}

#[derive(Debug, Default)]
struct Book {
    calls: VecDeque<CallRecord>,
    totals: BTreeMap<Arc<str>, Totals>,
    last_seq: u64,
    in_flight: u64,
    max_in_flight: u64,
    forgotten: u64,
}

/// What is known when a call arrives.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) seq: u64,
    pub(crate) path: &'static str,
    pub(crate) model: &'a str,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) fingerprint: u64,
    pub(crate) rule: Option<usize>,
    pub(crate) counted: &'a [usize],
    pub(crate) status: u16,
    pub(crate) stream: bool,
    pub(crate) usage_sent: bool,
    pub(crate) images: u64,
    pub(crate) service: Option<Box<str>>,
    pub(crate) note: Option<Box<str>>,
}

/// The ledger of one emulator.
#[derive(Debug)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
    file: Option<file::Writer>,
}

impl Ledger {
    /// Opens a ledger; with a path, goes on from what the file holds.
    pub(crate) fn open(path: Option<&Path>, durable: bool, scenario: u64) -> std::io::Result<(Self, Kept)> {
        let Some(path) = path else {
            return Ok((Self { book: Mutex::default(), file: None }, Kept::default()));
        };
        let mut kept = file::read(path, scenario)?;
        let mut book = Book { last_seq: kept.last_seq, ..Book::default() };
        for call in kept.calls.drain(..) {
            book.add(&call);
            book.end(&call.model, call.outcome, call.usage);
            book.push(call);
        }
        let file = file::Writer::open(path, durable, scenario)?;
        Ok((Self { book: Mutex::new(book), file: Some(file) }, kept))
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next call.
    pub(crate) fn next_seq(&self) -> u64 {
        let mut book = self.book();
        book.last_seq += 1;
        book.last_seq
    }

    /// Records a call; what it returns must be awaited before the first byte is sent.
    pub(crate) fn arrive(&self, arrival: Arrival<'_>) -> file::Ack {
        let now = jiff::Timestamp::now().as_millisecond();
        let mut book = self.book();
        book.in_flight += 1;
        book.max_in_flight = book.max_in_flight.max(book.in_flight);
        let model = match book.totals.get_key_value(arrival.model) {
            Some((model, _)) => Arc::clone(model),
            None => arrival.model.into(),
        };
        let call = CallRecord {
            seq: arrival.seq,
            at: now,
            path: arrival.path,
            model,
            request_id: arrival.request_id.map(Into::into),
            fingerprint: arrival.fingerprint,
            rule: arrival.rule,
            status: arrival.status,
            stream: arrival.stream,
            in_flight: book.in_flight,
            outcome: Outcome::Running,
            usage: None,
            usage_sent: arrival.usage_sent,
            images: arrival.images,
            service: arrival.service,
            note: arrival.note,
        };
        book.add(&call);
        let line = self.file.as_ref().map(|_| file::arrival_line(&call, arrival.counted));
        book.push(call);
        drop(book);
        match (&self.file, line) {
            (Some(file), Some(line)) => file.arrive(line),
            _ => file::Ack::None,
        }
    }

    /// Records how a call ended.
    pub(crate) fn end(&self, seq: u64, outcome: Outcome, usage: Option<Spent>) {
        let mut book = self.book();
        book.in_flight -= 1;
        let at = book.calls.binary_search_by_key(&seq, |call| call.seq);
        if let Some(call) = at.ok().and_then(|at| book.calls.get_mut(at)) {
            call.outcome = outcome;
            call.usage = usage;
            let model = Arc::clone(&call.model);
            book.end(&model, outcome, usage);
        }
        drop(book);
        if let Some(file) = &self.file {
            file.end(file::end_line(seq, outcome, usage.as_ref()));
        }
    }

    pub(crate) fn snapshot(&self) -> LedgerSnapshot {
        let book = self.book();
        LedgerSnapshot {
            calls: book.calls.iter().cloned().collect(),
            totals: book.totals.clone(),
            in_flight: book.in_flight,
            max_in_flight: book.max_in_flight,
            forgotten: book.forgotten,
        }
    }
}

impl Book {
    fn add(&mut self, call: &CallRecord) {
        self.totals.entry(Arc::clone(&call.model)).or_default().calls += 1;
    }

    /// Keeps calls in order of `seq`: a binary search relies on it.
    fn push(&mut self, call: CallRecord) {
        let at = self.calls.iter().rposition(|other| other.seq < call.seq).map_or(0, |at| at + 1);
        self.calls.insert(at, call);
        if self.calls.len() > MOST_IN_MEMORY {
            self.calls.pop_front();
            self.forgotten += 1;
        }
    }

    fn end(&mut self, model: &Arc<str>, outcome: Outcome, usage: Option<Spent>) {
        let totals = self.totals.entry(Arc::clone(model)).or_default();
        match outcome {
            Outcome::Completed => totals.completed += 1,
            Outcome::Cut => totals.cut += 1,
            Outcome::Error => totals.errors += 1,
            Outcome::ClientGone => totals.client_gone += 1,
            Outcome::Lost => totals.lost += 1,
            Outcome::Running => {}
        }
        if let Some(usage) = usage {
            totals.usage.input_tokens += usage.input_tokens;
            totals.usage.cached_tokens += usage.cached_tokens;
            totals.usage.cache_write_tokens += usage.cache_write_tokens;
            totals.usage.output_tokens += usage.output_tokens;
            totals.usage.reasoning_tokens += usage.reasoning_tokens;
        }
    }
}

/// Hash of bytes, the same on every machine and in every release; not for secrets.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |a: u64, b: u64| {
        let wide = u128::from(a) * u128::from(b);
        (wide as u64) ^ ((wide >> 64) as u64)
    };
    let mut hash = ODD ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_le_bytes(word), ODD).wrapping_add(ODD);
    }
    mix(hash, ODD)
}

#[cfg(test)]
mod tests;
