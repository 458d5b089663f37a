//! What a run cost, and who spent it: a fold of its calls. It prices nothing; amounts stand in the events.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::budget::Role;
use crate::ids::{SubtaskId, Tier};
use crate::run::{CallNo, Event};
use crate::units::NanoUsd;
use crate::usage::Usage;

/// Calls, tokens and money of one tier, role or subtask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Calls that ended and were sent.
    pub calls: u64,
    /// Tokens as reported.
    pub tokens: Usage,
    /// What they cost.
    pub cost: NanoUsd,
    /// What the same tokens would have cost on the flagship: computed, not measured.
    pub all_flagship: NanoUsd,
}

impl Spent {
    fn add(&mut self, usage: Option<&Usage>, cost: NanoUsd, flagship: NanoUsd) {
        self.calls += 1;
        if let Some(usage) = usage {
            self.tokens += *usage;
        }
        self.cost += cost;
        self.all_flagship += flagship;
    }

    /// The share of its input that came from the provider's cache; `None` without input.
    pub fn cached_share(&self) -> Option<f64> {
        let (cached, input) = (self.tokens.cached_tokens as f64, self.tokens.input_tokens as f64);
        (input > 0.0).then(|| cached / input)
    }

    /// The saving as a share of the flagship's bill, negative when there was none; `None` without a bill.
    pub fn saving(&self) -> Option<f64> {
        saving(self.cost, self.all_flagship)
    }
}

/// What was saved as a share of the flagship's bill, negative when nothing was; `None` without a bill.
pub fn saving(cost: NanoUsd, all_flagship: NanoUsd) -> Option<f64> {
    let (flagship, cost) = (all_flagship.0 as f64, cost.0 as f64);
    (flagship > 0.0).then(|| (flagship - cost) / flagship)
}

/// The bill of a run, three ways.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bill {
    /// By tier, in the order of their names.
    pub tiers: BTreeMap<Tier, Spent>,
    /// By role.
    pub roles: BTreeMap<Role, Spent>,
    /// By subtask, its rows together; the planner's and reviewer's calls serve none.
    pub subtasks: BTreeMap<SubtaskId, Spent>,
    /// Everything.
    pub total: Spent,
    /// Calls that have not ended, and what is leased for them.
    open: BTreeMap<CallNo, (Tier, Role, Option<SubtaskId>, NanoUsd)>,
}

impl Bill {
    /// Takes one event in.
    pub fn saw(&mut self, event: &Event) {
        match event {
            Event::CallStarted { call, caller, tier, lease_usd, .. } => {
                let subtask = match caller {
                    crate::run::Caller::Executor { unit, .. } => Some(unit.subtask.clone()),
                    _ => None,
                };
                self.open.insert(*call, (tier.clone(), caller.role(), subtask, *lease_usd));
            }
            Event::CallEnded { call, usage, cost_usd, flagship_usd, sent, .. } => {
                let Some((tier, role, subtask, _)) = self.open.remove(call) else { return };
                if !sent {
                    return;
                }
                let usage = usage.as_ref();
                self.tiers.entry(tier).or_default().add(usage, *cost_usd, *flagship_usd);
                self.roles.entry(role).or_default().add(usage, *cost_usd, *flagship_usd);
                if let Some(subtask) = subtask {
                    self.subtasks.entry(subtask).or_default().add(usage, *cost_usd, *flagship_usd);
                }
                self.total.add(usage, *cost_usd, *flagship_usd);
            }
            _ => {}
        }
    }

    /// Calls under way (or lost with their engine), and what is leased for them.
    pub fn in_flight(&self) -> (usize, NanoUsd) {
        (self.open.len(), self.open.values().map(|(.., lease)| *lease).sum())
    }
}

impl Serialize for Spent {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            calls: u64,
            #[serde(flatten)]
            tokens: &'a Usage,
            cached_share: Option<f64>,
            cost_usd: serde_json::Value,
            all_flagship_cost_usd: serde_json::Value,
        }
        let (cost_usd, all_flagship_cost_usd) = (super::usd(self.cost), super::usd(self.all_flagship));
        Shown { calls: self.calls, tokens: &self.tokens, cached_share: self.cached_share(), cost_usd, all_flagship_cost_usd }.serialize(to)
    }
}
