//! Whether a JSON Schema keeps to the subset that providers enforce (`strict: true`).
//!
//! Walks and reports; never rewrites: a schema that does not fit is sent without `strict`.

use serde_json::{Map, Value};

/// Documented limits of the subset (responses-api.md §4.3).
const PROPERTIES: usize = 5_000;
const LEVELS: usize = 10;
const NAME_CHARS: usize = 120_000;
const ENUM_VALUES: usize = 1_000;
const LONG_ENUM_VALUES: usize = 250;
const LONG_ENUM_CHARS: usize = 15_000;

/// Where and why a schema leaves the subset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct NotStrict {
    /// A JSON pointer into the schema; empty for its root.
    pub path: String,
    /// What to change.
    pub why: String,
}

/// Checks a schema against the strict subset.
///
/// # Errors
/// [`NotStrict`] names the first place that does not fit.
pub fn check(schema: &Value) -> Result<(), NotStrict> {
    let mut walk = Walk { root: schema, properties: 0, name_chars: 0, enum_values: 0 };
    let Some(root) = schema.as_object() else {
        return Err(no("", "the root must be an object schema"));
    };
    if root.contains_key("anyOf") {
        return Err(no("", "the root must not be anyOf"));
    }
    if root.get("type").and_then(Value::as_str) != Some("object") {
        return Err(no("", "the root must have type object"));
    }
    walk.schema(schema, "", 0)?;
    for key in ["$defs", "definitions"] {
        for (name, definition) in root.get(key).and_then(Value::as_object).into_iter().flatten() {
            walk.name_chars += name.chars().count();
            walk.schema(definition, &format!("/{key}/{name}"), 0)?;
        }
    }
    match () {
        () if walk.properties > PROPERTIES => Err(no("", &format!("more than {PROPERTIES} properties"))),
        () if walk.name_chars > NAME_CHARS => Err(no("", &format!("more than {NAME_CHARS} characters of names and values"))),
        () if walk.enum_values > ENUM_VALUES => Err(no("", &format!("more than {ENUM_VALUES} enum values"))),
        () => Ok(()),
    }
}

fn no(path: &str, why: &str) -> NotStrict {
    NotStrict { path: path.to_owned(), why: why.to_owned() }
}

struct Walk<'a> {
    root: &'a Value,
    properties: usize,
    name_chars: usize,
    enum_values: usize,
}

impl Walk<'_> {
    fn schema(&mut self, schema: &Value, path: &str, level: usize) -> Result<(), NotStrict> {
        let Some(object) = schema.as_object() else {
            return Err(no(path, "must be an object, not a boolean schema"));
        };
        if level > LEVELS {
            return Err(no(path, &format!("nested deeper than {LEVELS} levels")));
        }
        for key in object.keys() {
            if !KEYWORDS.contains(&key.as_str()) {
                return Err(no(path, &format!("{key:?} is not in the strict subset")));
            }
        }
        if let Some(target) = object.get("$ref") {
            return self.reference(object, target, path);
        }
        if let Some(format) = object.get("format")
            && !format.as_str().is_some_and(|format| FORMATS.contains(&format))
        {
            return Err(no(path, &format!("format {format} is not in the strict subset")));
        }
        self.values(object, path)?;
        if let Some(branches) = object.get("anyOf") {
            let Some(branches) = branches.as_array().filter(|branches| !branches.is_empty()) else {
                return Err(no(path, "anyOf must be a list with a branch"));
            };
            for (place, branch) in branches.iter().enumerate() {
                self.schema(branch, &format!("{path}/anyOf/{place}"), level)?;
            }
        } else if !["type", "enum", "const"].iter().any(|key| object.contains_key(*key)) {
            return Err(no(path, "needs a type, enum, const, anyOf or $ref"));
        }
        let types = types(object, path)?;
        if types.contains(&"object") || object.contains_key("properties") {
            self.object(object, path, level)?;
        }
        if types.contains(&"array") {
            let Some(items) = object.get("items") else {
                return Err(no(path, "an array needs items"));
            };
            self.schema(items, &format!("{path}/items"), level + 1)?;
        }
        Ok(())
    }

    fn reference(&self, object: &Map<String, Value>, target: &Value, path: &str) -> Result<(), NotStrict> {
        if object.keys().any(|key| key != "$ref") {
            return Err(no(path, "$ref must stand alone"));
        }
        let target = target.as_str().unwrap_or_default();
        let known = target == "#" || target.strip_prefix('#').is_some_and(|pointer| self.root.pointer(pointer).is_some());
        if known { Ok(()) } else { Err(no(path, &format!("$ref {target:?} points nowhere"))) }
    }

    fn values(&mut self, object: &Map<String, Value>, path: &str) -> Result<(), NotStrict> {
        let chars = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
        if let Some(values) = object.get("enum") {
            let Some(values) = values.as_array().filter(|values| !values.is_empty()) else {
                return Err(no(path, "enum must be a list with a value"));
            };
            let total: usize = values.iter().map(chars).sum();
            if values.len() > LONG_ENUM_VALUES && total > LONG_ENUM_CHARS {
                return Err(no(path, &format!("an enum of over {LONG_ENUM_VALUES} values has over {LONG_ENUM_CHARS} characters")));
            }
            self.enum_values += values.len();
            self.name_chars += total;
        }
        self.name_chars += object.get("const").map_or(0, chars);
        Ok(())
    }

    fn object(&mut self, object: &Map<String, Value>, path: &str, level: usize) -> Result<(), NotStrict> {
        if object.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Err(no(path, "an object needs additionalProperties: false"));
        }
        let empty = Map::new();
        let properties = object.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let required: Vec<&str> =
            object.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in properties {
            if !required.contains(&name.as_str()) {
                return Err(no(path, &format!("property {name:?} must be listed in required; make it optional by a union with null")));
            }
            self.properties += 1;
            self.name_chars += name.chars().count();
            self.schema(property, &format!("{path}/properties/{name}"), level + 1)?;
        }
        match required.iter().find(|name| !properties.contains_key(**name)) {
            Some(name) => Err(no(path, &format!("required names {name:?}, which is no property"))),
            None => Ok(()),
        }
    }
}

fn types<'a>(object: &'a Map<String, Value>, path: &str) -> Result<Vec<&'a str>, NotStrict> {
    let types = match object.get("type") {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one.as_str()],
        Some(other) => return Err(no(path, &format!("type {other} is no type"))),
    };
    match types.iter().find(|name| !TYPES.contains(name)) {
        Some(name) => Err(no(path, &format!("type {name:?} is not in the strict subset"))),
        None => Ok(types),
    }
}

const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "object", "array", "null"];
const FORMATS: [&str; 9] = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];
/// Everything else, `allOf`, `not`, `if`, `default`, `oneOf` and `uniqueItems` included, is refused by some provider.
const KEYWORDS: [&str; 23] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "anyOf",
    "$ref",
    "$defs",
    "definitions",
    "title",
    "description",
    "pattern",
    "format",
    "multipleOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
    "$schema",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_in_the_subset_pass() {
        let cases = [
            json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false}),
            json!({"type": "object", "additionalProperties": false, "required": ["a", "b", "c"], "properties": {
                "a": {"type": ["string", "null"], "description": "x", "pattern": "^a"},
                "b": {"type": "array", "items": {"$ref": "#/$defs/node"}, "minItems": 1},
                "c": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}, {"const": "x"}]}},
                "$defs": {"node": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
                    "required": ["next"], "additionalProperties": false}}}),
        ];
        for case in cases {
            assert_eq!(check(&case), Ok(()), "{case}");
        }
    }

    #[test]
    fn each_rule_of_the_subset_is_enforced_with_its_path() {
        let inside =
            |property: Value| json!({"type": "object", "properties": {"p": property}, "required": ["p"], "additionalProperties": false});
        let cases = [
            (json!(true), "", "root"),
            (json!({"anyOf": []}), "", "anyOf"),
            (json!({"type": "array", "items": {"type": "string"}}), "", "type object"),
            (json!({"type": "object", "properties": {}}), "", "additionalProperties"),
            (
                json!({"type": "object", "properties": {"p": {"type": "string"}}, "required": [], "additionalProperties": false}),
                "",
                "required",
            ),
            (json!({"type": "object", "properties": {}, "required": ["q"], "additionalProperties": false}), "", "no property"),
            (inside(json!({"type": "object"})), "/properties/p", "additionalProperties"),
            (inside(json!({"allOf": []})), "/properties/p", "allOf"),
            (inside(json!({"type": "string", "default": "x"})), "/properties/p", "default"),
            (inside(json!({"type": "string", "format": "uri"})), "/properties/p", "format"),
            (inside(json!({"type": "text"})), "/properties/p", "\"text\""),
            (inside(json!({"type": "array"})), "/properties/p", "items"),
            (inside(json!({})), "/properties/p", "needs a type"),
            (inside(json!({"$ref": "#/$defs/gone"})), "/properties/p", "nowhere"),
            (inside(json!({"$ref": "#", "description": "x"})), "/properties/p", "alone"),
            (inside(json!({"type": "array", "items": {"oneOf": []}})), "/properties/p/items", "oneOf"),
        ];
        for (schema, path, why) in cases {
            let error = check(&schema).unwrap_err();
            assert!(error.path == path && error.why.contains(why), "{schema}: {error:?}");
        }
    }

    #[test]
    fn the_limits_of_depth_and_enums_hold() {
        let mut deep = json!({"type": "string"});
        for _ in 0..12 {
            deep = json!({"type": "object", "properties": {"p": deep}, "required": ["p"], "additionalProperties": false});
        }
        assert!(check(&deep).unwrap_err().why.contains("levels"));
        let values: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
        let wide = json!({"type": "object", "properties": {"p": {"enum": values}}, "required": ["p"], "additionalProperties": false});
        assert!(check(&wide).unwrap_err().why.contains("1000 enum"));
    }
}
