//! The caps of a policy, as the ledgers take them: those of the run itself, and those that it shares with the home.

use crate::budget::{Caps, HomeCap, Measure, RoleCaps, Scope};
use crate::policy::{Policy, QuotaWindow};

/// Caps that the run's own ledger keeps.
pub(super) fn of_run(policy: &Policy) -> Caps {
    let budget = &policy.budget;
    let role = |usd, tokens| RoleCaps { usd, tokens };
    Caps {
        run: budget.run_usd,
        run_tokens: budget.run_tokens,
        roles: [
            role(budget.planner_usd, budget.planner_tokens),
            role(budget.executor_usd, budget.executor_tokens),
            role(budget.reviewer_usd, budget.reviewer_tokens),
        ],
        subtask: budget.subtask_usd,
        attempt: budget.attempt_usd,
        call: budget.call_usd,
    }
}

/// Caps that all runs of the home keep together.
pub(super) fn of_home(policy: &Policy) -> Vec<HomeCap> {
    let budget = &policy.budget;
    let usd = |usd: Option<crate::units::NanoUsd>| usd.map(|usd| usd.0);
    let caps = [
        (Scope::Day, Measure::NanoUsd, usd(budget.day_usd)),
        (Scope::Day, Measure::Tokens, budget.day_tokens),
        (Scope::Home, Measure::NanoUsd, usd(budget.home_usd)),
    ];
    let caps = caps.into_iter().filter_map(|(scope, measure, cap)| Some(HomeCap { scope, measure, cap: cap? }));
    let window = |(name, window): (&String, &QuotaWindow)| HomeCap {
        scope: Scope::Window { name: name.clone(), span: window.span },
        measure: Measure::Units,
        cap: window.units.0,
    };
    caps.chain(policy.quota.windows.iter().map(window)).collect()
}
