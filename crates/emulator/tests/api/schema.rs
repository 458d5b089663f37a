//! Everything sent is held against the vendor's published schema, where the data is present.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use serde_json::{Value, json};

static DEFINITIONS: LazyLock<Option<Value>> = LazyLock::new(|| {
    let data = std::env::var_os("BRIGADE_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    // a worktree may lie one level deeper than the project itself
    let file = "openapi-responses/responses.schema.json.gz";
    let deeper = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/data");
    let path = [data, deeper].iter().map(|dir| dir.join(file)).find(|path| path.exists());
    let Some(path) = path else {
        println!("skipped: {file} is not there (set BRIGADE_DATA)");
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    // without the discriminator several branches match (SOURCE.md of the data)
    any_of(&mut schema);
    Some(schema["$defs"].take())
});

fn any_of(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(branches) = map.remove("oneOf") {
                map.insert("anyOf".into(), branches);
            }
            map.values_mut().for_each(any_of);
        }
        Value::Array(values) => values.iter_mut().for_each(any_of),
        _ => {}
    }
}

static VALIDATORS: Mutex<Vec<(String, &'static jsonschema::Validator)>> = Mutex::new(Vec::new());

fn validator(name: &str) -> Option<&'static jsonschema::Validator> {
    let definitions = DEFINITIONS.as_ref()?;
    let mut known = VALIDATORS.lock().unwrap();
    if let Some((_, validator)) = known.iter().find(|(known, _)| known == name) {
        return Some(validator);
    }
    let schema = json!({"$defs": definitions, "$ref": format!("#/$defs/{name}")});
    let validator: &'static _ = Box::leak(Box::new(jsonschema::validator_for(&schema).unwrap()));
    known.push((name.into(), validator));
    Some(validator)
}

/// Where the real service (the recordings) departs from its own document: `user` and `usage` are
/// sent as null, and so is a format's `description`.
fn as_documented(value: &Value) -> Value {
    let mut value = value.clone();
    for (holder, field) in [("", "user"), ("", "usage"), ("/text/format", "description")] {
        for at in ["", "/response"] {
            if let Some(map) = value.pointer_mut(&format!("{at}{holder}")).and_then(Value::as_object_mut)
                && map.get(field) == Some(&Value::Null)
            {
                map.remove(field);
            }
        }
    }
    value
}

pub fn valid(name: &str, value: &Value) {
    let Some(validator) = validator(name) else {
        return;
    };
    let value = as_documented(value);
    let errors: Vec<String> = validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}\n{value:#}");
}

/// The schema of one event by its `type`.
fn event_schema(kind: &str) -> Option<&'static str> {
    static BY_TYPE: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
        let Some(definitions) = DEFINITIONS.as_ref() else {
            return Vec::new();
        };
        let branches = definitions["ResponseStreamEvent"]["anyOf"].as_array().unwrap();
        branches
            .iter()
            .filter_map(|branch| branch["$ref"].as_str()?.rsplit('/').next())
            .filter_map(|name| {
                let kind = definitions[name].pointer("/properties/type/enum/0")?.as_str()?;
                Some((kind.to_owned(), name.to_owned()))
            })
            .collect()
    });
    BY_TYPE.iter().find(|(known, _)| known == kind).map(|(_, name)| name.as_str())
}

pub fn valid_events(events: &[Value]) {
    if DEFINITIONS.is_none() {
        return;
    }
    for event in events {
        let kind = event["type"].as_str().unwrap();
        let name = event_schema(kind).unwrap_or_else(|| panic!("{kind} is no documented event"));
        valid(name, event);
    }
}
