//! Work in hand: looked for before it is begun, waited for where this run does it already, kept for others when it ended.

use std::collections::VecDeque;
use std::time::Duration;

use brigade_kernel::run::{Caller, Changed, Earlier, Event, Fact, Prepared, Sees, Stamped, SubtaskStatus, Unit, Work};

use super::Engine;
use crate::claims;
use crate::perform::Job;
use crate::reuse::{self, Fresh};

impl Engine {
    /// Lets go of what belongs to a unit that ended. Returns its work, if it was this run that did it.
    pub(super) fn forget(&mut self, stamped: &Stamped) -> Option<Fresh> {
        let (me, bytes, stands, earlier) = match &stamped.event {
            Event::AttemptEnded { unit, accepted, .. } => {
                if *accepted {
                    self.accepted.insert(unit.clone());
                    return None;
                }
                // What a person takes in spite of its checks is theirs alone; and nobody waits for another try.
                self.accepted.remove(unit);
                let me = Some(unit.clone());
                let work = self.works.get(&me)?.clone();
                return self.lets_others(&me, &work, None).then_some(Fresh { work, seq: 0, at: stamped.at, bytes: 0, stands: false });
            }
            Event::SubtaskEnded { unit, status, output, reused_from, change, .. } => {
                self.excerpts.remove(unit);
                let done = *status == SubtaskStatus::Done && (self.accepted.remove(unit) || reused_from.is_some());
                let run = reused_from.clone().unwrap_or_else(|| self.id.clone());
                let (output, change) = (output.clone(), change.clone());
                let bytes = output.len();
                let earlier = done.then(|| Earlier::Result { run, output, change, changed: Changed::default() });
                (Some(unit.clone()), bytes, done && reused_from.is_none(), earlier)
            }
            Event::Reviewed { review, reused_from, .. } => {
                let stands = reused_from.is_none() && Earlier::of_review(self.id.clone(), review.clone()).is_some();
                (None, review.final_output.len(), stands, None)
            }
            Event::ReviewFailed { .. } => (None, 0, false, None),
            // Reviewed anew.
            Event::PatchStored { .. } => {
                self.diff = None;
                return None;
            }
            _ => return None,
        };
        let work = self.works.remove(&me)?;
        let taken =
            matches!(&stamped.event, Event::SubtaskEnded { reused_from: Some(_), .. } | Event::Reviewed { reused_from: Some(_), .. });
        self.lets_others(&me, &work, earlier);
        (!taken).then_some(Fresh { work, seq: self.version, at: stamped.at, bytes: bytes as u64, stands })
    }

    /// Whoever waits for some work in this run gets its result, or one of them its turn. `true`: it was being done.
    fn lets_others(&mut self, me: &Option<Unit>, work: &Work, earlier: Option<Earlier>) -> bool {
        let Some((doer, waiting)) = self.doing.get_mut(work) else { return false };
        waiting.retain(|caller| who(caller) != *me);
        if doer != me && earlier.is_none() {
            return false;
        }
        let told: Vec<Caller> = if earlier.is_some() { waiting.drain(..).collect() } else { waiting.pop_front().into_iter().collect() };
        let next = told.first().filter(|_| earlier.is_none()).map(who);
        match next {
            Some(next) => {
                // It looks once more, in its own name.
                self.works.remove(&next);
                if let Some((doer, _)) = self.doing.get_mut(work) {
                    *doer = next;
                }
            }
            None => drop(self.doing.remove(work)),
        }
        for caller in told {
            // The receiver is this engine.
            let _ = self.facts.send(Fact::LookedUp { caller, earlier: earlier.clone() });
        }
        true
    }

    /// Keeps the results at hand, unless some are being kept: then these are next.
    pub(super) fn keep(&mut self) {
        if !self.fresh.is_empty() && self.keeping.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
            let fresh = std::mem::take(&mut self.fresh);
            self.keeping = Some(tokio::spawn(reuse::keep(self.world.clone(), self.id.clone(), fresh)));
        }
    }

    pub(super) async fn keep_all(&mut self) {
        while !self.fresh.is_empty() || self.keeping.is_some() {
            if let Some(keeping) = self.keeping.take() {
                // It ends by itself, and panics for nobody.
                let _ = keeping.await;
            }
            self.keep();
        }
        claims::tidy(&self.world.home, &self.id);
    }

    /// Looks for equal work before a call begins some. `true`: the call is not to be made now.
    pub(super) fn looks(&mut self, caller: &Caller, prepared: &Prepared, jobs: &mut Vec<Job>) -> bool {
        let Some(work) = self.run.work_of(prepared) else { return false };
        let me = who(caller);
        if self.works.get(&me) == Some(&work) {
            return false; // there was none
        }
        self.works.insert(me.clone(), work.clone());
        let form = prepared.call.format.as_ref().map(|format| format.schema.clone()).filter(|_| work.kind != "review");
        if work.sees == Sees::Nothing
            && let Some(earlier) = reuse::recall(&*self.world.journal, &work, form.as_ref())
        {
            self.run.look(caller);
            self.run.hear(Fact::LookedUp { caller: caller.clone(), earlier: Some(earlier) }, self.world.clock.now());
            return true;
        }
        let may_wait = self.run.may_wait(caller);
        self.run.look(caller);
        if let Some((doer, waiting)) = self.doing.get_mut(&work).filter(|_| may_wait)
            && *doer != me
        {
            waiting.push_back(caller.clone());
            return true;
        }
        self.doing.entry(work.clone()).or_insert_with(|| (me, VecDeque::new()));
        let most = self.run.state().start().policy.limits.call.total;
        let patience = if may_wait { Duration::from(most) } else { Duration::ZERO };
        jobs.push(Job::Look { caller: caller.clone(), work, form, patience });
        true
    }
}

/// The unit a caller works for; `None` is the flagship.
fn who(caller: &Caller) -> Option<Unit> {
    match caller {
        Caller::Executor { unit, .. } => Some(unit.clone()),
        _ => None,
    }
}
