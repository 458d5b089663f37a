//! A model's arguments, checked against the schema it was shown. Only what our own schemas use is understood.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::MAX_ARGUMENT_BYTES;

/// Parses `text` and checks it against `schema`; absent fields that may be null are left out.
pub(super) fn check(tool: &str, text: &str, schema: &Value) -> Result<Map<String, Value>, String> {
    if text.len() > MAX_ARGUMENT_BYTES {
        return Err(format!("{tool}: the arguments have {} bytes; at most {MAX_ARGUMENT_BYTES} are taken", text.len()));
    }
    let text = if text.trim().is_empty() { "{}" } else { text };
    let given: Unique = serde_json::from_str(text)
        .map_err(|e| format!("{tool}: the arguments are no JSON object as asked for ({e}); send {}", example(schema)))?;
    let properties = schema["properties"].as_object().into_iter().flatten();
    let known: Vec<&String> = properties.clone().map(|(name, _)| name).collect();
    if let Some(unknown) = given.0.keys().find(|name| !known.contains(name)) {
        let shown: String = unknown.chars().take(64).collect();
        return Err(format!("{tool}: unknown field {shown:?}; the fields are {}", example(schema)));
    }
    for (name, kind) in properties {
        let value = given.0.get(name).unwrap_or(&Value::Null);
        check_value(value, kind).map_err(|wanted| {
            let shown: String = value.to_string().chars().take(80).collect();
            let is = if given.0.contains_key(name) { format!("is {shown}") } else { "is missing".to_owned() };
            format!("{tool}: field {name:?} {is}; give {wanted}")
        })?;
    }
    Ok(given.0)
}

fn check_value(value: &Value, kind: &Value) -> Result<(), String> {
    let wanted: Vec<&str> = match &kind["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    let fits = wanted.iter().any(|kind| match *kind {
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        _ => false,
    });
    if !fits {
        let words = wanted.iter().map(|kind| match *kind {
            "string" => "a string",
            "integer" => "a whole number, 1 or more",
            "boolean" => "true or false",
            "array" => "an array of strings, like [\"-n\", \"needle\"]",
            other => other,
        });
        return Err(words.collect::<Vec<_>>().join(" or "));
    }
    if let Some(items) = value.as_array()
        && let Some(at) = items.iter().position(|item| check_value(item, &kind["items"]).is_err())
    {
        return Err(format!("only strings in the array (number {} is none)", at + 1));
    }
    Ok(())
}

fn example(schema: &Value) -> String {
    let fields = schema["properties"].as_object().into_iter().flatten().map(|(name, kind)| {
        let sample = if kind["type"] == "array" { "[\"…\"]" } else { "…" };
        format!("\"{name}\": {sample}")
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}

/// An object in which no field stands twice: which of two values a model meant cannot be told.
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut fields = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if fields.insert(name.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("field {:?} stands twice", name.chars().take(64).collect::<String>())));
                    }
                }
                Ok(Unique(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
