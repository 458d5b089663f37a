use std::path::Path;

use brigade_emulator::{Options, Scenario};
use serde_json::{Value, json};

use crate::stage::{HELLO, Stage, run, stage, stage_with};

async fn said(stage: &Stage, request: Value) -> String {
    let reply = stage.post(request).await;
    match reply.body["output"][0]["content"][0]["text"].as_str() {
        Some(text) => text.to_owned(),
        None => format!("{} {}", reply.status, reply.body["error"]["code"].as_str().unwrap_or("")),
    }
}

#[test]
fn the_first_rule_that_matches_answers() {
    run(async {
        let stage = stage(
            r#"
[[rule]]
match = { model = "gpt-5.4-n*", contains = ["a", "b"] }
reply = { text = "both" }
[[rule]]
match = { tool_result = "exit code 1" }
reply = { text = "failed" }
[[rule]]
match = { contains = "a" }
reply = { text = "a" }
"#,
        );
        assert_eq!(said(&stage, json!({"model": "gpt-5.4-nano", "input": "b", "instructions": "a"})).await, "both");
        assert_eq!(said(&stage, json!({"input": "ab"})).await, "a");
        let with_outputs = |last: &str| {
            let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "run", "arguments": "{}"});
            let output = |id: &str, text: &str| json!({"type": "function_call_output", "call_id": id, "output": text});
            json!({"input": [call("1"), output("1", "exit code 1"), call("2"), output("2", last)]})
        };
        assert_eq!(said(&stage, with_outputs("exit code 1")).await, "failed");
        assert_eq!(said(&stage, with_outputs("aha")).await, "a", "only the last output counts");
        let none = stage.post(json!({"input": "who is it?"})).await;
        assert_eq!(none.status, 500);
        assert!(none.text.contains("no rule") && none.text.contains("who is it?"), "{}", none.text);
    });
}

#[test]
fn many_rules_match_like_few() {
    run(async {
        let rules: String = (0..500)
            .map(|at| format!("[[rule]]\nmatch = {{ contains = [\"<{at}>\", \"go\"] }}\nreply = {{ text = \"{at}\" }}\n"))
            .collect();
        let stage = stage(&rules);
        for at in [0, 7, 499] {
            assert_eq!(said(&stage, json!({"input": format!("go <{at}>")})).await, at.to_string());
        }
        assert_eq!(said(&stage, json!({"input": "<7>"})).await, "500 no_rule_matches");
    });
}

#[test]
fn nth_counts_requests_and_times_spends_a_rule() {
    // 47
    run(async {
        let nth = stage(
            "[[rule]]\nmatch = { contains = \"x\", nth = 1 }\nreply = { text = \"one\" }\n[[rule]]\nmatch = { contains = \"x\", nth = 3 }\nreply = { text = \"three\" }\n[[rule]]\nreply = { text = \"else\" }\n",
        );
        let mut all = Vec::new();
        for input in ["x", "y", "x", "x", "x"] {
            all.push(said(&nth, json!({"input": input})).await);
        }
        assert_eq!(all, ["one", "else", "else", "three", "else"]);

        let times = stage("[[rule]]\ntimes = 2\nreply = { status = 500 }\n[[rule]]\nreply = { text = \"fine\" }\n");
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(said(&times, json!({})).await);
        }
        assert_eq!(all, ["500 server_error", "500 server_error", "fine"]);
        let rules: Vec<_> = times.running.ledger().calls.iter().map(|call| (call.rule, call.status)).collect();
        assert_eq!(rules, [(Some(1), 500), (Some(1), 500), (Some(2), 200)]);
    });
}

#[test]
fn a_lookup_answers_each_row_from_its_table() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rows: String =
            (0..100_000).map(|at| format!("{{\"key\": \"row-{at}\", \"json\": {{\"label\": \"l{}\"}}}}\n", at % 7)).collect();
        std::fs::write(dir.path().join("answers.jsonl"), rows).unwrap();
        std::fs::write(dir.path().join("words.jsonl"), "{\"contains\": \"lost my card\", \"text\": \"card\"}\n").unwrap();
        let text = r#"
[[rule]]
match = { contains = "row=" }
reply = { lookup = "answers.jsonl", key = 'row=(\S+)' }
[[rule]]
reply = { lookup = "words.jsonl" }
[[rule]]
match = { contains = "echo" }
reply = { text = "{{match.1}} {{input.last_line}} {{other.output}}", key = 'n=(\d+)', template = true }
"#;
        let stage = stage_with(Scenario::parse(text, dir.path()).unwrap(), &Options::default());
        assert_eq!(said(&stage, json!({"input": "row=row-99999 x"})).await, "{\"label\": \"l4\"}");
        assert_eq!(said(&stage, json!({"input": "I have lost my card!"})).await, "card");
        assert_eq!(said(&stage, json!({"input": "echo n=12\nlast"})).await, "12 last {{other.output}}");
        let missing = stage.post(json!({"input": "row=nope"})).await;
        assert!(missing.text.contains("lookup has no row"), "{}", missing.text);
    });
}

#[test]
fn a_faulty_scenario_is_refused_by_line_and_name() {
    let rule = |body: &str| format!("# one\n[[rule]]\n{body}\n");
    let cases = [
        (rule("reply = { text = \"a\", txt = \"b\" }"), "line 3", "txt"),
        (rule("mach = {}\nreply = { text = \"a\" }"), "line 3", "mach"),
        ("[sever]\n".into(), "line 1", "sever"),
        ("[models.a]\nwindows = 1\n".into(), "line 2", "windows"),
        (rule("reply = { text = \"a\", json = {} }"), "line 2", "text and json"),
        (rule("reply = { text = \"a\", status = 429 }"), "line 2", "status = 429"),
        (rule("reply = { }"), "line 2", "is empty"),
        (rule("reply = { status = 99 }"), "line 2", "99"),
        (rule("reply = { json = \"{bad\" }"), "line 2", "JSON text"),
        (rule("reply = { text = \"a\", usage = { inputs = 1 } }"), "line 2", "inputs"),
        (rule("reply = { text = \"a\", usage = { input_tokens = 1, cached_tokens = 2 } }"), "line 2", "cached_tokens = 2"),
        (rule("reply = { error = { kind = \"x\" } }"), "line 2", "kind"),
        (rule("reply = { text = \"a\", key = \"(\", template = true }"), "line 2", "key"),
        (rule("reply = { text = \"a\", headers = { \"a b\" = 1 } }"), "line 2", "a b"),
        (rule("stream_faults = [\"stal\"]\nreply = { text = \"a\" }"), "line 2", "stal"),
        (rule("stall_ms = 5\nreply = { text = \"a\" }"), "line 2", "stall_ms"),
        (rule("match = { nth = 0 }\nreply = { text = \"a\" }"), "line 2", "nth"),
        (rule("times = 0\nreply = { text = \"a\" }"), "line 2", "times"),
        (rule("tokens_per_s = 0.0\nreply = { text = \"a\" }"), "line 2", "tokens_per_s"),
        (rule("match = { contains = 5 }\nreply = { text = \"a\" }"), "line 3", "a string or a list"),
        (rule("reply = { lookup = \"none.jsonl\" }"), "none.jsonl", "cannot read"),
        ("[models.a]\nefforts = [\"huge\"]\n".into(), "line 1", "huge"),
    ];
    for (text, line, word) in cases {
        let message = Scenario::parse(&text, Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(message.contains(line) && message.contains(word), "{text}\n{message}");
    }
}

/// Requests that show an image, in both dialects.
fn showing(url: &str) -> (Value, Value) {
    let part = json!({"type": "input_image", "detail": "high", "image_url": url});
    let call = json!({"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"});
    let output = json!({"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "seen"}, part]});
    let user = json!([{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": url}}]);
    (json!({"input": [call, output]}), json!({"model": "gpt-5.4-mini", "messages": [{"role": "user", "content": user}]}))
}

#[test]
fn a_rule_can_ask_for_an_image_and_the_ledger_counts_them() {
    run(async {
        let stage = stage(
            "[models.blind]\nimages = false\n[[rule]]\nmatch = { image = true }\nreply = { text = \"seen\" }\n[[rule]]\nreply = { text = \"nothing\" }\n",
        );
        let (responses, chat) = showing("data:image/png;base64,iVBORw0KGgo=");
        assert_eq!(said(&stage, responses.clone()).await, "seen");
        assert_eq!(said(&stage, json!({"input": "hi"})).await, "nothing");
        assert_eq!(stage.post_to("/chat/completions", chat).await.body["choices"][0]["message"]["content"], "seen");
        let blind = stage.post(json!({"model": "blind", "input": responses["input"]})).await;
        assert_eq!((blind.status, &blind.body["error"]["code"]), (400, &json!("invalid_value")));
        let ledger = stage.get("/_ledger").await.body;
        let images: Vec<&Value> = ledger["calls"].as_array().unwrap().iter().map(|call| &call["images"]).collect();
        assert_eq!(images, [&json!(1), &Value::Null, &json!(1), &Value::Null]);
        assert!(ledger["calls"][0]["usage"]["input_tokens"].as_u64().unwrap() > 1_000);
    });
}

#[test]
fn what_is_no_image_is_refused_as_the_service_does() {
    run(async {
        let stage = stage(HELLO);
        for (url, code) in [
            ("data:image/png;base64,!", "invalid_base64_image"),
            ("data:image/png;base64,", "empty_image_file"),
            ("data:image/png;base64,aGVsbG8=", "invalid_image"),
            ("data:image/bmp;base64,aGVsbG8=", "unsupported_image_media_type"),
            ("file:///etc/passwd", "invalid_image_url"),
        ] {
            let (responses, chat) = showing(url);
            for reply in [stage.post(responses).await, stage.post_to("/chat/completions", chat).await] {
                assert_eq!((reply.status, &reply.body["error"]["code"]), (400, &json!(code)), "{url}: {}", reply.text);
            }
        }
        let (_, mut chat) = showing("https://example.com/a.png");
        assert_eq!(stage.post_to("/chat/completions", chat.clone()).await.status, 200);
        chat["messages"][0]["role"] = json!("system");
        assert_eq!(stage.post_to("/chat/completions", chat).await.status, 400);
    });
}
