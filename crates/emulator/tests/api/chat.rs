use serde_json::{Value, json};

use crate::stage::{Stage, events, run, stage};

const RULES: &str = r#"
[[rule]]
match = { tool_result = "42" }
reply = { text = "it is 42" }
[[rule]]
match = { contains = "tool" }
reply = { text = "let me see", calls = [{ name = "f", arguments = { a = "ä" } }, { name = "g" }] }
[[rule]]
match = { format = "plan" }
reply = { json = { ok = true } }
[[rule]]
match = { contains = "refuse" }
reply = { refusal = "no" }
[[rule]]
reply = { text = "hello from the chat side, at some length" }
"#;

fn ask(text: &str, more: Value) -> Value {
    let mut body = json!({"model": "gpt-5.4-mini", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": text}]});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

async fn post(stage: &Stage, body: Value) -> Value {
    let reply = stage.post_to("/chat/completions", body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.body
}

/// Message and finish reason put together from a stream, as a client would.
fn gather(chunks: &[Value]) -> (String, String, Vec<(String, String, String)>, String) {
    let (mut text, mut refusal, mut finish) = (String::new(), String::new(), String::new());
    let mut calls: Vec<(String, String, String)> = Vec::new();
    for choice in chunks.iter().filter_map(|chunk| chunk["choices"].get(0)) {
        let delta = &choice["delta"];
        text.push_str(delta["content"].as_str().unwrap_or(""));
        refusal.push_str(delta["refusal"].as_str().unwrap_or(""));
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64().unwrap() as usize;
            if let Some(id) = call["id"].as_str() {
                assert_eq!(index, calls.len());
                calls.push((id.into(), call["function"]["name"].as_str().unwrap().into(), String::new()));
            }
            calls[index].2.push_str(call["function"]["arguments"].as_str().unwrap());
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            finish = reason.into();
        }
    }
    (text, refusal, calls, finish)
}

#[test]
fn chat_streamed_and_whole_answers_agree() {
    run(async {
        let stage = stage(RULES);
        for (input, finish) in [("tool", "tool_calls"), ("refuse", "stop"), ("else", "stop")] {
            let whole = post(&stage, ask(input, json!({}))).await;
            let request = ask(input, json!({"stream": true, "stream_options": {"include_usage": true}}));
            let (bytes, ended) = stage.bytes("/chat/completions", &request).await;
            let mut chunks = events(&String::from_utf8(bytes).unwrap());
            assert!(ended);
            assert_eq!(chunks.pop().unwrap(), "[DONE]");
            let usage = chunks.last().unwrap();
            assert_eq!((&usage["choices"], &usage["usage"]), (&json!([]), &whole["usage"]));
            let (text, refusal, calls, reason) = gather(&chunks);
            let message = &whole["choices"][0]["message"];
            assert_eq!(text, message["content"].as_str().unwrap_or(""));
            assert_eq!(refusal, message["refusal"].as_str().unwrap_or(""));
            assert_eq!((reason.as_str(), whole["choices"][0]["finish_reason"].as_str().unwrap()), (finish, finish));
            let whole_calls: Vec<_> = message["tool_calls"].as_array().into_iter().flatten().collect();
            assert_eq!(calls.len(), whole_calls.len());
            for (call, (_, name, arguments)) in whole_calls.iter().zip(&calls) {
                assert_eq!((&call["function"]["name"], &call["function"]["arguments"]), (&json!(name), &json!(arguments)));
            }
        }
    });
}

#[test]
fn chat_matches_the_same_rules() {
    run(async {
        let stage = stage(RULES);
        let schema =
            json!({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": false});
        let format = json!({"type": "json_schema", "json_schema": {"name": "plan", "schema": schema, "strict": true}});
        let planned = post(&stage, ask("x", json!({"response_format": format}))).await;
        assert_eq!(planned["choices"][0]["message"]["content"], "{\"ok\":true}");
        let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
        let result = json!({"role": "tool", "tool_call_id": "c", "content": "42"});
        let body = json!({"model": "gpt-5.4-mini", "messages": [{"role": "user", "content": "tool"}, call, result]});
        assert_eq!(post(&stage, body).await["choices"][0]["message"]["content"], "it is 42");
        let body = json!({"model": "gpt-5.4-mini", "messages": [{"role": "user", "content": "tool"}, call]});
        let reply = stage.post_to("/chat/completions", body).await;
        assert_eq!((reply.status, &reply.body["error"]["param"]), (400, &json!("messages")));
        let cut = post(&stage, ask("else", json!({"max_tokens": 2}))).await;
        assert_eq!((&cut["choices"][0]["finish_reason"], &cut["choices"][0]["message"]["content"]), (&json!("length"), &json!("hello fr")));
        let calls = stage.running.ledger().calls;
        assert!(calls.iter().all(|call| call.path == "/v1/chat/completions"));
    });
}

#[test]
fn chat_bad_requests_are_refused_with_their_parameter() {
    run(async {
        let stage = stage(RULES);
        for (body, param) in [
            (json!({"model": "gpt-5.4"}), "messages"),
            (json!({"model": "gpt-5.4", "messages": []}), "messages"),
            (json!({"messages": [{"role": "user", "content": "x"}]}), "model"),
            (ask("x", json!({"model": "gpt-9"})), "model"),
            (ask("x", json!({"reasoning_effort": "minimal"})), "reasoning_effort"),
            (ask("x", json!({"reasoning_effort": "low", "temperature": 0})), "temperature"),
            (ask("x", json!({"n": 2})), "n"),
        ] {
            let reply = stage.post_to("/chat/completions", body.clone()).await;
            assert_eq!((reply.status, &reply.body["error"]["param"]), (400, &json!(param)), "{body}: {}", reply.text);
        }
    });
}

#[test]
fn chat_streams_break_as_scripted() {
    run(async {
        let rule =
            |faults: &str| format!("[[rule]]\nstream_faults = [\"{faults}\"]\nreply = {{ text = \"a text that is cut somewhere\" }}\n");
        let request = ask("x", json!({"stream": true}));
        let bare = stage(&rule("error_bare")).bytes("/chat/completions", &request).await;
        let chunks = events(&String::from_utf8(bare.0).unwrap());
        assert_eq!(chunks.last().unwrap()["error"]["code"], "server_error");
        assert!(!gather(&chunks).0.is_empty());
        assert!(!stage(&rule("eof_mid_event")).bytes("/chat/completions", &request).await.1);
        let quiet = stage(&rule("done_marker")).bytes("/chat/completions", &request).await;
        assert!(!String::from_utf8(quiet.0).unwrap().contains("[DONE]"));
        let foreign = stage(&rule("failed")).post_to("/chat/completions", request).await;
        assert!(foreign.status == 500 && foreign.text.contains("failed"), "{}", foreign.text);
    });
}
