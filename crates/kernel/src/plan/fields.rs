//! Reading one object from outside, field by field: every fault is kept, none ends the reading.
//!
//! `null` is always the same as an absent field.

use serde_json::{Map, Value};

use super::fault::{Code, Fault, label, shown};
use super::{MAX_TEXT_BYTES, scope};

/// Most entries of one list but `depends_on` and `subtasks`.
const MAX_LIST: usize = 1_000;

/// One object being read.
pub(super) struct Fields<'a> {
    pub map: &'a Map<String, Value>,
    /// What faults call the subtask; `None` at the top of a plan.
    pub subtask: Option<String>,
    pub faults: Vec<Fault>,
}

impl<'a> Fields<'a> {
    pub fn new(map: &'a Map<String, Value>, subtask: Option<String>) -> Self {
        Self { map, subtask, faults: Vec::new() }
    }

    pub fn fault(&mut self, code: Code, field: &str, message: String) {
        self.faults.push(Fault { code, subtask: self.subtask.clone(), field: Some(label(field)), message });
    }

    /// Refuses every field that is not among `allowed`; `elsewhere` are those that another author may set.
    pub fn only(&mut self, allowed: &[&[&str]], elsewhere: &[&str]) {
        for key in self.map.keys() {
            if allowed.iter().any(|list| list.contains(&key.as_str())) {
                continue;
            }
            let message = if elsewhere.contains(&key.as_str()) {
                format!("{} may only be set in a hand-written plan; leave it out", shown(key))
            } else {
                let known: Vec<&str> = allowed.iter().flat_map(|list| list.iter().copied()).collect();
                format!("there is no field {}; known are {}", shown(key), known.join(", "))
            };
            self.fault(Code::UnknownField, key, message);
        }
    }

    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    pub fn bad(&mut self, field: &str, value: &Value, remedy: &str) {
        self.fault(Code::BadValue, field, format!("{field} is {}; {remedy}", kind_and_value(value)));
    }

    /// Text of at most [`MAX_TEXT_BYTES`].
    pub fn text(&mut self, field: &str) -> Option<&'a str> {
        match self.get(field)? {
            Value::String(text) if text.len() <= MAX_TEXT_BYTES => Some(text),
            Value::String(text) => {
                let message = format!("{field} has {} bytes; the limit is {MAX_TEXT_BYTES}, put the rest into a file", text.len());
                self.fault(Code::BadValue, field, message);
                None
            }
            other => {
                self.bad(field, other, "write text");
                None
            }
        }
    }

    pub fn flag(&mut self, field: &str) -> bool {
        match self.get(field) {
            None => false,
            Some(Value::Bool(value)) => *value,
            Some(other) => {
                self.bad(field, other, "write true or false");
                false
            }
        }
    }

    /// A whole number within a range.
    pub fn whole(&mut self, field: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.get(field)?;
        let whole = value.as_u64().or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0 && *n < 9e15).map(|n| n as u64));
        match whole.filter(|n| range.contains(n)) {
            Some(n) => Some(n),
            None => {
                self.bad(field, value, &format!("write a whole number from {} to {}", range.start(), range.end()));
                None
            }
        }
    }

    /// A share from 0 to 1.
    pub fn share(&mut self, field: &str) -> Option<f64> {
        let value = self.get(field)?;
        match value.as_f64().filter(|n| (0.0..=1.0).contains(n)) {
            Some(n) => Some(n),
            None => {
                self.bad(field, value, "write a number from 0 to 1");
                None
            }
        }
    }

    /// A list of text, each entry given to `take` with the reader.
    pub fn list(&mut self, field: &str, mut take: impl FnMut(&mut Self, &'a str) -> bool) -> Vec<String> {
        let mut taken = Vec::new();
        for value in self.entries(field) {
            match value {
                Value::String(text) => {
                    if take(self, text) {
                        taken.push(text.clone());
                    }
                }
                other => self.bad(field, other, "write text in each entry"),
            }
        }
        taken
    }

    /// The entries of a list of bounded length.
    pub fn entries(&mut self, field: &str) -> &'a [Value] {
        match self.get(field) {
            None => &[],
            Some(Value::Array(list)) if list.len() <= MAX_LIST => list,
            Some(Value::Array(list)) => {
                let message = format!("{field} has {} entries; the limit is {MAX_LIST}", list.len());
                self.fault(Code::TooMany, field, message);
                &[]
            }
            Some(other) => {
                self.bad(field, other, "write a list, e.g. [\"…\"]");
                &[]
            }
        }
    }

    /// A list of globs inside the workspace.
    pub fn scopes(&mut self, field: &str) -> Vec<String> {
        self.list(field, |fields, glob| {
            if let Some(why) = scope::refusal(glob) {
                fields.fault(Code::Scope, field, format!("{field} entry {} {why}", shown(glob)));
                return false;
            }
            if !scope::is_readable(glob) {
                fields.fault(Code::BadValue, field, format!("{field} entry {} is no glob; write e.g. \"src/**\"", shown(glob)));
                return false;
            }
            true
        })
    }

    /// A value read by `read`, else a fault with the remedy.
    pub fn parsed<T>(&mut self, field: &str, remedy: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(field)?;
        let value = read(text);
        if value.is_none() {
            self.fault(Code::BadValue, field, format!("{field} is {}; {remedy}", shown(text)));
        }
        value
    }
}

/// A value in a message: what it is, and what it says.
pub(super) fn kind_and_value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => shown(s),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(map) => format!("an object of {} fields", map.len()),
    }
}
