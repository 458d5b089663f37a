//! Files and batches over HTTP: one request per method (two to start one), no retries.

use std::time::Duration;

use brigade_kernel::call::{Call, CallError, ErrorClass};
use brigade_kernel::ids::ModelRef;
use reqwest::header::CONTENT_TYPE;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, Request, Response, Url};

use super::{ERROR_BYTES, Http, place};
use crate::batch::{self, Batch, BatchLine};
use crate::fault;
use crate::responses;

/// For a question about a batch.
const DEADLINE: Duration = Duration::from_secs(60);
/// For a file on its way, whatever its size.
const TRANSFER: Duration = Duration::from_secs(30 * 60);
/// A batch's own state, or a page of them.
const STATE_BYTES: usize = 4 << 20;
/// The longest line of a file that is read.
const LINE_BYTES: usize = 16 << 20;
/// The most bytes of one file (responses-api.md §6.5).
const FILE_BYTES: usize = 200_000_000;
/// Pages of a hundred batches that are searched for one of ours.
const PAGES: usize = 20;

/// The Batch API of a provider.
#[derive(Debug, Clone, Copy)]
pub struct Batches<'a>(pub(super) &'a Http);

impl Batches<'_> {
    /// A call as a line of a batch's file.
    pub fn line(&self, call: &Call) -> Vec<u8> {
        batch::line(call, responses::request::body(call, &self.0.endpoint.capabilities))
    }

    /// Uploads lines and makes a batch of them that is called `key`, by us and in its metadata.
    ///
    /// # Errors
    /// With `sent` where it may have been made all the same: look for it by its key.
    pub async fn start(&self, key: &str, lines: Vec<u8>) -> Result<Batch, CallError> {
        let http = self.0;
        if lines.len() > FILE_BYTES {
            let message = format!("a batch of {} bytes; a file has at most {FILE_BYTES}", lines.len());
            return Err(fault::error(ErrorClass::BadRequest, message, false));
        }
        let part = Part::bytes(lines).file_name(format!("{key}.jsonl")).mime_str("application/jsonl");
        let part = part.expect("a plain media type");
        let form = Form::new().text("purpose", "batch").part("file", part);
        let headers = http.headers.iter().filter(|(name, _)| *name != CONTENT_TYPE).map(|(name, value)| (name.clone(), value.clone()));
        let request = http.client()?.post(http.files_url.clone()).headers(headers.collect()).multipart(form).build();
        let request = request.map_err(|error| http.transport(&error))?;
        // A file without a batch is nothing: it costs nothing and is never looked for.
        let unsent = |error| CallError { sent: false, ..error };
        let body = self.text(request, TRANSFER).await.map_err(unsent)?;
        let file = batch::read_file(&body).map_err(|why| unsent(self.garbage(&why)))?;
        let request = http.post(&http.batches_url, key, batch::create(&file, key))?;
        let body = self.text(request, DEADLINE).await?;
        batch::read(&body).map_err(|why| self.garbage(&why))
    }

    /// The batch that was made under this key, if there is one.
    ///
    /// # Errors
    /// When the provider does not say.
    pub async fn find(&self, key: &str) -> Result<Option<Batch>, CallError> {
        let mut after: Option<String> = None;
        for _ in 0..PAGES {
            let mut url = self.0.batches_url.clone();
            url.query_pairs_mut().append_pair("limit", "100").extend_pairs(after.as_ref().map(|id| ("after", id.as_str())));
            let body = self.text(self.get(url), DEADLINE).await?;
            let (batches, more) = batch::read_list(&body).map_err(|why| self.garbage(&why))?;
            after = batches.last().map(|batch| batch.id.clone());
            if let Some(found) = batches.into_iter().find(|batch| batch.key.as_deref() == Some(key)) {
                return Ok(Some(found));
            }
            if !more || after.is_none() {
                break;
            }
        }
        Ok(None)
    }

    /// How a batch stands.
    ///
    /// # Errors
    /// When the provider does not say; status 404 where it does not know the batch.
    pub async fn look(&self, id: &str) -> Result<Batch, CallError> {
        let body = self.text(self.get(under(&self.0.batches_url, &[id])), DEADLINE).await?;
        batch::read(&body).map_err(|why| self.garbage(&why))
    }

    /// Asks the provider to stop a batch. What is answered by then is delivered, and billed.
    ///
    /// # Errors
    /// When the provider does not say that it will.
    pub async fn cancel(&self, id: &str) -> Result<(), CallError> {
        let url = under(&self.0.batches_url, &[id, "cancel"]);
        let request = self.0.post(&url, id, Vec::new())?;
        self.text(request, DEADLINE).await.map(drop)
    }

    /// Hands on the lines of an output or error file, one by one as they arrive.
    ///
    /// # Errors
    /// When the file does not arrive whole; what was handed on is true all the same.
    pub async fn read(&self, file: &str, model: &ModelRef, each: &mut (dyn FnMut(BatchLine) + Send)) -> Result<(), CallError> {
        let request = self.get(under(&self.0.files_url, &[file, "content"]));
        let reading = async {
            let mut response = self.sent(request).await?;
            let mut rest: Vec<u8> = Vec::new();
            while let Some(piece) = response.chunk().await.map_err(|error| self.0.transport(&error))? {
                rest.extend_from_slice(&piece);
                match memchr::memrchr(b'\n', &rest) {
                    Some(end) => {
                        self.lines(&rest[..end], model, each);
                        rest.drain(..=end);
                    }
                    None if rest.len() > LINE_BYTES => {
                        return Err(self.garbage(&format!("a line of file {file} is over {LINE_BYTES} bytes")));
                    }
                    None => {}
                }
            }
            self.lines(&rest, model, each);
            Ok(())
        };
        tokio::time::timeout(TRANSFER, reading).await.unwrap_or_else(|_| Err(self.late(TRANSFER)))
    }

    fn lines(&self, bytes: &[u8], model: &ModelRef, each: &mut (dyn FnMut(BatchLine) + Send)) {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            if let Some(mut line) = batch::read_line(line, model) {
                line.answer = line.answer.map_err(|error| self.0.redacted(error));
                each(line);
            }
        }
    }

    fn get(&self, url: Url) -> Request {
        let mut request = Request::new(Method::GET, url);
        let headers = self.0.headers.iter().filter(|(name, _)| *name != CONTENT_TYPE);
        request.headers_mut().extend(headers.map(|(name, value)| (name.clone(), value.clone())));
        request
    }

    /// A response that is a success.
    async fn sent(&self, request: Request) -> Result<Response, CallError> {
        let mut response = self.0.client()?.execute(request).await.map_err(|error| self.0.transport(&error))?;
        let status = response.status().as_u16();
        if !response.status().is_success() {
            let body = self.0.some_body(&mut response, ERROR_BYTES).await;
            return Err(self.0.refusal(status, response.headers(), &body));
        }
        Ok(response)
    }

    async fn text(&self, request: Request, deadline: Duration) -> Result<String, CallError> {
        let exchange = async {
            let mut response = self.sent(request).await?;
            let mut body = Vec::new();
            while let Some(piece) = response.chunk().await.map_err(|error| self.0.transport(&error))? {
                if body.len() + piece.len() > STATE_BYTES {
                    return Err(self.garbage(&format!("an answer about batches over {STATE_BYTES} bytes")));
                }
                body.extend_from_slice(&piece);
            }
            String::from_utf8(body).map_err(|_| self.garbage("an answer about batches that is not UTF-8"))
        };
        tokio::time::timeout(deadline, exchange).await.unwrap_or_else(|_| Err(self.late(deadline)))
    }

    fn late(&self, deadline: Duration) -> CallError {
        let message = format!("{} did not answer within {} s", place(&self.0.batches_url), deadline.as_secs());
        fault::error(ErrorClass::TimedOut, message, true)
    }

    fn garbage(&self, why: &str) -> CallError {
        fault::error(ErrorClass::Garbage, self.0.redactor.redact(why), true)
    }
}

/// An address below another; the segments were judged where they were read.
fn under(url: &Url, segments: &[&str]) -> Url {
    let mut url = url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.extend(segments);
    }
    url
}
