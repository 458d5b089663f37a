//! One HTTP request from its first to its last byte.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::{Shared, batch};
use crate::answer::{Item, answer};
use crate::ask::Dialect;
use crate::fault::{Fault, Faults};
use crate::ledger::{Arrival, Outcome, Spent, fingerprint};
use crate::play::{Bill, Draft, Play, PlayBody};
use crate::refusal::Refusal;
use crate::responses::checks::model_of;
use crate::responses::fields::Fields;
use crate::rules::{Error, Reply};
use crate::scenario::Pace;
use crate::{chat, responses};

/// Larger requests are refused, as the real service does.
const LARGEST_BODY: usize = 64 << 20;
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

/// Sent with every answer unless a script says otherwise: an account with room.
const ACCOUNT: [(HeaderName, HeaderValue); 8] = [
    (HeaderName::from_static("x-ratelimit-limit-requests"), HeaderValue::from_static("1000000000")),
    (HeaderName::from_static("x-ratelimit-remaining-requests"), HeaderValue::from_static("999999999")),
    (HeaderName::from_static("x-ratelimit-reset-requests"), HeaderValue::from_static("6m0s")),
    (HeaderName::from_static("x-ratelimit-limit-tokens"), HeaderValue::from_static("1000000000000")),
    (HeaderName::from_static("x-ratelimit-remaining-tokens"), HeaderValue::from_static("999999990000")),
    (HeaderName::from_static("x-ratelimit-reset-tokens"), HeaderValue::from_static("12ms")),
    (HeaderName::from_static("openai-version"), HeaderValue::from_static("2020-10-01")),
    (HeaderName::from_static("openai-processing-ms"), HeaderValue::from_static("1")),
];

/// What a call wants.
#[derive(Clone, Copy)]
enum Asked {
    Answer(Dialect),
    /// A line of a batch.
    Line,
    Compaction,
}

impl Asked {
    fn path(self) -> &'static str {
        match self {
            Self::Answer(dialect) => dialect.path(),
            Self::Line => Dialect::Responses.path(),
            Self::Compaction => responses::compact::PATH,
        }
    }
}

/// What is sent, and what it costs.
struct Sent {
    status: u16,
    content_type: HeaderValue,
    headers: Vec<(HeaderName, HeaderValue)>,
    play: Play,
    delay: Duration,
    planned: Outcome,
    usage: Option<Spent>,
    usage_sent: bool,
    images: u64,
    service: Option<String>,
    rule: Option<usize>,
    counted: Vec<usize>,
    model: String,
    stream: bool,
    note: Option<String>,
}

impl Sent {
    fn refusal(refusal: &Refusal) -> Self {
        Self {
            status: refusal.status,
            content_type: JSON,
            headers: Vec::new(),
            play: Play::whole(refusal.body().into()),
            delay: Duration::ZERO,
            planned: Outcome::Error,
            usage: None,
            usage_sent: false,
            images: 0,
            service: None,
            rule: None,
            counted: Vec::new(),
            model: String::new(),
            stream: false,
            note: None,
        }
    }
}

pub(super) fn send(
    status: u16,
    content_type: HeaderValue,
    more: Vec<(HeaderName, HeaderValue)>,
    id: &str,
    body: PlayBody,
) -> Response<PlayBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.reserve(16);
    headers.insert(header::CONTENT_TYPE, content_type);
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    for (name, value) in ACCOUNT {
        headers.insert(name, value);
    }
    for (name, value) in more {
        headers.insert(name, value);
    }
    response
}

/// Answers one request.
pub(super) async fn answer_request(request: Request<Incoming>, shared: &Arc<Shared>) -> Response<PlayBody> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let route = path.strip_prefix("/v1").unwrap_or(path);
    if route == "/_ledger" && head.method == Method::GET {
        let mut out = Vec::new();
        crate::json::value(&mut out, &shared.ledger.snapshot());
        return send(200, JSON, Vec::new(), "req_ledger", PlayBody::new(Play::whole(out.into()), None));
    }
    if batch::is_ours(route) {
        return batch::answer(&head, route, body, shared).await;
    }
    let asked = match (&head.method, route) {
        (&Method::POST, "/responses") => Asked::Answer(Dialect::Responses),
        (&Method::POST, "/chat/completions") => Asked::Answer(Dialect::Chat),
        (&Method::POST, "/responses/compact") if shared.scenario.server.compaction => Asked::Compaction,
        (method, route) => return side_route(method, route, &head.headers, shared),
    };
    let seq = shared.ledger.next_seq();
    let (body, sent) = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            if let Some(kept) = &shared.bodies {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push((seq, body.clone()));
            }
            let sent = decide(asked, &head.headers, &body, seq, shared);
            (body, sent)
        }
        Err(_) => {
            let refusal = Refusal::bad_request(format!("The request body is over {LARGEST_BODY} bytes or was cut."));
            (Bytes::new(), Sent::refusal(&Refusal { status: 413, ..refusal }))
        }
    };
    let client_id = head.headers.get("x-client-request-id").and_then(|id| id.to_str().ok()).map(|id| id.get(..512).unwrap_or(id));
    let ack = shared.ledger.arrive(Arrival {
        seq,
        path: asked.path(),
        model: sent.model.get(..200).unwrap_or(&sent.model),
        request_id: client_id,
        fingerprint: fingerprint(&body) ^ fingerprint(asked.path().as_bytes()),
        rule: sent.rule,
        counted: &sent.counted,
        status: sent.status,
        stream: sent.stream,
        usage_sent: sent.usage_sent,
        images: sent.images,
        service: sent.service.map(Into::into),
        note: sent.note.map(Into::into),
    });
    drop(body);
    // from here on a caller who leaves is noticed: dropping the bill records it
    let mut bill = Bill::new(Arc::clone(&shared.ledger), seq, sent.planned, sent.usage);
    let request_id = format!("req_{seq:016x}");
    if !ack.wait().await {
        let refusal = Refusal::scenario("The ledger could not be written: see the disk of the emulator.");
        let body = PlayBody::new(Play::whole(refusal.body().into()), Some(bill));
        return send(500, JSON, Vec::new(), &request_id, body);
    }
    if sent.status != 429 {
        bill.slot = shared.scenario.limits.slot().await;
    }
    if !sent.delay.is_zero() {
        tokio::time::sleep(sent.delay).await;
    }
    send(sent.status, sent.content_type, sent.headers, &request_id, PlayBody::new(sent.play, Some(bill)))
}

pub(super) fn authorize(headers: &HeaderMap, shared: &Shared) -> Result<(), Refusal> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim).filter(|key| !key.is_empty());
    match (key, &shared.scenario.server.api_key) {
        (None, _) => Err(Refusal::unauthorized(
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth.",
        )),
        (Some(key), Some(wanted)) if key != wanted => Err(Refusal::unauthorized("Incorrect API key provided.")),
        _ => Ok(()),
    }
}

/// Models and stored responses.
fn side_route(method: &Method, route: &str, headers: &HeaderMap, shared: &Shared) -> Response<PlayBody> {
    let reply = authorize(headers, shared).and_then(|()| side_answer(method, route, shared));
    let (status, body) = match reply {
        Ok(body) => (200, body),
        Err(refusal) => (refusal.status, refusal.body().into()),
    };
    send(status, JSON, Vec::new(), "req_side", PlayBody::new(Play::whole(body), None))
}

fn side_answer(method: &Method, route: &str, shared: &Shared) -> Result<Bytes, Refusal> {
    let model = |name: &str| serde_json::json!({"id": name, "object": "model", "created": 1_772_000_000, "owned_by": "emulator"});
    let unknown = || Refusal::not_found(format!("Invalid URL ({method} {route})")).code("unknown_url");
    if route == "/models" && method == Method::GET {
        let list: Vec<_> = shared.scenario.catalog.names().map(model).collect();
        return Ok(serde_json::json!({"object": "list", "data": list}).to_string().into());
    }
    if let Some(name) = route.strip_prefix("/models/")
        && method == Method::GET
    {
        let name = name.replace("%2F", "/").replace("%2f", "/");
        return match shared.scenario.catalog.get(&name) {
            Some(_) => Ok(model(&name).to_string().into()),
            None => Err(Refusal::not_found(format!("The model '{name}' does not exist")).param("model").code("model_not_found")),
        };
    }
    let Some(id) = route.strip_prefix("/responses/").filter(|id| !id.contains('/')) else {
        return Err(unknown());
    };
    let missing = || Refusal::not_found(format!("Response with id '{id}' not found."));
    match *method {
        Method::GET => shared.store.get(id).map(|stored| stored.body.clone()).ok_or_else(missing),
        Method::DELETE if shared.store.delete(id) => {
            Ok(serde_json::json!({"id": id, "object": "response", "deleted": true}).to_string().into())
        }
        Method::DELETE => Err(missing()),
        _ => Err(unknown()),
    }
}

/// Answers a line of a batch, and writes it into the ledger: its number there, the status and the body.
pub(super) async fn line(custom_id: &str, body: &Bytes, shared: &Shared) -> (u64, u16, Bytes) {
    let seq = shared.ledger.next_seq();
    if let Some(kept) = &shared.bodies {
        kept.lock().unwrap_or_else(PoisonError::into_inner).push((seq, body.clone()));
    }
    let sent = judge(Asked::Line, body, seq, shared);
    let ack = shared.ledger.arrive(Arrival {
        seq,
        path: Asked::Line.path(),
        model: sent.model.get(..200).unwrap_or(&sent.model),
        request_id: Some(custom_id),
        fingerprint: fingerprint(body) ^ fingerprint(Asked::Line.path().as_bytes()),
        rule: sent.rule,
        counted: &sent.counted,
        status: sent.status,
        stream: false,
        usage_sent: sent.usage_sent,
        images: sent.images,
        service: Some("batch".into()),
        note: sent.note.map(Into::into),
    });
    let written = ack.wait().await;
    shared.ledger.end(seq, sent.planned, sent.usage);
    if !written {
        let refusal = Refusal::scenario("The ledger could not be written: see the disk of the emulator.");
        return (seq, refusal.status, refusal.body().into());
    }
    (seq, sent.status, sent.play.into_bytes())
}

/// Reads the request, finds its rule, writes its answer.
fn decide(asked: Asked, headers: &HeaderMap, body: &[u8], seq: u64, shared: &Shared) -> Sent {
    match authorize(headers, shared) {
        Ok(()) => judge(asked, body, seq, shared),
        Err(refusal) => Sent::refusal(&refusal),
    }
}

fn judge(asked: Asked, body: &[u8], seq: u64, shared: &Shared) -> Sent {
    let fields = match Fields::read(body) {
        Ok(fields) => fields,
        Err(refusal) => return Sent::refusal(&refusal),
    };
    let model = model_of(&fields).unwrap_or_default().into_owned();
    let limits = &shared.scenario.limits;
    let mut met = Vec::new();
    if limits.meter() {
        let output = ["max_output_tokens", "max_completion_tokens", "max_tokens"].map(|name| fields.get::<u64>(name).ok().flatten());
        let tokens = body.len().div_ceil(4) as u64 + output.into_iter().flatten().max().unwrap_or(0);
        let answer = limits.meet(&model, tokens);
        if let Some(refusal) = answer.refusal {
            return Sent { model, headers: answer.headers, ..Sent::refusal(&refusal) };
        }
        met = answer.headers;
    }
    let sent = match asked {
        Asked::Answer(dialect) => scripted(dialect, &fields, seq, shared, None),
        Asked::Line if fields.raw("stream").is_some_and(|stream| stream.get() == "true") => {
            Err(Refusal::bad("stream", "Streaming is not supported in the Batch API.").code("unsupported_value"))
        }
        Asked::Line => scripted(Dialect::Responses, &fields, seq, shared, Some("batch")),
        Asked::Compaction => {
            let now = jiff::Timestamp::now().as_second();
            responses::compact::compact(&fields, &shared.scenario, &shared.store, seq, now).map(|(body, usage)| Sent {
                status: 200,
                play: Play::whole(body.into()),
                planned: Outcome::Completed,
                usage: Some(usage),
                usage_sent: true,
                ..Sent::refusal(&Refusal::scenario(""))
            })
        }
    };
    match sent {
        // What a script says goes before what is so.
        Ok(sent) => Sent { model, headers: met.into_iter().chain(sent.headers).collect(), ..sent },
        Err(refusal) => Sent { model, headers: met, ..Sent::refusal(&refusal) },
    }
}

fn scripted(dialect: Dialect, fields: &Fields<'_>, seq: u64, shared: &Shared, service: Option<&'static str>) -> Result<Sent, Refusal> {
    let scenario = &shared.scenario;
    let mut request = match dialect {
        Dialect::Responses => responses::read(fields, scenario, &shared.schemas, &shared.store)?,
        Dialect::Chat => responses::Request { ask: chat::read(fields, scenario, &shared.schemas)?, settings: Vec::new() },
    };
    if let Some(service) = service {
        request.ask.service_tier = service.into();
    }
    let ask = &request.ask;
    let pick = scenario.pick(ask)?;
    let reply = &pick.rule.reply;
    let faults = &pick.rule.faults;
    if dialect == Dialect::Chat
        && let Some(name) = faults.foreign_to_chat()
    {
        return Err(Refusal::scenario(format!("rule {}: stream_faults: {name:?} has no meaning in the Chat dialect", pick.rule.number)));
    }
    let model = scenario.catalog.get(&ask.model);
    let pace = pick.rule.pace.or(model.map_or_else(Pace::default, |model| Pace {
        delay_ms: model.delay_ms,
        first_token_ms: model.first_token_ms,
        tokens_per_s: model.tokens_per_s,
        delta_tokens: None,
    }));
    let pace = pace.or(scenario.rules.pace);
    let delay = Duration::from_millis(pace.delay_ms.unwrap_or(0));
    let sent = Sent {
        rule: Some(pick.rule.number),
        counted: pick.counted.clone(),
        stream: ask.stream,
        images: ask.images,
        delay,
        headers: reply.headers.clone(),
        ..Sent::refusal(&Refusal::scenario(""))
    };
    if let Some(body) = &reply.body {
        let content_type = reply.headers.iter().find(|(name, _)| name == header::CONTENT_TYPE).map_or(JSON, |(_, value)| value.clone());
        let status = reply.status.unwrap_or(200);
        let mut draft = Draft::default();
        draft.bytes.extend_from_slice(body);
        return Ok(Sent { status, content_type, play: draft.play(pace, faults, false), ..sent });
    }
    if faults.error().is_none() && (reply.error.is_some() || !reply.talks) {
        let (status, body) = http_error(reply, &ask.model);
        let mut draft = Draft::default();
        draft.bytes = body;
        return Ok(Sent { status, play: draft.play(pace, faults, false), ..sent });
    }
    let snapshot = model.and_then(|model| model.snapshot.as_deref());
    let mut said = answer(&pick, ask, seq, snapshot, &shared.schemas, scenario.server.enforce_schema)?;
    if faults.has(Fault::UnknownItem) {
        said.items.insert(0, Item::Unknown { id: format!("drm_{seq:012x}") });
    }
    let created = jiff::Timestamp::now().as_second();
    let none = Error::default();
    let error = reply.error.as_ref().unwrap_or(&none);
    let failed = faults.error();
    let id = format!("{}_{seq:024x}", if dialect == Dialect::Chat { "chatcmpl" } else { "resp" });
    let draft = match (dialect, ask.stream) {
        (Dialect::Responses, true) => responses::stream(&id, created, &request.settings, &said, pace, faults, error),
        (Dialect::Chat, true) => chat::stream(&id, created, &said, ask.stream_usage, pace, faults, error),
        (_, false) => {
            let mut draft = Draft::default();
            draft.bytes = match (dialect, failed) {
                (_, Some(Fault::ErrorEvent | Fault::ErrorNested | Fault::ErrorBare)) => http_error(reply, &ask.model).1,
                (Dialect::Responses, Some(_)) => responses::failed(&id, created, &request.settings, &said, error),
                (Dialect::Responses, None) => responses::whole(&id, created, &request.settings, &said, faults),
                (Dialect::Chat, _) => chat::whole(&id, created, &said, faults),
            };
            draft.mark(said.items.iter().map(crate::answer::item_tokens).sum(), false);
            draft
        }
    };
    if ask.store && failed.is_none() {
        let body = responses::whole(&id, created, &request.settings, &said, &Faults::default());
        shared.store.put(responses::stored(&request, id, &said, body.into()));
    }
    let cut = draft.tokens();
    let mut usage = said.usage;
    if failed.is_some() {
        usage.output_tokens = usage.output_tokens.min(usage.reasoning_tokens + cut);
    }
    Ok(Sent {
        status: reply.status.unwrap_or(200),
        content_type: if ask.stream { EVENTS } else { JSON },
        play: draft.play(pace, faults, ask.stream),
        planned: if failed.is_some() { Outcome::Error } else { Outcome::Completed },
        usage: Some(usage),
        usage_sent: said.usage_sent && failed.is_none(),
        note: said.note,
        service: Some(said.service_tier).filter(|service| service != "default"),
        ..sent
    })
}

/// Status and body of a scripted error; what the script leaves out follows from the rest.
fn http_error(reply: &Reply, model: &str) -> (u16, Vec<u8>) {
    let error = reply.error.clone().unwrap_or_default();
    let by_code = match error.code.as_deref() {
        Some("rate_limit_exceeded" | "insufficient_quota" | "slow_down" | "resource_unavailable") => Some(429),
        Some("server_is_overloaded" | "overloaded") => Some(503),
        Some("overloaded_error") => Some(529),
        Some("invalid_api_key") => Some(401),
        Some("model_not_found" | "context_length_exceeded" | "previous_response_not_found" | "unsupported_value" | "invalid_prompt") => {
            Some(400)
        }
        _ => None,
    };
    let status = reply.status.or(by_code).unwrap_or(500);
    let code = error.code.or_else(|| {
        let code = match status {
            429 => "rate_limit_exceeded",
            401 => "invalid_api_key",
            503 => "server_is_overloaded",
            200 | 500.. => "server_error",
            _ => return None,
        };
        Some(code.to_owned())
    });
    let word = code.as_deref().unwrap_or_default();
    let (kind, message) = match (status, word) {
        (_, "insufficient_quota") => {
            ("insufficient_quota", "You exceeded your current quota, please check your plan and billing details.".to_owned())
        }
        (_, "resource_unavailable") => ("resource_unavailable", "Flex capacity is not available now. Please try again later.".to_owned()),
        (_, "slow_down") => ("rate_limit_error", "Traffic has risen too fast. Please slow down.".to_owned()),
        (429, _) => ("requests", format!("Rate limit reached for {model}.")),
        (_, "overloaded_error") => ("overloaded_error", "Overloaded".to_owned()),
        (503, _) => ("service_unavailable_error", "The server is overloaded or not ready yet.".to_owned()),
        (400..=499, _) => {
            ("invalid_request_error", format!("The request was refused ({}).", if word.is_empty() { "by the scenario" } else { word }))
        }
        _ => ("server_error", "The server had an error while processing your request.".to_owned()),
    };
    let refusal = Refusal {
        status,
        message: error.message.unwrap_or(message),
        kind: error.kind.unwrap_or_else(|| kind.to_owned()),
        param: error.param,
        code,
    };
    (status, refusal.body())
}
