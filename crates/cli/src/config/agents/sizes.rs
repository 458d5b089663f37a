//! "Context Management": how much a subtask is shown. Most of what such sections ask for is how brigade works anyway.

use brigade_kernel::policy::{KEYS, Kind};

use super::outline::{Item, letters};
use super::{Effect, Ground, clauses, number, unknown};

pub(super) fn effects(item: &Item, ground: &Ground<'_>) -> Vec<Effect> {
    let key = item.key.as_deref().unwrap_or_default();
    if item.value.is_empty() {
        return Vec::new();
    }
    // `Pass only relevant files; max_context_tokens: 8000`: the key is part of the last clause.
    clauses(&item.whole()).flat_map(|clause| clause_effects(clause, key, ground)).collect()
}

fn clause_effects(clause: &str, key: &str, ground: &Ground<'_>) -> Vec<Effect> {
    let words = clause.to_lowercase();
    let has = |any: &[&str]| any.iter().any(|word| words.contains(word));
    if let Some(effect) = setting(clause) {
        return vec![effect];
    }
    if has(&["planner", "orchestrator"]) {
        return vec![unknown("the planner's own context has no soft limit to set")];
    }
    if let Some(n) = number(clause) {
        if has(&["compact", "summar"]) {
            let key = if has(&["result"]) { "limits.compact_results" } else { "limits.compact_tokens" };
            return vec![Effect::sets(key, n.to_string())];
        }
        if has(&["token", "context", "window"])
            && (has(&["max", "limit", "under", "below", "at most", "budget", "up to", "exceed", "than"]) || key_says(key))
        {
            return soft_limit(n, ground);
        }
    }
    let never = has(&["never", "not ", "n't", "no ", "avoid", "without"]);
    let always = if has(&["relevant", "only the files", "minimal context", "only necessary", "only needed"]) {
        "a subtask is shown the files it names, and of those the parts most like its description"
    } else if never && has(&["history", "conversation", "transcript", "entire", "whole repo", "full context", "full repo"]) {
        "an executor never sees the conversation, nor files it does not name"
    } else if has(&["fresh context", "clean context", "isolated", "own context", "reset context", "clear context"]) {
        "every subtask starts with a context of its own"
    } else if has(&["prefix", "stable", "static"]) && has(&["cache", "first", "prompt"]) {
        "rules and shared instructions come first, in the same bytes for all siblings"
    } else {
        return vec![unknown("no setting does this")];
    };
    vec![Effect::Always(always.to_owned())]
}

fn key_says(key: &str) -> bool {
    let key = letters(key);
    ["maxcontexttokens", "contexttokens", "maxtokens", "contextlimit", "contextwindow", "contextbudget", "tokenbudget"]
        .contains(&key.as_str())
}

/// The soft limit of the executors' rung, and of those below it where it is tighter.
fn soft_limit(n: u64, ground: &Ground<'_>) -> Vec<Effect> {
    let own = ground.executors();
    let mut effects = Vec::new();
    for tier in &ground.policy.ladder {
        let now = ground.policy.tier(tier).and_then(|bound| bound.max_context_tokens);
        if tier == own {
            effects.push(Effect::sets(format!("tiers.{tier}.max_context_tokens"), n.to_string()));
            break;
        }
        if now.is_none_or(|now| u64::from(now) > n) {
            effects.push(Effect::sets(format!("tiers.{tier}.max_context_tokens"), n.to_string()));
        }
    }
    effects
}

/// A clause that names a key of the configuration itself: `max_attempts: 3`, `limits.max_turns = 8`.
pub(super) fn setting(clause: &str) -> Option<Effect> {
    let (name, value) = clause.split_once([':', '='])?;
    let name = name.trim().to_ascii_lowercase().replace([' ', '-'], "_");
    let fits = |key: &str| key.strip_prefix("limits.").is_some_and(|short| short == name || key == name);
    let key = KEYS.iter().find(|key| fits(key.name))?;
    let value = match key.kind {
        Kind::Count { .. } | Kind::MaybeCount { .. } => number(value).map_or_else(|| value.trim().to_owned(), |n| n.to_string()),
        _ => value.trim().to_owned(),
    };
    Some(Effect::sets(key.name, value))
}
