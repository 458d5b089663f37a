//! Rows of a bulk run as JSONL, in input order, written as soon as all before them are there.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use brigade_journal::Journal;
use brigade_kernel::ids::{RunId, SubtaskId};
use brigade_kernel::plan::{ForEach, Subtask};
use brigade_kernel::run::{Event, State, SubtaskOrInput, SubtaskStatus, rows_from};
use brigade_kernel::view::usd;
use brigade_runtime::home::events_of;
use brigade_runtime::record::decode;
use brigade_runtime::rows::{self, Place};
use serde_json::{Value, json};

use crate::exit::Failure;

/// Records looked at in one go, at most.
const PAGE: usize = 1_024;

/// A row of an origin of rows.
type Row = (u32, u64);

/// Writes rows; holds none.
pub struct Results<'a> {
    journal: Arc<dyn Journal>,
    run: RunId,
    file: Option<&'a Path>,
    out: Option<Box<dyn Write>>,
    plan: Vec<Planned>,
    index: HashMap<SubtaskId, u32>,
    /// How many rows each origin has, once known.
    totals: HashMap<SubtaskOrInput, u64>,
    /// What the plan and the totals say; made anew when they change.
    origins: Option<Origins>,
    /// The next row to write.
    next: Row,
    /// Something happened to that row since it was last looked at.
    fresh: bool,
    /// Rows that are tried again, and how many results they wait for; none of them is known to be the last for some.
    again: BTreeMap<Row, usize>,
    /// All rows of a subtask are done again: nothing is written until the run stands still.
    held: bool,
    /// What was written has changed since.
    stale: bool,
    /// Nothing more is written: the reader has gone, or what went wrong.
    stopped: Option<Option<String>>,
}

/// What of a subtask matters here.
#[derive(Debug)]
struct Planned {
    id: SubtaskId,
    for_each: Option<ForEach>,
    dropped: bool,
}

/// Origins of rows, by their numbers in the journal's keys.
#[derive(Debug, Default)]
struct Origins {
    /// The origin of each subtask that runs per row.
    of: HashMap<SubtaskId, u32>,
    /// Subtasks per row, and rows in all where that is known.
    sizes: BTreeMap<u32, (usize, Option<u64>)>,
}

impl std::fmt::Debug for Results<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Results").field("run", &self.run).field("next", &self.next).finish_non_exhaustive()
    }
}

impl<'a> Results<'a> {
    /// To a file, else to standard output; from the first row, whoever worked it off.
    pub fn new(journal: Arc<dyn Journal>, state: &State, file: Option<&'a Path>) -> Self {
        let mut results = Self {
            journal,
            run: state.run().clone(),
            file,
            out: None,
            plan: Vec::new(),
            index: HashMap::new(),
            totals: state.sources.iter().filter_map(|s| Some((s.from.clone(), s.total?))).collect(),
            origins: None,
            next: (0, 0),
            fresh: true,
            again: BTreeMap::new(),
            held: state.tasks.iter().any(|t| t.restarts > 0 && t.status.is_none()),
            stale: false,
            stopped: None,
        };
        for task in &state.tasks {
            results.plan(&task.spec);
            if task.status == Some(SubtaskStatus::Dropped) {
                results.drop(&task.spec.id);
            }
        }
        for source in &state.sources {
            let Some(origin) = rows::origin(&source.from, |id| state.index.get(id).copied()) else { continue };
            for row in &source.reopened {
                let there = source.rows.get(row).map_or(0, |row| row.results.len());
                *results.again.entry((origin, *row)).or_default() += source.members.len().saturating_sub(there);
            }
        }
        results
    }

    fn plan(&mut self, subtask: &Subtask) {
        self.origins = None;
        let planned = Planned { id: subtask.id.clone(), for_each: subtask.for_each.clone(), dropped: false };
        match self.index.get(&subtask.id) {
            // What was decided before the first event is shown stands in the state already.
            Some(&task) => self.plan[task as usize] = planned,
            None => {
                self.index.insert(subtask.id.clone(), self.plan.len() as u32);
                self.plan.push(planned);
            }
        }
    }

    fn drop(&mut self, id: &SubtaskId) {
        self.origins = None;
        if let Some(&task) = self.index.get(id) {
            self.plan[task as usize].dropped = true;
        }
    }

    fn origins(&mut self) -> &Origins {
        let made = self.origins.take().unwrap_or_else(|| {
            let mut origins = Origins::default();
            let there = |planned: &&Planned| !planned.dropped;
            let planned = |id: &SubtaskId| self.index.get(id).map(|&task| &self.plan[task as usize]);
            let find = |id: &SubtaskId| planned(id).filter(there).map(|planned| planned.for_each.as_ref());
            for subtask in self.plan.iter().filter(there) {
                let Some(from) = rows_from(subtask.for_each.as_ref(), find) else { continue };
                let Some(origin) = rows::origin(&from, |id| self.index.get(id).copied()) else { continue };
                origins.of.insert(subtask.id.clone(), origin);
                origins.sizes.entry(origin).or_insert((0, self.totals.get(&from).copied())).0 += 1;
            }
            origins
        });
        self.origins.insert(made)
    }

    /// Takes one event in.
    pub fn saw(&mut self, event: &Event) {
        match event {
            Event::PlanSubtask { subtask, .. } | Event::MergePlanned { subtask, .. } => self.plan(subtask),
            Event::PlanPatched { patch, .. } => {
                let more = patch.add.iter().any(|subtask| subtask.for_each.is_some() && !self.index.contains_key(&subtask.id));
                self.stale |= more && self.next != (0, 0);
                patch.add.iter().chain(&patch.change).for_each(|subtask| self.plan(subtask));
                patch.drop.iter().for_each(|id| self.drop(id));
            }
            Event::RowsEnded { source, rows } => {
                self.totals.insert(source.clone(), *rows);
                (self.origins, self.fresh) = (None, true);
            }
            Event::Reopened { unit, .. } => {
                let Some(&origin) = self.origins().of.get(&unit.subtask) else { return };
                match unit.row {
                    Some(row) => {
                        // How many of its results are still good is the state's knowledge: see `new`.
                        self.again.entry((origin, row)).or_insert(usize::MAX);
                        self.stale |= (origin, row) < self.next;
                    }
                    None => {
                        self.held = true;
                        self.stale |= self.next != (0, 0);
                    }
                }
            }
            Event::SubtaskEnded { unit, .. } => {
                let Some(row) = unit.row else { return };
                let Some(&origin) = self.origins().of.get(&unit.subtask) else { return };
                if let Some(left) = self.again.get_mut(&(origin, row)) {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        self.again.remove(&(origin, row));
                    }
                }
                self.fresh |= (origin, row) == self.next;
            }
            _ => {}
        }
    }

    /// Writes every row whose results, and all before it, are durable.
    pub fn write_ready(&mut self) {
        if std::mem::take(&mut self.fresh) && !self.held && !self.origins().sizes.is_empty() {
            self.write(false);
        }
    }

    fn write(&mut self, all: bool) {
        if self.stopped.is_none()
            && let Err(error) = self.rows(all)
        {
            // The reader of a pipe has seen enough; anything else is told at the end. The run goes on.
            let gone = error.kind() == io::ErrorKind::BrokenPipe;
            self.stopped = Some((!gone).then(|| error.to_string()));
        }
    }

    /// Moves on from origins whose rows are all written, or that have no subtask.
    fn skip_ended(&mut self) {
        let (mut origin, mut row) = self.next;
        for (&there, &(_, total)) in self.origins().sizes.range(origin..) {
            if there > origin {
                (origin, row) = (there, 0);
            }
            if total.is_none_or(|total| row < total) {
                break;
            }
            (origin, row) = (there + 1, 0);
        }
        self.next = (origin, row);
    }

    fn members(&mut self, origin: u32) -> usize {
        self.origins().sizes.get(&origin).map_or(1, |(members, _)| *members)
    }

    fn is_ready(&mut self, row: Row, results: usize) -> bool {
        row == self.next && results >= self.members(row.0) && !self.again.contains_key(&row)
    }

    fn rows(&mut self, all: bool) -> io::Result<()> {
        self.skip_ended();
        // One row first: most looks find that the next one is not there yet.
        let mut limit = self.members(self.next.0).clamp(1, PAGE);
        loop {
            let from = Place { origin: self.next.0, row: self.next.1, task: 0 };
            let stored = self.journal.read_keyed(&events_of(&self.run), (from.key(), 0), limit).map_err(io::Error::other)?;
            let more = stored.len() == limit;
            let mut lines: Vec<(i64, Value)> = Vec::new();
            for record in &stored {
                let Some(key) = record.key else { continue };
                let stamped = decode(&self.run, record.seq, &record.bytes).map_err(io::Error::other)?;
                if let Some(line) = line(&stamped.event) {
                    // Tried again: the last word counts.
                    match lines.last_mut().filter(|(last, _)| *last == key) {
                        Some(last) => last.1 = line,
                        None => lines.push((key, line)),
                    }
                }
            }
            // The rest of the last row may stand on the next page.
            let unsure = stored.last().and_then(|r| r.key).map(row_of).filter(|_| more);
            let start = self.next;
            let mut rest = lines.into_iter().peekable();
            while let Some(next) = rest.peek().map(|(key, _)| row_of(*key)) {
                if unsure == Some(next) && (next != start || limit < PAGE) {
                    if all {
                        self.next = next; // the next page starts with it
                    }
                    break;
                }
                let mut row = Vec::new();
                while let Some((_, line)) = rest.next_if(|(key, _)| row_of(*key) == next) {
                    row.push(line);
                }
                if !all && !self.is_ready(next, row.len()) {
                    break;
                }
                for line in row {
                    self.put(&line)?;
                }
                self.next = (next.0, next.1 + 1);
                self.skip_ended();
            }
            if !more || (self.next == start && limit >= PAGE) {
                return Ok(());
            }
            if self.next == start && !all && unsure != Some(start) {
                return Ok(()); // the next row is seen whole, and not ready
            }
            limit = (limit * 4).min(PAGE);
        }
    }

    fn put(&mut self, line: &Value) -> io::Result<()> {
        let out = match &mut self.out {
            Some(out) => out,
            None => self.out.insert(self.open()?),
        };
        writeln!(out, "{line}")
    }

    fn open(&self) -> io::Result<Box<dyn Write>> {
        Ok(match self.file {
            Some(path) => Box::new(BufWriter::new(File::create(path)?)),
            None => Box::new(BufWriter::new(io::stdout())),
        })
    }

    /// The run stands still: what there is, is written. Rows without a result are left out, in order.
    ///
    /// # Errors
    /// When the rows could not be written, or printed ones have changed since.
    pub fn close(&mut self) -> Result<(), Failure> {
        if self.origins().sizes.is_empty() {
            return Ok(());
        }
        if self.stale && self.file.is_some() {
            (self.next, self.out) = ((0, 0), None);
        }
        self.write(true);
        if self.stopped.is_none()
            && let Err(error) = self.flush()
        {
            self.stopped = Some((error.kind() != io::ErrorKind::BrokenPipe).then(|| error.to_string()));
        }
        let Some(Some(error)) = &self.stopped else {
            if self.stale && self.file.is_none() && self.stopped.is_none() {
                let why = format!("printed rows were done again since: brigade resume {} -o FILE writes them as they are now", self.run);
                return Err(Failure::failed(why));
            }
            return Ok(());
        };
        let to = self.file.map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
        let why = format!(
            "rows could not be written to {to}: {error}; they are in the journal: brigade resume {} -o FILE, or brigade show",
            self.run
        );
        Err(Failure::failed(why))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.out.is_none() && self.file.is_some() {
            // No row at all: the file says so, instead of what an earlier run left there.
            self.out = Some(self.open()?);
        }
        self.out.as_mut().map_or(Ok(()), |out| out.flush())
    }
}

fn row_of(key: i64) -> Row {
    let place = Place::of(key);
    (place.origin, place.row)
}

/// A row's result as design.md "The plan" gives it.
fn line(event: &Event) -> Option<Value> {
    let Event::SubtaskEnded { unit, status, output, tier, cost_usd, error, .. } = event else { return None };
    let output = match status {
        SubtaskStatus::Done => {
            serde_json::from_str(output).ok().filter(|v: &Value| v.is_object() || v.is_array()).unwrap_or_else(|| output.as_str().into())
        }
        _ => Value::Null,
    };
    Some(json!({
        "row": unit.row, "id": unit.subtask, "status": status, "output": output,
        "tier": tier, "cost_usd": usd(*cost_usd), "error": error,
    }))
}
