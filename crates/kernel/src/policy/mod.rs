//! The configuration of one run, as pure data: pinned into its journal when it starts, never read again from files.
//!
//! It holds no secret, no address and no price: those belong to `cli::config`, `models` and the catalog.
//! Text from outside becomes a [`Policy`] through [`Settings`] only; serde is for our own records.
//!
//! Read first: [`Policy`], then [`Settings::set`].

mod agents;
mod budget;
mod entries;
mod escalation;
mod hedging;
mod keys;
mod limits;
mod quota;
mod service;
mod settings;
mod value;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::role::Role;
pub use agents::{AgentPolicy, Billing};
pub use budget::{BudgetPolicy, Cap, OnExhausted, Preset};
pub use escalation::{Escalation, Ground};
pub use hedging::{Hedging, Share};
pub use keys::{KEYS, Key, Kind, distance};
pub use limits::{Limits, MAX_MENDS, OutputTokens, OwnDeadlines, Slots};
pub use quota::{MAIN_WINDOW, QuotaPolicy, QuotaWindow};
pub use service::ServicePolicy;
pub use settings::{Fault, Rung, Setting, Settings};

use crate::call::{Deadlines, Effort, Retention, Verbosity};
use crate::ids::{ModelRef, Tier};
use crate::plan::TaskType;

/// Everything a run's decisions read that is not in its own log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The rungs, lowest first; at least one, each once, each a key of `tiers`.
    pub ladder: Vec<Tier>,
    /// What each rung is bound to.
    pub tiers: BTreeMap<Tier, TierPolicy>,
    /// Who plans and who reviews.
    #[serde(default)]
    pub roles: Roles,
    /// Start of a type in place of the table's.
    #[serde(default)]
    pub routes: BTreeMap<TaskType, RouteTo>,
    /// Rungs of a type in place of `ladder`.
    #[serde(default)]
    pub ladders: BTreeMap<TaskType, Vec<Tier>>,
    /// Effort of a role or type, where configured.
    #[serde(default)]
    pub effort: BTreeMap<Who, Effort>,
    /// Verbosity of a role or type, where configured.
    #[serde(default)]
    pub verbosity: BTreeMap<Who, Verbosity>,
    /// Texts that replace the built-in prompts of `crates/kernel/prompts`.
    #[serde(default)]
    pub prompts: BTreeMap<Who, String>,
    /// Texts that are added to a role's or type's prompt.
    #[serde(default)]
    pub additions: BTreeMap<Who, String>,
    /// Whether calls ask for the provider's prompt cache, where configured; they do unless told otherwise.
    #[serde(default)]
    pub prompt_cache: BTreeMap<Who, bool>,
    /// How long the provider is asked to keep the prefixes of a role or type, where configured; `None` inside: as it likes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prompt_cache_retention: BTreeMap<Who, Option<Retention>>,
    /// What may raise a tier.
    #[serde(default)]
    pub escalation: Escalation,
    /// When a slow call gets a second request, on tiers that hedge.
    #[serde(default)]
    pub hedging: Hedging,
    /// Bounds on everything that could go on.
    #[serde(default)]
    pub limits: Limits,
    /// Money and tokens.
    #[serde(default)]
    pub budget: BudgetPolicy,
    /// Flex, priority and batches.
    #[serde(default)]
    pub service: ServicePolicy,
    /// Rolling windows of a subscription, and what a call weighs.
    #[serde(default, skip_serializing_if = "QuotaPolicy::is_empty")]
    pub quota: QuotaPolicy,
    /// Providers that are agents, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub agents: BTreeMap<String, AgentPolicy>,
}

/// One rung: a model and what it may be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierPolicy {
    /// The model that works on this rung.
    pub model: ModelRef,
    /// Models of the same worth, asked in this order when `model` is unavailable.
    #[serde(default)]
    pub alternates: Vec<ModelRef>,
    /// Effort of every call on this rung, unless its subtask or type says otherwise.
    #[serde(default)]
    pub effort: Option<Effort>,
    /// Verbosity of every call on this rung, unless its subtask or type says otherwise.
    #[serde(default)]
    pub verbosity: Option<Verbosity>,
    /// Soft limit on input, in estimated tokens: larger work starts higher, excerpts are trimmed to it. `None` = no limit.
    #[serde(default)]
    pub max_context_tokens: Option<u32>,
    /// Work that is offered more tools starts higher. `None` = no limit.
    #[serde(default)]
    pub max_tools: Option<u32>,
    /// Tool calls of one attempt on this rung; one more ends the attempt. `None` = [`Limits::max_tool_calls`].
    #[serde(default)]
    pub max_tool_calls: Option<u32>,
    /// Types that never run on this rung.
    #[serde(default)]
    pub never: BTreeSet<TaskType>,
    /// Whether an executor's slow call on this rung gets a second request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hedge: bool,
    /// Deadlines of calls on this rung, in place of [`Limits::call`].
    #[serde(default, skip_serializing_if = "OwnDeadlines::is_none")]
    pub deadlines: OwnDeadlines,
}

impl TierPolicy {
    /// A rung with the built-in limits of its name: `nano` 8K of context, one tool, two tool calls, never `debug`;
    /// `mini` 32K of context (design.md "Routing"); none for any other name.
    pub fn standard(tier: &Tier, model: ModelRef) -> Self {
        let bare = Self {
            model,
            alternates: Vec::new(),
            effort: None,
            verbosity: None,
            max_context_tokens: None,
            max_tools: None,
            max_tool_calls: None,
            never: BTreeSet::new(),
            hedge: false,
            deadlines: OwnDeadlines::default(),
        };
        match tier.as_str() {
            "nano" => Self {
                max_context_tokens: Some(8_000),
                max_tools: Some(1),
                max_tool_calls: Some(2),
                never: BTreeSet::from([TaskType::Debug]),
                ..bare
            },
            "mini" => Self { max_context_tokens: Some(32_000), ..bare },
            _ => bare,
        }
    }
}

/// Which tier plays which role.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Roles {
    /// Cuts the request into subtasks and mends the plan. `None` = the top of the ladder.
    pub planner: Option<Tier>,
    /// Judges the results. `None` = the top of the ladder.
    pub reviewer: Option<Tier>,
    /// Where executors start, in place of the table's tier. `None` = by the table.
    pub executor: Option<Tier>,
}

/// Where a type starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteTo {
    /// On a rung.
    Tier(Tier),
    /// With a model of its own; what fails there goes to the rungs above the type's usual start.
    Model(ModelRef),
}

/// Whom a setting or a prompt is for: a role, or executors of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Who {
    /// The planner's first turn of a request.
    Planner,
    /// The planner when it adjusts a plan under way.
    PlannerPatch,
    /// Whoever condenses the planner's conversation.
    Compactor,
    /// The reviewer.
    Reviewer,
    /// Every executor.
    Executor,
    /// Executors of one type.
    Type(TaskType),
}

impl Who {
    /// The name in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planner => "planner",
            Self::PlannerPatch => "planner_patch",
            Self::Compactor => "compactor",
            Self::Reviewer => "reviewer",
            Self::Executor => "executor",
            Self::Type(kind) => kind.as_str(),
        }
    }

    /// Reads a role or a type (or its alias).
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "planner" => Some(Self::Planner),
            "planner_patch" => Some(Self::PlannerPatch),
            "compactor" => Some(Self::Compactor),
            "reviewer" => Some(Self::Reviewer),
            "executor" => Some(Self::Executor),
            _ => TaskType::parse(name).map(Self::Type),
        }
    }
}

impl TryFrom<String> for Who {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        Self::parse(&name).ok_or_else(|| format!("{name:?} is neither a role nor a type"))
    }
}

impl From<Who> for String {
    fn from(who: Who) -> Self {
        who.as_str().to_owned()
    }
}

impl Policy {
    /// A policy of built-in defaults over these rungs, lowest first. Model names are data: they come from the catalog.
    ///
    /// # Panics
    /// When `rungs` is empty: a run without a model cannot be.
    pub fn standard(rungs: impl IntoIterator<Item = (Tier, ModelRef)>) -> Self {
        let mut ladder = Vec::new();
        let mut tiers = BTreeMap::new();
        for (tier, model) in rungs {
            tiers.insert(tier.clone(), TierPolicy::standard(&tier, model));
            ladder.push(tier);
        }
        assert!(!ladder.is_empty(), "a ladder has at least one rung");
        Self {
            ladder,
            tiers,
            roles: Roles::default(),
            routes: BTreeMap::new(),
            ladders: BTreeMap::new(),
            effort: BTreeMap::new(),
            verbosity: BTreeMap::new(),
            prompts: BTreeMap::new(),
            additions: BTreeMap::new(),
            prompt_cache: BTreeMap::new(),
            prompt_cache_retention: BTreeMap::new(),
            escalation: Escalation::default(),
            hedging: Hedging::default(),
            limits: Limits::default(),
            budget: BudgetPolicy::default(),
            service: ServicePolicy::default(),
            quota: QuotaPolicy::default(),
            agents: BTreeMap::new(),
        }
    }

    /// The highest rung.
    pub fn top(&self) -> &Tier {
        self.ladder.last().expect("Settings::finish and Policy::standard refuse an empty ladder")
    }

    /// The planner's tier.
    pub fn planner(&self) -> &Tier {
        self.roles.planner.as_ref().unwrap_or_else(|| self.top())
    }

    /// The reviewer's tier.
    pub fn reviewer(&self) -> &Tier {
        self.roles.reviewer.as_ref().unwrap_or_else(|| self.top())
    }

    /// What a rung is bound to.
    pub fn tier(&self, tier: &Tier) -> Option<&TierPolicy> {
        self.tiers.get(tier)
    }

    /// The rungs of a type, lowest first.
    pub fn ladder_of(&self, kind: TaskType) -> &[Tier] {
        self.ladders.get(&kind).unwrap_or(&self.ladder)
    }

    /// Effort of a call, before it is clamped to what the model offers: configured for the type (or role),
    /// else for the tier, else executors low, planner and reviewer medium (design.md "Routing").
    pub fn effort(&self, role: Role, kind: Option<TaskType>, tier: &Tier) -> Effort {
        let fallback = match role {
            Role::Executor => Effort::Low,
            Role::Planner | Role::Reviewer => Effort::Medium,
        };
        let configured = |who| self.effort.get(&who).copied();
        let rung = || self.tiers.get(tier).and_then(|t| t.effort);
        own(role, kind).and_then(configured).or_else(rung).or_else(|| configured(of(role))).unwrap_or(fallback)
    }

    /// Verbosity of a call: as [`Policy::effort`], low for executors, the model's own default for the rest.
    pub fn verbosity(&self, role: Role, kind: Option<TaskType>, tier: &Tier) -> Option<Verbosity> {
        let fallback = match role {
            Role::Executor => Some(Verbosity::Low),
            Role::Planner | Role::Reviewer => None,
        };
        let configured = |who| self.verbosity.get(&who).copied();
        let rung = || self.tiers.get(tier).and_then(|t| t.verbosity);
        own(role, kind).and_then(configured).or_else(rung).or_else(|| configured(of(role))).or(fallback)
    }

    /// Whether a call asks for the provider's prompt cache.
    pub fn prompt_cache(&self, role: Role, kind: Option<TaskType>) -> bool {
        let configured = |who| self.prompt_cache.get(&who).copied();
        own(role, kind).and_then(configured).or_else(|| configured(of(role))).unwrap_or(true)
    }

    /// How long the provider is asked to keep a call's prefix: `None` where nothing is configured, `Some(None)` for as it likes.
    pub fn prompt_cache_retention(&self, role: Role, kind: Option<TaskType>) -> Option<Option<Retention>> {
        let configured = |who| self.prompt_cache_retention.get(&who).copied();
        own(role, kind).and_then(configured).or_else(|| configured(of(role)))
    }

    /// Deadlines of one call on this rung.
    pub fn deadlines(&self, tier: &Tier) -> Deadlines {
        let all = self.limits.call;
        self.tiers.get(tier).map_or(all, |bound| bound.deadlines.over(all))
    }

    /// Tool calls one attempt on this rung may make.
    pub fn max_tool_calls(&self, tier: &Tier) -> u32 {
        let most = self.limits.max_tool_calls;
        self.tiers.get(tier).and_then(|t| t.max_tool_calls).map_or(most, |n| n.min(most))
    }

    /// SHA-256 of the serialised policy, 64 hex digits: equal exactly when every decision reads the same.
    pub fn hash(&self) -> String {
        let bytes = serde_json::to_vec(self).expect("maps keyed by names and plain values always serialise");
        Sha256::digest(&bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// The entry that is more specific than the tier's: a type's, or a planner's and reviewer's own.
fn own(role: Role, kind: Option<TaskType>) -> Option<Who> {
    match role {
        Role::Executor => kind.map(Who::Type),
        Role::Planner | Role::Reviewer => Some(of(role)),
    }
}

fn of(role: Role) -> Who {
    match role {
        Role::Planner => Who::Planner,
        Role::Reviewer => Who::Reviewer,
        Role::Executor => Who::Executor,
    }
}
