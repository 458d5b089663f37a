use std::time::Duration;

use brigade_emulator::Outcome;
use serde_json::{Value, json};

use crate::stage::{Stage, ask, events, of, run, stage};

fn scenario(rule: &str, reply: &str) -> String {
    format!("[[rule]]\n{rule}\nreply = {{ text = \"Grüße an alle, die dies hier lesen sollen\", {reply} }}\n")
}

fn faulty(faults: &str) -> Stage {
    stage(&scenario(&format!("stream_faults = [{faults}]"), "model = \"gpt-5.4-mini\""))
}

async fn streamed(stage: &Stage) -> (Vec<u8>, bool) {
    stage.bytes("/responses", &ask(json!({"stream": true}))).await
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Waits until the only call has ended.
async fn outcome(stage: &Stage) -> Outcome {
    for _ in 0..500 {
        let outcome = stage.running.ledger().calls[0].outcome;
        if outcome != Outcome::Running {
            return outcome;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the call never ended");
}

#[test]
fn a_stream_can_end_in_mid_event() {
    // 42
    run(async {
        for stage in [faulty("\"eof_mid_event\""), stage(&scenario("cut_after_bytes = 700", "model = \"m\""))] {
            let (bytes, whole) = streamed(&stage).await;
            assert!(!whole, "the connection breaks");
            let text = text(bytes);
            assert!(!text.ends_with("\n\n") && !text.contains("response.completed"), "{text}");
            assert_eq!(outcome(&stage).await, Outcome::Cut);
        }
        let stage = stage(&scenario("cut_after_bytes = 700", "model = \"m\""));
        assert_eq!(streamed(&stage).await.0.len(), 700);
    });
}

#[test]
fn a_stream_can_end_without_a_terminal_event() {
    run(async {
        let stage = faulty("\"eof_no_terminal\"");
        let (bytes, whole) = streamed(&stage).await;
        let kinds = events(&text(bytes));
        assert!(whole);
        assert_eq!(kinds.last().unwrap()["type"], "response.output_item.done");
        assert_eq!(outcome(&stage).await, Outcome::Cut);
    });
}

#[test]
fn a_stall_is_silent_or_sends_comments_and_a_leaving_client_is_noticed() {
    // 42, 48
    run(async {
        for (name, comments) in [("\"stall\"", false), ("\"stall_keepalive\"", true)] {
            let rule = format!("stream_faults = [{name}]\nkeepalive_ms = 10\n");
            let stage = stage(&scenario(&rule, "model = \"m\""));
            let mut response = stage.send("/responses", &ask(json!({"stream": true}))).await;
            let mut seen = String::new();
            let deadline = tokio::time::sleep(Duration::from_millis(200));
            tokio::pin!(deadline);
            loop {
                tokio::select! {
                    chunk = response.chunk() => seen.push_str(&String::from_utf8_lossy(&chunk.unwrap().unwrap())),
                    () = &mut deadline => break,
                }
            }
            assert!(seen.contains("output_text.delta") && !seen.contains("completed\""));
            assert_eq!(seen.contains(": keep-alive"), comments);
            assert_eq!(stage.running.ledger().calls[0].outcome, Outcome::Running);
            drop(response);
            assert_eq!(outcome(&stage).await, Outcome::ClientGone);
            let call = stage.running.ledger().calls[0].clone();
            let whole = 11;
            let billed = call.usage.unwrap().output_tokens;
            assert!((1..whole).contains(&billed), "what was sent is billed: {billed}");
        }
    });
}

#[test]
fn a_stall_with_an_end_goes_on() {
    run(async {
        let stage = stage(&scenario("stream_faults = [\"stall_keepalive\"]\nstall_ms = 60\nkeepalive_ms = 20", "model = \"m\""));
        let started = std::time::Instant::now();
        let (bytes, whole) = streamed(&stage).await;
        assert!(whole && started.elapsed() >= Duration::from_millis(60));
        let text = text(bytes);
        assert_eq!(text.matches(": keep-alive").count(), 2);
        assert_eq!(events(&text).last().unwrap()["type"], "response.completed");
    });
}

#[test]
fn a_client_that_leaves_before_the_first_byte_is_noticed() {
    // 48
    run(async {
        let stage = stage("[[rule]]\ndelay_ms = 60000\nreply = { text = \"late\" }\n");
        let request = stage.http.post(stage.url("/responses")).bearer_auth("k").json(&ask(json!({})));
        assert!(request.timeout(Duration::from_millis(100)).send().await.is_err());
        assert_eq!(outcome(&stage).await, Outcome::ClientGone);
        assert_eq!(stage.running.ledger().in_flight, 0);
    });
}

#[test]
fn errors_come_in_four_shapes_after_partial_output() {
    // 42
    run(async {
        for (name, pointer, code) in [
            ("\"error_event\"", "/code", "boom"),
            ("\"error_nested\"", "/error/code", "boom"),
            ("\"error_bare\"", "/error/code", "boom"),
            ("\"failed\"", "/response/error/code", "boom"),
        ] {
            let stage = stage(&scenario(&format!("stream_faults = [{name}]"), "error = { code = \"boom\", message = \"it broke\" }"));
            let (bytes, whole) = streamed(&stage).await;
            let events = events(&text(bytes));
            assert!(whole && !of(&events, "response.output_text.delta").is_empty());
            assert_eq!(events.last().unwrap().pointer(pointer).unwrap(), code, "{name}");
            assert!(of(&events, "response.completed").is_empty());
            assert_eq!(outcome(&stage).await, Outcome::Error);
            assert!(stage.running.ledger().calls[0].usage.unwrap().output_tokens > 0);
        }
        // a flat error and a failed response are documented events
        for name in ["\"error_event\"", "\"failed\""] {
            faulty(name).events(json!({})).await;
        }
        let whole = faulty("\"failed\"").post(json!({})).await;
        assert_eq!((whole.status, &whole.body["status"]), (200, &json!("failed")));
        let whole = faulty("\"error_bare\"").post(json!({})).await;
        assert_eq!((whole.status, &whole.body["error"]["code"]), (200, &json!("server_error")));
    });
}

#[test]
fn odd_lines_events_and_items_change_nothing_that_matters() {
    // 42
    run(async {
        let plain = text(streamed(&stage(&scenario("", "model = \"gpt-5.4-mini\""))).await.0);
        let said = |text: &str| -> String {
            let events = events(text);
            of(&events, "response.output_text.delta").iter().map(|event| event["delta"].as_str().unwrap()).collect()
        };
        for (name, mark) in [
            ("keepalive", ": keep-alive\n\n"),
            ("keepalive", "data: {\"type\":\"keepalive\"}"),
            ("unknown_event", "response.weather.changed"),
            ("unknown_item", "dream_call"),
            ("crlf", "\r\n\r\n"),
            ("multi_line_data", "\ndata: ,"),
            ("done_marker", "data: [DONE]"),
            ("extra_usage", "speculation_details"),
            ("empty_terminal", "\"output\":[],\"background\""),
            ("split_utf8", "Grüße"),
        ] {
            assert!(name == "split_utf8" || name == "empty_terminal" || !plain.contains(mark), "{mark}");
            let (bytes, whole) = streamed(&faulty(&format!("\"{name}\""))).await;
            let text = text(bytes);
            assert!(whole && text.contains(mark), "{name}: {text}");
            assert_eq!(said(&text), said(&plain), "{name}");
        }
        let text = text(streamed(&faulty("\"no_event_line\", \"no_sequence\"")).await.0);
        assert!(!text.contains("event: ") && !text.contains("sequence_number"));
        let text = self::text(streamed(&faulty("\"double_terminal\"")).await.0);
        assert_eq!(of(&events(&text), "response.completed").len(), 2);
    });
}

#[test]
fn pieces_can_end_inside_a_character() {
    // 42
    run(async {
        let stage = faulty("\"split_utf8\"");
        let mut response = stage.send("/responses", &ask(json!({"stream": true}))).await;
        let mut broken = 0;
        let mut all = Vec::new();
        while let Some(chunk) = response.chunk().await.unwrap() {
            broken += usize::from(std::str::from_utf8(&chunk).is_err());
            all.extend_from_slice(&chunk);
        }
        assert!(broken > 0);
        assert_eq!(events(&text(all)).last().unwrap()["type"], "response.completed");
    });
}

#[test]
fn usage_can_be_missing_and_the_model_wrong() {
    run(async {
        let stage = stage(&scenario("", "usage = false, model = \"cheaper\""));
        let body = stage.post(json!({})).await.body;
        assert_eq!((&body["usage"], &body["model"]), (&Value::Null, &json!("cheaper")));
        let call = &stage.running.ledger().calls[0];
        assert!(!call.usage_sent && call.usage.unwrap().input_tokens > 0, "it is billed all the same");
        assert_eq!(call.model.as_ref(), "gpt-5.4-mini");
    });
}

#[test]
fn http_errors_are_sent_as_scripted() {
    // 44, 45, 46
    let cases = [
        ("status = 429, headers = { retry-after = 7 }", 429, "rate_limit_exceeded", Some(("retry-after", "7"))),
        ("status = 429, headers = { retry-after-ms = 1500.5 }", 429, "rate_limit_exceeded", Some(("retry-after-ms", "1500.5"))),
        ("status = 429, error = { message = \"Please try again in 1.5s.\" }", 429, "rate_limit_exceeded", None),
        ("error = \"insufficient_quota\"", 429, "insufficient_quota", None),
        ("status = 500", 500, "server_error", None),
        ("error = \"server_is_overloaded\"", 503, "server_is_overloaded", None),
        ("error = \"overloaded_error\"", 529, "overloaded_error", None),
        ("status = 200, error = \"server_error\"", 200, "server_error", None),
        ("status = 403, error = { message = \"no\", type = \"t\", code = \"c\", param = \"p\" }", 403, "c", None),
    ];
    run(async {
        for (reply, status, code, header) in cases {
            let stage = stage(&format!("[[rule]]\nreply = {{ {reply} }}\n"));
            for stream in [false, true] {
                let got = stage.post_to("/responses", ask(json!({"stream": stream}))).await;
                assert_eq!((got.status, got.body["error"]["code"].as_str()), (status, Some(code)), "{reply}: {}", got.text);
                crate::schema::valid("ErrorResponse", &got.body);
                let hint = got.headers.get("retry-after").or(got.headers.get("retry-after-ms"));
                assert_eq!(hint.map(|value| value.to_str().unwrap()), header.map(|(_, value)| value));
                if code == "insufficient_quota" {
                    assert_eq!(got.body["error"]["type"], "insufficient_quota");
                }
            }
        }
        let html =
            stage("[[rule]]\nreply = { status = 502, headers = { content-type = \"text/html\" }, body = \"<html>bad gateway</html>\" }\n");
        let got = html.post(json!({})).await;
        assert_eq!((got.status, got.text.as_str()), (502, "<html>bad gateway</html>"));
        assert_eq!(got.headers["content-type"], "text/html");
        let empty = stage("[[rule]]\nreply = { body = \"\" }\n").post(json!({})).await;
        assert_eq!((empty.status, empty.text.as_str()), (200, ""));
    });
}
