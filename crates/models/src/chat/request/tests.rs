use brigade_kernel::call::Format;
use serde_json::{Value, json};

use super::*;
use crate::endpoint::Dialect;
use crate::testing::{call, shown, tool};

fn sent(call: &Call, base_url: &str) -> Value {
    serde_json::from_slice(&body(call, &Capabilities::known(Dialect::Chat, base_url))).unwrap()
}

const LOCAL: &str = "http://localhost:11434/v1";
const OPENAI: &str = "https://api.openai.com/v1";

#[test]
fn a_local_server_gets_the_plainest_request() {
    let mut call = call();
    call.effort = Some(Effort::Low);
    call.verbosity = Some(Verbosity::Low);
    call.cache_key = Some("k".to_owned());
    call.service = Service::Flex;
    call.tools = vec![tool("a", true), tool("b", true)];
    call.allowed_tools = vec!["b".to_owned()];
    call.format = Some(Format { name: "f".to_owned(), schema: json!({"type": "object"}).into(), strict: true });
    let want = json!({
        "model": "m-1", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 4096,
        "tools": [{"type": "function", "function": {"name": "b", "description": "Does b.", "parameters": tool("b", true).parameters}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "f", "schema": {"type": "object"}}},
        "messages": [{"role": "system", "content": "Rules."}, {"role": "user", "content": "Hello"}],
    });
    assert_eq!(sent(&call, LOCAL), want);
}

#[test]
fn openai_gets_what_it_knows() {
    let mut call = call();
    call.effort = Some(Effort::Low);
    call.tools = vec![tool("a", true), tool("b", true)];
    call.allowed_tools = vec!["b".to_owned()];
    let request = sent(&call, OPENAI);
    assert_eq!(request["max_completion_tokens"], json!(4096));
    assert_eq!(request["messages"][0]["role"], json!("developer"));
    assert_eq!(request["reasoning_effort"], json!("low"));
    assert_eq!(request["tools"].as_array().unwrap().len(), 2);
    assert_eq!(request["tools"][0]["function"]["strict"], json!(true));
    let choice = json!({"mode": "auto", "tools": [{"type": "function", "function": {"name": "b"}}]});
    assert_eq!(request["tool_choice"]["allowed_tools"], choice);
}

#[test]
fn parallel_calls_share_one_message_with_the_text_before_them() {
    let mut call = call();
    let tool_call = |id: &str| Item::ToolCall { call_id: id.to_owned(), name: "f".to_owned(), arguments: "{}".to_owned() };
    let output = |id: &str| Item::ToolOutput { call_id: id.to_owned(), output: "o".to_owned(), images: Vec::new() };
    call.items = vec![
        Item::message(Speaker::User, "u"),
        Item::message(Speaker::Assistant, "t"),
        Item::Opaque { raw: json!({"type": "reasoning"}) },
        tool_call("1"),
        tool_call("2"),
        output("1"),
        output("2"),
        tool_call("3"),
        output("3"),
    ];
    let wire = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let want = json!([
        {"role": "system", "content": "Rules."},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "t", "tool_calls": [wire("1"), wire("2")]},
        {"role": "tool", "content": "o", "tool_call_id": "1"},
        {"role": "tool", "content": "o", "tool_call_id": "2"},
        {"role": "assistant", "content": null, "tool_calls": [wire("3")]},
        {"role": "tool", "content": "o", "tool_call_id": "3"},
    ]);
    assert_eq!(sent(&call, LOCAL)["messages"], want);
}

#[test]
fn images_of_tools_follow_in_a_message_behind_all_outputs_of_the_turn() {
    let mut call = call();
    let image = shown(&mut call, b"abc");
    let lost = Image { blob: "0".repeat(64), ..image.clone() };
    let tool_call = |id: &str| Item::ToolCall { call_id: id.to_owned(), name: "f".to_owned(), arguments: "{}".to_owned() };
    let output = |id: &str, images| Item::ToolOutput { call_id: id.to_owned(), output: "o".to_owned(), images };
    call.items = vec![
        Item::Message { speaker: Speaker::User, text: "look".to_owned(), phase: None, images: vec![image.clone(), lost] },
        tool_call("1"),
        tool_call("2"),
        output("1", vec![image]),
        output("2", Vec::new()),
    ];
    let messages = sent(&call, LOCAL)["messages"].take();
    let url = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,YWJj", "detail": "high"}});
    let text = |text: &str| json!({"type": "text", "text": text});
    assert_eq!(messages[1]["content"], json!([text("look"), url, text("[an image that is not on record any more]")]));
    let roles: Vec<&str> = messages.as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "tool", "user"]);
    assert_eq!((&messages[3]["content"], &messages[5]["content"][1]), (&json!("o"), &url));
    assert!(messages[5]["content"][0]["text"].as_str().unwrap().contains("the tool call 1 answered with"));
}
