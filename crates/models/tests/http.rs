//! What a provider's misbehaviour on the wire becomes: one typed outcome each, and nothing leaks.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what went wrong by failing")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade_kernel::call::{Answer, Call, CallError, Deadlines, End, ErrorClass, Item, Service, Speaker};
use brigade_kernel::ids::ModelRef;
use brigade_kernel::time::Millis;
use brigade_models::{BadEndpoint, Delta, Dialect, Endpoint, Http, Model, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const KEY: &str = "sk-test-0123456789";

/// One step of what the server does after it has read a request.
#[derive(Clone)]
enum Step {
    Send(Vec<u8>),
    /// Says the same again every few milliseconds until the client leaves.
    Drip(Vec<u8>),
    /// Waits until the client leaves.
    Hang,
    /// Closes with a reset instead of an end.
    Reset,
}

struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers every connection's first request with these steps, then closes it.
    async fn with(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (steps, log) = (steps.clone(), Arc::clone(&log));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    let mut piece = [0; 4096];
                    // Bodies are small: the head says how long they are.
                    loop {
                        let n = socket.read(&mut piece).await.unwrap_or(0);
                        request.extend_from_slice(&piece[..n]);
                        let text = String::from_utf8_lossy(&request).into_owned();
                        let done = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                            let length =
                                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
                            body.len() >= length.unwrap_or(0)
                        });
                        if done || n == 0 {
                            break;
                        }
                    }
                    log.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                    for step in steps {
                        match step {
                            Step::Send(bytes) => drop(socket.write_all(&bytes).await),
                            Step::Drip(bytes) => {
                                while socket.write_all(&bytes).await.is_ok() {
                                    tokio::time::sleep(Duration::from_millis(5)).await;
                                }
                            }
                            Step::Hang => while socket.read(&mut piece).await.is_ok_and(|n| n > 0) {},
                            Step::Reset => {
                                socket.set_zero_linger().unwrap();
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self { address, requests }
    }

    /// Answers with a status, headers and a body.
    async fn replying(status: &str, headers: &str, body: &str) -> Self {
        let reply = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        Self::with(vec![Step::Send(reply.into_bytes())]).await
    }

    /// Answers with an event stream that ends as `end` says.
    async fn streaming(events: &[&str], end: &[Step]) -> Self {
        let mut steps = vec![Step::Send(HEAD.as_bytes().to_vec())];
        steps.extend(events.iter().map(|event| Step::Send(format!("data: {event}\n\n").into_bytes())));
        steps.extend_from_slice(end);
        Self::with(steps).await
    }

    fn model(&self, dialect: Dialect) -> Http {
        let base = format!("http://{}/v1/", self.address);
        Http::new(Endpoint::new("p", dialect, base, Some(Secret::new(KEY)))).unwrap()
    }

    async fn ask(&self, call: &Call) -> (Result<Answer, CallError>, String) {
        let mut seen = String::new();
        let mut sink = |delta: Delta<'_>| {
            if let Delta::Text(text) = delta {
                seen.push_str(text);
            }
        };
        let outcome = self.model(Dialect::Responses).call(call, &mut sink).await;
        (outcome, seen)
    }

    async fn error(&self) -> CallError {
        self.ask(&call()).await.0.unwrap_err()
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_1\r\nx-ratelimit-limit-requests: 500\r\n\
                    x-ratelimit-remaining-requests: 499\r\nx-ratelimit-reset-requests: 120ms\r\nconnection: close\r\n\r\n";
const CREATED: &str = r#"{"type":"response.created","response":{"id":"resp_1","model":"m-1-dated","status":"in_progress"}}"#;
const TEXT: &str = r#"{"type":"response.output_text.delta","output_index":0,"delta":"Hi ✓"}"#;
const DONE: &str = r#"{"type":"response.completed","response":{"id":"resp_1","model":"m-1-dated","status":"completed","service_tier":"default","output":[],"usage":{"input_tokens":7,"output_tokens":3}}}"#;

fn call() -> Call {
    Call {
        model: ModelRef::new("p/m-1").unwrap(),
        instructions: String::new(),
        items: vec![Item::message(Speaker::User, "Hello")],
        tools: Vec::new(),
        allowed_tools: Vec::new(),
        format: None,
        max_output_tokens: 64,
        effort: None,
        verbosity: None,
        cache_key: None,
        cache_retention: None,
        service: Service::Default,
        request_id: "r1-s1-a1".to_owned(),
        deadlines: Deadlines { first_token: Millis(20_000), idle: Millis(20_000), total: Millis(20_000) },
        pictures: Default::default(),
    }
}

#[tokio::test]
async fn an_answer_comes_with_usage_receipt_limits_and_request_id() {
    let server = Server::streaming(&[CREATED, TEXT, DONE], &[Step::Hang]).await;
    let (answer, seen) = server.ask(&call()).await;
    let answer = answer.unwrap();
    assert_eq!((answer.text.as_str(), seen.as_str(), answer.end), ("Hi ✓", "Hi ✓", End::Completed));
    assert_eq!((answer.model.as_deref(), answer.response_id.as_deref()), (Some("m-1-dated"), Some("resp_1")));
    assert_eq!((answer.provider_request_id.as_deref(), answer.service), (Some("req_1"), Some(Service::Default)));
    assert_eq!(answer.usage.unwrap().input_tokens, 7);
    let limits = answer.limits.unwrap();
    assert_eq!((limits.limit_requests, limits.remaining_requests, limits.reset_requests), (Some(500), Some(499), Some(Millis(120))));
    let request = server.requests.lock().unwrap()[0].clone();
    let head = request.to_lowercase();
    assert!(head.starts_with("post /v1/responses http/1.1\r\n"), "{request}");
    for line in ["authorization: bearer sk-test-0123456789", "x-client-request-id: r1-s1-a1", "content-type: application/json"] {
        assert!(head.contains(line), "{line} in {request}");
    }
    assert!(!head.contains("accept-encoding"), "{request}");
}

#[tokio::test]
async fn a_stream_cut_or_reset_is_a_cut_stream() {
    for end in [vec![], vec![Step::Reset], vec![Step::Send(DONE.as_bytes()[..60].to_vec())]] {
        let error = Server::streaming(&[CREATED, TEXT], &end).await.error().await;
        assert_eq!((error.class, error.sent), (ErrorClass::CutStream, true), "{error}");
    }
}

#[tokio::test]
async fn a_terminal_event_without_its_blank_line_counts_when_the_body_ended_properly() {
    let end = Step::Send(format!("data: {DONE}").into_bytes());
    let (answer, _) = Server::streaming(&[CREATED, TEXT], &[end]).await.ask(&call()).await;
    assert_eq!(answer.unwrap().text, "Hi ✓");
}

#[tokio::test]
async fn silence_pings_and_drip_run_into_the_deadlines() {
    let ping = || vec![Step::Drip(b": ping\n\n".to_vec())];
    let keepalive = || vec![Step::Drip(b"event: keepalive\ndata: {\"type\":\"keepalive\"}\n\n".to_vec())];
    let drip = || vec![Step::Drip(b" ".to_vec())];
    let with = |first: u64, idle: u64, total: u64| {
        let mut call = call();
        call.deadlines = Deadlines { first_token: Millis(first), idle: Millis(idle), total: Millis(total) };
        call
    };
    let long = 20_000;
    let cases: Vec<(Vec<&str>, Vec<Step>, Call, &str)> = vec![
        (vec![], vec![Step::Hang], with(60, long, long), "first_token"),
        (vec![CREATED], ping(), with(60, long, long), "first_token"),
        (vec![CREATED], keepalive(), with(60, long, long), "first_token"),
        (vec![CREATED, TEXT], ping(), with(long, 60, long), "idle"),
        (vec![CREATED, TEXT], drip(), with(long, 60, long), "idle"),
        (vec![CREATED, TEXT], vec![Step::Drip(format!("data: {TEXT}\n\n").into_bytes())], with(long, long, 80), "total"),
    ];
    for (events, end, call, which) in cases {
        let server = Server::streaming(&events, &end).await;
        let error = server.ask(&call).await.0.unwrap_err();
        assert_eq!(error.class, ErrorClass::TimedOut, "{which}: {error}");
        assert!(error.message.contains(which) && error.sent, "{which}: {error}");
    }
    let server = Server::with(vec![Step::Hang]).await;
    let error = server.ask(&with(60, long, long)).await.0.unwrap_err();
    assert_eq!((error.class, error.sent), (ErrorClass::TimedOut, true));
}

#[tokio::test]
async fn limits_are_heard_in_every_form() {
    let body = r#"{"error":{"message":"Rate limit. Please try again in 6.2s.","type":"tokens","code":"rate_limit_exceeded"}}"#;
    for (headers, wait) in [
        ("retry-after: 7\r\n", 7_000),
        ("retry-after: 7\r\nretry-after-ms: 1250\r\n", 1_250),
        ("date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:49:47 GMT\r\n", 10_000),
        ("", 6_200),
    ] {
        let error = Server::replying("429 Too Many Requests", headers, body).await.error().await;
        assert_eq!((error.class, error.retry_after), (ErrorClass::RateLimited, Some(Millis(wait))), "{headers}");
        assert_eq!((error.status, error.sent), (Some(429), false));
    }
    let quota = r#"{"error":{"message":"quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let error = Server::replying("429 Too Many Requests", "", quota).await.error().await;
    assert_eq!((error.class, error.retry_after), (ErrorClass::QuotaExhausted, None));
    let error = Server::replying("429 Too Many Requests", "x-should-retry: false\r\n", body).await.error().await;
    assert_eq!(error.class, ErrorClass::QuotaExhausted);
}

#[tokio::test]
async fn answers_that_are_none_get_their_class() {
    let json = "content-type: application/json\r\n";
    let html = "content-type: text/html\r\n";
    let cases = [
        ("200 OK", html, "<html><title>Log in</title></html>", ErrorClass::Server),
        ("200 OK", json, "", ErrorClass::Garbage),
        ("200 OK", json, "{}", ErrorClass::Garbage),
        ("200 OK", json, "not found", ErrorClass::CutStream),
        ("200 OK", json, r#"{"error":{"message":"quota","code":"insufficient_quota"}}"#, ErrorClass::QuotaExhausted),
        ("200 OK", json, r#"{"status":"queued","output":[]}"#, ErrorClass::Garbage),
        ("200 OK", "content-encoding: gzip\r\n", "x", ErrorClass::Garbage),
        ("200 OK", "x-client-request-id: another\r\n", "{}", ErrorClass::Garbage),
        ("401 Unauthorized", json, r#"{"error":{"message":"no","code":"invalid_api_key"}}"#, ErrorClass::Refused),
        ("502 Bad Gateway", html, "<html><title>Bad gateway</title></html>", ErrorClass::Server),
        ("503 Service Unavailable", json, "", ErrorClass::Overloaded),
        ("204 No Content", json, "", ErrorClass::Garbage),
    ];
    for (status, headers, body, class) in cases {
        let error = Server::replying(status, headers, body).await.error().await;
        assert_eq!(error.class, class, "{status} {body}: {error}");
    }
}

#[tokio::test]
async fn a_json_body_is_an_answer_too() {
    let body = r#"{"id":"resp_1","status":"completed","model":"m","output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]}],"usage":{"input_tokens":1,"output_tokens":64}}"#;
    let (answer, seen) = Server::replying("200 OK", "content-type: application/json\r\n", body).await.ask(&call()).await;
    let answer = answer.unwrap();
    // This server is not known to report a cut, and the cap was 64.
    assert_eq!((answer.text.as_str(), answer.end, seen.as_str()), ("Hi", End::Length, "Hi"));
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let trap = Server::replying("200 OK", "", "{}").await;
    let headers = format!("location: http://localhost:{}/v1/responses\r\n", trap.address.port());
    let error = Server::replying("307 Temporary Redirect", &headers, "").await.error().await;
    assert_eq!((error.class, error.status), (ErrorClass::Server, Some(307)), "{error}");
    assert!(trap.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nobody_there_means_unreachable_and_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let model = Http::new(Endpoint::new("p", Dialect::Responses, format!("http://{address}/v1"), None)).unwrap();
    let error = model.call(&call(), &mut |_| ()).await.unwrap_err();
    assert_eq!((error.class, error.sent), (ErrorClass::Unreachable, false), "{error}");
    let model = Http::new(Endpoint::new("p", Dialect::Responses, "http://host.invalid/v1", None)).unwrap();
    let error = model.call(&call(), &mut |_| ()).await.unwrap_err();
    assert_eq!((error.class, error.sent), (ErrorClass::Unreachable, false), "{error}");
    // The other side takes the request and hangs up.
    let error = Server::with(vec![Step::Reset]).await.error().await;
    assert_eq!((error.class, error.sent), (ErrorClass::Unreachable, true), "{error}");
}

#[tokio::test]
async fn the_key_is_in_no_error() {
    let echo = format!(r#"{{"error":{{"message":"bad key {KEY}","code":"invalid_api_key"}}}}"#);
    let error = Server::replying("401 Unauthorized", "", &echo).await.error().await;
    assert!(!format!("{error:?}").contains("0123456789"), "{error:?}");
    let event = format!(r#"{{"type":"error","message":"bad key {KEY}"}}"#);
    let error = Server::streaming(&[CREATED, &event], &[]).await.error().await;
    assert!(!format!("{error:?}").contains("0123456789"), "{error:?}");
    let server = Server::replying("200 OK", "", "{}").await;
    assert!(!format!("{:?}", server.model(Dialect::Chat)).contains("0123456789"));
}

#[tokio::test]
async fn an_endless_body_is_refused_at_the_limit() {
    let mut piece = b"data: ".to_vec();
    piece.resize(1 << 20, b'x');
    let error = Server::with(vec![Step::Send(HEAD.as_bytes().to_vec()), Step::Send(piece.repeat(70))]).await.error().await;
    assert_eq!(error.class, ErrorClass::Garbage, "{error}");
}

#[tokio::test]
async fn the_chat_dialect_goes_to_its_own_route() {
    let events = [
        r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]}"#,
        r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"id":"c","choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1}}"#,
        "[DONE]",
    ];
    let server = Server::streaming(&events, &[Step::Hang]).await;
    let answer = server.model(Dialect::Chat).call(&call(), &mut |_| ()).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.usage.unwrap().input_tokens), ("Hi", 2));
    assert!(server.requests.lock().unwrap()[0].starts_with("POST /v1/chat/completions "));
}

#[tokio::test]
async fn probing_lists_models_and_tells_a_bad_key_from_a_missing_route() {
    let list = r#"{"object":"list","data":[{"id":"m-1","object":"model","shutdown_date":"2027-04-01"},{"id":"a/b","max_model_len":4096}]}"#;
    let server = Server::replying("200 OK", "", list).await;
    let probe = server.model(Dialect::Chat).probe().await;
    assert_eq!((probe.reachable, probe.key_accepted, probe.models.len()), (true, Some(true), 2));
    assert_eq!(probe.models[1].window_tokens, Some(4_096));
    assert!(server.requests.lock().unwrap()[0].starts_with("GET /v1/models "));
    let probe = Server::replying("401 Unauthorized", "", "").await.model(Dialect::Chat).probe().await;
    assert_eq!((probe.reachable, probe.key_accepted), (true, Some(false)));
    let probe = Server::replying("404 Not Found", "", "").await.model(Dialect::Chat).probe().await;
    assert_eq!((probe.reachable, probe.key_accepted, probe.lists_models), (true, None, false));
}

#[test]
fn a_useless_endpoint_is_refused_with_the_remedy() {
    for url in ["", "localhost:8080", "ftp://h/v1", "http://", "file:///etc"] {
        let error = Http::new(Endpoint::new("p", Dialect::Chat, url, None)).unwrap_err();
        assert!(matches!(error, BadEndpoint::Url { .. }), "{url}: {error}");
        assert!(error.to_string().contains("https://host/v1"), "{error}");
    }
    let error = Http::new(Endpoint::new("p", Dialect::Chat, "http://h/v1", Some(Secret::new("a\nb-secret")))).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn connections_serve_one_call_after_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(Mutex::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            *count.lock().unwrap() += 1;
            tokio::spawn(async move {
                let mut piece = vec![0; 16 << 10];
                let events = format!("data: {CREATED}\n\ndata: {TEXT}\n\ndata: {DONE}\n\n");
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                let reply = format!("{head}{:x}\r\n{events}\r\n", events.len());
                let mut seen = Vec::new();
                while let Ok(n @ 1..) = socket.read(&mut piece).await {
                    seen.extend_from_slice(&piece[..n]);
                    if seen.ends_with(b"}]}") {
                        seen.clear();
                        socket.write_all(reply.as_bytes()).await.unwrap();
                        // The end of the body comes by itself, as it does behind a proxy.
                        tokio::time::sleep(Duration::from_millis(2)).await;
                        socket.write_all(b"0\r\n\r\n").await.unwrap();
                    }
                }
            });
        }
    });
    let model = Http::new(Endpoint::new("p", Dialect::Responses, format!("http://{address}/v1"), None)).unwrap();
    for _ in 0..8 {
        assert_eq!(model.call(&call(), &mut |_| ()).await.unwrap().text, "Hi ✓");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A connection goes back to the pool by itself, so a call that follows at once may open one more.
    let accepted = *accepted.lock().unwrap();
    assert!(accepted < 8, "{accepted} connections for 8 calls");
}
