//! Reading and refusing Chat requests.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ask::{self, Ask, Choice, Dialect, Format, Kind, Piece, Tool, ToolKind};
use crate::picture::{self, IMAGE_TOKENS};
use crate::refusal::Refusal;
use crate::responses::checks::{
    check_images, check_limit, check_name, check_sampling, check_schema, choice_word, effort, known_model, named, too_long,
};
use crate::responses::fields::{Fields, parse};
use crate::responses::items::{check_pairs, text_of};
use crate::scenario::Scenario;
use crate::schema::Schemas;

const KNOWN: [&str; 30] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_completion_tokens",
    "max_tokens",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "verbosity",
    "temperature",
    "top_p",
    "n",
    "stop",
    "seed",
    "store",
    "metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "frequency_penalty",
    "presence_penalty",
    "modalities",
];

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_calls: Option<Vec<CallWire<'a>>>,
    tool_call_id: Option<String>,
}

#[derive(Deserialize)]
struct CallWire<'a> {
    id: String,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
struct Function<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ToolWire<'a> {
    #[serde(borrow)]
    function: FunctionWire<'a>,
}

#[derive(Deserialize)]
struct FunctionWire<'a> {
    name: String,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
}

#[derive(Deserialize)]
struct FormatWire<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    json_schema: Option<SchemaWire<'a>>,
}

#[derive(Deserialize)]
struct SchemaWire<'a> {
    name: String,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    strict: Option<bool>,
}

#[derive(Deserialize, Default)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct ChoiceWire {
    function: ChoiceFunction,
}

#[derive(Deserialize)]
struct ChoiceFunction {
    name: String,
}

fn messages<'a>(raw: &'a RawValue, pieces: &mut Vec<Piece<'a>>) -> Result<u64, Refusal> {
    let mut images = 0;
    let entries: Vec<Message<'a>> = parse(raw, "messages")?;
    if entries.is_empty() {
        return Err(Refusal::bad("messages", "Invalid 'messages': empty array. Expected at least one message."));
    }
    for (at, message) in entries.into_iter().enumerate() {
        let param = |name: &str| format!("messages[{at}].{name}");
        let content = message.content.filter(|raw| raw.get() != "null");
        let text = match content {
            Some(raw) => Some(text_of(raw, &param("content"))?),
            None => None,
        };
        let shown = content.map_or(Ok(0), |raw| picture::count(raw, &param("content")))?;
        if shown > 0 && message.role != "user" {
            let message = format!(
                "Image URLs are only allowed for messages with role 'user', but this message with role '{}' contains one.",
                message.role
            );
            return Err(Refusal::bad(&param("content"), message).code("invalid_value"));
        }
        images += shown;
        let missing = |name: &str| {
            Refusal::bad(&param(name), format!("Missing required parameter: '{}'.", param(name))).code("missing_required_parameter")
        };
        match message.role.as_ref() {
            "system" | "developer" => {
                let text = text.ok_or_else(|| missing("content"))?;
                pieces.push(Piece { kind: Kind::Instructions, text, call_id: None });
            }
            "user" => {
                let text = text.ok_or_else(|| missing("content"))?;
                pieces.push(Piece { kind: Kind::Message, text, call_id: None });
            }
            "assistant" => {
                if let Some(text) = text {
                    pieces.push(Piece { kind: Kind::Reply, text, call_id: None });
                }
                for call in message.tool_calls.into_iter().flatten() {
                    let text = format!("{} {}", call.function.name, call.function.arguments).into();
                    pieces.push(Piece { kind: Kind::Call, text, call_id: Some(call.id.into()) });
                }
            }
            "tool" => {
                let id = message.tool_call_id.ok_or_else(|| missing("tool_call_id"))?;
                let text = text.ok_or_else(|| missing("content"))?;
                pieces.push(Piece { kind: Kind::Output, text, call_id: Some(id.into()) });
            }
            other => {
                let message =
                    format!("Invalid value: '{other}'. Supported values are: 'system', 'developer', 'assistant', 'user', and 'tool'.");
                return Err(Refusal::bad(&param("role"), message).code("invalid_value"));
            }
        }
    }
    Ok(images)
}

fn format<'a>(fields: &Fields<'a>, schemas: &Schemas) -> Result<Option<Format<'a>>, Refusal> {
    let Some(wire) = fields.get::<FormatWire<'a>>("response_format")? else {
        return Ok(None);
    };
    match (wire.kind.as_str(), wire.json_schema) {
        ("text" | "json_object", _) => Ok(None),
        ("json_schema", Some(wire)) => {
            let param = "response_format.json_schema.schema";
            check_name(&wire.name, "response_format.json_schema.name")?;
            let schema = wire
                .schema
                .ok_or_else(|| Refusal::bad(param, format!("Missing required parameter: '{param}'.")).code("missing_required_parameter"))?;
            let strict = wire.strict.unwrap_or(false);
            if strict {
                check_schema(schema, param, &wire.name, schemas)?;
            }
            Ok(Some(Format { name: wire.name.into(), schema, strict }))
        }
        (other, _) => Err(Refusal::bad("response_format", format!("Invalid 'response_format': type '{other}' or its json_schema."))),
    }
}

/// Reads a request.
pub(crate) fn read<'a>(fields: &Fields<'a>, scenario: &'a Scenario, schemas: &Schemas) -> Result<Ask<'a>, Refusal> {
    if let Some(name) = fields.unknown(&KNOWN).filter(|_| scenario.server.strict) {
        return Err(Refusal::bad(name, format!("Unknown parameter: '{name}'.")).code("unknown_parameter"));
    }
    let missing = |name: &str| Refusal::bad(name, format!("Missing required parameter: '{name}'.")).code("missing_required_parameter");
    let name = fields.text("model")?.ok_or_else(|| missing("model"))?;
    let model = known_model(scenario, &name)?;
    let mut pieces = Vec::new();
    let images = messages(fields.raw("messages").ok_or_else(|| missing("messages"))?, &mut pieces)?;
    check_images(images, model, "messages")?;
    check_pairs(&pieces, None).map_err(|refusal| refusal.param("messages"))?;
    if fields.get::<u64>("n")?.is_some_and(|n| n != 1) {
        return Err(Refusal::bad("n", "not supported yet by the emulator: n other than 1"));
    }
    let stream = fields.get::<bool>("stream")?.unwrap_or(false);
    let options: Option<StreamOptions> = fields.get("stream_options")?;
    if options.is_some() && !stream {
        return Err(Refusal::bad("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled."));
    }
    let limit_name = if fields.raw("max_completion_tokens").is_some() { "max_completion_tokens" } else { "max_tokens" };
    let max_output = fields.get::<u64>(limit_name)?;
    // Chat takes limits below 16
    check_limit(max_output.map(|limit| limit.max(16)), model, limit_name)?;
    let effort = effort(fields.text("reasoning_effort")?, model, &name, "reasoning_effort")?;
    check_sampling(fields, &effort)?;
    let format = format(fields, schemas)?;
    let mut tools = Vec::new();
    for (at, tool) in fields.get::<Vec<ToolWire<'a>>>("tools")?.unwrap_or_default().into_iter().enumerate() {
        let tool = tool.function;
        check_name(&tool.name, &format!("tools[{at}].function.name"))?;
        if let (Some(true), Some(parameters)) = (tool.strict, tool.parameters) {
            check_schema(parameters, &format!("tools[{at}].function.parameters"), &tool.name, schemas)?;
        }
        tools.push(Tool { kind: ToolKind::Function, name: tool.name.into(), parameters: tool.parameters });
    }
    let choice = match fields.raw("tool_choice") {
        None => Choice::Auto,
        Some(raw) if raw.get().starts_with('"') => choice_word(&parse::<String>(raw, "tool_choice")?, &tools)?,
        Some(raw) => named(&parse::<ChoiceWire>(raw, "tool_choice")?.function.name, &tools)?,
    };
    let schema_tokens = format.as_ref().map_or(0, |format| ask::tokens(format.schema.get()));
    let tool_tokens = fields.raw("tools").map_or(0, |tools| ask::tokens(tools.get()));
    let input_tokens = ask::REQUEST_TOKENS + ask::context_tokens(&pieces) + images * IMAGE_TOKENS + schema_tokens + tool_tokens;
    if let Some(window) = model.window.filter(|window| input_tokens > *window) {
        return Err(too_long(input_tokens, window, "messages"));
    }
    Ok(Ask {
        dialect: Dialect::Chat,
        model: name,
        stream,
        stream_usage: options.unwrap_or_default().include_usage,
        parent: None,
        pieces,
        images,
        format,
        tools,
        choice,
        parallel: fields.get::<bool>("parallel_tool_calls")?.unwrap_or(true),
        max_output,
        service_tier: fields.text("service_tier")?.unwrap_or("auto".into()),
        wants_encrypted: false,
        store: false,
        input_tokens,
    })
}
