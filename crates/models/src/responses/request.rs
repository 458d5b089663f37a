//! A [`Call`] as a `POST /responses` body.
//!
//! Stateless: `store: false`, the whole input, no item ids. Fields in fixed order, so that siblings
//! share a cached prefix byte for byte.

use brigade_kernel::call::{Call, Effort, Item, Retention, Service, Speaker};
use brigade_kernel::image::Image;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::endpoint::Capabilities;
use crate::picture;
use crate::reply::MADE_BY;

/// The least the API takes.
const LEAST_OUTPUT_TOKENS: u32 = 16;
const CACHE_KEY_BYTES: usize = 64;

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    stream: bool,
    store: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    include: Option<[&'static str; 1]>,
    max_output_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_retention: Option<Retention>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<Service>,
    #[serde(skip_serializing_if = "str::is_empty")]
    instructions: &'a str,
    input: Vec<Input<'a>>,
    /// Behind all that siblings share: which of the tools may be called is each one's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoice<'a>>,
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    description: &'a str,
    parameters: &'a RawValue,
    strict: bool,
}

#[derive(Serialize)]
struct ToolChoice<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    mode: &'static str,
    tools: Vec<Named<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
}

#[derive(Serialize)]
struct Text<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<brigade_kernel::call::Verbosity>,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    schema: &'a RawValue,
    strict: bool,
}

#[derive(Serialize)]
struct Reasoning {
    effort: Effort,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Input<'a> {
    Message {
        role: &'static str,
        content: Content<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        phase: Option<&'a str>,
    },
    Call {
        #[serde(rename = "type")]
        kind: &'static str,
        call_id: &'a str,
        name: &'a str,
        arguments: &'a str,
    },
    Output {
        #[serde(rename = "type")]
        kind: &'static str,
        call_id: &'a str,
        output: Content<'a>,
    },
    Raw(Value),
}

/// Text, or text with images.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    InputText { text: &'a str },
    InputImage { detail: &'static str, image_url: String },
}

impl<'a> Content<'a> {
    fn new(call: &Call, text: &'a str, images: &[Image]) -> Self {
        if images.is_empty() {
            return Self::Text(text);
        }
        let image = |image: &Image| match picture::data_url(call, image) {
            Some(image_url) => Part::InputImage { detail: picture::DETAIL, image_url },
            None => Part::InputText { text: picture::LOST },
        };
        let words = Some(Part::InputText { text }).filter(|_| !text.is_empty());
        Self::Parts(words.into_iter().chain(images.iter().map(image)).collect())
    }
}

/// The body of a request.
pub(crate) fn body(call: &Call, can: &Capabilities) -> Vec<u8> {
    let narrowed = !call.allowed_tools.is_empty() && call.tools.iter().any(|tool| !call.allowed_tools.contains(&tool.name));
    let offered = call.tools.iter().filter(|tool| can.allowed_tools || !narrowed || call.allowed_tools.contains(&tool.name));
    let tools: Vec<Tool<'_>> = offered
        .map(|tool| Tool {
            kind: "function",
            name: &tool.name,
            description: &tool.description,
            parameters: tool.parameters.text(),
            strict: can.strict && tool.parameters.is_strict(),
        })
        .collect();
    let choose = |name| Named { kind: "function", name };
    let tool_choice = (narrowed && can.allowed_tools).then(|| ToolChoice {
        kind: "allowed_tools",
        mode: "auto",
        tools: call
            .tools
            .iter()
            .map(|tool| tool.name.as_str())
            .filter(|name| call.allowed_tools.iter().any(|a| a == name))
            .map(choose)
            .collect(),
    });
    let format = call.format.as_ref().filter(|_| can.structured_text).map(|format| Format {
        kind: "json_schema",
        name: &format.name,
        schema: format.schema.text(),
        strict: can.strict && format.strict && format.schema.is_strict(),
    });
    let verbosity = call.verbosity.filter(|_| can.verbosity);
    let effort = call.effort.filter(|_| can.effort);
    let request = Request {
        model: call.model.model(),
        stream: true,
        store: false,
        parallel_tool_calls: (can.parallel_tool_calls && !tools.is_empty()).then_some(true),
        tools,
        tool_choice,
        text: (format.is_some() || verbosity.is_some()).then_some(Text { format, verbosity }),
        reasoning: effort.map(|effort| Reasoning { effort }),
        include: effort.filter(|effort| *effort != Effort::None).map(|_| ["reasoning.encrypted_content"]),
        max_output_tokens: call.max_output_tokens.max(LEAST_OUTPUT_TOKENS),
        prompt_cache_key: call.cache_key.as_deref().filter(|_| can.cache_key).map(cache_key),
        prompt_cache_retention: call.cache_retention.filter(|_| can.cache_key),
        service_tier: Some(call.service).filter(|service| can.service_tier && *service != Service::Default),
        instructions: &call.instructions,
        input: input(call),
    };
    serde_json::to_vec(&request).expect("strings, numbers and JSON values always serialise")
}

pub(crate) fn cache_key(key: &str) -> &str {
    // A shorter key only spreads the cache less; it is a hint.
    &key[..key.floor_char_boundary(CACHE_KEY_BYTES)]
}

pub(super) fn input(call: &Call) -> Vec<Input<'_>> {
    call.items.iter().filter_map(|item| entry(item, call)).collect()
}

fn entry<'a>(item: &'a Item, call: &Call) -> Option<Input<'a>> {
    Some(match item {
        Item::Message { speaker, text, phase, images } => {
            let role = match speaker {
                Speaker::User => "user",
                Speaker::Developer => "developer",
                Speaker::Assistant => "assistant",
            };
            Input::Message {
                role,
                content: Content::new(call, text, images),
                phase: phase.as_deref().filter(|_| *speaker == Speaker::Assistant),
            }
        }
        Item::ToolCall { call_id, name, arguments } => Input::Call { kind: "function_call", call_id, name, arguments },
        Item::ToolOutput { call_id, output, images } => {
            Input::Output { kind: "function_call_output", call_id, output: Content::new(call, output, images) }
        }
        Item::Opaque { raw } => Input::Raw(opaque(raw, call.model.as_str())?),
    })
}

/// An opaque item for the model that made it; `None` for any other.
fn opaque(raw: &Value, model: &str) -> Option<Value> {
    let object = raw.as_object()?;
    if object.get(MADE_BY).is_some_and(|maker| maker != model) {
        return None;
    }
    // Reasoning that the provider did not encrypt lives only in its store, and ours are not stored.
    let filled = |key: &str| object.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    if object.get("type").is_some_and(|kind| kind == "reasoning") && !filled("encrypted_content") {
        return None;
    }
    let mut item = object.clone();
    // Ids of unstored items answer 404; a status of null is refused.
    item.shift_remove("id");
    item.shift_remove(MADE_BY);
    if item.get("status").is_some_and(Value::is_null) {
        item.shift_remove("status");
    }
    Some(Value::Object(item))
}

#[cfg(test)]
mod tests;
