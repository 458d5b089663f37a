//! The first of many siblings goes ahead, so that the others find their common prefix in the provider's cache.
//!
//! A wait is bounded: it ends with the first content of the call that went ahead, with its end, or after
//! [`LONGEST_WAIT`]; there is one for each model and type per [`CACHE_LIFE`], and none for work with a deadline.
//! Nothing of it is part of the fold: like the gate of an account it only delays, and after a crash it is forgotten.

use crate::context::{self, LEAST_CACHED};
use crate::ids::{ModelRef, Tier};
use crate::plan::TaskType;
use crate::run::state::Key;
use crate::run::{CallNo, Run};
use crate::time::{Millis, Timestamp};

/// How long siblings wait at most: several times the usual first token (evaluation.md B.1).
const LONGEST_WAIT: Millis = Millis(3_000);
/// An unused prefix is kept at least so long (responses-api.md §5).
const CACHE_LIFE: Millis = Millis(300_000);
/// Units looked at when siblings are counted.
const COUNTED: usize = 64;

/// What is known of the prefix that one type shares on one model.
#[derive(Debug)]
pub(in crate::run) struct Warmth {
    model: ModelRef,
    kind: TaskType,
    /// Sets of grants when it was measured: others change it.
    sets: usize,
    /// Estimated tokens of the prefix.
    shared: u64,
    /// Who went ahead, until it is warm.
    lead: Option<(Key, Option<CallNo>)>,
    /// Siblings wait until then.
    wait_until: Timestamp,
    /// It is taken for warm until then.
    warm_until: Timestamp,
}

/// Whether a unit may make the first call of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Now.
    Go,
    /// Now, and its siblings wait for it.
    Lead,
    /// Not before the one ahead of it has warmed the cache.
    Wait,
}

impl Run {
    /// Whether a unit's first call on a model is to wait for a sibling's.
    pub(super) fn turn_of(&mut self, key: Key, tier: &Tier, model: &ModelRef) -> Turn {
        let spec = &self.state.task(key).spec;
        let kind = spec.kind;
        let in_a_hurry = spec.deadline.is_some() || self.state.start().policy.limits.subtask.is_some();
        let sets = self.state.grants.get(&kind).map_or(0, Vec::len);
        let known = self.session.warmth.iter().position(|warmth| warmth.kind == kind && warmth.model == *model);
        let at = known.unwrap_or(self.session.warmth.len());
        if known.is_none_or(|at| self.session.warmth[at].sets != sets) {
            let shared = self.shared_tokens(key, tier, model);
            let never = Timestamp(0);
            let fresh = Warmth { model: model.clone(), kind, sets, shared, lead: None, wait_until: never, warm_until: never };
            match known {
                Some(at) => self.session.warmth[at] = fresh,
                None => self.session.warmth.push(fresh),
            }
        }
        let warmth = &self.session.warmth[at];
        // An agent's own words come before ours, and it says nothing before its end.
        let by_agent = self.state.start().policy.agent(model).is_some();
        if warmth.shared <= LEAST_CACHED || in_a_hurry || by_agent {
            return Turn::Go;
        }
        if self.now < warmth.wait_until {
            return Turn::Wait;
        }
        if self.now < warmth.warm_until {
            return Turn::Go;
        }
        let rates = self.input_rates(model).unwrap_or_default();
        let siblings = self.siblings(key, kind);
        if context::worth_waiting(siblings, self.session.warmth[at].shared, rates) { Turn::Lead } else { Turn::Go }
    }

    /// A unit and those of its type that would call with it: begun and not asked yet, or ready while there is room.
    fn siblings(&self, key: Key, kind: TaskType) -> u64 {
        let state = &self.state;
        let of_kind = |task: u32| state.tasks[task as usize].spec.kind == kind;
        let unasked = |other: &&Key| state.work.get(*other).and_then(|work| work.attempt.as_ref()).is_some_and(|attempt| !attempt.opened);
        let begun = state.to_call.iter().map(|(_, other)| other).take(COUNTED).chain(state.to_act.iter().take(COUNTED));
        let begun = begun.filter(|other| **other != key && of_kind(other.task)).filter(unasked).count();
        let ready = state.ready.iter().take(COUNTED).filter(|(_, other)| *other != key && of_kind(other.task)).count();
        let rows = self.session.incoming.iter().filter(|(i, _)| state.sources[**i].members.iter().any(|&task| of_kind(task)));
        let ready = ready + rows.map(|(_, rows)| rows.len()).sum::<usize>();
        (1 + begun + ready.min(self.room() as usize)) as u64
    }

    /// This unit goes ahead of its siblings.
    pub(super) fn leads(&mut self, key: Key, model: &ModelRef) {
        let (now, kind) = (self.now, self.state.task(key).spec.kind);
        if let Some(warmth) = self.session.warmth.iter_mut().find(|warmth| warmth.kind == kind && warmth.model == *model) {
            warmth.lead = Some((key, None));
            warmth.wait_until = now + LONGEST_WAIT;
            warmth.warm_until = now + CACHE_LIFE;
        }
    }

    /// A unit's call began: whoever goes ahead is waited for by its number, and the prefix is in use.
    pub(in crate::run) fn call_began(&mut self, key: Key, model: &ModelRef, call: CallNo) {
        let (now, kind) = (self.now, self.state.task(key).spec.kind);
        if let Some(warmth) = self.session.warmth.iter_mut().find(|warmth| warmth.kind == kind && warmth.model == *model) {
            if let Some((_, number)) = warmth.lead.as_mut().filter(|(lead, _)| *lead == key) {
                *number = Some(call);
            }
            if warmth.warm_until > now {
                warmth.warm_until = now + CACHE_LIFE;
            }
        }
    }

    /// A unit that was to go ahead makes no call: nobody waits for it, and the cache is as cold as before.
    pub(in crate::run) fn leads_no_more(&mut self, key: Key) {
        for warmth in self.session.warmth.iter_mut().filter(|warmth| warmth.lead == Some((key, None))) {
            warmth.lead = None;
            warmth.wait_until = Timestamp(0);
            warmth.warm_until = Timestamp(0);
        }
    }

    /// A call brought its first content, or ended: who waits for it goes on.
    pub(in crate::run) fn warmed(&mut self, call: CallNo) {
        for warmth in &mut self.session.warmth {
            if warmth.lead.take_if(|(_, number)| *number == Some(call)).is_some() {
                warmth.wait_until = self.now;
            }
        }
    }

    /// Whether siblings wait for the first content of a call: then it is to be told as [`super::super::Fact::FirstContent`].
    pub fn is_awaited(&self, call: CallNo) -> bool {
        self.session.warmth.iter().any(|warmth| warmth.lead.is_some_and(|(_, number)| number == Some(call)))
    }

    /// When the next wait is over at the latest.
    pub(in crate::run) fn waits_until(&self) -> Option<Timestamp> {
        self.session.warmth.iter().map(|warmth| warmth.wait_until).filter(|until| *until > self.now).min()
    }
}
