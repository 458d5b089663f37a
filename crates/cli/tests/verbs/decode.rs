//! `brigade decode`.

use serde_json::{Value, json};

use super::{Place, rows, sample};

#[test]
fn recordings_decode_through_the_binary_to_what_their_recorders_wrote_down() {
    let place = Place::new();
    for file in ["vercel-ai-openai", "pydantic-ai", "vercel-ai-xai", "opentelemetry-instrumentation-openai"] {
        let Some(rows) = rows(&format!("responses-recordings/{file}.jsonl.gz")) else { return };
        for row in sample(rows, 9) {
            let bytes = row["sse"].as_str().map_or_else(|| row["json"].to_string(), str::to_owned);
            let ran = place.fed(&["decode", "-"], bytes.as_bytes());
            let (decoded, id) = (ran.json(), &row["id"]);
            if let Some(last) = row["expected"].get("final") {
                let texts: String = last["messages"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
                assert_eq!(decoded["text"], json!(texts), "{id}");
                assert_eq!(decoded["status"], last["status"], "{id}");
                assert_eq!(decoded["model"], last["model"], "{id}");
                assert_eq!(ran.code, i32::from(!decoded["error"].is_null()), "{id}");
            } else if let Some(body) = row["expected"].get("error_body") {
                assert_eq!((ran.code, &decoded["error"]["message"]), (1, &body["message"]), "{id}");
            }
        }
    }
}

#[test]
fn a_cut_stream_is_exit_1_with_its_error_and_what_came_before_it() {
    let place = Place::new();
    let start = r#"{"type":"response.created","response":{"id":"r","model":"m","status":"in_progress"}}"#;
    let ran = place.fed(&["decode", "-"], format!("data: {start}\n\n").as_bytes());
    assert_eq!(ran.code, 1);
    let decoded = ran.json();
    assert_eq!(decoded["error"]["class"], "cut_stream");
    let mut fields: Vec<&String> = decoded.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["error", "items", "model", "status", "text", "usage"]);
}

#[test]
fn an_error_body_is_exit_1_with_the_providers_words() {
    let place = Place::new();
    let file = place.write(
        "e.json",
        r#"{"error": {"message": "no \u202e such model", "type": "invalid_request_error", "code": "model_not_found", "param": null}}"#,
    );
    let ran = place.run(&["decode", file.to_str().unwrap()]);
    let decoded = ran.json();
    assert_eq!((ran.code, &decoded["error"]["code"]), (1, &json!("model_not_found")));
    assert_eq!(decoded["error"]["message"], "no \u{202e} such model");
    assert!(!ran.out.contains('\u{202e}'), "what steers a terminal stands escaped");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let ran = Place::new().run(&["decode", "nowhere.sse"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("nowhere.sse"), "{ran:?}");
}
