//! A JSON Schema that many calls share: parsed once, its text made once.

mod strict;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

pub use strict::{NotStrict, check as check_strict};

/// A JSON Schema, cheap to clone; reads as the [`Value`] it is.
#[derive(Clone)]
pub struct Schema(Arc<Made>);

struct Made {
    value: Value,
    text: Box<RawValue>,
    strict: OnceLock<bool>,
}

impl Schema {
    /// Its compact text, keys in the order in which they were written.
    pub fn text(&self) -> &RawValue {
        &self.0.text
    }

    /// Whether it keeps to the subset that a provider may enforce; [`check_strict`] says why not.
    pub fn is_strict(&self) -> bool {
        *self.0.strict.get_or_init(|| strict::check(self).is_ok())
    }
}

impl From<Value> for Schema {
    fn from(value: Value) -> Self {
        let text = serde_json::value::to_raw_value(&value).expect("a JSON value has a text");
        Self(Arc::new(Made { value, text, strict: OnceLock::new() }))
    }
}

impl Deref for Schema {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0.value
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.0.value == other.0.value
    }
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text().get())
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}
