//! The ledger of one run: every lease ends exactly once, as settled, released or lost.
//!
//! A fold: the same operations in the same order give the same ledger. Each operation touches at
//! most six balances and one lease.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Amounts, Ask, Balance, CapChange, Caps, Measure, Refused, Role, Scope, Try};
use crate::ids::SubtaskId;
use crate::units::NanoUsd;

/// Names one lease within a run; chosen by the caller, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub u64);

/// What is promised to one call in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// On whose behalf.
    pub role: Role,
    /// The capped subtask it counts against, if any.
    pub subtask: Option<SubtaskId>,
    /// The capped attempt it counts against, if any.
    pub attempt: Option<(SubtaskId, Try)>,
    /// The most it can take.
    pub most: Amounts,
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
    run: Pair,
    roles: [Pair; 3],
    /// Only subtasks with a cap.
    subtasks: HashMap<SubtaskId, Balance>,
    /// Only attempts under a cap, until they end.
    attempts: HashMap<(SubtaskId, Try), Balance>,
    attempt_cap: Option<NanoUsd>,
    call_cap: Option<NanoUsd>,
    leases: HashMap<LeaseId, Lease>,
}

/// A scope that is capped in money and in tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Pair {
    usd: Balance,
    tokens: Balance,
}

impl Pair {
    fn under(usd: Option<NanoUsd>, tokens: Option<u64>) -> Self {
        let capped = |cap| Balance { cap, ..Balance::default() };
        Self { usd: capped(usd.map(|usd| usd.0)), tokens: capped(tokens) }
    }

    fn admit(&self, scope: impl Fn() -> Scope, ask: &Ask) -> Result<(), Refused> {
        self.usd.admit(&scope, Measure::NanoUsd, ask)?;
        self.tokens.admit(&scope, Measure::Tokens, ask)
    }

    fn of(&self, measure: Measure) -> Option<&Balance> {
        match measure {
            Measure::NanoUsd => Some(&self.usd),
            Measure::Tokens => Some(&self.tokens),
            Measure::Units => None,
        }
    }
}

impl Default for Ledger {
    /// Under the default caps.
    fn default() -> Self {
        Self::new(&Caps::default())
    }
}

impl Ledger {
    /// An empty ledger under these caps.
    pub fn new(caps: &Caps) -> Self {
        Self {
            run: Pair::under(Some(caps.run), caps.run_tokens),
            roles: caps.roles.map(|role| Pair::under(role.usd, role.tokens)),
            subtasks: HashMap::new(),
            attempts: HashMap::new(),
            attempt_cap: caps.attempt,
            call_cap: caps.call,
            leases: HashMap::with_capacity(64),
        }
    }

    /// Whether a call could start now; changes nothing.
    ///
    /// # Errors
    /// [`Refused`] by the first scope without room, the widest first.
    pub fn admit(&self, ask: &Ask) -> Result<(), Refused> {
        self.run.admit(|| Scope::Run, ask)?;
        self.roles[ask.role as usize].admit(|| Scope::Role(ask.role), ask)?;
        if let Some((id, balance)) = ask.subtask.as_ref().and_then(|id| self.subtasks.get_key_value(id)) {
            balance.admit(|| Scope::Subtask(id.clone()), Measure::NanoUsd, ask)?;
        }
        let fresh = |cap: NanoUsd| Balance { cap: Some(cap.0), ..Balance::default() };
        if let Some((cap, at)) = self.attempt_cap.zip(ask.at()) {
            let begun = self.attempts.get(&at);
            begun.copied().unwrap_or_else(|| fresh(cap)).admit(|| Scope::Attempt, Measure::NanoUsd, ask)?;
        }
        match self.call_cap {
            Some(cap) => fresh(cap).admit(|| Scope::Call, Measure::NanoUsd, ask),
            None => Ok(()),
        }
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
        let attempt = self.attempt_cap.and_then(|cap| {
            let at = ask.at()?;
            self.attempts.entry(at.clone()).or_insert_with(|| Balance { cap: Some(cap.0), ..Balance::default() });
            Some(at)
        });
        let lease = Lease { role: ask.role, subtask, attempt, most: ask.amounts() };
        self.each(&lease, |balance, measure| balance.leased = balance.leased.saturating_add(lease.most.of(measure)));
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
            Charge::Unknown => (lease.most.money, lease.most.tokens, true),
        };
        let taken = |measure| match measure {
            Measure::NanoUsd => money.0,
            Measure::Tokens => tokens,
            Measure::Units => 0,
        };
        let mut over = false;
        self.each(&lease, |balance, measure| {
            balance.settled = balance.settled.saturating_add(taken(measure));
            if taken(measure) > lease.most.of(measure) && balance.cap.is_some() {
                balance.frozen = true;
                over = true;
            }
        });
        let overrun = over.then(|| Overrun {
            lease: id,
            leased: lease.most.money,
            charged: money,
            leased_tokens: lease.most.tokens,
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

    /// Moves the run's cap in dollars, up or down. A raise that leaves room thaws a frozen run:
    /// a person has looked at the figures and given a new one.
    pub fn set_run_cap(&mut self, cap: NanoUsd) -> CapChange {
        self.run.usd.set_cap(Scope::Run, Some(cap.0))
    }

    /// Moves or lifts every cap but the run's dollars and those of subtasks; see [`Ledger::set_run_cap`].
    pub fn set_caps(&mut self, caps: &Caps) {
        self.run.tokens.set_cap(Scope::Run, caps.run_tokens);
        for (role, caps) in Role::ALL.into_iter().zip(caps.roles) {
            let pair = &mut self.roles[role as usize];
            pair.usd.set_cap(Scope::Role(role), caps.usd.map(|usd| usd.0));
            pair.tokens.set_cap(Scope::Role(role), caps.tokens);
        }
        (self.attempt_cap, self.call_cap) = (caps.attempt, caps.call);
        match caps.attempt {
            Some(cap) => self.attempts.values_mut().for_each(|balance| drop(balance.set_cap(Scope::Attempt, Some(cap.0)))),
            None => self.attempts.clear(),
        }
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

    /// Drops the balance of an attempt that ended.
    pub fn forget_attempt(&mut self, subtask: &SubtaskId, attempt: Try) {
        if !self.attempts.is_empty() {
            self.attempts.remove(&(subtask.clone(), attempt));
        }
    }

    /// Closes part of the run's cap to executors, for the final judgement: the worst case of the
    /// review still to come, zero once it is leased or when there will be none.
    pub fn hold_back(&mut self, money: NanoUsd) {
        self.run.usd.held_back = money.0;
    }

    /// How a scope stands; `None` for one that is not counted: a subtask without a cap, one call or attempt, what runs share.
    pub fn balance(&self, scope: &Scope, measure: Measure) -> Option<&Balance> {
        match scope {
            Scope::Run => self.run.of(measure),
            Scope::Role(role) => self.roles[*role as usize].of(measure),
            Scope::Subtask(id) => self.subtasks.get(id).filter(|_| measure == Measure::NanoUsd),
            Scope::Call | Scope::Attempt | Scope::Day | Scope::Window { .. } | Scope::Home => None,
        }
    }

    /// Every scope that is capped and counted here.
    pub fn capped(&self) -> impl Iterator<Item = (Scope, Measure, &Balance)> {
        let roles = Role::ALL.into_iter().map(|role| (Scope::Role(role), &self.roles[role as usize]));
        let pairs = std::iter::once((Scope::Run, &self.run)).chain(roles);
        let pairs = pairs.flat_map(|(scope, pair)| [(scope.clone(), Measure::NanoUsd, &pair.usd), (scope, Measure::Tokens, &pair.tokens)]);
        let subtasks = self.subtasks.iter().map(|(id, balance)| (Scope::Subtask(id.clone()), Measure::NanoUsd, balance));
        pairs.chain(subtasks).filter(|(_, _, balance)| balance.cap.is_some())
    }

    /// What the run has spent for good.
    pub fn spent(&self) -> NanoUsd {
        NanoUsd(self.run.usd.settled)
    }

    /// What is promised to calls in flight.
    pub fn leased(&self) -> NanoUsd {
        NanoUsd(self.run.usd.leased)
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
        self.each(&lease, |balance, measure| balance.leased = balance.leased.saturating_sub(lease.most.of(measure)));
        Ok(lease)
    }

    fn each(&mut self, lease: &Lease, mut book: impl FnMut(&mut Balance, Measure)) {
        for pair in [&mut self.run, &mut self.roles[lease.role as usize]] {
            book(&mut pair.usd, Measure::NanoUsd);
            book(&mut pair.tokens, Measure::Tokens);
        }
        let subtask = lease.subtask.as_ref().and_then(|id| self.subtasks.get_mut(id));
        let attempt = lease.attempt.as_ref().and_then(|at| self.attempts.get_mut(at));
        for balance in [subtask, attempt].into_iter().flatten() {
            book(balance, Measure::NanoUsd);
        }
    }

    fn scopes<'a>(&'a self, lease: &'a Lease) -> impl Iterator<Item = (Scope, &'a Balance)> {
        let subtask = lease.subtask.as_ref().and_then(|id| self.subtasks.get_key_value(id));
        let pairs = [(Scope::Run, &self.run), (Scope::Role(lease.role), &self.roles[lease.role as usize])];
        let pairs = pairs.into_iter().flat_map(|(scope, pair)| [(scope.clone(), &pair.usd), (scope, &pair.tokens)]);
        let attempt = lease.attempt.as_ref().and_then(|at| self.attempts.get(at));
        pairs
            .chain(subtask.map(|(id, balance)| (Scope::Subtask(id.clone()), balance)))
            .chain(attempt.map(|balance| (Scope::Attempt, balance)))
    }
}

impl Ask {
    /// The attempt it serves.
    fn at(&self) -> Option<(SubtaskId, Try)> {
        self.subtask.clone().zip(self.attempt)
    }
}
