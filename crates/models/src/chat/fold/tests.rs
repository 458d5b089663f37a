use brigade_kernel::call::{Answer, CallError, End, ErrorClass};

use crate::decoder::Decoder;
use crate::fault::Origin;
use crate::reply::Judge;

fn answer(chunks: &[&str]) -> Result<Answer, CallError> {
    let mut decoder = Decoder::seeded("s".to_owned());
    for chunk in chunks {
        decoder.push(format!("data: {chunk}\n\n").as_bytes());
    }
    let judge = Judge { model: "p/m", cap: Some(100) };
    match decoder.into_reply(&mut |_| ()) {
        Ok(reply) => reply.judge(judge).map_err(|error| *error),
        Err(failure) => Err(failure.fault.into_error(Origin::Stream { content: true })),
    }
}

fn calls(chunks: &[&str]) -> Vec<(String, String, String)> {
    let stop = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let chunks: Vec<&str> = chunks.iter().copied().chain([stop]).collect();
    let answer = answer(&chunks).unwrap();
    answer.tool_calls().map(|(id, name, arguments)| (id.to_owned(), name.to_owned(), arguments.to_owned())).collect()
}

fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
    (id.to_owned(), name.to_owned(), arguments.to_owned())
}

macro_rules! delta {
    ($tools:literal) => {
        concat!(r#"{"choices":[{"index":0,"delta":{"role":"","tool_calls":"#, $tools, r#"},"finish_reason":null}]}"#)
    };
}

#[test]
fn text_usage_and_model_come_together() {
    let answer = answer(&[
        r#"{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#,
        r#"{"id":"c1","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":""}]}"#,
        r#"{"id":"c1","choices":[{"delta":{"content":"lo"},"finish_reason":null}]}"#,
        r#"{"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"id":"c1","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":1}}}"#,
        "[DONE]",
    ])
    .unwrap();
    let usage = answer.usage.unwrap();
    assert_eq!((answer.text.as_str(), answer.model.as_deref(), answer.end), ("Hello", Some("m-1"), End::Completed));
    assert_eq!((usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens), (12, 4, 3, 1));
}

#[test]
fn tool_deltas_of_every_known_make_give_the_same_calls() {
    let want = [call("a", "f", "{\"x\":1}"), call("b", "g", "{}")];
    let makes: &[&[&str]] = &[
        // As documented.
        &[
            delta!(r#"[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]"#),
            delta!(r#"[{"index":0,"function":{"arguments":"{\"x\""}}]"#),
            delta!(r#"[{"index":0,"function":{"arguments":":1}"}}]"#),
            delta!(r#"[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]"#),
        ],
        // Interleaved.
        &[
            delta!(r#"[{"index":0,"id":"a","function":{"name":"f"}},{"index":1,"id":"b","function":{"name":"g"}}]"#),
            delta!(r#"[{"index":1,"function":{"arguments":"{"}},{"index":0,"function":{"arguments":"{\"x\":1"}}]"#),
            delta!(r#"[{"index":0,"function":{"arguments":"}"}},{"index":1,"function":{"arguments":"}"}}]"#),
        ],
        // No index; whole calls; arguments as an object.
        &[
            delta!(r#"[{"id":"a","function":{"name":"f","arguments":{"x":1}}}]"#),
            delta!(r#"[{"id":"b","function":{"name":"g","arguments":{}}}]"#),
        ],
        // The index is always 0.
        &[
            delta!(r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]"#),
            delta!(r#"[{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}]"#),
        ],
        // Id and name in every fragment.
        &[
            delta!(r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]"#),
            delta!(r#"[{"index":0,"id":"a","function":{"name":"f","arguments":":1}"}}]"#),
            delta!(r#"[{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]"#),
        ],
        // The name comes late, no index after the first.
        &[
            delta!(r#"[{"index":0,"id":"a"}]"#),
            delta!(r#"[{"function":{"name":"f","arguments":"{\"x\":1}"}}]"#),
            delta!(r#"[{"id":"b","function":{"name":"g","arguments":"{}"}}]"#),
        ],
    ];
    for make in makes {
        assert_eq!(calls(make), want, "{make:?}");
    }
}

#[test]
fn missing_and_colliding_ids_are_replaced() {
    let nameless = [delta!(r#"[{"function":{"name":"f","arguments":"{}"}}]"#), delta!(r#"[{"function":{"name":"f","arguments":"{}"}}]"#)];
    assert_eq!(calls(&nameless), [call("call_s_0", "f", "{}"), call("call_s_1", "f", "{}")]);
    let same = [
        delta!(r#"[{"index":0,"id":"7","function":{"name":"f","arguments":"{}"}}]"#),
        delta!(r#"[{"index":1,"id":"7","function":{"name":"g","arguments":"{}"}}]"#),
    ];
    assert_eq!(calls(&same), [call("7", "f", "{}"), call("call_s_1", "g", "{}")]);
}

#[test]
fn reasoning_is_kept_out_of_the_text() {
    for chunk in [
        r#"{"choices":[{"delta":{"reasoning_content":"hm","content":"yes"},"finish_reason":"stop"}]}"#,
        r#"{"choices":[{"delta":{"reasoning":"hm","content":"yes"},"finish_reason":"stop"}]}"#,
        r#"{"choices":[{"delta":{"content":"<think>hm</think>\n\nyes"},"finish_reason":"stop"}]}"#,
        r#"{"choices":[{"delta":{"content":[{"type":"text","text":"yes"}]},"finish_reason":"stop"}]}"#,
    ] {
        assert_eq!(answer(&[chunk]).unwrap().text, "yes", "{chunk}");
    }
}

#[test]
fn endings_are_told_apart() {
    let end = |reason: &str, usage: &str| {
        let chunk = format!(r#"{{"choices":[{{"delta":{{"content":"x"}},"finish_reason":"{reason}"}}],"usage":{usage}}}"#);
        answer(&[&chunk]).unwrap().end
    };
    assert_eq!(end("stop", "null"), End::Completed);
    assert_eq!(end("eos", "null"), End::Completed);
    assert_eq!(end("length", "null"), End::Length);
    assert_eq!(end("content_filter", "null"), End::ContentFilter);
    // The cap of this test is 100.
    assert_eq!(end("stop", r#"{"prompt_tokens":1,"completion_tokens":100}"#), End::Length);
    assert_eq!(end("stop", r#"{"prompt_tokens":1,"completion_tokens":99}"#), End::Completed);
}

#[test]
fn a_stream_without_finish_reason_or_done_is_cut() {
    let text = r#"{"choices":[{"delta":{"content":"half"},"finish_reason":null}]}"#;
    assert_eq!(answer(&[text]).unwrap_err().class, ErrorClass::CutStream);
    assert_eq!(answer(&[text, "[DONE]"]).unwrap().text, "half");
}

#[test]
fn an_error_in_the_stream_is_an_error() {
    let text = r#"{"choices":[{"delta":{"content":"half"},"finish_reason":null}]}"#;
    let error = answer(&[text, r#"{"error":{"message":"Rate limit","code":429}}"#, "[DONE]"]).unwrap_err();
    assert_eq!((error.class, error.message.as_str()), (ErrorClass::RateLimited, "Rate limit"));
}

#[test]
fn a_whole_body_is_read_like_a_stream() {
    let mut decoder = Decoder::new();
    decoder.push(br#"{"object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":1}}"#);
    let decoded = decoder.finish();
    assert_eq!((decoded.status.as_deref(), decoded.items[0].name.as_deref()), (Some("completed"), Some("f")));
    assert_eq!(decoded.usage.unwrap().input_tokens, Some(2));
}
