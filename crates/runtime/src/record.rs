//! Events as journal records, and back. JSON, because an old reader must be able to say what it does not know.

use brigade_journal::{AppendError, Batch, Journal, ReadError, Record};
use brigade_kernel::catalog::Catalog;
use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Event, Run, Stamped};
use brigade_kernel::tool::ToolSpec;
use std::sync::Arc;

use crate::home::events_of;
use crate::rows::key_of;
use crate::treasury;

/// Events read at a time.
const PAGE: usize = 4_096;

/// Why a run cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such run.
    #[error("there is no run {0}; `brigade ps` lists them")]
    Unknown(RunId),
    /// The journal cannot be read, or is damaged there.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// A record that this build does not know: it refuses rather than guess.
    #[error("event {seq} of run {run} is not readable by this version of brigade ({reason}); use the version that wrote it")]
    Foreign {
        /// The run.
        run: RunId,
        /// The event.
        seq: u64,
        /// What is unknown.
        reason: String,
    },
}

/// An event as it stands in the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Its place, from 1.
    pub seq: u64,
    /// What happened, and when.
    pub stamped: Stamped,
}

/// The record of an event; rows carry a key, so that results can be read back in input order.
pub fn encode(stamped: &Stamped, key: Option<i64>) -> Record {
    let bytes = serde_json::to_vec(stamped).expect("events are maps with text keys and plain values");
    Record { bytes, key }
}

/// Reads one event.
///
/// # Errors
/// [`LoadError::Foreign`].
pub fn decode(run: &RunId, seq: u64, bytes: &[u8]) -> Result<Stamped, LoadError> {
    serde_json::from_slice(bytes).map_err(|e| LoadError::Foreign { run: run.clone(), seq, reason: e.to_string() })
}

/// Walks the events of a run from `from` on, in order, a page at a time.
///
/// # Errors
/// [`LoadError`]; events before the damage have been handed out.
pub fn events(journal: &dyn Journal, run: &RunId, from: u64, mut each: impl FnMut(Recorded)) -> Result<u64, LoadError> {
    let stream = events_of(run);
    let mut next = from.max(1);
    loop {
        let page = journal.read(&stream, next, PAGE)?;
        let Some(last) = page.last() else { return Ok(next - 1) };
        next = last.seq + 1;
        for stored in page {
            let stamped = decode(run, stored.seq, &stored.bytes)?;
            each(Recorded { seq: stored.seq, stamped });
        }
    }
}

/// Folds a run from its journal. Returns it with the seq of its last event.
///
/// # Errors
/// [`LoadError`].
pub fn load(journal: &dyn Journal, run: &RunId, catalog: Arc<Catalog>, tools: Arc<[ToolSpec]>) -> Result<(Run, u64), LoadError> {
    let mut folded = Run::new(catalog, tools);
    let last = events(journal, run, 1, |recorded| folded.replay(&recorded.stamped))?;
    if last == 0 || folded.state().started.is_none() {
        return Err(LoadError::Unknown(run.clone()));
    }
    Ok((folded, last))
}

/// Appends what was decided about a run that no engine works on; the caller holds its lock.
///
/// # Errors
/// [`AppendError`]; nothing was written.
pub fn append(journal: &dyn Journal, run: &mut Run, version: u64) -> Result<(), AppendError> {
    let events = run.take_events();
    if events.is_empty() {
        return Ok(());
    }
    let records = events.iter().map(|e| encode(e, key_of(run.state(), e))).collect();
    let stream = events_of(run.state().run());
    let mut batch = Batch::new().expect(&stream, version).records(&stream, records);
    let spent = run.take_spending();
    if !spent.is_empty() {
        batch = batch.record(&treasury::spending(), treasury::spending_of(spent));
    }
    journal.append(batch).wait().map(drop)
}

/// The last event of a run.
///
/// # Errors
/// [`LoadError`].
pub fn last_event(journal: &dyn Journal, run: &RunId) -> Result<Option<Recorded>, LoadError> {
    let stream = events_of(run);
    let version = journal.version(&stream)?;
    let Some(stored) = journal.read(&stream, version.max(1), 1)?.pop() else { return Ok(None) };
    Ok(Some(Recorded { seq: stored.seq, stamped: decode(run, stored.seq, &stored.bytes)? }))
}

/// Whether a run has ended for good; what was done about its patch may stand behind its end.
///
/// # Errors
/// [`LoadError`].
pub fn is_over(journal: &dyn Journal, run: &RunId) -> Result<bool, LoadError> {
    let stream = events_of(run);
    let version = journal.version(&stream)?;
    for stored in journal.read(&stream, version.saturating_sub(8).max(1), 9)?.into_iter().rev() {
        match decode(run, stored.seq, &stored.bytes)?.event {
            Event::RunEnded(_) => return Ok(true),
            Event::PatchApplied { .. } | Event::PartialApplied { .. } | Event::PatchUndone { .. } | Event::Heard { .. } => {}
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// The first event of a run: what it started with.
///
/// # Errors
/// [`LoadError`].
pub fn first_event(journal: &dyn Journal, run: &RunId) -> Result<Option<Event>, LoadError> {
    let Some(stored) = journal.read(&events_of(run), 1, 1)?.pop() else { return Ok(None) };
    Ok(Some(decode(run, 1, &stored.bytes)?.event))
}
