//! What the kernel wants done ([`Action`]) and what it is told came of it ([`Fact`]).
//!
//! Actions name things, they do not hold them: the prompt of a call is packed by [`super::Run::prepare`]
//! when its parts are at hand.

use std::sync::Arc;

use serde_json::Value;

use super::event::{
    Caller, Change, Conflict, GatheredImage, GatheredPart, Part, Reply, ReportedWindow, Saved, Side, SubtaskStatus, Unit, Verdict,
};
use crate::budget::Refused;
use crate::call::{Answer, CallError};
use crate::ids::{ModelRef, RunId, SubtaskId};
use crate::json_schema::Schema;
use crate::plan::{Review, Subtask};
use crate::time::{Millis, Timestamp};
use crate::tool::ToolOutput;
use crate::units::NanoUsd;

use super::errand::Handiwork;
use super::event::{BulkRules, CallNo, Preview};

/// Something that should be in flight and is not.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Fetch what the unit's next attempt is shown; put its view in order.
    Gather {
        /// For whom.
        unit: Unit,
        /// Read scope: excerpts of these files, best first.
        files: Vec<String>,
        /// Ranks the excerpts.
        about: String,
        /// At most so many bytes of excerpts.
        limit_bytes: u64,
        /// Whether the unit works in a view of its own; else it reads the tree in place.
        view: bool,
        /// The accepted changes of all that it depends on, in graph order: what it starts from.
        start: Vec<Part>,
        /// It starts from this tree instead: it mends what was composed.
        onto: Option<String>,
        /// Images to be shown, in the read scope as well.
        images: Vec<String>,
    },
    /// Pack the prompt, take a lease, call the model.
    Call {
        /// On whose behalf.
        caller: Caller,
    },
    /// Send gathered calls as one batch, or find again one that was sent; then wait for it. No fact need answer.
    Batch {
        /// Its number.
        batch: u32,
        /// Our name for it.
        key: String,
        /// The model of all its calls.
        model: ModelRef,
        /// Calls that have not come back.
        calls: Vec<CallNo>,
        /// The provider's name for it, where it is known.
        id: Option<String>,
        /// It was decided on just now, and nobody has heard of it; else an earlier engine may have sent it.
        fresh: bool,
    },
    /// Ask a second time, for a call that takes too long.
    Hedge {
        /// The slow call.
        of: CallNo,
        /// On whose behalf.
        caller: Caller,
        /// Whom to ask.
        model: ModelRef,
    },
    /// Run a tool.
    Tool {
        /// For whom.
        unit: Unit,
        /// In which attempt.
        attempt: u32,
        /// The model's id for the call.
        call_id: String,
        /// The tool.
        name: String,
        /// JSON as text, unchecked.
        arguments: String,
        /// Whether it may write: then its start is journaled before it runs.
        writes: bool,
        /// Put the view back to this tree first: it may have run before a crash.
        reset_to: Option<String>,
        /// What a call of `open_output` is to show.
        opens: Option<Opened>,
    },
    /// Run a check.
    Check {
        /// Whose result.
        unit: Unit,
        /// Of which attempt.
        attempt: u32,
        /// What to check.
        check: Check,
    },
    /// Price the plan.
    Price,
    /// Read rows of `--input`, and what earlier passes over them brought.
    ReadRows {
        /// For which of [`super::State::sources`].
        source: u32,
        /// First row wanted.
        from: u64,
        /// At most so many.
        count: u64,
        /// The rows themselves, where they are a list that a subtask returned.
        list: Option<Vec<RowRead>>,
        /// Subtasks whose results for these rows are wanted from the journal.
        with: Vec<SubtaskId>,
    },
    /// Lay all accepted changes onto the base.
    Compose {
        /// In this order.
        parts: Vec<Part>,
    },
    /// Run a check on the composed tree.
    CheckComposed {
        /// Whose check it is.
        unit: Unit,
        /// Program and arguments.
        argv: Vec<String>,
        /// The tree.
        tree: String,
    },
    /// Store the changes that lead to this tree as one patch.
    StorePatch {
        /// The tree.
        tree: String,
    },
    /// Write the stored patch to the user's tree.
    ApplyPatch {
        /// The patch.
        blob: String,
    },
}

/// A text that is shown in full on demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// A result of the run.
    Text(Arc<str>),
    /// A stored output of a tool.
    Blob(String),
}

/// A check to perform.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// The answer must be JSON that matches.
    Schema {
        /// The schema.
        schema: Schema,
        /// The answer.
        answer: Arc<str>,
    },
    /// None of these files may hold conflict markers any more.
    Markers {
        /// The files of a merge.
        files: Vec<String>,
    },
    /// The command must exit 0 in the sandbox.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
    },
}

impl Check {
    /// How the check is named in events.
    pub fn name(&self) -> String {
        match self {
            Self::Schema { .. } => "schema".to_owned(),
            Self::Markers { .. } => "markers".to_owned(),
            Self::Command { argv } => argv.join(" "),
        }
    }
}

/// The difference between two trees, in brief.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    /// Every file that differs.
    pub paths: Vec<String>,
    /// Lines that differ; a line that was replaced counts once.
    pub lines: u64,
}

/// A row as read.
#[derive(Debug, Clone, PartialEq)]
pub struct RowRead {
    /// Its place in the source, from 0.
    pub row: u64,
    /// Its value, or why it has none (a line that is not JSON).
    pub item: Result<Arc<Value>, String>,
    /// What earlier passes brought for it, of those that were asked for.
    pub kept: Vec<Kept>,
}

/// A result of a row that has left the state, read back from the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Whose.
    pub subtask: SubtaskId,
    /// How it ended.
    pub status: SubtaskStatus,
    /// What it returned.
    pub output: Arc<str>,
}

/// What equal work brought, and where it was paid for.
#[derive(Debug, Clone, PartialEq)]
pub enum Earlier {
    /// An accepted result.
    Result {
        /// Where.
        run: RunId,
        /// What it returned.
        output: String,
        /// What it made of the files, by names of this run's trees.
        change: Option<Change>,
        /// What lies between the two.
        changed: Changed,
    },
    /// An approval.
    Review {
        /// Where.
        run: RunId,
        /// The judgement.
        review: Box<Review>,
    },
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchEnd {
    /// All lines that there are were handed on.
    Over {
        /// The provider's word: `completed`, `expired`, `cancelled`, `failed`.
        status: String,
    },
    /// The provider never took it: nothing was sent, nothing is paid.
    NotTaken(CallError),
    /// The provider has lost it, or keeps its results back: what it cost is unknown.
    Gone {
        /// In words.
        why: String,
    },
}

/// Something that came from outside.
#[derive(Debug)]
pub enum Fact {
    /// An engine opened the run (again): whatever was in flight is lost.
    Opened,
    /// Subtasks of a plan file, already checked.
    PlanGiven {
        /// The subtasks, in order.
        subtasks: Vec<Subtask>,
        /// Notes for every planner turn.
        notes: String,
        /// Bounds of bulk work.
        bulk: BulkRules,
        /// What is sloppy about it.
        warnings: Vec<String>,
    },
    /// The plan was priced, or why it cannot be.
    Priced(Result<Box<Preview>, String>),
    /// More text of the planner's streamed answer.
    PlannerSaid {
        /// Which call.
        call: CallNo,
        /// The text.
        text: String,
    },
    /// The first content of a call that siblings wait for.
    FirstContent {
        /// Which call.
        call: CallNo,
    },
    /// A call ended.
    Answered {
        /// Which call.
        call: CallNo,
        /// What it brought.
        answer: Result<Answer, CallError>,
        /// How long it took.
        ms: Millis,
        /// How long to the first content.
        first_ms: Option<Millis>,
        /// What else came of it, when an agent was asked.
        worked: Option<Box<Handiwork>>,
    },
    /// A provider took a batch.
    BatchCreated {
        /// Its number.
        batch: u32,
        /// The provider's name for it.
        id: String,
    },
    /// A batch is over, and the lines of its calls follow, as [`Fact::Answered`].
    BatchLands {
        /// Its number.
        batch: u32,
    },
    /// Nothing more comes of a batch.
    BatchOver {
        /// Its number.
        batch: u32,
        /// How it ended.
        end: BatchEnd,
    },
    /// The provider does not let us look at a batch; it goes on all the same.
    BatchRefused {
        /// Its number.
        batch: u32,
        /// Why not.
        error: CallError,
    },
    /// Parts for a unit are at hand.
    Gathered {
        /// For whom.
        unit: Unit,
        /// What was found, stored as blobs.
        parts: Vec<GatheredPart>,
        /// Images, stored as blobs.
        images: Vec<GatheredImage>,
        /// The tree the unit starts from.
        tree: Option<String>,
        /// What that tree was made of, as it was asked for.
        start: Vec<Part>,
        /// What did not fit together.
        conflicts: Vec<Conflict>,
        /// The sides of the conflicts.
        sides: Vec<Side>,
    },
    /// Parts could not be had (the view could not be made).
    GatherFailed {
        /// For whom.
        unit: Unit,
        /// Why.
        reason: String,
    },
    /// What the unit is to be shown is not there, or not fit to be shown: its plan's matter.
    NotShown {
        /// For whom.
        unit: Unit,
        /// Which file, and why.
        reason: String,
    },
    /// A tool call came back.
    ToolDone {
        /// For whom.
        unit: Unit,
        /// In which attempt.
        attempt: u32,
        /// The model's id for the call.
        call_id: String,
        /// What it brought.
        output: ToolOutput,
        /// The whole of what `output` shows in part, stored.
        saved: Option<Saved>,
        /// The view's tree afterwards, when it could write.
        tree: Option<String>,
        /// All that the attempt changed so far, when it could write.
        changed: Option<Changed>,
        /// How long it took.
        ms: Millis,
    },
    /// A tool was called, and nobody knows what came of it.
    ToolUnknown {
        /// For whom.
        unit: Unit,
        /// The model's id for the call.
        call_id: String,
        /// How that came about, in brigade's words.
        why: String,
    },
    /// A tool or check was cut short because the engine leaves. What is on record says that it is still to be done.
    Cut,
    /// A check came back.
    Checked {
        /// Whose result.
        unit: Unit,
        /// Of which attempt.
        attempt: u32,
        /// Its name.
        check: String,
        /// What it says.
        verdict: Verdict,
        /// Why.
        evidence: String,
        /// How long it took.
        ms: Millis,
    },
    /// Rows were read.
    RowsRead {
        /// For which of [`super::State::sources`].
        source: u32,
        /// The rows, in order.
        rows: Vec<RowRead>,
        /// How many rows there are, once the end was seen.
        total: Option<u64>,
    },
    /// All accepted changes were laid onto the base.
    Composed {
        /// As asked for.
        parts: Vec<Part>,
        /// What came of it.
        tree: String,
        /// What did not fit together.
        conflicts: Vec<Conflict>,
        /// The sides of the conflicts.
        sides: Vec<Side>,
    },
    /// A check of the composed tree came back.
    ComposedChecked {
        /// Whose check it is.
        unit: Unit,
        /// Its name.
        check: String,
        /// What it says.
        verdict: Verdict,
        /// Why.
        evidence: String,
        /// How long it took.
        ms: Millis,
    },
    /// The patch could not be made: the run cannot go on.
    PatchLost {
        /// Why.
        reason: String,
    },
    /// The run's patch was stored.
    PatchStored {
        /// Its blob.
        blob: String,
        /// The files it touches.
        files: Vec<String>,
    },
    /// The patch was applied, or not.
    PatchApplied {
        /// Why not.
        error: Option<String>,
    },
    /// The home has no room for a call.
    HomeRefused {
        /// On whose behalf it was asked.
        caller: Caller,
        /// By which cap.
        refused: Refused,
    },
    /// A person steers.
    Told(String),
    /// A person answers an inbox item.
    Replied {
        /// Which.
        item: u32,
        /// What.
        reply: Reply,
    },
    /// The run's cap is now this.
    CapRaised(NanoUsd),
    /// A person wants it stopped for good.
    CancelAsked,
    /// What an account told an earlier run of its quota.
    QuotaKnown {
        /// The account.
        provider: String,
        /// Its windows.
        windows: Vec<ReportedWindow>,
        /// When it told so.
        at: Timestamp,
    },
    /// The run is to sit out its quota by itself.
    WaitAsked,
    /// The engine goes away; finish what cannot be repeated, start nothing.
    Drain,
    /// Failed subtasks and rows are tried again.
    RetryFailed(Vec<Unit>),
    /// Equal work was looked for.
    LookedUp {
        /// On whose behalf.
        caller: Caller,
        /// What it brought, if it was ever done.
        earlier: Option<Earlier>,
    },
}
