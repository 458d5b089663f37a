//! Files and batches: what was uploaded, what is being worked through, and what became of it.
//!
//! Time is read when somebody looks: a batch is as far as its age says. Nothing here answers a line; the server does.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ledger::fingerprint;
use crate::refusal::Refusal;

/// Most lines of one batch.
const MOST_LINES: usize = 50_000;
/// Most bytes of all files kept.
const MOST_BYTES: usize = 512 << 20;

/// All of one server's.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    files: BTreeMap<String, Bytes>,
    all: Vec<Batch>,
    bytes: usize,
    last: u64,
}

/// One batch.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) id: String,
    input: String,
    metadata: Value,
    created_ms: i64,
    ended_ms: Option<i64>,
    status: &'static str,
    /// Lines not worked through yet, the next one last.
    left: Vec<Line>,
    total: usize,
    faults: Vec<Value>,
    outputs: Vec<(u64, Vec<u8>)>,
    errors: Vec<(u64, Vec<u8>)>,
    expired: bool,
    failed: usize,
    output_file: Option<String>,
    error_file: Option<String>,
}

/// One request of a batch.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) custom_id: String,
    pub(crate) body: Bytes,
}

/// What became of one.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) custom_id: String,
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    pub(crate) request_id: String,
    /// Nobody came to it before the window closed.
    pub(crate) expired: bool,
}

#[derive(Deserialize)]
struct LineJson<'a> {
    custom_id: String,
    method: String,
    url: String,
    #[serde(borrow)]
    body: &'a serde_json::value::RawValue,
}

#[derive(Deserialize)]
struct Create {
    input_file_id: String,
    endpoint: String,
    completion_window: String,
    #[serde(default)]
    metadata: Value,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    model: Option<String>,
}

impl Batches {
    fn name(&mut self, kind: &str) -> String {
        self.last += 1;
        format!("{kind}{:024x}", self.last)
    }

    /// Keeps a file; the answer that says so.
    pub(crate) fn keep(&mut self, name: &str, purpose: &str, bytes: Bytes, now_ms: i64) -> Result<Value, Refusal> {
        if purpose != "batch" {
            return Err(Refusal::bad("purpose", format!("not supported yet by the emulator: files for {purpose:?}")));
        }
        if self.bytes + bytes.len() > MOST_BYTES {
            return Err(Refusal::bad_request(format!("The emulator keeps at most {MOST_BYTES} bytes of files.")));
        }
        let id = self.name("file-");
        let said = json!({
            "id": id, "object": "file", "bytes": bytes.len(), "created_at": now_ms / 1_000, "filename": name, "purpose": purpose,
            "status": "processed",
        });
        self.store(id, bytes);
        Ok(said)
    }

    fn store(&mut self, id: String, bytes: Bytes) {
        self.bytes += bytes.len();
        self.files.insert(id, bytes);
    }

    /// The bytes of a file.
    pub(crate) fn file(&self, id: &str) -> Option<Bytes> {
        self.files.get(id).cloned()
    }

    /// Makes a batch; its number.
    pub(crate) fn create(&mut self, body: &[u8], now_ms: i64) -> Result<usize, Refusal> {
        let create: Create =
            serde_json::from_slice(body).map_err(|e| Refusal::bad_request(format!("We could not parse the JSON body: {e}")))?;
        if create.endpoint != "/v1/responses" {
            let message = format!("not supported yet by the emulator: batches of {:?}", create.endpoint);
            return Err(Refusal::bad("endpoint", message).code("invalid_value"));
        }
        if create.completion_window != "24h" {
            return Err(Refusal::bad("completion_window", "Invalid value: use '24h'.").code("invalid_value"));
        }
        let Some(file) = self.file(&create.input_file_id) else {
            return Err(Refusal::bad("input_file_id", format!("No such File object: {}", create.input_file_id)));
        };
        let (left, faults) = lines(&file);
        let id = self.name("batch_");
        self.all.push(Batch {
            id,
            input: create.input_file_id,
            metadata: create.metadata,
            created_ms: now_ms,
            ended_ms: (!faults.is_empty()).then_some(now_ms),
            status: if faults.is_empty() { "in_progress" } else { "failed" },
            total: left.len(),
            left: if faults.is_empty() { left } else { Vec::new() },
            faults,
            outputs: Vec::new(),
            errors: Vec::new(),
            expired: false,
            failed: 0,
            output_file: None,
            error_file: None,
        });
        Ok(self.all.len() - 1)
    }

    /// The number of a batch.
    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        self.all.iter().position(|batch| batch.id == id)
    }

    /// Numbers of a page of batches, newest first, and whether there are more.
    pub(crate) fn page(&self, limit: usize, after: Option<&str>) -> (Vec<usize>, bool) {
        let from = after.and_then(|id| self.find(id)).unwrap_or(self.all.len());
        let page: Vec<usize> = (0..from).rev().take(limit).collect();
        let more = page.last().is_some_and(|last| *last > 0);
        (page, more)
    }

    /// Lines that are due by now, taken out of a batch that takes `delay_ms` as a whole.
    pub(crate) fn due(&mut self, batch: usize, now_ms: i64, delay_ms: u64) -> Vec<Line> {
        let batch = &mut self.all[batch];
        let age = u64::try_from(now_ms - batch.created_ms).unwrap_or(0);
        let due = if age >= delay_ms { batch.total } else { (batch.total as u64 * age / delay_ms) as usize };
        let done = batch.total - batch.left.len();
        let from = batch.left.len() - due.saturating_sub(done).min(batch.left.len());
        let mut due = batch.left.split_off(from);
        due.reverse();
        due
    }

    /// Takes in what became of lines; a batch whose last it was ends.
    pub(crate) fn done(&mut self, at: usize, lines: Vec<Done>, now_ms: i64) {
        let batch = &mut self.all[at];
        for line in lines {
            let place = fingerprint(line.custom_id.as_bytes());
            let response = || -> Value {
                let body: Value = serde_json::from_slice(&line.body).unwrap_or_else(|_| String::from_utf8_lossy(&line.body).into());
                json!({"status_code": line.status, "request_id": line.request_id, "body": body})
            };
            let id = format!("batch_req_{place:016x}");
            if line.expired {
                batch.expired = true;
                batch.errors.push((place, missed(&id, &line.custom_id, "batch_expired", EXPIRED)));
            } else {
                let said = json!({"id": id, "custom_id": line.custom_id, "response": response(), "error": null});
                let to = if line.status < 300 { &mut batch.outputs } else { &mut batch.errors };
                to.push((place, row(&said)));
            }
        }
        if batch.left.is_empty() && batch.ended_ms.is_none() {
            let status = if batch.expired { "expired" } else { "completed" };
            self.end(at, status, now_ms);
        }
    }

    /// Stops a batch: what is not done by now is never done.
    pub(crate) fn cancel(&mut self, at: usize, now_ms: i64) -> Result<(), Refusal> {
        let batch = &mut self.all[at];
        if batch.ended_ms.is_some() {
            let message = format!("Cannot cancel a batch with status '{}'.", batch.status);
            return Err(Refusal { status: 409, ..Refusal::bad_request(message) });
        }
        for line in std::mem::take(&mut batch.left) {
            let place = fingerprint(line.custom_id.as_bytes());
            let id = format!("batch_req_{place:016x}");
            batch.errors.push((place, missed(&id, &line.custom_id, "batch_cancelled", "The batch was cancelled.")));
        }
        self.end(at, "cancelled", now_ms);
        Ok(())
    }

    fn end(&mut self, at: usize, status: &'static str, now_ms: i64) {
        let batch = &mut self.all[at];
        (batch.status, batch.ended_ms, batch.failed) = (status, Some(now_ms), batch.errors.len());
        let (outputs, errors) = (std::mem::take(&mut batch.outputs), std::mem::take(&mut batch.errors));
        let mut kept = |mut lines: Vec<(u64, Vec<u8>)>| {
            // Not in the order in which they came in.
            lines.sort_unstable_by_key(|(place, _)| *place);
            let bytes: Vec<u8> = lines.into_iter().flat_map(|(_, line)| line).collect();
            (!bytes.is_empty()).then(|| {
                let id = self.name("file-");
                self.store(id.clone(), bytes.into());
                id
            })
        };
        let files = (kept(outputs), kept(errors));
        let batch = &mut self.all[at];
        (batch.output_file, batch.error_file) = files;
    }

    /// A batch as it is told of.
    pub(crate) fn told(&self, at: usize) -> Value {
        let batch = &self.all[at];
        let failed = if batch.ended_ms.is_some() { batch.failed } else { batch.errors.len() };
        let errors = (!batch.faults.is_empty()).then(|| json!({"object": "list", "data": batch.faults}));
        json!({
            "id": batch.id, "object": "batch", "endpoint": "/v1/responses", "errors": errors, "input_file_id": batch.input,
            "completion_window": "24h", "status": batch.status, "output_file_id": batch.output_file, "error_file_id": batch.error_file,
            "created_at": batch.created_ms / 1_000, "expires_at": batch.created_ms / 1_000 + 86_400,
            "completed_at": batch.ended_ms.map(|ms| ms / 1_000),
            "request_counts": {"total": batch.total, "completed": batch.total - batch.left.len() - failed, "failed": failed},
            "metadata": batch.metadata,
        })
    }
}

const EXPIRED: &str = "This request could not be executed before the completion window expired.";

fn row(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn missed(id: &str, custom_id: &str, code: &str, message: &str) -> Vec<u8> {
    row(&json!({"id": id, "custom_id": custom_id, "response": null, "error": {"code": code, "message": message}}))
}

/// The lines of an input file, the first one last; and what is wrong with it.
fn lines(file: &[u8]) -> (Vec<Line>, Vec<Value>) {
    let (mut lines, mut faults) = (Vec::new(), Vec::new());
    let mut seen = std::collections::HashSet::new();
    let mut model: Option<Option<String>> = None;
    for (number, bytes) in file.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty()) {
        let mut fault =
            |code: &str, message: String| faults.push(json!({"code": code, "message": message, "line": number + 1, "param": null}));
        let line: LineJson<'_> = match serde_json::from_slice(bytes) {
            Ok(line) => line,
            Err(error) => {
                fault("invalid_json_line", format!("This line is not parseable: {error}"));
                continue;
            }
        };
        if line.method != "POST" || line.url != "/v1/responses" {
            fault("invalid_request", format!("{} {} is not the endpoint of this batch.", line.method, line.url));
        }
        if !seen.insert(line.custom_id.clone()) {
            fault("duplicate_custom_id", format!("The custom_id '{}' stands in an earlier line.", line.custom_id));
        }
        let own = serde_json::from_str::<Model>(line.body.get()).ok().and_then(|body| body.model);
        if model.get_or_insert_with(|| own.clone()) != &own {
            fault("mismatched_model", "All requests of a batch must name the same model.".to_owned());
        }
        lines.push(Line { custom_id: line.custom_id, body: line.body.get().to_owned().into() });
    }
    if lines.is_empty() && faults.is_empty() {
        faults.push(json!({"code": "empty_file", "message": "The input file has no lines.", "line": null, "param": null}));
    }
    if lines.len() > MOST_LINES {
        faults.push(json!({"code": "too_many_tasks", "message": format!("More than {MOST_LINES} lines."), "line": null, "param": null}));
    }
    lines.reverse();
    (lines, faults)
}

/// The parts of a `multipart/form-data` body: name, file name, bytes.
pub(crate) fn parts(content_type: &str, body: &Bytes) -> Result<Vec<(String, Option<String>, Bytes)>, Refusal> {
    let bad = |why: &str| Refusal::bad_request(format!("The multipart body cannot be read: {why}."));
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let boundary = content_type.split(';').find_map(|part| part.trim().strip_prefix("boundary=")).map(|b| b.trim_matches('"'));
    let Some(boundary) = boundary.filter(|b| kind.eq_ignore_ascii_case("multipart/form-data") && !b.is_empty() && b.len() <= 70) else {
        return Err(bad("it is not multipart/form-data with a boundary"));
    };
    let mark = format!("--{boundary}");
    let mut parts = Vec::new();
    let Some(mut at) = body.strip_prefix(mark.as_bytes()).map(|_| mark.len()) else {
        return Err(bad("it does not begin with its boundary"));
    };
    while !body[at..].starts_with(b"--") {
        let head = memchr::memmem::find(&body[at..], b"\r\n\r\n").ok_or_else(|| bad("a part has no end of its headers"))? + at;
        let start = head + 4;
        let next = format!("\r\n{mark}");
        let end = memchr::memmem::find(&body[start..], next.as_bytes()).ok_or_else(|| bad("a part has no end"))? + start;
        let headers = String::from_utf8_lossy(&body[at..head]).into_owned();
        let disposition = headers.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:")).unwrap_or_default();
        let field = |wanted: &str| {
            let value = disposition.split(';').find_map(|part| part.trim().strip_prefix(wanted)?.strip_prefix('='));
            value.map(|value| value.trim_matches('"').to_owned())
        };
        let name = field("name").ok_or_else(|| bad("a part has no name"))?;
        parts.push((name, field("filename"), body.slice(start..end)));
        at = end + next.len();
        if parts.len() > 16 {
            return Err(bad("it has more than 16 parts"));
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_at_their_boundary_and_nowhere_else() {
        let body = "--xx\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--xx\r\n\
                    Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\nContent-Type: application/jsonl\r\n\r\n{\"a\":\"--xx\"}\n\r\n--xx--\r\n";
        let parts = parts("multipart/form-data; boundary=xx", &Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].0.as_str(), &parts[0].2[..]), ("purpose", &b"batch"[..]));
        assert_eq!((parts[1].1.as_deref(), &parts[1].2[..]), (Some("a.jsonl"), &b"{\"a\":\"--xx\"}\n"[..]));
    }

    #[test]
    fn a_body_that_is_none_is_refused() {
        for (kind, body) in
            [("application/json", "{}"), ("multipart/form-data", "--"), ("multipart/form-data; boundary=x", "--x\r\nno end")]
        {
            assert!(parts(kind, &Bytes::from_static(body.as_bytes())).is_err(), "{kind}");
        }
    }

    #[test]
    fn one_model_a_file_and_each_name_once() {
        let line = |id: &str, model: &str| {
            format!("{{\"custom_id\":\"{id}\",\"method\":\"POST\",\"url\":\"/v1/responses\",\"body\":{{\"model\":\"{model}\"}}}}\n")
        };
        assert!(lines(format!("{}{}", line("a", "m"), line("b", "m")).as_bytes()).1.is_empty());
        for bad in
            [format!("{}{}", line("a", "m"), line("b", "n")), format!("{}{}", line("a", "m"), line("a", "m")), "x".into(), String::new()]
        {
            assert_eq!(lines(bad.as_bytes()).1.len(), 1, "{bad}");
        }
    }
}
