//! A request's fields, taken one by one so that an error names its field.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::refusal::Refusal;

/// The top level of a request: names and raw values.
#[derive(Debug)]
pub(crate) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de>, M::Error> {
                let mut fields = Vec::with_capacity(24);
                while let Some(Name(name)) = map.next_key()? {
                    fields.push((name, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Top)
    }
}

/// A string that is borrowed where it has no escapes.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Name<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl<'a> Fields<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body).map_err(|error| {
            Refusal::bad_request(format!("We could not parse the JSON body of your request: {error}")).code("invalid_json")
        })
    }

    /// The raw value; `null` counts as absent.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        // the last one counts, as in every JSON library that keeps one
        let (_, raw) = self.0.iter().rev().find(|(known, _)| known == name)?;
        (raw.get() != "null").then_some(*raw)
    }

    pub(crate) fn get<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        parse(raw, name).map(Some)
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        Ok(self.get::<Name<'a>>(name)?.map(|name| name.0))
    }

    /// The first field that is not among `known`.
    pub(crate) fn unknown(&self, known: &[&str]) -> Option<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).find(|name| !known.contains(name))
    }
}

/// Parses one value; an error names it.
pub(crate) fn parse<'a, T: Deserialize<'a>>(raw: &'a RawValue, param: &str) -> Result<T, Refusal> {
    serde_json::from_str(raw.get()).map_err(|error| {
        let shown: String = raw.get().chars().take(80).collect();
        Refusal::bad(param, format!("Invalid value for '{param}': {error}; got {shown}")).code("invalid_type")
    })
}
