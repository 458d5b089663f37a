//! `{{…}}` in a scripted text, filled from the request. Only names known here are touched, so
//! that a plan may hold brigade's own `{{id.output}}`.

use std::borrow::Cow;

use serde_json::Value;

/// What a text may refer to.
#[derive(Debug)]
pub(crate) struct Vars<'a> {
    pub(crate) model: &'a str,
    pub(crate) seq: u64,
    /// The caller's last message.
    pub(crate) message: &'a str,
    /// What `key` captured: the whole first, then its groups.
    pub(crate) captures: Vec<String>,
}

impl Vars<'_> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "model" => Some(Cow::Borrowed(self.model)),
            "seq" => Some(Cow::Owned(self.seq.to_string())),
            "input.text" => Some(Cow::Borrowed(self.message)),
            "input.last_line" => Some(Cow::Borrowed(self.message.trim_end().lines().next_back().unwrap_or(""))),
            _ => {
                let index: usize = name.strip_prefix("match.")?.parse().ok()?;
                Some(Cow::Borrowed(self.captures.get(index).map_or("", String::as_str)))
            }
        }
    }

    /// Fills a text.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            out.push_str(&rest[..start]);
            let after = &rest[start + 2..];
            match after.find("}}").and_then(|end| self.get(after[..end].trim()).map(|value| (end, value))) {
                Some((end, value)) => {
                    out.push_str(&value);
                    rest = &after[end + 2..];
                }
                None => {
                    out.push_str("{{");
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// Fills every string of a value.
    pub(crate) fn fill_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(text)),
            Value::Array(values) => values.iter().map(|value| self.fill_value(value)).collect(),
            Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), self.fill_value(value))).collect(),
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_are_filled() {
        let vars = Vars { model: "m", seq: 7, message: "row one\nrow two\n", captures: vec!["k=v".into(), "v".into()] };
        assert_eq!(
            vars.fill("{{model}} {{ seq }} {{match.1}} {{input.last_line}} {{a.output}} {{match.9}}|{{ {{x}}"),
            "m 7 v row two {{a.output}} |{{ {{x}}"
        );
        assert_eq!(vars.fill_value(&serde_json::json!({"a": ["{{match.0}}", 1]})), serde_json::json!({"a": ["k=v", 1]}));
    }
}
