//! The agent configuration of an `AGENTS.md`, line by line: which settings each asks for, and which it cannot be.
//!
//! A tolerant reader ([`outline`]) and a strict notion of what a line does: it sets keys of the configuration, or it
//! asks for what is always so, or it is refused with the reason, or it is not understood. No line is dropped in silence.
//! What it may set is bounded: no provider, no key, no grant, no budget above the one there is.

mod cost;
mod outline;
mod routing;
mod sizes;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use brigade_kernel::catalog::{Catalog, Day};
use brigade_kernel::ids::{ModelRef, Tier};
use brigade_kernel::policy::{Policy, Setting};

use outline::{Item, Section};
pub use routing::who;

/// A line of a workspace's file that asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The file, relative to the workspace.
    pub path: String,
    /// Counted from 1.
    pub line: usize,
    /// As written.
    pub says: String,
    /// What it does; at least one.
    pub effects: Vec<Effect>,
}

/// What a line does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It sets a key of the configuration.
    Sets(String, Setting),
    /// It asks for what happens anyway.
    Always(String),
    /// It was understood and is not done, and why.
    Refused(String),
    /// It does nothing, for this reason.
    NotUnderstood(String),
}

impl Effect {
    pub fn sets(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Sets(key.into(), Setting::Text(value.into()))
    }
}

/// What lines are read against: the configuration without them.
#[derive(Debug)]
pub struct Ground<'a> {
    /// Everything that other layers say.
    pub policy: &'a Policy,
    /// Models and prices.
    pub catalog: &'a Catalog,
    /// The day prices are asked for.
    pub today: Day,
    /// Providers that are configured and have their key.
    pub providers: &'a BTreeSet<String>,
}

/// What a model's name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    Tier(Tier),
    Model(ModelRef),
}

impl Ground<'_> {
    /// Resolves a tier's or a model's name. Only what has a price and a provider may be called.
    pub(super) fn model(&self, text: &str) -> Result<Named, String> {
        let text = text.trim().trim_matches(['"', '\'', '`', '.']).trim();
        let name = text.to_ascii_lowercase();
        if let Some(tier) = self.policy.ladder.iter().find(|tier| tier.as_str() == name) {
            return Ok(Named::Tier(tier.clone()));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._/:@".contains(c);
        if name.is_empty() || name.len() > 120 || !name.chars().all(plain) {
            return Err(format!("{:?} is no model's name", text.chars().take(60).collect::<String>()));
        }
        let candidates: Vec<ModelRef> = match name.contains('/') {
            true => [text, name.as_str()].into_iter().filter_map(|name| ModelRef::new(name).ok()).collect(),
            false => {
                let own = self.policy.tiers.values().map(|tier| tier.model.provider());
                let providers: Vec<&str> = own.chain(self.providers.iter().map(String::as_str)).collect();
                let of = |name: &str| providers.iter().filter_map(|p| ModelRef::new(&format!("{p}/{name}")).ok()).collect::<Vec<_>>();
                of(text).into_iter().chain(of(&name)).collect()
            }
        };
        let bound = |model: &&ModelRef| self.policy.tiers.values().any(|tier| tier.model == **model);
        if let Some(model) = candidates.iter().find(bound) {
            return Ok(Named::Model(model.clone()));
        }
        let mut why = format!("no price is known for a model {text}: brigade models --all lists those that have one");
        for model in candidates {
            match self.catalog.lookup(&model, self.today) {
                Ok(_) if self.providers.contains(model.provider()) => return Ok(Named::Model(model)),
                Ok(_) => why = format!("{model}: its provider {} is not configured, or has no key", model.provider()),
                Err(refusal) if name.contains('/') => why = refusal.to_string(),
                Err(_) => {}
            }
        }
        Err(why)
    }

    /// The rung that a model works on, the highest of several.
    pub(super) fn rung(&self, model: &ModelRef) -> Option<&Tier> {
        self.policy.ladder.iter().rev().find(|tier| self.policy.tier(tier).is_some_and(|bound| bound.model == *model))
    }

    /// The rung that usual work starts on.
    pub(super) fn executors(&self) -> &Tier {
        let ladder = &self.policy.ladder;
        let mini = || ladder.iter().find(|tier| tier.as_str() == "mini");
        self.policy.roles.executor.as_ref().or_else(mini).unwrap_or(&ladder[(ladder.len() - 1) / 2])
    }
}

/// What the agent configuration of a file says.
pub fn read(path: &str, text: &str, ground: &Ground<'_>) -> Vec<Line> {
    let items = outline::items(text);
    let mut lines: Vec<(bool, Line)> = Vec::new();
    let mut state = Collected::default();
    for item in &items {
        let effects = match item.section {
            Section::Routing => routing::effects(item, ground, &mut state),
            Section::Context => sizes::effects(item, ground),
            Section::Cost => cost::effects(item, ground, &mut state),
            Section::Other => {
                vec![unknown("no line here is read: settings stand under Model Routing, Context Management or Cost Optimization")]
            }
        };
        if !effects.is_empty() {
            lines.push((item.alone, Line { path: path.to_owned(), line: item.line, says: item.says.clone(), effects }));
        }
    }
    // Headings of that name in a file about something else: prose, as long as nothing there sets a thing.
    let speaks = lines.iter().any(|(_, line)| line.effects.iter().any(|effect| matches!(effect, Effect::Sets(..) | Effect::Refused(_))));
    lines.retain(|(alone, _)| speaks || !alone);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Binds a role or a type to the model a role file names.
pub fn bind_model(who: brigade_kernel::policy::Who, text: &str, ground: &Ground<'_>) -> Vec<Effect> {
    routing::model(who, text, ground, &mut Collected::default())
}

/// The lines of a file, from 0, that an agent configuration is made of, headings included.
pub fn lines_of(text: &str) -> BTreeSet<usize> {
    let items = outline::items(text);
    let numbers = || items.iter().filter(|item| !item.alone || item.section == Section::Routing).map(|item| item.line);
    let Some((first, last)) = numbers().min().zip(numbers().max()) else { return BTreeSet::new() };
    // Its headings stand in front of its lines.
    let lines: Vec<&str> = text.lines().collect();
    let from = (0..first - 1)
        .rev()
        .take_while(|n| lines[*n].trim().is_empty() || lines[*n].starts_with('#') || lines[*n].starts_with("```"))
        .last();
    let from = (from.unwrap_or(first - 1)..last).find(|n| !lines[*n].trim().is_empty()).unwrap_or(first - 1);
    (from..last).collect()
}

/// Whether a file has an agent configuration at all.
pub fn speaks(text: &str) -> bool {
    outline::items(text).iter().any(|item| !item.alone || item.section == Section::Routing)
}

/// What lines have said so far that later lines add to.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// What may raise a tier.
    grounds: BTreeSet<brigade_kernel::policy::Ground>,
    /// The planner's tier, where a line has named it.
    planner: Option<Tier>,
    /// The planner reviews too.
    reviews: bool,
    /// A reviewer was named.
    reviewer: bool,
}

pub fn unknown(why: impl Into<String>) -> Effect {
    Effect::NotUnderstood(why.into())
}

/// Yes or no, in the words people use.
pub(super) fn switch(text: &str) -> Option<bool> {
    match outline::letters(text).as_str() {
        "true" | "yes" | "on" | "enabled" | "enable" => Some(true),
        "false" | "no" | "off" | "disabled" | "disable" | "none" => Some(false),
        _ => None,
    }
}

/// A whole number as people write it: `8000`, `8,000`, `8_000`, `8k`, `8K tokens`.
pub(super) fn number(text: &str) -> Option<u64> {
    let from = text.find(|c: char| c.is_ascii_digit())?;
    let digits: String = text[from..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, ',' | '_')).collect();
    let rest = &text[from + digits.len()..];
    let plain: String = digits.chars().filter(char::is_ascii_digit).collect();
    let n: u64 = plain.parse().ok()?;
    match rest.chars().next() {
        Some('k' | 'K') => n.checked_mul(1_000),
        Some('.') if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => None,
        _ => Some(n),
    }
}

/// Parts of a line between semicolons; of a list also between commas.
pub(super) fn clauses(text: &str) -> impl Iterator<Item = &str> {
    text.trim().trim_start_matches(['{', '[']).trim_end_matches(['}', ']']).split(';').map(str::trim).filter(|part| !part.is_empty())
}

impl Item {
    /// Key and value as one text.
    fn whole(&self) -> String {
        self.key.as_ref().map_or_else(|| self.value.clone(), |key| format!("{key}: {}", self.value))
    }
}
