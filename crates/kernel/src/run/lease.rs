//! Leases of calls: taken before a call is sent, from the run and, where runs share a cap, from the home first; and what
//! calls took, for the home's book.

use super::event::{Caller, Event};
use super::prepare::Prepared;
use super::state::Stage;
use super::{CallNo, DeskStage, Run, caps};
use crate::budget::home::Spent;
use crate::budget::{Amounts, HomeAsk, HomeCap, HomeLease, LeaseId, Measure, Refused, Scope};
use crate::time::{Millis, Timestamp};
use crate::units::QuotaUnits;

/// How soon a home is asked again whose money is promised to calls of others, which may take less.
const ASK_AGAIN: Millis = Millis(250);

/// What of a run's dealings with the home is under way.
#[derive(Debug, Default)]
pub(super) struct AtHome {
    /// Callers whose lease is asked for.
    asking: Vec<Caller>,
    /// Until when it is not asked again.
    until: Option<Timestamp>,
    /// What calls took that are not in the home's book yet.
    spent: Vec<Spent>,
}

impl Run {
    /// Caps that this run keeps together with the others of the home.
    pub fn home_caps(&self) -> Vec<HomeCap> {
        caps::of_home(&self.state.start().policy)
    }

    /// Asks the run's own caps. `None`: a call may not start, and why is recorded.
    fn may_begin(&mut self, prepared: &Prepared) -> Option<()> {
        let key = self.state.key_of(&prepared.caller);
        if self.state.is_starved(prepared.caller.role()) {
            key.into_iter().for_each(|key| self.leads_no_more(key));
            return None; // said already
        }
        if let Err(refused) = self.state.ledger.admit(&prepared.ask) {
            key.into_iter().for_each(|key| self.leads_no_more(key));
            self.refused(&prepared.caller, &refused);
            return None;
        }
        Some(())
    }

    /// What to ask the home for, where runs share a cap: the answer comes to [`Run::may_send`] or as [`super::Fact::HomeRefused`].
    /// `None`: the run's own caps have no room, and that is recorded.
    pub fn ask_home(&mut self, prepared: &Prepared, now: Timestamp) -> Option<HomeAsk> {
        self.now = now;
        self.may_begin(prepared)?;
        self.session.home.asking.push(prepared.caller.clone());
        self.session.outstanding += 1;
        let reserve = if prepared.ask.role.may_use_reserve() {
            Amounts::default()
        } else {
            Amounts { money: self.state.reserve, units: self.held_units(&prepared.caller), ..Amounts::default() }
        };
        Some(HomeAsk { most: prepared.ask.amounts(), held_back: reserve })
    }

    /// The home has answered; whether the call is still to be made.
    pub fn may_send(&mut self, caller: &Caller) -> bool {
        self.heard_from_home(caller);
        !self.stopping() && self.is_due(caller)
    }

    fn heard_from_home(&mut self, caller: &Caller) {
        let asking = &mut self.session.home.asking;
        if let Some(at) = asking.iter().position(|other| other == caller) {
            asking.swap_remove(at);
            self.session.settled_one();
        }
    }

    /// The home refused: said, unless the promises of others may end below what they are.
    pub(super) fn home_refused(&mut self, caller: &Caller, refused: &Refused) {
        self.heard_from_home(caller);
        self.state.key_of(caller).into_iter().for_each(|key| self.leads_no_more(key));
        if refused.may_fit_later() {
            self.session.home.until = Some(self.now + ASK_AGAIN);
        } else if !self.state.is_starved(caller.role()) {
            self.refused(caller, refused);
        }
    }

    /// Whether a lease for this caller is being asked for.
    pub(super) fn is_asking(&self, caller: impl FnOnce() -> Caller) -> bool {
        let asking = &self.session.home.asking;
        !asking.is_empty() && asking.contains(&caller())
    }

    /// Whether a lease for a row is being asked for.
    pub(super) fn is_asking_for_rows(&self) -> bool {
        self.session.home.asking.iter().any(|caller| matches!(caller, Caller::Executor { unit, .. } if unit.row.is_some()))
    }

    /// Until when the home is not asked.
    pub(super) fn home_waits(&self) -> Option<Timestamp> {
        self.session.home.until.filter(|until| *until > self.now)
    }

    /// Whether a caller's next call is what should happen now.
    fn is_due(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Executor { unit, attempt } => {
                let work = self.state.key(unit).and_then(|key| self.state.work.get(&key));
                let due = |stage| matches!(stage, Stage::Call | Stage::Parked);
                work.is_some_and(|w| due(w.stage) && w.attempt.as_ref().is_some_and(|a| a.no == *attempt))
            }
            caller => matches!(self.state.desk.stage, DeskStage::Call | DeskStage::Parked) && self.desk_caller().as_ref() == Some(caller),
        }
    }

    /// Takes the lease: intent and lease in one event, or the refusal. `home`: what the home promised.
    pub fn begin_call(&mut self, prepared: &Prepared, home: Option<HomeLease>, now: Timestamp) -> Option<CallNo> {
        self.now = now;
        if let Some(of) = prepared.hedge_of {
            // Nobody starves for want of a second request, nor is one made for what was answered meanwhile.
            let waits = self.state.calls.get(&of).is_some_and(|first| !first.outrun && first.rival.is_none());
            let starved = self.state.is_starved(prepared.caller.role());
            if !waits || starved || self.state.ledger.admit(&prepared.ask).is_err() {
                return None;
            }
        }
        self.may_begin(prepared)?;
        let key = self.state.key_of(&prepared.caller);
        let call = CallNo(self.state.last_call + 1);
        self.record(Event::CallStarted {
            call,
            caller: prepared.caller.clone(),
            tier: prepared.tier.clone(),
            model: prepared.call.model.clone(),
            lease_usd: prepared.ask.money,
            lease_tokens: prepared.ask.tokens,
            max_output_tokens: prepared.call.max_output_tokens,
            service: prepared.call.service,
            units: prepared.ask.units,
            home,
            hedge_of: prepared.hedge_of,
            opening: if self.state.is_opened(&prepared.caller) { Vec::new() } else { prepared.receipt.clone() },
        });
        debug_assert!(self.state.ledger.in_flight(LeaseId(call.0)).is_some());
        key.into_iter().for_each(|key| self.call_began(key, &prepared.call.model, call));
        Some(call)
    }

    /// A lease was refused. A subtask's own cap is that subtask's matter; any other stops the role.
    pub(super) fn refused(&mut self, caller: &Caller, refused: &Refused) {
        let key = self.state.key_of(caller);
        let own = matches!(refused.scope, Scope::Subtask(_) | Scope::Attempt | Scope::Call);
        if let (true, Some(key)) = (own, key) {
            if refused.leased > 0 && !refused.frozen && matches!(refused.scope, Scope::Subtask(_)) {
                self.session.leased_out.insert(key.task);
            } else {
                self.over_its_cap(key, refused.to_string());
            }
            return;
        }
        let (scope, retry_at) = (refused.scope.clone(), refused.retry_at);
        let units = (refused.measure == Measure::Units).then(|| (QuotaUnits(refused.needed), QuotaUnits(refused.left())));
        self.record(Event::LeaseRefused { role: caller.role(), scope, message: refused.to_string(), retry_at, units });
    }

    /// Notes what a call took, before its end is folded.
    pub(super) fn note_spending(&mut self, event: &Event) {
        let Event::CallEnded { call, usage, cost_usd, sent, .. } = event else { return };
        let Some(flight) = self.state.calls.get(call) else { return };
        let most = self.state.ledger.in_flight(LeaseId(call.0)).map(|lease| lease.most).unwrap_or_default();
        let took = match usage {
            _ if !sent => Amounts::default(),
            Some(usage) => Amounts { money: *cost_usd, tokens: usage.input_tokens + usage.output_tokens, units: most.units },
            None => most,
        };
        if *sent || flight.home.is_some() {
            self.session.home.spent.push(Spent { lease: flight.home, at: flight.since, took });
        }
        self.session.home.until = None;
    }

    /// What calls took since the last call of this: for the home's book, in the batch of the events that say so.
    pub fn take_spending(&mut self) -> Vec<Spent> {
        std::mem::take(&mut self.session.home.spent)
    }
}
