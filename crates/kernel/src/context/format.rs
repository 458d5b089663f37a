//! What a subtask's `output_format` asks for: any text, a described text, or JSON by a schema.

use serde_json::Value;

use crate::call::Format;
use crate::ids::SubtaskId;

/// Levels of nesting that strict mode takes (responses-api.md §4.3).
const STRICT_LEVELS: usize = 10;
/// Properties in total.
const STRICT_PROPERTIES: usize = 5_000;
/// Enum values in total.
const STRICT_ENUMS: usize = 1_000;
/// Characters of names, enum and const values in total.
const STRICT_CHARS: usize = 120_000;

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
            Self::Json(format) => format!("One JSON value, and nothing else, that matches this JSON Schema:\n{}", format.schema),
        }
    }
}

/// Reads `output_format` (a JSON object with `type` or `properties` is a schema) and `output_schema`, which wins.
pub fn wanted(id: &SubtaskId, output_format: &str, output_schema: Option<&Value>) -> Wanted {
    let text = output_format.trim();
    let schema = output_schema.cloned().or_else(|| schema_in(text));
    match schema {
        Some(schema) => Wanted::Json(Format { name: id.as_str().to_owned(), strict: fits_strict(&schema), schema }),
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

/// Whether a provider may enforce a schema (responses-api.md §4.3): root an object, every object closed with all
/// its properties required, only the keywords of the strict subset, within its limits.
pub fn fits_strict(schema: &Value) -> bool {
    let mut count = Count::default();
    let root = schema.get("type").and_then(Value::as_str) == Some("object") && schema.get("anyOf").is_none();
    root && strict(schema, 1, &mut count)
        && count.properties <= STRICT_PROPERTIES
        && count.enums <= STRICT_ENUMS
        && count.chars <= STRICT_CHARS
}

#[derive(Default)]
struct Count {
    properties: usize,
    enums: usize,
    chars: usize,
}

fn strict(schema: &Value, level: usize, count: &mut Count) -> bool {
    let Some(object) = schema.as_object() else {
        return false;
    };
    if level > STRICT_LEVELS || (object.contains_key("$ref") && object.len() > 1) {
        return false;
    }
    let typed = ["type", "enum", "const", "anyOf", "$ref"].iter().any(|key| object.contains_key(*key));
    let all = object.iter().all(|(key, value)| match key.as_str() {
        "type" => match value {
            Value::String(name) => is_type(name),
            Value::Array(names) => !names.is_empty() && names.iter().all(|n| n.as_str().is_some_and(is_type)),
            _ => false,
        },
        "properties" | "$defs" => value.as_object().is_some_and(|map| {
            map.iter().all(|(name, inner)| {
                count.properties += usize::from(key == "properties");
                count.chars += name.chars().count();
                let deeper = level + usize::from(key == "properties");
                strict(inner, deeper, count)
            })
        }),
        "items" => strict(value, level + 1, count),
        "anyOf" => value.as_array().is_some_and(|options| !options.is_empty() && options.iter().all(|o| strict(o, level, count))),
        "enum" => value.as_array().is_some_and(|values| {
            count.enums += values.len();
            count.chars += values.iter().map(|v| v.to_string().chars().count()).sum::<usize>();
            !values.is_empty()
        }),
        "const" => {
            count.chars += value.to_string().chars().count();
            true
        }
        "format" => value
            .as_str()
            .is_some_and(|f| matches!(f, "date-time" | "time" | "date" | "duration" | "email" | "hostname" | "ipv4" | "ipv6" | "uuid")),
        "$ref" | "title" | "description" | "pattern" => value.is_string(),
        "required" | "additionalProperties" => true,
        "multipleOf" | "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "minItems" | "maxItems" => value.is_number(),
        _ => false,
    });
    all && typed && closed(object)
}

/// An object names all its properties and requires each.
fn closed(object: &serde_json::Map<String, Value>) -> bool {
    let is_object = match object.get("type") {
        Some(Value::String(name)) => name == "object",
        Some(Value::Array(names)) => names.iter().any(|n| n == "object"),
        _ => object.contains_key("properties"),
    };
    if !is_object {
        return true;
    }
    let Some(properties) = object.get("properties").and_then(Value::as_object) else {
        return false;
    };
    let Some(required) = object.get("required").and_then(Value::as_array) else {
        return false;
    };
    object.get("additionalProperties") == Some(&Value::Bool(false))
        && required.len() == properties.len()
        && properties.keys().all(|name| required.iter().any(|r| r == name))
}
