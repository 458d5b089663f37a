//! Results of rows in the journal: where each stands, and how they are read back.
//!
//! A row leaves the engine's memory when it ends; what a later pass over the rows builds on comes from here.

use std::collections::HashMap;

use brigade_journal::{Journal, ReadError};
use brigade_kernel::ids::SubtaskId;
use brigade_kernel::run::{Event, Kept, RowRead, Stamped, State, SubtaskOrInput, Unit};

use crate::home::events_of;
use crate::record::{LoadError, decode};

/// Results looked at in one go.
const PAGE: usize = 1_024;
/// Bits of a subtask's and of an origin's number: a plan has at most 10,000 subtasks, and its patches some more.
const TASK_BITS: u32 = 15;
const ROW_BITS: u32 = 33;

/// Where a row's result stands: origins in plan order, `--input` first; then rows; then the subtasks of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Where the row comes from, as [`origin`] numbers it.
    pub origin: u32,
    /// The row.
    pub row: u64,
    /// The subtask's place in the plan.
    pub task: u32,
}

impl Place {
    /// As a journal key; keys sort as places do.
    pub fn key(self) -> i64 {
        let (task, origin) = (self.task & ((1 << TASK_BITS) - 1), self.origin & ((1 << TASK_BITS) - 1));
        let row = self.row.min((1 << ROW_BITS) - 1);
        (u64::from(origin) << (ROW_BITS + TASK_BITS) | row << TASK_BITS | u64::from(task)).cast_signed()
    }

    /// The place behind a key.
    pub fn of(key: i64) -> Self {
        let bits = key.cast_unsigned();
        Self {
            origin: (bits >> (ROW_BITS + TASK_BITS)) as u32,
            row: bits >> TASK_BITS & ((1 << ROW_BITS) - 1),
            task: bits as u32 & ((1 << TASK_BITS) - 1),
        }
    }
}

/// The number of an origin of rows: 0 is `--input`, then come the subtasks that returned lists.
pub fn origin(from: &SubtaskOrInput, task: impl Fn(&SubtaskId) -> Option<u32>) -> Option<u32> {
    match from {
        SubtaskOrInput::Input => Some(0),
        SubtaskOrInput::Subtask(id) => task(id).map(|task| task + 1),
    }
}

/// The key of an event: results of rows have one.
pub fn key_of(state: &State, stamped: &Stamped) -> Option<i64> {
    let Event::SubtaskEnded { unit: Unit { subtask, row: Some(row) }, .. } = &stamped.event else { return None };
    let &task = state.index.get(subtask)?;
    let origin = origin(&state.rows_from(task)?, |id| state.index.get(id).copied())?;
    Some(Place { origin, row: *row, task }.key())
}

/// Adds to rows what some subtasks returned for them, as far as it is on record; the last word counts.
///
/// # Errors
/// [`LoadError`].
pub fn recall(
    journal: &dyn Journal,
    state: &State,
    from: &SubtaskOrInput,
    rows: &mut [RowRead],
    with: &[SubtaskId],
) -> Result<(), LoadError> {
    let (Some(first), Some(last)) = (rows.first().map(|r| r.row), rows.last().map(|r| r.row)) else { return Ok(()) };
    let Some(origin) = origin(from, |id| state.index.get(id).copied()).filter(|_| !with.is_empty()) else { return Ok(()) };
    let mut kept: HashMap<u64, Vec<Kept>> = HashMap::new();
    walk(journal, state, Place { origin, row: first, task: 0 }, |place, event| {
        if place.origin != origin || place.row > last {
            return false;
        }
        if let Event::SubtaskEnded { unit, status, output, .. } = event
            && with.contains(&unit.subtask)
        {
            let of_row = kept.entry(place.row).or_default();
            of_row.retain(|kept| kept.subtask != unit.subtask);
            of_row.push(Kept { subtask: unit.subtask, status, output: output.into() });
        }
        true
    })?;
    for row in rows {
        row.kept = kept.remove(&row.row).unwrap_or_default();
    }
    Ok(())
}

fn walk(journal: &dyn Journal, state: &State, from: Place, mut each: impl FnMut(Place, Event) -> bool) -> Result<(), LoadError> {
    let mut at = (from.key(), 0);
    loop {
        let page = journal.read_keyed(&events_of(state.run()), at, PAGE).map_err(|e: ReadError| LoadError::Journal(e))?;
        let Some((key, seq)) = page.last().and_then(|last| Some((last.key?, last.seq))) else { return Ok(()) };
        at = (key, seq + 1);
        let more = page.len() == PAGE;
        for stored in page {
            let Some(key) = stored.key else { continue };
            if !each(Place::of(key), decode(state.run(), stored.seq, &stored.bytes)?.event) {
                return Ok(());
            }
        }
        if !more {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_places_and_lead_back_to_them() {
        let mut last = i64::MIN;
        for origin in [0, 1, 10_001, (1 << TASK_BITS) - 1] {
            for row in [0, 1, 99_999, (1 << ROW_BITS) - 1] {
                for task in [0, 7, (1 << TASK_BITS) - 1] {
                    let place = Place { origin, row, task };
                    assert_eq!(Place::of(place.key()), place);
                    assert!(place.key() > last, "{place:?}");
                    last = place.key();
                }
            }
        }
    }
}
