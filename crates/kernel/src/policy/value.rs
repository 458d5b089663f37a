//! One value as a key wants it: text in, the right kind and range out, or the words that say what was wanted.

use std::collections::BTreeSet;

use super::keys::Kind;
use super::settings::Setting;
use super::settings::narrow;
use super::{Ground, MAIN_WINDOW, RouteTo, Share, Slots};
use crate::call::{Effort, Retention, Verbosity};
use crate::ids::{ModelRef, Tier};
use crate::plan::{TaskType, parse_span};
use crate::time::Millis;
use crate::units::{NanoUsd, QuotaUnits};

/// Largest cap that can be set: a million dollars, far below where sums saturate.
const MOST_USD: NanoUsd = NanoUsd(1_000_000 * NanoUsd::DOLLAR.0);

/// Largest weight of a call.
const MOST_WEIGHT: QuotaUnits = QuotaUnits(1_000 * QuotaUnits::ONE.0);

/// A value of the right kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Tier(Tier),
    Tiers(Vec<Tier>),
    Model(ModelRef),
    Models(Vec<ModelRef>),
    Route(RouteTo),
    Effort(Effort),
    Verbosity(Verbosity),
    Count(Option<u64>),
    Usd(Option<NanoUsd>),
    Span(Option<Millis>),
    Slots(Slots),
    Types(BTreeSet<TaskType>),
    MaybeTier(Option<Tier>),
    Grounds(Option<BTreeSet<Ground>>),
    Switch(bool),
    Word(String),
    Units(Option<QuotaUnits>),
    Share(Share),
    Retention(Option<Retention>),
    Text(String),
}

/// Reads what was written for a key of this kind.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(name: &str, kind: Kind, value: &Setting) -> Result<Value, String> {
    let text = || match value {
        Setting::Text(text) => Ok(text.trim()),
        Setting::List(_) | Setting::Empty => Err(format!("use one value: {}", kind.form())),
    };
    let list = || match value {
        Setting::List(list) => list.clone(),
        Setting::Text(text) => text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect(),
        Setting::Empty => Vec::new(),
    };
    let wrong = || format!("use {}", kind.form());
    let absent = |text: &str| text.eq_ignore_ascii_case("none");
    match kind {
        Kind::Tier => Tier::new(text()?).map(Value::Tier).map_err(|_| wrong()),
        Kind::MaybeTier => match text()? {
            text if absent(text) => Ok(Value::MaybeTier(None)),
            text => Tier::new(text).map(|tier| Value::MaybeTier(Some(tier))).map_err(|_| wrong()),
        },
        Kind::Grounds => match list().as_slice() {
            [any] if any.eq_ignore_ascii_case("any") => Ok(Value::Grounds(None)),
            // An empty list is one: nothing raises a tier.
            names => {
                let grounds: Option<BTreeSet<Ground>> = names.iter().map(|name| Ground::parse(name)).collect();
                grounds.map(|grounds| Value::Grounds(Some(grounds))).ok_or_else(wrong)
            }
        },
        Kind::Switch => match text()? {
            "true" => Ok(Value::Switch(true)),
            "false" => Ok(Value::Switch(false)),
            _ => Err(wrong()),
        },
        Kind::OneOf(words) => {
            let text = text()?;
            words.contains(&text).then(|| Value::Word(text.to_owned())).ok_or_else(wrong)
        }
        Kind::MaybeRetention => match text()? {
            text if absent(text) => Ok(Value::Retention(None)),
            text => named::<Retention>(text).map(|retention| Value::Retention(Some(retention))).ok_or_else(wrong),
        },
        Kind::Share => Share::parse(text()?).map(Value::Share).ok_or_else(wrong),
        Kind::Tiers => {
            let tiers: Vec<Tier> = list().iter().map(|t| Tier::new(t).map_err(|_| wrong())).collect::<Result<_, _>>()?;
            let distinct: BTreeSet<&Tier> = tiers.iter().collect();
            if tiers.is_empty() || distinct.len() != tiers.len() || tiers.len() > 16 {
                return Err("use 1 to 16 tiers, lowest first, each once".to_owned());
            }
            Ok(Value::Tiers(tiers))
        }
        Kind::Model => ModelRef::new(text()?).map(Value::Model).map_err(|_| wrong()),
        Kind::Models => {
            let models: Result<Vec<ModelRef>, String> = list().iter().map(|m| ModelRef::new(m).map_err(|_| wrong())).collect();
            models.map(Value::Models)
        }
        Kind::Route => {
            let text = text()?;
            let route = if text.contains('/') { ModelRef::new(text).map(RouteTo::Model) } else { Tier::new(text).map(RouteTo::Tier) };
            route.map(Value::Route).map_err(|_| wrong())
        }
        Kind::Effort => named::<Effort>(text()?).map(Value::Effort).ok_or_else(wrong),
        Kind::Verbosity => named::<Verbosity>(text()?).map(Value::Verbosity).ok_or_else(wrong),
        Kind::Count { min, max } => whole(text()?).filter(|n| (min..=max).contains(n)).map(|n| Value::Count(Some(n))).ok_or_else(wrong),
        Kind::MaybeCount { min, max } => match text()? {
            text if absent(text) => Ok(Value::Count(None)),
            text => whole(text).filter(|n| (min..=max).contains(n)).map(|n| Value::Count(Some(n))).ok_or_else(wrong),
        },
        Kind::Usd => usd(text()?).map(|usd| Value::Usd(Some(usd))).ok_or_else(wrong),
        Kind::MaybeUsd => match text()? {
            text if absent(text) => Ok(Value::Usd(None)),
            text => usd(text).map(|usd| Value::Usd(Some(usd))).ok_or_else(wrong),
        },
        Kind::Span => span(text()?).map(|span| Value::Span(Some(span))).ok_or_else(wrong),
        Kind::MaybeSpan => match text()? {
            text if absent(text) => Ok(Value::Span(None)),
            text => span(text).map(|span| Value::Span(Some(span))).ok_or_else(wrong),
        },
        Kind::Slots => match text()? {
            "auto" => Ok(Value::Slots(Slots::Auto)),
            text => whole(text).filter(|n| (1..=100_000).contains(n)).map(|n| Value::Slots(Slots::At(narrow(n)))).ok_or_else(wrong),
        },
        Kind::MaybeUnits => match text()? {
            text if absent(text) => Ok(Value::Units(None)),
            text => QuotaUnits::parse(text).filter(|units| !units.is_zero()).map(|units| Value::Units(Some(units))).ok_or_else(wrong),
        },
        Kind::Weight => {
            QuotaUnits::parse(text()?).filter(|units| *units <= MOST_WEIGHT).map(|units| Value::Units(Some(units))).ok_or_else(wrong)
        }
        Kind::Types => {
            let types: Option<BTreeSet<TaskType>> = list().iter().map(|t| TaskType::parse(t)).collect();
            types.map(Value::Types).ok_or_else(wrong)
        }
        Kind::Text => match value {
            Setting::Text(text) if text.trim().is_empty() => Err(format!("{name} is empty: write the prompt, or remove the key")),
            Setting::Text(text) if text.len() > 64 * 1024 => Err("at most 64 KiB".to_owned()),
            Setting::Text(text) => Ok(Value::Text(text.clone())),
            Setting::List(_) | Setting::Empty => Err(wrong()),
        },
    }
}

/// Names of further windows are shown and stored, so they are plain words.
pub(super) fn window_name(name: &str) -> Result<(), String> {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    match plain && (1..=32).contains(&name.len()) {
        true if name == MAIN_WINDOW => Err("that is the window of [quota] itself: choose another name".to_owned()),
        true => Ok(()),
        false => Err("name a window with 1 to 32 of a-z, 0-9, - and _".to_owned()),
    }
}

pub(super) fn named<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}

/// A whole number; `1_000` as TOML writes it.
fn whole(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn usd(text: &str) -> Option<NanoUsd> {
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    NanoUsd::parse_usd(&digits).filter(|usd| *usd > NanoUsd::ZERO && *usd <= MOST_USD)
}

fn span(text: &str) -> Option<Millis> {
    parse_span(text).filter(|span| (1_000..=30 * 86_400_000).contains(&span.0))
}
