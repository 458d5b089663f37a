//! Rows of a bulk run as JSONL, in input order, written as soon as all before them are there.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brigade_journal::Journal;
use brigade_kernel::ids::RunId;
use brigade_kernel::plan::ForEach;
use brigade_kernel::run::{Event, SubtaskStatus};
use brigade_kernel::view::usd;
use brigade_runtime::home::events_of;
use brigade_runtime::record::{decode, row_key};
use serde_json::{Value, json};

use crate::exit::Failure;

/// Rows looked at in one go.
const PAGE: usize = 1_024;

/// Writes rows; holds none.
pub struct Results<'a> {
    journal: Arc<dyn Journal>,
    run: RunId,
    file: Option<&'a Path>,
    out: Option<Box<dyn Write>>,
    /// Tasks that run per row of the input, in plan order.
    members: Vec<u32>,
    tasks: u32,
    row: u64,
    fresh: bool,
    failed: Option<String>,
}

impl std::fmt::Debug for Results<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Results").field("run", &self.run).field("row", &self.row).finish_non_exhaustive()
    }
}

impl<'a> Results<'a> {
    /// To a file, else to standard output.
    pub fn new(journal: Arc<dyn Journal>, run: &RunId, file: Option<&'a Path>) -> Self {
        Self { journal, run: run.clone(), file, out: None, members: Vec::new(), tasks: 0, row: 0, fresh: false, failed: None }
    }

    /// Takes one event in.
    pub fn saw(&mut self, event: &Event) {
        match event {
            Event::PlanSubtask { subtask, .. } => {
                if matches!(subtask.for_each, Some(ForEach::Input | ForEach::Subtask(_))) {
                    self.members.push(self.tasks);
                }
                self.tasks += 1;
            }
            Event::SubtaskEnded { unit, .. } if unit.row.is_some() => self.fresh = true,
            _ => {}
        }
    }

    /// Writes every row whose results, and all before it, are durable.
    pub fn write_ready(&mut self) {
        if !std::mem::take(&mut self.fresh) || self.members.is_empty() {
            return;
        }
        if let Err(failure) = self.write(false) {
            self.failed.get_or_insert(failure);
        }
    }

    fn write(&mut self, all: bool) -> Result<(), String> {
        loop {
            let from = row_key(self.row, 0);
            let stored = self.journal.read_keyed(&events_of(&self.run), (from, 0), PAGE).map_err(|e| e.to_string())?;
            let mut lines: Vec<(i64, Value)> = Vec::new();
            for record in &stored {
                let Some(key) = record.key else { continue };
                let stamped = decode(&self.run, record.seq, &record.bytes).map_err(|e| e.to_string())?;
                if let Some(line) = line(&stamped.event) {
                    // Tried again: the last word counts.
                    match lines.last_mut().filter(|(last, _)| *last == key) {
                        Some(last) => last.1 = line,
                        None => lines.push((key, line)),
                    }
                }
            }
            let start = self.row;
            let mut rest = lines.into_iter().peekable();
            loop {
                let mut row = Vec::new();
                while let Some((_, line)) = rest.next_if(|(key, _)| *key >> 15 == self.row as i64) {
                    row.push(line);
                }
                let whole = row.len() == self.members.len();
                if !(whole || all && (!row.is_empty() || rest.peek().is_some())) {
                    break;
                }
                for line in row {
                    self.put(&line)?;
                }
                self.row += 1;
            }
            if self.row == start || stored.len() < PAGE {
                return Ok(());
            }
        }
    }

    fn put(&mut self, line: &Value) -> Result<(), String> {
        if self.out.is_none() {
            self.out = Some(match self.file {
                Some(path) => Box::new(BufWriter::new(File::create(path).map_err(|e| format!("cannot write {}: {e}", path.display()))?)),
                None => Box::new(BufWriter::new(std::io::stdout())),
            });
        }
        match &mut self.out {
            Some(out) => writeln!(out, "{line}").map_err(|e| e.to_string()),
            None => Ok(()),
        }
    }

    /// The run stands still: what there is, is written.
    ///
    /// # Errors
    /// When the rows could not be written.
    pub fn close(&mut self) -> Result<(), Failure> {
        if self.members.is_empty() {
            return Ok(());
        }
        let written = match self.failed.take() {
            Some(failure) => Err(failure),
            None => self.write(true),
        };
        let flushed = self.out.as_mut().map_or(Ok(()), |out| out.flush().map_err(|e| e.to_string()));
        let to = self.file.map_or_else(|| PathBuf::from("standard output"), Path::to_owned);
        written.and(flushed).map_err(|e| Failure::failed(format!("rows could not be written to {}: {e}; they are in the journal", to.display())))
    }
}

/// A row's result as design.md "The plan" gives it.
fn line(event: &Event) -> Option<Value> {
    let Event::SubtaskEnded { unit, status, output, tier, cost_usd, error, .. } = event else { return None };
    let output = match status {
        SubtaskStatus::Done => serde_json::from_str(output).ok().filter(|v: &Value| v.is_object() || v.is_array()).unwrap_or_else(|| output.as_str().into()),
        _ => Value::Null,
    };
    Some(json!({
        "row": unit.row, "id": unit.subtask, "status": status, "output": output,
        "tier": tier, "cost_usd": usd(*cost_usd), "error": error,
    }))
}
