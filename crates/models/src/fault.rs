//! Error bodies and error events in every shape seen, and the one class each becomes.
//!
//! Decides nothing about retrying: a class says what the provider said, the engine acts on it.

use brigade_kernel::call::{CallError, ErrorClass};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::loose::{Text, string_or_json};
use crate::pace;

/// The longest message kept.
const MESSAGE_CHARS: usize = 2_000;

/// What a provider said about a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fault {
    pub code: Option<String>,
    pub kind: Option<String>,
    pub param: Option<String>,
    pub message: String,
    /// Set where brigade knows better than the words do.
    pub class: Option<ErrorClass>,
}

/// Where a fault was met; decides what its words are worth and whether the model may have worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An HTTP status that is no success.
    Http(u16),
    /// Inside an answer that began with success; `content` when parts of it had come.
    Stream { content: bool },
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    detail: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    code: Text<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    /// Gemini's word for the code.
    #[serde(borrow, default)]
    status: Text<'a>,
    #[serde(borrow, default)]
    param: Text<'a>,
}

impl Fault {
    pub(crate) fn said(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Reads a JSON error of any shape; `None` when it is no error object.
    pub(crate) fn of_json(raw: &RawValue) -> Option<Self> {
        Self::of_text(raw.get())
    }

    /// Reads `{"error":{…}}`, `{"error":"…"}`, `[{"error":{…}}]`, `{"detail":…}` and the flat form.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.starts_with('[') {
            let list: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            return list.first().and_then(|first| Self::of_text(first.get()));
        }
        if text.starts_with('"') {
            return serde_json::from_str(text).ok().map(|message: String| Self::said(message));
        }
        let body: Body<'_> = serde_json::from_str(text).ok()?;
        if let Some(fault) = body.error.filter(|error| error.get().starts_with(['{', '"', '['])).and_then(Self::of_json) {
            return Some(fault);
        }
        let message = body.message.or(body.detail).and_then(string_or_json);
        // "error" as a type is the name of the event, not of the failure.
        let kind = body.kind.owned().filter(|kind| kind != "error");
        let code = body.code.owned().filter(|code| !code.is_empty());
        if message.is_none() && code.is_none() && kind.is_none() {
            return None;
        }
        let kind = kind.or_else(|| body.status.owned());
        Some(Self { code, kind, param: body.param.owned(), message: message.unwrap_or_default(), class: None })
    }

    /// Reads the body of an HTTP error; a body that is no JSON becomes the message, a web page its title.
    pub(crate) fn of_body(body: &[u8], status: u16) -> Self {
        let text = String::from_utf8_lossy(body);
        if let Some(fault) = Self::of_text(&text) {
            return fault;
        }
        let text = text.trim();
        if text.is_empty() {
            return Self::said(format!("HTTP {status} with an empty body"));
        }
        if text.starts_with('<') {
            return Self::said(format!("HTTP {status} with a web page{}", page_title(text)));
        }
        Self::said(text)
    }

    /// Fills what is missing from another account of the same failure.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            code: self.code.or(other.code),
            kind: self.kind.or(other.kind),
            param: self.param.or(other.param),
            message: if self.message.is_empty() { other.message } else { self.message },
            class: self.class.or(other.class),
        }
    }

    /// What may be done about it.
    pub(crate) fn class(&self, origin: Origin) -> ErrorClass {
        if let Some(class) = self.class {
            return class;
        }
        let status = match origin {
            Origin::Http(status) => Some(status),
            // Gateways put the status that was meant into `code`.
            Origin::Stream { .. } => self.code.as_deref().and_then(|code| code.parse().ok()).filter(|status| (400..600).contains(status)),
        };
        let words = [self.code.as_deref(), self.kind.as_deref()];
        words
            .into_iter()
            .flatten()
            .find_map(by_word)
            .or_else(|| by_message(&self.message, status))
            .unwrap_or_else(|| by_status(status, self.kind.as_deref(), self.param.as_deref()))
    }

    /// The typed error. Headers may still add to it.
    pub(crate) fn into_error(self, origin: Origin) -> CallError {
        let class = self.class(origin);
        let refused = matches!(
            class,
            ErrorClass::RateLimited
                | ErrorClass::Overloaded
                | ErrorClass::QuotaExhausted
                | ErrorClass::Refused
                | ErrorClass::ContextTooLong
                | ErrorClass::ModelNotFound
                | ErrorClass::LostReference
                | ErrorClass::UnsupportedField
                | ErrorClass::BadRequest
        );
        let retry_after = class.is_availability().then(|| pace::said_wait(&self.message)).flatten();
        let param = match class {
            ErrorClass::UnsupportedField => self.param.or_else(|| field_named(&self.message)),
            _ => self.param,
        };
        CallError {
            class,
            message: cut(if self.message.is_empty() { "no message" } else { &self.message }),
            status: match origin {
                Origin::Http(status) => Some(status),
                Origin::Stream { .. } => None,
            },
            code: self.code.or(self.kind),
            param,
            retry_after,
            usage: None,
            sent: !refused || origin == Origin::Stream { content: true },
            provider_request_id: None,
            limits: None,
        }
    }
}

/// An error of our own making, before or around the provider's words.
pub(crate) fn error(class: ErrorClass, message: impl AsRef<str>, sent: bool) -> CallError {
    CallError { sent, ..CallError::new(class, cut(message.as_ref())) }
}

/// Turns down an error that `x-should-retry` contradicts; brigade itself and OpenAI send it.
pub(crate) fn heed_should_retry(error: &mut CallError, should_retry: Option<bool>) {
    match (should_retry, error.class) {
        (Some(false), ErrorClass::RateLimited) => error.class = ErrorClass::QuotaExhausted,
        (Some(false), ErrorClass::Overloaded | ErrorClass::Server) => error.class = ErrorClass::BadRequest,
        (Some(true), ErrorClass::BadRequest) => error.class = ErrorClass::Server,
        _ => {}
    }
}

fn by_word(word: &str) -> Option<ErrorClass> {
    Some(match word {
        "insufficient_quota"
        | "credit_balance_exhausted"
        | "organization_spend_limit_exceeded"
        | "project_spend_limit_exceeded"
        | "organization_usage_limit_exceeded"
        | "usage_not_included"
        | "billing_hard_limit_reached"
        | "billing_not_active" => ErrorClass::QuotaExhausted,
        "rate_limit_exceeded" | "requests" | "tokens" => ErrorClass::RateLimited,
        "slow_down"
        | "server_is_overloaded"
        | "service_unavailable_error"
        | "overloaded_error"
        | "resource_unavailable"
        | "unavailable_error"
        | "UNAVAILABLE" => ErrorClass::Overloaded,
        "context_length_exceeded" | "exceed_context_size_error" => ErrorClass::ContextTooLong,
        "previous_response_not_found" => ErrorClass::LostReference,
        "model_not_found" | "DeploymentNotFound" => ErrorClass::ModelNotFound,
        "unsupported_parameter" | "unsupported_value" | "unknown_parameter" => ErrorClass::UnsupportedField,
        "invalid_api_key"
        | "authentication_error"
        | "permission_error"
        | "PERMISSION_DENIED"
        | "UNAUTHENTICATED"
        | "unsupported_country_region_territory" => ErrorClass::Refused,
        "server_error" | "internal_error" | "vector_store_timeout" | "timeout" => ErrorClass::Server,
        "invalid_prompt"
        | "invalid_json_schema"
        | "missing_required_parameter"
        | "content_filter"
        | "cyber_policy"
        | "bio_policy"
        | "data_residency_mismatch"
        | "misalignment_policy_violation" => ErrorClass::BadRequest,
        _ => return None,
    })
}

fn by_message(message: &str, status: Option<u16>) -> Option<ErrorClass> {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let ours = status.is_none_or(|status| (400..500).contains(&status));
    if status == Some(429) && has(&["exceeded your current quota", "insufficient_quota", "check your plan and billing"]) {
        return Some(ErrorClass::QuotaExhausted);
    }
    if status == Some(429) || !ours {
        return None;
    }
    if has(&["maximum context length", "exceeds the context window", "exceeds the available context size", "prompt is too long"]) {
        return Some(ErrorClass::ContextTooLong);
    }
    if has(&["Items are not persisted", "Previous response with id"]) {
        return Some(ErrorClass::LostReference);
    }
    if has(&[
        "Unsupported parameter",
        "Unsupported value",
        "Unknown parameter",
        "Unknown name",
        "Unrecognized request argument",
        "does not support '",
    ]) {
        return Some(ErrorClass::UnsupportedField);
    }
    let about_model = message.contains("model") && has(&["does not exist", "not found", "not exist", "not_found"]);
    (status == Some(404) && about_model).then_some(ErrorClass::ModelNotFound)
}

fn by_status(status: Option<u16>, kind: Option<&str>, param: Option<&str>) -> ErrorClass {
    match status {
        Some(401 | 403) => ErrorClass::Refused,
        Some(402) => ErrorClass::QuotaExhausted,
        Some(404) if param == Some("model") => ErrorClass::ModelNotFound,
        Some(408 | 409) => ErrorClass::Server,
        Some(429) => ErrorClass::RateLimited,
        Some(503 | 529) => ErrorClass::Overloaded,
        Some(400..500) => ErrorClass::BadRequest,
        None if matches!(kind, Some("invalid_request_error" | "BadRequestError" | "image_generation_user_error")) => ErrorClass::BadRequest,
        _ => ErrorClass::Server,
    }
}

/// The field between the first quotes of a message such as "Unsupported parameter: 'temperature' is not …".
fn field_named(message: &str) -> Option<String> {
    let at = message.find(['\'', '"'])?;
    let quote = message[at..].chars().next()?;
    let name = message[at + 1..].split(quote).next()?;
    let plain = name.len() <= 100 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.[]-".contains(&b));
    (plain && !name.is_empty()).then(|| name.to_owned())
}

/// ` titled "…"`, for a page that has a title.
pub(crate) fn page_title(page: &str) -> String {
    // ASCII lower case keeps byte positions.
    let lower = page.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|at| {
        let start = at + page[at..].find('>')? + 1;
        let end = start + lower[start..].find("</title")?;
        Some(page[start..end].trim())
    });
    title.map_or_else(String::new, |title| format!(" titled {:?}", title.chars().take(120).collect::<String>()))
}

fn cut(message: &str) -> String {
    message.chars().take(MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests;
