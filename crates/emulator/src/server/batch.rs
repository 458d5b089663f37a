//! `/v1/files` and `/v1/batches`: who asks is answered from the shelf, and the lines that are due are worked through first.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Method;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::Shared;
use super::call::{JSON, authorize, line, send};
use crate::batches::{Done, parts};
use crate::play::{Play, PlayBody};
use crate::refusal::Refusal;

/// Larger files are refused, as the real service does.
const LARGEST_FILE: usize = 200 << 20;
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Whether a route is one of these.
pub(super) fn is_ours(route: &str) -> bool {
    ["/files", "/batches"].iter().any(|start| route.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Answers one request.
pub(super) async fn answer(head: &Parts, route: &str, body: Incoming, shared: &Arc<Shared>) -> hyper::Response<PlayBody> {
    let (status, kind, body) = match asked(head, route, body, shared).await {
        Ok((kind, body)) => (200, kind, body),
        Err(refusal) => (refusal.status, JSON, refusal.body().into()),
    };
    send(status, kind, Vec::new(), "req_batch", PlayBody::new(Play::whole(body), None))
}

async fn asked(head: &Parts, route: &str, body: Incoming, shared: &Arc<Shared>) -> Result<(HeaderValue, Bytes), Refusal> {
    authorize(&head.headers, shared)?;
    let unknown = || Refusal::not_found(format!("Invalid URL ({} {route})", head.method)).code("unknown_url");
    if !shared.scenario.batches.there {
        return Err(unknown());
    }
    let segments: Vec<&str> = route.trim_start_matches('/').split('/').collect();
    let said = match (&head.method, segments.as_slice()) {
        (&Method::POST, ["files"]) => upload(head, whole(body).await?, shared).await?,
        (&Method::GET, ["files", id, "content"]) => {
            let file = shared.batches.lock().await.file(id);
            return file.map(|bytes| (BYTES, bytes)).ok_or_else(|| Refusal::not_found(format!("No such File object: {id}")));
        }
        (&Method::POST, ["batches"]) => {
            let body = whole(body).await?;
            let mut batches = shared.batches.lock().await;
            let at = batches.create(&body, now_ms())?;
            let said = batches.told(at);
            drop(batches);
            // It is made, and the caller does not know yet.
            pause(shared.scenario.batches.create_ms).await;
            said
        }
        (&Method::GET, ["batches"]) => list(head.uri.query().unwrap_or_default(), shared).await,
        (&Method::GET, ["batches", id]) => {
            let at = found(id, shared).await?;
            work(at, shared).await;
            shared.batches.lock().await.told(at)
        }
        (&Method::POST, ["batches", id, "cancel"]) => {
            let at = found(id, shared).await?;
            work(at, shared).await;
            let mut batches = shared.batches.lock().await;
            batches.cancel(at, now_ms())?;
            batches.told(at)
        }
        _ => return Err(unknown()),
    };
    Ok((JSON, said.to_string().into()))
}

async fn found(id: &str, shared: &Shared) -> Result<usize, Refusal> {
    shared.batches.lock().await.find(id).ok_or_else(|| Refusal::not_found(format!("No batch found with id '{id}'.")))
}

async fn whole(body: Incoming) -> Result<Bytes, Refusal> {
    let refusal = |_| Refusal { status: 413, ..Refusal::bad_request(format!("The request body is over {LARGEST_FILE} bytes or was cut.")) };
    Ok(Limited::new(body, LARGEST_FILE).collect().await.map_err(refusal)?.to_bytes())
}

async fn upload(head: &Parts, body: Bytes, shared: &Shared) -> Result<Value, Refusal> {
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parts = parts(kind, &body)?;
    let part = |wanted: &str| parts.iter().find(|(name, ..)| name == wanted);
    let missing = |name: &str| Refusal::bad(name, format!("Missing required parameter: '{name}'.")).code("missing_required_parameter");
    let purpose = part("purpose").ok_or_else(|| missing("purpose"))?;
    let (_, name, bytes) = part("file").ok_or_else(|| missing("file"))?;
    let purpose = String::from_utf8_lossy(&purpose.2).into_owned();
    let said = shared.batches.lock().await.keep(name.as_deref().unwrap_or("file"), &purpose, bytes.clone(), now_ms());
    pause(shared.scenario.batches.upload_ms).await;
    said
}

async fn list(query: &str, shared: &Shared) -> Value {
    let field = |wanted: &str| query.split('&').find_map(|pair| pair.strip_prefix(wanted)?.strip_prefix('='));
    let limit = field("limit").and_then(|n| n.parse().ok()).unwrap_or(20).clamp(1, 100);
    let batches = shared.batches.lock().await;
    let (page, more) = batches.page(limit, field("after"));
    let data: Vec<Value> = page.into_iter().map(|at| batches.told(at)).collect();
    let id = |entry: Option<&Value>| entry.map(|entry| entry["id"].clone());
    json!({"object": "list", "first_id": id(data.first()), "last_id": id(data.last()), "has_more": more, "data": data})
}

/// Answers the lines of a batch that are due; whoever looks meanwhile waits.
async fn work(at: usize, shared: &Arc<Shared>) {
    let mut batches = shared.batches.lock().await;
    let mut done = Vec::new();
    for due in batches.due(at, now_ms(), shared.scenario.batches.delay_ms) {
        let (seq, status, body) = line(&due.custom_id, &due.body, shared).await;
        let expired = status != 200 && serde_json::from_slice::<Value>(&body).is_ok_and(|body| body["error"]["code"] == "batch_expired");
        done.push(Done { custom_id: due.custom_id, status, body, request_id: format!("req_{seq:016x}"), expired });
    }
    batches.done(at, done, now_ms());
}

async fn pause(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
