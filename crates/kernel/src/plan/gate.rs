//! The gate: text from a file or a model becomes a JSON value with bounded size and depth and no repeated keys.
//!
//! It knows nothing of subtasks; what the value means is [`super::check`]'s matter.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::fault::{Code, Fault, shown};

/// Largest plan file or answer read: 16 MiB, ten thousand subtasks of 1.6 KB.
pub const MAX_PLAN_BYTES: usize = 16 * 1024 * 1024;

/// Who wrote the text: decides which fields it may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// A person, by hand: every field.
    Person,
    /// A model: the planner's fields only.
    Planner,
}

/// How a plan file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    Toml,
    Json,
}

impl Format {
    /// By the file's name, else by its first character.
    pub fn of(name: &str, text: &str) -> Self {
        let extension = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
        match extension.as_deref() {
            Some("json") => Self::Json,
            Some("toml") => Self::Toml,
            _ if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') => Self::Json,
            _ => Self::Toml,
        }
    }
}

/// A value that came through the gate, with what was wrong on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// `None` when the text could not be read at all.
    pub(super) value: Option<Value>,
    /// Who wrote it.
    pub(super) author: Author,
    /// Syntax errors and repeated keys.
    pub(super) faults: Vec<Fault>,
}

/// Reads a plan file.
pub fn parse(text: &str, format: Format, author: Author) -> Parsed {
    let text = text.trim_start_matches('\u{feff}');
    let mut faults = Vec::new();
    let read = if text.len() > MAX_PLAN_BYTES {
        Err(fault(Code::TooMany, format!("the text has {} bytes; the limit is {MAX_PLAN_BYTES}", text.len())))
    } else {
        match format {
            Format::Json => json(text, &mut faults),
            Format::Toml => toml(text),
        }
    };
    let value = read.map_err(|f| faults.push(f)).ok();
    Parsed { value, author, faults }
}

/// Reads a model's answer: the first JSON object in it, whatever prose or fence stands around.
pub fn parse_answer(text: &str) -> Parsed {
    match object_in(text) {
        Some(object) => parse(object, Format::Json, Author::Planner),
        None => {
            let message = "the answer holds no JSON object; answer with one object and nothing else".to_owned();
            Parsed { value: None, author: Author::Planner, faults: vec![fault(Code::BadValue, message)] }
        }
    }
}

/// Reads `--tools FILE`: `[{"id"}]`, or `{"nodes": [{"id"}]}` as in public tool graphs.
///
/// # Errors
/// A fault that names the entry and the remedy.
pub fn parse_tools(text: &str) -> Result<Vec<String>, Fault> {
    const SHAPE: &str = "write [{\"id\": \"NAME\"}, …]";
    let Parsed { value, mut faults, .. } = parse(text, Format::Json, Author::Person);
    if !faults.is_empty() {
        return Err(faults.swap_remove(0));
    }
    let list = match value {
        Some(Value::Array(list)) => list,
        Some(Value::Object(mut map)) => match map.remove("nodes") {
            Some(Value::Array(list)) => list,
            _ => return Err(fault(Code::BadValue, format!("the tools file is no list; {SHAPE}"))),
        },
        _ => return Err(fault(Code::BadValue, format!("the tools file is no list; {SHAPE}"))),
    };
    let id = |(n, entry): (usize, &Value)| match entry.get("id") {
        Some(Value::String(id)) if !id.is_empty() => Ok(id.clone()),
        _ => Err(fault(Code::BadValue, format!("tool #{} has no id that is text; {SHAPE}", n + 1))),
    };
    list.iter().enumerate().map(id).collect()
}

pub(super) fn fault(code: Code, message: String) -> Fault {
    Fault { code, subtask: None, field: None, message }
}

/// Reads JSON; repeated keys become faults and the first value stands.
pub(super) fn json(text: &str, faults: &mut Vec<Fault>) -> Result<Value, Fault> {
    let repeated = RefCell::new(Vec::new());
    let mut from = serde_json::Deserializer::from_str(text);
    let read = Strict(&repeated).deserialize(&mut from).and_then(|value| from.end().map(|()| value));
    for key in repeated.into_inner() {
        let message = format!("the key {} stands twice in one object; keep one", shown(&key));
        faults.push(Fault { field: Some(super::fault::label(&key)), ..fault(Code::BadValue, message) });
    }
    read.map_err(|error| {
        // serde_json's own text may quote the input; only its category and place are ours to repeat.
        let what = match error.classify() {
            serde_json::error::Category::Eof => "ends too early",
            _ if error.to_string().starts_with("recursion limit") => "is nested deeper than 127 levels",
            _ => "is not JSON",
        };
        let (line, column) = (error.line(), error.column());
        fault(Code::BadValue, format!("the text {what} at line {line}, column {column}; mend it there"))
    })
}

fn toml(text: &str) -> Result<Value, Fault> {
    match text.parse::<toml::Table>() {
        Ok(table) => Ok(from_toml(toml::Value::Table(table))),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
            let why = super::fault::label(error.message());
            Err(fault(Code::BadValue, format!("line {line} is not TOML: {why}")))
        }
    }
}

fn from_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(s) => Value::String(s),
        toml::Value::Integer(n) => Value::from(n),
        toml::Value::Float(n) => Value::from(n),
        toml::Value::Boolean(b) => Value::Bool(b),
        toml::Value::Datetime(d) => Value::String(d.to_string()),
        toml::Value::Array(list) => Value::Array(list.into_iter().map(from_toml).collect()),
        toml::Value::Table(table) => Value::Object(table.into_iter().map(|(k, v)| (k, from_toml(v))).collect()),
    }
}

/// The first JSON object in a text: from a `{` that is followed by `"` or `}`, to its end (or the text's).
pub(super) fn object_in(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let opens = |&at: &usize| {
        bytes[at] == b'{' && bytes[at + 1..].iter().find(|b| !b.is_ascii_whitespace()).is_none_or(|b| matches!(b, b'"' | b'}'))
    };
    let start = (0..bytes.len()).find(opens)?;
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(&text[start..=at]);
                }
            }
            _ => {}
        }
    }
    Some(&text[start..])
}

/// Builds a value and notes every repeated key.
struct Strict<'a>(&'a RefCell<Vec<String>>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(Strict(self.0))? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            let value = from.next_value_seed(Strict(self.0))?;
            if map.contains_key(&key) {
                self.0.borrow_mut().push(key);
            } else {
                map.insert(key, value);
            }
        }
        Ok(Value::Object(map))
    }
}
