//! Answers as the Responses API writes them: one object, or events in the documented order.

use crate::answer::{Answer, Item, item_tokens};
use crate::fault::{Fault, Faults};
use crate::json;
use crate::play::{Draft, deltas};
use crate::rules::Error;
use crate::scenario::Pace;

/// A part of a response that changes while it is made.
struct Head<'a> {
    id: &'a str,
    created: i64,
    settings: &'a [u8],
    answer: &'a Answer,
}

enum State<'a> {
    InProgress,
    /// Ended by itself or at a limit.
    Ended,
    Failed(&'a Error),
}

/// Message and code of a scripted failure.
fn words(error: &Error) -> (&str, &str) {
    (
        error.code.as_deref().unwrap_or("server_error"),
        error
            .message
            .as_deref()
            .unwrap_or("The server had an error while processing your request."),
    )
}

impl Head<'_> {
    fn write(&self, out: &mut Vec<u8>, state: &State<'_>, output: &[u8], faults: &Faults) {
        json::raw(out, "{\"id\":");
        json::string(out, self.id);
        json::raw(out, ",\"object\":\"response\",\"created_at\":");
        json::value(out, &self.created);
        let (status, completed) = match state {
            State::InProgress => ("in_progress", false),
            State::Ended if self.answer.incomplete.is_some() => ("incomplete", false),
            State::Ended => ("completed", true),
            State::Failed(_) => ("failed", false),
        };
        json::raw(out, ",\"completed_at\":");
        if completed {
            json::value(out, &self.created.max(now()));
        } else {
            json::raw(out, "null");
        }
        json::raw(out, ",\"status\":");
        json::string(out, status);
        json::raw(out, ",\"error\":");
        match state {
            State::Failed(error) => {
                let (code, message) = words(error);
                json::raw(out, "{\"code\":");
                json::string(out, code);
                json::raw(out, ",\"message\":");
                json::string(out, message);
                out.push(b'}');
            }
            State::InProgress | State::Ended => json::raw(out, "null"),
        }
        json::raw(out, ",\"incomplete_details\":");
        match (state, self.answer.incomplete) {
            (State::Ended, Some(reason)) => {
                json::raw(out, "{\"reason\":");
                json::string(out, reason);
                out.push(b'}');
            }
            _ => json::raw(out, "null"),
        }
        json::raw(out, ",\"model\":");
        json::string(out, &self.answer.model);
        json::raw(out, ",\"output\":[");
        out.extend_from_slice(output);
        json::raw(out, "],");
        out.extend_from_slice(self.settings);
        json::raw(out, ",\"service_tier\":");
        match state {
            State::InProgress => json::raw(out, "\"auto\""),
            State::Ended | State::Failed(_) => json::string(out, &self.answer.service_tier),
        }
        json::raw(out, ",\"usage\":");
        match state {
            State::Ended if self.answer.usage_sent => usage(out, self.answer, faults),
            _ => json::raw(out, "null"),
        }
        out.push(b'}');
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn usage(out: &mut Vec<u8>, answer: &Answer, faults: &Faults) {
    let usage = answer.usage;
    json::raw(out, "{\"input_tokens\":");
    json::number(out, usage.input_tokens);
    json::raw(out, ",\"input_tokens_details\":{\"cached_tokens\":");
    json::number(out, usage.cached_tokens);
    json::raw(out, ",\"cache_write_tokens\":");
    json::number(out, usage.cache_write_tokens);
    json::raw(out, "},\"output_tokens\":");
    json::number(out, usage.output_tokens);
    json::raw(out, ",\"output_tokens_details\":{\"reasoning_tokens\":");
    json::number(out, usage.reasoning_tokens);
    json::raw(out, "},\"total_tokens\":");
    json::number(out, usage.input_tokens + usage.output_tokens);
    if faults.has(Fault::ExtraUsage) {
        json::raw(
            out,
            ",\"audio_tokens\":0,\"speculation_details\":{\"accepted_tokens\":1}",
        );
    }
    out.push(b'}');
}

/// An item as it stands when it is done, or when it opens.
fn item(out: &mut Vec<u8>, item: &Item, open: bool) {
    let status = |cut: bool| match (open, cut) {
        (true, _) => "in_progress",
        (false, true) => "incomplete",
        (false, false) => "completed",
    };
    json::raw(out, "{\"id\":");
    json::string(out, item.id());
    match item {
        Item::Reasoning {
            summary, encrypted, ..
        } => {
            json::raw(out, ",\"type\":\"reasoning\",\"summary\":[");
            if !open {
                summary_part(out, summary);
            }
            out.push(b']');
            if let Some(encrypted) = encrypted {
                json::raw(out, ",\"encrypted_content\":");
                json::string(out, if open { "" } else { encrypted });
            }
        }
        Item::Message {
            text, refusal, cut, ..
        } => {
            json::raw(out, ",\"type\":\"message\",\"status\":");
            json::string(out, status(*cut));
            json::raw(out, ",\"role\":\"assistant\",\"content\":[");
            if !open {
                part(out, text, *refusal);
            }
            out.push(b']');
        }
        Item::Call {
            call_id,
            name,
            arguments,
            custom,
            cut,
            ..
        } => {
            json::raw(
                out,
                if *custom {
                    ",\"type\":\"custom_tool_call\""
                } else {
                    ",\"type\":\"function_call\""
                },
            );
            json::raw(out, ",\"status\":");
            json::string(out, status(*cut));
            json::raw(out, ",\"call_id\":");
            json::string(out, call_id);
            json::raw(out, ",\"name\":");
            json::string(out, name);
            json::raw(
                out,
                if *custom {
                    ",\"input\":"
                } else {
                    ",\"arguments\":"
                },
            );
            json::string(out, if open { "" } else { arguments });
        }
        Item::Unknown { .. } => {
            json::raw(out, ",\"type\":\"dream_call\",\"status\":");
            json::string(out, status(false));
            json::raw(out, ",\"vision\":{\"sheep\":3}");
        }
    }
    out.push(b'}');
}

fn summary_part(out: &mut Vec<u8>, text: &str) {
    json::raw(out, "{\"type\":\"summary_text\",\"text\":");
    json::string(out, text);
    out.push(b'}');
}

fn part(out: &mut Vec<u8>, text: &str, refusal: bool) {
    if refusal {
        json::raw(out, "{\"type\":\"refusal\",\"refusal\":");
        json::string(out, text);
        out.push(b'}');
        return;
    }
    json::raw(out, "{\"type\":\"output_text\",\"text\":");
    json::string(out, text);
    json::raw(out, ",\"annotations\":[],\"logprobs\":[]}");
}

fn items(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    for (at, entry) in answer.items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        item(&mut out, entry, false);
    }
    out
}

/// The finished response as one object.
pub(crate) fn whole(
    id: &str,
    created: i64,
    settings: &[u8],
    answer: &Answer,
    faults: &Faults,
) -> Vec<u8> {
    let head = Head {
        id,
        created,
        settings,
        answer,
    };
    let output = items(answer);
    let mut out = Vec::with_capacity(output.len() + settings.len() + 512);
    head.write(&mut out, &State::Ended, &output, faults);
    out
}

/// A failed response as one object.
pub(crate) fn failed(
    id: &str,
    created: i64,
    settings: &[u8],
    answer: &Answer,
    error: &Error,
) -> Vec<u8> {
    let head = Head {
        id,
        created,
        settings,
        answer,
    };
    let mut out = Vec::with_capacity(settings.len() + 512);
    head.write(&mut out, &State::Failed(error), b"", &Faults::default());
    out
}

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
        let end: &[u8] = if self.faults.has(Fault::Crlf) {
            b"\r\n"
        } else {
            b"\n"
        };
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
    fn deltas(
        &mut self,
        kind: &str,
        text: &str,
        place: &dyn Fn(&mut Vec<u8>),
        tail: &str,
    ) -> Result<(), Interrupted> {
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
        if self.faults.error().is_some() {
            Err(Interrupted)
        } else {
            Ok(())
        }
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
                    (
                        "response.refusal.delta",
                        "response.refusal.done",
                        ",\"refusal\":",
                        "",
                    )
                } else {
                    (
                        "response.output_text.delta",
                        "response.output_text.done",
                        ",\"text\":",
                        ",\"logprobs\":[]",
                    )
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
            Item::Call {
                name,
                arguments,
                custom,
                ..
            } => {
                let (delta, done) = if *custom {
                    (
                        "response.custom_tool_call_input.delta",
                        "response.custom_tool_call_input.done",
                    )
                } else {
                    (
                        "response.function_call_arguments.delta",
                        "response.function_call_arguments.done",
                    )
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
pub(crate) fn stream(
    id: &str,
    created: i64,
    settings: &[u8],
    answer: &Answer,
    pace: Pace,
    faults: &Faults,
    error: &Error,
) -> Draft {
    let head = Head {
        id,
        created,
        settings,
        answer,
    };
    let total = answer.items.iter().map(item_tokens).sum();
    let mut events = Events {
        draft: Draft::default(),
        sequence: 0,
        faults,
        pace,
        first: true,
        total,
    };
    let response = |state: State<'_>, output: &[u8], out: &mut Vec<u8>| {
        json::raw(out, ",\"response\":");
        head.write(out, &state, output, faults);
    };
    for kind in ["response.created", "response.in_progress"] {
        events.event(kind, 0, |out| response(State::InProgress, b"", out));
    }
    if faults.has(Fault::UnknownEvent) {
        events.event("response.weather.changed", 0, |out| {
            json::raw(out, ",\"weather\":{\"sky\":\"clear\"},\"delta\":{\"a\":1}")
        });
    }
    let mut run = || {
        answer
            .items
            .iter()
            .enumerate()
            .try_for_each(|(at, entry)| events.item(at, entry))
    };
    let interrupted = run().is_err() || faults.error().is_some();
    events.draft.terminal_here();
    if interrupted {
        let (code, message) = words(error);
        let kind = error.kind.as_deref().unwrap_or("server_error");
        let nested = || {
            let mut out = Vec::with_capacity(128);
            json::value(
                &mut out,
                &serde_json::json!({"type": kind, "code": code, "message": message, "param": error.param}),
            );
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
                let data = [
                    b"{\"type\":\"error\",\"error\":".as_slice(),
                    &nested(),
                    b"}",
                ]
                .concat();
                events.bare(true, &data);
            }
            Some(Fault::ErrorBare) => {
                let data = [b"{\"error\":".as_slice(), &nested(), b"}"].concat();
                events.bare(false, &data);
            }
            _ => events.event("response.failed", 0, |out| {
                response(State::Failed(error), b"", out)
            }),
        }
        return events.draft;
    }
    let output = if faults.has(Fault::EmptyTerminal) {
        Vec::new()
    } else {
        items(answer)
    };
    let kind = if answer.incomplete.is_some() {
        "response.incomplete"
    } else {
        "response.completed"
    };
    let times = if faults.has(Fault::DoubleTerminal) {
        2
    } else {
        1
    };
    for _ in 0..times {
        events.event(kind, 0, |out| response(State::Ended, &output, out));
    }
    if faults.has(Fault::DoneMarker) {
        events.bare(false, b"[DONE]");
    }
    events.draft
}
