//! A stream of Responses events folded into one [`Reply`].
//!
//! Keyed by `output_index`, then by item id, then by what is open: servers leave out either, and some
//! change ids from event to event. A finished item counts more than the sum of its deltas, and the
//! terminal event's list more than the items, unless it is empty.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::event::{self, Event, Head, Response};
use super::item::{self, Label};
use crate::Delta;
use crate::fault::Fault;
use crate::loose::{Text, parse, string_or_json};
use crate::reply::{Piece, Reply, append};

/// What an event was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing that shows progress: a keep-alive, an announcement, something unknown.
    Nothing,
    /// A part of the answer.
    Content,
    /// The end: what comes now is no part of the answer.
    End,
}

#[derive(Debug, Default)]
pub(crate) struct Fold {
    head: (Option<String>, Option<String>),
    slots: Vec<Slot>,
    /// Where the last delta went: the next one nearly always goes there too.
    last: usize,
    end: Option<Reply>,
    fault: Option<Fault>,
}

/// One output item while it grows.
#[derive(Debug, Default)]
struct Slot {
    index: Option<u64>,
    id: Option<String>,
    kind: Option<String>,
    piece: Piece,
    /// Message text by content part: summed deltas, replaced by `.done`.
    parts: Vec<String>,
    done: Option<Box<RawValue>>,
    /// Whether the sink saw text of this item.
    shown: bool,
}

impl Fold {
    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Whether the opening events have told all they can.
    pub(crate) fn knows_its_head(&self) -> bool {
        self.head.0.is_some() && self.head.1.is_some()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.fault.is_some()
    }

    /// Takes one event; `name` is its `event:` line, for data without a `type`, `data` the whole event.
    pub(crate) fn take(&mut self, name: &str, event: Event<'_>, data: &str, sink: &mut dyn FnMut(Delta<'_>)) -> Heard {
        let mut event = event;
        let kind = std::mem::take(&mut event.kind).0.filter(|kind| !kind.is_empty()).unwrap_or(Cow::Borrowed(name));
        if self.end.is_some() && !self.starts_anew(&kind, &event) {
            return Heard::Nothing;
        }
        if let Some(rest) = kind.strip_prefix("response.") {
            return self.response_event(rest, event, sink);
        }
        // Flat, nested, or a bare `error` object without a type: all mean that the answer failed.
        if kind == "error" || event.error.is_some() {
            self.fault = self.fault.take().or_else(|| Fault::of_text(data));
        }
        Heard::Nothing
    }

    /// A recording may hold several answers one after the other; each new one replaces the last.
    fn starts_anew(&mut self, kind: &str, event: &Event<'_>) -> bool {
        if !matches!(kind, "response.created" | "response.queued") {
            return false;
        }
        let id = event.response.and_then(parse::<Head<'_>>).and_then(|head| head.id.owned());
        let known = self.end.as_ref().is_some_and(|reply| reply.id == id) || self.head.0 == id;
        if id.is_none() || known {
            return false;
        }
        *self = Self::default();
        true
    }

    fn response_event(&mut self, kind: &str, event: Event<'_>, sink: &mut dyn FnMut(Delta<'_>)) -> Heard {
        match kind {
            "output_text.delta" => {
                let Some(more) = event.delta.filled() else {
                    return Heard::Nothing;
                };
                let slot = self.slot(&event, "message");
                slot.part(event.content_index.0).push_str(more);
                slot.shown = true;
                sink(Delta::Text(more));
            }
            "output_text.done" => {
                let Some(text) = event.text.as_str() else {
                    return Heard::Nothing;
                };
                let slot = self.slot(&event, "message");
                let part = slot.part(event.content_index.0);
                let unseen = part.is_empty() && !text.is_empty();
                text.clone_into(part);
                if unseen {
                    slot.shown = true;
                    sink(Delta::Text(text));
                }
            }
            "refusal.delta" => {
                let Some(more) = event.delta.filled() else {
                    return Heard::Nothing;
                };
                append(&mut self.slot(&event, "message").piece.refusal, Cow::Borrowed(more));
                sink(Delta::Refusal(more));
            }
            "refusal.done" => {
                let Some(text) = event.refusal.as_str() else {
                    return Heard::Nothing;
                };
                let unseen = self.slot(&event, "message").piece.refusal.replace(text.to_owned()).is_none();
                if unseen {
                    sink(Delta::Refusal(text));
                }
            }
            "function_call_arguments.delta" | "custom_tool_call_input.delta" => {
                let Some(more) = event.delta.filled() else {
                    return Heard::Nothing;
                };
                append(&mut self.slot(&event, tool_kind(kind)).piece.arguments, Cow::Borrowed(more));
                sink(Delta::Arguments(more));
            }
            "function_call_arguments.done" | "custom_tool_call_input.done" => {
                let whole = event.arguments.and_then(string_or_json).or_else(|| event.input.as_str().map(str::to_owned));
                let name = event.name.filled().map(str::to_owned);
                let slot = self.slot(&event, tool_kind(kind));
                slot.piece.arguments = whole.or(slot.piece.arguments.take());
                slot.piece.name = slot.piece.name.take().or(name);
            }
            "reasoning_summary_text.delta" | "reasoning_text.delta" => {
                let Some(more) = event.delta.filled() else {
                    return Heard::Nothing;
                };
                sink(Delta::Reasoning(more));
            }
            "output_item.added" => {
                let Some(raw) = event.item else {
                    return Heard::Nothing;
                };
                self.announced(&event, raw);
            }
            "output_item.done" => {
                let Some(raw) = event.item else {
                    return Heard::Nothing;
                };
                let slot = self.announced(&event, raw);
                slot.done = Some(raw.to_owned());
                if !slot.shown {
                    slot.shown = true;
                    show(item::piece(raw), sink);
                }
            }
            "created" | "queued" | "in_progress" => {
                if let Some(head) = event.response.and_then(parse::<Head<'_>>) {
                    self.head = (head.id.owned().or(self.head.0.take()), head.model.owned().or(self.head.1.take()));
                }
                return Heard::Nothing;
            }
            "completed" | "incomplete" | "failed" | "cancelled" => {
                self.terminal(kind, event.response, sink);
                return Heard::End;
            }
            // Parts of the answer that are complete in their item, or progress of a hosted tool.
            _ => {
                return if kind.contains('.') { Heard::Content } else { Heard::Nothing };
            }
        }
        Heard::Content
    }

    fn announced(&mut self, event: &Event<'_>, raw: &RawValue) -> &mut Slot {
        let label: Label<'_> = parse(raw).unwrap_or_default();
        let at = self.find(event.output_index.0, label.id.filled().or(event.item_id.filled()), None);
        let slot = &mut self.slots[at];
        let keep = |old: &mut Option<String>, new: Text<'_>| {
            if let Some(new) = new.owned() {
                *old = Some(new);
            }
        };
        keep(&mut slot.id, label.id);
        keep(&mut slot.kind, label.kind);
        keep(&mut slot.piece.call_id, label.call_id);
        keep(&mut slot.piece.name, label.name);
        keep(&mut slot.piece.phase, label.phase);
        self.last = at;
        slot
    }

    fn slot(&mut self, event: &Event<'_>, kind: &str) -> &mut Slot {
        let at = self.find(event.output_index.0, event.item_id.filled(), Some(kind));
        self.last = at;
        &mut self.slots[at]
    }

    /// The slot of an event, made if need be. `kind` is known for deltas, which may come unannounced.
    fn find(&mut self, index: Option<u64>, id: Option<&str>, kind: Option<&str>) -> usize {
        let fits = |slot: &Slot| match (index, id) {
            (Some(_), _) => slot.index == index,
            (None, Some(id)) => slot.id.as_deref() == Some(id),
            (None, None) => kind.is_some() && slot.kind.as_deref() == kind && slot.done.is_none(),
        };
        if self.slots.get(self.last).is_some_and(fits) {
            return self.last;
        }
        if let Some(at) = self.slots.iter().rposition(fits) {
            return at;
        }
        let slot = Slot { index, id: id.map(str::to_owned), kind: kind.map(str::to_owned), ..Slot::default() };
        self.slots.push(slot);
        self.slots.len() - 1
    }

    fn terminal(&mut self, kind: &str, raw: Option<&RawValue>, sink: &mut dyn FnMut(Delta<'_>)) {
        let mut reply = raw.and_then(whole).unwrap_or_default();
        reply.id = reply.id.or(self.head.0.take());
        reply.model = reply.model.or(self.head.1.take());
        // The event's name is the truth of last resort; some servers leave `status` as it was at the start.
        let stale = reply.status.as_deref().is_none_or(|status| matches!(status, "queued" | "in_progress" | ""));
        if stale || kind == "failed" {
            reply.status = Some(kind.to_owned());
        }
        let mut slots = std::mem::take(&mut self.slots);
        if reply.pieces.is_empty() {
            // A stable sort: items without an index stay where they came.
            slots.sort_by_key(|slot| slot.index.unwrap_or(u64::MAX));
            reply.pieces = slots.into_iter().filter_map(Slot::piece).collect();
        } else if !slots.iter().any(|slot| slot.shown) {
            for piece in &reply.pieces {
                show_piece(piece, sink);
            }
        }
        reply.fault = match (self.fault.take(), reply.fault.take()) {
            (Some(early), Some(late)) => Some(late.or(early)),
            (early, late) => early.or(late),
        };
        self.end = Some(reply);
    }

    /// The reply, or the fault that stands for it; `None` when the stream was cut.
    pub(crate) fn finish(self) -> Result<Reply, Option<Fault>> {
        self.end.ok_or(self.fault)
    }
}

fn tool_kind(event: &str) -> &'static str {
    if event.starts_with("custom") { "custom_tool_call" } else { "function_call" }
}

fn show(piece: Option<Piece>, sink: &mut dyn FnMut(Delta<'_>)) {
    if let Some(piece) = piece {
        show_piece(&piece, sink);
    }
}

pub(crate) fn show_piece(piece: &Piece, sink: &mut dyn FnMut(Delta<'_>)) {
    if let Some(text) = piece.text.as_deref().filter(|text| !text.is_empty()) {
        sink(Delta::Text(text));
    }
    if let Some(text) = piece.refusal.as_deref() {
        sink(Delta::Refusal(text));
    }
}

impl Slot {
    fn part(&mut self, index: Option<u64>) -> &mut String {
        // A wild index would make a wild allocation; no answer has that many parts.
        let index = index.map_or(0, |index| index.min(1023) as usize);
        if self.parts.len() <= index {
            self.parts.resize_with(index + 1, String::new);
        }
        &mut self.parts[index]
    }

    fn piece(self) -> Option<Piece> {
        if let Some(piece) = self.done.as_deref().and_then(item::piece) {
            return Some(piece);
        }
        let mut piece = self.piece;
        piece.kind = self.kind?;
        if !self.parts.is_empty() {
            piece.text = Some(self.parts.concat());
        }
        Some(piece)
    }
}

/// A response object as a reply.
pub(crate) fn whole(raw: &RawValue) -> Option<Reply> {
    let body: Response<'_> = parse(raw)?;
    let output = body.output.and_then(parse::<Vec<Option<&RawValue>>>).unwrap_or_default();
    let reason = body.incomplete_details.and_then(parse::<Reason<'_>>).and_then(|details| details.reason.owned());
    let mut usage = event::usage(body.usage);
    if usage.is_none() && body.input_tokens.0.is_some() {
        // The answer of `/responses/input_tokens` is a count and nothing else.
        usage = Some(crate::reply::Counts { input_tokens: body.input_tokens.0, ..Default::default() });
    }
    Some(Reply {
        id: body.id.owned(),
        model: body.model.owned(),
        status: body.status.owned(),
        reason,
        service: body.service_tier.owned(),
        pieces: output.into_iter().flatten().filter_map(item::piece).collect(),
        usage,
        fault: body.error.and_then(Fault::of_json),
    })
}

#[derive(serde::Deserialize)]
struct Reason<'a> {
    #[serde(borrow, default)]
    reason: Text<'a>,
}

#[cfg(test)]
mod tests;
