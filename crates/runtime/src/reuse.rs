//! Results of equal work: what was accepted once, in any run of the home, is not paid again.
//!
//! Only work that reads nothing but its own prompt: no tools, no files, no commands.

use std::fmt::Write as _;

use brigade_journal::{Journal, Record, Stream};
use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Earlier, Event, Prepared, State, Unit, uses_view};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::home::events_of;
use crate::record::decode;

/// Where a result stands: the run's event, not a copy of it, so that a forgotten run is forgotten here too.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    work: String,
    run: RunId,
    seq: u64,
}

fn stream() -> Stream {
    Stream::new("results").expect("a fixed name of plain letters")
}

/// What a unit's work is, content for content; `None` when its result may depend on more.
/// The model is not part of it: an accepted result is one, whoever gave it.
pub fn work_of(state: &State, unit: &Unit, prepared: &Prepared) -> Option<String> {
    let key = state.key(unit)?;
    let task = state.task(key);
    let spec = &task.spec;
    let pure = spec.tools.is_empty()
        && spec.mcp_servers.is_empty()
        && spec.files.is_empty()
        && !uses_view(spec)
        && !spec.approve
        && !spec.checkpoint;
    let first = state.work.get(&key).is_none_or(|w| w.tried.is_empty() && w.instructions.is_empty());
    if !pure || !first || !task.instructions.is_empty() {
        return None;
    }
    let mut hasher = Sha256::new();
    let format = prepared.call.format.as_ref().map_or("", |f| f.schema.text().get());
    // The cache key names role, type and wording of the instructions.
    let opening = prepared.call.cache_key.as_deref().unwrap_or(&prepared.call.instructions);
    for part in [opening, format, spec.tier.as_ref().map_or("", |t| t.as_str()), spec.model.as_ref().map_or("", |m| m.as_str())] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    for item in &prepared.call.items {
        if let brigade_kernel::call::Item::Message { text, images, .. } = item {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
            images.iter().for_each(|image| hasher.update(&image.blob));
        }
    }
    let mut work = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(work, "{byte:02x}");
    }
    Some(work)
}

fn key_of(work: &str) -> i64 {
    i64::from_str_radix(&work[..15], 16).unwrap_or_default()
}

/// An accepted result of equal work, if there is one that is still on record.
pub fn find(journal: &dyn Journal, work: &str) -> Option<Earlier> {
    let key = key_of(work);
    let found = journal.read_keyed(&stream(), (key, 0), 4).ok()?;
    for stored in found.into_iter().take_while(|s| s.key == Some(key)) {
        let entry: Entry = serde_json::from_slice(&stored.bytes).ok()?;
        if entry.work != work {
            continue;
        }
        let event = journal.read(&events_of(&entry.run), entry.seq, 1).ok()?.pop();
        if let Some(Event::SubtaskEnded { output, .. }) = event.and_then(|e| decode(&entry.run, e.seq, &e.bytes).ok()).map(|s| s.event) {
            return Some(Earlier { run: entry.run, output });
        }
    }
    None
}

/// The record that makes a result findable.
pub fn remember(work: String, run: &RunId, seq: u64) -> (Stream, Record) {
    let key = key_of(&work);
    let bytes = serde_json::to_vec(&Entry { work, run: run.clone(), seq }).expect("plain values");
    (stream(), Record { bytes, key: Some(key) })
}
