//! Model calls begun: prepared, leased by the run and, where runs share a cap, by the home first.

use brigade_kernel::budget::{Amounts, HomeLease};
use brigade_kernel::call::Service;
use brigade_kernel::ids::ModelRef;
use brigade_kernel::run::{CallNo, Caller, CompactBy, Fact, Prepared};
use brigade_kernel::time::Millis;
use tokio_util::sync::CancellationToken;

use super::{Engine, EngineError};
use crate::errand::Place;
use crate::gates;
use crate::perform::{Answerer, Job, Way};
use crate::treasury::{Answer, Asked};

impl Engine {
    /// The treasury has answered. What was granted is used in the next turn.
    pub(super) fn answered(&mut self, caller: Caller, answer: Answer) -> Result<(), EngineError> {
        match answer {
            Answer::Granted(lease, most, near) => {
                self.granted.push((caller, lease, most));
                self.run.hear(Fact::HomeNear(near), self.world.clock.now());
            }
            Answer::Refused(refused) => {
                let now = self.world.clock.now();
                let ticket = self.asking.remove(&caller).flatten();
                self.give_back(ticket);
                self.run.hear(Fact::HomeRefused { caller, refused }, now);
            }
            Answer::Failed(error) => return Err(EngineError::Treasury(error)),
        }
        Ok(())
    }

    /// Makes the call whose lease was granted, if it is still wanted.
    pub(super) fn granted(&mut self, caller: Caller, lease: HomeLease, most: Amounts, jobs: &mut Vec<Job>) {
        let used = match self.asking.remove(&caller) {
            Some(ticket) if !self.run.may_send(&caller) => {
                self.give_back(ticket);
                false
            }
            ticket => self.call(caller, Some((lease, most)), ticket.flatten(), jobs),
        };
        if !used {
            self.world.treasury.give_back(lease);
        }
    }

    /// Makes a job of a call, or a fact where the answer is at hand. Whether it was begun.
    pub(super) fn call(
        &mut self,
        caller: Caller,
        lease: Option<(HomeLease, Amounts)>,
        ticket: Option<gates::Ticket>,
        jobs: &mut Vec<Job>,
    ) -> bool {
        let now = self.world.clock.now();
        let fetched = self.fetched(&caller);
        let prepared = match self.run.prepare(&caller, &fetched) {
            Ok(prepared) => prepared,
            Err(refusal) => {
                self.give_back(ticket);
                self.run.cannot_call(refusal.to_string(), now);
                return false;
            }
        };
        let ticket = match ticket {
            // What goes into a batch passes no gate.
            None if prepared.call.service == Service::Batch => None,
            None => match self.seat.claim(&prepared.call.model) {
                None => return false,
                claimed => claimed,
            },
            held => held,
        };
        if self.looks(&caller, &prepared, jobs) {
            self.give_back(ticket);
            return false;
        }
        self.begin(prepared, lease, ticket, jobs)
    }

    /// Makes a job of the second request for a slow call. Where runs share a cap there is none.
    pub(super) fn ask_again(&mut self, of: CallNo, caller: &Caller, model: &ModelRef, jobs: &mut Vec<Job>) {
        let fetched = self.fetched(caller);
        let Some(ticket) = self.seat.claim(model) else { return };
        match self.run.prepare_hedge(of, caller, model, &fetched) {
            Ok(prepared) if self.run.home_caps().is_empty() => {
                self.begin(prepared, None, Some(ticket), jobs);
            }
            // Or the other model may not be called: the first request stands alone.
            Ok(_) | Err(_) => self.seat.give_back(ticket),
        }
    }

    /// Begins a call. Where runs share a cap it needs a lease of the home, and asks for one that covers it.
    fn begin(
        &mut self,
        prepared: Prepared,
        lease: Option<(HomeLease, Amounts)>,
        mut ticket: Option<gates::Ticket>,
        jobs: &mut Vec<Job>,
    ) -> bool {
        let now = self.world.clock.now();
        let (caller, model) = (prepared.caller.clone(), prepared.call.model.clone());
        let agent = self.world.agents.get(model.provider()).cloned();
        let answerer = match agent {
            Some(agent) => Some(Answerer::Agent(agent, Place::of(&caller, self.run.state()))),
            None => self.world.models.get(model.provider()).cloned().map(Answerer::Model),
        };
        let Some(answerer) = answerer else {
            self.give_back(ticket);
            let why = format!("no provider is called {:?}: configure [providers.{}]", model.provider(), model.provider());
            self.run.cannot_call(why, now);
            return false;
        };
        if !ticket.as_mut().is_none_or(|ticket| self.seat.weigh(ticket, prepared.tokens())) {
            self.give_back(ticket);
            self.run.put_off(&caller);
            return false;
        }
        let caps = self.run.home_caps();
        if !caps.is_empty() && !lease.is_some_and(|(_, most)| most.covers(&prepared.ask.amounts())) {
            match self.run.ask_home(&prepared, now) {
                Some(ask) => {
                    self.asking.insert(caller.clone(), ticket);
                    self.world.treasury.ask(Asked { run: self.id.clone(), caller, caps, ask, answer: self.answers.clone() });
                }
                None => self.give_back(ticket),
            }
            return false;
        }
        let Some(no) = self.run.begin_call(&prepared, lease.map(|(lease, _)| lease), now) else {
            self.give_back(ticket);
            return false;
        };
        let Some(ticket) = ticket else {
            if let Err(error) = self.batches.join(no, &prepared.call, &self.world.models) {
                let answer = Err(error);
                self.run.hear(Fact::Answered { call: no, answer, ms: Millis(0), first_ms: None, worked: None }, now);
            }
            return true;
        };
        let cancel = CancellationToken::new();
        self.calls.insert(no, (cancel.clone(), ticket));
        let how = match caller {
            Caller::Planner => Way::Streamed,
            Caller::Compactor { by: CompactBy::Endpoint } => Way::Condensed,
            _ if self.run.is_awaited(no) => Way::Awaited,
            _ => Way::Whole,
        };
        jobs.push(Job::Call { no, call: Box::new(prepared.call), answerer, cancel, how });
        true
    }

    /// A call is not made after all: its slot is free again, if it had one.
    fn give_back(&mut self, ticket: Option<gates::Ticket>) {
        if let Some(ticket) = ticket {
            self.seat.give_back(ticket);
        }
    }
}
