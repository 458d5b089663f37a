//! Money and tokens promised but not yet spent.
//!
//! The law: for every scope, settled + leased ≤ cap, in every reachable state. Only a provider
//! that reports more than its lease allowed can break it, and then the scope is frozen.
//! Nothing here knows a price: amounts arrive computed ([`crate::catalog::worst_case`] before a
//! call, [`crate::catalog::cost`] after it). Read first: [`Scope`], then [`Ledger`] (one run), then [`home`] (all runs).

mod amount;
mod caps;
pub mod home;
mod ledger;
mod spend;
mod window;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::SubtaskId;
use crate::time::{Millis, Timestamp};
use crate::units::{NanoUsd, QuotaUnits};

pub use crate::role::Role;
pub use amount::{BadAmount, Why, parse_tokens_cap, parse_usd_cap};
pub use caps::{CapChange, Caps, RoleCaps};
pub use home::{HomeAsk, HomeCap, HomeLease, HomeLedger};
pub use ledger::{Charge, Lease, LeaseId, Ledger, LedgerError, Overrun, Settled};
pub use spend::{Comparison, TierUsage, UsageByTier, all_flagship};
pub use window::{Rolling, Window};

/// Cap of a run that was given none (design.md "Money, tokens, quota"): five dollars.
pub const DEFAULT_RUN_CAP: NanoUsd = NanoUsd(5 * NanoUsd::DOLLAR.0);

/// Whose spending a cap bounds. Each lies within the next: a call within an attempt, a subtask, a role, a run, a day, the home.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One call.
    Call,
    /// One attempt of one unit.
    Attempt,
    /// All calls of one subtask, over all its rows.
    Subtask(SubtaskId),
    /// All calls of one role.
    Role(Role),
    /// All calls of the run.
    Run,
    /// All calls that began on the same UTC day, in every run of the home.
    Day,
    /// All calls of every run of the home that began in the last `span`.
    Window {
        /// As it is configured.
        name: String,
        /// How long a call counts.
        span: Millis,
    },
    /// All calls of every run of the home, ever.
    Home,
}

/// What a cap counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Nano-dollars.
    NanoUsd,
    /// Tokens, input and output.
    Tokens,
    /// Units of a quota, in thousandths.
    Units,
}

impl Scope {
    /// Whether the cap is shared by the runs of the home.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Day | Self::Window { .. } | Self::Home)
    }

    /// The cap by name, for people: `run budget`, `planner token budget`.
    fn budget(&self, measure: Measure) -> String {
        let kind = match measure {
            Measure::NanoUsd => "budget",
            Measure::Tokens => "token budget",
            Measure::Units => "quota",
        };
        match self {
            Self::Call => format!("{kind} of one call"),
            Self::Attempt => format!("{kind} of one attempt"),
            Self::Subtask(id) => format!("{kind} of subtask {id}"),
            Self::Role(role) => format!("{role} {kind}"),
            Self::Run => format!("run {kind}"),
            Self::Day => format!("day {kind}"),
            Self::Window { name, span } => format!("{kind} window {name} ({span})"),
            Self::Home => format!("home {kind}"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.budget(Measure::NanoUsd))
    }
}

impl Measure {
    fn show(self, amount: u64) -> String {
        match self {
            Self::NanoUsd => NanoUsd(amount).to_string(),
            Self::Tokens => format!("{amount} tokens"),
            Self::Units => format!("{} units", QuotaUnits(amount)),
        }
    }
}

/// What a call takes, or may take, in every measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amounts {
    /// Money.
    #[serde(rename = "usd")]
    pub money: NanoUsd,
    /// Tokens, input and output.
    pub tokens: u64,
    /// Units of a quota.
    #[serde(default, skip_serializing_if = "QuotaUnits::is_zero")]
    pub units: QuotaUnits,
}

impl Amounts {
    /// The number in one measure.
    pub fn of(&self, measure: Measure) -> u64 {
        match measure {
            Measure::NanoUsd => self.money.0,
            Measure::Tokens => self.tokens,
            Measure::Units => self.units.0,
        }
    }

    /// Whether another amount is no more than this, in every measure.
    pub fn covers(&self, other: &Self) -> bool {
        other.money <= self.money && other.tokens <= self.tokens && other.units <= self.units
    }

    fn add(&mut self, other: &Self) {
        self.money += other.money;
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.units += other.units;
    }

    fn take(&mut self, other: &Self) {
        self.money = self.money.saturating_sub(other.money);
        self.tokens = self.tokens.saturating_sub(other.tokens);
        self.units.0 = self.units.0.saturating_sub(other.units.0);
    }
}

/// How one scope stands in one [`Measure`].
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// On whose behalf.
    pub role: Role,
    /// The subtask it serves, if any.
    pub subtask: Option<SubtaskId>,
    /// Which attempt at it.
    pub attempt: Option<Try>,
    /// The most it can cost.
    pub money: NanoUsd,
    /// The most tokens it can use: input bound plus output limit.
    pub tokens: u64,
    /// What it counts against a quota.
    pub units: QuotaUnits,
}

/// One try of one unit of a subtask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Try {
    /// The unit's row.
    pub row: Option<u64>,
    /// Which try.
    pub no: u32,
}

impl Ask {
    /// The worst case in every measure.
    pub fn amounts(&self) -> Amounts {
        Amounts { money: self.money, tokens: self.tokens, units: self.units }
    }

    fn needed(&self, measure: Measure) -> u64 {
        self.amounts().of(measure)
    }
}

/// A call that may not start, and which numbers say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Refused {
    /// Whose cap.
    pub scope: Scope,
    /// What it counts.
    pub measure: Measure,
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
    /// When time alone makes room, if it ever does: the end of the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

impl Refused {
    /// What is neither spent, promised nor held back.
    pub fn left(&self) -> u64 {
        [self.settled, self.leased, self.held_back].into_iter().fold(self.cap, u64::saturating_sub)
    }

    /// Whether the call may fit once calls in flight have settled below their leases:
    /// wait for them before pausing the run.
    pub fn may_fit_later(&self) -> bool {
        let least = u128::from(self.settled) + u128::from(self.held_back) + u128::from(self.needed);
        !self.frozen && self.leased > 0 && least <= u128::from(self.cap)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |amount| self.measure.show(amount);
        let budget = self.scope.budget(self.measure);
        if self.frozen {
            return write!(
                f,
                "{budget} is frozen: the provider reported more than its lease allowed ({} spent of {}); check the provider's bill, then raise the cap",
                show(self.settled),
                show(self.cap)
            );
        }
        let (cap, needed) = (show(self.cap), show(self.needed));
        if self.scope == Scope::Call {
            return write!(f, "{budget} of {cap} does not allow this call: it may take {needed}");
        }
        write!(
            f,
            "{budget} of {cap} does not allow this call: it may take {needed}, with {} spent and {} promised to calls in flight",
            show(self.settled),
            show(self.leased)
        )?;
        if self.held_back > 0 {
            let what = if matches!(self.scope, Scope::Window { .. }) { "work under way and the final review" } else { "the final review" };
            write!(f, ", and {} held back for {what}", show(self.held_back))?;
        }
        Ok(())
    }
}

impl Balance {
    /// Whether there is room in one scope for a call's worst case.
    fn admit(&self, scope: impl Fn() -> Scope, measure: Measure, ask: &Ask) -> Result<(), Refused> {
        let Some(cap) = self.cap else { return Ok(()) };
        let needed = ask.needed(measure);
        let held_back = if ask.role.may_use_reserve() { 0 } else { self.held_back };
        let total = [self.settled, self.leased, held_back, needed].into_iter().map(u128::from).sum::<u128>();
        if total <= u128::from(cap) && !self.frozen {
            return Ok(());
        }
        let (settled, leased, frozen) = (self.settled, self.leased, self.frozen);
        Err(Refused { scope: scope(), measure, cap, settled, leased, held_back, needed, frozen, retry_at: None })
    }

    /// What is neither spent nor promised; zero without room, `u64::MAX` without a cap.
    pub fn left(&self) -> u64 {
        self.cap.map_or(u64::MAX, |cap| cap.saturating_sub(self.settled).saturating_sub(self.leased))
    }
}

#[cfg(test)]
mod tests;
