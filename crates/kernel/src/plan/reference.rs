//! `{{…}}` in a text: rows' fields, which are substituted, and other subtasks' outputs, which are dependencies.
//!
//! Anything else between braces is ordinary text and stays.

use std::ops::Range;

use serde_json::Value;

use crate::ids::SubtaskId;

/// What a placeholder stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// `{{item}}` or `{{item.field}}`: the row, or a part of it.
    Item {
        /// Empty for the whole row.
        path: String,
    },
    /// `{{id.output}}` or `{{id.output.field}}`: what a subtask returned, or a part of it.
    Output {
        /// Whose output.
        id: SubtaskId,
        /// Empty for the whole output; else names joined by dots.
        path: String,
    },
}

impl Reference {
    /// Reads the text between `{{` and `}}`.
    pub fn parse(inner: &str) -> Option<Self> {
        let inner = inner.trim();
        if inner == "item" {
            return Some(Self::Item { path: String::new() });
        }
        let (head, tail) = inner.split_once('.')?;
        if head == "item" {
            return (!tail.is_empty()).then(|| Self::Item { path: tail.to_owned() });
        }
        let path = match tail.strip_prefix("output")? {
            "" => "",
            rest => rest.strip_prefix('.').filter(|path| !path.is_empty())?,
        };
        Some(Self::Output { id: SubtaskId::new(head).ok()?, path: path.to_owned() })
    }
}

/// Every placeholder of a text with its place, braces included, in order. Linear in the text.
pub fn references(text: &str) -> Vec<(Range<usize>, Reference)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("{{").map(|n| at + n) {
        // Of `{{{x}}`, the inner pair counts.
        let open = open + text[open..].bytes().take_while(|b| *b == b'{').count() - 2;
        let inner = &text[open + 2..];
        let end = inner.find(['{', '}', '\n']).unwrap_or(inner.len());
        at = open + 2 + end;
        if inner[end..].starts_with("}}")
            && let Some(reference) = Reference::parse(&inner[..end])
        {
            at += 2;
            found.push((open..at, reference));
        }
    }
    found
}

/// Ids whose output a text refers to, in order, without repeats.
pub fn outputs(text: &str) -> Vec<SubtaskId> {
    let mut seen = std::collections::HashSet::new();
    let id = |(_, reference)| match reference {
        Reference::Output { id, .. } => Some(id),
        Reference::Item { .. } => None,
    };
    references(text).into_iter().filter_map(id).filter(|id| seen.insert(id.clone())).collect()
}

/// Puts a row's fields in place of every `{{item.field}}`; a missing field becomes nothing.
///
/// The value is data: control characters and quotes are escaped as in JSON, so that it stays on its line and inside
/// quotes that the author wrote, and `{{` is broken up, so that no row can refer to anything.
pub fn fill_items(text: &str, row: &Value) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut at = 0;
    for (place, reference) in references(text) {
        let Reference::Item { path } = reference else { continue };
        filled.push_str(&text[at..place.start]);
        if let Some(value) = lookup(row, &path) {
            filled.push_str(&escaped(value));
        }
        at = place.end;
    }
    filled.push_str(&text[at..]);
    filled
}

/// A value as it may stand inside a text (see [`fill_items`]).
pub fn escaped(value: &Value) -> String {
    let json = value.to_string();
    let inner = match value {
        Value::String(_) => &json[1..json.len() - 1],
        _ => &json,
    };
    let mut text = String::with_capacity(inner.len());
    let mut before = ' ';
    for c in inner.chars() {
        match c {
            '{' if before == '{' => text.push_str("\\u007b"),
            // JSON leaves these, but terminals and some tokenizers take them for line ends or direction marks.
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => text.push(c),
        }
        before = c;
    }
    text
}

/// The part of a value that a dotted path names: the whole rest as one key first (CSV headers hold dots), else step by
/// step; numbers index lists. Empty = the value itself.
pub fn lookup<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let (mut value, mut path) = (value, path);
    loop {
        if path.is_empty() {
            return Some(value);
        }
        if let Value::Object(map) = value
            && let Some(found) = map.get(path)
        {
            return Some(found);
        }
        let (head, tail) = path.split_once('.').unwrap_or((path, ""));
        value = match value {
            Value::Object(map) => map.get(head)?,
            Value::Array(list) => list.get(head.parse::<usize>().ok()?)?,
            _ => return None,
        };
        path = tail;
    }
}
