//! What a provider said, in either dialect, before it is judged: items, usage, how it ended.
//!
//! Keeps the raw JSON only of items that brigade does not read itself.

use std::borrow::Cow;

use brigade_kernel::call::{Answer, CallError, End, ErrorClass, Item, Service, Speaker};
use brigade_kernel::usage::Usage;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::fault::{Fault, Origin};

/// Marks an opaque item with the model that made it; never leaves brigade.
pub(crate) const MADE_BY: &str = "x_brigade_model";

/// Everything a provider said in one answer.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub id: Option<String>,
    pub model: Option<String>,
    /// As sent; `None` while no terminal event came.
    pub status: Option<String>,
    /// Why it is incomplete, as sent.
    pub reason: Option<String>,
    pub service: Option<String>,
    pub pieces: Vec<Piece>,
    pub usage: Option<Counts>,
    pub fault: Option<Fault>,
}

/// Token counts as sent: what was not sent is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// All input, cached or not.
    pub input_tokens: Option<u64>,
    /// Input read from the provider's cache.
    pub cached_tokens: Option<u64>,
    /// Input written to the provider's cache.
    pub cache_write_tokens: Option<u64>,
    /// All output, reasoning included.
    pub output_tokens: Option<u64>,
    /// Output that was reasoning.
    pub reasoning_tokens: Option<u64>,
}

impl Counts {
    /// The kernel's usage; half a usage is no usage, because it would be charged as if it were whole.
    pub(crate) fn usage(self) -> Option<Usage> {
        let (input_tokens, output_tokens) = (self.input_tokens?, self.output_tokens?);
        Some(Usage {
            input_tokens,
            output_tokens,
            cached_tokens: self.cached_tokens.unwrap_or(0).min(input_tokens),
            cache_write_tokens: self.cache_write_tokens.unwrap_or(0),
            reasoning_tokens: self.reasoning_tokens.unwrap_or(0).min(output_tokens),
        })
    }
}

/// One output item.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// `message`, `function_call`, … as sent.
    pub kind: String,
    pub call_id: Option<String>,
    pub name: Option<String>,
    pub arguments: Option<String>,
    pub text: Option<String>,
    pub refusal: Option<String>,
    pub phase: Option<String>,
    /// The wire item, kept where brigade does not read the kind itself.
    pub raw: Option<Box<RawValue>>,
}

impl Piece {
    pub(crate) fn is_message(&self) -> bool {
        self.kind == "message"
    }
}

/// What a reply is turned into an [`Answer`] with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judge<'a> {
    /// The model asked, as `PROVIDER/MODEL`.
    pub model: &'a str,
    /// The output limit asked for, where reaching it means that the answer was cut
    /// (llama.cpp and Ollama say `completed` all the same).
    pub cap: Option<u64>,
}

impl Reply {
    /// All message text without a separator.
    pub(crate) fn text(&self) -> String {
        self.pieces.iter().filter(|piece| piece.is_message()).filter_map(|piece| piece.text.as_deref()).collect()
    }

    /// The fault this reply stands for, if it is one.
    pub(crate) fn take_fault(&mut self) -> Option<Fault> {
        let status = self.status.as_deref().unwrap_or_default();
        match status {
            "failed" => Some(self.fault.take().unwrap_or_else(|| Fault::said("the provider says the response failed"))),
            "cancelled" => {
                let fault = Fault::said("the response was cancelled at the provider");
                Some(Fault { class: Some(ErrorClass::Cancelled), ..fault })
            }
            "queued" | "in_progress" => {
                let fault = Fault::said(format!("the provider answered before it was done (status {status:?})"));
                Some(Fault { class: Some(ErrorClass::Garbage), ..fault })
            }
            _ => self.fault.take(),
        }
    }

    /// The answer, or why it is none.
    pub(crate) fn judge(mut self, with: Judge<'_>) -> Result<Answer, Box<CallError>> {
        let usage = self.usage.and_then(Counts::usage);
        if let Some(fault) = self.take_fault() {
            let mut error = fault.into_error(Origin::Stream { content: !self.pieces.is_empty() || usage.is_some() });
            error.usage = usage;
            return Err(Box::new(error));
        }
        let capped = with.cap.is_some_and(|cap| usage.is_some_and(|usage| usage.output_tokens >= cap));
        let end = match (self.status.as_deref(), self.reason.as_deref()) {
            (Some("incomplete"), Some("content_filter")) => End::ContentFilter,
            // A reason nobody knows still means that the text is cut.
            (Some("incomplete"), _) => End::Length,
            _ if capped => End::Length,
            _ => End::Completed,
        };
        let mut refusals = self.pieces.iter().filter_map(|piece| piece.refusal.as_deref()).peekable();
        let refusal = refusals.peek().is_some().then(|| refusals.collect::<String>());
        Ok(Answer {
            text: self.text(),
            refusal,
            items: self.pieces.into_iter().filter_map(|piece| piece.into_item(with.model)).collect(),
            end,
            usage,
            model: self.model,
            service: self.service.as_deref().and_then(service),
            response_id: self.id,
            provider_request_id: None,
            limits: None,
        })
    }
}

impl Piece {
    fn into_item(self, model: &str) -> Option<Item> {
        match self.kind.as_str() {
            // Commentary between tool calls is narration: it may be dropped with the other model-bound items.
            "message" if self.phase.as_deref() == Some("commentary") => {
                let content = Value::from(self.text?);
                let raw = serde_json::json!({
                    "type": "message", "role": "assistant", "phase": "commentary", "content": content, MADE_BY: model,
                });
                Some(Item::Opaque { raw })
            }
            "message" => {
                let text = self.text.or(self.refusal)?;
                Some(Item::Message { speaker: Speaker::Assistant, text, phase: self.phase, images: Vec::new() })
            }
            "function_call" | "custom_tool_call" => Some(Item::ToolCall {
                call_id: self.call_id.unwrap_or_default(),
                name: self.name.unwrap_or_default(),
                arguments: self.arguments.unwrap_or_default(),
            }),
            _ => {
                let mut raw: Value = serde_json::from_str(self.raw?.get()).ok()?;
                raw.as_object_mut()?.insert(MADE_BY.to_owned(), Value::from(model));
                Some(Item::Opaque { raw })
            }
        }
    }
}

fn service(name: &str) -> Option<Service> {
    match name {
        "default" | "auto" | "standard" => Some(Service::Default),
        "flex" => Some(Service::Flex),
        "priority" | "fast" => Some(Service::Priority),
        "batch" => Some(Service::Batch),
        _ => None,
    }
}

/// Appends to a string that may not exist yet.
pub(crate) fn append(target: &mut Option<String>, more: Cow<'_, str>) {
    match target {
        Some(text) => text.push_str(&more),
        None => *target = Some(more.into_owned()),
    }
}
