//! How a run stands, in one word: the same in `ps`, `show` and everywhere else. Reads; changes nothing.

use std::sync::Arc;

use brigade_kernel::catalog::Catalog;
use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Run, RunStatus, RunSummary};
use brigade_kernel::time::Timestamp;
use brigade_kernel::view::rfc3339;
use brigade_runtime::{Home, hands, record};

use crate::exit::Failure;

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `running`, `completed`, `failed`, `cancelled`, `needs_person`, `budget_reached`, `quota_parked`, `paused`, `interrupted`.
    pub word: &'static str,
    /// The engine that works on it.
    pub pid: Option<u32>,
    /// Since when it waits for a batch.
    pub batch: Option<Timestamp>,
}

impl Standing {
    /// From how its last session ended, if it ended at all. `waits`: inbox items are open; `over`: it cannot be resumed.
    pub fn of(home: &Home, run: &RunId, summary: Option<&RunSummary>, over: bool, waits: bool) -> Self {
        let pid = home.engine_of(run);
        let word = match summary.map(|s| s.status) {
            _ if pid.is_some() => "running",
            Some(RunStatus::Completed) => "completed",
            Some(RunStatus::Failed) if over => "failed",
            Some(RunStatus::Failed) => "paused",
            Some(RunStatus::Cancelled) if over => "cancelled",
            Some(RunStatus::NeedsPerson) if waits || summary.is_some_and(|s| s.error.is_some()) => "needs_person",
            // Its questions have been answered: it only has to be resumed.
            Some(RunStatus::NeedsPerson) => "paused",
            Some(RunStatus::BudgetReached) => "budget_reached",
            Some(RunStatus::QuotaParked) => "quota_parked",
            // Drained by a signal, or its engine died.
            Some(RunStatus::Cancelled) | None => "interrupted",
        };
        Self { word, pid, batch: None }
    }

    /// Of a run that was read back.
    pub fn of_run(home: &Home, run: &Run) -> Self {
        let state = run.state();
        let over = state.phase == brigade_kernel::run::Phase::Ended;
        let batch = state.batches.values().map(|batch| batch.since).min().filter(|_| !over);
        Self { batch, ..Self::of(home, state.run(), state.ended.as_ref(), over, !state.inbox.is_empty()) }
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word)?;
        if let Some(since) = self.batch {
            write!(f, ", batch since {}Z", &rfc3339(since)[11..16])?;
        }
        match self.pid {
            Some(pid) => write!(f, " (pid {pid})"),
            None => Ok(()),
        }
    }
}

/// A run read back from its events, to be looked at.
///
/// # Errors
/// Exit 2 when there is no such run.
pub fn fold(home: &Home, run: &RunId) -> Result<Run, Failure> {
    Ok(record::load(&*home.journal(), run, Arc::new(Catalog::built_in()), hands::specs().into())?.0)
}
