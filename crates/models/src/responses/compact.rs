//! `POST /responses/compact`: a conversation condensed by its provider.
//!
//! What comes back is taken whole or not at all: the user's messages as they were, and one item that only its provider
//! understands (responses-api.md §6.1). It is bound to the model that made it.

use brigade_kernel::call::{Answer, Call, Item, Speaker};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::{Input, cache_key, input};
use crate::endpoint::Capabilities;
use crate::reply::{Counts, MADE_BY};

/// Longest body that is read: what a window of a million tokens may come to.
pub(crate) const BODY_BYTES: usize = 16 << 20;
/// Most items taken.
const MOST_ITEMS: usize = 10_000;

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    instructions: &'a str,
    input: Vec<Input<'a>>,
}

/// The body of a request.
pub(crate) fn body(call: &Call, can: &Capabilities) -> Vec<u8> {
    let request = Request {
        model: call.model.model(),
        prompt_cache_key: call.cache_key.as_deref().filter(|_| can.cache_key).map(cache_key),
        instructions: &call.instructions,
        input: input(call),
    };
    serde_json::to_vec(&request).expect("strings, numbers and JSON values always serialise")
}

#[derive(Deserialize)]
struct Response {
    output: Vec<Value>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    usage: Option<Wire>,
}

#[derive(Deserialize)]
struct Wire {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    #[serde(default)]
    input_tokens_details: Details,
}

#[derive(Deserialize, Default)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    cache_write_tokens: Option<u64>,
}

/// Reads an answer.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn read(body: &[u8], model: &str) -> Result<Answer, String> {
    let response: Response = serde_json::from_slice(body).map_err(|error| format!("the condensed conversation is unreadable: {error}"))?;
    if response.output.len() > MOST_ITEMS {
        return Err(format!("the condensed conversation has {} items; at most {MOST_ITEMS} are taken", response.output.len()));
    }
    let items: Vec<Item> = response.output.into_iter().map(|raw| item(raw, model)).collect::<Result<_, _>>()?;
    match items.iter().filter(|item| matches!(item, Item::Opaque { .. })).count() {
        1 => {}
        n => return Err(format!("the condensed conversation has {n} compaction items instead of one")),
    }
    let usage = response.usage.and_then(|wire| {
        let counts = Counts {
            input_tokens: wire.input_tokens,
            cached_tokens: wire.input_tokens_details.cached_tokens,
            cache_write_tokens: wire.input_tokens_details.cache_write_tokens,
            output_tokens: wire.output_tokens,
            reasoning_tokens: None,
        };
        counts.usage()
    });
    Ok(Answer { items, usage, response_id: response.id, ..Answer::default() })
}

fn item(mut raw: Value, model: &str) -> Result<Item, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let kind = raw.get("type").and_then(text).unwrap_or_else(|| "message".to_owned());
    if kind == "compaction" && raw.get("encrypted_content").and_then(Value::as_str).is_some_and(|content| !content.is_empty()) {
        if let Some(object) = raw.as_object_mut() {
            object.insert(MADE_BY.to_owned(), Value::from(model));
        }
        return Ok(Item::Opaque { raw });
    }
    let speaker = match raw.get("role").and_then(Value::as_str) {
        Some("user") => Speaker::User,
        Some("developer" | "system") => Speaker::Developer,
        Some("assistant") => Speaker::Assistant,
        _ => return Err(format!("the condensed conversation holds an item of kind {:?}", kind.chars().take(60).collect::<String>())),
    };
    let content = raw.get("content");
    let parts = || content.and_then(Value::as_array).into_iter().flatten().filter_map(|part| part.get("text").and_then(text));
    let said = content.and_then(text).unwrap_or_else(|| parts().collect());
    Ok(Item::message(speaker, said))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn users_messages_and_one_item_of_the_providers_come_back() {
        let body = json!({"id": "resp_1", "object": "response.compaction", "created_at": 1.0, "output": [
            {"id": "msg_1", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "do "}, {"type": "input_text", "text": "it"}]},
            {"id": "cmp_1", "type": "compaction", "encrypted_content": "abc"}],
            "usage": {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 40}, "output_tokens": 9, "total_tokens": 109}});
        let answer = read(body.to_string().as_bytes(), "p/m").unwrap();
        assert_eq!(answer.items[0], Item::message(Speaker::User, "do it"));
        assert!(matches!(&answer.items[1], Item::Opaque { raw } if raw[MADE_BY] == "p/m"));
        assert_eq!(answer.usage.map(|u| (u.input_tokens, u.cached_tokens, u.output_tokens)), Some((100, 40, 9)));
    }

    #[test]
    fn what_is_not_a_condensed_conversation_is_refused_by_name() {
        for (output, named) in [
            (json!([]), "0 compaction items"),
            (json!([{"type": "compaction", "encrypted_content": ""}]), "\"compaction\""),
            (
                json!([{"type": "compaction", "encrypted_content": "a"}, {"type": "compaction", "encrypted_content": "b"}]),
                "2 compaction items",
            ),
            (json!([{"type": "function_call", "call_id": "c", "name": "rm", "arguments": "{}"}]), "function_call"),
            (json!("no list"), "unreadable"),
        ] {
            let why = read(json!({ "output": output }).to_string().as_bytes(), "p/m").unwrap_err();
            assert!(why.contains(named), "{why}");
        }
    }
}
