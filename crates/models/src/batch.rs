//! The Batch API's JSON (responses-api.md §6.5): a line per call, a batch's state, and what its lines brought.
//!
//! Nothing here asks anybody anything; `http/batch.rs` does.

use brigade_kernel::call::{Answer, Call, CallError, ErrorClass, Service};
use brigade_kernel::ids::ModelRef;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::decoder::Decoder;
use crate::fault::{self, Fault, Origin};
use crate::loose::{Count, Text, parse};
use crate::reply::Judge;

/// What the requests of a batch are for.
pub(crate) const ENDPOINT: &str = "/v1/responses";
/// Where our own name of a batch stands among its metadata.
const NAME: &str = "brigade";
/// Longest id of a provider that is taken: it goes into addresses.
const ID_BYTES: usize = 200;

#[derive(Serialize)]
struct Request<'a> {
    custom_id: &'a str,
    method: &'static str,
    url: &'static str,
    body: &'a RawValue,
}

/// A call as a line of the file, its end included; `body` is the request as it would be sent by itself.
pub(crate) fn line(call: &Call, body: Vec<u8>) -> Vec<u8> {
    let body = String::from_utf8(body).expect("serde_json writes UTF-8");
    let body = RawValue::from_string(body).expect("serde_json writes JSON");
    let line = Request { custom_id: &call.request_id, method: "POST", url: ENDPOINT, body: &body };
    let mut line = serde_json::to_vec(&line).expect("strings and JSON always serialise");
    line.push(b'\n');
    line
}

#[derive(Serialize)]
struct Create<'a> {
    input_file_id: &'a str,
    endpoint: &'static str,
    completion_window: &'static str,
    metadata: std::collections::BTreeMap<&'static str, &'a str>,
}

/// The body that makes a batch of a file.
pub(crate) fn create(file: &str, key: &str) -> Vec<u8> {
    let create = Create { input_file_id: file, endpoint: ENDPOINT, completion_window: "24h", metadata: [(NAME, key)].into() };
    serde_json::to_vec(&create).expect("strings always serialise")
}

/// A batch as its provider tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The provider's name for it.
    pub id: String,
    /// Ours.
    pub key: Option<String>,
    /// The provider's word for how it stands.
    pub status: String,
    /// Why it failed, in the provider's words.
    pub why: Option<String>,
    /// Where the lines are that were answered.
    pub output_file: Option<String>,
    /// Where the lines are that failed.
    pub error_file: Option<String>,
}

impl Batch {
    /// Whether nothing more will come of it.
    pub fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "expired" | "cancelled")
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    status: Text<'a>,
    #[serde(borrow, default)]
    output_file_id: Text<'a>,
    #[serde(borrow, default)]
    error_file_id: Text<'a>,
    #[serde(borrow, default)]
    errors: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    brigade: Text<'a>,
}

#[derive(Deserialize)]
struct Errors<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    has_more: bool,
}

/// Reads a batch.
pub(crate) fn read(body: &str) -> Result<Batch, String> {
    let wire: Wire<'_> = serde_json::from_str(body).map_err(|e| format!("a batch that is not JSON: {e}"))?;
    let id = wire.id.owned().filter(|id| is_id(id)).ok_or("a batch without a usable id")?;
    let status = wire.status.owned().ok_or_else(|| format!("batch {id} without a status"))?;
    let file = |file: Text<'_>| file.owned().filter(|id| is_id(id));
    let key = wire.metadata.and_then(parse::<Metadata<'_>>).and_then(|metadata| metadata.brigade.owned());
    let why = wire.errors.and_then(parse::<Errors<'_>>).and_then(|errors| Fault::of_json(errors.data?));
    let why = why.map(|fault| fault.message).filter(|message| !message.is_empty());
    Ok(Batch { id, key, status, why, output_file: file(wire.output_file_id), error_file: file(wire.error_file_id) })
}

/// Reads a page of batches, and whether there is another behind it.
pub(crate) fn read_list(body: &str) -> Result<(Vec<Batch>, bool), String> {
    let list: List<'_> = serde_json::from_str(body).map_err(|e| format!("a list of batches that is not JSON: {e}"))?;
    let entries: Vec<&RawValue> = list.data.and_then(parse).ok_or("a list of batches without data")?;
    // One that cannot be read is none of ours.
    Ok((entries.into_iter().filter_map(|entry| read(entry.get()).ok()).collect(), list.has_more))
}

/// Reads the id of a stored file.
pub(crate) fn read_file(body: &str) -> Result<String, String> {
    let wire: Wire<'_> = serde_json::from_str(body).map_err(|e| format!("a file that is not JSON: {e}"))?;
    wire.id.owned().filter(|id| is_id(id)).ok_or_else(|| "a file without a usable id".to_owned())
}

/// Whether an id may stand in an address.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= ID_BYTES && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// What one call of a batch brought.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchLine {
    /// Our own name for the call.
    pub request_id: String,
    /// Its answer.
    pub answer: Result<Answer, CallError>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow, default)]
    custom_id: Text<'a>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(default)]
    status_code: Count,
    #[serde(borrow, default)]
    request_id: Text<'a>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

/// Reads a line of an output or error file; `None` for one that names no call.
pub(crate) fn read_line(line: &[u8], model: &ModelRef) -> Option<BatchLine> {
    let line = String::from_utf8_lossy(line);
    let output: Output<'_> = serde_json::from_str(&line).ok()?;
    let request_id = output.custom_id.owned()?;
    let response = output.response.and_then(parse::<Response<'_>>);
    let answer = match (response, output.error.filter(|error| error.get() != "null")) {
        (Some(response), None) => answered(response, model),
        (_, Some(error)) => Err(unanswered(error)),
        (None, None) => Err(fault::error(ErrorClass::Garbage, "a line of a batch without a response", true)),
    };
    Some(BatchLine { request_id, answer })
}

fn answered(response: Response<'_>, model: &ModelRef) -> Result<Answer, CallError> {
    let status = response.status_code.0.and_then(|n| u16::try_from(n).ok()).unwrap_or(200);
    let body = response.body.map_or("", |body| body.get());
    let provider_request_id = response.request_id.owned().map(|id| id.chars().take(ID_BYTES).collect::<String>());
    if !(200..300).contains(&status) {
        let error = Fault::of_body(body.as_bytes(), status).into_error(Origin::Http(status));
        return Err(CallError { provider_request_id, ..error });
    }
    let mut decoder = Decoder::new();
    decoder.push(body.as_bytes());
    decoder.ended_properly = true;
    let reply = decoder.into_reply(&mut |_| ()).map_err(|failure| Box::new(failure.fault.into_error(failure.origin)));
    let answer = reply.and_then(|reply| reply.judge(Judge { model: model.as_str(), cap: None }));
    match answer {
        // Whatever the body calls it: what comes out of a batch is billed as a batch.
        Ok(answer) => Ok(Answer { service: Some(Service::Batch), provider_request_id, ..answer }),
        Err(error) => Err(CallError { provider_request_id, ..*error }),
    }
}

/// A call that the batch did not come to: out of time, or cancelled. It is not billed.
fn unanswered(error: &RawValue) -> CallError {
    let fault = Fault::of_json(error).unwrap_or_default();
    let class = match fault.code.as_deref() {
        Some("batch_expired") => ErrorClass::TimedOut,
        _ => ErrorClass::Server,
    };
    let message = if fault.message.is_empty() { "the batch did not come to this call".to_owned() } else { fault.message.clone() };
    CallError { code: fault.code, ..fault::error(class, message, false) }
}

#[cfg(test)]
mod tests;
