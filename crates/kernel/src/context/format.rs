//! What a subtask's `output_format` asks for: any text, a described text, or JSON by a schema.

use serde_json::Value;

use crate::call::Format;
use crate::json_schema::Schema;

/// The name of a result's format: the same for all, for it stands in the prefix that siblings share.
const RESULT: &str = "brigade_result";

/// The form of a result.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// Whatever suits.
    Text,
    /// As these words say.
    Described(String),
    /// JSON that matches a schema.
    Json(Format),
}

impl Wanted {
    /// The structured output to ask of the provider.
    pub fn format(&self) -> Option<&Format> {
        match self {
            Self::Json(format) => Some(format),
            Self::Text | Self::Described(_) => None,
        }
    }

    /// What the executor is told: nothing where the provider holds it to the schema.
    pub fn words(&self) -> String {
        match self {
            Self::Text => String::new(),
            Self::Described(words) => words.clone(),
            Self::Json(format) if format.strict => String::new(),
            Self::Json(format) => format!("One JSON value, and nothing else, that matches this JSON Schema:\n{}", format.schema.text()),
        }
    }
}

/// Reads `output_format` (a JSON object with `type` or `properties` is a schema) and `output_schema`, which wins.
pub fn wanted(output_format: &str, output_schema: Option<&Schema>) -> Wanted {
    let text = output_format.trim();
    let schema = output_schema.cloned().or_else(|| schema_in(text).map(Schema::from));
    match schema {
        Some(schema) => Wanted::Json(Format { name: RESULT.to_owned(), strict: schema.is_strict(), schema }),
        None if text.is_empty() || text == "text" => Wanted::Text,
        None => Wanted::Described(text.to_owned()),
    }
}

fn schema_in(text: &str) -> Option<Value> {
    if !text.starts_with('{') {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    let object = value.as_object()?;
    // `{"type": "bug"}` is an example of an answer, not a schema: a schema's type is one of seven words.
    let typed = object.get("type").is_some_and(|t| match t {
        Value::String(name) => is_type(name),
        Value::Array(names) => !names.is_empty() && names.iter().all(|n| n.as_str().is_some_and(is_type)),
        _ => false,
    });
    (typed || object.get("properties").is_some_and(Value::is_object)).then_some(value)
}

fn is_type(name: &str) -> bool {
    matches!(name, "object" | "array" | "string" | "number" | "integer" | "boolean" | "null")
}
