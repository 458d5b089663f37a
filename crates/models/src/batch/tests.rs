use super::*;
use crate::testing::call;

fn model() -> ModelRef {
    ModelRef::new("openai/gpt-5.4-nano").unwrap()
}

#[test]
fn a_line_is_the_request_that_would_have_been_sent_without_a_stream() {
    let mut call = call();
    call.service = Service::Batch;
    call.request_id = "r1-c7".to_owned();
    let body = crate::responses::request::body(
        &call,
        &crate::endpoint::Capabilities::known(crate::Dialect::Responses, "https://api.openai.com/v1"),
    );
    let line = line(&call, body);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(
        (line["custom_id"].as_str(), line["method"].as_str(), line["url"].as_str()),
        (Some("r1-c7"), Some("POST"), Some("/v1/responses"))
    );
    assert_eq!((line["body"]["stream"].as_bool(), line["body"].get("service_tier")), (Some(false), None));
}

#[test]
fn what_a_provider_says_of_a_batch_is_read() {
    let said = r#"{"id":"batch_abc123","object":"batch","endpoint":"/v1/responses","errors":null,"input_file_id":"file-abc","completion_window":"24h",
        "status":"completed","output_file_id":"file-cvaTdG","error_file_id":"file-HOWS94","created_at":1711471533,"completed_at":1711493163,
        "request_counts":{"total":100,"completed":95,"failed":5},"metadata":{"brigade":"r1-b1"}}"#;
    let batch = read(said).unwrap();
    assert!(batch.is_over());
    assert_eq!((batch.id.as_str(), batch.key.as_deref()), ("batch_abc123", Some("r1-b1")));
    assert_eq!((batch.output_file.as_deref(), batch.error_file.as_deref()), (Some("file-cvaTdG"), Some("file-HOWS94")));

    let failed = r#"{"id":"b1","status":"failed","errors":{"object":"list","data":[{"code":"model_mismatch","message":"one model only","line":2}]}}"#;
    assert_eq!(read(failed).unwrap().why.as_deref(), Some("one model only"));
    for working in ["validating", "in_progress", "finalizing", "cancelling"] {
        assert!(!read(&format!(r#"{{"id":"b1","status":"{working}"}}"#)).unwrap().is_over(), "{working}");
    }
    for bad in ["", "[]", "{}", r#"{"id":"../x","status":"completed"}"#, r#"{"id":"b1"}"#] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_page_of_batches_is_read_though_one_of_them_is_strange() {
    let page = r#"{"object":"list","data":[{"id":"b1","status":"completed"},{"id":7},{"id":"b2","status":"in_progress"}],"has_more":true}"#;
    let (batches, more) = read_list(page).unwrap();
    assert_eq!((batches.len(), more), (2, true));
}

#[test]
fn a_line_brings_its_answer_at_batch_service_whatever_its_body_says() {
    let line = br#"{"id":"batch_req_1","custom_id":"r1-c1","response":{"status_code":200,"request_id":"req_9","body":{"id":"resp_1","object":"response",
        "status":"completed","model":"gpt-5.4-nano","service_tier":"default","output":[{"type":"message","id":"m","role":"assistant","status":"completed",
        "content":[{"type":"output_text","text":"spam","annotations":[]}]}],"usage":{"input_tokens":11,"output_tokens":3,"total_tokens":14}}},"error":null}"#;
    let line = read_line(line, &model()).unwrap();
    let answer = line.answer.unwrap();
    assert_eq!((line.request_id.as_str(), answer.text.as_str(), answer.service), ("r1-c1", "spam", Some(Service::Batch)));
    assert_eq!((answer.usage.unwrap().input_tokens, answer.provider_request_id.as_deref()), (11, Some("req_9")));
}

#[test]
fn a_line_that_was_not_answered_says_why_and_costs_nothing() {
    let cases: [(&[u8], ErrorClass, bool); 4] = [
        (br#"{"id":"b","custom_id":"c","response":null,"error":{"code":"batch_expired","message":"This request could not be executed before the completion window expired."}}"#, ErrorClass::TimedOut, false),
        (br#"{"id":"b","custom_id":"c","response":null,"error":{"code":"batch_cancelled","message":"cancelled"}}"#, ErrorClass::Server, false),
        (br#"{"id":"b","custom_id":"c","response":{"status_code":400,"request_id":"r","body":{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}},"error":null}"#, ErrorClass::BadRequest, true),
        (br#"{"id":"b","custom_id":"c","response":{"status_code":500,"request_id":"r","body":{"error":{"message":"sorry","type":"server_error","code":null}}},"error":null}"#, ErrorClass::Server, true),
    ];
    for (line, class, sent) in cases {
        let error = read_line(line, &model()).unwrap().answer.unwrap_err();
        assert_eq!((error.class, error.usage), (class, None), "{error}");
        assert!(error.sent == sent || error.status.is_some(), "{error:?}");
    }
    assert_eq!(read_line(b"not json", &model()), None);
}
