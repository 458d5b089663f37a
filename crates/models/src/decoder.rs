//! Bytes of an answer, in any pieces, turned into a reply: a stream of either dialect, a JSON body, an error body.
//!
//! Never takes a part for the whole: without its terminal event, or its closing brace, an answer is cut.

use brigade_kernel::call::ErrorClass;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::Delta;
use crate::chat::fold as chat;
use crate::fault::{self, Fault, Origin};
use crate::loose::{parse, utf8, without_lone_surrogates};
use crate::reply::{Counts, Reply};
use crate::responses::event::{DeltaEvent, Event, is_redundant, peek};
use crate::responses::fold::{self as responses, Heard};
use crate::sse::{EVENT_BYTES, Frame, Sse, TooLong};

/// What the bytes turned out to be.
#[derive(Debug, Default)]
enum Form {
    /// Nothing but white space so far.
    #[default]
    Unknown,
    Stream(Sse),
    /// A JSON body, kept whole: it can only be read at its end.
    Json(Vec<u8>),
    /// A web page or other text; its beginning.
    Other(Vec<u8>),
}

/// Which dialect the stream turned out to speak.
#[derive(Debug, Default)]
enum Fold {
    #[default]
    Unknown,
    Responses(Box<responses::Fold>),
    Chat(Box<chat::Fold>),
}

/// Reads one answer incrementally; every split of its bytes gives the same result.
#[derive(Debug, Default)]
pub struct Decoder {
    form: Form,
    fold: Fold,
    /// A byte-order mark before JSON, which pieces may cut.
    lead: Vec<u8>,
    broken: Option<(ErrorClass, String)>,
    seed: String,
    /// Whether the sender is known to have ended properly (HTTP says so, a file does not).
    pub(crate) ended_properly: bool,
}

/// The longest JSON body taken.
const BODY_BYTES: usize = EVENT_BYTES;
/// How much is kept of a body that is no answer, for its message.
const OTHER_BYTES: usize = 64 << 10;

impl Decoder {
    /// A decoder that finds out by itself what it is given.
    pub fn new() -> Self {
        Self::default()
    }

    /// `seed` goes into call ids that have to be invented, so that they differ between calls.
    pub(crate) fn seeded(seed: String) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.push_to(bytes, &mut |_| ());
    }

    /// Takes the next bytes and hands on what can be shown.
    pub(crate) fn push_to(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Delta<'_>)) -> Heard {
        if self.broken.is_some() {
            return Heard::Nothing;
        }
        if matches!(self.form, Form::Unknown) {
            return self.sniff(bytes, sink);
        }
        match &mut self.form {
            Form::Unknown => Heard::Nothing,
            Form::Json(body) => {
                if body.len() + bytes.len() > BODY_BYTES {
                    self.broken = Some((ErrorClass::Garbage, format!("the body is over {BODY_BYTES} bytes")));
                    return Heard::Nothing;
                }
                body.extend_from_slice(bytes);
                // A body has no keep-alives: whatever comes is part of the answer.
                Heard::Content
            }
            Form::Other(body) => {
                let room = OTHER_BYTES.saturating_sub(body.len()).min(bytes.len());
                body.extend_from_slice(&bytes[..room]);
                Heard::Nothing
            }
            Form::Stream(sse) => {
                let mut heard = Heard::Nothing;
                let fold = &mut self.fold;
                let read = sse.push::<Broken>(bytes, &mut |frame| {
                    let now = fold.take(frame, sink)?;
                    if now != Heard::Nothing && heard != Heard::End {
                        heard = now;
                    }
                    Ok(())
                });
                if let Err(Broken(class, message)) = read {
                    self.broken = Some((class, message));
                }
                heard
            }
        }
    }

    /// Decides on the first byte that is neither white space nor a byte-order mark.
    fn sniff(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Delta<'_>)) -> Heard {
        self.lead.extend_from_slice(bytes);
        const BOM: &[u8] = b"\xEF\xBB\xBF";
        let body = self.lead.strip_prefix(BOM).unwrap_or(&self.lead);
        let Some(first) = body.iter().find(|byte| !byte.is_ascii_whitespace()).copied() else {
            return Heard::Nothing;
        };
        if body.len() == self.lead.len() && self.lead.len() < BOM.len() && BOM.starts_with(&self.lead) {
            return Heard::Nothing;
        }
        self.form = match first {
            b'{' | b'[' => Form::Json(Vec::new()),
            b'<' => Form::Other(Vec::new()),
            _ => Form::Stream(Sse::default()),
        };
        let lead = std::mem::take(&mut self.lead);
        let skip = if matches!(self.form, Form::Stream(_)) || !lead.starts_with(BOM) { 0 } else { BOM.len() };
        self.push_to(&lead[skip..], sink)
    }

    /// Whether the answer is whole already, so that nothing more need be read.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.fold {
            Fold::Responses(fold) => fold.has_ended(),
            Fold::Chat(fold) => fold.has_ended(),
            Fold::Unknown => false,
        }
    }

    /// Whether the provider reported a failure, or the bytes make no sense.
    pub(crate) fn has_failed(&self) -> bool {
        let said = match &self.fold {
            Fold::Responses(fold) => fold.has_failed(),
            Fold::Chat(fold) => fold.has_failed(),
            Fold::Unknown => false,
        };
        said || self.broken.is_some()
    }

    /// Ends the input.
    pub(crate) fn into_reply(mut self, sink: &mut dyn FnMut(Delta<'_>)) -> Result<Reply, Box<Failure>> {
        let refuse = |class, message: &str| Err(Failure::ours(class, message));
        if let (Form::Stream(sse), true) = (&mut self.form, self.ended_properly) {
            // A whole JSON object is proof enough; half of one fails to parse and is no event.
            if let Some(frame) = sse.rest() {
                let _ = self.fold.take(frame, sink);
            }
        }
        if let Some((class, message)) = self.broken {
            return refuse(class, &message);
        }
        match self.form {
            Form::Unknown => refuse(ErrorClass::Garbage, "the body is empty"),
            Form::Json(body) => json(&body, &self.seed, sink),
            Form::Other(body) => {
                let text = String::from_utf8_lossy(&body);
                let title = fault::page_title(&text);
                refuse(ErrorClass::Server, &format!("a web page{title} came instead of an answer; is a proxy or a login page in between?"))
            }
            Form::Stream(_) => {
                let done = match self.fold {
                    Fold::Unknown => Err(None),
                    Fold::Responses(fold) => fold.finish(),
                    Fold::Chat(fold) => fold.finish(&self.seed, sink),
                };
                done.map_err(|fault| match fault {
                    Some(fault) => Failure::said(fault, true),
                    None => Failure::ours(ErrorClass::CutStream, "the stream ended before its terminal event"),
                })
            }
        }
    }

    /// Ends the input and says what it was, for `brigade decode`.
    pub fn finish(self) -> Decoded {
        match self.into_reply(&mut |_| ()) {
            Ok(reply) => Decoded::of(reply),
            Err(failure) => Decoded { error: Some(DecodedError::of(failure.fault, failure.origin)), ..Decoded::default() },
        }
    }
}

/// Bytes that are no answer, and why.
#[derive(Debug)]
pub(crate) struct Failure {
    pub fault: Fault,
    pub origin: Origin,
}

impl Failure {
    fn said(fault: Fault, content: bool) -> Box<Self> {
        Box::new(Self { fault, origin: Origin::Stream { content } })
    }

    fn ours(class: ErrorClass, message: &str) -> Box<Self> {
        let fault = Fault { class: Some(class), ..Fault::said(message) };
        Self::said(fault, true)
    }
}

/// Why a stream cannot be read any further.
struct Broken(ErrorClass, String);

impl From<TooLong> for Broken {
    fn from(limit: TooLong) -> Self {
        Self(ErrorClass::Garbage, limit.to_string())
    }
}

impl Fold {
    fn take(&mut self, frame: Frame<'_>, sink: &mut dyn FnMut(Delta<'_>)) -> Result<Heard, Broken> {
        let trimmed = frame.data.trim_ascii();
        if trimmed == b"[DONE]" {
            return Ok(match self {
                Self::Chat(fold) => fold.done(),
                _ => Heard::Nothing,
            });
        }
        if !trimmed.starts_with(b"{") {
            // Not an event of any API: a ping with data.
            return Ok(Heard::Nothing);
        }
        let text = without_lone_surrogates(utf8(trimmed));
        let garbage = |error: serde_json::Error| Broken(ErrorClass::Garbage, format!("an event of the stream is not JSON: {error}"));
        if let Self::Chat(fold) = self {
            return Ok(fold.take(serde_json::from_str(&text).map_err(garbage)?, &text, sink));
        }
        if let (Self::Responses(fold), Some(kind)) = (&mut *self, peek(&text)) {
            if fold.has_ended() && kind != "response.created" && kind != "response.queued" {
                return Ok(Heard::Nothing);
            }
            if is_redundant(kind) {
                return Ok(Heard::Content);
            }
            if kind == "response.in_progress" && fold.knows_its_head() {
                return Ok(Heard::Nothing);
            }
            if kind.ends_with(".delta") {
                let event: DeltaEvent<'_> = serde_json::from_str(&text).map_err(garbage)?;
                return Ok(fold.take(frame.event, event.of_kind(kind), &text, sink));
            }
        }
        let event: Event<'_> = serde_json::from_str(&text).map_err(garbage)?;
        if event.choices.is_some() {
            *self = Self::Chat(Box::default());
            return self.take(frame, sink);
        }
        if matches!(self, Self::Unknown) {
            *self = Self::Responses(Box::default());
        }
        let Self::Responses(fold) = self else {
            return Ok(Heard::Nothing);
        };
        Ok(fold.take(frame.event, event, &text, sink))
    }
}

/// A JSON body: a response, a chat completion, or an error.
fn json(body: &[u8], seed: &str, sink: &mut dyn FnMut(Delta<'_>)) -> Result<Reply, Box<Failure>> {
    let refuse = |class, message: &str| Err(Failure::ours(class, message));
    let text = without_lone_surrogates(utf8(body));
    let raw: &RawValue = match serde_json::from_str(&text) {
        Ok(raw) => raw,
        Err(error) if error.is_eof() || at_end(&error, &text) => {
            return refuse(ErrorClass::CutStream, "the body ended before its closing brace");
        }
        Err(error) => {
            return refuse(ErrorClass::Garbage, &format!("the body is not JSON: {error}"));
        }
    };
    let label: Label<'_> = parse(raw).unwrap_or_default();
    if label.choices.is_some() {
        let mut fold = chat::Fold::default();
        if let Some(chunk) = parse(raw) {
            fold.take(chunk, &text, sink);
        }
        // The closing brace is the end, whatever the finish reason.
        fold.done();
        return fold.finish(seed, sink).map_err(|fault| Failure::said(fault.unwrap_or_default(), false));
    }
    let is_response = label.output.is_some() || label.status.as_str().is_some() || label.input_tokens.0.is_some();
    if let Some(reply) = is_response.then(|| responses::whole(raw)).flatten() {
        for piece in &reply.pieces {
            responses::show_piece(piece, sink);
        }
        return Ok(reply);
    }
    if let Some(fault) = Fault::of_text(&text) {
        return Err(Failure::said(fault, false));
    }
    refuse(ErrorClass::Garbage, "the body is JSON but no answer: it has neither `output` nor `choices` nor `error`")
}

/// Whether a syntax error lies at the very end: half a number or half a word, cut.
fn at_end(error: &serde_json::Error, text: &str) -> bool {
    let last = text.lines().last().unwrap_or_default();
    error.line() >= text.lines().count() && error.column() >= last.len()
}

#[derive(Debug, Default, serde::Deserialize)]
struct Label<'a> {
    #[serde(borrow, default)]
    choices: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: crate::loose::Text<'a>,
    #[serde(default)]
    input_tokens: crate::loose::Count,
}

/// What `brigade decode` prints; absent values are null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Decoded {
    /// The response's status as sent.
    pub status: Option<String>,
    /// The model named in the response.
    pub model: Option<String>,
    /// All message parts joined without a separator.
    pub text: Option<String>,
    /// The output items in order.
    pub items: Vec<DecodedItem>,
    /// Usage as sent.
    pub usage: Option<Counts>,
    /// Why this is no answer.
    pub error: Option<DecodedError>,
}

/// One output item.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DecodedItem {
    /// The item's kind as sent.
    #[serde(rename = "type")]
    pub kind: String,
    /// Pairs a call with its output.
    pub call_id: Option<String>,
    /// The tool.
    pub name: Option<String>,
    /// JSON as text, or a custom tool's input.
    pub arguments: Option<String>,
}

/// A failure, in the provider's words and in ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DecodedError {
    /// What may be done about it.
    pub class: ErrorClass,
    /// `error.type` as sent.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `error.code` as sent.
    pub code: Option<String>,
    /// `error.param` as sent.
    pub param: Option<String>,
    /// The provider's words.
    pub message: String,
}

impl Decoded {
    fn of(mut reply: Reply) -> Self {
        // For a reader of recordings, an answer that is still queued is a status and no failure.
        let pending = matches!(reply.status.as_deref(), Some("queued" | "in_progress" | "cancelled"));
        let error = if pending { None } else { reply.take_fault() };
        let item = |piece: &crate::reply::Piece| DecodedItem {
            kind: piece.kind.clone(),
            call_id: piece.call_id.clone(),
            name: piece.name.clone(),
            arguments: piece.arguments.clone(),
        };
        Self {
            text: Some(reply.text()),
            items: reply.pieces.iter().map(item).collect(),
            usage: reply.usage,
            error: error.map(|fault| DecodedError::of(fault, Origin::Stream { content: true })),
            status: reply.status,
            model: reply.model,
        }
    }
}

impl DecodedError {
    fn of(fault: Fault, origin: Origin) -> Self {
        let class = fault.class(origin);
        Self { class, kind: fault.kind, code: fault.code, param: fault.param, message: fault.message }
    }
}

/// Decodes a whole answer: the SSE text of a stream, a JSON body, or an error body.
pub fn decode(bytes: &[u8]) -> Decoded {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    decoder.finish()
}
