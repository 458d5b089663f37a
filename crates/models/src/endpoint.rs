//! A configured provider: where it is, which dialect it speaks, what it can be asked for.
//!
//! What is not known is not assumed: a server of unknown make gets the plainest request that works.

use crate::secret::Secret;

/// The format of requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `POST {base}/responses`.
    Responses,
    /// `POST {base}/chat/completions`.
    Chat,
}

/// How tools reach the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ToolForm {
    /// As the dialect has it.
    Native,
    /// As a JSON-schema envelope in structured output, for servers that do not force tools. Not supported yet.
    Envelope,
}

/// What an endpoint takes. Every `false` leaves the field out of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named after the field it allows")]
pub struct Capabilities {
    pub effort: bool,
    pub verbosity: bool,
    pub cache_key: bool,
    pub service_tier: bool,
    /// `tool_choice` of kind `allowed_tools`; without it the list of tools itself is narrowed.
    pub allowed_tools: bool,
    pub parallel_tool_calls: bool,
    /// `strict` on tools and formats.
    pub strict: bool,
    /// `text.format` or `response_format` with a JSON Schema.
    pub structured_text: bool,
    /// Chat: `max_completion_tokens`, else `max_tokens`.
    pub max_completion_tokens: bool,
    /// Chat: the role `developer`, else `system`.
    pub developer_role: bool,
    /// Chat: `stream_options.include_usage`.
    pub stream_usage: bool,
    /// Says when an answer was cut at its limit; without it, reaching the limit counts as cut.
    pub reports_length: bool,
    /// `POST {base}/responses/compact`.
    pub compaction: bool,
    /// `{base}/files` and `{base}/batches`.
    pub batch: bool,
    pub tools: ToolForm,
}

impl Capabilities {
    /// What is known of the vendor at this address, and the plainest for the rest.
    pub fn known(dialect: Dialect, base_url: &str) -> Self {
        let host = host(base_url);
        let openai = host == "api.openai.com" || host.ends_with(".openai.azure.com");
        // Whoever serves the Responses API ignores what it does not know; Chat servers such as Gemini refuse it.
        let full = openai || dialect == Dialect::Responses;
        Self {
            effort: full,
            verbosity: full,
            cache_key: full,
            service_tier: full,
            allowed_tools: full,
            parallel_tool_calls: full,
            strict: full,
            structured_text: true,
            max_completion_tokens: full,
            developer_role: full,
            stream_usage: true,
            reports_length: openai,
            // Known of this vendor only; others say so in their configuration.
            compaction: dialect == Dialect::Responses && host == "api.openai.com",
            batch: dialect == Dialect::Responses && host == "api.openai.com",
            tools: ToolForm::Native,
        }
    }
}

/// A configured provider.
#[derive(Clone)]
pub struct Endpoint {
    /// Its name in configuration: the `PROVIDER` of `PROVIDER/MODEL`.
    pub name: String,
    /// The format it speaks.
    pub dialect: Dialect,
    /// Up to and including `/v1`; a trailing slash is tolerated.
    pub base_url: String,
    /// Sent as a bearer token.
    pub key: Option<Secret>,
    /// What it takes.
    pub capabilities: Capabilities,
    /// Further headers, such as `OpenAI-Organization`.
    pub headers: Vec<(String, String)>,
}

impl Endpoint {
    /// An endpoint with the capabilities known for its address.
    pub fn new(name: impl Into<String>, dialect: Dialect, base_url: impl Into<String>, key: Option<Secret>) -> Self {
        let base_url = base_url.into();
        let capabilities = Capabilities::known(dialect, &base_url);
        Self { name: name.into(), dialect, base_url, key, capabilities, headers: Vec::new() }
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = if self.key.is_some() { "set" } else { "none" };
        f.debug_struct("Endpoint")
            .field("name", &self.name)
            .field("dialect", &self.dialect)
            .field("base_url", &self.base_url)
            .field("key", &key)
            .finish_non_exhaustive()
    }
}

/// The host of a URL, lower case, without port; empty when there is none.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.split(':').next().unwrap_or_default().to_ascii_lowercase()
}
