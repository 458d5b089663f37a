//! The gate for catalog text: `models.toml`, and `[models]` of a configuration file.
//!
//! Amounts are read from their decimal text, never through a float. Unknown fields are refused
//! by name; the first fault ends the reading and leaves no half-read catalog behind.

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as NoSuchName, StrDeserializer};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::price::{Listed, ListedRates};
use super::{Catalog, Codex, DatedPrice, Day, Mode, Model, TierDefault};
use crate::call::Effort;
use crate::ids::{ModelRef, Tier};
use crate::units::{NanoUsd, Rate};

/// No rate above a million dollars per million tokens: a slip of the unit.
const MOST_DOLLARS: u64 = 1_000_000;
/// No window above a billion tokens.
const MOST_TOKENS: u64 = 1_000_000_000;
/// More rows than any list has; a bound on what a file can make us hold.
const MOST_MODELS: usize = 10_000;

/// Catalog text that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// No TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What the TOML reader says.
        message: String,
    },
    /// A field that is unknown, missing or holds the wrong thing.
    #[error("line {line}: {row}: {field}: {problem}")]
    Field {
        /// Counted from 1.
        line: usize,
        /// The table, e.g. `models."openai/gpt-5.4"`.
        row: String,
        /// The field within it, e.g. `flex.cached`.
        field: String,
        /// What is wrong, and what to write.
        problem: String,
    },
}

type Read<T> = Result<T, CatalogError>;
type Value<'t> = Spanned<DeValue<'t>>;

/// Where in the text we are: what every error names.
#[derive(Clone, Copy)]
struct Place<'a> {
    text: &'a str,
    row: &'a str,
}

impl Place<'_> {
    fn line(&self, at: usize) -> usize {
        self.text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1
    }

    fn fault<T>(&self, at: usize, field: &str, problem: impl Into<String>) -> Read<T> {
        Err(CatalogError::Field { line: self.line(at), row: self.row.to_owned(), field: field.to_owned(), problem: problem.into() })
    }

    fn unknown<T>(&self, at: usize, field: &str) -> Read<T> {
        self.fault(at, field, "no such field; check its spelling")
    }

    fn table<'v, 't>(&self, field: &str, value: &'v Value<'t>) -> Read<&'v DeTable<'t>> {
        match value.get_ref().as_table() {
            Some(table) => Ok(table),
            None => self.fault(value.span().start, field, "write a table"),
        }
    }

    fn array<'v, 't>(&self, field: &str, value: &'v Value<'t>) -> Read<&'v DeArray<'t>> {
        match value.get_ref().as_array() {
            Some(array) => Ok(array),
            None => self.fault(value.span().start, field, "write an array"),
        }
    }

    fn text<'v>(&self, field: &str, value: &'v Value<'_>) -> Read<&'v str> {
        match value.get_ref().as_str() {
            Some(text) => Ok(text),
            None => self.fault(value.span().start, field, "write a text in quotes"),
        }
    }

    fn whole(&self, field: &str, value: &Value<'_>, most: u64) -> Read<u64> {
        let number = value.get_ref().as_integer().filter(|n| n.radix() == 10).and_then(|n| n.as_str().parse().ok());
        match number {
            Some(n) if n <= most => Ok(n),
            _ => self.fault(value.span().start, field, format!("write a whole number from 0 to {most}")),
        }
    }

    /// Dollars per million tokens: at most 6 places, since a [`Rate`] counts millionths.
    fn rate(&self, field: &str, value: &Value<'_>) -> Read<Rate> {
        let text = match value.get_ref() {
            DeValue::Integer(n) if n.radix() == 10 => n.as_str(),
            DeValue::Float(f) => f.as_str(),
            _ => return self.fault(value.span().start, field, "write dollars per million tokens as a number, such as 2.50"),
        };
        let text = if text.contains('.') { text.trim_end_matches('0') } else { text };
        match NanoUsd::parse_usd(text) {
            Some(NanoUsd(nano)) if nano.is_multiple_of(1000) && nano <= MOST_DOLLARS * NanoUsd::DOLLAR.0 => Ok(Rate(nano / 1000)),
            _ => self.fault(
                value.span().start,
                field,
                format!("{text} is no price: dollars per million tokens, from 0 to {MOST_DOLLARS}, at most 6 decimal places, no exponent"),
            ),
        }
    }

    fn day(&self, field: &str, value: &Value<'_>) -> Read<Day> {
        let day = match value.get_ref() {
            DeValue::String(text) => Day::parse(text),
            DeValue::Datetime(date) => Day::parse(&date.to_string()),
            _ => None,
        };
        match day {
            Some(day) => Ok(day),
            None => self.fault(value.span().start, field, "write a day as YYYY-MM-DD"),
        }
    }

    /// A name of a closed list, by the names that its serialised form uses.
    fn name<'d, T: Deserialize<'d>>(&self, field: &str, value: &'d Value<'_>) -> Read<T> {
        let text: StrDeserializer<'d, NoSuchName> = self.text(field, value)?.into_deserializer();
        match T::deserialize(text) {
            Ok(name) => Ok(name),
            Err(e) => self.fault(value.span().start, field, e.to_string()),
        }
    }
}

fn document(text: &str) -> Read<Spanned<DeTable<'_>>> {
    DeTable::parse(text).map_err(|e| CatalogError::Syntax {
        line: Place { text, row: "" }.line(e.span().map_or(0, |span| span.start)),
        message: e.message().to_owned(),
    })
}

/// Reads a whole `models.toml` into an empty catalog.
pub(super) fn models_file(catalog: &mut Catalog, text: &str) -> Read<()> {
    let root = document(text)?;
    let top = Place { text, row: "top level" };
    let (mut ladder, mut tiers) = (None, None);
    for (key, value) in root.get_ref() {
        match key.get_ref().as_ref() {
            "as_of" => catalog.as_of = Some(top.day("as_of", value)?),
            "ladder" => ladder = Some(value),
            "tiers" => tiers = Some(top.table("tiers", value)?),
            "models" => models(catalog, text, top.table("models", value)?)?,
            other => return top.unknown(key.span().start, other),
        }
    }
    if let Some(ladder) = ladder {
        for step in top.array("ladder", ladder)? {
            let name = top.text("ladder", step)?;
            let place = Place { text, row: &format!("tiers.{name}") };
            let Some(value) = tiers.and_then(|tiers| tiers.get(name)) else {
                return place.fault(step.span().start, "model", "the ladder names this tier: give it a model");
            };
            catalog.tiers.push(tier(place, name, value)?);
        }
    }
    for (key, _) in tiers.into_iter().flatten() {
        if !catalog.tiers.iter().any(|t| t.tier.as_str() == key.get_ref().as_ref()) {
            return top.fault(key.span().start, "ladder", format!("does not name tier {:?}", key.get_ref()));
        }
    }
    Ok(())
}

/// Reads `[models]` of a configuration file over a catalog.
pub(super) fn config(catalog: &mut Catalog, text: &str) -> Read<()> {
    let root = document(text)?;
    match root.get_ref().get("models") {
        Some(value) => models(catalog, text, Place { text, row: "top level" }.table("models", value)?),
        None => Ok(()),
    }
}

fn tier(place: Place<'_>, name: &str, value: &Value<'_>) -> Read<TierDefault> {
    let at = value.span().start;
    let tier = match Tier::new(name) {
        Ok(tier) => tier,
        Err(e) => return place.fault(at, "name", e.to_string()),
    };
    let (mut model, mut effort, mut max_context_tokens) = (None, None, None);
    for (key, value) in place.table("tier", value)? {
        match key.get_ref().as_ref() {
            "model" => match ModelRef::new(place.text("model", value)?) {
                Ok(name) => model = Some(name),
                Err(e) => return place.fault(value.span().start, "model", e.to_string()),
            },
            "effort" => effort = Some(place.name("effort", value)?),
            "max_context_tokens" => max_context_tokens = Some(place.whole("max_context_tokens", value, MOST_TOKENS)?),
            other => return place.unknown(key.span().start, other),
        }
    }
    match model {
        Some(model) => Ok(TierDefault { tier, model, effort, max_context_tokens }),
        None => place.fault(at, "model", "is missing"),
    }
}

fn models(catalog: &mut Catalog, text: &str, rows: &DeTable<'_>) -> Read<()> {
    for (key, value) in rows {
        let row = format!("models.{:?}", key.get_ref());
        let place = Place { text, row: &row };
        let name = match ModelRef::new(key.get_ref()) {
            Ok(name) => name,
            Err(e) => return place.fault(key.span().start, "name", e.to_string()),
        };
        if catalog.models.len() >= MOST_MODELS {
            return place.fault(key.span().start, "name", format!("more than {MOST_MODELS} models"));
        }
        let model = model(catalog, place, &name, value)?;
        catalog.models.insert(name, model);
    }
    Ok(())
}

/// The row to start from: the one of that name, the one named by `same_as`, or an empty one.
fn start(catalog: &Catalog, place: Place<'_>, name: &ModelRef, table: &DeTable<'_>) -> Read<Model> {
    let Some(value) = table.get("same_as") else {
        return Ok(catalog.models.get(name).cloned().unwrap_or_else(|| Model {
            name: name.clone(),
            input_window: None,
            output_window: None,
            mode: Mode::Chat,
            efforts: Vec::new(),
            default_effort: None,
            cache_retention: Vec::new(),
            supports: Vec::new(),
            image_tokens: None,
            retires: None,
            unlisted: None,
            regional_percent: 0,
            codex: None,
            source: "configuration".into(),
            note: None,
            prices: Vec::new(),
        }));
    };
    let other = place.text("same_as", value)?;
    match ModelRef::new(other).ok().and_then(|other| catalog.model(&other)) {
        Some(row) => Ok(Model { name: name.clone(), ..row.clone() }),
        None => place.fault(value.span().start, "same_as", format!("no model {other:?} in the catalog (`brigade models`)")),
    }
}

fn model(catalog: &Catalog, place: Place<'_>, name: &ModelRef, value: &Value<'_>) -> Read<Model> {
    let table = place.table("model", value)?;
    let mut model = start(catalog, place, name, table)?;
    let mut own_price = false;
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "same_as" => {}
            "input_window" => model.input_window = Some(place.whole("input_window", value, MOST_TOKENS)?),
            "output_window" => model.output_window = Some(place.whole("output_window", value, MOST_TOKENS)?),
            "mode" => model.mode = place.name("mode", value)?,
            "efforts" => model.efforts = efforts(place, value)?,
            "default_effort" => model.default_effort = Some(place.name("default_effort", value)?),
            "cache_retention" => {
                let names = place.array("cache_retention", value)?.iter().map(|s| place.name("cache_retention", s));
                model.cache_retention = names.collect::<Read<_>>()?;
            }
            "supports" => {
                let names = place.array("supports", value)?.iter().map(|s| place.text("supports", s).map(Into::into));
                model.supports = names.collect::<Read<_>>()?;
            }
            "image_tokens" => model.image_tokens = Some(place.whole("image_tokens", value, MOST_TOKENS)?),
            "retires" if value.get_ref().as_str() == Some("never") => model.retires = None,
            "retires" => model.retires = Some(place.day("retires", value)?),
            "unlisted" => model.unlisted = Some(place.day("unlisted", value)?),
            "regional_percent" => model.regional_percent = place.whole("regional_percent", value, 1000)?,
            "codex" => model.codex = Some(codex(place, value)?),
            "source" => model.source = place.text("source", value)?.into(),
            "note" => model.note = Some(place.text("note", value)?.into()),
            "prices" => model.prices = prices(place, value)?,
            field if PRICE_FIELDS.contains(&field) => own_price = true,
            other => return place.unknown(key.span().start, other),
        }
    }
    if own_price {
        if let Some(prices) = table.get("prices") {
            return place.fault(prices.span().start, "prices", "write either prices or input and output beside it, not both");
        }
        let price = listed(place, table, value.span().start)?.complete();
        model.prices = vec![DatedPrice { from: Day::FIRST, source: None, price }];
    }
    let priced = own_price || table.get("prices").is_some();
    if priced && table.get("unlisted").is_none() {
        model.unlisted = None;
    }
    Ok(model)
}

fn efforts(place: Place<'_>, value: &Value<'_>) -> Read<Vec<Effort>> {
    let names = place.array("efforts", value)?.iter().map(|s| place.name("efforts", s));
    let mut efforts = names.collect::<Read<Vec<Effort>>>()?;
    efforts.sort_unstable();
    efforts.dedup();
    Ok(efforts)
}

fn codex(place: Place<'_>, value: &Value<'_>) -> Read<Codex> {
    let mut codex = Codex { context_window: 0, tool_output_limit: 0, limit_is_tokens: true, default_effort: Effort::Medium };
    for (key, value) in place.table("codex", value)? {
        match key.get_ref().as_ref() {
            "context_window" => codex.context_window = place.whole("codex.context_window", value, MOST_TOKENS)?,
            "tool_output_tokens" => codex.tool_output_limit = place.whole("codex.tool_output_tokens", value, MOST_TOKENS)?,
            "tool_output_bytes" => {
                codex.limit_is_tokens = false;
                codex.tool_output_limit = place.whole("codex.tool_output_bytes", value, MOST_TOKENS)?;
            }
            "default_effort" => codex.default_effort = place.name("codex.default_effort", value)?,
            other => return place.unknown(key.span().start, &format!("codex.{other}")),
        }
    }
    Ok(codex)
}

fn prices(place: Place<'_>, value: &Value<'_>) -> Read<Vec<DatedPrice>> {
    let mut prices: Vec<DatedPrice> = Vec::new();
    for entry in place.array("prices", value)? {
        let at = entry.span().start;
        let table = place.table("prices", entry)?;
        let Some(from) = table.get("from") else {
            return place.fault(at, "prices.from", "is missing: the day the price was first seen");
        };
        let from = place.day("prices.from", from)?;
        if prices.last().is_some_and(|last| last.from >= from) {
            return place.fault(at, "prices.from", "prices go from the oldest to the newest");
        }
        let mut source = None;
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "from" => {}
                "source" => source = Some(place.text("prices.source", value)?.into()),
                field if PRICE_FIELDS.contains(&field) => {}
                other => return place.unknown(key.span().start, &format!("prices.{other}")),
            }
        }
        prices.push(DatedPrice { from, source, price: listed(place, table, at)?.complete() });
    }
    Ok(prices)
}

const RATE_FIELDS: [&str; 4] = ["input", "cached", "cache_write", "output"];
const PRICE_FIELDS: [&str; 12] = [
    "input",
    "cached",
    "cache_write",
    "output",
    "long_over",
    "long",
    "flex",
    "flex_long",
    "priority",
    "priority_long",
    "batch",
    "batch_long",
];

/// The price fields of a table; other fields are its reader's business.
fn listed(place: Place<'_>, table: &DeTable<'_>, at: usize) -> Read<Listed> {
    let variant = |field: &str| -> Read<Option<ListedRates>> {
        let Some(value) = table.get(field) else { return Ok(None) };
        let inner = place.table(field, value)?;
        for (key, _) in inner {
            if !RATE_FIELDS.contains(&key.get_ref().as_ref()) {
                return place.unknown(key.span().start, &format!("{field}.{}", key.get_ref()));
            }
        }
        rates(place, inner, &format!("{field}."), value.span().start).map(Some)
    };
    let listed = Listed {
        base: rates(place, table, "", at)?,
        long_over: table.get("long_over").map(|v| place.whole("long_over", v, MOST_TOKENS)).transpose()?,
        long: variant("long")?,
        flex: variant("flex")?,
        flex_long: variant("flex_long")?,
        priority: variant("priority")?,
        priority_long: variant("priority_long")?,
        batch: variant("batch")?,
        batch_long: variant("batch_long")?,
    };
    if listed.long.is_some() != listed.long_over.is_some() {
        return place.fault(at, "long_over", "long and long_over go together: prices above that many input tokens");
    }
    for (service, long, name) in [
        (listed.flex, listed.flex_long, "flex_long"),
        (listed.priority, listed.priority_long, "priority_long"),
        (listed.batch, listed.batch_long, "batch_long"),
    ] {
        if long.is_some() && (service.is_none() || listed.long.is_none()) {
            return place.fault(at, name, "needs the service's own price and long beside it");
        }
    }
    Ok(listed)
}

fn rates(place: Place<'_>, table: &DeTable<'_>, prefix: &str, at: usize) -> Read<ListedRates> {
    let rate = |field: &str| table.get(field).map(|v| place.rate(&format!("{prefix}{field}"), v)).transpose();
    let missing = |field: &str| place.fault(at, &format!("{prefix}{field}"), "is missing: dollars per million tokens, 0 for a local model");
    let Some(input) = rate("input")? else { return missing("input") };
    let Some(output) = rate("output")? else { return missing("output") };
    Ok(ListedRates { input, cached: rate("cached")?, write: rate("cache_write")?, output })
}
