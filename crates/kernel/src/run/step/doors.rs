//! Who may call in one step: the gates of the accounts, and the caps on a tier and on a type.
//!
//! Like waiting for a sibling it only delays, and is no part of the fold; where a call went instead of where it should
//! have gone is on record in its `call.started`.

use std::collections::BTreeMap;

use crate::ids::{ModelRef, Tier};
use crate::run::Run;
use crate::run::state::{Key, State};

/// What the gate of a model's account answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// A slot was granted; it is the caller's to give back.
    Open,
    /// Not now, but soon.
    Wait,
    /// The account refuses, or will be short for long.
    Closed,
}

/// Asks the gate of a model's account for a slot.
pub type Gate<'a> = dyn FnMut(&ModelRef) -> Door + 'a;

/// The gates in one step: one that refused is not asked again.
pub(in crate::run) struct Doors<'a, 'b> {
    gate: &'a mut Gate<'b>,
    shut: Vec<(ModelRef, Door)>,
    /// Calls that may still begin on tiers that have a cap.
    room: BTreeMap<Tier, u32>,
}

impl<'a, 'b> Doors<'a, 'b> {
    pub(super) fn new(gate: &'a mut Gate<'b>, state: &State) -> Self {
        let mut room = state.start().policy.limits.max_on_tier.clone();
        if !room.is_empty() {
            for call in state.calls.values() {
                room.entry(call.tier.clone()).and_modify(|left| *left = left.saturating_sub(1));
            }
        }
        Self { gate, shut: Vec::new(), room }
    }

    pub(in crate::run) fn enter(&mut self, tier: &Tier, model: &ModelRef) -> Door {
        if self.room.get(tier) == Some(&0) {
            return Door::Wait;
        }
        if let Some((_, shut)) = self.shut.iter().find(|(other, _)| other == model) {
            return *shut;
        }
        let door = (self.gate)(model);
        if door != Door::Open {
            self.shut.push((model.clone(), door));
        } else if let Some(left) = self.room.get_mut(tier) {
            *left -= 1;
        }
        door
    }
}

impl Run {
    /// Whether a unit's next call may begin: on its model, or on an alternate of the tier while that one's account is closed.
    pub(super) fn enters(&mut self, doors: &mut Doors<'_, '_>, key: Key, tier: &Tier, model: &ModelRef) -> bool {
        match doors.enter(tier, model) {
            Door::Open => true,
            Door::Closed if self.state.start().policy.limits.spill => {
                let elsewhere = |other: &&&ModelRef| other.provider() != model.provider();
                let stand_ins = self.stand_ins(Some(key), tier);
                let open = stand_ins.iter().filter(elsewhere).find(|other| doors.enter(tier, other) == Door::Open);
                let open = open.map(|other| (*other).clone());
                open.is_some_and(|other| self.session.spilled.insert(key, other).is_none())
            }
            Door::Wait | Door::Closed => false,
        }
    }

    /// Whether another attempt of a unit's type may begin.
    pub(super) fn has_room(&self, key: Key) -> bool {
        let kind = self.state.task(key).spec.kind;
        let most = self.state.start().policy.limits.max_of_type.get(&kind);
        most.is_none_or(|most| self.state.active_of.get(&kind).is_none_or(|active| active < most))
    }
}
