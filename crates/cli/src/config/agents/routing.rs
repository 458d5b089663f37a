//! "Model Routing": who is played by which model, in which words, with or without the cache.

use brigade_kernel::ids::{ModelRef, Tier};
use brigade_kernel::plan::TaskType;
use brigade_kernel::policy::Who;

use super::outline::{Item, letters};
use super::{Collected, Effect, Ground, Named, switch, unknown};

/// What can be said of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Model,
    Role,
    Cache,
    Effort,
    Verbosity,
}

fn field(word: &str) -> Option<Field> {
    Some(match letters(word).as_str() {
        "model" | "models" | "llm" => Field::Model,
        "role" | "roles" | "purpose" | "responsibility" | "responsibilities" | "usedfor" | "usefor" | "tasks" => Field::Role,
        "cache" | "caching" | "promptcache" | "promptcaching" | "cached" => Field::Cache,
        "effort" | "reasoning" | "reasoningeffort" | "modelreasoningeffort" | "thinking" => Field::Effort,
        "verbosity" => Field::Verbosity,
        _ => return None,
    })
}

/// Whom a name in a file means: a role or a type of subtask.
pub fn who(name: &str) -> Option<Who> {
    let name = letters(name);
    let name = ["agents", "agent", "role", "model", "tier"].into_iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    let kind = |kind: &str| TaskType::parse(kind).map(Who::Type);
    match name {
        "planner" | "plan" | "planning" | "orchestrator" | "lead" | "main" | "primary" => Some(Who::Planner),
        "reviewer" => Some(Who::Reviewer),
        "executor" | "executors" | "worker" | "workers" | "sub" | "subs" => Some(Who::Executor),
        "codereviewer" | "codereview" | "review" | "filereviewer" => kind("review_file"),
        "tester" | "testwriter" | "testrunner" | "tests" | "testing" => kind("test"),
        "debugger" | "debugging" | "bugfixer" => kind("debug"),
        "documenter" | "docs" | "docswriter" | "documentation" | "docwriter" | "technicalwriter" => kind("document"),
        "explorer" | "explore" | "searcher" | "finder" => kind("search"),
        "coder" | "developer" | "implementer" | "generator" | "codewriter" => kind("generate"),
        "editor" => kind("simple_edit"),
        "summarizer" | "summariser" => kind("summarize"),
        "classifier" => kind("classify"),
        "extractor" => kind("extract"),
        "ranker" => kind("rank"),
        "merger" => kind("merge"),
        "screenshots" => kind("screenshot"),
        _ => TaskType::ALL.into_iter().find(|kind| letters(kind.as_str()) == name).map(Who::Type).or_else(|| kind(name)),
    }
}

pub(super) fn effects(item: &Item, ground: &Ground<'_>, state: &mut Collected) -> Vec<Effect> {
    let key = item.key.as_deref().unwrap_or_default();
    if item.key.is_none() && who(&item.value).is_some() {
        return Vec::new();
    }
    let outer = || item.under.iter().rev().find_map(|under| who(under));
    if item.value.is_empty() {
        // A line that only opens something: its inner lines speak.
        return match who(key).or_else(|| field(key).and_then(|_| outer())) {
            Some(_) => Vec::new(),
            None => vec![unknown(format!("{key:?} is neither planner, executor, reviewer nor a type of subtask"))],
        };
    }
    if let (Some(field), Some(who)) = (field(key), outer()) {
        return one(who, field, &item.value, ground, state);
    }
    if let Some(who) = who(key) {
        // `planner_model: x` names both.
        let named = key.rsplit([' ', '_', '-', '.']).next().and_then(field);
        return match named.filter(|_| !item.value.contains(": ")) {
            Some(field) => one(who, field, &item.value, ground, state),
            None => fields(who, &item.value, ground, state),
        };
    }
    let combined = key.rsplit_once([' ', '_', '-', '.']).and_then(|(name, last)| Some((who(name)?, field(last)?)));
    match combined {
        Some((who, field)) => one(who, field, &item.value, ground, state),
        None if letters(key) == "default" || letters(key) == "defaultmodel" || letters(key) == "defaulttier" => {
            super::cost::default_tier(&item.value, ground)
        }
        None => match sentence(&item.whole(), ground) {
            Some((who, text)) => model(who, &text, ground, state),
            None => vec![unknown("it names neither planner, executor, reviewer nor a type of subtask")],
        },
    }
}

/// `model: X, role: Y and Z, cache: true`, or a model and what it is for.
fn fields(who: Who, value: &str, ground: &Ground<'_>, state: &mut Collected) -> Vec<Effect> {
    let value = value.trim().trim_start_matches('{').trim_end_matches('}');
    let mut found: Vec<(Field, String)> = Vec::new();
    let mut effects = Vec::new();
    for part in value.split([',', ';']).map(str::trim).filter(|part| !part.is_empty()) {
        let named = part.split_once([':', '=']).and_then(|(name, value)| Some((field(name)?, value.trim().to_owned())));
        match (named, found.last_mut()) {
            (Some(field), _) => found.push(field),
            // A role's text may hold commas.
            (None, Some((Field::Role, text))) => text.push_str(&format!(", {part}")),
            (None, None) => {
                let (model, role) = with_purpose(part, ground);
                match ground.model(model) {
                    Ok(_) => found.push((Field::Model, model.to_owned())),
                    Err(_) if model.contains(' ') => found.push((Field::Role, model.to_owned())),
                    Err(why) => effects.push(Effect::Refused(why)),
                }
                if !role.is_empty() {
                    found.push((Field::Role, role.to_owned()));
                }
            }
            (None, Some(_)) => effects.push(unknown(format!("{part:?} is neither model, role, cache, effort nor verbosity"))),
        }
    }
    for (field, text) in found {
        effects.extend(one(who, field, &text, ground, state));
    }
    effects
}

/// `gpt-5.4 (planning)`, `gpt-5.4 — planning`, `gpt-5.4 for planning`: a model, and what it is for.
fn with_purpose<'t>(text: &'t str, ground: &Ground<'_>) -> (&'t str, &'t str) {
    let Some((first, rest)) = text.trim().split_once(char::is_whitespace).filter(|(first, _)| ground.model(first).is_ok()) else {
        return (text, "");
    };
    let rest = rest.trim().trim_start_matches(['—', '–', '-', ':', '(']).trim().trim_end_matches(')');
    (first, rest.strip_prefix("for ").unwrap_or(rest).trim())
}

/// `The planner uses gpt-5.4`: one role and one model in a sentence.
fn sentence(text: &str, ground: &Ground<'_>) -> Option<(Who, String)> {
    let words: Vec<&str> = text.split_whitespace().map(|word| word.trim_matches(|c: char| ",.;:()\"'`".contains(c))).collect();
    let role = |word: &&str| {
        matches!(
            letters(word).as_str(),
            "planner" | "planning" | "reviewer" | "executor" | "executors" | "worker" | "workers" | "subagents"
        )
    };
    let model = |word: &&str| (word.contains(|c: char| c.is_ascii_digit()) || word.contains('/')) && ground.model(word).is_ok();
    let roles: Vec<&str> = words.iter().copied().filter(role).collect();
    let models: Vec<&str> = words.iter().copied().filter(model).collect();
    match (&roles[..], &models[..]) {
        ([one], [model]) => Some((who(one)?, (*model).to_owned())),
        _ => None,
    }
}

fn one(who: Who, field: Field, text: &str, ground: &Ground<'_>, state: &mut Collected) -> Vec<Effect> {
    let text = text.trim().trim_matches(['"', '\'']);
    let at = who.as_str();
    match field {
        Field::Model => {
            let (name, role) = with_purpose(text, ground);
            let mut effects = model(who, name, ground, state);
            if !role.is_empty() {
                effects.extend(one(who, Field::Role, role, ground, state));
            }
            effects
        }
        Field::Role => {
            let mut effects = vec![Effect::sets(format!("additions.{at}"), format!("Your part: {}.", text.trim_end_matches('.')))];
            if who == Who::Planner && letters(text).contains("review") {
                state.reviews = true;
                effects.extend(reviews_too(state));
            }
            effects
        }
        Field::Cache => match switch(text) {
            Some(on) => vec![Effect::sets(format!("prompt_cache.{at}"), on.to_string())],
            None => vec![unknown(format!("cache is on or off, not {text:?}"))],
        },
        Field::Effort => vec![Effect::sets(format!("effort.{at}"), text.to_ascii_lowercase())],
        Field::Verbosity => vec![Effect::sets(format!("verbosity.{at}"), text.to_ascii_lowercase())],
    }
}

/// Binds a role or a type to a model: to the rung that has it, else the role's rung is bound to it.
pub(super) fn model(who: Who, text: &str, ground: &Ground<'_>, state: &mut Collected) -> Vec<Effect> {
    let to = match ground.model(text) {
        Ok(Named::Tier(tier)) => To::Rung(tier),
        Ok(Named::Model(model)) => ground.rung(&model).cloned().map_or(To::Model(model), To::Rung),
        Err(why) => return vec![Effect::Refused(why)],
    };
    let bind = |tier: &Tier, model: &ModelRef| Effect::sets(format!("tiers.{tier}.model"), model.as_str());
    match (who, to) {
        (Who::Planner | Who::PlannerPatch, to) => {
            let (own, effect) = match to {
                To::Rung(tier) => (tier.clone(), Effect::sets("roles.planner", tier.as_str())),
                To::Model(model) => (ground.policy.planner().clone(), bind(ground.policy.planner(), &model)),
            };
            state.planner = Some(own);
            std::iter::once(effect).chain(reviews_too(state)).collect()
        }
        (Who::Reviewer, to) => {
            state.reviewer = true;
            vec![match to {
                To::Rung(tier) => Effect::sets("roles.reviewer", tier.as_str()),
                To::Model(model) => bind(ground.policy.reviewer(), &model),
            }]
        }
        (Who::Executor, To::Rung(tier)) => vec![Effect::sets("roles.executor", tier.as_str())],
        (Who::Executor, To::Model(_)) if ground.executors() == ground.policy.planner() => {
            vec![Effect::Refused("planner and executors share the only tier: give the executors one of their own".to_owned())]
        }
        (Who::Executor, To::Model(model)) => {
            vec![bind(ground.executors(), &model), Effect::sets("roles.executor", ground.executors().as_str())]
        }
        (Who::Compactor, _) => vec![Effect::Refused("whoever summarizes condenses the planner's conversation: name summarize".to_owned())],
        (Who::Type(kind), To::Rung(tier)) => vec![Effect::sets(format!("routes.{kind}"), tier.as_str())],
        (Who::Type(kind), To::Model(model)) => vec![Effect::sets(format!("routes.{kind}"), model.as_str())],
    }
}

/// Where a role or a type goes with a model.
enum To {
    /// To the rung that has it.
    Rung(Tier),
    /// To a rung that is to be bound to it.
    Model(ModelRef),
}

/// A planner that also reviews takes the review to its own tier.
fn reviews_too(state: &Collected) -> Option<Effect> {
    let tier = state.planner.as_ref().filter(|_| state.reviews && !state.reviewer)?;
    Some(Effect::sets("roles.reviewer", tier.as_str()))
}
