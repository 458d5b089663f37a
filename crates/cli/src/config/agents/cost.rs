//! "Cost Optimization": where work starts, what may raise it, what a run may cost.

use brigade_kernel::policy::Ground as Raises;
use brigade_kernel::units::NanoUsd;

use super::outline::{Item, letters};
use super::{Collected, Effect, Ground, Named, clauses, number, sizes, switch, unknown};

pub(super) fn effects(item: &Item, ground: &Ground<'_>, state: &mut Collected) -> Vec<Effect> {
    let key = item.key.as_deref().unwrap_or_default();
    if item.under.iter().any(|under| escalates(under)) {
        return conditions(&item.whole(), state);
    }
    if escalates(key) {
        return if item.value.is_empty() { Vec::new() } else { conditions(&item.value, state) };
    }
    if item.value.is_empty() {
        return vec![unknown("no setting does this")];
    }
    clauses(&item.whole()).flat_map(|clause| clause_effects(clause, ground, state)).collect()
}

fn clause_effects(clause: &str, ground: &Ground<'_>, state: &mut Collected) -> Vec<Effect> {
    let words = clause.to_lowercase();
    if let Some(at) = words.find("escalat").filter(|_| words.contains("only")) {
        let conditions_at =
            ["only when", "only if", "only after", "only on", "only for"].iter().find_map(|w| Some(words[at..].find(w)? + at + w.len()));
        // Lower case may differ in length from what was written: cut the one that was measured.
        return conditions_at.map_or_else(|| vec![unknown("say when: escalate only when …")], |from| conditions(&words[from..], state));
    }
    if let Some(effect) = sizes::setting(clause) {
        return vec![effect];
    }
    if words.contains("default") || words.contains("start with") || words.contains("start on") || words.contains("prefer") {
        return default_tier(clause, ground);
    }
    let about_money =
        ["budget", "max cost", "max_cost", "cost limit", "cost_limit", "spend", "run_usd", "cap"].iter().any(|word| words.contains(word));
    match money(&words).filter(|_| about_money) {
        Some(usd) if usd <= ground.policy.budget.run_usd => vec![Effect::sets("budget.run_usd", usd.usd())],
        Some(usd) => vec![Effect::Refused(format!(
            "{usd} is above the cap of {}, which only you can raise: [budget] run_usd or --max-budget-usd",
            ground.policy.budget.run_usd
        ))],
        None => vec![unknown("no setting does this")],
    }
}

/// `Default to mini`, `default_model: X`, `default-to-mini: true`: where work starts at most.
pub(super) fn default_tier(clause: &str, ground: &Ground<'_>) -> Vec<Effect> {
    if let Some((_, value)) = clause.split_once([':', '='])
        && switch(value) == Some(false)
    {
        return vec![Effect::Always("off, as without this line".to_owned())];
    }
    let words = clause.split(|c: char| c.is_whitespace() || ",;()=\"'`→".contains(c)).flat_map(|word| {
        let word = word.trim_matches([':', '.']);
        // `default-to-mini` is three words, a model's name is one.
        let inner = if word.to_ascii_lowercase().contains("default") { word.split(['-', '_']).collect() } else { vec![word] };
        inner.into_iter().filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<String>>()
    });
    let mut refused = None;
    for word in words.filter(|word| !STOP.contains(&word.to_lowercase().as_str())) {
        let tier = match ground.model(&word) {
            Ok(Named::Tier(tier)) => Some(tier),
            Ok(Named::Model(model)) => match ground.rung(&model) {
                Some(tier) => Some(tier.clone()),
                None => {
                    refused = Some(format!("{model} is on no tier: bind it to one under Model Routing"));
                    None
                }
            },
            Err(_) => None,
        };
        if let Some(tier) = tier {
            return vec![Effect::sets("escalation.start_at_most", tier.as_str())];
        }
    }
    vec![refused.map_or_else(|| unknown("it names neither a tier nor a model of one"), Effect::Refused)]
}

const STOP: [&str; 14] =
    ["default", "to", "the", "model", "tier", "use", "for", "all", "tasks", "subtasks", "by", "true", "prefer", "always"];

fn escalates(text: &str) -> bool {
    let name = letters(text);
    name.starts_with("escalateonly")
        || name.starts_with("onlyescalate")
        || matches!(name.as_str(), "escalate" | "escalation" | "escalatewhen" | "escalateif")
        || (name.contains("escalat") && name.contains("only") && (name.ends_with("when") || name.ends_with("if")))
}

/// Each condition on its own: those that can be, raise a tier; the others are told.
fn conditions(text: &str, state: &mut Collected) -> Vec<Effect> {
    let text = text.trim().trim_start_matches(['[', '{']).trim_end_matches([']', '}', '.']);
    let text = text.replace(" or ", ",").replace(" and ", ",").replace(" OR ", ",");
    let mut effects = Vec::new();
    let mut known = false;
    for condition in text.split([',', ';']).map(|part| part.trim().trim_matches(['"', '\''])).filter(|part| !part.is_empty()) {
        match grounds(condition) {
            Ok(found) if found.is_empty() => {
                effects.push(Effect::Always(format!("{condition}: goes to the planner, which may cut or change the work")));
            }
            Ok(found) => {
                known = true;
                state.grounds.extend(found);
            }
            Err(why) => effects.push(unknown(format!("{condition:?}: {why}"))),
        }
    }
    if known {
        let names: Vec<&str> = state.grounds.iter().map(|ground| ground.as_str()).collect();
        effects.insert(0, Effect::sets("escalation.only_on", names.join(",")));
    }
    effects
}

/// What of it the run can see; nothing for what always goes to the planner.
fn grounds(condition: &str) -> Result<Vec<Raises>, String> {
    let words = condition.to_lowercase();
    let has = |any: &[&str]| any.iter().any(|word| words.contains(word));
    let many =
        ["three", "four", "five", "six", "seven", "eight", "nine", "ten"].iter().any(|n| words.split_whitespace().any(|word| word == *n));
    if many || number(&words).is_some_and(|n| n > 2) {
        return Err("a tier is raised after two failures on it, never later".to_owned());
    }
    if has(&["context", "too large", "too long", "token"]) && has(&["exceed", "too", "over", "large", "long", "window", "limit"]) {
        return Ok(vec![Raises::Context, Raises::Length]);
    }
    if has(&["too big", "too_big", "blocked", "needs context", "needs_context", "missing context", "out of scope", "out_of_scope"]) {
        return Ok(Vec::new());
    }
    Ok(match () {
        () if has(&["conflict"]) => vec![Raises::Conflict],
        () if has(&["schema", "json", "malformed", "format", "invalid", "parse"]) => vec![Raises::Form],
        () if has(&["test", "check", "build", "compil", "lint", "typecheck", "verif", "ci "]) => vec![Raises::Check],
        () if has(&["review"]) => vec![Raises::Review],
        () if has(&["unsure", "uncertain", "confiden", "cannot tell", "inconclusive"]) => vec![Raises::Unsure],
        () if has(&["complex", "architect", "multi-file", "multiple files", "several files", "cross-module"]) => vec![Raises::Complexity],
        () if has(&["stuck", "loop", "out of turns", "no progress", "turns"]) => vec![Raises::Turns],
        () if has(&["refus", "declin"]) => vec![Raises::Refusal],
        () if has(&["fail", "error", "wrong"]) => vec![Raises::Check, Raises::Form],
        () => return Err("nothing a run can see".to_owned()),
    })
}

/// Dollars in a text: `$2`, `2.50 USD`, `max_cost_usd: 2`.
fn money(words: &str) -> Option<NanoUsd> {
    if !words.contains('$') && !words.contains("usd") && !words.contains("dollar") {
        return None;
    }
    let from = words.find('$').map_or_else(|| words.find(|c: char| c.is_ascii_digit()), |at| Some(at + 1))?;
    let digits: String = words[from..].trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    NanoUsd::parse_usd(digits.trim_end_matches('.')).filter(|usd| *usd > NanoUsd::ZERO)
}
