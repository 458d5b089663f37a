//! Whose turn it is: interactive runs before bulk; runs of one class share alike what there is too little of.
//!
//! Nobody gives way to a run that does not wait: what one does not want, another takes at once.

use super::Gate;
use crate::time::Timestamp;

/// Runs at one gate; further ones wait until one of these is gone.
pub(super) const MOST_MEMBERS: usize = 256;

/// How urgent a run's calls are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Class {
    /// Somebody waits for it.
    #[default]
    Interactive,
    /// Rows of a `for_each`: it fills what is left.
    Bulk,
}

/// Who knocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visitor {
    /// Its own among all runs of the home.
    pub id: u64,
    /// Its process, and when that started: tells a dead one from another that has its number.
    pub process: (u32, u64),
    /// How urgent it is.
    pub class: Class,
}

/// A run at the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub(super) id: u64,
    pub(super) process: (u32, u64),
    pub(super) class: Class,
    pub(super) in_flight: u32,
    /// Calls let through; who comes back after a pause starts where the others are.
    pub(super) turns: u64,
    /// It was turned away, and is expected back until then.
    pub(super) waits_until: Timestamp,
    /// Tokens of the call it could not make.
    pub(super) needs: u64,
}

impl Member {
    /// Its own among all runs of the home.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its process, and when that started.
    pub fn process(&self) -> (u32, u64) {
        self.process
    }

    fn is_active(&self, now: Timestamp) -> bool {
        self.in_flight > 0 || self.waits_until > now
    }
}

impl Gate {
    /// Where a visitor stands among the members; `None` when there are too many.
    pub(super) fn seat(&mut self, who: &Visitor, now: Timestamp) -> Option<usize> {
        let known = self.members.iter().position(|member| member.id == who.id);
        let at = match known {
            Some(at) => at,
            None if self.members.len() >= MOST_MEMBERS => return None,
            None => {
                let (id, process, class) = (who.id, who.process, who.class);
                self.members.push(Member { id, process, class, in_flight: 0, turns: 0, waits_until: Timestamp::default(), needs: 0 });
                self.members.len() - 1
            }
        };
        self.members[at].class = who.class;
        if !self.members[at].is_active(now) {
            let others = self.members.iter().filter(|m| m.id != who.id && m.class == who.class && m.is_active(now));
            let behind = others.map(|member| member.turns).min().unwrap_or(0);
            let member = &mut self.members[at];
            member.turns = member.turns.max(behind);
        }
        Some(at)
    }

    /// Whether a member stands back for another one that waits.
    pub(super) fn gives_way(&self, me: usize, need: u64, now: Timestamp) -> bool {
        let mine = &self.members[me];
        let waits = |other: &&Member| other.id != mine.id && other.waits_until > now && other.class <= mine.class;
        let waiting: Vec<&Member> = self.members.iter().filter(waits).collect();
        if waiting.is_empty() {
            return false;
        }
        if waiting.iter().any(|other| other.class < mine.class) {
            return true;
        }
        if let Some(limit) = self.limit {
            let active = self.members.iter().filter(|m| m.class == mine.class && (m.id == mine.id || m.is_active(now))).count();
            let share = limit.div_ceil(u32::try_from(active).unwrap_or(u32::MAX));
            if mine.in_flight >= share && waiting.iter().any(|other| other.in_flight < share) {
                return true;
            }
        }
        // Enough for one call of each that waits, and nobody has to stand back.
        let each = waiting.len() as u64 + 1;
        let short = !self.requests.has(each) || !self.tokens.has(need.saturating_mul(each));
        short && waiting.iter().any(|other| other.turns < mine.turns)
    }

    /// The runs at the gate.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// A run is gone: its calls in flight hold nothing any more.
    pub fn forget(&mut self, gone: impl Fn(&Member) -> bool) {
        let probe = self.probe.filter(|probe| self.members.iter().any(|member| member.id == *probe && gone(member)));
        if probe.is_some() {
            self.probe = None;
            self.closed_until = Some(self.used_at); // long past: the next one is the probe
        }
        self.members.retain(|member| !gone(member));
    }

    /// A run that others took for gone is back, with its calls in flight.
    pub fn readmit(&mut self, who: &Visitor, in_flight: u32, now: Timestamp) {
        if let Some(at) = self.seat(who, now) {
            self.members[at].in_flight = self.members[at].in_flight.max(in_flight);
        }
    }
}
