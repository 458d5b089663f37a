//! What a plan will take: low, expected and high, in money, time, calls by tier and units of a quota.
//!
//! Routes and prompts are those of the run itself ([`crate::run::simulate`]). **Low**: every subtask passes at its first
//! attempt, with one short call whose prompt the cache serves; what has a `when` is skipped. **Expected**: as history says,
//! else as [`prior`] assumes; attempts fail at the rate seen and go on as a run lets them. **High**: every subtask fails on
//! each rung of its climb but the last, every answer is as long as its limit, the review sends the work back once.
//! High is no bound; the run's cap is one, and high stops there. Nothing here is a promise, and nothing is spent for it.

mod prior;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::history::History;
use super::usd;
use crate::call::Service;
use crate::catalog::{Catalog, Day, cost};
use crate::ids::{ModelRef, SubtaskId, Tier};
use crate::plan::{ForEach, Plan, Subtask};
use crate::policy::{Billing, Policy, Who};
use crate::role::Role;
use crate::run::{Estimate, Played, Preview, Seen, simulate, waits_for};
use crate::schedule::{self, Graph, call_ms, calls_expected};
use crate::time::{Millis, Timestamp};
use crate::tool::ToolSpec;
use crate::units::{NanoUsd, QuotaUnits};
use crate::usage::Usage;
use prior::{Shape, TOOL_OUTPUT};

/// Rows of a list that a subtask will return: few, usual, many; nobody can know.
const LIST: [f64; 3] = [1.0, 10.0, 100.0];
/// The share of its tier's soft limit that excerpts of files fill, usually.
const EXCERPTS: f64 = 0.25;
/// Excerpts on a tier without such a limit, in tokens: what a run gathers at most.
const MOST_EXCERPTS: f64 = 100_000.0;
/// How often a `when` holds, usually.
const WHEN: f64 = 0.5;
/// By how much the estimate of four bytes a token may be off.
const TOKENS: (f64, f64) = (0.5, 1.5);

/// Rows of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputRows {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a preview is made from.
#[derive(Debug, Clone, Copy)]
pub struct Priced<'a> {
    /// The plan, checked.
    pub plan: &'a Plan,
    /// The policy that will rule.
    pub policy: &'a Policy,
    /// Models and prices.
    pub catalog: &'a Arc<Catalog>,
    /// Known tools.
    pub tools: &'a Arc<[ToolSpec]>,
    /// Earlier runs.
    pub history: &'a History,
    /// The input, if there is one.
    pub rows: Option<InputRows>,
    /// Decides the prices.
    pub now: Timestamp,
}

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Low,
    Expected,
    High,
}

const CASES: [Case; 3] = [Case::Low, Case::Expected, Case::High];

impl Case {
    fn of<T: Copy>(self, three: [T; 3]) -> T {
        three[self as usize]
    }
}

/// Prices a plan.
///
/// # Errors
/// Why it cannot be worked off at all, in words.
pub fn preview(of: &Priced<'_>) -> Result<Preview, String> {
    let simulated = simulate(of.plan, of.policy, of.catalog.clone(), of.tools.clone(), of.now)?;
    let place: HashMap<&SubtaskId, &Subtask> = of.plan.subtasks.iter().map(|s| (&s.id, s)).collect();
    let mut seen: BTreeMap<(Who, Tier), Seen> = BTreeMap::new();
    let [low, expected, high] = CASES.map(|case| {
        let mut sum = Sum::default();
        let mut durations = HashMap::new();
        for played in &simulated.played {
            let Some(spec) = place.get(&played.subtask) else { continue };
            let units = of.units(spec, &place, case) * if spec.when.is_some() { case.of([0.0, WHEN, 1.0]) } else { 1.0 };
            let attempt = of.subtask(spec, played, case);
            durations.insert(played.subtask.clone(), of.spread(attempt.ms, units));
            sum.add(&attempt, units);
            if case == Case::Expected {
                let who = Who::Type(spec.kind);
                let from = attempt.seen;
                let entry =
                    seen.entry((who, played.tier.clone())).or_insert_with(|| Seen { who, tier: played.tier.clone(), units: 0, from });
                entry.units += units.round().max(1.0) as u64;
            }
        }
        let review = simulated.review.as_ref().map(|review| (review, of.review(review, case)));
        let mut end = of.makespan(&durations, &sum);
        if let Some((played, review)) = &review {
            sum.add(review, 1.0);
            end += review.ms;
            if case == Case::Expected {
                let key = (Who::Reviewer, played.tier.clone());
                seen.insert(key, Seen { who: Who::Reviewer, tier: played.tier.clone(), units: 1, from: review.seen });
            }
        }
        sum.estimate(of.policy, end)
    });
    let expected = expected.at_least(&low);
    let high = high.at_least(&expected);
    let cap = of.policy.budget.run_usd;
    let capped = high.cost > cap;
    let high = Estimate { cost: high.cost.min(cap.max(expected.cost)), ..high };
    let seen: Vec<Seen> = seen.into_values().collect();
    let assumed = of.assumed(&place, &seen);
    Ok(Preview {
        low,
        expected,
        high,
        capped,
        subtasks: of.plan.subtasks.len() as u64,
        rows: of.rows.map(|rows| rows.count),
        seen,
        assumed,
    })
}

/// What one unit takes, all its attempts together.
#[derive(Debug, Default)]
struct Taken {
    /// In nano-dollars.
    cost: f64,
    ms: f64,
    calls: Vec<(Tier, f64)>,
    /// In thousandths.
    quota: f64,
    seen: u64,
}

/// All units together.
#[derive(Debug, Default)]
struct Sum {
    cost: f64,
    work_ms: f64,
    calls: BTreeMap<Tier, f64>,
    quota: f64,
}

impl Sum {
    fn add(&mut self, taken: &Taken, times: f64) {
        self.cost += taken.cost * times;
        self.work_ms += taken.ms * times;
        self.quota += taken.quota * times;
        for (tier, n) in &taken.calls {
            *self.calls.entry(tier.clone()).or_default() += n * times;
        }
    }

    fn estimate(&self, policy: &Policy, ms: f64) -> Estimate {
        let on = |tier: &Tier| (tier.clone(), self.calls.get(tier).copied().unwrap_or_default().round() as u64);
        Estimate {
            cost: NanoUsd(self.cost.ceil() as u64),
            duration: Millis(ms.round() as u64),
            calls: policy.ladder.iter().map(on).collect(),
            units: QuotaUnits(self.quota.round() as u64),
        }
    }
}

impl Priced<'_> {
    /// How often a subtask's work is done: once, or for each row.
    fn units(&self, spec: &Subtask, place: &HashMap<&SubtaskId, &Subtask>, case: Case) -> f64 {
        match origin(spec, place) {
            None => 1.0,
            Some(None) => self.rows.map_or(case.of(LIST), |rows| rows.count as f64),
            Some(Some(_)) => case.of(LIST),
        }
    }

    /// Bytes of a row, as tokens.
    fn row_tokens(&self, spec: &Subtask) -> f64 {
        match (&spec.for_each, self.rows) {
            (Some(_), Some(rows)) if rows.count > 0 => rows.bytes as f64 / rows.count as f64 / 4.0,
            _ => 0.0,
        }
    }

    fn subtask(&self, spec: &Subtask, played: &Played, case: Case) -> Taken {
        let limit = f64::from(self.policy.limits.output_tokens.executor);
        let steps = climb(played, spec.max_attempts.unwrap_or(self.policy.limits.max_attempts));
        let steps = if case == Case::Low { &steps[..1] } else { &steps[..] };
        let who = Who::Type(spec.kind);
        let tools = !spec.tools.is_empty() || !spec.mcp_servers.is_empty();
        let (mut taken, mut reached) = (Taken::default(), 1.0);
        for (n, tier) in steps.iter().enumerate() {
            let model = self.model(played, tier);
            let service = self.service(Some(spec), &model);
            let agent = self.policy.agent(&model);
            let alone = agent.is_some() || !tools;
            let assumed = if alone { 1.0 } else { calls_expected(spec) as f64 };
            let call_ms = match spec.simulate_ms {
                Some(given) => given.0 as f64 / assumed,
                None => call_ms(tier) as f64,
            };
            let shape = Shape::of(self.history.of(self.plan.pipeline.as_deref(), who, tier), who, tier, self.policy, assumed, call_ms);
            if n == 0 {
                taken.seen = shape.seen;
            }
            let most = f64::from(self.policy.max_tool_calls(tier).saturating_add(1).min(self.policy.limits.max_turns));
            let calls = case.of([1.0, shape.calls, if alone { 1.0 } else { (shape.calls.max(assumed) * 2.0).min(most).max(1.0) }]);
            let output = case.of([shape.output.0, shape.output.1, limit]);
            let opening = played.input_tokens as f64 + self.row_tokens(spec);
            let excerpts = if spec.files.is_empty() { 0.0 } else { self.excerpts(tier) };
            let results = waits_for(spec).len() as f64 * limit;
            let usual = shape.input.unwrap_or(opening + excerpts * EXCERPTS);
            // Every later call carries what was said and brought before it.
            let grows = |brought: f64| (calls - 1.0).max(0.0) / 2.0 * brought;
            let input = match (case, shape.input) {
                (Case::Low, _) => opening * TOKENS.0,
                (Case::Expected, Some(seen)) => seen.max(opening * TOKENS.0),
                (Case::Expected, None) => usual + grows(TOOL_OUTPUT + output),
                (Case::High, _) => usual.max((opening + excerpts + results) * TOKENS.1) + grows(limit + 4.0 * TOOL_OUTPUT),
            };
            let cached = case.of([1.0, shape.cached, 0.0]);
            let chance = case.of([1.0, reached, 1.0]);
            taken.cost += chance * calls * self.dollars(&model, service, input, cached, output);
            taken.ms += chance * calls * case.of([shape.ms.0.min(call_ms) * 0.5, shape.ms.0, shape.ms.1.max(call_ms)]);
            taken.quota += chance * calls * self.policy.units_of(tier, &model, service).0 as f64;
            taken.calls.push((tier.clone(), chance * calls));
            reached *= 1.0 - shape.pass;
        }
        taken
    }

    fn review(&self, played: &Played, case: Case) -> Taken {
        let (who, tier) = (Who::Reviewer, &played.tier);
        let service = self.service(None, &played.model);
        let stats = self.history.of(self.plan.pipeline.as_deref(), who, tier);
        let shape = Shape::of(stats, who, tier, self.policy, 1.0, call_ms(tier) as f64);
        let limit = f64::from(self.policy.limits.output_tokens.of(Role::Reviewer, false));
        let rounds = if self.policy.limits.max_review_rounds > 0 { 2.0 } else { 1.0 };
        let calls = case.of([1.0, 1.0, rounds]);
        let opening = played.input_tokens as f64;
        let results = self.plan.subtasks.len().min(200) as f64 * f64::from(self.policy.limits.output_tokens.executor);
        // What was seen is of plans of other sizes.
        let usual = shape.input.map_or(opening, |seen| seen.clamp(opening * TOKENS.0, opening * 2.0));
        let input = case.of([opening * TOKENS.0, usual, (opening + results) * TOKENS.1]);
        let output = case.of([shape.output.0, shape.output.1, limit]);
        let cached = case.of([1.0, shape.cached, 0.0]);
        Taken {
            cost: calls * self.dollars(&played.model, service, input, cached, output),
            ms: calls * case.of([shape.ms.0 * 0.5, shape.ms.0, shape.ms.1]),
            quota: calls * self.policy.units_of(tier, &played.model, service).0 as f64,
            calls: vec![(tier.clone(), calls)],
            seen: shape.seen,
        }
    }

    /// The service a subtask's calls ask for, or the review's, as `run::prepare` decides it call by call.
    fn service(&self, spec: Option<&Subtask>, model: &ModelRef) -> Service {
        let wanted = match spec {
            Some(spec) if spec.for_each.is_some() && self.policy.may_travel(spec, model) => Service::Batch,
            Some(spec) if spec.flex => Service::Flex,
            _ if self.policy.service.fast => Service::Priority,
            _ => Service::Default,
        };
        let offered = || self.catalog.lookup(model, Day::of(self.now)).is_ok_and(|found| found.price.offers(wanted));
        if self.policy.agent(model).is_none() && offered() { wanted } else { Service::Default }
    }

    /// Nano-dollars of one call.
    fn dollars(&self, model: &ModelRef, service: Service, input: f64, cached: f64, output: f64) -> f64 {
        if self.policy.agent(model).is_some_and(|agent| agent.billing == Billing::Quota) {
            return 0.0;
        }
        let Ok(found) = self.catalog.lookup(model, Day::of(self.now)) else { return 0.0 };
        let input_tokens = input.round() as u64;
        let usage = Usage {
            input_tokens,
            cached_tokens: ((input * cached).round() as u64).min(input_tokens),
            output_tokens: output.round() as u64,
            ..Usage::default()
        };
        cost(found.price, &usage, service).0 as f64
    }

    fn model(&self, played: &Played, tier: &Tier) -> ModelRef {
        match self.policy.tier(tier) {
            Some(bound) if *tier != played.tier && !played.pinned => bound.model.clone(),
            _ => played.model.clone(),
        }
    }

    fn excerpts(&self, tier: &Tier) -> f64 {
        self.policy.tier(tier).and_then(|bound| bound.max_context_tokens).map_or(MOST_EXCERPTS, f64::from)
    }

    fn slots(&self) -> f64 {
        f64::from(self.policy.limits.max_concurrent_subagents.most().max(1))
    }

    /// How long the rows of a subtask take together, side by side.
    fn spread(&self, ms: f64, units: f64) -> u64 {
        (ms * (units / self.slots()).max(units.min(1.0))).round() as u64
    }

    /// The end of the last subtask: the graph by the scheduler's own order, and never faster than the slots are.
    fn makespan(&self, durations: &HashMap<SubtaskId, u64>, sum: &Sum) -> f64 {
        let subtasks = &self.plan.subtasks;
        let place: HashMap<&SubtaskId, usize> = subtasks.iter().enumerate().map(|(n, s)| (&s.id, n)).collect();
        let graph = Graph {
            durations: subtasks.iter().map(|s| durations.get(&s.id).copied().unwrap_or_default()).collect(),
            waits: subtasks.iter().map(|s| waits_for(s).iter().filter_map(|id| place.get(id).copied()).collect()).collect(),
        };
        let ranks = graph.longest_paths();
        let end = schedule::run(&graph, &ranks, self.slots() as usize).makespan as f64;
        end.max(sum.work_ms / self.slots())
    }

    /// What the figures rest on where nothing was seen.
    fn assumed(&self, place: &HashMap<&SubtaskId, &Subtask>, seen: &[Seen]) -> Vec<String> {
        let mut assumed = Vec::new();
        let specs = || self.plan.subtasks.iter();
        if seen.iter().any(|seen| seen.from == 0) {
            assumed.push("85 % of attempts pass below the top and 95 % on it, answers have 169 tokens, calls take the medians of recorded ones; reasoning is not counted".to_owned());
        }
        if specs().any(|spec| !spec.files.is_empty()) {
            assumed.push("excerpts of files fill a quarter of their tier's limit".to_owned());
        }
        if specs().any(|spec| spec.when.is_some()) {
            assumed.push("a `when` holds for one in two".to_owned());
        }
        if specs().any(|spec| matches!(origin(spec, place), Some(Some(_))))
            || (self.rows.is_none() && specs().any(|s| s.for_each.is_some()))
        {
            assumed.push("a list that is not there yet has 10 rows (1 to 100)".to_owned());
        }
        if specs().any(|spec| !spec.checks.is_empty()) {
            assumed.push("commands of checks take no time".to_owned());
        }
        assumed
    }
}

/// Where the rows of a subtask come from: `None`: it has none; else the input, or the list of this subtask.
fn origin<'a>(spec: &'a Subtask, place: &HashMap<&SubtaskId, &'a Subtask>) -> Option<Option<&'a SubtaskId>> {
    let mut at = spec;
    // No chain is longer than the plan, and a plan has no cycle.
    for _ in 0..=place.len() {
        match &at.for_each {
            None => return None,
            Some(ForEach::Input) => return Some(None),
            Some(ForEach::Subtask(source)) => match place.get(source) {
                Some(next) if next.for_each.is_some() => at = next,
                _ => return Some(Some(source)),
            },
        }
    }
    None
}

/// The tiers of a subtask's attempts when all but the last fail: the start twice, then every rung above it.
fn climb(played: &Played, most: u32) -> Vec<Tier> {
    let again = std::iter::once(played.tier.clone());
    let above = played.ladder.iter().skip_while(|tier| **tier != played.tier).skip(1).cloned();
    again.clone().chain(again).chain(above).take(most.max(1) as usize).collect()
}

/// The preview as one JSON object.
pub fn object(preview: &Preview) -> Value {
    let estimate = |estimate: &Estimate| {
        let calls: Map<String, Value> = estimate.calls.iter().map(|(tier, n)| (tier.to_string(), (*n).into())).collect();
        let units = (!estimate.units.is_zero()).then(|| f64::from(estimate.units));
        json!({ "cost_usd": usd(estimate.cost), "duration_ms": estimate.duration, "calls_per_tier": calls, "quota_units": units })
    };
    let seen = |seen: &Seen| {
        let source = if seen.from > 0 { "history" } else { "assumption" };
        json!({ "who": seen.who, "tier": seen.tier, "units": seen.units, "source": source, "seen": seen.from })
    };
    json!({
        "low": estimate(&preview.low), "expected": estimate(&preview.expected), "high": estimate(&preview.high),
        "capped": preview.capped, "subtasks": preview.subtasks, "rows": preview.rows,
        "sources": preview.seen.iter().map(seen).collect::<Vec<_>>(), "assumed": preview.assumed,
    })
}
