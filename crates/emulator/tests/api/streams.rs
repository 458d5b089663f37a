use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stage::{HELLO, ask, of, run, stage};

const EVERYTHING: &str = r#"
[[rule]]
match = { contains = "everything" }
reply = { reasoning = "thinking it over", text = "Grüße, 世界! This is a text of some length.", calls = [
  { name = "f", arguments = { path = "a.rs", note = "ünïcode" } }, { name = "p", input = "free text" } ] }
[[rule]]
match = { contains = "empty" }
reply = { text = "" }
[[rule]]
reply = { text = "hello world" }
"#;

/// The response without what two answers may differ in.
fn bare(response: &Value) -> Value {
    let mut response = response.clone();
    for field in ["id", "created_at", "completed_at"] {
        response.as_object_mut().unwrap().remove(field);
    }
    for item in response["output"].as_array_mut().unwrap() {
        let item = item.as_object_mut().unwrap();
        item.remove("id");
        item.remove("call_id");
        item.remove("encrypted_content");
    }
    response
}

#[test]
fn a_stream_has_its_order_and_one_terminal_event() {
    // 39, 43
    run(async {
        let stage = stage(EVERYTHING);
        for input in ["everything", "empty", "else"] {
            let events = stage.events(json!({"input": input})).await;
            let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
            assert_eq!(kinds[..2], ["response.created", "response.in_progress"]);
            for (number, event) in events.iter().enumerate() {
                assert_eq!(event["sequence_number"], number);
                let usage = event.pointer("/response/usage");
                assert_eq!(usage.is_some_and(|usage| !usage.is_null()), number + 1 == events.len());
            }
            let terminal = ["response.completed", "response.incomplete", "response.failed"];
            assert_eq!(kinds.iter().filter(|kind| terminal.contains(kind)).count(), 1);
            assert_eq!(*kinds.last().unwrap(), "response.completed");
            let mut open = None;
            for event in &events {
                let index = event["output_index"].as_u64();
                match event["type"].as_str().unwrap() {
                    "response.output_item.added" => {
                        assert_eq!(open, None);
                        assert_eq!(event["item"]["status"].as_str().unwrap_or("in_progress"), "in_progress");
                        open = index;
                    }
                    "response.output_item.done" => {
                        assert_eq!(open.take(), index);
                    }
                    _ if index.is_some() => assert_eq!(open, index),
                    _ => {}
                }
            }
        }
        let (bytes, _) = stage.bytes("/responses", &ask(json!({"stream": true}))).await;
        assert!(!String::from_utf8(bytes).unwrap().contains("[DONE]"));
    });
}

#[test]
fn deltas_concatenate_to_what_is_done() {
    // 40
    run(async {
        let stage = stage(&format!("[server]\ndelta_tokens = 1\n{EVERYTHING}"));
        let events = stage.events(json!({"input": "everything"})).await;
        let output = &events.last().unwrap()["response"]["output"];
        for done in of(&events, "response.output_item.done") {
            let index = done["output_index"].as_u64().unwrap() as usize;
            assert_eq!(done["item"], output[index]);
            let with = |suffix: &str| {
                events
                    .iter()
                    .filter(|event| event["output_index"] == index && event["type"].as_str().unwrap().ends_with(suffix))
                    .collect::<Vec<_>>()
            };
            let joined: String = with(".delta").iter().map(|event| event["delta"].as_str().unwrap()).collect();
            let item = &done["item"];
            let (whole, field) = match item["type"].as_str().unwrap() {
                "message" => (&item["content"][0]["text"], "text"),
                "function_call" => (&item["arguments"], "arguments"),
                "custom_tool_call" => (&item["input"], "input"),
                _ => (&item["summary"][0]["text"], "text"),
            };
            assert_eq!(joined, *whole);
            assert!(with(".done").iter().any(|event| event[field] == joined), "{item}");
        }
        assert!(of(&events, "response.output_text.delta").len() > 5);
    });
}

#[test]
fn streamed_and_whole_answers_agree() {
    // 41
    run(async {
        let stage = stage(EVERYTHING);
        for input in ["everything", "empty", "else"] {
            let events = stage.events(json!({"input": input})).await;
            let whole = stage.post(json!({"input": input})).await.body;
            assert_eq!(bare(&events.last().unwrap()["response"]), bare(&whole));
        }
    });
}

#[test]
fn pace_follows_the_script() {
    // lower bounds only: a busy machine may be late, never early
    run(async {
        let stage = stage(&format!(
            "[models.\"gpt-5.4-mini\"]\nfirst_token_ms = 60\ntokens_per_s = 200\n[[rule]]\nreply = {{ text = \"{}\" }}\n",
            "four".repeat(21)
        ));
        let started = Instant::now();
        let mut response = stage.send("/responses", &ask(json!({"stream": true}))).await;
        let mut pieces = Vec::new();
        while let Some(chunk) = response.chunk().await.unwrap() {
            pieces.push((started.elapsed(), chunk));
        }
        let content = |chunk: &[u8]| String::from_utf8_lossy(chunk).contains("output_text.delta");
        let opening = pieces.iter().position(|(_, chunk)| String::from_utf8_lossy(chunk).contains("response.created"));
        let first = pieces.iter().position(|(_, chunk)| content(chunk)).unwrap();
        assert!(opening.unwrap() < first, "the opening does not wait for the first token");
        assert!(pieces[first].0 >= Duration::from_millis(60));
        assert!(pieces.last().unwrap().0 >= Duration::from_millis(160), "20 more tokens at 5 ms");
        assert!(pieces.iter().filter(|(_, chunk)| content(chunk)).count() >= 3, "in steps");
        let started = Instant::now();
        stage.post(json!({})).await;
        assert!(started.elapsed() >= Duration::from_millis(160), "a whole body comes with its last token");
    });
}

#[test]
fn a_delay_comes_before_everything() {
    run(async {
        let stage = stage(&format!("[[rule]]\ndelay_ms = 50\n{}", HELLO.strip_prefix("[[rule]]\n").unwrap()));
        let started = Instant::now();
        let response = stage.send("/responses", &ask(json!({"stream": true}))).await;
        assert!(started.elapsed() >= Duration::from_millis(50));
        drop(response);
    });
}
