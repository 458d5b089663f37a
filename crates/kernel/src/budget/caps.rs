//! The caps that a run starts with, scope by scope; and what came of moving one.

use serde::{Deserialize, Serialize};

use super::{Balance, DEFAULT_RUN_CAP, Scope};
use crate::units::NanoUsd;

/// Limits a run starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// Money of the whole run.
    pub run: NanoUsd,
    /// Tokens of the whole run.
    pub run_tokens: Option<u64>,
    /// Of all calls of one role, by the role's number.
    pub roles: [RoleCaps; 3],
    /// Money of each subtask, over all its rows, beside its own cap.
    pub subtask: Option<NanoUsd>,
    /// Money of each attempt.
    pub attempt: Option<NanoUsd>,
    /// Money of each call.
    pub call: Option<NanoUsd>,
}

/// Limits on all calls of one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoleCaps {
    /// Money.
    pub usd: Option<NanoUsd>,
    /// Tokens, input and output.
    pub tokens: Option<u64>,
}

impl Default for Caps {
    fn default() -> Self {
        Self { run: DEFAULT_RUN_CAP, run_tokens: None, roles: [RoleCaps::default(); 3], subtask: None, attempt: None, call: None }
    }
}

/// A cap that moved: data for an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapChange {
    /// Whose cap.
    pub scope: Scope,
    /// Before.
    pub old: Option<u64>,
    /// Now.
    pub new: Option<u64>,
    /// Already spent or promised past the new cap: no new calls, those in flight settle.
    pub over: bool,
}

impl Balance {
    /// Moves the cap. A raise that leaves room thaws a frozen scope: a person has looked at the figures and given a new one.
    pub(super) fn set_cap(&mut self, scope: Scope, new: Option<u64>) -> CapChange {
        let old = std::mem::replace(&mut self.cap, new);
        let booked = self.settled.saturating_add(self.leased);
        let over = new.is_some_and(|cap| booked > cap);
        let raised = new.is_none_or(|new| old.is_some_and(|old| new > old));
        if raised && !over {
            self.frozen = false;
        }
        CapChange { scope, old, new, over }
    }
}
