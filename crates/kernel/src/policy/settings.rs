//! The gate of configuration: dotted keys and texts in, a [`Policy`] out, every refusal naming its key.
//!
//! Where a setting came from (flag, variable, file and line) is the caller's to know:
//! it calls [`Settings::set`] from the weakest layer to the strongest and keeps the origins.
//! Nothing is ignored: a key is applied, unknown, or not supported yet.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::find;
use super::value::{Value, named, read, window_name};
use super::{Cap, MAIN_WINDOW, Policy, RouteTo, TierPolicy, Who};
use crate::call::Effort;
use crate::ids::{ModelRef, Tier};
use crate::plan::TaskType;
use crate::time::Millis;

/// A value as written. Numbers stay text, so that money never passes through a float.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// A string, number or boolean.
    Text(String),
    /// A list of them.
    List(Vec<String>),
    /// A table without entries.
    Empty,
}

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(list) => write!(f, "{list:?}"),
            Self::Empty => f.write_str("{}"),
        }
    }
}

/// A rung as the catalog has it: what a tier is where no setting says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// Its name.
    pub tier: Tier,
    /// Its model.
    pub model: ModelRef,
    /// Its effort, where it differs from the role's.
    pub effort: Option<Effort>,
    /// Its soft limit on input in tokens, in place of the one built in for its name.
    pub max_context_tokens: Option<u32>,
}

impl From<(Tier, ModelRef)> for Rung {
    fn from((tier, model): (Tier, ModelRef)) -> Self {
        Self { tier, model, effort: None, max_context_tokens: None }
    }
}

/// A setting that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No such key.
    #[error("unknown key {key}{}", hint(nearest.as_deref()))]
    Unknown {
        /// As given.
        key: String,
        /// The known key it resembles most, if any does.
        nearest: Option<String>,
    },
    /// Its machinery is not built.
    #[error("not supported yet: {key}")]
    Unsupported {
        /// As given.
        key: String,
    },
    /// The value does not fit the key.
    #[error("{key} = {value}: {expected}")]
    Bad {
        /// As given.
        key: String,
        /// As given, quoted, cut to 80 characters.
        value: String,
        /// What to write instead.
        expected: String,
    },
}

impl Fault {
    /// The key at fault.
    pub fn key(&self) -> &str {
        match self {
            Self::Unknown { key, .. } | Self::Unsupported { key } | Self::Bad { key, .. } => key,
        }
    }

    fn bad(key: &str, value: &impl ToString, expected: impl Into<String>) -> Self {
        let value = value.to_string().chars().take(80).collect();
        Self::Bad { key: key.to_owned(), value, expected: expected.into() }
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |known| format!("; did you mean {known}?"))
}

/// Settings on their way to a policy; the last one set for a key counts.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    values: BTreeMap<String, Value>,
}

impl Settings {
    /// Takes one setting and returns its key as it is kept (type aliases resolved).
    ///
    /// # Errors
    /// [`Fault`] when the key is unknown or not supported yet, or the value does not fit.
    pub fn set(&mut self, key: &str, value: &Setting) -> Result<String, Fault> {
        let found = find(key)?;
        let of_tier = found.name.strip_prefix("tiers.").or_else(|| found.name.strip_prefix("limits.tiers."));
        if let Some(tier) = of_tier.and_then(|rest| rest.split('.').next()) {
            Tier::new(tier).map_err(|bad| Fault::bad(key, value, bad.to_string()))?;
        }
        if let Some(name) = found.name.strip_prefix("quota.windows.").and_then(|rest| rest.split('.').next()) {
            window_name(name).map_err(|expected| Fault::bad(key, value, expected))?;
        }
        let value = read(&found.name, found.key.kind, value).map_err(|expected| Fault::bad(key, value, expected))?;
        self.values.insert(found.name.clone(), value);
        Ok(found.name)
    }

    /// The keys set so far.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The policy: settings over built-in defaults. `catalog` are its rungs, lowest first:
    /// the ladder and its models where no setting says otherwise.
    ///
    /// # Errors
    /// [`Fault`] when the settings do not fit together, e.g. a role on a tier that is not on the ladder.
    pub fn finish(&self, catalog: &[Rung]) -> Result<Policy, Fault> {
        let ladder = self.ladder(catalog)?;
        let mut rungs = Vec::with_capacity(ladder.len());
        for tier in ladder {
            let key = format!("tiers.{tier}.model");
            let model = match self.values.get(&key) {
                Some(Value::Model(model)) => model.clone(),
                _ => match catalog.iter().find(|rung| rung.tier == tier) {
                    Some(rung) => rung.model.clone(),
                    None => {
                        return Err(Fault::bad(
                            &key,
                            &"(absent)",
                            format!("tier {tier} is on the ladder: name its model as PROVIDER/MODEL"),
                        ));
                    }
                },
            };
            rungs.push((tier, model));
        }
        if rungs.is_empty() {
            return Err(Fault::bad("ladder", &"[]", "name at least one tier and its model, e.g. [tiers.mini] model = \"PROVIDER/MODEL\""));
        }
        let mut policy = Policy::standard(rungs);
        for rung in catalog {
            if let Some(bound) = policy.tiers.get_mut(&rung.tier) {
                bound.effort = rung.effort;
                bound.max_context_tokens = rung.max_context_tokens.or(bound.max_context_tokens);
            }
        }
        self.over(policy)
    }

    /// A policy with these settings laid over it.
    ///
    /// # Errors
    /// [`Fault`] when they do not fit to it.
    pub fn over(&self, mut policy: Policy) -> Result<Policy, Fault> {
        for (key, value) in &self.values {
            apply(&mut policy, key, value)?;
        }
        policy.budget.complete(|field| self.values.contains_key(&format!("budget.{field}")));
        fits(&policy)?;
        Ok(policy)
    }

    /// The configured order; else the catalog's order with configured tiers that it lacks in front, by name.
    fn ladder(&self, catalog: &[Rung]) -> Result<Vec<Tier>, Fault> {
        let named: BTreeSet<&str> = self.values.keys().filter_map(|k| k.strip_prefix("tiers.")?.split_once('.')).map(|(t, _)| t).collect();
        if let Some(Value::Tiers(ladder)) = self.values.get("ladder") {
            if let Some(stray) = named.iter().find(|name| !ladder.iter().any(|t| t.as_str() == **name)) {
                let ladder: Vec<&str> = ladder.iter().map(Tier::as_str).collect();
                return Err(Fault::bad(
                    "ladder",
                    &format!("{ladder:?}"),
                    format!("[tiers.{stray}] is configured: put {stray} on the ladder, or remove its section"),
                ));
            }
            return Ok(ladder.clone());
        }
        let known = |name: &str| catalog.iter().any(|rung| rung.tier.as_str() == name);
        let strays: Vec<&str> = named.into_iter().filter(|name| !known(name)).collect();
        // The order of one stray is a guess about worth, which only a person may make.
        if let Some(stray) = strays.first().filter(|_| !catalog.is_empty() || strays.len() > 1) {
            return Err(Fault::bad(
                "ladder",
                &"(absent)",
                format!(
                    "[tiers.{stray}] is not one of the known rungs: give the order, lowest first, e.g. ladder = [\"{stray}\", \"flagship\"]"
                ),
            ));
        }
        let strays = strays.into_iter().filter_map(|name| Tier::new(name).ok());
        Ok(strays.chain(catalog.iter().map(|rung| rung.tier.clone())).collect())
    }
}

/// Cross-checks of a whole policy.
fn fits(policy: &Policy) -> Result<(), Fault> {
    let rungs = policy.ladder.iter().map(Tier::as_str).collect::<Vec<_>>().join(", ");
    let on = |key: String, tier: &Tier| {
        if policy.tiers.contains_key(tier) {
            Ok(())
        } else {
            Err(Fault::bad(&key, &format!("{tier:?}"), format!("no such tier: use one of {rungs}")))
        }
    };
    for (key, tier) in [
        ("roles.planner", &policy.roles.planner),
        ("roles.reviewer", &policy.roles.reviewer),
        ("roles.executor", &policy.roles.executor),
        ("escalation.start_at_most", &policy.escalation.start_at_most),
    ] {
        if let Some(tier) = tier {
            on(key.to_owned(), tier)?;
        }
    }
    for (kind, route) in &policy.routes {
        if let RouteTo::Tier(tier) = route {
            on(format!("routes.{kind}"), tier)?;
        }
    }
    for (kind, ladder) in &policy.ladders {
        for tier in ladder {
            on(format!("ladders.{kind}"), tier)?;
        }
    }
    for tier in policy.limits.max_on_tier.keys() {
        on(format!("limits.tiers.{tier}.max_concurrent"), tier)?;
    }
    for (name, window) in &policy.quota.windows {
        let section = if name == MAIN_WINDOW { "quota".to_owned() } else { format!("quota.windows.{name}") };
        let absent =
            |field: &str, example: &str| Fault::bad(&format!("{section}.{field}"), &"(absent)", format!("write both, e.g. {example}"));
        if window.span == Millis(0) {
            return Err(absent("window", "window = \"5h\""));
        }
        if window.units.is_zero() {
            return Err(absent("units", "units = 300"));
        }
    }
    for tier in policy.quota.weights.keys() {
        on(format!("quota.weights.{tier}"), tier)?;
    }
    for (tier, bound) in &policy.tiers {
        if bound.max_tools == Some(0) && bound.max_tool_calls.is_some_and(|n| n > 0) {
            return Err(Fault::bad(&format!("tiers.{tier}.max_tool_calls"), &"> 0", "max_tools is 0: set both to 0 or neither"));
        }
    }
    Ok(())
}

fn apply(policy: &mut Policy, key: &str, value: &Value) -> Result<(), Fault> {
    let (section, rest) = key.split_once('.').unwrap_or((key, ""));
    let done = match section {
        // Consumed by `finish` itself.
        "ladder" => Some(()),
        "tiers" => {
            let (tier, field) = rest.split_once('.').unwrap_or((rest, ""));
            policy.tiers.get_mut(tier).and_then(|bound| apply_tier(bound, field, value))
        }
        "hedging" => apply_hedging(policy, rest, value),
        "limits" => apply_limit(policy, rest, value),
        "budget" => apply_budget(policy, rest, value),
        "quota" => apply_quota(policy, rest, value),
        _ => apply_choice(policy, section, rest, value),
    };
    // A key of the table without an arm here would be parsed and ignored; tests set every key.
    done.ok_or_else(|| Fault::Unsupported { key: key.to_owned() })
}

fn apply_choice(policy: &mut Policy, section: &str, rest: &str, value: &Value) -> Option<()> {
    match (section, value) {
        ("roles", Value::Tier(tier)) => match rest {
            "planner" => policy.roles.planner = Some(tier.clone()),
            "reviewer" => policy.roles.reviewer = Some(tier.clone()),
            _ => return None,
        },
        ("roles", Value::MaybeTier(tier)) if rest == "executor" => policy.roles.executor.clone_from(tier),
        ("escalation", Value::MaybeTier(tier)) if rest == "start_at_most" => policy.escalation.start_at_most.clone_from(tier),
        ("escalation", Value::Grounds(grounds)) if rest == "only_on" => policy.escalation.only_on.clone_from(grounds),
        ("additions", Value::Text(text)) => {
            policy.additions.insert(Who::parse(rest)?, text.clone());
        }
        ("prompt_cache", Value::Switch(on)) => {
            policy.prompt_cache.insert(Who::parse(rest)?, *on);
        }
        ("prompt_cache_retention", Value::Retention(retention)) => {
            policy.prompt_cache_retention.insert(Who::parse(rest)?, *retention);
        }
        ("service", value) => return policy.service.set(rest, value),
        ("routes", Value::Route(route)) => {
            policy.routes.insert(TaskType::parse(rest)?, route.clone());
        }
        ("ladders", Value::Tiers(ladder)) => {
            policy.ladders.insert(TaskType::parse(rest)?, ladder.clone());
        }
        ("effort", Value::Effort(effort)) => {
            policy.effort.insert(Who::parse(rest)?, *effort);
        }
        ("verbosity", Value::Verbosity(verbosity)) => {
            policy.verbosity.insert(Who::parse(rest)?, *verbosity);
        }
        ("prompts", Value::Text(text)) => {
            policy.prompts.insert(Who::parse(rest)?, text.clone());
        }
        _ => return None,
    }
    Some(())
}

fn apply_tier(bound: &mut TierPolicy, field: &str, value: &Value) -> Option<()> {
    match (field, value) {
        ("model", Value::Model(model)) => bound.model = model.clone(),
        ("alternates", Value::Models(models)) => bound.alternates = models.clone(),
        ("effort", Value::Effort(effort)) => bound.effort = Some(*effort),
        ("verbosity", Value::Verbosity(verbosity)) => bound.verbosity = Some(*verbosity),
        ("max_context_tokens", Value::Count(n)) => bound.max_context_tokens = n.map(narrow),
        ("max_tools", Value::Count(n)) => bound.max_tools = n.map(narrow),
        ("max_tool_calls", Value::Count(n)) => bound.max_tool_calls = n.map(narrow),
        ("never", Value::Types(types)) => bound.never = types.clone(),
        ("hedge", Value::Switch(on)) => bound.hedge = *on,
        ("first_token_deadline", Value::Span(span)) => bound.deadlines.first_token = *span,
        ("idle_deadline", Value::Span(span)) => bound.deadlines.idle = *span,
        ("call_deadline", Value::Span(span)) => bound.deadlines.total = *span,
        _ => return None,
    }
    Some(())
}

fn apply_hedging(policy: &mut Policy, field: &str, value: &Value) -> Option<()> {
    let hedging = &mut policy.hedging;
    match (field, value) {
        ("percentile", Value::Count(Some(n))) => hedging.percentile = narrow(*n),
        ("min_samples", Value::Count(Some(n))) => hedging.min_samples = narrow(*n),
        ("max_share", Value::Share(share)) => hedging.max_share = *share,
        _ => return None,
    }
    Some(())
}

fn apply_limit(policy: &mut Policy, field: &str, value: &Value) -> Option<()> {
    let limits = &mut policy.limits;
    if let (Some(of), Value::Count(Some(n))) = (field.strip_suffix(".max_concurrent"), value) {
        match of.split_once('.')? {
            ("types", kind) => limits.max_of_type.insert(TaskType::parse(kind)?, narrow(*n)),
            ("tiers", tier) => limits.max_on_tier.insert(Tier::new(tier).ok()?, narrow(*n)),
            _ => return None,
        };
        return Some(());
    }
    match (field, value) {
        ("spill", Value::Switch(on)) => limits.spill = *on,
        ("max_concurrent_subagents", Value::Slots(slots)) => limits.max_concurrent_subagents = *slots,
        ("max_attempts", Value::Count(Some(n))) => limits.max_attempts = narrow(*n),
        ("max_replans", Value::Count(Some(n))) => limits.max_replans = narrow(*n),
        ("max_review_rounds", Value::Count(Some(n))) => limits.max_review_rounds = narrow(*n),
        ("compact_tokens", Value::Count(Some(n))) => limits.compact_tokens = narrow(*n),
        ("compact_results", Value::Count(Some(n))) => limits.compact_results = narrow(*n),
        ("max_compactions", Value::Count(Some(n))) => limits.max_compactions = narrow(*n),
        ("max_subtasks", Value::Count(Some(n))) => limits.max_subtasks = narrow(*n),
        ("max_turns", Value::Count(Some(n))) => limits.max_turns = narrow(*n),
        ("max_tool_calls", Value::Count(Some(n))) => limits.max_tool_calls = narrow(*n),
        ("max_identical_calls", Value::Count(Some(n))) => limits.max_identical_calls = narrow(*n),
        ("max_tries", Value::Count(Some(n))) => limits.max_tries = narrow(*n),
        ("planner_output_tokens", Value::Count(Some(n))) => limits.output_tokens.planner = narrow(*n),
        ("reviewer_output_tokens", Value::Count(Some(n))) => limits.output_tokens.reviewer = narrow(*n),
        ("executor_output_tokens", Value::Count(Some(n))) => limits.output_tokens.executor = narrow(*n),
        ("first_token_deadline", Value::Span(Some(span))) => limits.call.first_token = *span,
        ("idle_deadline", Value::Span(Some(span))) => limits.call.idle = *span,
        ("call_deadline", Value::Span(Some(span))) => limits.call.total = *span,
        ("subtask_deadline", Value::Span(span)) => limits.subtask = *span,
        _ => return None,
    }
    Some(())
}

fn apply_budget(policy: &mut Policy, field: &str, value: &Value) -> Option<()> {
    let budget = &mut policy.budget;
    if let ("run_usd", Value::Usd(Some(usd))) = (field, value) {
        budget.run_usd = *usd;
        return Some(());
    }
    match (field, value) {
        ("preset", Value::Word(word)) => {
            budget.preset = named(word)?;
            return Some(());
        }
        ("on_exhausted", Value::Word(word)) => {
            budget.on_exhausted = named(word)?;
            return Some(());
        }
        _ => {}
    }
    let (_, cap) = budget.caps().into_iter().find(|(name, _)| *name == field)?;
    match (cap, value) {
        (Cap::Usd(cap), Value::Usd(usd)) => *cap = *usd,
        (Cap::Tokens(cap), Value::Count(n)) => *cap = *n,
        _ => return None,
    }
    Some(())
}

fn apply_quota(policy: &mut Policy, rest: &str, value: &Value) -> Option<()> {
    let quota = &mut policy.quota;
    if let (Some(tier), Value::Units(Some(weight))) = (rest.strip_prefix("weights."), value) {
        quota.weights.insert(Tier::new(tier).ok()?, *weight);
        return Some(());
    }
    let (name, field) = rest.strip_prefix("windows.").map_or(Some((MAIN_WINDOW, rest)), |rest| rest.split_once('.'))?;
    match (field, value) {
        // Comes after the units, by the order of keys.
        ("window", Value::Span(None)) => drop(quota.windows.remove(name)),
        ("window", Value::Span(Some(span))) => quota.windows.entry(name.to_owned()).or_default().span = *span,
        ("units", Value::Units(None)) => {}
        ("units", Value::Units(Some(units))) => quota.windows.entry(name.to_owned()).or_default().units = *units,
        _ => return None,
    }
    Some(())
}

/// Only counts whose kind is bounded by `u32::MAX` come here.
pub(super) fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
