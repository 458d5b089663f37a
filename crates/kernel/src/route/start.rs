//! The start tier: what the plan or the configuration names, else the table by type, raised by what
//! the rung cannot carry, and last the filters of deadline and cost.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{ModelRef, Tier};
use crate::plan::{Complexity, Subtask, TaskType, write_span};
use crate::policy::{Ground, Policy, RouteTo};
use crate::time::Millis;
use crate::units::NanoUsd;

/// What routing knows of a subtask.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// Its type.
    pub kind: TaskType,
    /// The planner's guess.
    pub complexity: Complexity,
    /// Whether it writes more than one file.
    pub multi_file: bool,
    /// How many tools it is offered; the built-in `end` does not count.
    pub tools: u32,
    /// Tool calls expected, where known.
    pub tool_calls: Option<u32>,
    /// Input that cannot be trimmed, in estimated tokens: all but file excerpts.
    pub input_tokens: u64,
    /// Start tier named by the plan.
    pub tier: Option<Tier>,
    /// Rungs named by the plan, lowest first; empty = configured.
    pub ladder: Vec<Tier>,
    /// Model named by the plan, for every attempt.
    pub model: Option<ModelRef>,
    /// From its start to its end.
    pub deadline: Option<Millis>,
    /// Cap over all its attempts.
    pub max_cost: Option<NanoUsd>,
    /// It is shown images, and these models take none; empty: it is shown none.
    pub blind: BTreeSet<ModelRef>,
    /// What one attempt on a tier is expected to take; tiers without an entry pass the filters.
    pub estimates: BTreeMap<Tier, Estimate>,
}

/// What one attempt is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Estimate {
    pub cost: NanoUsd,
    pub duration: Millis,
}

impl Facts {
    /// What a subtask says of itself; `input_tokens` and `estimates` are the caller's to add.
    pub fn of(subtask: &Subtask) -> Self {
        Self {
            kind: subtask.kind,
            complexity: subtask.complexity,
            multi_file: subtask.writes.len() > 1 || subtask.writes.iter().any(|glob| glob.contains(['*', '?', '[', '{'])),
            tools: u32::try_from(subtask.tools.len()).unwrap_or(u32::MAX),
            tool_calls: None,
            input_tokens: 0,
            tier: subtask.tier.clone(),
            ladder: subtask.ladder.clone(),
            model: subtask.model.clone(),
            deadline: subtask.deadline,
            max_cost: subtask.max_cost_usd,
            blind: BTreeSet::new(),
            estimates: BTreeMap::new(),
        }
    }
}

/// Where a subtask starts, and how far it may climb.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The first rung of `ladder`.
    pub tier: Tier,
    /// The model of the first attempt.
    pub model: ModelRef,
    /// Rungs this subtask may use, lowest first, from the start up.
    pub ladder: Vec<Tier>,
    /// Whether `model` serves every attempt, so that no alternate stands in for it.
    pub pinned: bool,
    /// Why here, in one line for people.
    pub why: String,
    /// Rungs passed over, lowest first.
    pub skipped: Vec<Skipped>,
}

impl Route {
    /// The model of an attempt on `tier`, and what may stand in for it while it is unavailable.
    pub fn models<'a>(&'a self, tier: &Tier, policy: &'a Policy) -> (&'a ModelRef, &'a [ModelRef]) {
        match policy.tier(tier) {
            Some(bound) if !self.pinned && *tier != self.tier => (&bound.model, &bound.alternates),
            Some(bound) if !self.pinned && bound.model == self.model => (&bound.model, &bound.alternates),
            _ => (&self.model, &[]),
        }
    }
}

/// A rung that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Which.
    pub tier: Tier,
    /// Why, in plain words.
    pub why: String,
}

/// A subtask that no tier can take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Stuck {
    /// The plan names a tier that is not configured.
    #[error("no such tier: {tier}; configured are {}", known.iter().map(Tier::as_str).collect::<Vec<_>>().join(", "))]
    UnknownTier {
        /// As named.
        tier: Tier,
        /// The ladder.
        known: Vec<Tier>,
    },
    /// Deadline, cost and images leave no tier.
    #[error("no tier fits: {}", skipped.iter().map(|s| format!("{}: {}", s.tier, s.why)).collect::<Vec<_>>().join("; "))]
    NothingFits {
        /// Every rung with its reason.
        skipped: Vec<Skipped>,
    },
}

/// The rung that a type deserves on the usual three (design.md "Routing").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Nano,
    Mini,
    Flagship,
}

const RANKS: [(&str, Rank); 3] = [("nano", Rank::Nano), ("mini", Rank::Mini), ("flagship", Rank::Flagship)];

fn table(facts: &Facts) -> (Rank, String) {
    use TaskType as T;
    let kind = facts.kind;
    let plain = match kind {
        T::Classify | T::Extract | T::Rank | T::SimpleEdit => Rank::Nano,
        T::Search | T::ReviewFile | T::Debug | T::Diff | T::Generate => Rank::Mini,
        T::Test | T::Document | T::Screenshot | T::Summarize => Rank::Mini,
        T::Merge | T::General => Rank::Flagship,
    };
    if facts.complexity != Complexity::High {
        return (plain, format!("{kind} starts here by default"));
    }
    match (kind, plain) {
        (T::Debug, _) => (Rank::Flagship, "debug of high complexity".to_owned()),
        _ if facts.multi_file => (Rank::Flagship, format!("{kind} of high complexity over several files")),
        (_, Rank::Nano) => (Rank::Mini, format!("{kind} of high complexity")),
        _ => (plain, format!("{kind} starts here by default")),
    }
}

/// The index of a rank on any ladder: the rung of that name, else the next higher usual name there is,
/// else by place (bottom, lower middle, top).
fn place(rank: Rank, ladder: &[Tier]) -> usize {
    let at = |name: &str| ladder.iter().position(|tier| tier.as_str() == name);
    let named = RANKS.iter().filter(|(_, r)| *r >= rank).find_map(|(name, _)| at(name));
    let top = ladder.len().saturating_sub(1);
    named.unwrap_or(match rank {
        Rank::Nano => 0,
        Rank::Mini => top / 2,
        Rank::Flagship => top,
    })
}

/// The place on a ladder where work starts that nobody routed: the table's or the executors' own rung, within
/// [`crate::policy::Escalation::start_at_most`].
fn by_default(facts: &Facts, policy: &Policy, ladder: &[Tier]) -> (usize, String) {
    let at = |tier: &Tier| ladder.iter().position(|t| t == tier);
    let (rank, mut why) = table(facts);
    let mut index = place(rank, ladder);
    let merge = facts.kind == TaskType::Merge;
    let complex = facts.complexity == Complexity::High && rank == Rank::Flagship;
    if let Some(own) = policy.roles.executor.as_ref().and_then(at).filter(|_| !merge && !complex) {
        (index, why) = (own, "configured: roles.executor".to_owned());
    }
    let named = (merge && policy.escalation.names(Ground::Conflict)) || (complex && policy.escalation.names(Ground::Complexity));
    match policy.escalation.start_at_most.as_ref() {
        Some(most) if !named && at(most).is_some_and(|most| most < index) => {
            (at(most).unwrap_or(index), format!("{why}, but work starts on {most} at most: escalation.start_at_most"))
        }
        _ => (index, why),
    }
}

/// Where a subtask starts.
///
/// The plan's `model`, `tier` and `ladder` win over `[routes]`, which wins over the table; only deadline and
/// cost move what a person has named, and then only up.
///
/// # Errors
/// [`Stuck`] when the plan names an unknown tier, or deadline and cost leave none.
pub fn start(facts: &Facts, policy: &Policy) -> Result<Route, Stuck> {
    let unknown = |tier: &Tier| Stuck::UnknownTier { tier: tier.clone(), known: policy.ladder.clone() };
    for tier in facts.tier.iter().chain(&facts.ladder) {
        policy.tier(tier).ok_or_else(|| unknown(tier))?;
    }
    let mut ladder = if facts.ladder.is_empty() { policy.ladder_of(facts.kind).to_vec() } else { facts.ladder.clone() };
    let by_table = |ladder: &[Tier]| by_default(facts, policy, ladder);
    let place_of_model = |ladder: &[Tier], model: &ModelRef| ladder.iter().position(|t| policy.tier(t).is_some_and(|b| b.model == *model));

    let mut chosen_model = None;
    let mut explicit = true;
    let (first, mut why) = if let Some(model) = &facts.model {
        chosen_model = Some(model.clone());
        let named = facts.tier.as_ref().and_then(|tier| ladder.iter().position(|t| t == tier));
        let index = named.or_else(|| place_of_model(&ladder, model)).unwrap_or_else(|| by_table(&ladder).0);
        ladder = vec![facts.tier.clone().unwrap_or_else(|| ladder[index].clone())];
        (0, "the plan names the model".to_owned())
    } else if let Some(tier) = &facts.tier {
        let found = ladder.iter().position(|t| t == tier);
        let index = found.unwrap_or_else(|| {
            // Named, but not among the rungs of its type: climb the general ladder.
            ladder.clone_from(&policy.ladder);
            ladder.iter().position(|t| t == tier).unwrap_or_else(|| {
                ladder = vec![tier.clone()];
                0
            })
        });
        (index, "the plan names the tier".to_owned())
    } else if !facts.ladder.is_empty() {
        (0, "the plan's ladder starts here".to_owned())
    } else {
        match policy.routes.get(&facts.kind) {
            Some(RouteTo::Tier(tier)) => {
                let index = ladder.iter().position(|t| t == tier).unwrap_or_else(|| {
                    ladder.clone_from(&policy.ladder);
                    ladder.iter().position(|t| t == tier).unwrap_or(0)
                });
                (index, format!("configured: routes.{}", facts.kind))
            }
            Some(RouteTo::Model(model)) => {
                chosen_model = Some(model.clone());
                let index = place_of_model(&ladder, model).unwrap_or_else(|| by_table(&ladder).0);
                (index, format!("configured: routes.{}", facts.kind))
            }
            None => {
                explicit = false;
                by_table(&ladder)
            }
        }
    };

    let mut skipped = Vec::new();
    let mut index = first;
    if !explicit {
        while index < ladder.len() {
            let Some(reason) = too_much(facts, policy, &ladder[index]) else {
                break;
            };
            if index + 1 == ladder.len() {
                why = format!("{why}; {reason}, and there is no higher tier");
                break;
            }
            skipped.push(Skipped { tier: ladder[index].clone(), why: reason });
            index += 1;
        }
    }

    let pinned = facts.model.is_some();
    // A configured model that cannot see leaves its rung to the rung's own.
    let chosen_model = chosen_model.filter(|model| pinned || !facts.blind.contains(model));
    let serves = |tier: &Tier| chosen_model.as_ref().filter(|_| pinned || ladder.get(first) == Some(tier));
    let mut rungs = Vec::new();
    for tier in &ladder[index..] {
        let out = filtered(facts, policy, tier, serves(tier)).or_else(|| {
            let banned = policy.tier(tier).is_some_and(|b| b.never.contains(&facts.kind));
            (!explicit && banned && index + 1 < ladder.len()).then(|| format!("never does {}", facts.kind))
        });
        match out {
            Some(why) => skipped.push(Skipped { tier: tier.clone(), why }),
            None => rungs.push(tier.clone()),
        }
    }
    if rungs.is_empty() && !explicit {
        // Nothing at or above the table's choice is quick or cheap enough: the best that is.
        let lower = ladder[..index].iter().rev();
        let fit = lower.filter(|tier| filtered(facts, policy, tier, None).is_none() && too_much(facts, policy, tier).is_none());
        rungs.extend(fit.take(1).cloned());
        why = format!("{why}, but {} allow no more than this", if facts.blind.is_empty() { "deadline or cost" } else { "images" });
        skipped.retain(|s| !rungs.contains(&s.tier));
    }
    let Some(tier) = rungs.first().cloned() else {
        return Err(Stuck::NothingFits { skipped });
    };
    if let (false, Some(last)) = (skipped.is_empty(), skipped.iter().rfind(|s| below(&ladder, &s.tier, &tier))) {
        why = format!("{why}; not {}: {}", last.tier, last.why);
    }
    // A configured model serves the rung it was configured for; past it, the rung's own.
    let model = match serves(&tier) {
        Some(model) => model.clone(),
        None => policy.tier(&tier).ok_or_else(|| unknown(&tier))?.model.clone(),
    };
    Ok(Route { tier, model, ladder: rungs, pinned, why, skipped })
}

fn below(ladder: &[Tier], a: &Tier, b: &Tier) -> bool {
    let at = |tier: &Tier| ladder.iter().position(|t| t == tier);
    at(a) < at(b)
}

/// Why a rung cannot carry the work, if it cannot.
fn too_much(facts: &Facts, policy: &Policy, tier: &Tier) -> Option<String> {
    let bound = policy.tier(tier)?;
    if bound.never.contains(&facts.kind) {
        return Some(format!("never does {}", facts.kind));
    }
    // An agent has tools of its own, and is not offered the plan's.
    let offered = policy.agent(&bound.model).is_none();
    if let Some(most) = bound.max_tools.filter(|most| offered && facts.tools > *most) {
        return Some(format!("{} tools, it takes {most}", facts.tools));
    }
    if let (Some(expected), Some(most)) = (facts.tool_calls, bound.max_tool_calls)
        && offered
        && expected > most
    {
        return Some(format!("{expected} tool calls expected, it makes {most}"));
    }
    let limit = bound.max_context_tokens.filter(|limit| facts.input_tokens > u64::from(*limit))?;
    Some(format!("about {} tokens of input, it takes {limit}", facts.input_tokens))
}

/// Why images, deadline or cost rule a rung out, if they do. `model` serves it in place of its own.
fn filtered(facts: &Facts, policy: &Policy, tier: &Tier, model: Option<&ModelRef>) -> Option<String> {
    let model = model.or_else(|| policy.tier(tier).map(|bound| &bound.model));
    if let Some(model) = model.filter(|model| facts.blind.contains(model)) {
        return Some(format!("{model} takes no images"));
    }
    let estimate = facts.estimates.get(tier)?;
    if let Some(deadline) = facts.deadline.filter(|deadline| estimate.duration > *deadline) {
        return Some(format!("would take about {}, deadline {}", write_span(estimate.duration), write_span(deadline)));
    }
    let cap = facts.max_cost.filter(|cap| estimate.cost > *cap)?;
    Some(format!("would cost up to {}, cap {cap}", estimate.cost))
}
