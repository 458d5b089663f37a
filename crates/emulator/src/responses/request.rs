//! Reading and refusing requests as the real service does.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::{Fields, parse};
use super::items;
use crate::ask::{self, Ask, Choice, Dialect, Format, Kind, Piece, Tool, ToolKind};
use crate::catalog::{EFFORTS, Model};
use crate::json;
use crate::refusal::Refusal;
use crate::scenario::Scenario;
use crate::schema::Schemas;
use crate::store::Store;

const KNOWN: [&str; 32] = [
    "model",
    "input",
    "instructions",
    "previous_response_id",
    "conversation",
    "store",
    "stream",
    "stream_options",
    "background",
    "max_output_tokens",
    "max_tool_calls",
    "parallel_tool_calls",
    "tools",
    "tool_choice",
    "reasoning",
    "text",
    "temperature",
    "top_p",
    "top_logprobs",
    "truncation",
    "include",
    "context_management",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "service_tier",
    "metadata",
    "safety_identifier",
    "prompt",
    "moderation",
    "user",
    "image",
];

/// A checked request and its settings as they are echoed.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) ask: Ask<'a>,
    /// `"background":false,…` without braces.
    pub(crate) settings: Vec<u8>,
}

#[derive(Deserialize, Default)]
struct Reasoning<'a> {
    #[serde(borrow)]
    effort: Option<Cow<'a, str>>,
    #[serde(borrow)]
    summary: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
struct Text<'a> {
    #[serde(borrow)]
    format: Option<&'a RawValue>,
    #[serde(borrow)]
    verbosity: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct FormatWire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    strict: Option<bool>,
}

#[derive(Deserialize)]
struct ToolWire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
}

#[derive(Deserialize)]
struct ChoiceWire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    mode: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    tools: Vec<ChoiceTool<'a>>,
}

#[derive(Deserialize)]
struct ChoiceTool<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

/// The model a request names, for the ledger of refused ones.
pub(crate) fn model_of<'a>(fields: &Fields<'a>) -> Option<Cow<'a, str>> {
    fields.text("model").ok().flatten()
}

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
pub(crate) fn effort<'a>(
    asked: Option<Cow<'a, str>>,
    model: &'a Model,
    name: &str,
    param: &str,
) -> Result<Cow<'a, str>, Refusal> {
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
    let known = model
        .efforts
        .as_ref()
        .map_or_else(|| EFFORTS.join("', '"), |efforts| efforts.join("', '"));
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
            let message =
                format!("Unsupported parameter: '{name}' is not supported with this model.");
            return Err(Refusal::bad(name, message).code("unsupported_value"));
        }
        if !(0.0..=most).contains(&value) {
            return Err(Refusal::bad(
                name,
                format!("Invalid '{name}': {value} is not within 0 and {most}."),
            ));
        }
    }
    Ok(())
}

/// Output limit: at least 16, at most what the model gives.
pub(crate) fn check_limit(limit: Option<u64>, model: &Model, param: &str) -> Result<(), Refusal> {
    let Some(limit) = limit else { return Ok(()) };
    if limit < 16 {
        let message = format!(
            "Invalid '{param}': integer below minimum value. Expected a value >= 16, but got {limit} instead."
        );
        return Err(Refusal::bad(param, message).code("integer_below_min_value"));
    }
    match model.max_output {
        Some(most) if limit > most => {
            let message = format!(
                "Invalid '{param}': integer above maximum value. Expected a value <= {most}, but got {limit} instead."
            );
            Err(Refusal::bad(param, message).code("integer_above_max_value"))
        }
        _ => Ok(()),
    }
}

/// Metadata: at most 16 pairs of short strings.
fn check_metadata(fields: &Fields<'_>) -> Result<(), Refusal> {
    let Some(metadata) = fields.get::<serde_json::Map<String, serde_json::Value>>("metadata")?
    else {
        return Ok(());
    };
    if metadata.len() > 16 {
        return Err(Refusal::bad(
            "metadata",
            format!(
                "Invalid 'metadata': at most 16 pairs, got {}.",
                metadata.len()
            ),
        ));
    }
    for (key, value) in &metadata {
        let param = format!("metadata.{key}");
        if key.chars().count() > 64 {
            return Err(Refusal::bad(
                "metadata",
                "Invalid 'metadata': a key is longer than 64 characters.",
            ));
        }
        match value.as_str() {
            Some(text) if text.chars().count() <= 512 => {}
            Some(_) => {
                return Err(Refusal::bad(
                    &param,
                    format!("Invalid '{param}': longer than 512 characters."),
                ));
            }
            None => {
                return Err(
                    Refusal::bad(&param, format!("Invalid '{param}': expected a string."))
                        .code("invalid_type"),
                );
            }
        }
    }
    Ok(())
}

/// Format and its schema; `at` is the parameter that holds the schema.
pub(crate) fn check_schema(
    raw: &RawValue,
    at: &str,
    name: &str,
    schemas: &Schemas,
) -> Result<(), Refusal> {
    schemas.strict(raw.get()).map(drop).map_err(|fault| {
        let message = format!(
            "Invalid schema for '{name}': at '{}': {}.",
            fault.path, fault.message
        );
        Refusal::bad(at, message).code("invalid_json_schema")
    })
}

fn format<'a>(raw: Option<&'a RawValue>, schemas: &Schemas) -> Result<Option<Format<'a>>, Refusal> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Ok(None);
    };
    let format: FormatWire<'a> = parse(raw, "text.format")?;
    match format.kind.as_ref() {
        "text" | "json_object" => Ok(None),
        "json_schema" => {
            let missing = |name: &str| {
                Refusal::bad(
                    &format!("text.format.{name}"),
                    format!("Missing required parameter: 'text.format.{name}'."),
                )
                .code("missing_required_parameter")
            };
            let name = format.name.ok_or_else(|| missing("name"))?;
            check_name(&name, "text.format.name")?;
            let schema = format.schema.ok_or_else(|| missing("schema"))?;
            let strict = format.strict.unwrap_or(false);
            if strict {
                check_schema(schema, "text.format.schema", &name, schemas)?;
            }
            Ok(Some(Format {
                name,
                schema,
                strict,
            }))
        }
        other => Err(Refusal::bad(
            "text.format.type",
            format!(
                "Invalid value: '{other}'. Supported values are: 'text', 'json_object', and 'json_schema'."
            ),
        )),
    }
}

pub(crate) fn check_name(name: &str, param: &str) -> Result<(), Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=128).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Refusal::bad(
        param,
        format!(
            "Invalid '{param}': string does not match '^[a-zA-Z0-9_-]+$' or is too long: '{name}'."
        ),
    )
    .code("invalid_value"))
}

fn tools<'a>(fields: &Fields<'a>, schemas: &Schemas) -> Result<Vec<Tool<'a>>, Refusal> {
    let wires: Vec<ToolWire<'a>> = fields.get("tools")?.unwrap_or_default();
    let mut tools = Vec::with_capacity(wires.len());
    for (at, tool) in wires.into_iter().enumerate() {
        let kind = match tool.kind.as_ref() {
            "function" => ToolKind::Function,
            "custom" => ToolKind::Custom,
            _ => ToolKind::Hosted,
        };
        if kind == ToolKind::Hosted {
            tools.push(Tool {
                kind,
                name: tool.kind,
                parameters: None,
            });
            continue;
        }
        let param = format!("tools[{at}].name");
        let name = tool.name.ok_or_else(|| {
            Refusal::bad(&param, format!("Missing required parameter: '{param}'."))
                .code("missing_required_parameter")
        })?;
        check_name(&name, &param)?;
        if let (Some(true), Some(parameters)) = (tool.strict, tool.parameters) {
            check_schema(
                parameters,
                &format!("tools[{at}].parameters"),
                &name,
                schemas,
            )?;
        }
        tools.push(Tool {
            kind,
            name,
            parameters: tool.parameters,
        });
    }
    Ok(tools)
}

fn choice(fields: &Fields<'_>, tools: &[Tool<'_>]) -> Result<Choice, Refusal> {
    let Some(raw) = fields.raw("tool_choice") else {
        return Ok(Choice::Auto);
    };
    let bad = |message: String| Refusal::bad("tool_choice", message);
    if raw.get().starts_with('"') {
        let word: String = parse(raw, "tool_choice")?;
        return choice_word(&word, tools);
    }
    let wire: ChoiceWire<'_> = parse(raw, "tool_choice")?;
    match wire.kind.as_ref() {
        "function" | "custom" => {
            let name = wire
                .name
                .ok_or_else(|| bad("Missing required parameter: 'tool_choice.name'.".into()))?;
            named(&name, tools)
        }
        "allowed_tools" => {
            let required = match wire.mode.as_deref() {
                Some("auto") => false,
                Some("required") => true,
                other => {
                    return Err(bad(format!(
                        "Invalid 'tool_choice.mode': {other:?}. Use 'auto' or 'required'."
                    )));
                }
            };
            let names: Vec<String> = wire
                .tools
                .into_iter()
                .filter_map(|tool| tool.name)
                .map(Cow::into_owned)
                .collect();
            if let Some(name) = names
                .iter()
                .find(|name| !tools.iter().any(|tool| tool.name == **name))
            {
                return Err(bad(format!(
                    "Tool choice '{name}' not found in 'tools' parameter."
                )));
            }
            Ok(Choice::Allowed { required, names })
        }
        _ => Ok(Choice::Auto),
    }
}

pub(crate) fn choice_word(word: &str, tools: &[Tool<'_>]) -> Result<Choice, Refusal> {
    let bad = |message: String| Err(Refusal::bad("tool_choice", message));
    match word {
        "auto" => Ok(Choice::Auto),
        "none" => Ok(Choice::None),
        "required" if tools.is_empty() => {
            bad("Tool choice 'required' must be specified with 'tools' parameter.".into())
        }
        "required" => Ok(Choice::Required),
        other => bad(format!(
            "Invalid value: '{other}'. Supported values are: 'none', 'auto', and 'required'."
        )),
    }
}

pub(crate) fn named(name: &str, tools: &[Tool<'_>]) -> Result<Choice, Refusal> {
    if tools.iter().any(|tool| tool.name == name) {
        return Ok(Choice::Named(name.to_owned()));
    }
    Err(Refusal::bad(
        "tool_choice",
        format!("Tool choice '{name}' not found in 'tools' parameter."),
    ))
}

/// Reads a request.
pub(crate) fn read<'a>(
    fields: &Fields<'a>,
    scenario: &'a Scenario,
    schemas: &Schemas,
    store: &Store,
) -> Result<Request<'a>, Refusal> {
    if let Some(name) = fields.unknown(&KNOWN).filter(|_| scenario.server.strict) {
        return Err(
            Refusal::bad(name, format!("Unknown parameter: '{name}'.")).code("unknown_parameter")
        );
    }
    let name = fields.text("model")?.ok_or_else(|| {
        Refusal::bad("model", "Missing required parameter: 'model'.")
            .code("missing_required_parameter")
    })?;
    let model = known_model(scenario, &name)?;
    let chain = fields.text("previous_response_id")?;
    if chain.is_some() && fields.raw("conversation").is_some() {
        let message =
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Give one.";
        return Err(
            Refusal::bad("previous_response_id", message).code("mutually_exclusive_parameters")
        );
    }
    for unsupported in [
        "conversation",
        "prompt",
        "prompt_cache_options",
        "context_management",
    ] {
        if fields.raw(unsupported).is_some() {
            return Err(Refusal::bad(
                unsupported,
                format!("not supported yet by the emulator: {unsupported}"),
            )
            .code("unsupported_parameter"));
        }
    }
    if fields.get::<bool>("background")? == Some(true) {
        return Err(Refusal::bad(
            "background",
            "not supported yet by the emulator: background",
        )
        .code("unsupported_parameter"));
    }
    let parent = match &chain {
        Some(id) => Some(store.get(id).ok_or_else(|| {
            Refusal::bad(
                "previous_response_id",
                format!("Previous response with id '{id}' not found."),
            )
            .code("previous_response_not_found")
        })?),
        None => None,
    };
    let mut pieces = match fields.raw("input") {
        Some(input) => items::read(input, store)?,
        None if parent.is_some() => Vec::new(),
        None => {
            return Err(
                Refusal::bad("input", "Missing required parameter: 'input'.")
                    .code("missing_required_parameter"),
            );
        }
    };
    items::check_pairs(&pieces, parent.as_deref())?;
    if let Some(text) = fields.text("instructions")? {
        pieces.insert(
            0,
            Piece {
                kind: Kind::Instructions,
                text,
                call_id: None,
            },
        );
    }
    let stream = fields.get::<bool>("stream")?.unwrap_or(false);
    if fields.raw("stream_options").is_some() && !stream {
        return Err(Refusal::bad(
            "stream_options",
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        ));
    }
    let max_output = fields.get::<u64>("max_output_tokens")?;
    check_limit(max_output, model, "max_output_tokens")?;
    let reasoning: Reasoning<'a> = fields.get("reasoning")?.unwrap_or_default();
    let effort = effort(reasoning.effort, model, &name, "reasoning.effort")?;
    check_sampling(fields, &effort)?;
    check_metadata(fields)?;
    let text: Text<'a> = fields.get("text")?.unwrap_or_default();
    let format = format(text.format, schemas)?;
    let tools = tools(fields, schemas)?;
    let choice = choice(fields, &tools)?;
    let service_tier = fields.text("service_tier")?.unwrap_or("auto".into());
    if ![
        "auto",
        "default",
        "flex",
        "scale",
        "priority",
        "fast",
        "ultrafast",
    ]
    .contains(&service_tier.as_ref())
    {
        return Err(
            Refusal::bad("service_tier", format!("Invalid value: '{service_tier}'."))
                .code("invalid_value"),
        );
    }
    let include: Vec<String> = fields.get("include")?.unwrap_or_default();

    let schema_tokens = format
        .as_ref()
        .map_or(0, |format| ask::tokens(format.schema.get()));
    let tool_tokens = fields
        .raw("tools")
        .map_or(0, |tools| ask::tokens(tools.get()));
    let before = parent.as_ref().map_or(0, |parent| parent.tokens);
    let mut input_tokens =
        ask::REQUEST_TOKENS + before + ask::context_tokens(&pieces) + schema_tokens + tool_tokens;
    let truncation = fields.text("truncation")?.unwrap_or("disabled".into());
    if let Some(window) = model.window.filter(|window| input_tokens > *window) {
        if truncation != "auto" {
            return Err(too_long(input_tokens, window, "input"));
        }
        // the start is dropped for the bill; rules still see all of it
        input_tokens = window;
    }
    let mut request = Request {
        ask: Ask {
            dialect: Dialect::Responses,
            model: name,
            stream,
            stream_usage: true,
            parent,
            pieces,
            format,
            tools,
            choice,
            parallel: fields.get::<bool>("parallel_tool_calls")?.unwrap_or(true),
            max_output,
            service_tier,
            wants_encrypted: include
                .iter()
                .any(|name| name == "reasoning.encrypted_content"),
            store: fields.get::<bool>("store")?.unwrap_or(true),
            input_tokens,
        },
        settings: Vec::new(),
    };
    request.settings = settings(
        fields,
        &request.ask,
        &effort,
        reasoning.summary.as_deref(),
        &text,
        &truncation,
    )?;
    Ok(request)
}

pub(crate) fn too_long(tokens: u64, window: u64, param: &str) -> Refusal {
    let message = format!(
        "Your input exceeds the context window of this model: {tokens} tokens, the window has {window}. Please adjust your input and try again."
    );
    Refusal::bad(param, message).code("context_length_exceeded")
}

/// The settings as a response echoes them, defaults filled in.
fn settings(
    fields: &Fields<'_>,
    ask: &Ask<'_>,
    effort: &str,
    summary: Option<&str>,
    text: &Text<'_>,
    truncation: &str,
) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::with_capacity(1024);
    let echo = |out: &mut Vec<u8>, name: &str, default: &str| {
        out.push(b'"');
        json::raw(out, name);
        json::raw(out, "\":");
        json::raw(out, fields.raw(name).map_or(default, RawValue::get));
        out.push(b',');
    };
    json::raw(&mut out, "\"background\":false,");
    for (name, default) in [
        ("instructions", "null"),
        ("max_output_tokens", "null"),
        ("max_tool_calls", "null"),
        ("metadata", "{}"),
        ("parallel_tool_calls", "true"),
        ("previous_response_id", "null"),
        ("prompt_cache_key", "null"),
        ("prompt_cache_retention", "null"),
        ("safety_identifier", "null"),
        ("store", "true"),
        ("temperature", "1.0"),
        ("tool_choice", "\"auto\""),
        ("tools", "[]"),
        ("top_logprobs", "0"),
        ("top_p", "1.0"),
        ("user", "null"),
    ] {
        echo(&mut out, name, default);
    }
    json::raw(&mut out, "\"reasoning\":{\"effort\":");
    json::string(&mut out, effort);
    json::raw(&mut out, ",\"summary\":");
    json::string_or_null(&mut out, summary);
    json::raw(&mut out, "},\"text\":{\"format\":");
    match &ask.format {
        Some(format) => {
            json::raw(&mut out, "{\"type\":\"json_schema\",\"name\":");
            json::string(&mut out, &format.name);
            json::raw(&mut out, ",\"description\":null,\"schema\":");
            json::raw(&mut out, format.schema.get());
            json::raw(
                &mut out,
                if format.strict {
                    ",\"strict\":true}"
                } else {
                    ",\"strict\":false}"
                },
            );
        }
        None => json::raw(
            &mut out,
            text.format.map_or("{\"type\":\"text\"}", RawValue::get),
        ),
    }
    json::raw(&mut out, ",\"verbosity\":");
    json::string(&mut out, text.verbosity.as_deref().unwrap_or("medium"));
    json::raw(&mut out, "},\"truncation\":");
    json::string(&mut out, truncation);
    // a body may be written over several lines; an event must not be
    if out.iter().any(|byte| *byte == b'\n' || *byte == b'\r') {
        out.iter_mut()
            .filter(|byte| **byte == b'\n' || **byte == b'\r')
            .for_each(|byte| *byte = b' ');
    }
    Ok(out)
}
