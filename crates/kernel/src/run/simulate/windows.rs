//! A plan played through within quota windows: what it weighs, how much of it fits, when the rest goes on.
//!
//! The windows start empty and nobody else uses them. A call counts from its start; it starts once every window has room for it.

use crate::budget::{Rolling, Window};
use crate::call::Service;
use crate::catalog::Catalog;
use crate::ids::{ModelRef, Tier};
use crate::plan::Plan;
use crate::policy::Policy;
use crate::time::{Millis, Timestamp};
use crate::tool::ToolSpec;
use crate::units::QuotaUnits;

use std::sync::Arc;

/// Openings of one window that are told: the first of them.
const MOST_OPENINGS: usize = 100;
/// Openings closer together than this part of the window are one.
const APART: u64 = 100;

/// What a plan's subtasks take of a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weighed {
    /// Units of all its calls.
    pub units: QuotaUnits,
    /// What the same calls would weigh on the highest tier.
    pub all_flagship: QuotaUnits,
    /// Its calls.
    pub calls: u64,
    /// From the first start to the end of the last subtask, pauses included.
    pub makespan_ms: Millis,
    /// By name.
    pub windows: Vec<Fitted>,
}

/// How a plan fits into one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// Its name.
    pub name: String,
    /// How long a unit counts.
    pub span: Millis,
    /// How many may count at once.
    pub units: QuotaUnits,
    /// Subtasks that start before it is over for the first time.
    pub subtasks: u64,
    /// When work goes on that had to wait for this window, from the start of the plan.
    pub opens: Vec<Millis>,
}

impl Weighed {
    /// Calls of a mix like this plan's that fit into so many units; `None` when they weigh nothing.
    pub fn calls_in(&self, units: QuotaUnits) -> Option<u64> {
        let calls = (u128::from(units.0) * u128::from(self.calls)).checked_div(u128::from(self.units.0))?;
        Some(u64::try_from(calls).unwrap_or(u64::MAX))
    }

    /// How many times the work of all-flagship fits into the same window; `None` when it weighs nothing.
    pub fn work_multiple(&self) -> Option<f64> {
        (!self.units.is_zero()).then(|| self.all_flagship.0 as f64 / self.units.0 as f64)
    }

    /// The part of the units of all-flagship that is not used.
    pub fn saving(&self) -> f64 {
        if self.all_flagship.is_zero() { 0.0 } else { 1.0 - self.units.0 as f64 / self.all_flagship.0 as f64 }
    }
}

/// Plays a checked plan through within the windows of its policy; `fast`: every call asks for priority service.
///
/// # Errors
/// Why it cannot be played to its end, in words.
pub fn weigh(
    plan: &Plan,
    policy: &Policy,
    fast: bool,
    catalog: Arc<Catalog>,
    tools: Arc<[ToolSpec]>,
    now: Timestamp,
) -> Result<Weighed, String> {
    let mut windows = Windows::new(policy, fast, now);
    let played = super::play(plan, policy, catalog, tools, now, Some(&mut windows))?;
    Ok(Weighed {
        units: QuotaUnits(windows.units),
        all_flagship: QuotaUnits(windows.all_flagship),
        calls: windows.calls,
        makespan_ms: played.makespan_ms,
        windows: windows.each.into_iter().map(|one| one.fitted).collect(),
    })
}

/// The windows while a plan is played.
pub(super) struct Windows {
    policy: Policy,
    service: Service,
    since: Timestamp,
    past: Rolling,
    each: Vec<One>,
    units: u64,
    all_flagship: u64,
    calls: u64,
    /// The first instant at which something goes on that has to wait now, and for which window.
    opens: Option<(Timestamp, usize)>,
}

struct One {
    window: Window,
    fitted: Fitted,
}

impl Windows {
    fn new(policy: &Policy, fast: bool, since: Timestamp) -> Self {
        let one = |(name, window): (&String, &crate::policy::QuotaWindow)| One {
            window: Window { span: window.span, cap: window.units.0 },
            fitted: Fitted { name: name.clone(), span: window.span, units: window.units, subtasks: 0, opens: Vec::new() },
        };
        Self {
            each: policy.quota.windows.iter().map(one).collect(),
            policy: policy.clone(),
            service: if fast { Service::Priority } else { Service::Default },
            since,
            past: Rolling::default(),
            units: 0,
            all_flagship: 0,
            calls: 0,
            opens: None,
        }
    }

    /// Takes a call in, or says that it has to wait.
    pub(super) fn admit(&mut self, tier: &Tier, model: &ModelRef, now: Timestamp) -> Result<bool, String> {
        let need = self.policy.units_of(tier, model, self.service).0;
        let mut wait = None;
        for (n, one) in self.each.iter().enumerate() {
            let Some(opens) = one.window.opens_for(&self.past, 0, need, now) else {
                let (name, units) = (&one.fitted.name, one.fitted.units);
                return Err(format!(
                    "a call on {tier} weighs {} units, more than the {units} of the quota window {name:?}",
                    QuotaUnits(need)
                ));
            };
            if opens > now && wait.is_none_or(|(known, _)| opens > known) {
                wait = Some((opens, n));
            }
        }
        if let Some(wait) = wait {
            self.opens = self.opens.map_or(Some(wait), |known| Some(known.min(wait)));
            return Ok(false);
        }
        let top = self.policy.top();
        let flagship = self.policy.tier(top).map_or(need, |bound| self.policy.units_of(top, &bound.model, self.service).0);
        self.past.add(now, need);
        self.calls += 1;
        self.units = self.units.saturating_add(need);
        self.all_flagship = self.all_flagship.saturating_add(flagship);
        for one in &mut self.each {
            one.fitted.subtasks += u64::from(now < self.since + one.window.span);
        }
        Ok(true)
    }

    /// When something goes on that waits; asked once a turn, and forgotten.
    pub(super) fn opening(&mut self) -> Option<(Timestamp, usize)> {
        self.opens.take()
    }

    /// The clock stands at an opening.
    pub(super) fn opened(&mut self, (at, n): (Timestamp, usize)) {
        let one = &mut self.each[n];
        let (since, apart) = (at - self.since, one.window.span.0 / APART);
        let known = one.fitted.opens.last().is_some_and(|last| since.0 < last.0 + apart);
        if !known && one.fitted.opens.len() < MOST_OPENINGS {
            one.fitted.opens.push(since);
        }
    }
}
