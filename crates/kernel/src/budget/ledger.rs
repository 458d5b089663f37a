//! The ledger of one run: every lease ends exactly once, as settled, released or lost.
//!
//! A fold: the same operations in the same order give the same ledger. Each operation touches at
//! most three balances and one lease.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Ask, Balance, DEFAULT_RUN_CAP, Measure, Refused, Role, Scope};
use crate::ids::SubtaskId;
use crate::units::NanoUsd;

/// Names one lease within a run; chosen by the caller, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub u64);

/// What is promised to one call in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// On whose behalf.
    pub role: Role,
    /// The capped subtask it counts against, if any.
    pub subtask: Option<SubtaskId>,
    /// The most it can cost.
    pub money: NanoUsd,
    /// The most tokens it can use.
    pub tokens: u64,
}

/// How a call ended, in the ledger's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charge {
    /// The provider reported usage.
    Known {
        /// Its cost, at the price the call was leased under.
        money: NanoUsd,
        /// Input plus output tokens.
        tokens: u64,
    },
    /// It did not, or the stream was cut: charged as leased, never as nothing.
    Unknown,
}

/// What was booked for one lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Spent for good.
    pub money: NanoUsd,
    /// Tokens spent for good.
    pub tokens: u64,
    /// Charged as leased, because nothing was reported.
    pub estimated: bool,
    /// The provider took more than the lease: the alarm to raise.
    pub overrun: Option<Overrun>,
}

/// A provider reported more than its lease allowed; the scopes named are frozen now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrun {
    /// The lease.
    pub lease: LeaseId,
    /// Money it allowed.
    pub leased: NanoUsd,
    /// Money reported.
    pub charged: NanoUsd,
    /// Tokens it allowed.
    pub leased_tokens: u64,
    /// Tokens reported.
    pub charged_tokens: u64,
    /// Scopes that take no new calls until a person has looked.
    pub frozen: Vec<Scope>,
}

/// Limits a run starts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// Nano-dollars for the whole run.
    pub run: NanoUsd,
    /// Tokens of all planner calls.
    pub planner_tokens: Option<u64>,
    /// Tokens of all executor calls.
    pub executor_tokens: Option<u64>,
    /// Tokens of all reviewer calls.
    pub reviewer_tokens: Option<u64>,
}

impl Default for Caps {
    fn default() -> Self {
        Self { run: DEFAULT_RUN_CAP, planner_tokens: None, executor_tokens: None, reviewer_tokens: None }
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

/// An operation the ledger cannot book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// No room, or frozen.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The caller used an id twice.
    #[error("lease {} is already in flight", .0.0)]
    Taken(LeaseId),
    /// Never leased, or ended already: a lease ends exactly once.
    #[error("lease {} is not in flight", .0.0)]
    NotInFlight(LeaseId),
}

/// Caps, spending and promises of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    run: Balance,
    roles: [Balance; 3],
    /// Only subtasks with a cap of their own.
    subtasks: HashMap<SubtaskId, Balance>,
    leases: HashMap<LeaseId, Lease>,
}

impl Ledger {
    /// An empty ledger under these caps.
    pub fn new(caps: &Caps) -> Self {
        let capped = |cap| Balance { cap, ..Balance::default() };
        Self {
            run: capped(Some(caps.run.0)),
            roles: [caps.planner_tokens, caps.executor_tokens, caps.reviewer_tokens].map(capped),
            subtasks: HashMap::new(),
            leases: HashMap::with_capacity(64),
        }
    }

    /// Whether a call could start now; changes nothing.
    ///
    /// # Errors
    /// [`Refused`] by the first scope without room: run, role, subtask.
    pub fn admit(&self, ask: &Ask) -> Result<(), Refused> {
        self.run.admit(|| Scope::Run, Measure::NanoUsd, ask)?;
        self.roles[ask.role as usize].admit(|| Scope::Role(ask.role), Measure::Tokens, ask)?;
        if let Some((id, balance)) = ask.subtask.as_ref().and_then(|id| self.subtasks.get_key_value(id)) {
            balance.admit(|| Scope::Subtask(id.clone()), Measure::NanoUsd, ask)?;
        }
        Ok(())
    }

    /// Promises a call its worst case.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] as [`Ledger::admit`]; [`LedgerError::Taken`] for an id in flight.
    /// Nothing has changed then.
    pub fn lease(&mut self, id: LeaseId, ask: &Ask) -> Result<(), LedgerError> {
        if self.leases.contains_key(&id) {
            return Err(LedgerError::Taken(id));
        }
        self.admit(ask)?;
        // A subtask that gets its cap later counts from then on.
        let subtask = ask.subtask.clone().filter(|subtask| self.subtasks.contains_key(subtask));
        let lease = Lease { role: ask.role, subtask, money: ask.money, tokens: ask.tokens };
        self.each(&lease, |balance, measure| balance.leased = balance.leased.saturating_add(lease.amount(measure)));
        self.leases.insert(id, lease);
        Ok(())
    }

    /// Books what a call really took. More than its lease: booked in full, and the scopes whose
    /// lease was passed are frozen.
    ///
    /// # Errors
    /// [`LedgerError::NotInFlight`] when the lease has ended or never was.
    pub fn settle(&mut self, id: LeaseId, charge: Charge) -> Result<Settled, LedgerError> {
        let lease = self.end(id)?;
        let (money, tokens, estimated) = match charge {
            Charge::Known { money, tokens } => (money, tokens, false),
            Charge::Unknown => (lease.money, lease.tokens, true),
        };
        let taken = |measure| match measure {
            Measure::NanoUsd => money.0,
            Measure::Tokens => tokens,
        };
        let mut over = false;
        self.each(&lease, |balance, measure| {
            balance.settled = balance.settled.saturating_add(taken(measure));
            if taken(measure) > lease.amount(measure) && balance.cap.is_some() {
                balance.frozen = true;
                over = true;
            }
        });
        let overrun = over.then(|| Overrun {
            lease: id,
            leased: lease.money,
            charged: money,
            leased_tokens: lease.tokens,
            charged_tokens: tokens,
            frozen: self.scopes(&lease).filter(|(_, balance)| balance.frozen).map(|(scope, _)| scope).collect(),
        });
        Ok(Settled { money, tokens, estimated, overrun })
    }

    /// Gives a whole lease back: the call was never sent.
    ///
    /// # Errors
    /// [`LedgerError::NotInFlight`] when the lease has ended or never was.
    pub fn release(&mut self, id: LeaseId) -> Result<(), LedgerError> {
        self.end(id).map(drop)
    }

    /// Books a call that was in flight at a crash at its full lease.
    ///
    /// # Errors
    /// [`LedgerError::NotInFlight`] when the lease has ended or never was.
    pub fn charge_lost(&mut self, id: LeaseId) -> Result<Settled, LedgerError> {
        self.settle(id, Charge::Unknown)
    }

    /// Moves the run's cap, up or down. A raise that leaves room thaws a frozen run:
    /// a person has looked at the figures and given a new one.
    pub fn set_run_cap(&mut self, cap: NanoUsd) -> CapChange {
        self.run.set_cap(Scope::Run, Some(cap.0))
    }

    /// Moves or lifts the token cap of a role; see [`Ledger::set_run_cap`].
    pub fn set_role_cap(&mut self, role: Role, tokens: Option<u64>) -> CapChange {
        self.roles[role as usize].set_cap(Scope::Role(role), tokens)
    }

    /// Moves or lifts the cap of a subtask. Calls leased before its first cap do not count.
    pub fn set_subtask_cap(&mut self, subtask: &SubtaskId, cap: Option<NanoUsd>) -> CapChange {
        let balance = self.subtasks.entry(subtask.clone()).or_default();
        balance.set_cap(Scope::Subtask(subtask.clone()), cap.map(|c| c.0))
    }

    /// Drops the balance of a finished subtask. Refused (`false`) while it has a call in flight.
    pub fn forget_subtask(&mut self, subtask: &SubtaskId) -> bool {
        let idle = self.subtasks.get(subtask).is_none_or(|balance| balance.leased == 0);
        if idle {
            self.subtasks.remove(subtask);
        }
        idle
    }

    /// Closes part of the run's cap to executors, for the final judgement: the worst case of the
    /// review still to come, zero once it is leased or when there will be none.
    pub fn hold_back(&mut self, money: NanoUsd) {
        self.run.held_back = money.0;
    }

    /// How a scope stands; `None` for a subtask without a cap.
    pub fn balance(&self, scope: &Scope) -> Option<&Balance> {
        match scope {
            Scope::Run => Some(&self.run),
            Scope::Role(role) => Some(&self.roles[*role as usize]),
            Scope::Subtask(id) => self.subtasks.get(id),
        }
    }

    /// What the run has spent for good.
    pub fn spent(&self) -> NanoUsd {
        NanoUsd(self.run.settled)
    }

    /// What is promised to calls in flight.
    pub fn leased(&self) -> NanoUsd {
        NanoUsd(self.run.leased)
    }

    /// The lease of a call in flight.
    pub fn in_flight(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// How many calls are in flight.
    pub fn calls_in_flight(&self) -> usize {
        self.leases.len()
    }

    /// Calls in flight, by id: those to charge as lost after a crash.
    pub fn lost_calls(&self) -> Vec<LeaseId> {
        let mut ids: Vec<_> = self.leases.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Ends a lease: takes it out of every balance it counted against.
    fn end(&mut self, id: LeaseId) -> Result<Lease, LedgerError> {
        let lease = self.leases.remove(&id).ok_or(LedgerError::NotInFlight(id))?;
        self.each(&lease, |balance, measure| balance.leased = balance.leased.saturating_sub(lease.amount(measure)));
        Ok(lease)
    }

    fn each(&mut self, lease: &Lease, mut book: impl FnMut(&mut Balance, Measure)) {
        book(&mut self.run, Measure::NanoUsd);
        book(&mut self.roles[lease.role as usize], Measure::Tokens);
        if let Some(balance) = lease.subtask.as_ref().and_then(|id| self.subtasks.get_mut(id)) {
            book(balance, Measure::NanoUsd);
        }
    }

    fn scopes<'a>(&'a self, lease: &'a Lease) -> impl Iterator<Item = (Scope, &'a Balance)> {
        let subtask = lease.subtask.as_ref().and_then(|id| self.subtasks.get_key_value(id));
        [(Scope::Run, &self.run), (Scope::Role(lease.role), &self.roles[lease.role as usize])]
            .into_iter()
            .chain(subtask.map(|(id, balance)| (Scope::Subtask(id.clone()), balance)))
    }
}

impl Lease {
    fn amount(&self, measure: Measure) -> u64 {
        match measure {
            Measure::NanoUsd => self.money.0,
            Measure::Tokens => self.tokens,
        }
    }
}

impl Balance {
    fn set_cap(&mut self, scope: Scope, new: Option<u64>) -> CapChange {
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
