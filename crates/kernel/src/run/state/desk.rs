//! What the flagship does: its job in hand, and the planner's conversation.

use std::collections::{BTreeSet, VecDeque};

use super::Key;
use crate::call::Item;
use crate::run::event::CallNo;

/// What the flagship does: one job at a time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Desk {
    /// The job in hand.
    pub job: Option<Job>,
    /// Its stage.
    pub stage: DeskStage,
    /// Reasons for the next plan patch, gathered meanwhile.
    pub reasons: VecDeque<Reason>,
    /// The planner's conversation: requests, plans, patches. Replayed whole (`store: false`).
    pub turns: Vec<Item>,
    /// Tasks whose results the planner has not been told.
    pub news: BTreeSet<u32>,
    /// How its conversation was condensed so far.
    pub compaction: Compaction,
    /// Faulty answers in a row.
    pub mends: u32,
    /// Plan patches made.
    pub replans: u32,
    /// Reviews made.
    pub reviews: u32,
    /// Availability trouble in a row.
    pub trouble: u32,
    /// How many models of the tier were given up on.
    pub alternate: u32,
    /// Optional request fields the model does not take.
    pub omit: Vec<String>,
    /// The output limit was doubled after a cut answer.
    pub doubled: bool,
    /// The planner's message about the job in hand is among its turns.
    pub asked: bool,
    /// Subtasks accepted from an answer that was cut: they stay, and only the rest is asked for.
    pub frozen: u32,
    /// The plan is whole.
    pub planned: bool,
    /// The last review.
    pub summary: String,
    /// What the approved review returns.
    pub final_output: Option<String>,
}

/// Why the planner should look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The unit that waits for it.
    pub unit: Option<Key>,
    /// In words.
    pub text: String,
}

/// A job of the flagship.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Write the plan; again after faults.
    Plan {
        /// What was wrong with the last one.
        faults: Vec<String>,
    },
    /// Answer with a plan patch.
    Replan {
        /// Why.
        reasons: Vec<String>,
        /// Units that wait for the answer.
        units: Vec<Key>,
        /// What was wrong with the last one.
        faults: Vec<String>,
    },
    /// Judge the result.
    Review {
        /// What was wrong with the last answer.
        faults: Vec<String>,
    },
}

/// Where the job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeskStage {
    /// No job.
    #[default]
    Idle,
    /// Its call may be made.
    Call,
    /// A call is in flight.
    Calling(CallNo),
    /// Waits until a moment.
    Parked,
}

/// How the planner's conversation was condensed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compaction {
    /// Tries.
    pub tries: u32,
    /// Estimated tokens of the conversation after the last of them.
    pub tokens_then: u64,
    /// Results told since.
    pub results: u32,
    /// The last one did not shrink it.
    pub in_vain: bool,
    /// The provider's endpoint was of no use: summaries from here on.
    pub no_endpoint: bool,
    /// Whether the provider found the job in hand too long.
    pub overflow: Overflow,
}

/// Whether the provider found the conversation of the job in hand too long; then it is condensed once, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// It did not.
    #[default]
    No,
    /// It did.
    Seen,
    /// It did, and condensing was tried.
    Tried,
}
