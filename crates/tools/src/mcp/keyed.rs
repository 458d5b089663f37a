//! Tools that the user declares keyed: an argument tells the target which call this is, so that a repeat does nothing new.

use serde_json::{Map, Value};

/// `ARGUMENT=TEXT`; in the text `{{key}}` stands for this call's own name, `{{NAME}}` for another argument's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    argument: String,
    text: String,
}

const SHAPE: &str = "write ARGUMENT=TEXT with {{key}}, or another argument's name in braces, e.g. \"request_id={{key}}\"";

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (argument, text) = text.split_once('=').ok_or(SHAPE)?;
        let argument = argument.trim();
        let plain = argument.chars().all(|c| c.is_ascii_alphanumeric() || "_-.$".contains(c));
        let template = Self { argument: argument.to_owned(), text: text.trim().to_owned() };
        let mut names = 0;
        let read = template.fill(|_| {
            names += 1;
            Ok(String::new())
        });
        if argument.is_empty() || !plain || read.is_err() || names == 0 {
            return Err(SHAPE.to_owned());
        }
        Ok(template)
    }

    fn fill(&self, mut value: impl FnMut(&str) -> Result<String, String>) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = self.text.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or(SHAPE)?;
            out.push_str(before);
            out.push_str(&value(name.trim())?);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// Sets the argument for this call.
    pub(super) fn apply(&self, arguments: &mut Map<String, Value>, key: &str) -> Result<(), String> {
        let filled = self.fill(|name| match (name, arguments.get(name)) {
            ("key", _) => Ok(key.to_owned()),
            (_, Some(Value::String(text))) => Ok(text.clone()),
            (_, Some(other)) => Ok(other.to_string()),
            (name, None) => Err(format!("the argument {name:?} is missing; give it")),
        })?;
        let whole = self.text.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).map(str::trim);
        // An argument that stands for itself keeps its type.
        if whole != Some(self.argument.as_str()) || !arguments.contains_key(&self.argument) {
            arguments.insert(self.argument.clone(), Value::String(filled));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_repeat_carries_the_same_key() {
        let template = Template::parse("request_id=brigade-{{key}}-{{title}}").expect("it is one");
        let once = |key: &str| {
            let mut arguments = json!({"title": "x", "request_id": "the model's own"}).as_object().cloned().expect("an object");
            template.apply(&mut arguments, key).expect("all is there");
            Value::Object(arguments)
        };
        assert_eq!(once("k1"), json!({"title": "x", "request_id": "brigade-k1-x"}));
        assert_eq!(once("k1"), once("k1"));
        assert_ne!(once("k1"), once("k2"));
        assert!(template.apply(&mut Map::new(), "k").is_err());
        let itself = Template::parse("id={{id}}").expect("it is one");
        let mut arguments = json!({"id": 7}).as_object().cloned().expect("an object");
        itself.apply(&mut arguments, "k").expect("it is there");
        assert_eq!(Value::Object(arguments), json!({"id": 7}));
    }

    #[test]
    fn a_template_without_a_key_is_refused() {
        for bad in ["", "x", "x=", "x=always", "=a{{key}}", "x={{key", "x y={{key}}"] {
            assert!(Template::parse(bad).is_err(), "{bad:?}");
        }
    }
}
