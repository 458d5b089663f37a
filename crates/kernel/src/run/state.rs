//! A run as the fold of its events. Read [`State`], then [`Task`] and [`Work`].
//!
//! Nothing here decides; `apply` keeps the indexes that let `step` cost only what changed.

mod batches;
mod desk;
mod files;
mod flight;
mod storm;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::event::{
    Ask, BulkRules, CallNo, Caller, Change, Ending, GatheredImage, GatheredPart, RunStarted, RunSummary, SubtaskOrInput, SubtaskStatus,
    Touched,
};
use crate::budget::{Ledger, Measure, Scope, UsageByTier};
use crate::call::{ErrorClass, Item};
use crate::context::{CheckLine, Wanted};
use crate::ids::{ModelRef, RunId, SubtaskId, Tier};
use crate::plan::{Subtask, TaskType};
use crate::role::Role;
use crate::route::Failure;
use crate::time::Timestamp;
use crate::units::{NanoUsd, QuotaUnits};
use crate::usage::Usage;

pub use batches::*;
pub use desk::*;
pub use files::*;
pub use flight::InFlight;
pub use storm::Storm;
pub use waiting::{Waited, Waiting};

/// A unit by position: its task, and its row when it has one. Cheap to copy and to order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Index into [`State::tasks`].
    pub task: u32,
    /// The row, from 0.
    pub row: Option<u64>,
}

/// Units by descending priority, then plan order, then row.
pub type Queue = BTreeSet<(std::cmp::Reverse<u64>, Key)>;

/// The whole of a run.
#[derive(Debug, Default, PartialEq)]
pub struct State {
    /// What it started with; `None` before the first event.
    pub started: Option<Arc<RunStarted>>,
    /// When it started.
    pub started_at: Timestamp,
    /// Where it stands.
    pub phase: Phase,
    /// The plan's subtasks in the order they were accepted.
    pub tasks: Vec<Task>,
    /// Where each subtask stands in `tasks`.
    pub index: HashMap<SubtaskId, u32>,
    /// What each type is granted, set by set, in the order they joined the plan.
    pub grants: BTreeMap<TaskType, Vec<Grants>>,
    /// Dependencies named before the subtask they name was seen.
    pub forward: BTreeMap<SubtaskId, Vec<u32>>,
    /// Units that are neither waiting nor finished; boxed, for the table keeps the room of its fullest moment.
    pub work: HashMap<Key, Box<Work>>,
    /// Units that may start an attempt now.
    pub ready: Queue,
    /// Units whose next call may be made now.
    pub to_call: Queue,
    /// Units that wait for parts, tools or checks.
    pub to_act: BTreeSet<Key>,
    /// Units that entered `to_act` since the last step; not part of the fold.
    pub fresh: Vec<Key>,
    /// Attempts in progress.
    pub active: u32,
    /// The same by type.
    pub active_of: BTreeMap<TaskType, u32>,
    /// Units that wait until a moment: availability trouble.
    pub parked: BTreeSet<(Timestamp, Parked)>,
    /// Calls in flight.
    pub calls: BTreeMap<CallNo, InFlight>,
    /// The highest call number given out.
    pub last_call: u64,
    /// Calls that wait for a batch to be made, by model.
    pub gathered: BTreeMap<ModelRef, Gathered>,
    /// Batches that are not over.
    pub batches: BTreeMap<u32, Batch>,
    /// The highest batch number given out.
    pub last_batch: u32,
    /// How long executors' calls take, by tier and model.
    pub latencies: BTreeMap<(Tier, ModelRef), super::Latencies>,
    /// Accounts that have refused every call for a while, by provider.
    pub storms: BTreeMap<String, Storm>,
    /// Money and tokens.
    pub ledger: Ledger,
    /// Leases refused since the last settlement, by the role that asked.
    pub starved: BTreeMap<Role, Starved>,
    /// Caps that a person was warned of, as they stood then.
    pub warned: BTreeMap<(Scope, Measure), u64>,
    /// Worst case of the review still to come, closed to executors.
    pub reserve: NanoUsd,
    /// Usage of every call, by tier.
    pub usage: UsageByTier,
    /// What the same tokens would have cost on the flagship, computed call by call.
    pub all_flagship: NanoUsd,
    /// Units the same calls would have counted on the flagship.
    pub all_flagship_units: QuotaUnits,
    /// How long it stood still, and what was spent meanwhile.
    pub waiting: Waiting,
    /// What the flagship is doing or has to do.
    pub desk: Desk,
    /// What waits for a person.
    pub inbox: BTreeMap<u32, InboxItem>,
    /// The highest inbox number given out.
    pub last_item: u32,
    /// Number of the last command taken in from other processes.
    pub commands: u64,
    /// Passes over rows.
    pub sources: Vec<Source>,
    /// Bounds of bulk work.
    pub bulk: BulkRules,
    /// Notes for every planner turn.
    pub notes: String,
    /// Tasks not ended yet.
    pub open: u32,
    /// What accepted work made of the files, unit by unit.
    pub changes: BTreeMap<Key, Change>,
    /// What was mended on a tree of everybody's work, in the order it was accepted.
    pub repairs: Vec<(Key, Change)>,
    /// Rounds of such mending so far.
    pub mended: u32,
    /// Subtasks that merge, in the order they joined the plan.
    pub merges: Vec<u32>,
    /// All accepted changes together.
    pub composed: Option<Composed>,
    /// The stored patch.
    pub patch: Option<Patch>,
    /// Blob and files of accepted work that was applied before the end.
    pub partial: Option<(String, Vec<String>)>,
    /// What accounts tell of their quota.
    pub reports: super::Reports,
    /// What attempts take, learned from those that ended.
    pub pace: super::Pace,
    /// Whether it sits out its quota by itself.
    pub waits: bool,
    /// It is parked.
    pub standstill: Option<Standstill>,
    /// Why no new work starts.
    pub stop: Option<Stop>,
    /// How the last session ended.
    pub ended: Option<RunSummary>,
    /// Counts for the closing line and the screens.
    pub tally: Tally,
    /// Whether the price of the plan is agreed to, where it must be.
    pub pricing: Pricing,
}

/// Whether the price of the plan is agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pricing {
    /// It is not known.
    #[default]
    Open,
    /// A person is asked.
    Asked,
    /// It is within the limit, or a person agreed.
    Settled,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Nothing happened yet.
    #[default]
    New,
    /// The plan is being written.
    Planning,
    /// Subtasks run.
    Running,
    /// All subtasks ended; the result is judged.
    Reviewing,
    /// The result is approved; the patch is on its way.
    Closing,
    /// Over.
    Ended,
}

/// Why no new work starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// A person cancelled.
    Cancel,
    /// The provider cannot or will not serve.
    Provider {
        /// What went wrong.
        class: ErrorClass,
        /// In the provider's words.
        message: String,
        /// When it will serve again, where it says so.
        until: Option<Timestamp>,
    },
    /// The run cannot go on.
    Failed(String),
}

/// A run parked on a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standstill {
    /// Whose: a window's name, or `provider`.
    pub window: String,
    /// When there is room again, where that is known.
    pub until: Option<Timestamp>,
}

/// What is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parked {
    /// The flagship's job.
    Desk,
    /// A unit's attempt.
    Unit(Key),
}

/// A refused lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starved {
    /// Which scope.
    pub scope: Scope,
    /// What is missing, in words.
    pub message: String,
    /// When time alone makes room.
    pub retry_at: Option<Timestamp>,
    /// Units it needs, and units left, where a quota window is short.
    pub units: Option<(QuotaUnits, QuotaUnits)>,
}

impl Starved {
    /// Whether only time makes room: calls that end do not.
    pub(super) fn lasts(&self, now: Timestamp) -> bool {
        matches!(self.scope, Scope::Window { .. }) && self.retry_at.is_some_and(|at| at > now)
    }
}

/// One subtask of the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The subtask.
    pub spec: Arc<Subtask>,
    /// The form of its result, read from the subtask once.
    pub wanted: Wanted,
    /// What must have ended first, its `for_each` source included.
    pub deps: Vec<u32>,
    /// Dependencies whose subtask is not known yet.
    pub unknown: u32,
    /// What hangs on it.
    pub dependents: Vec<u32>,
    /// Where its rows come from: an index into [`State::sources`].
    pub source: Option<u32>,
    /// How it ended.
    pub status: Option<SubtaskStatus>,
    /// What it returned; empty for rows.
    pub output: Arc<str>,
    /// Why it failed or was skipped.
    pub error: Option<String>,
    /// On which tier it was done.
    pub tier: Option<Tier>,
    /// Longest way to the end of the graph in estimated milliseconds.
    pub priority: u64,
    /// Attempts made, over all its rows.
    pub attempts: u32,
    /// Money spent, over all its rows.
    pub cost: NanoUsd,
    /// What later judgement added to the description.
    pub instructions: Vec<String>,
    /// Its rows are at work, and are to be done once more after that.
    pub again: bool,
    /// How often its rows were taken from the start again.
    pub restarts: u32,
    /// How its rows ended.
    pub rows: RowTally,
    /// Checks of its last attempt, for the review.
    pub checks: Vec<CheckLine>,
    /// A few results, for the review.
    pub sample: Vec<(u64, SubtaskStatus, Arc<str>)>,
    /// What it settles, if conflicting changes are the reason it is there.
    pub merge: Option<Merge>,
}

/// Subtasks of one type with the same grants.
#[derive(Debug, Clone, PartialEq)]
pub struct Grants {
    /// The first of them.
    pub of: Arc<Subtask>,
    /// How many units, estimated where there are rows.
    pub units: u64,
}

/// How rows ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct RowTally {
    pub done: u64,
    pub failed: u64,
    pub skipped: u64,
    pub escalated: u64,
}

impl RowTally {
    /// All that ended.
    pub fn ended(self) -> u64 {
        self.done + self.failed + self.skipped
    }
}

/// A unit between ready and ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Work {
    /// Where it stands.
    pub stage: Stage,
    /// Attempts that ended, oldest first.
    pub tried: Vec<Tried>,
    /// The attempt in progress.
    pub attempt: Option<Attempt>,
    /// Since when it is worked on.
    pub since: Option<Timestamp>,
    /// What it was shown, gathered.
    pub parts: Option<Vec<GatheredPart>>,
    /// Images it is shown, gathered.
    pub images: Vec<GatheredImage>,
    /// Outputs of its tools that were shown in part: blobs by the ids that open them.
    pub saved: BTreeMap<String, String>,
    /// The tree its last attempt started from.
    pub base_tree: Option<String>,
    /// The composed tree that it mends.
    pub onto: Option<String>,
    /// What came with its last answer, when it works in a view.
    pub made: Option<Change>,
    /// Availability trouble in a row.
    pub trouble: u32,
    /// Money spent.
    pub cost: NanoUsd,
    /// A person or the planner said how to go on.
    pub instructions: Vec<String>,
    /// Attempts granted beyond the ladder, by a person's words.
    pub granted: u32,
    /// The last answer: the accepted one, or the best there is while a person is asked about it.
    pub accepted: Option<Arc<str>>,
    /// Until when it is parked.
    pub until: Option<Timestamp>,
    /// It left its start tier.
    pub escalated: bool,
    /// There was no room for the rest of an attempt on this tier: the next one is on a cheaper tier.
    pub below: Option<Tier>,
}

/// Where a unit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// May start an attempt.
    #[default]
    Ready,
    /// Waits for parts.
    Gather,
    /// Its next call may be made.
    Call,
    /// A call is in flight.
    Calling(CallNo),
    /// Waits for tools.
    Tools,
    /// Waits for checks.
    Checks,
    /// Waits until a moment.
    Parked,
    /// Waits for the planner.
    Planner,
    /// Waits for a person.
    Person(u32),
}

/// An attempt that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// On which tier.
    pub tier: Tier,
    /// How.
    pub ending: Ending,
    /// What was wrong with it.
    pub failure: Option<Failure>,
    /// What the next attempt should know: check output, or what the executor said.
    pub evidence: String,
}

/// The attempt in progress.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Which try, from 1.
    pub no: u32,
    /// On which tier.
    pub tier: Tier,
    /// Which model.
    pub model: ModelRef,
    /// What was said after the packed opening: the model's items and the tools' outputs.
    pub items: Vec<Item>,
    /// What it is shown is on record.
    pub opened: bool,
    /// Answers received.
    pub turns: u32,
    /// Tools called.
    pub tool_calls: u32,
    /// Hash of the last tool call and how often it came in a row.
    pub repeated: (u64, u32),
    /// The output limit was doubled after a cut answer.
    pub doubled: bool,
    /// How many models of the tier were given up on.
    pub alternate: u32,
    /// Optional request fields the model does not take.
    pub omit: Vec<String>,
    /// Tool calls without output, in order.
    pub pending: Vec<PendingTool>,
    /// The answer under check.
    pub answer: Option<Arc<str>>,
    /// Checks already passed.
    pub checked: u32,
    /// The tree now: its view's, or the one it reads.
    pub tree: Option<String>,
    /// What it changed so far.
    pub touched: Touched,
    /// Money spent.
    pub cost: NanoUsd,
    /// Tokens used.
    pub usage: Usage,
}

/// A tool call without output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingTool {
    /// The model's id for it.
    pub call_id: String,
    /// The tool.
    pub name: String,
    /// Its arguments as text.
    pub arguments: String,
    /// Its start is on record.
    pub started: bool,
    /// It waits for a person.
    pub asked: Option<u32>,
}

/// What waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxItem {
    /// Why.
    pub ask: Ask,
    /// About what.
    pub unit: Option<Key>,
    /// The tool call that waits.
    pub call_id: Option<String>,
    /// What is asked.
    pub question: String,
    /// What there is to see.
    pub evidence: String,
}

/// A pass over rows: the subtasks that take the rows of one origin together, each row as far as it comes.
///
/// A subtask that waits for a whole pass (over a summary of it, say) takes the same rows in a pass of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Which.
    pub from: SubtaskOrInput,
    /// Subtasks mapped over it.
    pub members: Vec<u32>,
    /// How many rows there are, once known.
    pub total: Option<u64>,
    /// All rows below are finished.
    pub below: u64,
    /// Finished rows at or above `below`.
    pub above: BTreeSet<u64>,
    /// Finished rows that are tried again.
    pub reopened: BTreeSet<u64>,
    /// Rows in hand.
    pub rows: BTreeMap<u64, Row>,
    /// Finished rows with a failure, and what did succeed in them: for `retry`.
    pub failed: BTreeMap<u64, Vec<(u32, RowResult)>>,
    /// Rows finished.
    pub finished: u64,
    /// No further row starts until a person says so.
    pub halted: bool,
    /// A person said to go on in spite of the rates.
    pub waived: bool,
}

impl Source {
    /// Whether a row is finished.
    pub fn is_finished(&self, row: u64) -> bool {
        (row < self.below || self.above.contains(&row)) && !self.reopened.contains(&row)
    }
}

/// A row in hand.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// What its members returned so far.
    pub results: BTreeMap<u32, RowResult>,
}

/// How a row ended for a subtask, and what it returned.
pub type RowResult = (SubtaskStatus, Arc<str>);

/// Counts over the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Tally {
    pub reused: u64,
    /// Of equal work in this run, done once.
    pub shared: u64,
    pub escalations: u64,
    pub attempts: u64,
    pub asked: u64,
    /// Second requests for slow calls.
    pub hedges: u64,
    /// What the slower ones of these races cost.
    pub outrun_usd: NanoUsd,
}

impl State {
    /// What the run started with.
    ///
    /// # Panics
    /// Before the first event; the first event of every run is `run.started`.
    pub fn start(&self) -> &RunStarted {
        self.started.as_ref().expect("the first event of a run is run.started")
    }

    /// The run's id.
    pub fn run(&self) -> &RunId {
        &self.start().run
    }

    /// The subtask behind a key.
    pub fn task(&self, key: Key) -> &Task {
        &self.tasks[key.task as usize]
    }

    /// The key of a unit, if its subtask is known.
    pub fn key(&self, unit: &super::event::Unit) -> Option<Key> {
        self.index.get(&unit.subtask).map(|&task| Key { task, row: unit.row })
    }

    /// The unit of a key.
    pub fn unit(&self, key: Key) -> super::event::Unit {
        super::event::Unit { subtask: self.task(key).spec.id.clone(), row: key.row }
    }

    /// Whether what a caller is shown at its start is on record already; a flagship's every call says it anew.
    pub(super) fn is_opened(&self, caller: &Caller) -> bool {
        let Caller::Executor { unit, .. } = caller else { return false };
        let work = self.key(unit).and_then(|key| self.work.get(&key));
        work.and_then(|work| work.attempt.as_ref()).is_some_and(|attempt| attempt.opened)
    }

    /// What everything cost so far.
    pub fn spent(&self) -> NanoUsd {
        self.ledger.spent()
    }

    /// The next moment something parked may go on.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        self.parked.first().map(|(at, _)| *at)
    }

    /// Whether a call, tool, check or read may still be under way.
    pub fn in_flight(&self) -> bool {
        !self.calls.is_empty()
    }
}
