//! Results of equal work: what was accepted once, in any run of the home, is not paid again.
//!
//! The kernel says what work is equal ([`brigade_kernel::run::Work`]); here the files it may look at are named by their content, and
//! results are found and kept. A result is kept as the place of its event, so that a forgotten run is forgotten here too; what it
//! made of the files is taken over from that run's own store.

use std::time::{Duration, Instant};

use brigade_journal::{AppendError, Batch, Journal, ReadError, Record, Stream, Watch};
use brigade_kernel::ids::RunId;
use brigade_kernel::json_schema::Schema;
use brigade_kernel::run::{Caller, Change, Changed, Earlier, Event, Sees, SubtaskStatus, Verdict, Work};
use brigade_kernel::schedule::{Whose, whose};
use brigade_kernel::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::claims;
use crate::engine::World;
use crate::home::events_of;
use crate::record::decode;
use crate::schema;

/// Results of equal work that are looked at before the search is given up: most were forgotten with their runs.
const LOOK_AT: usize = 16;
/// How soon a result of another run is seen, and how many such glances before its claim is looked at again.
const GLANCE: Duration = Duration::from_millis(50);
const GLANCES: u32 = 10;
/// Entries read at a time.
const PAGE: usize = 4_096;

/// Where a result stands: the run's event, not a copy of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The work, files and all.
    pub work: String,
    /// Who paid for it.
    pub run: RunId,
    /// Its event.
    pub seq: u64,
    /// A type, or `review`.
    pub kind: String,
    /// When it was accepted.
    pub at: Timestamp,
    /// Bytes of the result.
    pub bytes: u64,
}

/// A result that is worth keeping, before its files have a name.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// The work.
    pub work: Work,
    /// Its event.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Bytes of the result.
    pub bytes: u64,
    /// Whether it is worth keeping; else only the claim to it ends.
    pub stands: bool,
}

fn stream() -> Stream {
    Stream::new("results").expect("a fixed name of plain letters")
}

pub(crate) fn key_of(work: &str) -> i64 {
    i64::from_str_radix(work.get(..15).unwrap_or_default(), 16).unwrap_or_default()
}

/// The name of work with the content of the files it may look at; `None` where that is not known.
async fn name_of(work: &Work, world: &World) -> Option<String> {
    let tree = match &work.sees {
        Sees::Nothing => return Some(work.name.clone()),
        Sees::Workspace => None,
        Sees::Tree(tree) => Some(tree.as_str()),
    };
    let content = world.hands.content_of(tree).await?;
    Some(brigade_tools::gate::Hash::of(format!("{} {content}", work.name).as_bytes()).to_string())
}

/// An accepted result of equal work, if there is one that is still on record.
fn find(journal: &dyn Journal, work: &str) -> Option<(RunId, Event)> {
    let key = key_of(work);
    let found = journal.read_keyed(&stream(), (key, 0), LOOK_AT).ok()?;
    let same = found.into_iter().take_while(|stored| stored.key == Some(key));
    same.filter_map(|stored| serde_json::from_slice::<Entry>(&stored.bytes).ok()).filter(|entry| entry.work == work).find_map(|entry| {
        let stored = journal.read(&events_of(&entry.run), entry.seq, 1).ok()?.pop()?;
        Some((entry.run.clone(), decode(&entry.run, stored.seq, &stored.bytes).ok()?.event))
    })
}

/// The result in an event, unless it made something of the files; what can be checked for nothing is checked again.
fn result_of(run: RunId, event: Event, form: Option<&Schema>) -> Option<(Earlier, Option<Change>)> {
    match event {
        Event::SubtaskEnded { status: SubtaskStatus::Done, output, change, .. } => {
            let fits = form.is_none_or(|form| schema::check(form, &output).0 == Verdict::Pass);
            fits.then_some((Earlier::Result { run, output, change: None, changed: Changed::default() }, change))
        }
        Event::Reviewed { review, .. } => Some((Earlier::of_review(run, review)?, None)),
        _ => None,
    }
}

/// Looks for the result of work that sees no files.
pub fn recall(journal: &dyn Journal, work: &Work, form: Option<&Schema>) -> Option<Earlier> {
    let (run, event) = find(journal, &work.name)?;
    match result_of(run, event, form)? {
        (earlier, None) => Some(earlier),
        (_, Some(_)) => None,
    }
}

/// Looks for the result of work, and brings what it made of the files into this run's store. Where there is none the work is claimed,
/// and whoever claimed it before is waited for; `None` is this run's turn to do it.
pub async fn look(world: &World, run: &RunId, caller: &Caller, work: &Work, form: Option<&Schema>, patience: Duration) -> Option<Earlier> {
    if let (Caller::Executor { unit, .. }, Sees::Workspace) = (caller, &work.sees) {
        world.hands.pin(unit).await?;
    }
    let name = name_of(work, world).await?;
    let since = Instant::now();
    let mut claimed = false;
    let mut watch = Watch::new(stream(), 0);
    loop {
        if let Some(earlier) = take(world, work, &name, form).await {
            if claimed {
                claims::say(&*world.journal, &name, run, true).await;
            }
            return Some(earlier);
        }
        if !claimed {
            claims::say(&*world.journal, &name, run, false).await;
            claimed = true;
            continue; // somebody may have ended just before
        }
        let at_work = |other: &RunId| world.home.engine_of(other).is_some();
        if whose(&claims::of(&*world.journal, &name), run, at_work) == Whose::Mine || since.elapsed() >= patience {
            return None;
        }
        // Woken by a result; a claim that ends without one is seen when the glance has grown stale.
        for _ in 0..GLANCES {
            tokio::time::sleep(GLANCE).await;
            if watch.poll(&*world.journal).ok().flatten().is_some() {
                break;
            }
        }
    }
}

/// A result on record, with what it made of the files.
async fn take(world: &World, work: &Work, name: &str, form: Option<&Schema>) -> Option<Earlier> {
    let (run, event) = find(&*world.journal, name)?;
    let (mut earlier, there) = result_of(run.clone(), event, form)?;
    if let (Earlier::Result { change, changed, .. }, Some(there), Sees::Tree(from)) = (&mut earlier, there, &work.sees) {
        let to = world.hands.adopt(&run, &there.to).await.ok()?;
        *changed = world.hands.changed(from, &to).await.ok()?;
        *change = Some(Change { from: from.clone(), to });
    }
    Some(earlier)
}

fn record(work: String, run: &RunId, fresh: &Fresh) -> Record {
    let entry = Entry { run: run.clone(), seq: fresh.seq, kind: fresh.work.kind.to_owned(), at: fresh.at, bytes: fresh.bytes, work };
    Record { key: Some(key_of(&entry.work)), bytes: serde_json::to_vec(&entry).expect("plain values") }
}

/// The records that make a result findable whose work sees no files, and end the claim to it.
pub fn remember(run: &RunId, fresh: &Fresh) -> impl Iterator<Item = (Stream, Record)> {
    let result = fresh.stands.then(|| (stream(), record(fresh.work.name.clone(), run, fresh)));
    result.into_iter().chain([claims::record(&fresh.work.name, run, true)])
}

/// Makes results findable whose work sees files: if the workspace still is what they were made from.
pub async fn keep(world: World, run: RunId, ended: Vec<Fresh>) {
    let is_fresh = world.hands.is_fresh().await;
    let mut batch = Batch::new();
    for fresh in &ended {
        let Some(name) = name_of(&fresh.work, &world).await else { continue };
        let (claims, over) = claims::record(&name, &run, true);
        batch = batch.record(&claims, over);
        if is_fresh && fresh.stands {
            batch = batch.record(&stream(), record(name, &run, fresh));
        }
    }
    // A result that is not kept is paid for again, no more.
    let _ = world.journal.append(batch).await;
}

/// All results that can still be found, oldest first.
///
/// # Errors
/// The journal's.
pub fn entries(journal: &dyn Journal) -> Result<Vec<Entry>, ReadError> {
    let runs: std::collections::HashSet<String> =
        journal.streams("run/")?.into_iter().map(|(stream, _)| stream.as_str().to_owned()).collect();
    let (mut all, mut next) = (Vec::new(), 1);
    loop {
        let page = journal.read(&stream(), next, PAGE)?;
        let Some(last) = page.last() else { return Ok(all) };
        next = last.seq + 1;
        let known = page.iter().filter_map(|stored| serde_json::from_slice::<Entry>(&stored.bytes).ok());
        all.extend(known.filter(|entry| runs.contains(events_of(&entry.run).as_str())));
    }
}

/// Forgets all results but these. Runs at work go on, and keep what they finish from here on.
///
/// # Errors
/// The journal's; results that were to stay may be lost then.
pub fn retain(journal: &dyn Journal, entries: &[Entry]) -> Result<(), AppendError> {
    journal.remove(&stream()).wait()?;
    let record = |entry: &Entry| Record { key: Some(key_of(&entry.work)), bytes: serde_json::to_vec(entry).expect("plain values") };
    for some in entries.chunks(PAGE) {
        journal.append(Batch::new().records(&stream(), some.iter().map(record).collect())).wait()?;
    }
    Ok(())
}
