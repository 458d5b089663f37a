use brigade_kernel::call::{Answer, CallError, End, ErrorClass, Item};

use crate::Delta;
use crate::decoder::Decoder;
use crate::endpoint::{Capabilities, Dialect};
use crate::fault::Origin;
use crate::reply::Judge;

fn stream(events: &[&str]) -> (Result<Answer, CallError>, String) {
    let mut shown = String::new();
    let mut sink = |delta: Delta<'_>| {
        if let Delta::Text(more) = delta {
            shown.push_str(more);
        }
    };
    let mut decoder = Decoder::new();
    for event in events {
        decoder.push_to(format!("data: {event}\n\n").as_bytes(), &mut sink);
    }
    let judge = Judge { model: "p/m", cap: None };
    let answer = match decoder.into_reply(&mut sink) {
        Ok(reply) => reply.judge(judge).map_err(|error| *error),
        Err(failure) => Err(failure.fault.into_error(Origin::Stream { content: true })),
    };
    (answer, shown)
}

const CREATED: &str = r#"{"type":"response.created","response":{"id":"resp_1","object":"response","status":"in_progress"}}"#;
/// Terminal event without output, as the Codex backend and some servers send it.
const BARE: &str = r#"{"type":"response.completed","response":{"id":"resp_1","output":null,"usage":{"input_tokens":5,"output_tokens":2}}}"#;

#[test]
fn each_way_to_send_a_text_gives_the_same_answer() {
    let done = r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[{"type":"output_text","text":"Hello"}]}}"#;
    let ways: &[&[&str]] = &[
        // Only deltas, no index, no ids (the least a server may send).
        &[r#"{"type":"response.output_text.delta","delta":"Hel"}"#, r#"{"type":"response.output_text.delta","delta":"lo"}"#],
        // llama.cpp: ids, no indexes.
        &[
            r#"{"type":"response.output_item.added","item":{"type":"message","id":"m"}}"#,
            r#"{"type":"response.output_text.delta","item_id":"m","delta":"Hello"}"#,
        ],
        // Only `.done`.
        &[r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"Hello"}"#],
        // Only the item.
        &[done],
        // Deltas that do not add up: the item counts.
        &[r#"{"type":"response.output_text.delta","output_index":0,"delta":"Hello"}"#, done],
        // Ids that change from event to event.
        &[
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"a"}}"#,
            r#"{"type":"response.output_text.delta","output_index":0,"item_id":"b","delta":"Hello"}"#,
            r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","id":"c","content":[{"type":"output_text","text":"Hello"}]}}"#,
        ],
    ];
    for way in ways {
        let events: Vec<&str> = [CREATED].into_iter().chain(way.iter().copied()).chain([BARE]).collect();
        let (answer, shown) = stream(&events);
        let answer = answer.unwrap();
        assert_eq!((answer.text.as_str(), shown.as_str(), answer.items.len()), ("Hello", "Hello", 1), "{way:?}");
        assert_eq!(answer.usage.unwrap().output_tokens, 2);
    }
    let (answer, shown) = stream(&[
        r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"Hello"}]}]}}"#,
    ]);
    assert_eq!((answer.unwrap().text, shown), ("Hello".to_owned(), "Hello".to_owned()));
}

#[test]
fn interleaved_items_come_out_in_order() {
    let (answer, _) = stream(&[
        CREATED,
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","id":"b","call_id":"c2","name":"g","arguments":""}}"#,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","id":"a","call_id":"c1","name":"f","arguments":""}}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":1,"item_id":"b","delta":"{\"y\""}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"item_id":"a","delta":"{\"x\""}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":1,"item_id":"b","delta":":2}"}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"item_id":"a","delta":":1}"}"#,
        r#"{"type":"response.function_call_arguments.done","output_index":0,"item_id":"a","arguments":"{\"x\":1}"}"#,
        BARE,
    ]);
    let answer = answer.unwrap();
    let calls: Vec<_> = answer.tool_calls().collect();
    assert_eq!(calls, [("c1", "f", "{\"x\":1}"), ("c2", "g", "{\"y\":2}")]);
}

#[test]
fn the_four_shapes_of_failure_are_one_error_with_its_words() {
    let text = r#"{"type":"response.output_text.delta","output_index":0,"delta":"half"}"#;
    let shapes = [
        r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_is_overloaded","message":"busy"},"usage":{"input_tokens":9,"output_tokens":1}}}"#,
        r#"{"type":"error","code":"server_is_overloaded","message":"busy","param":null,"sequence_number":4}"#,
        r#"{"type":"error","error":{"type":"service_unavailable_error","code":"server_is_overloaded","message":"busy","param":null}}"#,
        r#"{"error":{"code":"server_is_overloaded","message":"busy"}}"#,
    ];
    for shape in shapes {
        let error = stream(&[CREATED, text, shape]).0.unwrap_err();
        assert_eq!((error.class, error.message.as_str()), (ErrorClass::Overloaded, "busy"), "{shape}");
        assert_eq!(error.code.as_deref(), Some("server_is_overloaded"), "{shape}");
        assert!(error.sent, "{shape}");
    }
    let failed = stream(&[CREATED, text, shapes[0]]).0.unwrap_err();
    assert_eq!(failed.usage.unwrap().input_tokens, 9);
    assert_eq!(stream(&[CREATED, text]).0.unwrap_err().class, ErrorClass::CutStream);
}

#[test]
fn a_second_terminal_event_is_ignored() {
    let second = r#"{"type":"response.completed","response":{"id":"resp_1","output":[{"type":"message","content":[{"type":"output_text","text":"twice"}]}],"usage":{"input_tokens":50,"output_tokens":20}}}"#;
    let text = r#"{"type":"response.output_text.delta","output_index":0,"delta":"once"}"#;
    let answer = stream(&[CREATED, text, BARE, second]).0.unwrap();
    assert_eq!((answer.text.as_str(), answer.usage.unwrap().input_tokens), ("once", 5));
}

#[test]
fn what_nobody_knows_is_kept_and_never_fatal() {
    let (answer, _) = stream(&[
        CREATED,
        r#"{"type":"keepalive","sequence_number":1}"#,
        r#"{"type":"response.shell_call_output_content.delta","output_index":0,"delta":{"stdout":"x","stderr":""}}"#,
        r#"{"type":"response.telepathy.delta","delta":[1,2],"output_index":"zero"}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"telepathy_call","id":"t_1","thought":{"deep":true}}}"#,
        r#"{"type":"response.completed","response":{"status":"enlightened","service_tier":"cosmic","usage":"free"}}"#,
    ]);
    let answer = answer.unwrap();
    let [Item::Opaque { raw }] = answer.items.as_slice() else { panic!("{answer:?}") };
    assert_eq!((raw["thought"]["deep"].as_bool(), answer.usage, answer.service), (Some(true), None, None));
}

#[test]
fn endings_are_told_apart() {
    let end = |details: &str| {
        let terminal = format!(r#"{{"type":"response.incomplete","response":{{"status":"incomplete","incomplete_details":{details}}}}}"#);
        stream(&[CREATED, &terminal]).0.unwrap().end
    };
    assert_eq!(end(r#"{"reason":"max_output_tokens"}"#), End::Length);
    assert_eq!(end(r#"{"reason":"content_filter"}"#), End::ContentFilter);
    assert_eq!(end("null"), End::Length);
}

#[test]
fn a_refusal_is_no_text() {
    let (answer, shown) = stream(&[
        CREATED,
        r#"{"type":"response.refusal.delta","output_index":0,"delta":"I ca"}"#,
        r#"{"type":"response.refusal.done","output_index":0,"refusal":"I cannot."}"#,
        BARE,
    ]);
    let answer = answer.unwrap();
    assert_eq!((answer.text.as_str(), answer.refusal.as_deref(), shown.as_str()), ("", Some("I cannot."), ""));
}

#[test]
fn an_event_that_is_no_json_is_garbage() {
    assert_eq!(stream(&[CREATED, "{\"type\":", BARE]).0.unwrap_err().class, ErrorClass::Garbage);
    let deep = format!("{{\"type\":\"response.x\",\"response\":{}", "[".repeat(100_000));
    assert_eq!(stream(&[CREATED, &deep]).0.unwrap_err().class, ErrorClass::Garbage);
    assert!(stream(&[CREATED, "ping", BARE]).0.is_ok());
}

/// A recorded answer goes back into the next request as the model marked it.
#[test]
fn a_recorded_final_answer_is_sent_back_with_its_phase() {
    let recordings = include_str!("../../../tests/recordings/few.jsonl");
    let recording = recordings.lines().find(|line| line.contains("final_answer")).unwrap();
    let recording: serde_json::Value = serde_json::from_str(recording).unwrap();
    let events: Vec<&str> = recording["sse"].as_str().unwrap().lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let answer = stream(&events).0.unwrap();
    let mut call = crate::testing::call();
    call.items.extend(answer.items.iter().cloned());
    let body: serde_json::Value = serde_json::from_slice(&crate::responses::request::body(
        &call,
        &Capabilities::known(Dialect::Responses, "https://api.openai.com/v1"),
    ))
    .unwrap();
    let sent: Vec<_> = body["input"].as_array().unwrap().iter().filter(|item| item["role"] == "assistant").collect();
    assert_eq!(sent, [&serde_json::json!({"role": "assistant", "content": answer.text, "phase": "final_answer"})]);
}
