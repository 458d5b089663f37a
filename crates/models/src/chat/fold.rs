//! A stream of Chat Completions chunks, or a whole body, folded into one [`Reply`].
//!
//! Trusts presence, not labels: a tool call is one whatever `finish_reason` says. A reply is whole once
//! a finish reason or `[DONE]` came; before that its end is a cut.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::think::Splitter;
use crate::Delta;
use crate::fault::Fault;
use crate::loose::{Content, Count, Text, parse, string_or_json};
use crate::reply::{Counts, Piece, Reply, append};
use crate::responses::event::usage;
use crate::responses::fold::Heard;

#[derive(Debug, Deserialize)]
pub(crate) struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    model: Text<'a>,
    #[serde(borrow, default)]
    service_tier: Text<'a>,
    #[serde(borrow, default)]
    choices: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Count,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(borrow, default)]
    refusal: Text<'a>,
    #[serde(borrow, default)]
    reasoning_content: Text<'a>,
    #[serde(borrow, default)]
    reasoning: Text<'a>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct ToolCall<'a> {
    #[serde(default)]
    index: Count,
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    function: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// One tool call while it grows.
#[derive(Debug, Default)]
struct Growing {
    index: Option<u64>,
    id: Option<String>,
    name: Option<String>,
    arguments: String,
}

#[derive(Debug, Default)]
pub(crate) struct Fold {
    id: Option<String>,
    model: Option<String>,
    service: Option<String>,
    text: Option<String>,
    think: Splitter,
    refusal: Option<String>,
    calls: Vec<Growing>,
    usage: Option<Counts>,
    finish: Option<String>,
    done: bool,
    fault: Option<Fault>,
}

impl Fold {
    /// Whether a finish reason or `[DONE]` came; usage may still follow.
    pub(crate) fn has_ended(&self) -> bool {
        self.done || self.finish.is_some()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.fault.is_some()
    }

    /// Takes `[DONE]`.
    pub(crate) fn done(&mut self) -> Heard {
        self.done = true;
        Heard::End
    }

    /// Takes one chunk or a whole body.
    pub(crate) fn take(&mut self, chunk: Chunk<'_>, data: &str, sink: &mut dyn FnMut(Delta<'_>)) -> Heard {
        if self.done {
            return Heard::Nothing;
        }
        if chunk.error.is_some() {
            self.fault = self.fault.take().or_else(|| Fault::of_text(data));
            return Heard::Nothing;
        }
        let first = |known: &mut Option<String>, text: Text<'_>| {
            if known.is_none() {
                *known = text.filled().map(str::to_owned);
            }
        };
        first(&mut self.id, chunk.id);
        first(&mut self.model, chunk.model);
        first(&mut self.service, chunk.service_tier);
        self.usage = usage(chunk.usage).or(self.usage);
        let mut heard = Heard::Nothing;
        for choice in chunk.choices.and_then(parse::<Vec<Choice<'_>>>).unwrap_or_default() {
            // Only one answer was asked for; a second is nobody's.
            if choice.index.0.unwrap_or(0) != 0 {
                continue;
            }
            if let Some(message) = choice.delta.or(choice.message).and_then(parse::<Message<'_>>)
                && self.message(&message, sink)
            {
                heard = Heard::Content;
            }
            if let Some(reason) = choice.finish_reason.filled() {
                self.finish = Some(reason.to_owned());
                heard = Heard::Content;
            }
        }
        heard
    }

    fn message(&mut self, message: &Message<'_>, sink: &mut dyn FnMut(Delta<'_>)) -> bool {
        let mut heard = false;
        if let Some(more) = message.reasoning_content.filled().or(message.reasoning.filled()) {
            sink(Delta::Reasoning(more));
            heard = true;
        }
        if let Some(more) = message.content.0.as_deref().filter(|more| !more.is_empty()) {
            heard = true;
            if self.think.is_plain() {
                append(&mut self.text, more.into());
                sink(Delta::Text(more));
            } else {
                let found = self.think.push(more);
                self.found(&found.text, &found.reasoning, sink);
            }
        }
        if let Some(more) = message.refusal.filled() {
            append(&mut self.refusal, more.into());
            sink(Delta::Refusal(more));
            heard = true;
        }
        for call in message.tool_calls.and_then(parse::<Vec<ToolCall<'_>>>).unwrap_or_default() {
            self.tool(&call, sink);
            heard = true;
        }
        heard
    }

    fn found(&mut self, text: &str, reasoning: &str, sink: &mut dyn FnMut(Delta<'_>)) {
        if !reasoning.is_empty() {
            sink(Delta::Reasoning(reasoning));
        }
        if !text.is_empty() {
            append(&mut self.text, text.into());
            sink(Delta::Text(text));
        }
    }

    fn tool(&mut self, fragment: &ToolCall<'_>, sink: &mut dyn FnMut(Delta<'_>)) {
        let function: Function<'_> = fragment.function.and_then(parse).unwrap_or_default();
        let (id, name) = (fragment.id.filled(), function.name.filled());
        let at = self.place(fragment.index.0, id, name);
        let call = &mut self.calls[at];
        call.id = call.id.take().or_else(|| id.map(str::to_owned));
        call.name = call.name.take().or_else(|| name.map(str::to_owned));
        if let Some(more) = function.arguments.and_then(string_or_json) {
            call.arguments.push_str(&more);
            sink(Delta::Arguments(&more));
        }
    }

    /// Which call a fragment continues: indexes repeat, ids are missing, names come twice or late.
    fn place(&mut self, index: Option<u64>, id: Option<&str>, name: Option<&str>) -> usize {
        let known = match (index, id) {
            (Some(_), Some(id)) => {
                // The same index with another id is another call, for servers that always send 0.
                self.calls.iter().rposition(|call| call.index == index && call.id.as_deref().is_none_or(|old| old == id))
            }
            (Some(_), None) => self.calls.iter().rposition(|call| call.index == index),
            (None, Some(id)) => self.calls.iter().rposition(|call| call.id.as_deref() == Some(id)),
            (None, None) => self.calls.len().checked_sub(1).filter(|last| {
                let last = &self.calls[*last];
                let whole = serde_json::from_str::<serde::de::IgnoredAny>(&last.arguments).is_ok();
                // A name after whole arguments opens the next call.
                name.is_none() || last.name.is_none() || !whole
            }),
        };
        known.unwrap_or_else(|| {
            self.calls.push(Growing { index, ..Growing::default() });
            self.calls.len() - 1
        })
    }

    /// The reply, or the fault that stands for it; `None` when the stream was cut.
    /// `seed` goes into the call ids that have to be invented.
    pub(crate) fn finish(mut self, seed: &str, sink: &mut dyn FnMut(Delta<'_>)) -> Result<Reply, Option<Fault>> {
        if self.fault.is_some() || !self.has_ended() {
            return Err(self.fault);
        }
        let last = self.think.finish();
        self.found(&last.text, &last.reasoning, sink);
        let (status, reason) = match self.finish.as_deref() {
            Some("length" | "max_tokens") => ("incomplete", Some("max_output_tokens")),
            Some("content_filter") => ("incomplete", Some("content_filter")),
            _ => ("completed", None),
        };
        let mut pieces = Vec::with_capacity(self.calls.len() + 1);
        if self.text.is_some() || self.refusal.is_some() {
            let piece = Piece { kind: "message".into(), text: self.text, refusal: self.refusal, ..Piece::default() };
            pieces.push(piece);
        }
        let mut ids: Vec<String> = Vec::with_capacity(self.calls.len());
        for (place, call) in self.calls.into_iter().enumerate() {
            // Two calls under one id could not be answered apart.
            let id = call.id.filter(|id| !ids.contains(id)).unwrap_or_else(|| format!("call_{seed}_{place}"));
            ids.push(id.clone());
            pieces.push(Piece {
                kind: "function_call".into(),
                call_id: Some(id),
                name: call.name,
                arguments: Some(call.arguments),
                ..Piece::default()
            });
        }
        Ok(Reply {
            id: self.id,
            model: self.model,
            status: Some(status.to_owned()),
            reason: reason.map(str::to_owned),
            service: self.service,
            pieces,
            usage: self.usage,
            fault: None,
        })
    }
}

#[cfg(test)]
mod tests;
