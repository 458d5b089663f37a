//! The list of configuration keys: name, kind and meaning; and the list of those that are not built yet.

use super::settings::Fault;
use super::{Ground, Who};
use crate::plan::TaskType;

/// One key, or a family of keys with one free segment (`*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Dotted name; `*` stands for a tier, a type, or a role.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// What it does, for people.
    pub about: &'static str,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Tier,
    MaybeTier,
    Tiers,
    Model,
    Models,
    Route,
    Effort,
    Verbosity,
    Count { min: u64, max: u64 },
    MaybeCount { min: u64, max: u64 },
    Usd,
    MaybeUsd,
    Span,
    MaybeSpan,
    Slots,
    Types,
    Grounds,
    Switch,
    MaybeUnits,
    Weight,
    Share,
    MaybeRetention,
    Text,
}

impl Kind {
    /// How to write such a value.
    pub fn form(self) -> String {
        match self {
            Self::Tier => "a tier's name, e.g. \"mini\"".to_owned(),
            Self::MaybeTier => "a tier's name, e.g. \"mini\", or \"none\"".to_owned(),
            Self::Tiers => "a list of tiers, lowest first, e.g. [\"nano\", \"mini\"]".to_owned(),
            Self::Model => "\"PROVIDER/MODEL\"".to_owned(),
            Self::Models => "a list of \"PROVIDER/MODEL\"".to_owned(),
            Self::Route => "a tier's name or \"PROVIDER/MODEL\"".to_owned(),
            Self::Effort => "one of none, minimal, low, medium, high, xhigh, max".to_owned(),
            Self::Verbosity => "one of low, medium, high".to_owned(),
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::MaybeCount { min, max } => {
                format!("a whole number from {min} to {max}, or \"none\"")
            }
            Self::Usd => "dollars above 0 with at most 9 decimal places, e.g. 2.50".to_owned(),
            Self::MaybeUsd => "dollars above 0 with at most 9 decimal places, e.g. 2.50, or \"none\"".to_owned(),
            Self::Span => "a span from 1s to 30d, e.g. \"90s\"".to_owned(),
            Self::MaybeSpan => "a span from 1s to 30d, e.g. \"90s\", or \"none\"".to_owned(),
            Self::Slots => "\"auto\" or a whole number from 1 to 100000".to_owned(),
            Self::Types => "a list of subtask types, e.g. [\"debug\"]".to_owned(),
            Self::Grounds => {
                let names: Vec<&str> = Ground::ALL.iter().map(|ground| ground.as_str()).collect();
                format!("\"any\" or a list of {}", names.join(", "))
            }
            Self::Switch => "true or false".to_owned(),
            Self::MaybeUnits => "units above 0 with at most 3 decimal places, at most a million, e.g. 300, or \"none\"".to_owned(),
            Self::Weight => "a weight from 0 to 1000 with at most 3 decimal places, e.g. 0.3".to_owned(),
            Self::MaybeRetention => "one of 24h, in_memory, none".to_owned(),
            Self::Share => "a share from 0 to 1 with at most three places, e.g. 0.05".to_owned(),
            Self::Text => "a text".to_owned(),
        }
    }
}

const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, about }
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

const fn maybe(min: u64, max: u64) -> Kind {
    Kind::MaybeCount { min, max }
}

const MANY: u64 = 1_000_000;
/// Token caps: far above any run, far below overflow.
const TOKENS: u64 = 1_000_000_000_000;

/// Every key that a policy is made of.
pub const KEYS: &[Key] = &[
    key("ladder", Kind::Tiers, "the tiers, lowest first"),
    key("tiers.*.model", Kind::Model, "the model of a tier"),
    key("tiers.*.alternates", Kind::Models, "models asked when a tier's own is unavailable"),
    key("tiers.*.effort", Kind::Effort, "reasoning effort of calls on a tier"),
    key("tiers.*.verbosity", Kind::Verbosity, "verbosity of calls on a tier"),
    key("tiers.*.max_context_tokens", maybe(256, 100_000_000), "soft limit on a subtask's input"),
    key("tiers.*.max_tools", maybe(0, 1_000), "work with more tools starts higher"),
    key("tiers.*.max_tool_calls", maybe(0, MANY), "tool calls of one attempt on a tier"),
    key("tiers.*.never", Kind::Types, "types that never run on a tier"),
    key("tiers.*.hedge", Kind::Switch, "whether an executor's slow call on a tier gets a second request"),
    key("tiers.*.first_token_deadline", Kind::Span, "limits.first_token_deadline, of calls on a tier"),
    key("tiers.*.idle_deadline", Kind::Span, "limits.idle_deadline, of calls on a tier"),
    key("tiers.*.call_deadline", Kind::Span, "limits.call_deadline, of calls on a tier"),
    key("roles.planner", Kind::Tier, "the tier that plans"),
    key("roles.reviewer", Kind::Tier, "the tier that reviews"),
    key("roles.executor", Kind::MaybeTier, "the tier on which executors start, in place of the table's"),
    key("routes.*", Kind::Route, "where a type starts"),
    key("ladders.*", Kind::Tiers, "the tiers of a type, lowest first"),
    key("effort.*", Kind::Effort, "reasoning effort of a role or type"),
    key("verbosity.*", Kind::Verbosity, "verbosity of a role or type"),
    key("prompts.*", Kind::Text, "replaces the built-in prompt of a role or type"),
    key("additions.*", Kind::Text, "is added to the prompt of a role or type"),
    key("prompt_cache.*", Kind::Switch, "whether calls of a role or type ask for the provider's prompt cache"),
    key(
        "prompt_cache_retention.*",
        Kind::MaybeRetention,
        "how long the provider keeps the prefixes of a role or type, where its model takes that",
    ),
    key("escalation.start_at_most", Kind::MaybeTier, "work whose start nobody named starts here at most"),
    key("escalation.only_on", Kind::Grounds, "what may raise a tier"),
    key("hedging.percentile", count(50, 99), "a call is slow that takes longer than so many of a hundred of its tier and model"),
    key("hedging.min_samples", count(1, 256), "answered calls before any counts as slow"),
    key("hedging.max_share", Kind::Share, "largest share of second requests among all calls of a run"),
    key("limits.max_concurrent_subagents", Kind::Slots, "attempts in flight at once"),
    key("limits.max_attempts", count(1, 100), "attempts of one subtask over all tiers"),
    key("limits.max_replans", count(0, 1_000), "plan patches of one run"),
    key("limits.max_review_rounds", count(0, 1_000), "how often a review may send work back"),
    key("limits.compact_tokens", count(256, 100_000_000), "tokens by which the planner's conversation grows before it is condensed"),
    key("limits.compact_results", count(1, MANY), "results told to the planner before its conversation is condensed"),
    key("limits.max_compactions", count(0, MANY), "how often the planner's conversation may be condensed"),
    key("limits.max_subtasks", count(1, 10_000), "subtasks of one run"),
    key("limits.max_turns", count(1, MANY), "model calls of one attempt"),
    key("limits.max_tool_calls", count(0, MANY), "tool calls of one attempt"),
    key("limits.max_identical_calls", count(1, MANY), "same tool call with same arguments in one attempt"),
    key("limits.max_tries", count(1, 100), "sends of one call to one unavailable model"),
    key("limits.types.*.max_concurrent", count(1, 100_000), "attempts of a type in flight at once, in one run"),
    key("limits.tiers.*.max_concurrent", count(1, 100_000), "calls on a tier in flight at once, in one run"),
    key("limits.spill", Kind::Switch, "calls go to an alternate of their tier while their account is closed"),
    key("limits.planner_output_tokens", count(16, MANY), "output limit of a planner call"),
    key("limits.reviewer_output_tokens", count(16, MANY), "output limit of a review"),
    key("limits.executor_output_tokens", count(16, MANY), "output limit of an executor call"),
    key("limits.first_token_deadline", Kind::Span, "from sending a call to its first content"),
    key("limits.idle_deadline", Kind::Span, "between two pieces of content"),
    key("limits.call_deadline", Kind::Span, "one whole call"),
    key("limits.subtask_deadline", Kind::MaybeSpan, "from a subtask's start to its end"),
    key("budget.run_usd", Kind::Usd, "cap of one run"),
    key("budget.confirm_above_usd", Kind::MaybeUsd, "ask before a dearer plan starts"),
    key("budget.call_usd", Kind::MaybeUsd, "cap of one call"),
    key("budget.attempt_usd", Kind::MaybeUsd, "cap of one attempt"),
    key("budget.subtask_usd", Kind::MaybeUsd, "cap of one subtask, over all its rows"),
    key("budget.run_tokens", maybe(1, TOKENS), "cap on the tokens of one run"),
    key("budget.planner_usd", Kind::MaybeUsd, "cap on the planner's calls of one run"),
    key("budget.planner_tokens", maybe(1, TOKENS), "cap on the planner's tokens"),
    key("budget.executor_usd", Kind::MaybeUsd, "cap on the executors' calls of one run"),
    key("budget.executor_tokens", maybe(1, TOKENS), "cap on the executors' tokens"),
    key("budget.reviewer_usd", Kind::MaybeUsd, "cap on the reviews of one run"),
    key("budget.reviewer_tokens", maybe(1, TOKENS), "cap on the reviews' tokens"),
    key("budget.day_usd", Kind::MaybeUsd, "cap of one UTC day, over all runs of the home"),
    key("budget.day_tokens", maybe(1, TOKENS), "cap on the tokens of one UTC day, over all runs of the home"),
    key("budget.home_usd", Kind::MaybeUsd, "cap of all runs of the home together"),
    key("quota.window", Kind::MaybeSpan, "how long a unit of your quota counts"),
    key("quota.units", Kind::MaybeUnits, "units that may count at once"),
    key("quota.weights.*", Kind::Weight, "units of one call on a tier"),
    key("quota.windows.*.window", Kind::MaybeSpan, "the same for a further window"),
    key("quota.windows.*.units", Kind::MaybeUnits, "the same for a further window"),
    key("service.batch", Kind::Switch, "whether rows of bulk work go to their provider's Batch API"),
    key("service.batch_rows", count(1, 50_000), "rows that may be in batches at once"),
    key("service.batch_poll", Kind::Span, "how often a batch is asked after"),
    key("service.flex_fallback", Kind::Switch, "whether flex work without capacity is served at the default price in the end"),
];

/// Sections and keys that design.md names and that are not built yet; refused by name, with all below them.
const LATER: &[&str] = &["cache", "grants", "limits.hedging", "quality", "roles.judge", "shadow", "store", "telemetry"];

/// A key of the table, and its name with the free segment filled in.
#[derive(Debug)]
pub(super) struct Found {
    pub key: &'static Key,
    pub name: String,
}

/// Finds the key a name stands for.
pub(super) fn find(name: &str) -> Result<Found, Fault> {
    let later = LATER.iter().any(|later| name.strip_prefix(later).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
    if later {
        return Err(Fault::Unsupported { key: name.to_owned() });
    }
    let unknown = || Fault::Unknown { key: name.chars().take(120).collect(), nearest: nearest(name) };
    if name.len() > 200 {
        return Err(unknown());
    }
    lookup(name).ok_or_else(unknown)
}

fn lookup(name: &str) -> Option<Found> {
    for key in KEYS {
        let Some(free) = free_segment(key.name, name) else {
            continue;
        };
        let name = match (key.name, free) {
            ("routes.*" | "ladders.*" | "limits.types.*.max_concurrent", free) => match TaskType::parse(free) {
                Some(kind) => key.name.replace('*', kind.as_str()),
                None => continue,
            },
            ("effort.*" | "verbosity.*" | "prompts.*" | "additions.*" | "prompt_cache.*" | "prompt_cache_retention.*", free) => {
                match Who::parse(free) {
                    // One of each serves all of the planner's turns, so that its cache holds.
                    // Nor has a summary its own: it is written as its tier writes.
                    Some(Who::PlannerPatch | Who::Compactor) if key.name != "prompts.*" => continue,
                    Some(who) => key.name.replace('*', who.as_str()),
                    None => continue,
                }
            }
            _ => name.to_owned(),
        };
        return Some(Found { key, name });
    }
    None
}

/// What stands for `*` when `name` matches `pattern`; empty when `pattern` has none.
fn free_segment<'a>(pattern: &str, name: &'a str) -> Option<&'a str> {
    let Some((before, after)) = pattern.split_once('*') else {
        return (pattern == name).then_some("");
    };
    let middle = name.strip_prefix(before)?.strip_suffix(after)?;
    (!middle.is_empty() && !middle.contains('.')).then_some(middle)
}

/// The known key that resembles `name` most, if one does.
pub(super) fn nearest(name: &str) -> Option<String> {
    let name: String = name.chars().take(200).collect();
    let given: Vec<&str> = name.split('.').collect();
    let types = TaskType::ALL.iter().map(|kind| kind.as_str()).chain(["planner", "reviewer", "executor"]);
    let words: Vec<&str> = types.collect();
    let candidates = KEYS.iter().flat_map(|key| match key.name.split_once('*') {
        None => vec![key.name.to_owned()],
        // The name of a tier or a window is free: keep the one given. A type or a role is one of a list.
        Some((before @ ("tiers." | "limits.tiers." | "quota.weights." | "quota.windows."), _)) => {
            vec![key.name.replace('*', given.get(before.matches('.').count()).copied().unwrap_or("NAME"))]
        }
        Some(_) => words.iter().map(|word| key.name.replace('*', word)).filter(|k| lookup(k).is_some()).collect(),
    });
    let best = candidates.map(|known| (distance(&name, &known), known)).min()?;
    (best.0 <= (name.chars().count() / 3).clamp(1, 6)).then_some(best.1)
}

/// Edits (insert, remove, replace) that turn one text into the other.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
