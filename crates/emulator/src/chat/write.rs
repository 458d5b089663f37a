//! Answers as Chat Completions writes them.

use crate::answer::{Answer, Item, item_tokens};
use crate::fault::{Fault, Faults};
use crate::json;
use crate::play::{Draft, deltas};
use crate::rules::Error;
use crate::scenario::Pace;

fn finish(answer: &Answer) -> &'static str {
    match answer.incomplete {
        Some("content_filter") => "content_filter",
        Some(_) => "length",
        None if answer.items.iter().any(|item| matches!(item, Item::Call { .. })) => "tool_calls",
        None => "stop",
    }
}

fn usage(out: &mut Vec<u8>, answer: &Answer, faults: &Faults) {
    let usage = answer.usage;
    json::raw(out, "{\"prompt_tokens\":");
    json::number(out, usage.input_tokens);
    json::raw(out, ",\"completion_tokens\":");
    json::number(out, usage.output_tokens);
    json::raw(out, ",\"total_tokens\":");
    json::number(out, usage.input_tokens + usage.output_tokens);
    json::raw(out, ",\"prompt_tokens_details\":{\"cached_tokens\":");
    json::number(out, usage.cached_tokens);
    json::raw(out, ",\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":");
    json::number(out, usage.reasoning_tokens);
    json::raw(out, ",\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}");
    if faults.has(Fault::ExtraUsage) {
        json::raw(out, ",\"speculation_details\":{\"accepted_tokens\":1}");
    }
    out.push(b'}');
}

fn opening(out: &mut Vec<u8>, id: &str, object: &str, created: i64, answer: &Answer) {
    json::raw(out, "{\"id\":");
    json::string(out, id);
    json::raw(out, ",\"object\":");
    json::string(out, object);
    json::raw(out, ",\"created\":");
    json::value(out, &created);
    json::raw(out, ",\"model\":");
    json::string(out, &answer.model);
    json::raw(out, ",\"service_tier\":");
    json::string(out, &answer.service_tier);
}

/// The finished completion as one object.
pub(crate) fn whole(id: &str, created: i64, answer: &Answer, faults: &Faults) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    opening(&mut out, id, "chat.completion", created, answer);
    let message = |refused: bool| {
        answer.items.iter().find_map(move |item| match item {
            Item::Message { text, refusal, .. } if *refusal == refused => Some(text.as_str()),
            _ => None,
        })
    };
    json::raw(&mut out, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    json::string_or_null(&mut out, message(false));
    json::raw(&mut out, ",\"refusal\":");
    json::string_or_null(&mut out, message(true));
    let mut calls = 0;
    for item in &answer.items {
        let Item::Call { call_id, name, arguments, .. } = item else {
            continue;
        };
        json::raw(&mut out, if calls == 0 { ",\"tool_calls\":[" } else { "," });
        calls += 1;
        call(&mut out, call_id, name, arguments);
    }
    json::raw(&mut out, if calls > 0 { "]" } else { "" });
    json::raw(&mut out, "},\"logprobs\":null,\"finish_reason\":");
    json::string(&mut out, finish(answer));
    json::raw(&mut out, "}]");
    if answer.usage_sent {
        json::raw(&mut out, ",\"usage\":");
        usage(&mut out, answer, faults);
    }
    out.push(b'}');
    out
}

fn call(out: &mut Vec<u8>, call_id: &str, name: &str, arguments: &str) {
    json::raw(out, "{\"id\":");
    json::string(out, call_id);
    json::raw(out, ",\"type\":\"function\",\"function\":{\"name\":");
    json::string(out, name);
    json::raw(out, ",\"arguments\":");
    json::string(out, arguments);
    json::raw(out, "}}");
}

struct Chunks<'a> {
    draft: Draft,
    id: &'a str,
    created: i64,
    answer: &'a Answer,
    faults: &'a Faults,
    pace: Pace,
    total: u64,
    started: bool,
    stream_usage: bool,
}

impl Chunks<'_> {
    fn line_end(&mut self) {
        let end: &[u8] = if self.faults.has(Fault::Crlf) { b"\r\n" } else { b"\n" };
        self.draft.bytes.extend_from_slice(end);
    }

    fn data(&mut self, data: &[u8], tokens: u64, opening: bool) {
        if self.faults.has(Fault::Keepalive) && self.started {
            self.draft.bytes.extend_from_slice(b": keep-alive");
            self.line_end();
            self.line_end();
        }
        self.started = true;
        let cut = if self.faults.has(Fault::MultiLineData) { data.iter().position(|byte| *byte == b',') } else { None };
        json::raw(&mut self.draft.bytes, "data: ");
        match cut {
            Some(cut) => {
                self.draft.bytes.extend_from_slice(&data[..=cut]);
                self.line_end();
                json::raw(&mut self.draft.bytes, "data: ");
                self.draft.bytes.extend_from_slice(&data[cut + 1..]);
            }
            None => self.draft.bytes.extend_from_slice(data),
        }
        self.line_end();
        self.line_end();
        self.draft.mark(tokens, opening);
    }

    fn chunk(&mut self, tokens: u64, finish: Option<&str>, delta: impl FnOnce(&mut Vec<u8>)) {
        let opening_chunk = !self.started;
        let mut out = Vec::with_capacity(256);
        opening(&mut out, self.id, "chat.completion.chunk", self.created, self.answer);
        json::raw(&mut out, ",\"choices\":[{\"index\":0,\"delta\":{");
        delta(&mut out);
        json::raw(&mut out, "},\"logprobs\":null,\"finish_reason\":");
        json::string_or_null(&mut out, finish);
        json::raw(&mut out, "}]");
        json::raw(&mut out, if self.stream_usage { ",\"usage\":null}" } else { "}" });
        self.data(&out, tokens, opening_chunk);
    }

    /// Sends deltas; `true` = the scripted error comes here.
    fn deltas(&mut self, text: &str, first: &mut bool, fill: &dyn Fn(&mut Vec<u8>, &str)) -> bool {
        let before = self.draft.tokens();
        let mut bytes = 0;
        for delta in deltas(text, self.pace, first) {
            bytes += delta.len() as u64;
            let tokens = before + bytes.div_ceil(4) - self.draft.tokens();
            self.chunk(tokens, None, |out| fill(out, delta));
            if self.draft.tokens() < (self.total / 2).max(1) {
                continue;
            }
            if self.faults.has_stall() {
                self.draft.stall_here();
            }
            if self.faults.error().is_some() {
                return true;
            }
        }
        false
    }

    fn items(&mut self) -> bool {
        let answer = self.answer;
        let mut first = true;
        let mut calls = 0_u64;
        for item in &answer.items {
            match item {
                Item::Message { text, refusal, .. } => {
                    let field = if *refusal { "\"refusal\":" } else { "\"content\":" };
                    let fill = |out: &mut Vec<u8>, delta: &str| {
                        json::raw(out, field);
                        json::string(out, delta);
                    };
                    if self.deltas(text, &mut first, &fill) {
                        return true;
                    }
                }
                Item::Call { call_id, name, arguments, .. } => {
                    let index = calls;
                    calls += 1;
                    self.chunk(crate::ask::tokens(name), None, |out| {
                        json::raw(out, "\"tool_calls\":[{\"index\":");
                        json::number(out, index);
                        json::raw(out, ",\"id\":");
                        json::string(out, call_id);
                        json::raw(out, ",\"type\":\"function\",\"function\":{\"name\":");
                        json::string(out, name);
                        json::raw(out, ",\"arguments\":\"\"}}]");
                    });
                    let fill = |out: &mut Vec<u8>, delta: &str| {
                        json::raw(out, "\"tool_calls\":[{\"index\":");
                        json::number(out, index);
                        json::raw(out, ",\"function\":{\"arguments\":");
                        json::string(out, delta);
                        json::raw(out, "}}]");
                    };
                    if self.deltas(arguments, &mut first, &fill) {
                        return true;
                    }
                }
                Item::Reasoning { .. } | Item::Unknown { .. } => {}
            }
        }
        self.faults.error().is_some()
    }
}

/// The whole stream; what is sent when is decided by its marks.
#[allow(clippy::too_many_arguments, reason = "the parts of one answer, used once")]
pub(crate) fn stream(id: &str, created: i64, answer: &Answer, stream_usage: bool, pace: Pace, faults: &Faults, error: &Error) -> Draft {
    let total = answer.items.iter().map(item_tokens).sum();
    let draft = Draft::default();
    let mut chunks = Chunks { draft, id, created, answer, faults, pace, total, started: false, stream_usage };
    chunks.chunk(0, None, |out| json::raw(out, "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null"));
    let interrupted = chunks.items();
    chunks.draft.terminal_here();
    if interrupted {
        let mut data = Vec::new();
        json::value(
            &mut data,
            &serde_json::json!({"error": {
                "message": error.message.as_deref().unwrap_or("The server had an error while processing your request."),
                "type": error.kind.as_deref().unwrap_or("server_error"),
                "param": error.param,
                "code": error.code.as_deref().unwrap_or("server_error"),
            }}),
        );
        chunks.data(&data, 0, false);
        return chunks.draft;
    }
    chunks.chunk(0, Some(finish(answer)), |_| {});
    if stream_usage && answer.usage_sent {
        let mut out = Vec::with_capacity(256);
        opening(&mut out, id, "chat.completion.chunk", created, answer);
        json::raw(&mut out, ",\"choices\":[],\"usage\":");
        usage(&mut out, answer, faults);
        out.push(b'}');
        chunks.data(&out, 0, false);
    }
    if !faults.has(Fault::DoneMarker) {
        chunks.data(b"[DONE]", 0, false);
    }
    chunks.draft
}
