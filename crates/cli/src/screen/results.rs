//! Rows of a bulk run as JSONL, in input order, written as soon as all before them are there.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use brigade_journal::Journal;
use brigade_kernel::ids::{RunId, SubtaskId};
use brigade_kernel::plan::{ForEach, Subtask};
use brigade_kernel::run::{Event, State, SubtaskStatus};
use brigade_kernel::view::usd;
use brigade_runtime::home::events_of;
use brigade_runtime::record::{decode, row_key};
use serde_json::{Value, json};

use crate::exit::Failure;

/// Records looked at in one go, at most.
const PAGE: usize = 1_024;

/// Writes rows; holds none.
pub struct Results<'a> {
    journal: Arc<dyn Journal>,
    run: RunId,
    file: Option<&'a Path>,
    out: Option<Box<dyn Write>>,
    /// Tasks that run per row, in plan order.
    members: Vec<u32>,
    tasks: u32,
    known: HashSet<SubtaskId>,
    /// The next row to write.
    row: u64,
    /// Something happened to that row since it was last looked at.
    fresh: bool,
    /// Rows that are tried again, and how many of their members have ended again.
    again: BTreeMap<u64, usize>,
    /// A row that was written has changed since.
    stale: bool,
    /// Nothing more is written: the reader has gone, or what went wrong.
    stopped: Option<Option<String>>,
}

impl std::fmt::Debug for Results<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Results").field("run", &self.run).field("row", &self.row).finish_non_exhaustive()
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
            members: Vec::new(),
            tasks: 0,
            known: HashSet::new(),
            row: 0,
            fresh: true,
            again: state.sources.iter().flat_map(|s| &s.reopened).map(|row| (*row, 0)).collect(),
            stale: false,
            stopped: None,
        };
        for task in &state.tasks {
            results.plan(&task.spec);
        }
        results
    }

    fn plan(&mut self, subtask: &Subtask) {
        // What was decided before the first event is shown stands in the state already.
        if !self.known.insert(subtask.id.clone()) {
            return;
        }
        if matches!(subtask.for_each, Some(ForEach::Input | ForEach::Subtask(_))) {
            self.members.push(self.tasks);
        }
        self.tasks += 1;
    }

    /// Takes one event in.
    pub fn saw(&mut self, event: &Event) {
        match event {
            Event::PlanSubtask { subtask, .. } => self.plan(subtask),
            Event::PlanPatched { patch, .. } => patch.add.iter().for_each(|subtask| self.plan(subtask)),
            Event::Reopened { unit, .. } => {
                if let Some(row) = unit.row {
                    self.again.insert(row, 0);
                    self.stale |= row < self.row;
                }
            }
            Event::SubtaskEnded { unit, .. } => {
                let Some(row) = unit.row else { return };
                if let Some(ended) = self.again.get_mut(&row) {
                    *ended += 1;
                    if *ended >= self.members.len() {
                        self.again.remove(&row);
                    }
                }
                self.fresh |= row == self.row;
            }
            _ => {}
        }
    }

    /// Writes every row whose results, and all before it, are durable.
    pub fn write_ready(&mut self) {
        if std::mem::take(&mut self.fresh) && !self.members.is_empty() {
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

    fn rows(&mut self, all: bool) -> io::Result<()> {
        // One row first: most looks find that the next one is not there yet.
        let mut limit = self.members.len().max(1);
        loop {
            let stored = self.journal.read_keyed(&events_of(&self.run), (row_key(self.row, 0), 0), limit).map_err(io::Error::other)?;
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
            let start = self.row;
            let mut rest = lines.into_iter().peekable();
            while let Some(next) = rest.peek().map(|(key, _)| row_of(*key)) {
                if unsure == Some(next) && (next != start || limit < PAGE) {
                    if all {
                        self.row = next; // the next page starts with it
                    }
                    break;
                }
                let mut row = Vec::new();
                while let Some((_, line)) = rest.next_if(|(key, _)| row_of(*key) == next) {
                    row.push(line);
                }
                let ready = next == self.row && row.len() == self.members.len() && !self.again.contains_key(&next);
                if !ready && !all {
                    break;
                }
                for line in row {
                    self.put(&line)?;
                }
                self.row = next + 1;
            }
            if !more || (self.row == start && limit >= PAGE) {
                return Ok(());
            }
            if self.row == start && !all && unsure != Some(start) {
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
    /// When the rows could not be written.
    pub fn close(&mut self) -> Result<(), Failure> {
        if self.members.is_empty() {
            return Ok(());
        }
        if self.stale && self.file.is_some() {
            (self.row, self.out) = (0, None);
        }
        self.write(true);
        if self.stopped.is_none()
            && let Err(error) = self.flush()
        {
            self.stopped = Some((error.kind() != io::ErrorKind::BrokenPipe).then(|| error.to_string()));
        }
        let Some(Some(error)) = &self.stopped else { return Ok(()) };
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

fn row_of(key: i64) -> u64 {
    (key >> 15) as u64
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
