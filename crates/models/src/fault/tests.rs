use super::*;

/// Rows of the table in responses-api.md §7 and the shapes seen in the wild.
#[test]
fn every_row_of_the_error_table_has_its_class() {
    use ErrorClass::*;
    let cases: &[(u16, &str, ErrorClass)] = &[
        (
            400,
            r#"{"error":{"message":"m","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}"#,
            ContextTooLong,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":4}}"#,
            ContextTooLong,
        ),
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 4096 tokens.","type":"BadRequestError","param":null,"code":400}"#,
            ContextTooLong,
        ),
        (
            400,
            r#"{"error":{"message":"Previous response with id 'resp_1' not found.","type":"invalid_request_error","param":"previous_response_id","code":"previous_response_not_found"}}"#,
            LostReference,
        ),
        (
            404,
            r#"{"error":{"message":"Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.","type":"invalid_request_error","param":"input","code":null}}"#,
            LostReference,
        ),
        (400, r#"{"error":{"message":"m","param":"model","code":"model_not_found"}}"#, ModelNotFound),
        (404, r#"{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}}"#, ModelNotFound),
        (
            404,
            r#"{"error":{"message":"model \"llama9\" not found, try pulling it first","type":"not_found_error","param":null,"code":null}}"#,
            ModelNotFound,
        ),
        (404, r#"{"error":{"message":"no such route","param":"model"}}"#, ModelNotFound),
        (404, r#"{"detail":"Not Found"}"#, BadRequest),
        (
            400,
            r#"{"error":{"message":"Unsupported parameter: 'temperature' is not supported with this model.","type":"invalid_request_error","param":"temperature","code":null}}"#,
            UnsupportedField,
        ),
        (
            400,
            r#"{"error":{"message":"m","type":"invalid_request_error","param":"reasoning.effort","code":"unsupported_value"}}"#,
            UnsupportedField,
        ),
        (
            400,
            r#"[{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"store\": Cannot find field.","status":"INVALID_ARGUMENT"}}]"#,
            UnsupportedField,
        ),
        (
            400,
            r#"{"error":{"message":"llama.cpp does not support 'previous_response_id'.","code":400,"type":"invalid_request_error"}}"#,
            UnsupportedField,
        ),
        (
            400,
            r#"{"error":{"message":"m","type":"invalid_request_error","param":"text.format.schema","code":"invalid_json_schema"}}"#,
            BadRequest,
        ),
        (400, r#"{"error":{"message":"m","code":"missing_required_parameter","param":"input[79].id"}}"#, BadRequest),
        (
            400,
            r#"{"error":{"message":"No tool output found for function call call_1.","type":"invalid_request_error","param":"input","code":null}}"#,
            BadRequest,
        ),
        (
            401,
            r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            Refused,
        ),
        (
            403,
            r#"{"error":{"message":"Country, region, or territory not supported","code":"unsupported_country_region_territory"}}"#,
            Refused,
        ),
        (403, "<html><title>Forbidden</title></html>", Refused),
        (402, "", QuotaExhausted),
        (408, "", Server),
        (409, "{}", Server),
        (413, "too large", BadRequest),
        (422, r#"{"detail":[{"loc":["body","input"],"msg":"field required"}]}"#, BadRequest),
        (
            429,
            r#"{"error":{"message":"Rate limit reached. Please try again in 6.2s.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            RateLimited,
        ),
        (429, r#"{"error":{"message":"m","type":"requests","code":null}}"#, RateLimited),
        (429, "", RateLimited),
        (429, r#"{"error":{"message":"ramp","type":"rate_limit_error","code":"slow_down"}}"#, Overloaded),
        (429, r#"{"error":{"message":"m","code":"resource_unavailable"}}"#, Overloaded),
        (
            429,
            r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            QuotaExhausted,
        ),
        (429, r#"{"error":{"message":"m","type":"insufficient_quota","code":"project_spend_limit_exceeded"}}"#, QuotaExhausted),
        (429, r#"{"error":{"message":"m","type":"insufficient_quota","code":null}}"#, QuotaExhausted),
        (500, r#"{"error":{"message":"m","type":"server_error","param":null,"code":null}}"#, Server),
        (502, "<!DOCTYPE html><html><head><title>Bad gateway</title></head></html>", Server),
        (503, r#"{"error":{"message":"m","type":"service_unavailable_error","code":"server_is_overloaded"}}"#, Overloaded),
        (503, r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#, Overloaded),
        (504, "upstream timed out", Server),
        (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Overloaded),
        (599, r#"{"error":"just text"}"#, Server),
    ];
    for (status, body, class) in cases {
        let error = Fault::of_body(body.as_bytes(), *status).into_error(Origin::Http(*status));
        assert_eq!((error.class, error.status), (*class, Some(*status)), "{status} {body}");
        assert!(!error.message.is_empty(), "{status} {body}");
        let worked = matches!(class, Server);
        assert_eq!(error.sent, worked, "{status} {body}");
    }
}

#[test]
fn the_words_of_an_error_are_kept() {
    let body = r#"{"error":{"message":"Rate limit reached. Please try again in 6.2s.","type":"tokens","param":"input","code":"rate_limit_exceeded"}}"#;
    let error = Fault::of_body(body.as_bytes(), 429).into_error(Origin::Http(429));
    assert_eq!(error.code.as_deref(), Some("rate_limit_exceeded"));
    assert_eq!(error.param.as_deref(), Some("input"));
    assert_eq!(error.retry_after.map(|wait| wait.0), Some(6_200));
    let page = Fault::of_body(b"<html><head><TITLE>Sign in</TITLE>", 502);
    assert_eq!(page.message, "HTTP 502 with a web page titled \"Sign in\"");
    let long = Fault::said("x".repeat(5_000)).into_error(Origin::Http(500));
    assert_eq!(long.message.len(), 2_000);
}

#[test]
fn an_unsupported_field_is_named_even_when_only_the_text_names_it() {
    let body = r#"[{"error":{"code":400,"message":"Unknown name \"store\": Cannot find field."}}]"#;
    let error = Fault::of_body(body.as_bytes(), 400).into_error(Origin::Http(400));
    assert_eq!(error.param.as_deref(), Some("store"));
}

#[test]
fn an_error_inside_a_stream_is_classed_by_its_words() {
    let cases = [
        (r#"{"type":"error","code":"rate_limit_exceeded","message":"try again in 3s","param":null}"#, ErrorClass::RateLimited),
        (r#"{"type":"error","error":{"type":"insufficient_quota","code":"insufficient_quota","message":"m"}}"#, ErrorClass::QuotaExhausted),
        (r#"{"error":{"code":503,"message":"Loading model"}}"#, ErrorClass::Overloaded),
        (r#"{"error":{"message":"bad","type":"invalid_request_error"}}"#, ErrorClass::BadRequest),
        (r#"{"error":{"message":"boom"}}"#, ErrorClass::Server),
        (r#"{"error":"boom"}"#, ErrorClass::Server),
        (r#"{"code":"server_error","message":"boom"}"#, ErrorClass::Server),
    ];
    for (body, class) in cases {
        let fault = Fault::of_text(body).unwrap();
        assert_eq!(fault.class(Origin::Stream { content: true }), class, "{body}");
        assert!(fault.into_error(Origin::Stream { content: true }).sent, "{body}");
    }
}

#[test]
fn x_should_retry_has_the_last_word() {
    let error = |status| Fault::of_body(b"", status).into_error(Origin::Http(status));
    for (status, word, class) in [
        (429, Some(false), ErrorClass::QuotaExhausted),
        (500, Some(false), ErrorClass::BadRequest),
        (400, Some(true), ErrorClass::Server),
        (429, Some(true), ErrorClass::RateLimited),
        (429, None, ErrorClass::RateLimited),
    ] {
        let mut error = error(status);
        heed_should_retry(&mut error, word);
        assert_eq!(error.class, class, "{status} {word:?}");
    }
}
