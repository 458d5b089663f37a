//! Whether there is money for an attempt, and for which: looked at before it starts, so that none starts in vain.

use crate::budget::{Ask, Measure, Refused, Role, Scope, Try};
use crate::ids::{ModelRef, Tier};
use crate::policy::OnExhausted;
use crate::route::Route;
use crate::run::Run;
use crate::run::event::Caller;
use crate::run::state::Key;
use crate::units::NanoUsd;

/// With room for fewer worst cases than this, each start is priced before it is begun.
const TIGHT: u64 = 64;

/// What caps say to an attempt.
pub(super) enum Afford {
    /// It may start.
    Yes,
    /// Not on that tier, but on this one; why, for people.
    Cheaper(Tier, String),
    /// Not now; `ended`: not at all, and that is on record.
    No { ended: bool },
}

impl Run {
    /// Whether there is money for the first call of an attempt, looked at only where it runs short.
    pub(super) fn afford(&mut self, key: Key, route: &Route, tier: &Tier, model: &ModelRef) -> Afford {
        let below = self.state.work.get(&key).and_then(|w| w.below.clone());
        if let Some(below) = below {
            let cheaper = self.cheaper(key, route, &below);
            return match cheaper {
                Some(rung) => Afford::Cheaper(rung, format!("no room for the rest on {below}")),
                None => {
                    self.over_its_cap(key, format!("there is no room for it on {below}, and no cheaper tier that it may use has any"));
                    Afford::No { ended: true }
                }
            };
        }
        let Some(balance) = self.state.ledger.balance(&Scope::Run, Measure::NanoUsd) else { return Afford::Yes };
        let left = balance.left().saturating_sub(balance.held_back).saturating_sub(self.session.promised.0);
        let usual = self.session.usual;
        if !self.tightly_capped(key) && usual.0 > 0 && left / usual.0 >= TIGHT {
            self.session.promised += usual;
            return Afford::Yes;
        }
        let Some(ask) = self.first_ask(key, tier, model) else { return Afford::Yes };
        let worst = ask.money;
        self.session.usual = self.session.usual.max(worst);
        if let Err(refused) = self.state.ledger.admit(&ask) {
            if self.may_go_cheaper(&refused)
                && let Some(rung) = self.cheaper(key, route, tier)
            {
                return Afford::Cheaper(rung, format!("{} has no room for {tier}", refused.scope));
            }
            let caller = Caller::Executor { unit: self.state.unit(key), attempt: 1 };
            let own = refused.scope.is_of_subtask();
            self.refused(&caller, &refused);
            return Afford::No { ended: own && !self.session.leased_out.contains(&key.task) };
        }
        // With what this step has handed out already it may be too much: the next step knows better.
        if self.session.promised > NanoUsd::ZERO && worst.0 > left {
            return Afford::No { ended: false };
        }
        self.session.promised += worst;
        Afford::Yes
    }

    /// Whether a refusal may be answered by a cheaper tier: a subtask's own cap always, any other where that was asked for.
    pub(in crate::run) fn may_go_cheaper(&self, refused: &Refused) -> bool {
        let asked_for = self.state.start().policy.budget.on_exhausted == OnExhausted::Cheaper;
        let paced = matches!(refused.scope, Scope::Window { .. });
        !refused.may_fit_later() && !refused.frozen && !paced && (asked_for || refused.scope.is_of_subtask())
    }

    /// The highest rung below a tier that a unit may use, has not failed on, and has room for.
    pub(in crate::run) fn cheaper(&self, key: Key, route: &Route, tier: &Tier) -> Option<Tier> {
        let policy = &self.state.start().policy;
        let spec = &self.state.task(key).spec;
        if route.pinned {
            return None;
        }
        let ladder = if spec.ladder.is_empty() { policy.ladder_of(spec.kind) } else { &spec.ladder };
        let here = ladder.iter().position(|rung| rung == tier)?;
        let failed = |rung: &Tier| {
            let work = self.state.work.get(&key);
            work.is_some_and(|w| w.tried.iter().any(|t| t.tier == *rung && t.failure.is_some()))
        };
        let may = |rung: &&Tier| {
            let never = policy.tier(rung).is_none_or(|bound| bound.never.contains(&spec.kind));
            !never && !failed(rung) && !route.skipped.iter().any(|skipped| skipped.tier == **rung)
        };
        let fits = |rung: &&Tier| {
            let ask = policy.tier(rung).and_then(|bound| self.first_ask(key, rung, &bound.model));
            ask.is_some_and(|ask| self.state.ledger.admit(&ask).is_ok())
        };
        ladder[..here].iter().rev().filter(may).find(fits).cloned()
    }

    /// Whether a cap other than the run's dollars bounds a unit.
    fn tightly_capped(&self, key: Key) -> bool {
        let budget = &self.state.start().policy.budget;
        let caps = [budget.call_usd, budget.attempt_usd, budget.subtask_usd, budget.executor_usd, self.state.task(key).spec.max_cost_usd];
        caps.iter().any(Option::is_some) || budget.executor_tokens.is_some() || budget.run_tokens.is_some()
    }

    /// The worst case of the first call of an attempt that has not begun; file excerpts aside.
    fn first_ask(&self, key: Key, tier: &Tier, model: &ModelRef) -> Option<Ask> {
        let prepared = self.first_call(key, tier, model)?;
        Some(Ask { role: Role::Executor, attempt: Some(Try { row: key.row, no: 0 }), ..prepared.ask })
    }
}
