use std::collections::HashSet;

use serde_json::{Value, json};

use crate::stage::{HELLO, run, stage};

const TWO_CALLS: &str = r#"
[[rule]]
reply = { text = "both", calls = [{ name = "f", arguments = { a = 1 } }, { name = "g", arguments = "{bad" }] }
"#;

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false});
    json!([
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": false},
        {"type": "function", "name": "g", "parameters": {"type": "object"}, "strict": false},
        {"type": "function", "name": "h", "parameters": parameters, "strict": true},
    ])
}

fn called(body: &Value) -> Vec<&str> {
    body["output"].as_array().unwrap().iter().filter_map(|item| item["name"].as_str()).collect()
}

#[test]
fn ids_carry_their_prefix_and_are_unique() {
    // 7
    run(async {
        let stage = stage("[[rule]]\nreply = { reasoning = \"hm\", text = \"a\", calls = [{ name = \"f\" }] }\n");
        let mut seen = HashSet::new();
        for _ in 0..5 {
            let body = stage.post(json!({"include": ["reasoning.encrypted_content"]})).await.body;
            let output = body["output"].as_array().unwrap();
            let ids = [
                (&body["id"], "resp_"),
                (&output[0]["id"], "rs_"),
                (&output[1]["id"], "msg_"),
                (&output[2]["id"], "fc_"),
                (&output[2]["call_id"], "call_"),
            ];
            for (id, prefix) in ids {
                let id = id.as_str().unwrap();
                assert!(id.starts_with(prefix), "{id}");
                assert!(seen.insert(id.to_owned()), "{id} came twice");
            }
            assert!(output[0]["encrypted_content"].is_string());
        }
    });
}

#[test]
fn usage_adds_up() {
    // 10
    run(async {
        let scripted = "[[rule]]\nmatch = { contains = \"scripted\" }\nreply = { text = \"x\", usage = { input_tokens = 2000, cached_tokens = 1024, output_tokens = 50, reasoning_tokens = 40 } }\n";
        let stage = stage(&format!("{scripted}{HELLO}"));
        for input in ["plain", "scripted"] {
            let usage = stage.post(json!({"input": input})).await.body["usage"].clone();
            let number = |pointer: &str| usage.pointer(pointer).unwrap().as_u64().unwrap();
            assert_eq!(number("/total_tokens"), number("/input_tokens") + number("/output_tokens"));
            assert!(number("/input_tokens_details/cached_tokens") <= number("/input_tokens"));
            assert!(number("/output_tokens_details/reasoning_tokens") <= number("/output_tokens"));
            if input == "scripted" {
                assert_eq!((number("/input_tokens"), number("/output_tokens")), (2000, 50));
            }
        }
    });
}

#[test]
fn parallel_calls_are_distinct_items() {
    // 23, 24
    run(async {
        let stage = stage(TWO_CALLS);
        let events = stage.events(json!({"tools": tools()})).await;
        let added = crate::stage::of(&events, "response.output_item.added");
        let indexes: Vec<u64> = added.iter().map(|event| event["output_index"].as_u64().unwrap()).collect();
        assert_eq!(indexes, [0, 1, 2]);
        let calls: HashSet<&str> = added.iter().filter_map(|event| event["item"]["call_id"].as_str()).collect();
        assert_eq!(calls.len(), 2);
        let one = stage.post(json!({"tools": tools(), "parallel_tool_calls": false})).await.body;
        assert_eq!(called(&one), ["f"]);
    });
}

#[test]
fn tool_choice_is_obeyed() {
    // 25
    let allowed = |mode: &str, name: &str| json!({"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": name}]});
    let cases: [(Value, &[&str]); 7] = [
        (json!("auto"), &["f", "g"]),
        (json!("none"), &[]),
        (json!("required"), &["f", "g"]),
        (json!({"type": "function", "name": "g"}), &["g"]),
        (json!({"type": "function", "name": "h"}), &["h"]),
        (allowed("auto", "h"), &[]),
        (allowed("required", "h"), &["h"]),
    ];
    run(async {
        let stage = stage(TWO_CALLS);
        for (choice, want) in cases {
            let body = stage.post(json!({"tools": tools(), "tool_choice": choice})).await.body;
            assert_eq!(called(&body), want, "{choice}");
            if want == ["h"] {
                let arguments = body["output"][1]["arguments"].as_str().unwrap();
                assert_eq!(arguments, "{\"n\":0}", "invented arguments keep to the schema");
            }
        }
        let talker = crate::stage::stage(HELLO);
        let body = talker.post(json!({"tools": tools(), "tool_choice": "required"})).await.body;
        assert_eq!(called(&body), ["f"]);
        let rebel = crate::stage::stage(&TWO_CALLS.replace("[[rule]]", "[[rule]]\ndisobey = true"));
        assert_eq!(called(&rebel.post(json!({"tools": tools(), "tool_choice": "none"})).await.body), ["f", "g"]);
    });
}

#[test]
fn a_custom_tool_is_called_with_free_text() {
    // 26
    run(async {
        let stage = stage("[[rule]]\nreply = { calls = [{ name = \"patch\", input = \"*** Begin\\n+ä\" }] }\n");
        let tools = json!([{"type": "custom", "name": "patch"}]);
        let body = stage.post(json!({"tools": tools})).await.body;
        let item = &body["output"][0];
        assert_eq!((&item["type"], &item["input"]), (&json!("custom_tool_call"), &json!("*** Begin\n+ä")));
        let events = stage.events(json!({"tools": tools})).await;
        assert_eq!(crate::stage::of(&events, "response.custom_tool_call_input.done")[0]["input"], "*** Begin\n+ä");
    });
}

#[test]
fn output_under_a_strict_schema_validates() {
    // 28
    let schema = json!({"type": "object", "properties": {
        "id": {"type": "string"}, "note": {"type": ["string", "null"]}},
        "required": ["id", "note"], "additionalProperties": false});
    let format = json!({"format": {"type": "json_schema", "name": "plan", "strict": true, "schema": schema}});
    run(async {
        let good = "[[rule]]\nmatch = { format = \"plan\" }\nreply = { json = { id = \"a\" } }\n";
        let stage = stage(&format!("{good}{HELLO}"));
        let body = stage.post(json!({"text": format})).await.body;
        let text = body["output"][0]["content"][0]["text"].as_str().unwrap();
        assert_eq!(text, "{\"id\":\"a\",\"note\":null}");
        assert!(jsonschema::is_valid(&schema, &serde_json::from_str(text).unwrap()));
        assert_eq!(stage.post(json!({})).await.body["output"][0]["content"][0]["text"], "hello world");

        // a script may lie on purpose; then the ledger says so, or the server refuses
        let bad = "[[rule]]\nreply = { json = { name = \"a\" } }\n";
        let lying = crate::stage::stage(bad);
        assert_eq!(lying.post(json!({"text": format})).await.status, 200);
        assert!(lying.running.ledger().calls[0].note.as_ref().unwrap().contains("lacks 'id'"));
        let strict = crate::stage::stage(&format!("[server]\nenforce_schema = true\n{bad}"));
        let reply = strict.post(json!({"text": format})).await;
        assert_eq!(reply.status, 500);
        assert!(reply.text.contains("rule 1") && reply.text.contains("lacks 'id'"), "{}", reply.text);
    });
}

#[test]
fn a_scripted_refusal_is_a_completed_refusal_part() {
    // 29
    run(async {
        let stage = stage("[[rule]]\nreply = { refusal = \"I will not\" }\n");
        let body = stage.post(json!({})).await.body;
        assert_eq!(body["status"], "completed");
        assert_eq!(body["output"][0]["content"][0], json!({"type": "refusal", "refusal": "I will not"}));
        let events = stage.events(json!({})).await;
        assert_eq!(crate::stage::of(&events, "response.refusal.done")[0]["refusal"], "I will not");
    });
}

#[test]
fn the_output_limit_cuts_text_and_arguments() {
    // 30, 9
    run(async {
        let text = "[[rule]]\nmatch = { contains = \"text\" }\nreply = { text = \"éééééééééééééééééééééééééééééééééééééééééééé\" }\n";
        let call = "[[rule]]\nreply = { calls = [{ name = \"f\", arguments = { long = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" } }] }\n";
        let stage = stage(&format!("{text}{call}"));
        for input in ["text", "call"] {
            let request = json!({"input": input, "max_output_tokens": 16});
            let body = stage.post(request.clone()).await.body;
            assert_eq!((&body["status"], &body["completed_at"]), (&json!("incomplete"), &Value::Null));
            assert_eq!(body["incomplete_details"], json!({"reason": "max_output_tokens"}));
            assert_eq!(body["output"][0]["status"], "incomplete");
            assert!(body["usage"]["output_tokens"].as_u64().unwrap() <= 16);
            if input == "call" {
                let arguments = body["output"][0]["arguments"].as_str().unwrap();
                assert!(serde_json::from_str::<Value>(arguments).is_err(), "{arguments} is cut");
            }
            let events = stage.events(request).await;
            assert_eq!(events.last().unwrap()["type"], "response.incomplete");
        }
    });
}

#[test]
fn the_service_tier_served_is_echoed() {
    // 38
    run(async {
        let flex = "[[rule]]\nmatch = { service_tier = \"flex\", nth = 1 }\nreply = { error = \"resource_unavailable\" }\n";
        let downgraded = "[[rule]]\nmatch = { contains = \"ramp\" }\nreply = { text = \"x\", service_tier = \"default\" }\n";
        let stage = stage(&format!("{flex}{downgraded}{HELLO}"));
        let refused = stage.post(json!({"service_tier": "flex"})).await;
        assert_eq!((refused.status, refused.body["error"]["code"].as_str()), (429, Some("resource_unavailable")));
        for (asked, input, served) in
            [("flex", "", "flex"), ("auto", "", "default"), ("fast", "", "priority"), ("priority", "ramp", "default")]
        {
            let body = stage.post(json!({"service_tier": asked, "input": input})).await.body;
            assert_eq!(body["service_tier"], served, "{asked}");
        }
    });
}
