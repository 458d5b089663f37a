//! Words from other processes to a run's engine: cancel, answer, tell, a new cap. Appended to the run's
//! commands stream; the owning engine picks them up within 200 ms, or the next one when it resumes.

use brigade_journal::{AppendError, Batch, Journal, ReadError, Ticket, Watch};
use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Fact, Reply, Unit};
use brigade_kernel::units::NanoUsd;
use serde::{Deserialize, Serialize};

use crate::home::commands_of;

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
