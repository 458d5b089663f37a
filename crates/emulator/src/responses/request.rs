//! Reading and refusing requests as the real service does.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::checks::{
    check_images, check_limit, check_metadata, check_name, check_sampling, check_schema, choice_word, effort, known_model, named, too_long,
};
use super::fields::{Fields, parse};
use super::items::{self, Echoes};
use crate::ask::{self, Ask, Choice, Dialect, Format, Kind, Piece, Tool, ToolKind};
use crate::json;
use crate::picture::IMAGE_TOKENS;
use crate::refusal::Refusal;
use crate::scenario::Scenario;
use crate::schema::Schemas;
use crate::store::Store;

/// Only Codex sends this: its own name for the session.
const OF_CODEX: &str = "client_metadata";

const KNOWN: [&str; 33] = [
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
    OF_CODEX,
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

fn format<'a>(raw: Option<&'a RawValue>, schemas: &Schemas) -> Result<Option<Format<'a>>, Refusal> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Ok(None);
    };
    let format: FormatWire<'a> = parse(raw, "text.format")?;
    match format.kind.as_ref() {
        "text" | "json_object" => Ok(None),
        "json_schema" => {
            let missing = |name: &str| {
                Refusal::bad(&format!("text.format.{name}"), format!("Missing required parameter: 'text.format.{name}'."))
                    .code("missing_required_parameter")
            };
            let name = format.name.ok_or_else(|| missing("name"))?;
            check_name(&name, "text.format.name")?;
            let schema = format.schema.ok_or_else(|| missing("schema"))?;
            let strict = format.strict.unwrap_or(false);
            if strict {
                check_schema(schema, "text.format.schema", &name, schemas)?;
            }
            Ok(Some(Format { name, schema, strict }))
        }
        other => Err(Refusal::bad(
            "text.format.type",
            format!("Invalid value: '{other}'. Supported values are: 'text', 'json_object', and 'json_schema'."),
        )),
    }
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
            tools.push(Tool { kind, name: tool.kind, parameters: None });
            continue;
        }
        let param = format!("tools[{at}].name");
        let name = tool
            .name
            .ok_or_else(|| Refusal::bad(&param, format!("Missing required parameter: '{param}'.")).code("missing_required_parameter"))?;
        check_name(&name, &param)?;
        if let (Some(true), Some(parameters)) = (tool.strict, tool.parameters) {
            check_schema(parameters, &format!("tools[{at}].parameters"), &name, schemas)?;
        }
        tools.push(Tool { kind, name, parameters: tool.parameters });
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
            let name = wire.name.ok_or_else(|| bad("Missing required parameter: 'tool_choice.name'.".into()))?;
            named(&name, tools)
        }
        "allowed_tools" => {
            let required = match wire.mode.as_deref() {
                Some("auto") => false,
                Some("required") => true,
                other => {
                    return Err(bad(format!("Invalid 'tool_choice.mode': {other:?}. Use 'auto' or 'required'.")));
                }
            };
            let names: Vec<String> = wire.tools.into_iter().filter_map(|tool| tool.name).map(Cow::into_owned).collect();
            if let Some(name) = names.iter().find(|name| !tools.iter().any(|tool| tool.name == **name)) {
                return Err(bad(format!("Tool choice '{name}' not found in 'tools' parameter.")));
            }
            Ok(Choice::Allowed { required, names })
        }
        _ => Ok(Choice::Auto),
    }
}

/// Reads a request.
pub(crate) fn read<'a>(fields: &Fields<'a>, scenario: &'a Scenario, schemas: &Schemas, store: &Store) -> Result<Request<'a>, Refusal> {
    if let Some(name) = fields.unknown(&KNOWN).filter(|_| scenario.server.strict) {
        return Err(Refusal::bad(name, format!("Unknown parameter: '{name}'.")).code("unknown_parameter"));
    }
    let name = fields
        .text("model")?
        .ok_or_else(|| Refusal::bad("model", "Missing required parameter: 'model'.").code("missing_required_parameter"))?;
    let model = known_model(scenario, &name)?;
    let chain = fields.text("previous_response_id")?;
    if chain.is_some() && fields.raw("conversation").is_some() {
        let message = "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Give one.";
        return Err(Refusal::bad("previous_response_id", message).code("mutually_exclusive_parameters"));
    }
    for unsupported in ["conversation", "prompt", "prompt_cache_options", "context_management"] {
        if fields.raw(unsupported).is_some() {
            return Err(
                Refusal::bad(unsupported, format!("not supported yet by the emulator: {unsupported}")).code("unsupported_parameter")
            );
        }
    }
    if fields.get::<bool>("background")? == Some(true) {
        return Err(Refusal::bad("background", "not supported yet by the emulator: background").code("unsupported_parameter"));
    }
    let parent = match &chain {
        Some(id) => Some(store.get(id).ok_or_else(|| {
            Refusal::bad("previous_response_id", format!("Previous response with id '{id}' not found.")).code("previous_response_not_found")
        })?),
        None => None,
    };
    let (mut pieces, images) = match fields.raw("input") {
        Some(input) => {
            let echoes = if fields.raw(OF_CODEX).is_some() { Echoes::Whole } else { Echoes::Stored };
            items::read(input, store, echoes)?
        }
        None if parent.is_some() => (Vec::new(), 0),
        None => {
            return Err(Refusal::bad("input", "Missing required parameter: 'input'.").code("missing_required_parameter"));
        }
    };
    check_images(images, model, "input")?;
    items::check_pairs(&pieces, parent.as_deref())?;
    if let Some(text) = fields.text("instructions")? {
        pieces.insert(0, Piece { kind: Kind::Instructions, text, call_id: None });
    }
    let stream = fields.get::<bool>("stream")?.unwrap_or(false);
    if fields.raw("stream_options").is_some() && !stream {
        return Err(Refusal::bad("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled."));
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
    if !["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"].contains(&service_tier.as_ref()) {
        return Err(Refusal::bad("service_tier", format!("Invalid value: '{service_tier}'.")).code("invalid_value"));
    }
    let include: Vec<String> = fields.get("include")?.unwrap_or_default();

    let schema_tokens = format.as_ref().map_or(0, |format| ask::tokens(format.schema.get()));
    let tool_tokens = fields.raw("tools").map_or(0, |tools| ask::tokens(tools.get()));
    let before = parent.as_ref().map_or(0, |parent| parent.tokens);
    let mut input_tokens =
        ask::REQUEST_TOKENS + before + ask::context_tokens(&pieces) + images * IMAGE_TOKENS + schema_tokens + tool_tokens;
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
            images,
            format,
            tools,
            choice,
            parallel: fields.get::<bool>("parallel_tool_calls")?.unwrap_or(true),
            max_output,
            service_tier,
            wants_encrypted: include.iter().any(|name| name == "reasoning.encrypted_content"),
            store: fields.get::<bool>("store")?.unwrap_or(true),
            input_tokens,
        },
        settings: Vec::new(),
    };
    request.settings = settings(fields, &request.ask, &effort, reasoning.summary.as_deref(), &text, &truncation)?;
    Ok(request)
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
            json::raw(&mut out, if format.strict { ",\"strict\":true}" } else { ",\"strict\":false}" });
        }
        None => json::raw(&mut out, text.format.map_or("{\"type\":\"text\"}", RawValue::get)),
    }
    json::raw(&mut out, ",\"verbosity\":");
    json::string(&mut out, text.verbosity.as_deref().unwrap_or("medium"));
    json::raw(&mut out, "},\"truncation\":");
    json::string(&mut out, truncation);
    // a body may be written over several lines; an event must not be
    if out.iter().any(|byte| *byte == b'\n' || *byte == b'\r') {
        out.iter_mut().filter(|byte| **byte == b'\n' || **byte == b'\r').for_each(|byte| *byte = b' ');
    }
    Ok(out)
}
