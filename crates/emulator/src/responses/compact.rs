//! `POST /v1/responses/compact`: the user's messages as they were, and one item in place of the rest.
//!
//! Nothing is scripted here: what a model would keep of a conversation is nobody's to see. The item's content names the
//! conversation it stands for, so that it is accepted in a later input and no other is.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::checks::known_model;
use super::fields::{Fields, parse};
use super::items;
use crate::ask;
use crate::json;
use crate::ledger::{Spent, fingerprint};
use crate::refusal::Refusal;
use crate::scenario::Scenario;
use crate::store::Store;

/// Its path in the ledger.
pub(crate) const PATH: &str = "/v1/responses/compact";
/// What the content of our items begins with.
pub(super) const OURS: &str = "emulated-compaction-";
/// Tokens that writing the item is billed as.
const WRITTEN: u64 = 64;

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    role: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

/// Condenses a conversation: the body of the answer, and what it costs.
pub(crate) fn compact(fields: &Fields<'_>, scenario: &Scenario, store: &Store, seq: u64, now: i64) -> Result<(Vec<u8>, Spent), Refusal> {
    let missing = |name: &str| Refusal::bad(name, format!("Missing required parameter: '{name}'.")).code("missing_required_parameter");
    let name = fields.text("model")?.ok_or_else(|| missing("model"))?;
    known_model(scenario, &name)?;
    if fields.raw("previous_response_id").is_some() {
        let message = "not supported yet by the emulator: previous_response_id of compact";
        return Err(Refusal::bad("previous_response_id", message).code("unsupported_parameter"));
    }
    let input = fields.raw("input").ok_or_else(|| missing("input"))?;
    let (pieces, _) = items::read(input, store, items::Echoes::Stored)?;
    items::check_pairs(&pieces, None)?;
    let instructions = fields.text("instructions")?.map_or(0, |text| ask::tokens(&text) + 4);
    let mut out = Vec::with_capacity(256);
    json::raw(&mut out, &format!("{{\"id\":\"resp_{seq:024x}\",\"object\":\"response.compaction\",\"created_at\":{now},\"output\":["));
    let entries: Vec<&RawValue> = if input.get().starts_with('"') { Vec::new() } else { parse(input, "input")? };
    let said = entries.iter().map(|raw| parse::<Entry<'_>>(raw, "input"));
    for (at, entry) in said.enumerate() {
        let Entry { kind, role, content: Some(content) } = entry? else { continue };
        if role.as_deref() == Some("user") && kind.as_deref().is_none_or(|kind| kind == "message") {
            json::raw(
                &mut out,
                &format!(
                    "{{\"id\":\"msg_{seq:016x}{at:08x}\",\"type\":\"message\",\"status\":\"completed\",\"role\":\"user\",\"content\":"
                ),
            );
            if content.get().starts_with('"') {
                json::raw(&mut out, &format!("[{{\"type\":\"input_text\",\"text\":{}}}]", content.get()));
            } else {
                json::raw(&mut out, content.get());
            }
            json::raw(&mut out, "},");
        }
    }
    let mark = fingerprint(input.get().as_bytes());
    json::raw(&mut out, &format!("{{\"id\":\"cmp_{seq:024x}\",\"type\":\"compaction\",\"encrypted_content\":\"{OURS}{mark:016x}\"}}],"));
    let spent = Spent {
        input_tokens: ask::REQUEST_TOKENS + instructions + ask::context_tokens(&pieces),
        output_tokens: WRITTEN,
        ..Spent::default()
    };
    let usage = serde_json::json!({
        "input_tokens": spent.input_tokens, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": spent.output_tokens, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": spent.input_tokens + spent.output_tokens,
    });
    json::raw(&mut out, "\"usage\":");
    json::value(&mut out, &usage);
    out.push(b'}');
    Ok((out, spent))
}
