//! A response as one object, and the parts that its stream repeats.

use crate::answer::{Answer, Item};
use crate::fault::{Fault, Faults};
use crate::json;
use crate::rules::Error;

/// A part of a response that changes while it is made.
pub(super) struct Head<'a> {
    pub(super) id: &'a str,
    pub(super) created: i64,
    pub(super) settings: &'a [u8],
    pub(super) answer: &'a Answer,
}

pub(super) enum State<'a> {
    InProgress,
    /// Ended by itself or at a limit.
    Ended,
    Failed(&'a Error),
}

/// Message and code of a scripted failure.
pub(super) fn words(error: &Error) -> (&str, &str) {
    (
        error.code.as_deref().unwrap_or("server_error"),
        error.message.as_deref().unwrap_or("The server had an error while processing your request."),
    )
}

impl Head<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>, state: &State<'_>, output: &[u8], faults: &Faults) {
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
        json::raw(out, ",\"audio_tokens\":0,\"speculation_details\":{\"accepted_tokens\":1}");
    }
    out.push(b'}');
}

/// An item as it stands when it is done, or when it opens.
pub(super) fn item(out: &mut Vec<u8>, item: &Item, open: bool) {
    let status = |cut: bool| match (open, cut) {
        (true, _) => "in_progress",
        (false, true) => "incomplete",
        (false, false) => "completed",
    };
    json::raw(out, "{\"id\":");
    json::string(out, item.id());
    match item {
        Item::Reasoning { summary, encrypted, .. } => {
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
        Item::Message { text, refusal, cut, .. } => {
            json::raw(out, ",\"type\":\"message\",\"status\":");
            json::string(out, status(*cut));
            json::raw(out, ",\"role\":\"assistant\",\"content\":[");
            if !open {
                part(out, text, *refusal);
            }
            out.push(b']');
        }
        Item::Call { call_id, name, arguments, custom, cut, .. } => {
            json::raw(out, if *custom { ",\"type\":\"custom_tool_call\"" } else { ",\"type\":\"function_call\"" });
            json::raw(out, ",\"status\":");
            json::string(out, status(*cut));
            json::raw(out, ",\"call_id\":");
            json::string(out, call_id);
            json::raw(out, ",\"name\":");
            json::string(out, name);
            json::raw(out, if *custom { ",\"input\":" } else { ",\"arguments\":" });
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

pub(super) fn summary_part(out: &mut Vec<u8>, text: &str) {
    json::raw(out, "{\"type\":\"summary_text\",\"text\":");
    json::string(out, text);
    out.push(b'}');
}

pub(super) fn part(out: &mut Vec<u8>, text: &str, refusal: bool) {
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

pub(super) fn items(answer: &Answer) -> Vec<u8> {
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
pub(crate) fn whole(id: &str, created: i64, settings: &[u8], answer: &Answer, faults: &Faults) -> Vec<u8> {
    let head = Head { id, created, settings, answer };
    let output = items(answer);
    let mut out = Vec::with_capacity(output.len() + settings.len() + 512);
    head.write(&mut out, &State::Ended, &output, faults);
    out
}

/// A failed response as one object.
pub(crate) fn failed(id: &str, created: i64, settings: &[u8], answer: &Answer, error: &Error) -> Vec<u8> {
    let head = Head { id, created, settings, answer };
    let mut out = Vec::with_capacity(settings.len() + 512);
    head.write(&mut out, &State::Failed(error), b"", &Faults::default());
    out
}
