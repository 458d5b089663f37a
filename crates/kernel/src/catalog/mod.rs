//! Models as dated data: windows, efforts, prices, retirement; and what a call costs.
//!
//! The catalog is `models.toml` plus what the user's configuration adds. Code names no model.
//! A model without a price, or retired, is refused before a token is spent.
//! Read first: [`Catalog::lookup`], then [`cost`] and [`worst_case`].

mod day;
mod image;
mod price;
mod read;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::call::{Effort, Retention, Service};
use crate::ids::{ModelRef, Tier};

pub use day::Day;
pub use price::{InputSize, Price, Rates, cost, cost_of_many, worst_case, worst_case_of_many};
pub use read::CatalogError;

/// The catalog that ships with brigade: `models.toml` of this repository.
pub const BUILT_IN: &str = include_str!("../../../../models.toml");

/// Every known model, and what each tier is by default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalog {
    as_of: Option<Day>,
    tiers: Vec<TierDefault>,
    models: BTreeMap<ModelRef, Model>,
    /// Providers that resell another's models: whose rows theirs are.
    vendors: BTreeMap<String, String>,
}

/// What a tier is when configuration says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierDefault {
    /// Its name; the list runs from the cheapest up.
    pub tier: Tier,
    /// The model.
    pub model: ModelRef,
    /// Its effort, where it differs from the role's.
    pub effort: Option<Effort>,
    /// Soft limit of an executor's input in tokens (design.md "Routing"); `None`: the window.
    pub max_context_tokens: Option<u64>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// `PROVIDER/MODEL`.
    pub name: ModelRef,
    /// The most input tokens of a call; `None`: unknown.
    pub input_window: Option<u64>,
    /// The most output tokens of a call; `None`: unknown.
    pub output_window: Option<u64>,
    /// Which of the vendor's two APIs lists it.
    pub mode: Mode,
    /// Efforts it offers, least first; empty: it does not reason, send none.
    pub efforts: Vec<Effort>,
    /// Its effort when none is sent, where the vendor says so.
    pub default_effort: Option<Effort>,
    /// How long its prefixes may be kept, as far as its vendor lists that; the first is asked for where nothing else is configured.
    pub cache_retention: Vec<Retention>,
    /// What else it can do, in the vendor list's words: `function_calling`, `vision`, …
    pub supports: Vec<Box<str>>,
    /// Tokens that one image counts as at the most, whatever its size; `None`: by the usual formulas.
    pub image_tokens: Option<u64>,
    /// First day it is refused.
    pub retires: Option<Day>,
    /// Day on which it had left the price list.
    pub unlisted: Option<Day>,
    /// Percent added when the provider must process in a region, such as the EU.
    pub regional_percent: u64,
    /// What Codex's own list says of it.
    pub codex: Option<Codex>,
    /// Where the row comes from.
    pub source: Box<str>,
    /// Corrections to the source, each with its own source.
    pub note: Option<Box<str>>,
    /// Prices, oldest first; empty: none known.
    prices: Vec<DatedPrice>,
}

/// A price and the day it was first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatedPrice {
    /// First seen on this day; the vendor may have changed it somewhat earlier.
    pub from: Day,
    /// Where it was seen; `None`: in the user's configuration.
    pub source: Option<Box<str>>,
    /// The rates.
    pub price: Price,
}

/// Facts of Codex's model list (`codex-rs` models.json).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codex {
    /// The window Codex fills by default.
    pub context_window: u64,
    /// Tool output is cut here.
    pub tool_output_limit: u64,
    /// Unit of `tool_output_limit`: tokens, else bytes.
    pub limit_is_tokens: bool,
    /// Its effort there when none is set.
    pub default_effort: Effort,
}

/// The vendor's API a model is listed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Chat Completions (OpenAI serves those under Responses too).
    #[default]
    Chat,
    /// Responses only.
    Responses,
}

/// A model found, with the price of the day asked for.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The row; a dated snapshot without its own has its alias's.
    pub model: &'a Model,
    /// The price in force that day.
    pub price: &'a Price,
    /// First seen on.
    pub since: Day,
    /// The day is before every known price: this is the earliest, and the report must say so.
    pub earliest: bool,
}

/// A model that may not be used: said before anything is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Nobody knows what it costs.
    NoPrice {
        /// The model asked for.
        model: ModelRef,
        /// It had a price until it left the list.
        unlisted: Option<Day>,
    },
    /// Its vendor has switched it off.
    Retired {
        /// The model asked for.
        model: ModelRef,
        /// First day without it.
        on: Day,
    },
    /// The vendor lists no price for the service asked for.
    NoServicePrice {
        /// The model asked for.
        model: ModelRef,
        /// The service.
        service: Service,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPrice { model, unlisted } => {
                write!(f, "model {model} has no price")?;
                if let Some(day) = unlisted {
                    write!(f, " since it left the price list ({day})")?;
                }
                write!(
                    f,
                    ": add [models.\"{model}\"] with input and output, in dollars per million tokens (0 for a local model), to config.toml, \
                     or choose another (`brigade models`)"
                )
            }
            Self::Retired { model, on } => write!(
                f,
                "model {model} was retired on {on}: give its tier another in config.toml (`brigade models` lists them); \
                 if it still answers, set [models.\"{model}\"] retires = \"never\""
            ),
            Self::NoServicePrice { model, service } => {
                let service = match service {
                    Service::Default => "default",
                    Service::Flex => "flex",
                    Service::Priority => "priority",
                    Service::Batch => "batch",
                };
                write!(f, "model {model} has no {service} price: leave the service out, or choose another model (`brigade models`)")
            }
        }
    }
}

impl Catalog {
    /// Reads a catalog from the text of a `models.toml`.
    ///
    /// # Errors
    /// [`CatalogError`] naming line, row and field of the first fault.
    pub fn parse(text: &str) -> Result<Self, CatalogError> {
        let mut catalog = Self::default();
        read::models_file(&mut catalog, text)?;
        Ok(catalog)
    }

    /// The catalog that ships with brigade.
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("models.toml of this build is read by a test")
    }

    /// Adds and overrides models from the `[models]` table of a configuration file; its other
    /// tables are not looked at. Prices given there hold for every day.
    ///
    /// # Errors
    /// [`CatalogError`] naming line, row and field of the first fault; the catalog is unchanged.
    pub fn with_config(&self, text: &str) -> Result<Self, CatalogError> {
        let mut catalog = self.clone();
        read::config(&mut catalog, text)?;
        Ok(catalog)
    }

    /// A provider's models are the vendor's, where it has no row of its own for them: `codex/x` is `openai/x`.
    pub fn with_vendor(mut self, provider: &str, vendor: &str) -> Self {
        self.vendors.insert(provider.to_owned(), vendor.to_owned());
        self
    }

    /// The day the shipped prices were read.
    pub fn as_of(&self) -> Option<Day> {
        self.as_of
    }

    /// What each tier is by default, from the cheapest up.
    pub fn tiers(&self) -> &[TierDefault] {
        &self.tiers
    }

    /// Every model, by name.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.values()
    }

    /// A model's row; a dated snapshot (`…-2026-03-17`, `…-20251001`) without its own has its alias's.
    pub fn model(&self, model: &ModelRef) -> Option<&Model> {
        let row = |model: &ModelRef| self.models.get(model).or_else(|| self.models.get(&alias(model)?));
        let sold = || ModelRef::new(&format!("{}/{}", self.vendors.get(model.provider())?, model.model())).ok();
        row(model).or_else(|| row(&sold()?))
    }

    /// A model to be called on this day, with its price.
    ///
    /// # Errors
    /// [`Refusal::Retired`] from its retirement day on; [`Refusal::NoPrice`] for a model unknown or unpriced.
    pub fn lookup(&self, model: &ModelRef, day: Day) -> Result<Found<'_>, Refusal> {
        let found = self.priced(model, day)?;
        match found.model.retires {
            Some(on) if day >= on => Err(Refusal::Retired { model: model.clone(), on }),
            _ => Ok(found),
        }
    }

    /// Whether a model takes images. What is not known to does not.
    pub fn sees(&self, model: &ModelRef) -> bool {
        self.model(model).is_some_and(Model::sees)
    }

    /// The price of a call already made on this day, retired since or not.
    ///
    /// # Errors
    /// [`Refusal::NoPrice`].
    pub fn priced(&self, model: &ModelRef, day: Day) -> Result<Found<'_>, Refusal> {
        let no_price = |unlisted| Refusal::NoPrice { model: model.clone(), unlisted };
        let row = self.model(model).ok_or_else(|| no_price(None))?;
        if let Some(gone) = row.unlisted.filter(|gone| day >= *gone) {
            return Err(no_price(Some(gone)));
        }
        let at = row.prices.partition_point(|dated| dated.from <= day);
        let dated = row.prices.get(at.saturating_sub(1)).ok_or_else(|| no_price(None))?;
        Ok(Found { model: row, price: &dated.price, since: dated.from, earliest: at == 0 })
    }
}

/// `openai/gpt-x-2026-03-17` → `openai/gpt-x`.
fn alias(model: &ModelRef) -> Option<ModelRef> {
    let name = model.as_str();
    let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    let cut = |n: usize| {
        let at = name.len().checked_sub(n)?;
        Some((name.get(..at)?, name.get(at..)?.strip_prefix('-')?))
    };
    let dashed = cut(11).filter(|(_, date)| Day::parse(date).is_some());
    let plain = cut(9).filter(|(_, date)| digits(date, 8));
    ModelRef::new(dashed.or(plain)?.0).ok()
}

impl Found<'_> {
    /// Whether the vendor lists a price for the service, for a call that asks for it.
    ///
    /// # Errors
    /// [`Refusal::NoServicePrice`].
    pub fn require(&self, service: Service) -> Result<(), Refusal> {
        if self.price.offers(service) {
            return Ok(());
        }
        Err(Refusal::NoServicePrice { model: self.model.name.clone(), service })
    }
}

impl Model {
    /// Whether it takes images.
    pub fn sees(&self) -> bool {
        self.supports("vision")
    }

    /// Whether the list says it can do this.
    pub fn supports(&self, what: &str) -> bool {
        self.supports.iter().any(|s| &**s == what)
    }

    /// The retention to ask for; `wanted` is what is configured, if anything is. `None`: send none.
    pub fn clamp_retention(&self, wanted: Option<Option<Retention>>) -> Option<Retention> {
        match wanted {
            None => self.cache_retention.first().copied(),
            Some(wanted) => wanted.filter(|wanted| self.cache_retention.contains(wanted)),
        }
    }

    /// The effort nearest to the one wanted: the highest offered that is not above it, else the
    /// lowest offered; `None`: send no effort.
    pub fn clamp_effort(&self, wanted: Effort) -> Option<Effort> {
        self.efforts.iter().rev().find(|offered| **offered <= wanted).or(self.efforts.first()).copied()
    }

    /// Its prices, oldest first.
    pub fn prices(&self) -> &[DatedPrice] {
        &self.prices
    }
}

#[cfg(test)]
mod tests;
