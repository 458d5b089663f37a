//! The wire types of the Responses API, as lenient as JSON allows.
//!
//! Only fields that brigade reads are here; objects stay raw until somebody asks for them, so that a
//! delta costs one pass over its bytes and an unknown event costs no more.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::loose::{Count, Text, parse};
use crate::reply::Counts;

/// Any event of the stream.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    pub kind: Text<'a>,
    #[serde(default)]
    pub output_index: Count,
    #[serde(default)]
    pub content_index: Count,
    #[serde(borrow, default)]
    pub item_id: Text<'a>,
    #[serde(borrow, default)]
    pub delta: Text<'a>,
    #[serde(borrow, default)]
    pub text: Text<'a>,
    #[serde(borrow, default)]
    pub refusal: Text<'a>,
    #[serde(borrow, default)]
    pub input: Text<'a>,
    #[serde(borrow, default)]
    pub arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub name: Text<'a>,
    #[serde(borrow, default)]
    pub response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub item: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub error: Option<&'a RawValue>,
    /// Only a chunk of the other dialect has it.
    #[serde(borrow, default)]
    pub choices: Option<&'a RawValue>,
}

/// A delta: nine events of ten, so it gets a type that looks for no other field.
#[derive(Debug, Deserialize)]
pub(crate) struct DeltaEvent<'a> {
    #[serde(default)]
    output_index: Count,
    #[serde(default)]
    content_index: Count,
    #[serde(borrow, default)]
    item_id: Text<'a>,
    #[serde(borrow, default)]
    delta: Text<'a>,
}

impl<'a> DeltaEvent<'a> {
    pub(crate) fn of_kind(self, kind: &'a str) -> Event<'a> {
        let Self { output_index, content_index, item_id, delta } = self;
        let kind = Text(Some(Cow::Borrowed(kind)));
        Event { kind, output_index, content_index, item_id, delta, ..Event::default() }
    }
}

/// The type of an event that states it first or right after its number, as vendors write it.
/// `None` costs only time.
pub(crate) fn peek(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('{')?;
    let rest = match rest.strip_prefix("\"sequence_number\":") {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix(',')?,
        None => rest,
    };
    let rest = rest.strip_prefix("\"type\":\"")?;
    let kind = &rest[..memchr::memchr(b'"', rest.as_bytes())?];
    (kind.starts_with("response.") && !kind.contains('\\')).then_some(kind)
}

/// Whether everything in an event is told again by another that is read.
pub(crate) fn is_redundant(kind: &str) -> bool {
    let kind = kind.strip_prefix("response.").unwrap_or_default();
    matches!(
        kind,
        "content_part.added"
            | "content_part.done"
            | "output_text.annotation.added"
            | "reasoning_summary_part.added"
            | "reasoning_summary_part.done"
            | "reasoning_summary_text.done"
            | "reasoning_text.done"
    ) || kind.starts_with("code_interpreter_call")
}

/// A response object, whole or of a terminal event.
#[derive(Debug, Deserialize)]
pub(crate) struct Response<'a> {
    #[serde(borrow, default)]
    pub id: Text<'a>,
    #[serde(borrow, default)]
    pub model: Text<'a>,
    #[serde(borrow, default)]
    pub status: Text<'a>,
    #[serde(borrow, default)]
    pub service_tier: Text<'a>,
    #[serde(borrow, default)]
    pub error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub incomplete_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub usage: Option<&'a RawValue>,
    #[serde(default)]
    pub input_tokens: Count,
}

/// The only part of a first event that matters.
#[derive(Debug, Deserialize)]
pub(crate) struct Head<'a> {
    #[serde(borrow, default)]
    pub id: Text<'a>,
    #[serde(borrow, default)]
    pub model: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Count,
    #[serde(default)]
    cache_write_tokens: Count,
    #[serde(default)]
    reasoning_tokens: Count,
}

/// Usage in the words of either dialect.
#[derive(Debug, Deserialize)]
struct Usage<'a> {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(borrow, default)]
    input_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens_details: Option<&'a RawValue>,
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(borrow, default)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    completion_tokens_details: Option<&'a RawValue>,
}

/// Reads a usage object; `None` when there is nothing to read.
pub(crate) fn usage(raw: Option<&RawValue>) -> Option<Counts> {
    let usage: Usage<'_> = parse(raw?)?;
    let details = |raw: Option<&RawValue>| raw.and_then(parse::<Details>).unwrap_or_default();
    let input = details(usage.input_tokens_details.or(usage.prompt_tokens_details));
    let output = details(usage.output_tokens_details.or(usage.completion_tokens_details));
    let counts = Counts {
        input_tokens: usage.input_tokens.0.or(usage.prompt_tokens.0),
        cached_tokens: input.cached_tokens.0,
        cache_write_tokens: input.cache_write_tokens.0,
        output_tokens: usage.output_tokens.0.or(usage.completion_tokens.0),
        reasoning_tokens: output.reasoning_tokens.0,
    };
    (counts != Counts::default()).then_some(counts)
}
