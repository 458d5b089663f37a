//! Money and tokens promised but not yet spent.
//!
//! The law: for every scope, settled + leased ≤ cap, in every reachable state. Only a provider
//! that reports more than its lease allowed can break it, and then the scope is frozen.
//! Nothing here knows a price: amounts arrive computed ([`crate::catalog::worst_case`] before a
//! call, [`crate::catalog::cost`] after it). Read first: [`admit`], then [`Ledger`].

mod amount;
mod ledger;
mod spend;
mod window;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::SubtaskId;
use crate::units::NanoUsd;

pub use crate::role::Role;
pub use amount::{BadAmount, Why, parse_tokens_cap, parse_usd_cap};
pub use ledger::{CapChange, Caps, Charge, Lease, LeaseId, Ledger, LedgerError, Overrun, Settled};
pub use spend::{Comparison, TierUsage, UsageByTier, all_flagship};
pub use window::{Rolling, Window};

/// Cap of a run that was given none (design.md "Money, tokens, quota"): five dollars.
pub const DEFAULT_RUN_CAP: NanoUsd = NanoUsd(5 * NanoUsd::DOLLAR.0);

/// What a cap bounds. Money for runs and subtasks, tokens for roles.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All calls of the run, in nano-dollars.
    Run,
    /// All calls of one role, in tokens (input and output).
    Role(Role),
    /// All calls of one subtask, in nano-dollars.
    Subtask(SubtaskId),
}

impl Scope {
    /// What this scope counts.
    pub fn measure(&self) -> Measure {
        match self {
            Self::Run | Self::Subtask(_) => Measure::NanoUsd,
            Self::Role(_) => Measure::Tokens,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => f.write_str("run budget"),
            Self::Role(role) => write!(f, "{role} token budget"),
            Self::Subtask(id) => write!(f, "budget of subtask {id}"),
        }
    }
}

/// The unit of a scope's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Nano-dollars.
    NanoUsd,
    /// Tokens, input and output.
    Tokens,
}

impl Measure {
    fn show(self, amount: u64) -> String {
        match self {
            Self::NanoUsd => NanoUsd(amount).to_string(),
            Self::Tokens => format!("{amount} tokens"),
        }
    }
}

/// How one scope stands; all numbers in the scope's own [`Measure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Balance {
    /// The limit; `None` = counted, not limited.
    pub cap: Option<u64>,
    /// Spent for good.
    pub settled: u64,
    /// Promised to calls in flight.
    pub leased: u64,
    /// Part of the cap closed to executors, for the final judgement.
    pub held_back: u64,
    /// A provider took more than its lease: no new calls until a person has looked.
    pub frozen: bool,
}

/// What a call asks for before it starts: its worst case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// On whose behalf.
    pub role: Role,
    /// The subtask it serves, if any.
    pub subtask: Option<SubtaskId>,
    /// The most it can cost.
    pub money: NanoUsd,
    /// The most tokens it can use: input bound plus output limit.
    pub tokens: u64,
}

impl Ask {
    fn needed(&self, measure: Measure) -> u64 {
        match measure {
            Measure::NanoUsd => self.money.0,
            Measure::Tokens => self.tokens,
        }
    }
}

/// A call that may not start, and which numbers say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Refused {
    /// Whose cap.
    pub scope: Scope,
    /// The cap at that moment.
    pub cap: u64,
    /// Spent for good.
    pub settled: u64,
    /// Promised to calls in flight.
    pub leased: u64,
    /// Closed to this role.
    pub held_back: u64,
    /// What the call would have needed.
    pub needed: u64,
    /// Refused because the scope is frozen, whatever the numbers.
    pub frozen: bool,
}

impl Refused {
    /// Whether the call may fit once calls in flight have settled below their leases:
    /// wait for them before pausing the run.
    pub fn may_fit_later(&self) -> bool {
        let least = u128::from(self.settled) + u128::from(self.held_back) + u128::from(self.needed);
        !self.frozen && self.leased > 0 && least <= u128::from(self.cap)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |amount| self.scope.measure().show(amount);
        if self.frozen {
            return write!(
                f,
                "{} is frozen: the provider reported more than its lease allowed ({} spent of {}); check the provider's bill, then raise the cap",
                self.scope,
                show(self.settled),
                show(self.cap)
            );
        }
        write!(
            f,
            "{} of {} does not allow this call: it may take {}, with {} spent and {} promised to calls in flight",
            self.scope,
            show(self.cap),
            show(self.needed),
            show(self.settled),
            show(self.leased)
        )?;
        if self.held_back > 0 {
            write!(f, ", and {} held back for the final review", show(self.held_back))?;
        }
        Ok(())
    }
}

/// The balances one call counts against, gathered by whoever holds them.
pub type Balances<'a> = [(Scope, &'a Balance)];

/// Whether a call may start: every scope it counts against has room for its worst case.
///
/// Pure: the same balances and ask give the same answer, here and inside a store's transaction.
///
/// # Errors
/// [`Refused`] by the first scope, in the order given, that has no room or is frozen.
pub fn admit(balances: &Balances<'_>, ask: &Ask) -> Result<(), Refused> {
    balances.iter().try_for_each(|(scope, balance)| balance.admit(|| scope.clone(), scope.measure(), ask))
}

impl Balance {
    /// One scope's part of [`admit`].
    fn admit(&self, scope: impl Fn() -> Scope, measure: Measure, ask: &Ask) -> Result<(), Refused> {
        let Some(cap) = self.cap else { return Ok(()) };
        let needed = ask.needed(measure);
        let held_back = if ask.role.may_use_reserve() { 0 } else { self.held_back };
        let total = [self.settled, self.leased, held_back, needed].into_iter().map(u128::from).sum::<u128>();
        if total <= u128::from(cap) && !self.frozen {
            return Ok(());
        }
        Err(Refused { scope: scope(), cap, settled: self.settled, leased: self.leased, held_back, needed, frozen: self.frozen })
    }

    /// What is neither spent nor promised; zero without room, `u64::MAX` without a cap.
    pub fn left(&self) -> u64 {
        self.cap.map_or(u64::MAX, |cap| cap.saturating_sub(self.settled).saturating_sub(self.leased))
    }
}

#[cfg(test)]
mod tests;
