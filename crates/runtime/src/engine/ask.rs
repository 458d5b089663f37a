//! Model calls begun: prepared, leased by the run and, where runs share a cap, by the home first.

use brigade_kernel::budget::{Amounts, HomeLease};
use brigade_kernel::ids::ModelRef;
use brigade_kernel::run::{CallNo, Caller, CompactBy, Fact, Prepared};
use tokio_util::sync::CancellationToken;

use super::{Engine, EngineError};
use crate::errand::Place;
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
                if let Some(model) = self.asking.remove(&caller) {
                    self.world.gates.give_back(&model, now);
                }
                self.run.hear(Fact::HomeRefused { caller, refused }, now);
            }
            Answer::Failed(error) => return Err(EngineError::Treasury(error)),
        }
        Ok(())
    }

    /// Makes the call whose lease was granted, if it is still wanted.
    pub(super) fn granted(&mut self, caller: Caller, lease: HomeLease, most: Amounts, jobs: &mut Vec<Job>) {
        let model = self.asking.remove(&caller);
        let used = match model {
            Some(model) if !self.run.may_send(&caller) => {
                self.world.gates.give_back(&model, self.world.clock.now());
                false
            }
            _ => self.call(caller, Some((lease, most)), jobs),
        };
        if !used {
            self.world.treasury.give_back(lease);
        }
    }

    /// Makes a job of a call, or a fact where the answer is at hand. Whether it was begun.
    pub(super) fn call(&mut self, caller: Caller, lease: Option<(HomeLease, Amounts)>, jobs: &mut Vec<Job>) -> bool {
        let now = self.world.clock.now();
        let fetched = self.fetched(&caller);
        let prepared = match self.run.prepare(&caller, &fetched) {
            Ok(prepared) => prepared,
            Err(refusal) => {
                self.run.cannot_call(refusal.to_string(), now);
                return false;
            }
        };
        if self.looks(&caller, &prepared, jobs) {
            self.world.gates.give_back(&prepared.call.model, now);
            return false;
        }
        self.begin(prepared, lease, jobs)
    }

    /// Makes a job of the second request for a slow call. Where runs share a cap there is none.
    pub(super) fn ask_again(&mut self, of: CallNo, caller: &Caller, model: &ModelRef, jobs: &mut Vec<Job>) {
        let fetched = self.fetched(caller);
        match self.run.prepare_hedge(of, caller, model, &fetched) {
            Ok(prepared) if self.run.home_caps().is_empty() => {
                self.begin(prepared, None, jobs);
            }
            // Or the other model may not be called: the first request stands alone.
            Ok(_) | Err(_) => self.world.gates.give_back(model, self.world.clock.now()),
        }
    }

    /// Begins a call. Where runs share a cap it needs a lease of the home, and asks for one that covers it.
    fn begin(&mut self, prepared: Prepared, lease: Option<(HomeLease, Amounts)>, jobs: &mut Vec<Job>) -> bool {
        let now = self.world.clock.now();
        let (caller, model) = (prepared.caller.clone(), prepared.call.model.clone());
        let agent = self.world.agents.get(model.provider()).cloned();
        let answerer = match agent {
            Some(agent) => Some(Answerer::Agent(agent, Place::of(&caller, self.run.state()))),
            None => self.world.models.get(model.provider()).cloned().map(Answerer::Model),
        };
        let Some(answerer) = answerer else {
            self.world.gates.give_back(&model, now);
            let why = format!("no provider is called {:?}: configure [providers.{}]", model.provider(), model.provider());
            self.run.cannot_call(why, now);
            return false;
        };
        let caps = self.run.home_caps();
        if !caps.is_empty() && !lease.is_some_and(|(_, most)| most.covers(&prepared.ask.amounts())) {
            match self.run.ask_home(&prepared, now) {
                Some(ask) => {
                    self.asking.insert(caller.clone(), model);
                    self.world.treasury.ask(Asked { run: self.id.clone(), caller, caps, ask, answer: self.answers.clone() });
                }
                None => self.world.gates.give_back(&model, now),
            }
            return false;
        }
        let Some(no) = self.run.begin_call(&prepared, lease.map(|(lease, _)| lease), now) else {
            self.world.gates.give_back(&model, now);
            return false;
        };
        let cancel = CancellationToken::new();
        self.calls.insert(no, (cancel.clone(), model));
        let how = match caller {
            Caller::Planner => Way::Streamed,
            Caller::Compactor { by: CompactBy::Endpoint } => Way::Condensed,
            _ if self.run.is_awaited(no) => Way::Awaited,
            _ => Way::Whole,
        };
        jobs.push(Job::Call { no, call: Box::new(prepared.call), answerer, cancel, how });
        true
    }
}
