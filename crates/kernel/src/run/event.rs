//! What happened in a run: the only thing that is stored, and the only thing [`super::State`] is made of.
//!
//! An event carries all that a reader needs (ids, tier, cost), so that every view is a fold of events alone.
//! Only events and wire types serialise; from the first tagged release each shape keeps a fixture.

mod asked;
mod caller;
mod deeds;
mod endings;
mod files;
mod priced;
mod quota;
mod rows;
mod started;
mod summary;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::budget::{HomeLease, Role, Scope};
use crate::call::{End, ErrorClass, Item, Service};
use crate::context::PartReceipt;
use crate::ids::{ModelRef, RunId, SubtaskId, Tier};
use crate::plan::{PlanPatch, Subtask, TaskType};
use crate::plan::{Review, Verdict as ReviewVerdict};
use crate::policy::Policy;
use crate::route::{Failure, Repair};
use crate::time::{Millis, Timestamp};
use crate::tool::ToolOutput;
use crate::units::{NanoUsd, QuotaUnits};
use crate::usage::Usage;

pub use asked::*;
pub use caller::*;
pub use deeds::*;
pub use endings::*;
pub use files::*;
pub use priced::*;
pub use quota::*;
pub use rows::*;
pub use started::*;
pub use summary::*;

/// An event with its place in the run's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// When it was recorded; never used for ordering.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// One unit of work: a subtask, or one row of a `for_each` subtask.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unit {
    /// The subtask.
    pub subtask: SubtaskId,
    /// Which row of its `for_each` source, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.row {
            None => write!(f, "{}", self.subtask),
            Some(row) => write!(f, "{}[{row}]", self.subtask),
        }
    }
}

/// Numbers the calls of one run from 1; with the run id it names the call to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallNo(pub u64);

/// What a call brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum CallResult {
    /// An answer.
    Answered {
        /// Message text.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
        /// A refusal, if the model declined.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refusal: Option<String>,
        /// The items in order, kept only when the conversation goes on with more than the text: tool calls, and
        /// messages that a flagship marked (`phase`).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        items: Vec<Item>,
        /// Why it ended.
        end: End,
        /// The model named in the response.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// The service charged, when not the default: the one the response names, else the one asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<Service>,
    },
    /// No answer.
    Failed {
        /// What may be done about it.
        class: ErrorClass,
        /// The provider's words.
        message: String,
        /// The request field it names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        param: Option<String>,
        /// What is done about it.
        repair: Repair,
    },
    /// In flight when the engine died; its lease is charged in full.
    Lost,
}

/// Something that happened. Field order is the order on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[allow(missing_docs)]
pub enum Event {
    #[serde(rename = "run.started")]
    RunStarted(Box<RunStarted>),
    /// An engine took the run up again; calls in flight before it are lost.
    #[serde(rename = "run.resumed")]
    RunResumed {},
    /// The policy changed between sessions (prices, limits).
    #[serde(rename = "run.repinned")]
    Repinned { policy: Arc<Policy> },
    /// One subtask of the plan was accepted.
    #[serde(rename = "plan.subtask")]
    PlanSubtask {
        subtask: Box<Subtask>,
        /// Accepted while the plan was still streaming.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        streamed: bool,
    },
    /// The planner's answer had faults; it gets them back.
    #[serde(rename = "plan.faulted")]
    PlanFaulted { faults: Vec<String>, mend: u32 },
    #[serde(rename = "plan.completed")]
    PlanCompleted {
        subtasks: u32,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        coordination_notes: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bulk: Option<BulkRules>,
    },
    /// The plan was priced before anything of it started.
    #[serde(rename = "plan.priced")]
    Priced {
        /// None when it cannot be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        preview: Option<Box<Preview>>,
        /// Whether a person is asked about it.
        asks: bool,
    },
    /// A plan patch was accepted.
    #[serde(rename = "plan.patched")]
    PlanPatched { patch: Box<PlanPatch>, by: PatchedBy },
    /// The planner's conversation was condensed, or was not: the journal keeps every turn of it.
    #[serde(rename = "plan.compacted")]
    Compacted {
        by: CompactBy,
        /// Estimated tokens of the conversation before and after.
        before: u64,
        after: u64,
        /// What stands in place of the earlier turns; none where it is in vain.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        turns: Vec<Item>,
        /// Why it was in vain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Two accepted changes do not fit together: a subtask that merges them joins the plan.
    #[serde(rename = "plan.merge")]
    MergePlanned {
        subtask: Box<Subtask>,
        /// The files that hold both sides.
        files: Vec<String>,
        sides: Vec<Side>,
    },
    #[serde(rename = "context.gathered")]
    ContextGathered {
        #[serde(flatten)]
        unit: Unit,
        parts: Vec<GatheredPart>,
        /// Images it is shown.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<GatheredImage>,
        /// The tree the attempt starts from: what the unit depends on, and nothing else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tree: Option<String>,
        /// What that tree is made of, for a merge: it stands for all of it afterwards.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        start: Vec<Part>,
        /// Files that hold both sides of a conflict, for a merge.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        conflicts: Vec<String>,
    },
    /// A unit needs the planner: it ended otherwise than `done`, failed to the top, or is a checkpoint.
    #[serde(rename = "plan.asked")]
    PlannerAsked {
        #[serde(flatten)]
        unit: Unit,
        reason: String,
    },
    #[serde(rename = "attempt.started")]
    AttemptStarted {
        #[serde(flatten)]
        unit: Unit,
        attempt: u32,
        tier: Tier,
        model: ModelRef,
        why: String,
    },
    /// Intent and lease in one record: durable before the request leaves.
    #[serde(rename = "call.started")]
    CallStarted {
        call: CallNo,
        #[serde(flatten)]
        caller: Caller,
        tier: Tier,
        model: ModelRef,
        lease_usd: NanoUsd,
        lease_tokens: u64,
        max_output_tokens: u32,
        /// The service asked for, when not the default.
        #[serde(default, skip_serializing_if = "is_default")]
        service: Service,
        /// What it counts against a quota.
        #[serde(default, skip_serializing_if = "QuotaUnits::is_zero")]
        units: QuotaUnits,
        /// Its lease of the home, where its runs share a cap.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        home: Option<HomeLease>,
        /// It is the second request for this call, which took too long; the first answer counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hedge_of: Option<CallNo>,
        /// What it is made of; an executor's later calls add only turns that are on record anyway.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        opening: Vec<PartReceipt>,
    },
    /// Outcome: durable before anything downstream sees it.
    #[serde(rename = "call.completed")]
    CallEnded {
        call: CallNo,
        #[serde(flatten)]
        result: CallResult,
        usage: Option<Usage>,
        cost_usd: NanoUsd,
        /// What the same tokens would have cost on the flagship (computed).
        flagship_usd: NanoUsd,
        /// Whether the request may have reached the model; if not, nothing is charged.
        sent: bool,
        /// From sending to the end.
        ms: Millis,
        /// From sending to the first content, when streamed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first_ms: Option<Millis>,
    },
    /// Calls go to their provider as one batch: durable before anything is uploaded.
    #[serde(rename = "batch.started")]
    BatchStarted {
        batch: u32,
        /// What the provider keeps as its name: by it the batch is found again.
        key: String,
        model: ModelRef,
        calls: Vec<CallNo>,
    },
    /// The provider took the batch, and calls it so.
    #[serde(rename = "batch.created")]
    BatchCreated { batch: u32, id: String },
    /// Nothing more comes of a batch: each of its calls has ended, or ends now.
    #[serde(rename = "batch.completed")]
    BatchEnded {
        batch: u32,
        /// The provider's word, or why there was none.
        status: String,
    },
    /// What an agent did on the errand that ends with the next event.
    #[serde(rename = "agent.worked")]
    AgentWorked {
        call: CallNo,
        #[serde(flatten)]
        caller: Caller,
        /// Hash of the view afterwards, when it could write and came to an answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tree: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        touched: Option<Touched>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        deeds: Vec<Deed>,
    },
    /// Intent of a tool call that writes.
    #[serde(rename = "tool.started")]
    ToolStarted {
        #[serde(flatten)]
        unit: Unit,
        attempt: u32,
        call_id: String,
        name: String,
    },
    #[serde(rename = "tool.completed")]
    ToolEnded {
        #[serde(flatten)]
        unit: Unit,
        attempt: u32,
        call_id: String,
        name: String,
        #[serde(flatten)]
        output: ToolOutput,
        /// The whole of what `output` shows in part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saved: Option<Saved>,
        /// Hash of the view afterwards, when the tool could write.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tree: Option<String>,
        /// What the attempt changed up to here, when the tool could write.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        touched: Option<Touched>,
        ms: Millis,
    },
    #[serde(rename = "check.completed")]
    CheckEnded {
        #[serde(flatten)]
        unit: Unit,
        attempt: u32,
        tier: Tier,
        model: ModelRef,
        /// `schema`, `changed`, `scope`, `markers`, or the command as one line.
        check: String,
        verdict: Verdict,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        evidence: String,
        /// Not run again: it passed in an earlier run, on the same files.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reused_from: Option<RunId>,
        ms: Millis,
    },
    #[serde(rename = "attempt.completed")]
    AttemptEnded {
        #[serde(flatten)]
        unit: Unit,
        attempt: u32,
        tier: Tier,
        model: ModelRef,
        ending: Ending,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// Whether the result stands.
        accepted: bool,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        cost_usd: NanoUsd,
        usage: Usage,
    },
    /// The next attempt runs on a higher tier.
    #[serde(rename = "subtask.escalated")]
    Escalated {
        #[serde(flatten)]
        unit: Unit,
        from: Tier,
        to: Tier,
        why: String,
    },
    #[serde(rename = "subtask.completed")]
    SubtaskEnded {
        #[serde(flatten)]
        unit: Unit,
        status: SubtaskStatus,
        #[serde(rename = "task_type")]
        kind: TaskType,
        output: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier: Option<Tier>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<ModelRef>,
        attempts: u32,
        cost_usd: NanoUsd,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Taken from an earlier run's equal work: nothing was paid.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reused_from: Option<RunId>,
        /// What its accepted work made of the files, if it changed any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change: Option<Change>,
    },
    /// A finished subtask runs again: revised by the review, or its input changed.
    #[serde(rename = "subtask.reopened")]
    Reopened {
        #[serde(flatten)]
        unit: Unit,
        instructions: String,
        /// It mends this tree, which holds everybody's work: its own check failed there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        onto: Option<String>,
    },
    /// A source of rows has no more of them.
    #[serde(rename = "rows.ended")]
    RowsEnded { source: SubtaskOrInput, rows: u64 },
    /// A call may not start: a cap has no room for it.
    #[serde(rename = "budget.refused")]
    LeaseRefused {
        role: Role,
        scope: Scope,
        message: String,
        /// When time alone makes room.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
        /// Units it needs, and units left, where a quota window is short.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        units: Option<(QuotaUnits, QuotaUnits)>,
    },
    /// What is held back from executors for the final review.
    #[serde(rename = "budget.reserved")]
    Reserved { review_usd: NanoUsd },
    #[serde(rename = "budget.raised")]
    CapRaised { run_usd: NanoUsd },
    /// The provider reported more than was allowed: the scope takes no more calls.
    #[serde(rename = "budget.alarm")]
    BudgetAlarm { call: CallNo, message: String },
    #[serde(rename = "inbox.opened")]
    InboxOpened {
        item: u32,
        ask: Ask,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<Unit>,
        /// The tool call that waits for the answer, for questions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
        question: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        evidence: String,
    },
    #[serde(rename = "inbox.answered")]
    InboxAnswered {
        item: u32,
        #[serde(flatten)]
        reply: Reply,
    },
    /// Words of other processes up to this number were taken in.
    #[serde(rename = "run.heard")]
    Heard { commands: u64 },
    /// A person steers the run.
    #[serde(rename = "run.told")]
    Told { text: String },
    #[serde(rename = "review.completed")]
    Reviewed {
        round: u32,
        verdict: ReviewVerdict,
        summary: String,
        review: Box<Review>,
        /// The same work was approved in an earlier run: nothing was paid.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reused_from: Option<RunId>,
    },
    /// The reviewer gave no usable answer, mends included.
    #[serde(rename = "review.failed")]
    ReviewFailed { faults: Vec<String> },
    /// All accepted changes fit together: this is the tree they make.
    #[serde(rename = "patch.composed")]
    Composed { parts: Vec<Part>, tree: String },
    /// A check was run on the composed tree.
    #[serde(rename = "patch.checked")]
    ComposedChecked {
        /// Whose check it is.
        #[serde(flatten)]
        unit: Unit,
        check: String,
        verdict: Verdict,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        evidence: String,
        ms: Millis,
    },
    /// The run's patch was stored.
    #[serde(rename = "patch.stored")]
    PatchStored { blob: String, files: Vec<String> },
    /// The patch was written to the user's tree, or why not.
    #[serde(rename = "patch.applied")]
    PatchApplied {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The work accepted so far was written to the user's tree, before the run's end.
    #[serde(rename = "patch.partial")]
    PartialApplied { blob: String, files: Vec<String> },
    /// What was applied was taken back.
    #[serde(rename = "patch.undone")]
    PatchUndone { files: Vec<String> },
    /// Nothing new starts: the provider will not serve, or the run cannot go on.
    #[serde(rename = "run.halted")]
    Halted {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<ErrorClass>,
        message: String,
        /// When the provider will serve again, where it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// An account tells how much of its quota is used.
    #[serde(rename = "quota.reported")]
    QuotaReported {
        provider: String,
        windows: Vec<ReportedWindow>,
        /// When it told so, if that was to an earlier run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        as_of: Option<Timestamp>,
    },
    /// From here on the run sits out its quota by itself.
    #[serde(rename = "run.waits")]
    Waits {},
    /// A quota has no room: nothing is in flight, nothing starts.
    #[serde(rename = "quota.parked")]
    QuotaParked {
        /// The window's name, or `provider` for a limit of its own.
        window: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        needed: Option<QuotaUnits>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<QuotaUnits>,
        message: String,
        /// Whether it goes on by itself.
        waits: bool,
    },
    /// The time has come: the run goes on by itself.
    #[serde(rename = "quota.resumed")]
    QuotaResumed { window: String },
    #[serde(rename = "run.cancelling")]
    Cancelling {},
    /// No engine works on it now; it can be resumed.
    #[serde(rename = "run.paused")]
    RunPaused(RunSummary),
    #[serde(rename = "run.completed")]
    RunEnded(RunSummary),
}

fn is_default(service: &Service) -> bool {
    *service == Service::Default
}

/// Who asked for a plan patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum PatchedBy {
    Planner,
    Reviewer,
}
