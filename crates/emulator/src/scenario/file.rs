//! The scenario file as written: field names and nothing else.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use crate::catalog::Model;
use crate::limits::LimitsToml;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileToml {
    pub(super) server: Option<ServerToml>,
    pub(super) batches: Option<BatchesToml>,
    pub(super) limits: Option<LimitsToml>,
    #[serde(default)]
    pub(super) models: BTreeMap<String, Spanned<Model>>,
    #[serde(default)]
    pub(super) rule: Vec<Spanned<RuleToml>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerToml {
    pub(super) api_key: Option<String>,
    pub(super) strict: bool,
    pub(super) any_model: bool,
    pub(super) enforce_schema: bool,
    pub(super) no_compaction: bool,
    pub(super) delay_ms: Option<u64>,
    pub(super) first_token_ms: Option<u64>,
    pub(super) tokens_per_s: Option<f64>,
    pub(super) delta_tokens: Option<u64>,
    pub(super) stream_faults: Vec<String>,
}

/// `[batches]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BatchesToml {
    pub(super) none: bool,
    pub(super) delay_ms: u64,
    pub(super) upload_ms: u64,
    pub(super) create_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleToml {
    #[serde(rename = "match", default)]
    pub(super) when: MatchToml,
    pub(super) reply: ReplyToml,
    pub(super) delay_ms: Option<u64>,
    pub(super) first_token_ms: Option<u64>,
    pub(super) tokens_per_s: Option<f64>,
    pub(super) delta_tokens: Option<u64>,
    pub(super) cut_after_bytes: Option<usize>,
    pub(super) times: Option<u64>,
    #[serde(default)]
    pub(super) stream_faults: Vec<String>,
    pub(super) stall_ms: Option<u64>,
    pub(super) keepalive_ms: Option<u64>,
    #[serde(default)]
    pub(super) disobey: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MatchToml {
    pub(super) model: Option<String>,
    pub(super) contains: Option<OneOrMany>,
    pub(super) format: Option<String>,
    pub(super) tool_result: Option<OneOrMany>,
    pub(super) service_tier: Option<String>,
    pub(super) image: Option<bool>,
    pub(super) nth: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReplyToml {
    pub(super) text: Option<String>,
    pub(super) json: Option<toml::Value>,
    pub(super) calls: Option<Vec<CallToml>>,
    pub(super) refusal: Option<String>,
    pub(super) lookup: Option<String>,
    pub(super) key: Option<String>,
    pub(super) template: bool,
    pub(super) reasoning: Option<String>,
    pub(super) incomplete: Option<String>,
    /// A [`CountsToml`], or `false` for none.
    pub(super) usage: Option<toml::Value>,
    pub(super) model: Option<String>,
    pub(super) service_tier: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) headers: Option<toml::Table>,
    /// An [`ErrorTable`], or a word.
    pub(super) error: Option<toml::Value>,
    pub(super) body: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallToml {
    pub(super) name: String,
    pub(super) arguments: Option<toml::Value>,
    pub(super) input: Option<String>,
    pub(super) call_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CountsToml {
    pub(super) input_tokens: Option<u64>,
    pub(super) cached_tokens: Option<u64>,
    pub(super) cache_write_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) reasoning_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ErrorTable {
    pub(super) message: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) code: Option<String>,
    pub(super) param: Option<String>,
}
