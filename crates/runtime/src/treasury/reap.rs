//! Leases of runs that nobody works on any more: ended in their stead, so that no cap is blocked by the dead.

use std::collections::{BTreeMap, BTreeSet};

use brigade_journal::{Batch, Journal};
use brigade_kernel::budget::home::{HomeLedger, Open, RunMark, Spent};
use brigade_kernel::budget::{Amounts, HomeLease};
use brigade_kernel::ids::RunId;
use brigade_kernel::run::Event;

use super::{TreasuryError, spending, spending_of};
use crate::home::RUNS;
use crate::record;

/// What ends the leases of every run that is not `alive`, a batch for each: a call that was sent and whose end is not on record
/// is charged in full, one that was never sent costs nothing.
///
/// A batch that meets a conflict is to be dropped: the run was taken up meanwhile, and its engine ends its leases. Should both
/// end one, the first word counts.
///
/// # Errors
/// [`TreasuryError`].
pub fn reap(journal: &dyn Journal, ledger: &HomeLedger, alive: &dyn Fn(&RunId) -> bool) -> Result<Vec<Batch>, TreasuryError> {
    let mut by_run: BTreeMap<RunMark, Vec<(HomeLease, &Open)>> = BTreeMap::new();
    for (lease, open) in ledger.open() {
        by_run.entry(open.run).or_default().push((lease, open));
    }
    if by_run.is_empty() {
        return Ok(Vec::new());
    }
    let mut batches = Vec::new();
    for (stream, version) in journal.streams(RUNS)? {
        let Some(run) = stream.as_str().strip_prefix(RUNS).and_then(|id| RunId::new(id).ok()) else { continue };
        // A run whose leases are left in the end is forgotten: nobody knows any more whether they were used.
        let Some(open) = by_run.remove(&RunMark::of(&run)).filter(|_| !alive(&run)) else { continue };
        let sent = sent_without_end(journal, &run)?;
        let took = |(lease, open): (HomeLease, &Open)| {
            let took = if sent.contains(&lease) { open.most } else { Amounts::default() };
            Spent { lease: Some(lease), at: open.at, took }
        };
        let calls = open.into_iter().map(took).collect();
        batches.push(Batch::new().expect(&stream, version).record(&spending(), spending_of(calls)));
    }
    let forgotten = by_run.into_values().flatten().map(|(lease, open)| Spent { lease: Some(lease), at: open.at, took: open.most });
    let forgotten: Vec<Spent> = forgotten.collect();
    if !forgotten.is_empty() {
        batches.push(Batch::new().record(&spending(), spending_of(forgotten)));
    }
    Ok(batches)
}

/// Leases of calls whose start is on record and whose end is not.
fn sent_without_end(journal: &dyn Journal, run: &RunId) -> Result<BTreeSet<HomeLease>, TreasuryError> {
    let mut calls = BTreeMap::new();
    record::events(journal, run, 1, |recorded| match recorded.stamped.event {
        Event::CallStarted { call, home: Some(lease), .. } => drop(calls.insert(call, lease)),
        Event::CallEnded { call, .. } => drop(calls.remove(&call)),
        _ => {}
    })?;
    Ok(calls.into_values().collect())
}
