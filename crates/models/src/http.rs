//! A provider on the network: one request per call, deadlines, limits, typed errors.
//!
//! No retries, no redirects to another place, no compression, no cookies.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use brigade_kernel::call::{Answer, Call, CallError, Deadlines, ErrorClass, Service};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Response, Url};
use tokio::time::Instant;

use crate::decoder::Decoder;
use crate::endpoint::{Dialect, Endpoint, ToolForm};
use crate::fault::{self, Fault, Origin};
use crate::reply::Judge;
use crate::responses::fold::Heard;
use crate::secret::{Redactor, Secret};
use crate::{BoxFuture, Delta, Model, chat, pace, responses};

mod batch;

pub use batch::Batches;

const CONNECT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept for the next call.
const KEEP: Duration = Duration::from_secs(90);
/// Idle connections kept: as many as calls may be in flight at once.
const POOL: usize = 1_024;
/// After an error event or a finish reason: how long the rest (usage, the terminal event) is waited for.
const AFTERMATH: Duration = Duration::from_secs(2);
/// How long the end of a body is waited for behind its terminal event.
const DRAIN: Duration = Duration::from_millis(50);
/// How much of an error body is read.
const ERROR_BYTES: usize = 1 << 20;

/// An endpoint that cannot be used as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// The address is no URL, or not one of HTTP.
    #[error("provider {name}: base_url {url:?} is not an http or https address; write it like https://host/v1")]
    Url {
        /// The provider.
        name: String,
        /// What was given, without any password in it.
        url: String,
    },
    /// A header or the key cannot be sent.
    #[error("provider {name}: {what} holds a character that no HTTP header may hold; remove line breaks and the like")]
    Header {
        /// The provider.
        name: String,
        /// `the key` or the header's name.
        what: String,
    },
}

/// A provider reached over HTTP.
#[derive(Debug)]
pub struct Http {
    pub(crate) endpoint: Endpoint,
    url: Url,
    models_url: Url,
    compact_url: Url,
    files_url: Url,
    batches_url: Url,
    headers: HeaderMap,
    redactor: Redactor,
    /// Made at the first call: loading the system's certificates takes milliseconds nobody may need.
    client: OnceLock<Result<reqwest::Client, String>>,
}

impl Http {
    /// Checks the endpoint; opens nothing yet.
    ///
    /// # Errors
    /// [`BadEndpoint`] when no request could ever be sent.
    pub fn new(endpoint: Endpoint) -> Result<Self, BadEndpoint> {
        let name = endpoint.name.clone();
        let base = endpoint.base_url.trim().trim_end_matches('/');
        let join = |path: &str| -> Result<Url, BadEndpoint> {
            // The address is judged before the path is added, which would pass for a host.
            let usable = Url::parse(base).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            let url = Url::parse(&format!("{base}/{path}")).ok().filter(|_| usable);
            url.ok_or_else(|| BadEndpoint::Url { name: name.clone(), url: without_password(base) })
        };
        let url = join(match endpoint.dialect {
            Dialect::Responses => "responses",
            Dialect::Chat => "chat/completions",
        })?;
        let models_url = join("models")?;
        let compact_url = join("responses/compact")?;
        let (files_url, batches_url) = (join("files")?, join("batches")?);
        let bad = |what: &str| BadEndpoint::Header { name: name.clone(), what: what.to_owned() };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (key, value) in &endpoint.headers {
            let header = HeaderName::try_from(key.as_str()).map_err(|_| bad(key))?;
            headers.insert(header, HeaderValue::try_from(value.as_str()).map_err(|_| bad(key))?);
        }
        if let Some(key) = endpoint.key.as_ref().filter(|key| !key.is_empty()) {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose())).map_err(|_| bad("the key"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let redactor = Redactor::new(&endpoint.key);
        Ok(Self { endpoint, url, models_url, compact_url, files_url, batches_url, headers, redactor, client: OnceLock::new() })
    }

    /// The provider's name in configuration.
    pub fn name(&self) -> &str {
        &self.endpoint.name
    }

    /// Takes further secrets out of this provider's messages, such as other providers' keys.
    pub fn redact_also<'a>(&mut self, secrets: impl IntoIterator<Item = &'a Secret>) {
        for secret in secrets {
            self.redactor.add(secret);
        }
    }

    fn client(&self) -> Result<&reqwest::Client, CallError> {
        let made = self.client.get_or_init(|| client(&self.url).map_err(|error| chain(&error)));
        made.as_ref().map_err(|message| {
            let message = format!("cannot set up TLS for {}: {message}", place(&self.url));
            fault::error(ErrorClass::Unreachable, self.redactor.redact(&message), false)
        })
    }

    /// Sends a GET to `/models`; for probing, never for asking.
    pub(crate) async fn get_models(&self, deadline: Duration) -> Result<(u16, Vec<u8>), CallError> {
        let client = self.client()?;
        let mut request = Request::new(Method::GET, self.models_url.clone());
        request
            .headers_mut()
            .extend(self.headers.iter().filter(|(name, _)| *name != CONTENT_TYPE).map(|(name, value)| (name.clone(), value.clone())));
        let exchange = async {
            let mut response = client.execute(request).await.map_err(|error| self.transport(&error))?;
            let status = response.status().as_u16();
            let body = self.some_body(&mut response, crate::sse::EVENT_BYTES).await;
            if status >= 300 {
                return Err(self.refusal(status, response.headers(), &body));
            }
            Ok((status, body))
        };
        tokio::time::timeout(deadline, exchange).await.unwrap_or_else(|_| {
            let message = format!("{} did not answer within {} s", place(&self.models_url), deadline.as_secs());
            Err(fault::error(ErrorClass::TimedOut, message, true))
        })
    }

    fn body(&self, call: &Call) -> Result<Vec<u8>, CallError> {
        let refuse = |what: &str| Err(fault::error(ErrorClass::BadRequest, format!("not supported yet: {what}"), false));
        if call.service == Service::Batch {
            let message = "a call for a batch is no request of its own";
            return Err(fault::error(ErrorClass::BadRequest, message, false));
        }
        if call.service != Service::Default && !self.endpoint.capabilities.service_tier {
            let message = format!("provider {} takes no service_tier: nothing was sent", self.name());
            let error = fault::error(ErrorClass::UnsupportedField, message, false);
            return Err(CallError { param: Some("service_tier".to_owned()), ..error });
        }
        if self.endpoint.capabilities.tools == ToolForm::Envelope && !call.tools.is_empty() {
            return refuse("tools as a JSON-schema envelope");
        }
        Ok(match self.endpoint.dialect {
            Dialect::Responses => responses::request::body(call, &self.endpoint.capabilities),
            Dialect::Chat => chat::request::body(call, &self.endpoint.capabilities),
        })
    }

    async fn ask(&self, call: &Call, sink: &mut (dyn FnMut(Delta<'_>) + Send)) -> Result<Answer, CallError> {
        let clock = Clock::start(call.deadlines);
        let request = self.post(&self.url, &call.request_id, self.body(call)?)?;
        let sent = clock.bound(self.client()?.execute(request)).await;
        let mut response = sent?.map_err(|error| self.transport(&error))?;
        let provider_request_id = header(response.headers(), "x-request-id").map(|id| id.chars().take(200).collect::<String>());
        let limits = pace::limits(|name| header(response.headers(), name));
        let outcome = self.read(call, &mut response, clock, sink).await;
        match outcome {
            Ok(answer) => Ok(Answer { provider_request_id, limits, ..answer }),
            Err(error) => Err(CallError { provider_request_id, limits: limits.map(Box::new), ..error }),
        }
    }

    /// A request to `url` under our own name for it.
    fn post(&self, url: &Url, request_id: &str, body: Vec<u8>) -> Result<Request, CallError> {
        let mut request = Request::new(Method::POST, url.clone());
        self.headers.clone_into(request.headers_mut());
        let named = HeaderValue::try_from(request_id).ok().filter(|_| request_id.is_ascii() && request_id.len() <= 512);
        let Some(named) = named else {
            let message = format!("request_id {request_id:?} is not ASCII of at most 512 bytes");
            return Err(fault::error(ErrorClass::BadRequest, message, false));
        };
        request.headers_mut().insert(REQUEST_ID, named);
        *request.body_mut() = Some(body.into());
        Ok(request)
    }

    /// Has a conversation condensed: one JSON body there, one back.
    async fn condense(&self, call: &Call) -> Result<Answer, CallError> {
        if !self.endpoint.capabilities.compaction {
            let message = format!("provider {} condenses no conversations: set compaction in its configuration if it does", self.name());
            return Err(fault::error(ErrorClass::BadRequest, message, false));
        }
        let clock = Clock::start(call.deadlines);
        let body = responses::compact::body(call, &self.endpoint.capabilities);
        let request = self.post(&self.compact_url, &call.request_id, body)?;
        let sent = clock.bound(self.client()?.execute(request)).await;
        let mut response = sent?.map_err(|error| self.transport(&error))?;
        let status = response.status().as_u16();
        if !response.status().is_success() {
            let body = clock.bound(self.some_body(&mut response, ERROR_BYTES)).await?;
            return Err(self.refusal(status, response.headers(), &body));
        }
        let body = clock.bound(self.some_body(&mut response, responses::compact::BODY_BYTES)).await?;
        let mut answer = responses::compact::read(&body, call.model.as_str())
            .map_err(|why: String| fault::error(ErrorClass::Garbage, self.redactor.redact(&why), true))?;
        answer.provider_request_id = header(response.headers(), "x-request-id").map(|id| id.chars().take(200).collect());
        answer.limits = pace::limits(|name| header(response.headers(), name));
        Ok(answer)
    }

    async fn read(
        &self,
        call: &Call,
        response: &mut Response,
        mut clock: Clock,
        sink: &mut (dyn FnMut(Delta<'_>) + Send),
    ) -> Result<Answer, CallError> {
        let status = response.status().as_u16();
        if !response.status().is_success() {
            let body = clock.bound(self.some_body(response, ERROR_BYTES)).await?;
            return Err(self.refusal(status, response.headers(), &body));
        }
        let garbage = |message: String| fault::error(ErrorClass::Garbage, message, true);
        if let Some(other) = header(response.headers(), "x-client-request-id").filter(|id| *id != call.request_id) {
            let message = format!("this is the answer to another request ({other:?} instead of {:?})", call.request_id);
            return Err(garbage(self.redactor.redact(&message)));
        }
        if let Some(coding) = header(response.headers(), "content-encoding").filter(|coding| *coding != "identity") {
            return Err(garbage(format!("the answer is compressed ({coding}), which was not asked for")));
        }
        let mut decoder = Decoder::seeded(seed(&call.request_id));
        let mut content = false;
        loop {
            let piece = match clock.bound(response.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => {
                    decoder.ended_properly = true;
                    break;
                }
                // Whatever came after the finish reason or the error event was only a supplement.
                _ if decoder.is_whole() || decoder.has_failed() => break,
                Ok(Err(error)) => {
                    let message = self.redactor.redact(&format!("the connection broke during the answer: {}", chain(&error)));
                    return Err(fault::error(ErrorClass::CutStream, message, true));
                }
                Err(timeout) => return Err(timeout),
            };
            match decoder.push_to(&piece, &mut *sink) {
                Heard::End => {
                    drain(response).await;
                    break;
                }
                Heard::Content => {
                    content = true;
                    clock.heard();
                }
                Heard::Nothing => {}
            }
            if decoder.is_whole() || decoder.has_failed() {
                clock.nearly_done();
            }
        }
        let cap = (!self.endpoint.capabilities.reports_length).then_some(u64::from(call.max_output_tokens));
        let judge = Judge { model: call.model.as_str(), cap };
        let outcome = decoder
            .into_reply(&mut *sink)
            .map_err(|failure| {
                let origin = match failure.origin {
                    Origin::Stream { content: said } => Origin::Stream { content: content && said },
                    other => other,
                };
                Box::new(failure.fault.into_error(origin))
            })
            .and_then(|reply| reply.judge(judge));
        outcome.map_err(|error| {
            let mut error = *error;
            error.status = Some(status);
            self.redacted(error)
        })
    }

    /// The error without any known secret, wherever the provider put it.
    fn redacted(&self, mut error: CallError) -> CallError {
        error.message = self.redactor.redact(&error.message);
        error.code = error.code.map(|code| self.redactor.redact(&code));
        error.param = error.param.map(|param| self.redactor.redact(&param));
        error
    }

    /// The start of a body; what cannot be read is left out, its status says enough.
    async fn some_body(&self, response: &mut Response, limit: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while let Ok(Some(piece)) = response.chunk().await {
            let room = limit - body.len();
            body.extend_from_slice(&piece[..room.min(piece.len())]);
            if body.len() == limit {
                break;
            }
        }
        body
    }

    /// The typed error of a status that is no success.
    fn refusal(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> CallError {
        let mut error = if (300..400).contains(&status) {
            let to = header(headers, "location").map_or_else(|| "nowhere".to_owned(), without_password);
            let message = format!("{} redirects to {to}, which is not followed; set base_url to the real address", place(&self.url));
            let mut error = fault::error(ErrorClass::Server, message, false);
            error.status = Some(status);
            error
        } else {
            Fault::of_body(body, status).into_error(Origin::Http(status))
        };
        let should_retry = header(headers, "x-should-retry").and_then(|text| text.trim().parse().ok());
        fault::heed_should_retry(&mut error, should_retry);
        let stated = pace::header_wait(|name| header(headers, name), SystemTime::now());
        error.retry_after = stated.or(error.retry_after);
        error.message = self.redactor.redact(&error.message);
        error.provider_request_id = header(headers, "x-request-id").map(|id| id.chars().take(200).collect());
        error
    }

    /// The typed error of a request that got no response.
    fn transport(&self, error: &reqwest::Error) -> CallError {
        let sent = !(error.is_connect() || error.is_builder());
        // Of a connection that was not made the last cause says all; what wraps it repeats the address.
        let why = if error.is_connect() { root(error) } else { chain(error) };
        let message = format!("cannot reach {}: {why}", place(&self.url));
        fault::error(ErrorClass::Unreachable, self.redactor.redact(&message), sent)
    }
}

impl Model for Http {
    fn call<'a>(&'a self, call: &'a Call, sink: &'a mut (dyn FnMut(Delta<'_>) + Send)) -> BoxFuture<'a, Result<Answer, CallError>> {
        Box::pin(self.ask(call, sink))
    }

    fn batches(&self) -> Option<Batches<'_>> {
        self.endpoint.capabilities.batch.then_some(Batches(self))
    }

    fn compacts(&self) -> bool {
        self.endpoint.capabilities.compaction
    }

    fn compact<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Answer, CallError>> {
        Box::pin(self.condense(call))
    }
}

/// Reads the few bytes behind the terminal event, so that the connection can serve the next call;
/// a server that does not end there loses it instead.
async fn drain(response: &mut Response) {
    let mut left = 64 << 10;
    let rest = async {
        while let Ok(Some(piece)) = response.chunk().await {
            left -= piece.len().min(left);
            if left == 0 {
                return;
            }
        }
    };
    // Running out of time only costs the connection.
    let _ = tokio::time::timeout(DRAIN, rest).await;
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");

/// The deadlines of one call, on a clock that cannot jump.
#[derive(Debug, Clone, Copy)]
struct Clock {
    deadlines: Deadlines,
    end: Instant,
    next: Instant,
    which: &'static str,
    millis: u64,
}

impl Clock {
    fn start(deadlines: Deadlines) -> Self {
        let now = Instant::now();
        let (first, total) = (Duration::from(deadlines.first_token), Duration::from(deadlines.total));
        Self { deadlines, end: later(now, total), next: later(now, first), which: "first_token", millis: deadlines.first_token.0 }
    }

    /// Content came: the idle deadline starts anew. Keep-alives never get here.
    fn heard(&mut self) {
        self.next = later(Instant::now(), self.deadlines.idle.into());
        self.which = "idle";
        self.millis = self.deadlines.idle.0;
    }

    fn nearly_done(&mut self) {
        self.next = self.next.min(later(Instant::now(), AFTERMATH));
    }

    async fn bound<T>(&self, what: impl Future<Output = T>) -> Result<T, CallError> {
        let (at, which, millis) =
            if self.end < self.next { (self.end, "total", self.deadlines.total.0) } else { (self.next, self.which, self.millis) };
        tokio::time::timeout_at(at, what).await.map_err(|_| {
            let message = format!("the {which} deadline of {} s passed without {}", millis as f64 / 1e3, missing(which));
            fault::error(ErrorClass::TimedOut, message, true)
        })
    }
}

fn missing(which: &str) -> &'static str {
    match which {
        "first_token" => "a first piece of the answer",
        "idle" => "another piece of the answer",
        _ => "the end of the answer",
    }
}

/// An instant that far away, or as far as the clock goes.
fn later(now: Instant, span: Duration) -> Instant {
    // A year is for ever; more may overflow the clock.
    now + span.min(Duration::from_secs(365 * 86_400))
}

fn client(url: &Url) -> reqwest::Result<reqwest::Client> {
    // A second call finds the first provider installed; which one does not matter then.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let home = url.origin();
    let policy = reqwest::redirect::Policy::custom(move |attempt| {
        let same = attempt.url().origin() == home && attempt.previous().len() < 3;
        if same { attempt.follow() } else { attempt.stop() }
    });
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .http1_only()
        .pool_max_idle_per_host(POOL)
        .pool_idle_timeout(KEEP)
        .tcp_nodelay(true)
        .referer(false)
        .redirect(policy)
        .user_agent(concat!("brigade/", env!("CARGO_PKG_VERSION")));
    // A proxy cannot reach this machine's own address.
    let local = url.host_str().is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]");
    let builder = if local { builder.no_proxy() } else { builder };
    if url.scheme() == "http" {
        // No certificate will be looked at; the system's need not be loaded.
        builder.tls_certs_only([]).build()
    } else {
        builder.build()
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Scheme, host and port: all that a message needs of a URL.
fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn without_password(url: impl AsRef<str>) -> String {
    let url = url.as_ref();
    match Url::parse(url) {
        Ok(url) if url.has_host() => place(&url),
        _ => url.split('@').next_back().unwrap_or_default().chars().take(200).collect(),
    }
}

/// An error with its causes: reqwest hides the one that matters.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// The cause behind all causes.
fn root(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    root.to_string()
}

/// A short mark of a request for invented call ids; the same request gets the same one.
fn seed(request_id: &str) -> String {
    // FNV-1a: spread is all that is needed.
    let hash = request_id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
