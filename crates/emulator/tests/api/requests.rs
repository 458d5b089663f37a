use serde_json::json;

use crate::stage::{HELLO, ask, run, stage};

fn many_pairs(count: usize) -> serde_json::Value {
    (0..count).map(|at| (format!("k{at}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn a_string_input_equals_one_user_message() {
    // 1
    run(async {
        let stage = stage("[[rule]]\nmatch = { contains = \"ping\" }\nreply = { text = \"pong\" }\n");
        let one = stage.post(json!({"input": "ping"})).await.body;
        let two = stage.post(json!({"input": [{"role": "user", "content": "ping"}]})).await.body;
        let three = stage
            .post(json!({"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "ping"}]}]}))
            .await
            .body;
        for other in [two, three] {
            assert_eq!(one["usage"], other["usage"]);
            assert_eq!(one["output"][0]["content"], other["output"][0]["content"]);
        }
    });
}

#[test]
fn a_bad_request_is_refused_with_its_parameter() {
    // 2, 3, 14, 20-22, 27, 31-35, and settings that are not supported
    let object = json!({"type": "object", "properties": {"a": {"type": "object", "properties": {}}}, "required": ["a"], "additionalProperties": false});
    let call = json!({"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"});
    let output = json!({"type": "function_call_output", "call_id": "c1", "output": "x"});
    let long = json!({"type": "function_call_output", "call_id": "c".repeat(65), "output": "x"});
    let cases = [
        (json!({"input": null}), 400, "input", "missing_required_parameter", ""),
        (json!({"model": null}), 400, "model", "missing_required_parameter", ""),
        (json!({"model": "gpt-9"}), 400, "model", "model_not_found", "gpt-9"),
        (json!({"model": 5}), 400, "model", "invalid_type", "5"),
        (json!({"previous_response_id": "a", "conversation": "b"}), 400, "previous_response_id", "mutually_exclusive_parameters", ""),
        (json!({"previous_response_id": "resp_0"}), 400, "previous_response_id", "previous_response_not_found", "resp_0"),
        (json!({"input": [call]}), 400, "input", "", "No tool output found for function call c1"),
        (json!({"input": [output]}), 400, "input", "", "No tool call found"),
        (json!({"input": [long]}), 400, "input[0].call_id", "string_above_max_length", "65"),
        (json!({"input": [{"role": "user"}]}), 400, "input[0].content", "missing_required_parameter", ""),
        (json!({"input": [{"role": "robot", "content": "x"}]}), 400, "input[0].role", "invalid_value", "robot"),
        (
            json!({"text": {"format": {"type": "json_schema", "name": "n", "strict": true, "schema": object}}}),
            400,
            "text.format.schema",
            "invalid_json_schema",
            "/properties/a",
        ),
        (
            json!({"tools": [{"type": "function", "name": "f", "strict": true, "parameters": object}]}),
            400,
            "tools[0].parameters",
            "invalid_json_schema",
            "/properties/a",
        ),
        (json!({"tools": [{"type": "function", "name": "a b"}]}), 400, "tools[0].name", "invalid_value", "a b"),
        (json!({"max_output_tokens": 15}), 400, "max_output_tokens", "integer_below_min_value", "15"),
        (json!({"max_output_tokens": 128_001}), 400, "max_output_tokens", "integer_above_max_value", "128001"),
        (json!({"reasoning": {"effort": "low"}, "temperature": 1.0}), 400, "temperature", "unsupported_value", ""),
        (json!({"reasoning": {"effort": "minimal"}}), 400, "reasoning.effort", "unsupported_value", "minimal"),
        (json!({"metadata": {"k": 1}}), 400, "metadata.k", "invalid_type", ""),
        (json!({"metadata": {"k": "v".repeat(513)}}), 400, "metadata.k", "", "512"),
        (json!({"metadata": {"k".repeat(65): "v"}}), 400, "metadata", "", "64"),
        (json!({"metadata": many_pairs(17)}), 400, "metadata", "", "17"),
        (json!({"tool_choice": "required"}), 400, "tool_choice", "", "tools"),
        (json!({"tool_choice": {"type": "function", "name": "nope"}}), 400, "tool_choice", "", "nope"),
        (json!({"service_tier": "golden"}), 400, "service_tier", "invalid_value", "golden"),
        (json!({"stream_options": {"include_obfuscation": false}}), 400, "stream_options", "", "stream"),
        (json!({"background": true}), 400, "background", "unsupported_parameter", "background"),
    ];
    run(async {
        let stage = stage(HELLO);
        for (request, status, param, code, word) in cases {
            let reply = stage.post(request.clone()).await;
            assert_eq!(reply.status, status, "{request}: {}", reply.text);
            let error = &reply.body["error"];
            assert_eq!(error["param"], param, "{request}: {error}");
            assert_eq!(error["code"].as_str().unwrap_or(""), code, "{request}: {error}");
            assert_eq!(error["type"], "invalid_request_error");
            assert!(error["message"].as_str().unwrap().contains(word), "{request}: {error}");
        }
        assert_eq!(stage.post(json!({"metadata": many_pairs(16)})).await.status, 200);
    });
}

#[test]
fn a_missing_or_wrong_key_is_401() {
    // 4
    run(async {
        let any = stage(HELLO);
        let one = stage(&format!("[server]\napi_key = \"right\"\n{HELLO}"));
        let cases = [(&any, None, 401), (&any, Some(""), 401), (&any, Some("x"), 200), (&one, Some("x"), 401), (&one, Some("right"), 200)];
        for (stage, key, status) in cases {
            let mut request = stage.http.post(stage.url("/responses")).json(&ask(json!({})));
            if let Some(key) = key {
                request = request.header("authorization", format!("Bearer {key}"));
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), status, "{key:?}");
            let body: serde_json::Value = response.json().await.unwrap();
            if status == 401 {
                assert_eq!(body["error"]["code"], "invalid_api_key");
            }
        }
    });
}

#[test]
fn malformed_json_is_refused_in_error_shape() {
    // 5
    run(async {
        let stage = stage(HELLO);
        for body in ["{", "[]", "", "{\"model\": \"gpt-5.4\", \"input\": \"\\ud800\"}"] {
            let response = stage.http.post(stage.url("/responses")).bearer_auth("k").body(body).send().await.unwrap();
            assert_eq!(response.status(), 400, "{body}");
            let body: serde_json::Value = response.json().await.unwrap();
            assert_eq!(body["error"]["type"], "invalid_request_error");
            crate::schema::valid("ErrorResponse", &body);
        }
    });
}

#[test]
fn every_answer_has_its_headers() {
    // 6
    run(async {
        let stage = stage(HELLO);
        for (request, content) in [
            (json!({}), "application/json"),
            (json!({"stream": true}), "text/event-stream; charset=utf-8"),
            (json!({"model": "gpt-9"}), "application/json"),
        ] {
            let response = stage.send("/responses", &ask(request)).await;
            let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
            assert!(header("x-request-id").starts_with("req_"));
            assert_eq!(header("content-type"), content);
            for kind in ["limit", "remaining"] {
                for unit in ["requests", "tokens"] {
                    assert!(header(&format!("x-ratelimit-{kind}-{unit}")).parse::<u64>().is_ok());
                }
            }
            assert_eq!(header("x-ratelimit-reset-requests"), "6m0s");
            assert_eq!(header("x-ratelimit-reset-tokens"), "12ms");
        }
    });
}

#[test]
fn settings_are_echoed_with_defaults() {
    // 8, 9
    run(async {
        let stage = stage(HELLO);
        let tools = json!([{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": false}]);
        let body = stage
            .post(json!({"instructions": "be kind", "max_output_tokens": 99, "tools": tools, "metadata": {"a": "b"},
                "reasoning": {"effort": "low"}, "text": {"verbosity": "low"}, "prompt_cache_key": "k", "store": false}))
            .await
            .body;
        for (field, value) in [
            ("instructions", json!("be kind")),
            ("max_output_tokens", json!(99)),
            ("tools", tools),
            ("metadata", json!({"a": "b"})),
            ("reasoning", json!({"effort": "low", "summary": null})),
            ("text", json!({"format": {"type": "text"}, "verbosity": "low"})),
            ("prompt_cache_key", json!("k")),
            ("store", json!(false)),
            ("tool_choice", json!("auto")),
            ("parallel_tool_calls", json!(true)),
            ("temperature", json!(1.0)),
            ("truncation", json!("disabled")),
            ("status", json!("completed")),
            ("service_tier", json!("default")),
            ("model", json!("gpt-5.4-mini")),
        ] {
            assert_eq!(body[field], value, "{field}");
        }
        assert!(body["created_at"].is_number() && body["completed_at"].is_number());
        let cut = stage.post(json!({"max_output_tokens": 16, "input": "hi"})).await.body;
        assert_eq!(cut["status"], "completed", "eleven bytes fit");
    });
}

#[test]
fn input_over_the_window_is_refused_unless_truncated() {
    // 32
    run(async {
        let stage = stage(&format!("[models.small]\nwindow = 100\n{HELLO}"));
        let long = "word ".repeat(100);
        let refused = stage.post(json!({"model": "small", "input": long})).await;
        assert_eq!((refused.status, refused.body["error"]["code"].as_str()), (400, Some("context_length_exceeded")));
        assert_eq!(refused.body["error"]["param"], "input");
        let cut = stage.post(json!({"model": "small", "input": long, "truncation": "auto"})).await;
        assert_eq!(cut.status, 200);
        assert_eq!(cut.body["usage"]["input_tokens"], 100);
    });
}

#[test]
fn unknown_fields_pass_unless_strict() {
    // 58
    run(async {
        let lax = stage(HELLO);
        assert_eq!(lax.post(json!({"frobnicate": 1})).await.status, 200);
        let strict = stage(&format!("[server]\nstrict = true\n{HELLO}"));
        let reply = strict.post(json!({"frobnicate": 1})).await;
        assert_eq!((reply.status, reply.body["error"]["param"].as_str()), (400, Some("frobnicate")));
        assert_eq!(strict.post(json!({"safety_identifier": "s", "include": []})).await.status, 200);
    });
}

#[test]
fn models_are_listed_and_unknown_routes_are_404() {
    // 55
    run(async {
        let stage = stage("[models.\"org/own\"]\n[[rule]]\nreply = { text = \"x\" }\n");
        let list = stage.get("/models").await.body;
        crate::schema::valid("ListModelsResponse", &list);
        assert!(list["data"].as_array().unwrap().iter().any(|model| model["id"] == "org/own"));
        assert_eq!(stage.get("/models/org%2Fown").await.body["id"], "org/own");
        for path in ["/models/nope", "/nope", "/responses/resp_0"] {
            let reply = stage.get(path).await;
            assert_eq!(reply.status, 404, "{path}");
            assert!(reply.body["error"]["message"].is_string());
        }
    });
}
