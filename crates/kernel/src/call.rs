//! One model call: what is asked ([`Call`]) and what comes back ([`Answer`] or [`CallError`]).
//!
//! Provider-neutral: `models` turns these into a provider's JSON and back.
//! Nothing here knows a URL, a header or a key.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::ModelRef;
use crate::image::{Image, Pictures};
use crate::json_schema::Schema;
use crate::time::Millis;
use crate::tool::ToolSpec;
use crate::usage::Usage;

/// Everything one request to a model holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Which model, at which provider.
    pub model: ModelRef,
    /// The stable opening: rules for the role and type. Byte-identical among siblings.
    pub instructions: String,
    /// The conversation so far, oldest first.
    pub items: Vec<Item>,
    /// Tools offered, in fixed order.
    pub tools: Vec<ToolSpec>,
    /// Names of the tools that may be called now; empty = all of `tools`.
    #[serde(default)]
    pub allowed_tools: Vec<String>,
    /// Structured output asked for.
    pub format: Option<Format>,
    /// Always sent. Reasoning counts against it.
    pub max_output_tokens: u32,
    /// Reasoning effort, already clamped to what the model offers.
    pub effort: Option<Effort>,
    /// How long answers should be.
    pub verbosity: Option<Verbosity>,
    /// Routing hint for the provider's prompt cache, at most 64 bytes.
    pub cache_key: Option<String>,
    /// How long the provider is asked to keep the prefix; `None`: as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_retention: Option<Retention>,
    /// `default` unless the user asked for another.
    #[serde(default)]
    pub service: Service,
    /// Our own name for this call, sent as `X-Client-Request-Id`; ASCII.
    pub request_id: String,
    /// Deadlines of the call.
    pub deadlines: Deadlines,
    /// The bytes of the images among `items`, put in when the call is about to be sent.
    #[serde(skip)]
    pub pictures: Pictures,
}

/// How long a provider keeps a cached prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Retention {
    /// Minutes, in memory.
    #[serde(rename = "in_memory")]
    InMemory,
    /// Up to a day.
    #[serde(rename = "24h")]
    Day,
}

impl Call {
    /// The images among its items, oldest first.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.items.iter().flat_map(Item::images)
    }
}

/// One entry of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "snake_case")]
pub enum Item {
    /// A message of the user's side, or of a developer.
    Message {
        /// Who speaks.
        speaker: Speaker,
        /// What is said.
        text: String,
        /// What the model marked its message as (`commentary`, `final_answer`); it gets the mark back as it came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phase: Option<String>,
        /// What is shown with it, in order; of the user's side only.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<Image>,
    },
    /// The model asked for a tool.
    ToolCall {
        /// Pairs the call with its output.
        call_id: String,
        /// The tool's name.
        name: String,
        /// JSON as text; may be invalid.
        arguments: String,
    },
    /// What the tool answered.
    ToolOutput {
        /// The call it answers.
        call_id: String,
        /// What the model sees.
        output: String,
        /// What is shown with it, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<Image>,
    },
    /// An item only its provider understands (encrypted reasoning, a compaction),
    /// replayed in place, unchanged but for its `id`, and only to the same model.
    Opaque {
        /// The raw wire item.
        raw: Value,
    },
}

impl Item {
    /// A message without a mark.
    pub fn message(speaker: Speaker, text: impl Into<String>) -> Self {
        Self::Message { speaker, text: text.into(), phase: None, images: Vec::new() }
    }

    /// The images it shows.
    pub fn images(&self) -> &[Image] {
        match self {
            Self::Message { images, .. } | Self::ToolOutput { images, .. } => images,
            Self::ToolCall { .. } | Self::Opaque { .. } => &[],
        }
    }
}

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The person, or brigade on the person's behalf.
    User,
    /// brigade's own rules.
    Developer,
    /// The model.
    Assistant,
}

/// Structured output: a JSON Schema and its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Format {
    /// `brigade_plan`, `brigade_review`, `brigade_plan_patch`, `brigade_judge`, or `brigade_result`.
    pub name: String,
    /// The schema.
    pub schema: Schema,
    /// Whether `schema` keeps to the strict subset, so that the provider may enforce it.
    pub strict: bool,
}

/// How much a model reasons before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

/// How long answers should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Verbosity {
    Low,
    Medium,
    High,
}

/// The service a request asks for, and the one a response says it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Service {
    #[default]
    Default,
    Flex,
    Priority,
    Batch,
}

/// How long each part of a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadlines {
    /// From sending to the first event with content; keep-alives do not count.
    pub first_token: Millis,
    /// Between two events with content.
    pub idle: Millis,
    /// The whole call.
    pub total: Millis,
}

impl Default for Deadlines {
    /// Total as in OpenAI's SDKs, idle as in Codex (responses-api.md §7).
    fn default() -> Self {
        Self { first_token: Millis(300_000), idle: Millis(300_000), total: Millis(600_000) }
    }
}

/// A finished answer. HTTP success is not enough: only a terminal event or a whole body makes one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Answer {
    /// All message text joined without a separator; empty when the model only called tools.
    pub text: String,
    /// A refusal, when the model declined in a refusal part.
    pub refusal: Option<String>,
    /// Output in order, ready to be replayed: messages, tool calls, opaque items.
    pub items: Vec<Item>,
    /// Why it ended.
    pub end: End,
    /// Reported usage; `None` = unknown, to be charged as leased.
    pub usage: Option<Usage>,
    /// The model named in the response (tier receipt); may be a dated snapshot.
    pub model: Option<String>,
    /// The service really given.
    pub service: Option<Service>,
    /// The provider's response id.
    pub response_id: Option<String>,
    /// The provider's `x-request-id`, for support.
    pub provider_request_id: Option<String>,
    /// Rate-limit headers, when sent.
    pub limits: Option<RateLimits>,
}

impl Answer {
    /// The tool calls among the items, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.items.iter().filter_map(|item| match item {
            Item::ToolCall { call_id, name, arguments } => Some((call_id.as_str(), name.as_str(), arguments.as_str())),
            _ => None,
        })
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// By itself.
    #[default]
    Completed,
    /// At `max_output_tokens`: text and arguments may be cut.
    Length,
    /// The provider's content filter.
    ContentFilter,
}

/// What is left on the account, from `x-ratelimit-*` headers; absent or unknown values are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct RateLimits {
    pub limit_requests: Option<u64>,
    pub remaining_requests: Option<u64>,
    pub reset_requests: Option<Millis>,
    pub limit_tokens: Option<u64>,
    pub remaining_tokens: Option<u64>,
    pub reset_tokens: Option<Millis>,
}

/// A call that brought no answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{class}: {message}")]
pub struct CallError {
    /// What may be done about it.
    pub class: ErrorClass,
    /// The provider's words, redacted and cut to 2,000 characters.
    pub message: String,
    /// HTTP status, when there was one.
    pub status: Option<u16>,
    /// `error.code` (or `type`) as sent.
    pub code: Option<String>,
    /// `error.param` as sent.
    pub param: Option<String>,
    /// How long the provider asked to wait.
    pub retry_after: Option<Millis>,
    /// Usage known in spite of the failure (an error after tokens).
    pub usage: Option<Usage>,
    /// Whether the request may have reached the model: decides if its lease is charged or released.
    pub sent: bool,
    /// The provider's `x-request-id`.
    pub provider_request_id: Option<String>,
    /// Rate-limit headers, when sent.
    #[serde(default)]
    pub limits: Option<Box<RateLimits>>,
}

impl CallError {
    /// A failure of which nothing is known but its class and words; the request may have reached the model.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            status: None,
            code: None,
            param: None,
            retry_after: None,
            usage: None,
            sent: true,
            provider_request_id: None,
            limits: None,
        }
    }
}

/// What may be done about a failed call (responses-api.md §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// 429 of the rate: wait as told, then retry.
    RateLimited,
    /// 503 overloaded, 529, `slow_down`, flex `resource_unavailable`: retry slowly.
    Overloaded,
    /// 408, 409, 500, 502, 504, a captive portal's HTML: retry.
    Server,
    /// Connection refused, reset, DNS, TLS: retry a few times, then the provider is unreachable.
    Unreachable,
    /// The stream ended before its terminal event: retry from nothing.
    CutStream,
    /// A deadline of ours passed.
    TimedOut,
    /// 429 `insufficient_quota` and kin: never retry, a person must act.
    QuotaExhausted,
    /// 401, 403: stop using the provider.
    Refused,
    /// Input over the window: shrink or go up once.
    ContextTooLong,
    /// The model is unknown or withdrawn.
    ModelNotFound,
    /// `previous_response_not_found`, unpersisted item: rebuild the input.
    LostReference,
    /// An optional field the model does not take (`param` names it): drop it once.
    UnsupportedField,
    /// Any other 4xx: the same request will never succeed.
    BadRequest,
    /// A body that is no answer: wrong shape, over the size limit, an answer to another request.
    Garbage,
    /// We stopped it.
    Cancelled,
}

impl ErrorClass {
    /// Whether the same request may succeed later (availability, not content).
    pub fn is_availability(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::Overloaded | Self::Server | Self::Unreachable | Self::CutStream | Self::TimedOut | Self::Garbage
        )
    }
}

impl std::fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Self::RateLimited => "rate limited",
            Self::Overloaded => "provider overloaded",
            Self::Server => "provider error",
            Self::Unreachable => "provider unreachable",
            Self::CutStream => "stream cut",
            Self::TimedOut => "timed out",
            Self::QuotaExhausted => "account quota exhausted",
            Self::Refused => "key or access refused",
            Self::ContextTooLong => "input over the model's window",
            Self::ModelNotFound => "model not found",
            Self::LostReference => "reference lost at the provider",
            Self::UnsupportedField => "field not supported by the model",
            Self::BadRequest => "request refused",
            Self::Garbage => "unreadable answer",
            Self::Cancelled => "cancelled",
        };
        f.write_str(text)
    }
}
