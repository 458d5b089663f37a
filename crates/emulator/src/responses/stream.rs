//! The stream of a response: events in the documented order, bent by faults.

use super::write::{Head, State, item, items, part, summary_part, words};
use crate::answer::{Answer, Item, item_tokens};
use crate::fault::{Fault, Faults};
use crate::json;
use crate::play::{Draft, deltas};
use crate::rules::Error;
use crate::scenario::Pace;

/// Writes events, in the line style that the faults ask for.
struct Events<'a> {
    draft: Draft,
    sequence: u64,
    faults: &'a Faults,
    pace: Pace,
    first: bool,
    total: u64,
}

/// The scripted error comes here.
struct Interrupted;

impl Events<'_> {
    fn line_end(&mut self) {
        let end: &[u8] = if self.faults.has(Fault::Crlf) { b"\r\n" } else { b"\n" };
        self.draft.bytes.extend_from_slice(end);
    }

    fn line(&mut self, text: &str) {
        json::raw(&mut self.draft.bytes, text);
        self.line_end();
    }

    fn event(&mut self, kind: &str, tokens: u64, fill: impl FnOnce(&mut Vec<u8>)) {
        let opening = self.sequence < 2;
        if self.faults.has(Fault::Keepalive) && self.sequence > 0 {
            self.line(": keep-alive");
            self.line_end();
            self.line("event: keepalive");
            self.line("data: {\"type\":\"keepalive\"}");
            self.line_end();
        }
        if !self.faults.has(Fault::NoEventLine) {
            json::raw(&mut self.draft.bytes, "event: ");
            self.line(kind);
        }
        json::raw(&mut self.draft.bytes, "data: {\"type\":");
        json::string(&mut self.draft.bytes, kind);
        if self.faults.has(Fault::MultiLineData) {
            // a line end between fields is white space once the lines are joined
            self.line_end();
            json::raw(&mut self.draft.bytes, "data: ");
        }
        if !self.faults.has(Fault::NoSequence) {
            json::raw(&mut self.draft.bytes, ",\"sequence_number\":");
            json::number(&mut self.draft.bytes, self.sequence);
        }
        self.sequence += 1;
        fill(&mut self.draft.bytes);
        json::raw(&mut self.draft.bytes, "}");
        self.line_end();
        self.line_end();
        self.draft.mark(tokens, opening);
    }

    fn bare(&mut self, event_line: bool, data: &[u8]) {
        if event_line {
            self.line("event: error");
        }
        json::raw(&mut self.draft.bytes, "data: ");
        self.draft.bytes.extend_from_slice(data);
        self.line_end();
        self.line_end();
        self.draft.mark(0, false);
    }

    /// Deltas of one text; half-way the scripted trouble sets in.
    fn deltas(&mut self, kind: &str, text: &str, place: &dyn Fn(&mut Vec<u8>), tail: &str) -> Result<(), Interrupted> {
        let mut first = std::mem::replace(&mut self.first, false);
        let before = self.draft.tokens();
        let mut bytes = 0;
        for delta in deltas(text, self.pace, &mut first) {
            bytes += delta.len() as u64;
            let tokens = before + bytes.div_ceil(4) - self.draft.tokens();
            self.event(kind, tokens, |out| {
                place(out);
                json::raw(out, ",\"delta\":");
                json::string(out, delta);
                json::raw(out, tail);
            });
            self.half_way()?;
        }
        self.first = first;
        Ok(())
    }

    fn half_way(&mut self) -> Result<(), Interrupted> {
        if self.draft.tokens() < (self.total / 2).max(1) {
            return Ok(());
        }
        if self.faults.has_stall() {
            self.draft.stall_here();
        }
        if self.faults.error().is_some() { Err(Interrupted) } else { Ok(()) }
    }

    fn item(&mut self, index: usize, entry: &Item) -> Result<(), Interrupted> {
        let place = |out: &mut Vec<u8>| {
            json::raw(out, ",\"item_id\":");
            json::string(out, entry.id());
            json::raw(out, ",\"output_index\":");
            json::number(out, index as u64);
        };
        let added = |open: bool| {
            move |out: &mut Vec<u8>| {
                json::raw(out, ",\"output_index\":");
                json::number(out, index as u64);
                json::raw(out, ",\"item\":");
                item(out, entry, open);
            }
        };
        self.event("response.output_item.added", 0, added(true));
        match entry {
            Item::Message { text, refusal, .. } => {
                let place = |out: &mut Vec<u8>| {
                    place(out);
                    json::raw(out, ",\"content_index\":0");
                };
                let with_part = |text: &str, out: &mut Vec<u8>| {
                    place(out);
                    json::raw(out, ",\"part\":");
                    part(out, text, *refusal);
                };
                self.event("response.content_part.added", 0, |out| with_part("", out));
                let (delta, done, field, tail) = if *refusal {
                    ("response.refusal.delta", "response.refusal.done", ",\"refusal\":", "")
                } else {
                    ("response.output_text.delta", "response.output_text.done", ",\"text\":", ",\"logprobs\":[]")
                };
                self.deltas(delta, text, &place, tail)?;
                self.event(done, 0, |out| {
                    place(out);
                    json::raw(out, field);
                    json::string(out, text);
                    json::raw(out, tail);
                });
                self.event("response.content_part.done", 0, |out| with_part(text, out));
            }
            Item::Call { name, arguments, custom, .. } => {
                let (delta, done) = if *custom {
                    ("response.custom_tool_call_input.delta", "response.custom_tool_call_input.done")
                } else {
                    ("response.function_call_arguments.delta", "response.function_call_arguments.done")
                };
                self.draft.mark(crate::ask::tokens(name), false);
                self.deltas(delta, arguments, &place, "")?;
                self.event(done, 0, |out| {
                    place(out);
                    if *custom {
                        json::raw(out, ",\"input\":");
                    } else {
                        json::raw(out, ",\"name\":");
                        json::string(out, name);
                        json::raw(out, ",\"arguments\":");
                    }
                    json::string(out, arguments);
                });
            }
            Item::Reasoning { summary, .. } => {
                let place = |out: &mut Vec<u8>| {
                    place(out);
                    json::raw(out, ",\"summary_index\":0");
                };
                self.event("response.reasoning_summary_part.added", 0, |out| {
                    place(out);
                    json::raw(out, ",\"part\":");
                    summary_part(out, "");
                });
                self.event("response.reasoning_summary_text.delta", 0, |out| {
                    place(out);
                    json::raw(out, ",\"delta\":");
                    json::string(out, summary);
                });
                self.event("response.reasoning_summary_text.done", 0, |out| {
                    place(out);
                    json::raw(out, ",\"text\":");
                    json::string(out, summary);
                });
                self.event("response.reasoning_summary_part.done", 0, |out| {
                    place(out);
                    json::raw(out, ",\"part\":");
                    summary_part(out, summary);
                });
            }
            Item::Unknown { .. } => self.event("response.dream_call.dreaming", 0, place),
        }
        self.event("response.output_item.done", 0, added(false));
        Ok(())
    }
}

/// The whole stream; what is sent when is decided by its marks.
pub(crate) fn stream(id: &str, created: i64, settings: &[u8], answer: &Answer, pace: Pace, faults: &Faults, error: &Error) -> Draft {
    let head = Head { id, created, settings, answer };
    let total = answer.items.iter().map(item_tokens).sum();
    let mut events = Events { draft: Draft::default(), sequence: 0, faults, pace, first: true, total };
    let response = |state: State<'_>, output: &[u8], out: &mut Vec<u8>| {
        json::raw(out, ",\"response\":");
        head.write(out, &state, output, faults);
    };
    for kind in ["response.created", "response.in_progress"] {
        events.event(kind, 0, |out| response(State::InProgress, b"", out));
    }
    if faults.has(Fault::UnknownEvent) {
        events.event("response.weather.changed", 0, |out| json::raw(out, ",\"weather\":{\"sky\":\"clear\"},\"delta\":{\"a\":1}"));
    }
    let mut run = || answer.items.iter().enumerate().try_for_each(|(at, entry)| events.item(at, entry));
    let interrupted = run().is_err() || faults.error().is_some();
    events.draft.terminal_here();
    if interrupted {
        let (code, message) = words(error);
        let kind = error.kind.as_deref().unwrap_or("server_error");
        let nested = || {
            let mut out = Vec::with_capacity(128);
            json::value(&mut out, &serde_json::json!({"type": kind, "code": code, "message": message, "param": error.param}));
            out
        };
        match faults.error() {
            Some(Fault::ErrorEvent) => events.event("error", 0, |out| {
                json::raw(out, ",\"code\":");
                json::string(out, code);
                json::raw(out, ",\"message\":");
                json::string(out, message);
                json::raw(out, ",\"param\":");
                json::string_or_null(out, error.param.as_deref());
            }),
            Some(Fault::ErrorNested) => {
                let data = [b"{\"type\":\"error\",\"error\":".as_slice(), &nested(), b"}"].concat();
                events.bare(true, &data);
            }
            Some(Fault::ErrorBare) => {
                let data = [b"{\"error\":".as_slice(), &nested(), b"}"].concat();
                events.bare(false, &data);
            }
            _ => events.event("response.failed", 0, |out| response(State::Failed(error), b"", out)),
        }
        return events.draft;
    }
    let output = if faults.has(Fault::EmptyTerminal) { Vec::new() } else { items(answer) };
    let kind = if answer.incomplete.is_some() { "response.incomplete" } else { "response.completed" };
    let times = if faults.has(Fault::DoubleTerminal) { 2 } else { 1 };
    for _ in 0..times {
        events.event(kind, 0, |out| response(State::Ended, &output, out));
    }
    if faults.has(Fault::DoneMarker) {
        events.bare(false, b"[DONE]");
    }
    events.draft
}
