//! Input items of a request: what the model is shown, and the rules about pairs and ids.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::{Name, parse};
use crate::ask::{Kind, Piece};
use crate::picture;
use crate::refusal::Refusal;
use crate::store::{Store, Stored};

const LONGEST_CALL_ID: usize = 64;
const LONGEST_OUTPUT: usize = 10_485_760;

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    call_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<Cow<'a, str>>,
    #[serde(borrow)]
    input: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    encrypted_content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Name<'a>>,
    #[serde(borrow)]
    refusal: Option<Name<'a>>,
}

/// Reads a string, or parts whose texts are joined.
pub(crate) fn text_of<'a>(raw: &'a RawValue, param: &str) -> Result<Cow<'a, str>, Refusal> {
    if raw.get().starts_with('"') {
        return Ok(parse::<Name<'a>>(raw, param)?.0);
    }
    let mut parts: Vec<Part<'a>> = parse(raw, param)?;
    let mut texts = parts.iter_mut().filter_map(|part| part.text.take().or(part.refusal.take())).map(|name| name.0);
    let first = texts.next().unwrap_or_default();
    let rest: Vec<Cow<'a, str>> = texts.collect();
    Ok(if rest.is_empty() { first } else { format!("{first}\n{}", rest.join("\n")).into() })
}

/// Which of its own items a model may be shown under their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echoes {
    /// Those that are kept here.
    Stored,
    /// Also those that come whole. Codex (0.169.0) never has anything stored and sends back every message and call with its id,
    /// and the service takes them from it.
    Whole,
}

/// Reads `input`; beside the pieces, how many images it shows.
pub(crate) fn read<'a>(raw: &'a RawValue, store: &Store, echoes: Echoes) -> Result<(Vec<Piece<'a>>, u64), Refusal> {
    if raw.get().starts_with('"') {
        let text = parse::<Name<'a>>(raw, "input")?.0;
        return Ok((vec![Piece { kind: Kind::Message, text, call_id: None }], 0));
    }
    let entries: Vec<&'a RawValue> = parse(raw, "input")?;
    let mut images = 0;
    let pieces = entries.iter().enumerate().map(|(at, raw)| entry(raw, at, store, echoes, &mut images)).collect::<Result<_, _>>()?;
    Ok((pieces, images))
}

fn entry<'a>(raw: &'a RawValue, at: usize, store: &Store, echoes: Echoes, images: &mut u64) -> Result<Piece<'a>, Refusal> {
    let param = |name: &str| format!("input[{at}].{name}");
    let missing = |name: &str| {
        let param = param(name);
        Refusal::bad(&param, format!("Missing required parameter: '{param}'.")).code("missing_required_parameter")
    };
    let entry: Entry<'a> = parse(raw, &format!("input[{at}]"))?;
    let kind = match (&entry.kind, &entry.role) {
        (Some(kind), _) => kind.as_ref(),
        (None, Some(_)) => "message",
        (None, None) => "item_reference",
    };
    if let Some(id) = &entry.id {
        // callers may name their own messages and outputs; what a model has said must be kept here
        let said = !kind.ends_with("_output") && entry.role.as_deref().is_none_or(|role| role == "assistant");
        let whole = match kind {
            "message" => entry.content.is_some(),
            "function_call" => entry.arguments.is_some(),
            "custom_tool_call" => entry.input.is_some(),
            _ => entry.encrypted_content.is_some(),
        };
        if said && !store.has_item(id) && !(whole && echoes == Echoes::Whole) {
            return Err(Refusal::not_found(format!(
                "Item with id '{id}' not found. Items are not persisted when `store` is set to false. \
                 Try again with `store` set to true, or remove this item from your input."
            ))
            .param("input"));
        }
    }
    if let Some(call_id) = &entry.call_id
        && !(1..=LONGEST_CALL_ID).contains(&call_id.chars().count())
    {
        let param = param("call_id");
        let length = call_id.chars().count();
        return Err(Refusal::bad(&param, format!("Invalid '{param}': expected 1 to {LONGEST_CALL_ID} characters, got {length}."))
            .code("string_above_max_length"));
    }
    let piece = |kind, text, call_id| Piece { kind, text, call_id };
    Ok(match kind {
        "message" => {
            let content = entry.content.ok_or_else(|| missing("content"))?;
            let kind = match entry.role.as_deref() {
                Some("user" | "system" | "developer") => Kind::Message,
                Some("assistant") => Kind::Reply,
                Some(other) => {
                    let param = param("role");
                    let message =
                        format!("Invalid value: '{other}'. Supported values are: 'assistant', 'system', 'developer', and 'user'.");
                    return Err(Refusal::bad(&param, message).code("invalid_value"));
                }
                None => return Err(missing("role")),
            };
            *images += picture::count(content, &param("content"))?;
            piece(kind, text_of(content, &param("content"))?, None)
        }
        "function_call" | "custom_tool_call" => {
            let call_id = entry.call_id.ok_or_else(|| missing("call_id"))?;
            let name = entry.name.ok_or_else(|| missing("name"))?;
            let (field, words) = if kind == "function_call" { ("arguments", entry.arguments) } else { ("input", entry.input) };
            let words = words.ok_or_else(|| missing(field))?;
            piece(Kind::Call, format!("{name} {words}").into(), Some(call_id))
        }
        "function_call_output" | "custom_tool_call_output" => {
            let call_id = entry.call_id.ok_or_else(|| missing("call_id"))?;
            let output = entry.output.ok_or_else(|| missing("output"))?;
            *images += picture::count(output, &param("output"))?;
            let text = text_of(output, &param("output"))?;
            if text.len() > LONGEST_OUTPUT {
                return Err(Refusal::bad(&param("output"), format!("'{}' is over {LONGEST_OUTPUT} bytes.", param("output"))));
            }
            piece(Kind::Output, text, Some(call_id))
        }
        "item_reference" => {
            entry.id.ok_or_else(|| missing("id"))?;
            piece(Kind::Other, Cow::Borrowed(""), None)
        }
        "compaction" => {
            let content = entry.encrypted_content.ok_or_else(|| missing("encrypted_content"))?;
            let content: Cow<'_, str> = serde_json::from_str(content.get()).unwrap_or_default();
            if !content.starts_with(super::compact::OURS) {
                let param = param("encrypted_content");
                return Err(Refusal::bad(&param, format!("'{param}' could not be verified.")).code("invalid_encrypted_content"));
            }
            piece(Kind::Other, content, None)
        }
        _ => piece(Kind::Other, Cow::Borrowed(raw.get()), None),
    })
}

/// Every call has an output and every output a call, the chain included.
pub(crate) fn check_pairs(pieces: &[Piece<'_>], parent: Option<&Stored>) -> Result<(), Refusal> {
    let mut calls: HashSet<&str> = HashSet::new();
    let mut outputs: HashSet<&str> = HashSet::new();
    let mut stored = parent;
    while let Some(now) = stored {
        collect(&now.pieces, &mut calls, &mut outputs);
        stored = now.parent.as_deref();
    }
    collect(pieces, &mut calls, &mut outputs);
    if calls.is_empty() && outputs.is_empty() {
        return Ok(());
    }
    let ids = |kind| pieces.iter().filter(move |piece| piece.kind == kind).filter_map(|piece| piece.call_id.as_deref());
    if let Some(id) = ids(Kind::Output).find(|id| !calls.contains(id)) {
        let message = format!("No tool call found for function call output with call_id {id}.");
        return Err(Refusal::bad("input", message));
    }
    let mut unanswered: Vec<&str> = calls.difference(&outputs).copied().collect();
    unanswered.sort_unstable();
    match unanswered.first() {
        Some(id) => Err(Refusal::bad("input", format!("No tool output found for function call {id}."))),
        None => Ok(()),
    }
}

fn collect<'p>(pieces: &'p [Piece<'_>], calls: &mut HashSet<&'p str>, outputs: &mut HashSet<&'p str>) {
    for piece in pieces {
        match (piece.kind, piece.call_id.as_deref()) {
            (Kind::Call, Some(id)) => calls.insert(id),
            (Kind::Output, Some(id)) => outputs.insert(id),
            _ => continue,
        };
    }
}
