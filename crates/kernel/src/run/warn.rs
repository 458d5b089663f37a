//! Warnings: said once for each cap, when four fifths of it are spent, and once more after it moved.

use super::Run;
use super::event::{Caller, Event};
use crate::budget::{Measure, Near, Scope};

impl Run {
    /// Looks at the caps that a call counted against.
    pub(super) fn watch_caps(&mut self, caller: &Caller) {
        let subtask = match caller {
            Caller::Executor { unit, .. } => Some(Scope::Subtask(unit.subtask.clone())),
            _ => None,
        };
        let scopes = [Some(Scope::Run), Some(Scope::Role(caller.role())), subtask];
        let mut near = Vec::new();
        for scope in scopes.into_iter().flatten() {
            for measure in [Measure::NanoUsd, Measure::Tokens] {
                let balance = self.state.ledger.balance(&scope, measure);
                near.extend(balance.and_then(|b| Near::of(&scope, measure, b.settled, b.cap?)));
            }
        }
        self.warn_of(near);
    }

    /// Records what was not said yet.
    pub(super) fn warn_of(&mut self, near: Vec<Near>) {
        for near in near {
            if self.state.warned.get(&(near.scope.clone(), near.measure)) != Some(&near.cap) {
                self.record(Event::BudgetWarning { near });
            }
        }
    }
}
