//! JSON Schema as structured output knows it: is a schema within the strict subset, does a value
//! keep to it, what is the smallest value that does. Not a general validator.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use regex::Regex;
use serde_json::{Map, Value};

const MOST_PROPERTIES: usize = 5_000;
const MOST_LEVELS: usize = 10;
const MOST_ENUM_VALUES: usize = 1_000;
const MOST_NAME_CHARS: usize = 120_000;
/// Schemas remembered as checked.
const MOST_CACHED: usize = 1_000;
/// Recursion through `$ref` in a sample ends here.
const DEEPEST: usize = 64;

const REFUSED: [&str; 12] = [
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "default",
    "oneOf",
    "patternProperties",
    "uniqueItems",
    "propertyNames",
];

/// Why a schema or a value was refused, and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    /// `/properties/a`, empty at the root.
    pub(crate) path: String,
    pub(crate) message: String,
}

fn fault<T>(path: &str, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { path: path.into(), message: message.into() })
}

/// A checked schema with its patterns compiled.
#[derive(Debug)]
pub(crate) struct Schema {
    root: Value,
    patterns: HashMap<String, Regex>,
}

/// Schemas seen before.
#[derive(Debug, Default)]
pub(crate) struct Schemas(Mutex<HashMap<u64, Arc<Schema>>>);

impl Schemas {
    /// The schema, if it is within the strict subset.
    pub(crate) fn strict(&self, text: &str) -> Result<Arc<Schema>, Fault> {
        let key = crate::ledger::fingerprint(text.as_bytes());
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = cache.get(&key) {
            return Ok(Arc::clone(schema));
        }
        let schema = Arc::new(Schema::strict(text)?);
        if cache.len() >= MOST_CACHED {
            cache.clear();
        }
        cache.insert(key, Arc::clone(&schema));
        Ok(schema)
    }
}

#[derive(Default)]
struct Size {
    properties: usize,
    enum_values: usize,
    name_chars: usize,
}

impl Schema {
    fn strict(text: &str) -> Result<Self, Fault> {
        let root: Value = match serde_json::from_str(text) {
            Ok(root) => root,
            Err(error) => return fault("", error.to_string()),
        };
        if root.get("type").and_then(Value::as_str) != Some("object") || root.get("anyOf").is_some() {
            return fault("", "the root must be of type \"object\", and not an anyOf");
        }
        let mut schema = Self { root: Value::Null, patterns: HashMap::new() };
        let mut size = Size::default();
        schema.check(&root, &root, "", 1, &mut size)?;
        for (name, definition) in root.get("$defs").and_then(Value::as_object).into_iter().flatten() {
            schema.check(&root, definition, &format!("/$defs/{name}"), 1, &mut size)?;
        }
        if size.properties > MOST_PROPERTIES {
            return fault("", format!("{} properties: at most {MOST_PROPERTIES}", size.properties));
        }
        if size.enum_values > MOST_ENUM_VALUES {
            return fault("", format!("{} enum values: at most {MOST_ENUM_VALUES}", size.enum_values));
        }
        if size.name_chars > MOST_NAME_CHARS {
            return fault("", format!("{} characters of names and values: at most {MOST_NAME_CHARS}", size.name_chars));
        }
        schema.root = root;
        Ok(schema)
    }

    fn check(&mut self, root: &Value, node: &Value, path: &str, level: usize, size: &mut Size) -> Result<(), Fault> {
        let Some(node) = node.as_object() else {
            return fault(path, "a schema must be an object");
        };
        if level > MOST_LEVELS {
            return fault(path, format!("nested deeper than {MOST_LEVELS} levels"));
        }
        if let Some(keyword) = REFUSED.iter().find(|keyword| node.contains_key(**keyword)) {
            return fault(path, format!("'{keyword}' is not permitted"));
        }
        if let Some(target) = node.get("$ref") {
            if node.len() > 1 {
                return fault(path, "$ref cannot have keywords beside it");
            }
            let known = target.as_str().is_some_and(|target| resolve(root, target).is_some());
            return if known { Ok(()) } else { fault(path, format!("$ref {target} leads nowhere")) };
        }
        for (at, branch) in node.get("anyOf").and_then(Value::as_array).into_iter().flatten().enumerate() {
            self.check(root, branch, &format!("{path}/anyOf/{at}"), level, size)?;
        }
        if !["type", "anyOf", "enum", "const"].iter().any(|key| node.contains_key(*key)) {
            return fault(path, "schema must have a 'type' key");
        }
        for value in node.get("enum").and_then(Value::as_array).into_iter().flatten().chain(node.get("const")) {
            size.enum_values += 1;
            size.name_chars += value.as_str().map_or(0, str::len);
        }
        if let Some(pattern) = node.get("pattern").and_then(Value::as_str)
            && let Ok(regex) = Regex::new(pattern)
        {
            self.patterns.insert(pattern.into(), regex);
        }
        let types = types(node);
        if types.contains(&"array") {
            match node.get("items") {
                Some(items) => self.check(root, items, &format!("{path}/items"), level + 1, size)?,
                None => return fault(path, "array schema missing items"),
            }
        }
        if types.contains(&"object") {
            if node.get("additionalProperties") != Some(&Value::Bool(false)) {
                return fault(path, "'additionalProperties' is required to be supplied and to be false");
            }
            let none = Map::new();
            let properties = node.get("properties").and_then(Value::as_object).unwrap_or(&none);
            for (name, property) in properties {
                if !required(node).any(|required| required == name) {
                    return fault(path, format!("'required' must name every property: '{name}' is missing"));
                }
                size.properties += 1;
                size.name_chars += name.len();
                self.check(root, property, &format!("{path}/properties/{name}"), level + 1, size)?;
            }
            if let Some(extra) = required(node).find(|name| !properties.contains_key(*name)) {
                return fault(path, format!("'required' names '{extra}', which is no property"));
            }
        }
        Ok(())
    }

    /// Whether a value keeps to the schema.
    pub(crate) fn conforms(&self, value: &Value) -> Result<(), Fault> {
        self.test(value, &self.root, "")
    }

    fn test(&self, value: &Value, node: &Value, path: &str) -> Result<(), Fault> {
        let Some(node) = self.follow(node) else {
            return fault(path, "its $ref leads nowhere");
        };
        if let Some(branches) = node.get("anyOf").and_then(Value::as_array) {
            let mut first = None;
            for branch in branches {
                match self.test(value, branch, path) {
                    Ok(()) => return Ok(()),
                    Err(error) => first = first.or(Some(error)),
                }
            }
            return Err(first.unwrap_or(Fault { path: path.into(), message: "no branch of anyOf fits".into() }));
        }
        let types = types(node);
        if !types.is_empty() && !types.iter().any(|name| is_type(value, name)) {
            return fault(path, format!("is not of type {}", types.join(" or ")));
        }
        if let Some(values) = node.get("enum").and_then(Value::as_array)
            && !values.contains(value)
        {
            return fault(path, "is not one of its enum");
        }
        if node.get("const").is_some_and(|constant| constant != value) {
            return fault(path, "is not its const");
        }
        match value {
            Value::String(text) => {
                let pattern = node.get("pattern").and_then(Value::as_str).and_then(|text| self.patterns.get(text));
                if pattern.is_some_and(|pattern| !pattern.is_match(text)) {
                    return fault(path, "does not match its pattern");
                }
            }
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or_default();
                let bound = |name: &str| node.get(name).and_then(Value::as_f64);
                if bound("minimum").is_some_and(|least| number < least)
                    || bound("maximum").is_some_and(|most| number > most)
                    || bound("exclusiveMinimum").is_some_and(|least| number <= least)
                    || bound("exclusiveMaximum").is_some_and(|most| number >= most)
                {
                    return fault(path, "is out of its bounds");
                }
            }
            Value::Array(values) => {
                let bound = |name: &str| node.get(name).and_then(Value::as_u64).map(|bound| bound as usize);
                if bound("minItems").is_some_and(|least| values.len() < least) || bound("maxItems").is_some_and(|most| values.len() > most)
                {
                    return fault(path, "has too few or too many entries");
                }
                if let Some(items) = node.get("items") {
                    for (at, value) in values.iter().enumerate() {
                        self.test(value, items, &format!("{path}/{at}"))?;
                    }
                }
            }
            Value::Object(map) => {
                if let Some(missing) = required(node).find(|name| !map.contains_key(*name)) {
                    return fault(path, format!("lacks '{missing}'"));
                }
                let properties = node.get("properties").and_then(Value::as_object);
                for (name, value) in map {
                    match properties.and_then(|properties| properties.get(name)) {
                        Some(property) => self.test(value, property, &format!("{path}/{name}"))?,
                        None if node.get("additionalProperties") == Some(&Value::Bool(false)) => {
                            return fault(path, format!("has '{name}', which the schema does not know"));
                        }
                        None => {}
                    }
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
        Ok(())
    }

    /// Adds `null` for required fields that are absent and may be null: TOML has no word for it.
    pub(crate) fn complete(&self, value: &mut Value) {
        self.fill(value, &self.root, 0);
    }

    fn fill(&self, value: &mut Value, node: &Value, depth: usize) {
        let Some(node) = self.follow(node).filter(|_| depth < DEEPEST) else {
            return;
        };
        for branch in node.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
            self.fill(value, branch, depth + 1);
        }
        match value {
            Value::Array(values) => {
                if let Some(items) = node.get("items") {
                    values.iter_mut().for_each(|value| self.fill(value, items, depth + 1));
                }
            }
            Value::Object(map) => {
                let Some(properties) = node.get("properties").and_then(Value::as_object) else {
                    return;
                };
                for (name, property) in properties {
                    match map.get_mut(name) {
                        Some(value) => self.fill(value, property, depth + 1),
                        None if self.test(&Value::Null, property, "").is_ok() => {
                            map.insert(name.clone(), Value::Null);
                        }
                        None => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn follow<'s>(&'s self, node: &'s Value) -> Option<&'s Map<String, Value>> {
        let mut node = node;
        for _ in 0..DEEPEST {
            match node.get("$ref").and_then(Value::as_str) {
                Some(target) => node = resolve(&self.root, target)?,
                None => return node.as_object(),
            }
        }
        None
    }
}

/// The smallest value that a schema admits, as far as can be told without trying.
pub(crate) fn sample(schema: &Value) -> Value {
    sample_at(schema, schema, 0)
}

fn sample_at(root: &Value, node: &Value, depth: usize) -> Value {
    if depth > DEEPEST {
        return Value::Null;
    }
    if let Some(target) = node.get("$ref").and_then(Value::as_str) {
        return resolve(root, target).map_or(Value::Null, |node| sample_at(root, node, depth + 1));
    }
    if let Some(value) = node.get("const").or_else(|| node.get("enum")?.get(0)) {
        return value.clone();
    }
    if let Some(branches) = node.get("anyOf").and_then(Value::as_array) {
        let null = branches.iter().any(|branch| branch.get("type").and_then(Value::as_str) == Some("null"));
        return if null { Value::Null } else { branches.first().map_or(Value::Null, |b| sample_at(root, b, depth + 1)) };
    }
    let Some(node) = node.as_object() else {
        return Value::Null;
    };
    let types = types(node);
    if types.contains(&"null") {
        return Value::Null;
    }
    match types.first().copied() {
        Some("string") => "".into(),
        Some("integer" | "number") => node.get("minimum").cloned().unwrap_or_else(|| 0.into()),
        Some("boolean") => false.into(),
        Some("array") => {
            let least = node.get("minItems").and_then(Value::as_u64).unwrap_or(0).min(100);
            let items = node.get("items").unwrap_or(&Value::Null);
            (0..least).map(|_| sample_at(root, items, depth + 1)).collect()
        }
        Some("object") | None => {
            let properties = node.get("properties").and_then(Value::as_object);
            required(node)
                .filter_map(|name| Some((name.to_owned(), sample_at(root, properties?.get(name)?, depth + 1))))
                .collect::<Map<_, _>>()
                .into()
        }
        Some(_) => Value::Null,
    }
}

fn resolve<'s>(root: &'s Value, target: &str) -> Option<&'s Value> {
    root.pointer(target.strip_prefix('#')?)
}

fn types(node: &Map<String, Value>) -> Vec<&str> {
    match node.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn required(node: &Map<String, Value>) -> impl Iterator<Item = &str> {
    node.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(properties: Value) -> Value {
        let names: Vec<&String> = properties.as_object().unwrap().keys().collect();
        json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false})
    }

    #[test]
    fn a_schema_outside_the_subset_is_refused_by_path() {
        let cases = [
            (json!({"type": "array", "items": {}}), "", "root"),
            (json!({"type": "object", "properties": {}}), "", "additionalProperties"),
            (object(json!({"a": {"type": "object", "properties": {}}})), "/properties/a", "additionalProperties"),
            (json!({"type": "object", "additionalProperties": false, "properties": {"a": {"type": "string"}}, "required": []}), "", "'a'"),
            (object(json!({"a": {"type": "array"}})), "/properties/a", "items"),
            (object(json!({"a": {"type": "array", "items": {"oneOf": []}}})), "/properties/a/items", "oneOf"),
            (object(json!({"a": {"type": "string", "default": "x"}})), "/properties/a", "default"),
            (object(json!({"a": {"$ref": "#/$defs/x"}})), "/properties/a", "nowhere"),
            (object(json!({"a": {}})), "/properties/a", "type"),
        ];
        for (schema, path, word) in cases {
            let fault = Schema::strict(&schema.to_string()).unwrap_err();
            assert_eq!(fault.path, path, "{fault:?}");
            assert!(fault.message.contains(word), "{fault:?}");
        }
    }

    #[test]
    fn absent_nullable_fields_are_filled_and_the_rest_is_reported() {
        let schema = object(json!({
            "list": {"type": "array", "items": {"$ref": "#/$defs/entry"}},
        }));
        let mut schema = schema;
        schema["$defs"] = json!({"entry": object(json!({
            "id": {"type": "string", "pattern": "^[a-z]+$"}, "note": {"type": ["string", "null"]},
            "kind": {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]},
        }))});
        let schema = Schema::strict(&schema.to_string()).unwrap();
        let mut value = json!({"list": [{"id": "x"}]});
        assert_eq!(schema.conforms(&value).unwrap_err().path, "/list/0");
        schema.complete(&mut value);
        assert_eq!(value, json!({"list": [{"id": "x", "note": null, "kind": null}]}));
        assert_eq!(schema.conforms(&value), Ok(()));
        assert_eq!(schema.conforms(&json!({"list": [{"id": "X", "note": null, "kind": null}]})).unwrap_err().path, "/list/0/id");
        assert_eq!(schema.conforms(&sample(&schema.root)), Ok(()));
    }
}
