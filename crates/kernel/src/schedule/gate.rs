//! The gate of one model account: how many calls may be in flight, when none may, and whose turn it is.
//!
//! ```text
//!   closed after a refusal ─► one probe ─► a ramp up to half of what was refused ─► a quarter more each round
//!   pace: never more in a minute than the headers say is left, never less       (gate/pace.rs)
//!   strain: no more at once than the server works on                            (gate/strain.rs)
//!   share: interactive runs before bulk, runs of one class alike                (gate/share.rs)
//! ```
//!
//! Shared by all runs of a home (promises.md I15), so it fits into a few words ([`Gate::to_words`]). Pure, so it can be
//! attacked by generated cases: it is told the time, and every wait it answers with ends.

mod pace;
mod share;
mod strain;
#[cfg(test)]
mod tests;
mod words;

pub use pace::{Mark, Pace};
pub use share::{Class, Member, Visitor};
pub use strain::Timing;

use crate::call::RateLimits;
use crate::time::{Millis, Timestamp};
use strain::{Finding, Strain};

/// Closed for this long when the provider says nothing (responses-api.md §7: first SDK delay).
const SILENT_CLOSE: Millis = Millis(500);
/// A provider's wait beyond this is its runs' matter: they park.
const LONGEST_CLOSE: Millis = Millis(120_000);
/// Who waits for others' calls to end looks again so soon.
const LOOK_AGAIN: Millis = Millis(15);
/// After so long without a call nothing is known of an account's load any more.
const FORGOTTEN: Millis = Millis(300_000);
/// A wait for the pace from here on counts as a closed gate: an alternate may be asked meanwhile.
const LONG_WAIT: Millis = Millis(2_000);

/// How calls on one account are let through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    members: Vec<Member>,
    /// Calls at once; `None` until the provider has refused something or was seen to queue.
    limit: Option<u32>,
    /// Below it the limit grows by one with every call served; above, by a quarter in a round.
    goal: u32,
    /// Calls served since the limit grew.
    grown: u32,
    /// When the limit was last reached, and when it was last lowered: only calls sent between them say that it may grow.
    full_at: Timestamp,
    cut_at: Timestamp,
    closed_until: Option<Timestamp>,
    /// Whose call is out to see whether the account serves again.
    probe: Option<u64>,
    refusals: u32,
    requests: Pace,
    tokens: Pace,
    /// Tokens of a usual call: what is asked for before the call is packed.
    usual: u64,
    strain: Strain,
    used_at: Timestamp,
}

/// A call that was let through. Not to be lost: [`Gate::leave`] takes it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    since: Timestamp,
    requests: Mark,
    tokens: Mark,
    need: u64,
}

/// Not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// When to ask again, at the latest.
    pub until: Timestamp,
    /// The account is closed, or will be short for long: asking elsewhere is worth it.
    pub closed: bool,
}

/// What a call that passed the gate says about the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// It was served.
    Served {
        /// How long it took, where that is known.
        timing: Option<Timing>,
    },
    /// It was refused for rate or load.
    Refused {
        /// How long the provider asked to wait.
        retry_after: Option<Millis>,
    },
    /// Something else went wrong.
    Neither,
    /// It was never sent.
    Unsent,
}

impl Gate {
    /// Lets one call through, or says when to ask again.
    ///
    /// # Errors
    /// [`Wait`]
    pub fn enter(&mut self, who: &Visitor, now: Timestamp) -> Result<Pass, Wait> {
        self.flow(now);
        let me = self.seat(who, now).ok_or(Wait { until: now + LOOK_AGAIN, closed: false })?;
        let need = self.usual.max(self.members[me].needs);
        if let Err(wait) = self.may(me, need, now) {
            // Kept in mind until it should have come back.
            self.members[me].waits_until = wait.until + LOOK_AGAIN + LOOK_AGAIN;
            return Err(wait);
        }
        if self.closed_until.take().is_some() {
            self.probe = Some(who.id);
        }
        self.requests.take(1);
        self.tokens.take(need);
        let member = &mut self.members[me];
        (member.waits_until, member.in_flight) = (Timestamp::default(), member.in_flight.saturating_add(1));
        member.turns = member.turns.saturating_add(1);
        if self.limit.is_some_and(|limit| self.in_flight() >= limit) {
            self.full_at = now;
        }
        Ok(Pass { since: now, requests: self.requests.mark(1), tokens: self.tokens.mark(need), need })
    }

    fn may(&self, me: usize, need: u64, now: Timestamp) -> Result<(), Wait> {
        let soon = |closed: bool| Wait { until: now + LOOK_AGAIN, closed };
        if let Some(until) = self.closed_until.filter(|until| now < *until) {
            return Err(Wait { until, closed: true });
        }
        if self.probe.is_some() {
            return Err(soon(true));
        }
        if self.limit.is_some_and(|limit| self.in_flight() >= limit) {
            return Err(soon(false));
        }
        if !self.requests.has(1) || !self.tokens.has(need) {
            let until = self.requests.has_at(1, now).max(self.tokens.has_at(need, now)).max(now + Millis(1));
            return Err(Wait { until, closed: until - now >= LONG_WAIT });
        }
        if self.gives_way(me, need, now) { Err(soon(false)) } else { Ok(()) }
    }

    /// A call that was let through is packed: what it needs takes the place of the guess. `false`: it has to wait for
    /// that, and its pass is to be given back as [`Passed::Unsent`].
    pub fn weigh(&mut self, who: u64, pass: &mut Pass, tokens: u64, now: Timestamp) -> bool {
        self.flow(now);
        self.tokens.instead(pass.need, 0);
        let fits = self.tokens.has(tokens);
        self.tokens.instead(0, tokens);
        pass.need = tokens;
        pass.tokens = self.tokens.mark(tokens);
        self.usual = if self.usual == 0 { tokens } else { self.usual - self.usual / 8 + tokens / 8 };
        if let Some(member) = self.members.iter_mut().find(|member| member.id == who) {
            member.needs = if fits { 0 } else { tokens };
        }
        fits
    }

    /// A call that was let through is over.
    /// `took`: from its sending on.
    pub fn leave(&mut self, who: u64, pass: Pass, passed: Passed, told: Option<&RateLimits>, took: Millis, now: Timestamp) {
        self.flow(now);
        self.used_at = now;
        let was = self.in_flight();
        if let Some(member) = self.members.iter_mut().find(|member| member.id == who) {
            member.in_flight = member.in_flight.saturating_sub(1);
            member.turns -= u64::from(passed == Passed::Unsent && member.turns > 0);
        }
        if passed == Passed::Unsent {
            self.requests.instead(1, 0);
            self.tokens.instead(pass.need, 0);
            if self.probe.take_if(|probe| *probe == who).is_some() {
                self.closed_until = Some(now); // the next one is the probe
            }
            return;
        }
        if matches!(passed, Passed::Refused { .. }) {
            // A refused call takes nothing; where that is not so, the headers of the next one say it.
            self.requests.refused(1, pass.requests);
            self.tokens.refused(pass.need, pass.tokens);
        } else {
            self.requests.end(1);
            self.tokens.end(pass.need);
        }
        if let Some(told) = told {
            let late = Millis((now - pass.since).0.saturating_sub(took.0));
            self.requests.learn(told.limit_requests, told.remaining_requests, told.reset_requests, pass.requests, late);
            self.tokens.learn(told.limit_tokens, told.remaining_tokens, told.reset_tokens, pass.tokens, late);
        }
        let probed = self.probe.take_if(|probe| *probe == who).is_some();
        match passed {
            Passed::Served { timing } => {
                self.refusals = 0;
                self.grow(pass.since);
                let held = self.limit.is_some();
                match timing.and_then(|timing| self.strain.note(timing, pass.since, was, held, now)) {
                    Some(Finding::Queues(enough)) => {
                        self.limit = Some(self.limit.unwrap_or(u32::MAX).min(enough));
                        (self.goal, self.cut_at) = (self.goal.min(enough), now);
                    }
                    Some(Finding::NotOurs) => self.limit = None,
                    None => {}
                }
            }
            Passed::Refused { retry_after } => self.refused(was, probed, retry_after, now),
            Passed::Neither | Passed::Unsent => {}
        }
    }

    fn grow(&mut self, sent: Timestamp) {
        let counts = sent >= self.cut_at && self.full_at >= sent;
        let Some(limit) = self.limit.as_mut().filter(|_| counts) else { return };
        self.grown = self.grown.saturating_add(1);
        if *limit < self.goal || self.grown >= 4 {
            self.grown = 0;
            *limit = limit.saturating_add(1);
        }
    }

    fn refused(&mut self, was: u32, probed: bool, retry_after: Option<Millis>, now: Timestamp) {
        self.refusals = self.refusals.saturating_add(1);
        // Calls sent together are refused together: they halve it once.
        if self.closed_until.is_none_or(|until| now >= until) {
            if !probed {
                self.goal = (was / 2).max(1);
            }
            // Where nothing is left in the minute, the number at once was not the reason.
            let known = self.requests.is_known() || self.tokens.is_known();
            let spent = known && (!self.requests.has(1) || !self.tokens.has(self.usual.max(1)));
            self.limit = Some(if spent { self.goal } else { 1 });
            (self.grown, self.cut_at) = (0, now);
        }
        let silent = Millis(SILENT_CLOSE.0 << self.refusals.min(4).saturating_sub(1));
        let wait = retry_after.unwrap_or(silent).min(LONGEST_CLOSE);
        self.closed_until = self.closed_until.max(Some(now + wait));
    }

    fn flow(&mut self, now: Timestamp) {
        if self.in_flight() == 0 {
            (self.requests.out, self.tokens.out) = (0, 0); // what the dead had out never ends
        }
        if self.in_flight() == 0 && now - self.used_at > FORGOTTEN {
            (self.limit, self.goal, self.grown, self.refusals) = (None, 0, 0, 0);
            self.strain = Strain::default();
            self.used_at = now;
        }
        self.requests.flow(now);
        self.tokens.flow(now);
    }

    /// When a closed gate opens.
    pub fn opens_at(&self) -> Option<Timestamp> {
        self.closed_until
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> u32 {
        self.members.iter().fold(0, |sum, member| sum.saturating_add(member.in_flight))
    }

    /// Calls at once, where there is a limit.
    pub fn limit(&self) -> Option<u32> {
        self.limit
    }
}
