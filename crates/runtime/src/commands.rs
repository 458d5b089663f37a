//! Words from other processes to a run's engine: cancel, answer, tell, a new cap. Appended to the run's
//! commands stream; the owning engine picks them up within 200 ms, or the next one when it resumes.

use std::sync::Arc;

use brigade_journal::{AppendError, Batch, Journal, LockError, ReadError, Ticket, Watch};
use brigade_kernel::catalog::Catalog;
use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Door, Fact, Reply, Run, Unit};
use brigade_kernel::units::NanoUsd;
use serde::{Deserialize, Serialize};

use crate::home::{Home, commands_of};
use crate::record::{self, LoadError};
use crate::{Clock, hands};

/// A word for a run's engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Stop for good.
    Cancel,
    /// Answer an inbox item.
    Answer {
        /// Which.
        item: u32,
        /// What.
        #[serde(flatten)]
        reply: Reply,
    },
    /// Steer.
    Tell {
        /// The words.
        text: String,
    },
    /// The run's cap is now this.
    Cap {
        /// In nano-dollars.
        run_usd: NanoUsd,
    },
    /// Try failed subtasks and rows again.
    Retry {
        /// Which.
        units: Vec<Unit>,
    },
}

impl From<Command> for Fact {
    fn from(command: Command) -> Self {
        match command {
            Command::Cancel => Self::CancelAsked,
            Command::Answer { item, reply } => Self::Replied { item, reply },
            Command::Tell { text } => Self::Told(text),
            Command::Cap { run_usd } => Self::CapRaised(run_usd),
            Command::Retry { units } => Self::RetryFailed(units),
        }
    }
}

/// Leaves word for a run's engine.
///
/// # Errors
/// [`AppendError`] when the journal cannot take it.
pub fn send(journal: &dyn Journal, run: &RunId, command: &Command) -> Result<(), AppendError> {
    let bytes = serde_json::to_vec(command).expect("commands are plain values");
    let ticket: Ticket = journal.append(Batch::new().record(&commands_of(run), bytes));
    ticket.wait().map(drop)
}

/// What became of a word for a run.
#[derive(Debug)]
pub enum Delivered {
    /// The engine that works on the run hears it within 200 ms; its pid.
    ToEngine(u32),
    /// Nobody works on the run: it was taken in here, and this is how the run stands.
    Here(Box<Run>),
}

/// Why a word did not reach a run.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// Its events cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The journal takes nothing.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Its lock cannot be used.
    #[error(transparent)]
    Lock(LockError),
    /// It makes no sense as the run stands now.
    #[error("{0}")]
    Refused(String),
}

/// Takes words to a run: to its engine, or, when nobody works on it, into its journal at once, words left earlier
/// first. `fits` judges them against the run as it stands.
///
/// # Errors
/// [`DeliverError`]; nothing was changed.
pub fn deliver(
    home: &Home,
    run: &RunId,
    commands: Vec<Command>,
    fits: impl Fn(&Run) -> Result<(), String>,
) -> Result<Delivered, DeliverError> {
    let journal = home.journal();
    // What is decided here prices nothing and calls no tool.
    let load = || record::load(&*journal, run, Arc::new(Catalog::built_in()), hands::specs().into());
    match home.lock(run) {
        Ok(_lock) => {
            let (mut folded, version) = load()?;
            fits(&folded).map_err(DeliverError::Refused)?;
            let left = Inbound::new(run.clone(), folded.state().commands).poll(&*journal)?;
            let now = Clock::start().now();
            let cancelled = left.iter().map(|(_, c)| c).chain(&commands).any(|c| *c == Command::Cancel);
            if cancelled {
                folded.hear(Fact::Opened, now);
            }
            for (number, command) in left {
                folded.heard_command(number, now);
                folded.hear(command.into(), now);
            }
            for command in commands {
                folded.hear(command.into(), now);
            }
            if cancelled {
                // Nothing is in flight and nothing may start: this only ends it.
                folded.step(now, &mut |_| Door::Wait);
            }
            record::append(&*journal, &mut folded, version)?;
            Ok(Delivered::Here(Box::new(folded)))
        }
        Err(LockError::Held { pid, .. }) => {
            fits(&load()?.0).map_err(DeliverError::Refused)?;
            for command in &commands {
                send(&*journal, run, command)?;
            }
            Ok(Delivered::ToEngine(pid))
        }
        Err(e) => Err(DeliverError::Lock(e)),
    }
}

/// The engine's end of the commands stream.
#[derive(Debug)]
pub struct Inbound {
    run: RunId,
    watch: Watch,
    taken: u64,
}

impl Inbound {
    /// Picks up after the last command that the run's events say was taken.
    pub fn new(run: RunId, taken: u64) -> Self {
        let watch = Watch::new(commands_of(&run), taken);
        Self { run, watch, taken }
    }

    /// Commands that came since, with the number of the last one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn poll(&mut self, journal: &dyn Journal) -> Result<Vec<(u64, Command)>, ReadError> {
        if self.watch.poll(journal)?.is_none() {
            return Ok(Vec::new());
        }
        let stored = journal.read(&commands_of(&self.run), self.taken + 1, 1_024)?;
        let mut commands = Vec::new();
        for record in stored {
            self.taken = record.seq;
            // Written by `send` of some build: what this one does not know, it leaves.
            if let Ok(command) = serde_json::from_slice(&record.bytes) {
                commands.push((record.seq, command));
            }
        }
        Ok(commands)
    }
}
