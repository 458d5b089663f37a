//! Checks that both dialects make: model, effort, sampling, limits, names, schemas, tool choice.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::fields::Fields;
use crate::ask::{Choice, Tool};
use crate::catalog::{EFFORTS, Model};
use crate::refusal::Refusal;
use crate::scenario::Scenario;
use crate::schema::Schemas;

/// Finds a model or refuses its name.
pub(crate) fn known_model<'s>(scenario: &'s Scenario, name: &str) -> Result<&'s Model, Refusal> {
    scenario.catalog.get(name).ok_or_else(|| {
        Refusal::bad(
            "model",
            format!(
                "The requested model '{name}' does not exist. (Scenario: add [models.\"{name}\"], \
                 match it in a rule, or set server.any_model = true.)"
            ),
        )
        .code("model_not_found")
    })
}

/// Effort of a request, within what its model offers.
pub(crate) fn effort<'a>(asked: Option<Cow<'a, str>>, model: &'a Model, name: &str, param: &str) -> Result<Cow<'a, str>, Refusal> {
    let Some(effort) = asked else {
        return Ok(model.effort.as_deref().unwrap_or("none").into());
    };
    let offered = |effort: &str| match &model.efforts {
        Some(efforts) => efforts.iter().any(|offered| offered == effort),
        None => EFFORTS.contains(&effort),
    };
    if offered(&effort) {
        return Ok(effort);
    }
    let known = model.efforts.as_ref().map_or_else(|| EFFORTS.join("', '"), |efforts| efforts.join("', '"));
    Err(Refusal::bad(
        param,
        format!("Unsupported value: '{effort}' is not supported with the '{name}' model. Supported values are: '{known}'."),
    )
    .code("unsupported_value"))
}

/// Temperature and top_p: in range, and not while the model reasons.
pub(crate) fn check_sampling(fields: &Fields<'_>, effort: &str) -> Result<(), Refusal> {
    for (name, most) in [("temperature", 2.0), ("top_p", 1.0)] {
        let Some(value) = fields.get::<f64>(name)? else {
            continue;
        };
        if effort != "none" {
            let message = format!("Unsupported parameter: '{name}' is not supported with this model.");
            return Err(Refusal::bad(name, message).code("unsupported_value"));
        }
        if !(0.0..=most).contains(&value) {
            return Err(Refusal::bad(name, format!("Invalid '{name}': {value} is not within 0 and {most}.")));
        }
    }
    Ok(())
}

/// Output limit: at least 16, at most what the model gives.
pub(crate) fn check_limit(limit: Option<u64>, model: &Model, param: &str) -> Result<(), Refusal> {
    let Some(limit) = limit else { return Ok(()) };
    if limit < 16 {
        let message = format!("Invalid '{param}': integer below minimum value. Expected a value >= 16, but got {limit} instead.");
        return Err(Refusal::bad(param, message).code("integer_below_min_value"));
    }
    match model.max_output {
        Some(most) if limit > most => {
            let message = format!("Invalid '{param}': integer above maximum value. Expected a value <= {most}, but got {limit} instead.");
            Err(Refusal::bad(param, message).code("integer_above_max_value"))
        }
        _ => Ok(()),
    }
}

/// Metadata: at most 16 pairs of short strings.
pub(super) fn check_metadata(fields: &Fields<'_>) -> Result<(), Refusal> {
    let Some(metadata) = fields.get::<serde_json::Map<String, serde_json::Value>>("metadata")? else {
        return Ok(());
    };
    if metadata.len() > 16 {
        return Err(Refusal::bad("metadata", format!("Invalid 'metadata': at most 16 pairs, got {}.", metadata.len())));
    }
    for (key, value) in &metadata {
        let param = format!("metadata.{key}");
        if key.chars().count() > 64 {
            return Err(Refusal::bad("metadata", "Invalid 'metadata': a key is longer than 64 characters."));
        }
        match value.as_str() {
            Some(text) if text.chars().count() <= 512 => {}
            Some(_) => {
                return Err(Refusal::bad(&param, format!("Invalid '{param}': longer than 512 characters.")));
            }
            None => {
                return Err(Refusal::bad(&param, format!("Invalid '{param}': expected a string.")).code("invalid_type"));
            }
        }
    }
    Ok(())
}

/// Format and its schema; `at` is the parameter that holds the schema.
pub(crate) fn check_schema(raw: &RawValue, at: &str, name: &str, schemas: &Schemas) -> Result<(), Refusal> {
    schemas.strict(raw.get()).map(drop).map_err(|fault| {
        let message = format!("Invalid schema for '{name}': at '{}': {}.", fault.path, fault.message);
        Refusal::bad(at, message).code("invalid_json_schema")
    })
}

pub(crate) fn check_name(name: &str, param: &str) -> Result<(), Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=128).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Refusal::bad(param, format!("Invalid '{param}': string does not match '^[a-zA-Z0-9_-]+$' or is too long: '{name}'."))
        .code("invalid_value"))
}

pub(crate) fn choice_word(word: &str, tools: &[Tool<'_>]) -> Result<Choice, Refusal> {
    let bad = |message: String| Err(Refusal::bad("tool_choice", message));
    match word {
        "auto" => Ok(Choice::Auto),
        "none" => Ok(Choice::None),
        "required" if tools.is_empty() => bad("Tool choice 'required' must be specified with 'tools' parameter.".into()),
        "required" => Ok(Choice::Required),
        other => bad(format!("Invalid value: '{other}'. Supported values are: 'none', 'auto', and 'required'.")),
    }
}

pub(crate) fn named(name: &str, tools: &[Tool<'_>]) -> Result<Choice, Refusal> {
    if tools.iter().any(|tool| tool.name == name) {
        return Ok(Choice::Named(name.to_owned()));
    }
    Err(Refusal::bad("tool_choice", format!("Tool choice '{name}' not found in 'tools' parameter.")))
}

pub(crate) fn too_long(tokens: u64, window: u64, param: &str) -> Refusal {
    let message = format!(
        "Your input exceeds the context window of this model: {tokens} tokens, the window has {window}. Please adjust your input and try again."
    );
    Refusal::bad(param, message).code("context_length_exceeded")
}

/// The model a request names, for the ledger of refused ones.
pub(crate) fn model_of<'a>(fields: &Fields<'a>) -> Option<Cow<'a, str>> {
    fields.text("model").ok().flatten()
}

/// Refuses images for a model that takes none.
pub(crate) fn check_images(images: u64, model: &Model, param: &str) -> Result<(), Refusal> {
    if images == 0 || model.images != Some(false) {
        return Ok(());
    }
    Err(Refusal::bad(param, "Invalid content type. image_url is only supported by certain models.").code("invalid_value"))
}
