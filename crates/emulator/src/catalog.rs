//! Which models exist here, how much they take, and how fast they pretend to be.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Every effort the API has a word for.
pub(crate) const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// One `[models.NAME]` table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// Tokens of input and output together.
    pub(crate) window: Option<u64>,
    pub(crate) max_output: Option<u64>,
    /// Efforts it takes; absent = all.
    pub(crate) efforts: Option<Vec<String>>,
    /// Effort when the request names none.
    pub(crate) effort: Option<String>,
    /// The name it answers with, e.g. a dated snapshot.
    pub(crate) snapshot: Option<String>,
    /// `false`: a request with an image is refused.
    pub(crate) images: Option<bool>,
    pub(crate) delay_ms: Option<u64>,
    pub(crate) first_token_ms: Option<u64>,
    pub(crate) tokens_per_s: Option<f64>,
}

/// All models of one scenario.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    models: BTreeMap<String, Model>,
    /// Patterns of rules (`gpt-*`), which make names known that no table lists.
    patterns: Vec<Pattern>,
    any: bool,
    unlisted: Model,
}

impl Catalog {
    pub(crate) fn new(own: BTreeMap<String, Model>, patterns: Vec<Pattern>, any: bool) -> Self {
        #[derive(Deserialize)]
        struct File {
            models: BTreeMap<String, Model>,
        }
        let file: File = toml::from_str(include_str!("known_models.toml")).expect("the built-in table parses: tested");
        let mut models = file.models;
        for (name, own) in own {
            let known = models.remove(&name).unwrap_or_default();
            models.insert(
                name,
                Model {
                    window: own.window.or(known.window),
                    max_output: own.max_output.or(known.max_output),
                    efforts: own.efforts.or(known.efforts),
                    effort: own.effort.or(known.effort),
                    images: own.images.or(known.images),
                    ..own
                },
            );
        }
        Self { models, patterns, any, unlisted: Model::default() }
    }

    /// The model of that name, if it exists here.
    pub(crate) fn get(&self, name: &str) -> Option<&Model> {
        if let Some(model) = self.models.get(name) {
            return Some(model);
        }
        if let Some(model) = undated(name).and_then(|name| self.models.get(name)) {
            return Some(model);
        }
        let known = self.any || self.patterns.iter().any(|pattern| pattern.matches(name));
        known.then_some(&self.unlisted)
    }

    /// Names for `/v1/models`.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let exact = self.patterns.iter().filter(|p| !p.open && !self.models.contains_key(&p.start));
        self.models.keys().map(String::as_str).chain(exact.map(|p| p.start.as_str()))
    }
}

/// `gpt-5.4-mini-2026-03-17` → `gpt-5.4-mini`.
fn undated(name: &str) -> Option<&str> {
    let cut = name.len().checked_sub(11)?;
    let (start, date) = (name.get(..cut)?, name.get(cut..)?.as_bytes());
    let shape = date.iter().enumerate().all(|(at, byte)| match at {
        0 | 5 | 8 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    shape.then_some(start)
}

/// A model name, or its beginning followed by `*`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pattern {
    start: String,
    open: bool,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(start) => Self { start: start.into(), open: true },
            None => Self { start: text.into(), open: false },
        }
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        if self.open { name.starts_with(&self.start) } else { name == self.start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dated_snapshot_is_its_model() {
        let catalog = Catalog::new(BTreeMap::new(), vec![], false);
        assert_eq!(catalog.get("gpt-5.4-mini-2026-03-17").unwrap().window, Some(400_000));
        assert!(catalog.get("gpt-5.4-mini-yesterday").is_none());
        assert!(catalog.get("é-2026-03-17").is_none());
    }

    #[test]
    fn a_name_that_a_rule_matches_exists() {
        let catalog = Catalog::new(BTreeMap::new(), vec![Pattern::new("local-*"), Pattern::new("one")], false);
        assert!(catalog.get("local-7b").is_some());
        assert!(catalog.get("one").is_some());
        assert!(catalog.get("two").is_none());
        assert!(catalog.names().any(|name| name == "one"));
    }
}
