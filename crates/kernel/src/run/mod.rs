//! A run as a pure state machine: facts go in, events are recorded, actions come out.
//!
//! ```text
//!   fact ──► hear ──► events ──► apply ──► State
//!                       │                    │
//!                    journal              step ──► actions ──► performed ──► facts
//! ```
//!
//! [`State::apply`] folds events and decides nothing. [`Run::hear`] turns what came from outside into
//! events; [`Run::step`] says what should be in flight and is not. Both record what they decide in the
//! outbox; the runtime appends the outbox to the journal and performs the actions once it is durable.
//! Replay only folds: it never calls `step` for the past.
//!
//! Whatever a decision reads is in the log first. What is not part of the fold (rows read ahead, the
//! parser of a plan still streaming) lives in `Session` and can be lost at any moment.

mod action;
mod apply;
mod caps;
mod compact;
mod errand;
mod event;
mod hear;
mod hedge;
mod instructed;
mod lease;
mod open;
mod outcomes;
mod pace;
mod park;
mod parts;
mod prepare;
mod reported;
mod rows;
mod sight;
mod simulate;
mod state;
mod step;
mod turn;
mod work;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::Value;

pub use action::{Action, BatchEnd, Changed, Check, Earlier, Fact, Kept, Opened, RowRead};
pub use apply::{may_write, uses_view, waits_for};
pub use errand::Handiwork;
pub use event::*;
pub use hedge::Latencies;
pub use open::Opening;
pub use outcomes::Outcomes;
pub use pace::Pace;
pub use prepare::{Fetched, Prepared};
pub use reported::Reports;
pub use rows::{Mapped, rows_from};
pub use sight::{sees, unseen};
pub use simulate::{Fitted, Played, Simulated, Weighed, simulate, weigh};
pub use state::*;
pub use step::{Door, Gate};
pub use work::{Sees, Work};

use crate::catalog::Catalog;
use crate::ids::ModelRef;
use crate::plan::{Known, PlanStream};
use crate::policy::Policy;
use crate::schedule::Class;
use crate::time::Timestamp;
use crate::tool::ToolSpec;
use crate::units::NanoUsd;

/// One run under way: its state, and the events it has decided on that are not durable yet.
#[derive(Debug)]
pub struct Run {
    state: State,
    catalog: Arc<Catalog>,
    tools: Arc<[ToolSpec]>,
    outbox: Vec<Stamped>,
    now: Timestamp,
    session: Session,
    openings: prepare::Openings,
    instructed: instructed::Instructed,
}

/// What this process holds for the run and the journal does not.
#[derive(Debug, Default)]
struct Session {
    /// Parses the planner's answer while it streams.
    stream: Option<(CallNo, PlanStream)>,
    /// Rows read and not started, by source.
    incoming: HashMap<usize, VecDeque<RowRead>>,
    /// Rows in hand, by source and row.
    items: HashMap<(usize, u64), Held>,
    /// The next row to read, by source.
    next_read: HashMap<usize, u64>,
    /// Sources with a read under way.
    reading: Vec<usize>,
    /// Actions handed out whose fact has not come back, model calls aside.
    outstanding: usize,
    /// Reads under way whose rows are no longer wanted.
    stale_reads: HashSet<usize>,
    /// Tools handed out whose output has not come.
    tools: HashSet<(Key, String)>,
    /// Tools that were called and did not answer: how often, and why the last time.
    unanswered: HashMap<(Key, String), (u32, String)>,
    /// Subtasks whose own cap is promised to their calls in flight.
    leased_out: HashSet<u32>,
    /// Worst cases of calls handed out in this step and not leased yet.
    promised: NanoUsd,
    /// Calls for batches that were handed out in this step and are not gathered yet.
    joining: usize,
    /// The largest worst case of a first call seen so far.
    usual: NanoUsd,
    /// Known tools, tiers and limits, for subtasks that stream in.
    known: Option<Arc<Known>>,
    /// Prefixes shared by siblings, and who waits for them to be cached.
    warmth: Vec<step::Warmth>,
    /// Where a unit's next call goes while its own model's account is closed.
    spilled: HashMap<Key, ModelRef>,
    /// Calls that had their second request, or were refused one.
    hedged: HashSet<CallNo>,
    /// Whose calls wait until equal work was looked for; `None` is the flagship's.
    looking: HashSet<Option<Key>>,
    /// Providers that can condense a conversation.
    compacting: HashSet<String>,
    /// Batches that somebody waits for.
    followed: HashSet<u32>,
    /// Batches whose lines are coming in.
    landing: HashSet<u32>,
    /// The plan is being priced.
    pricing: bool,
    /// Errands handed out in this step, by accounts that report their quota.
    errands: HashMap<String, usize>,
    /// An account that has no room, where that kept a call back in this step.
    used_up: Option<park::Parking>,
    /// The patch is being applied.
    applying: bool,
    /// The engine goes away.
    draining: bool,
    /// Leases asked of the home, and what it is to be told.
    home: lease::AtHome,
}

/// A row in hand.
#[derive(Debug)]
struct Held {
    item: Arc<Value>,
    /// What earlier passes brought for it.
    kept: Vec<Kept>,
}

impl Session {
    /// An action came back.
    fn settled_one(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }
}

impl Run {
    /// A run that is about to start, or one to be replayed into by [`Run::replay`].
    pub fn new(catalog: Arc<Catalog>, tools: Arc<[ToolSpec]>) -> Self {
        Self {
            state: State::default(),
            catalog,
            tools,
            outbox: Vec::new(),
            now: Timestamp::default(),
            session: Session::default(),
            openings: prepare::Openings::default(),
            instructed: instructed::Instructed::default(),
        }
    }

    /// Folds an event of the past.
    pub fn replay(&mut self, stamped: &Stamped) {
        self.now = self.now.max(stamped.at);
        self.state.apply(stamped);
    }

    /// Starts a run.
    pub fn start(&mut self, start: RunStarted, now: Timestamp) {
        self.now = now;
        self.record(Event::RunStarted(Box::new(start)));
    }

    /// Records what was done about a finished run (its patch applied).
    pub fn note(&mut self, event: Event, now: Timestamp) {
        self.now = now;
        self.record(event);
    }

    /// From here on, this configuration rules.
    pub fn repin(&mut self, policy: Arc<Policy>, now: Timestamp) {
        self.now = now;
        if *policy != *self.state.start().policy {
            self.openings = prepare::Openings::default();
            self.record(Event::Repinned { policy });
        }
    }

    /// A word of another process is being taken in: it is not taken twice.
    pub fn heard_command(&mut self, number: u64, now: Timestamp) {
        self.now = now;
        self.record(Event::Heard { commands: number });
    }

    /// How urgent its calls are beside those of other runs: rows are bulk.
    pub fn class(&self) -> Class {
        if self.state.sources.is_empty() { Class::Interactive } else { Class::Bulk }
    }

    /// Models and prices.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Known tools.
    pub fn known_tools(&self) -> &Arc<[ToolSpec]> {
        &self.tools
    }

    /// When something was recorded or decided last.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The fold so far, undurable events included.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Events decided on since the last call, to be made durable before anything is done about them.
    pub fn take_events(&mut self) -> Vec<Stamped> {
        std::mem::take(&mut self.outbox)
    }

    /// Records and folds an event.
    fn record(&mut self, event: Event) {
        self.note_spending(&event);
        let stamped = Stamped { at: self.now, event };
        self.state.apply(&stamped);
        self.outbox.push(stamped);
    }

    /// The row behind a key.
    fn item(&self, key: Key) -> Option<&Arc<Value>> {
        self.held(key).map(|held| &held.item)
    }

    fn held(&self, key: Key) -> Option<&Held> {
        let source = self.state.task(key).source? as usize;
        self.session.items.get(&(source, key.row?))
    }
}

#[cfg(test)]
mod tests;
