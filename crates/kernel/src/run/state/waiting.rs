//! How long the run stood still, and what was spent meanwhile all the same: nothing, or something is wrong.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{DeskStage, Key, Parked, Stage, State};
use crate::run::event::CallNo;
use crate::time::{Millis, Timestamp};

/// What waiting came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Waited {
    /// Between a pause and the next resumption, all together.
    pub stood_ms: Millis,
    /// Calls that were made on behalf of somebody who was to wait.
    pub calls: u64,
    /// Their tokens.
    pub tokens: u64,
}

/// The fold that measures it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waiting {
    /// What it came to so far.
    pub waited: Waited,
    /// Since when the run stands still.
    since: Option<Timestamp>,
    /// Calls under way that should not have been made.
    untimely: BTreeSet<CallNo>,
}

impl Waiting {
    /// Nothing goes on from here.
    pub fn stands(&mut self, at: Timestamp) {
        self.since.get_or_insert(at);
    }

    /// It goes on; what is over by then was not waited for.
    pub fn goes_on(&mut self, at: Timestamp) {
        if let Some(since) = self.since.take() {
            self.waited.stood_ms.0 += (at - since).0;
        }
    }

    /// A call was answered; `None`: its tokens are unknown, and count as leased.
    pub fn ended(&mut self, call: CallNo, tokens: Option<u64>, leased: u64) {
        if self.untimely.remove(&call) {
            self.waited.calls += 1;
            self.waited.tokens += tokens.unwrap_or(leased);
        }
    }
}

impl State {
    /// Notes a call that is made while the run, or whom it is for, was to wait. To be asked before the call is folded.
    pub(in crate::run) fn watch_call(&mut self, call: CallNo, key: Option<Key>, at: Timestamp) {
        if self.waiting.since.is_some() || self.waits(key, at) {
            self.waiting.untimely.insert(call);
        }
    }

    /// Whether somebody is to wait at this moment: for a time to come, or for a person.
    fn waits(&self, key: Option<Key>, at: Timestamp) -> bool {
        let Some(key) = key else {
            let parked = || self.parked.iter().any(|(until, who)| *who == Parked::Desk && *until > at);
            return self.desk.stage == DeskStage::Parked && parked();
        };
        let Some(work) = self.work.get(&key) else { return false };
        match work.stage {
            Stage::Parked => work.until.is_some_and(|until| until > at),
            Stage::Person(_) => true,
            _ => work.attempt.as_ref().is_some_and(|attempt| attempt.pending.iter().any(|tool| tool.asked.is_some())),
        }
    }
}
