//! A table of answers beside the scenario: one row per question, found in one step.
//!
//! With `key` in the reply, rows are found by the text that the regex captures; without it, by the
//! longest row whose `contains` occurs in the request. It never guesses: a row that is not there
//! leaves the request to the next rule.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::scenario::ScenarioError;

/// Most rows without a key: beyond it the automaton grows too large.
const MOST_CONTAINS_ROWS: usize = 20_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<'a> {
    key: Option<String>,
    contains: Option<String>,
    text: Option<String>,
    #[serde(borrow)]
    json: Option<&'a RawValue>,
}

/// Answers by key, or by what the request contains.
#[derive(Debug)]
pub(crate) enum Lookup {
    ByKey(HashMap<Box<str>, Arc<str>>),
    ByContent { finder: Box<AhoCorasick>, answers: Vec<Arc<str>> },
}

impl Lookup {
    pub(crate) fn load(path: &Path, keyed: bool) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::Read { path: path.into(), source })?;
        Self::parse(&text, keyed).map_err(|(line, message)| ScenarioError::Lookup { path: path.into(), line, message })
    }

    fn parse(text: &str, keyed: bool) -> Result<Self, (usize, String)> {
        let field = if keyed { "key" } else { "contains" };
        let mut by_key: HashMap<Box<str>, Arc<str>> = HashMap::new();
        let mut needles: Vec<Box<str>> = Vec::new();
        let mut answers = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |message: String| (at + 1, message);
            let row: Row<'_> = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
            let name = match (keyed, row.key, row.contains) {
                (true, Some(key), None) | (false, None, Some(key)) => key,
                (true, ..) => {
                    return Err(wrong("a row needs key and no contains, as the reply has a key".into()));
                }
                (false, ..) => {
                    return Err(wrong("a row needs contains and no key; to look up by key give reply.key a regex".into()));
                }
            };
            if name.is_empty() {
                return Err(wrong(format!("{field} is empty")));
            }
            let answer: Arc<str> = match (row.text, row.json) {
                (Some(text), None) => text.into(),
                (None, Some(json)) => json.get().into(),
                _ => return Err(wrong("a row needs text or json, and not both".into())),
            };
            if by_key.insert(name.as_str().into(), Arc::clone(&answer)).is_some() {
                return Err(wrong(format!("{field} {name:?} occurs twice")));
            }
            if !keyed {
                needles.push(name.into());
                answers.push(answer);
            }
        }
        if keyed {
            return Ok(Self::ByKey(by_key));
        }
        if needles.len() > MOST_CONTAINS_ROWS {
            return Err((MOST_CONTAINS_ROWS + 1, format!("more than {MOST_CONTAINS_ROWS} rows by contains: use key")));
        }
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(needles.iter().map(|needle| needle.as_bytes()))
            .map_err(|error| (1, error.to_string()))?;
        Ok(Self::ByContent { finder: Box::new(finder), answers })
    }

    pub(crate) fn by_key(&self, key: &str) -> Option<&Arc<str>> {
        match self {
            Self::ByKey(rows) => rows.get(key),
            Self::ByContent { .. } => None,
        }
    }

    /// The longest row that occurs in `text`.
    pub(crate) fn by_content(&self, text: &str) -> Option<&Arc<str>> {
        match self {
            Self::ByKey(_) => None,
            Self::ByContent { finder, answers } => {
                let longest = finder.find_iter(text).max_by_key(aho_corasick::Match::len)?;
                answers.get(longest.pattern().as_usize())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_row_wins() {
        let rows = "{\"contains\": \"card\", \"text\": \"a\"}\n\n{\"contains\": \"card lost\", \"json\": {\"b\": 1}}\n";
        let lookup = Lookup::parse(rows, false).unwrap();
        assert_eq!(lookup.by_content("my card lost, card").unwrap().as_ref(), "{\"b\": 1}");
        assert!(lookup.by_content("nothing").is_none());
    }

    #[test]
    fn a_bad_row_is_named_by_line() {
        for (rows, line, word) in [
            ("{\"key\": \"a\", \"text\": \"x\"}\n{\"key\": \"a\", \"text\": \"y\"}", 2, "twice"),
            ("{\"key\": \"a\"}", 1, "text or json"),
            ("{\"contains\": \"a\", \"text\": \"x\"}", 1, "needs key"),
            ("{\"key\": \"a\", \"txt\": \"x\"}", 1, "txt"),
            ("nonsense", 1, "expected"),
        ] {
            let (at, message) = Lookup::parse(rows, true).unwrap_err();
            assert_eq!(at, line, "{message}");
            assert!(message.contains(word), "{message}");
        }
    }
}
