//! One worker's turn: which tools the model asked for, whether it goes in circles, how it says it is done.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;

use super::event::Ending;
use super::state::PendingTool;
use crate::call::Item;

/// The tool calls of an answer, each waiting for its output.
pub fn pending(items: &[Item]) -> Vec<PendingTool> {
    let call = |item: &Item| match item {
        Item::ToolCall { call_id, name, arguments } => Some(PendingTool {
            call_id: call_id.clone(),
            name: name.clone(),
            arguments: arguments.clone(),
            started: false,
            asked: None,
        }),
        _ => None,
    };
    items.iter().filter_map(call).collect()
}

/// How often the same set of tool calls has now come in a row.
pub fn repeated((last, times): (u64, u32), items: &[Item]) -> (u64, u32) {
    // Fixed keys: the same calls hash alike in every process of one build, and nothing is stored.
    let mut hasher = DefaultHasher::new();
    for item in items {
        if let Item::ToolCall { name, arguments, .. } = item {
            (name, arguments).hash(&mut hasher);
        }
    }
    let hash = hasher.finish();
    (hash, if hash == last { times + 1 } else { 1 })
}

/// The request field a provider's refusal names.
pub fn field_named(message: &str) -> String {
    const OPTIONAL: [&str; 6] = ["reasoning", "verbosity", "prompt_cache_key", "service_tier", "include", "parallel_tool_calls"];
    OPTIONAL.into_iter().find(|f| message.contains(f)).unwrap_or_default().to_owned()
}

/// Arguments of the built-in `end`.
#[derive(Debug, Deserialize)]
struct End {
    status: String,
    #[serde(default)]
    reason: Option<String>,
}

/// Reads a call of `end`.
///
/// # Errors
/// What the model should send instead.
pub fn ending(arguments: &str) -> Result<(Ending, String), String> {
    const FORM: &str = "call end with {\"status\": \"done|blocked|too_big|needs_context|out_of_scope\", \"reason\": \"…\"}";
    let end: End = serde_json::from_str(arguments).map_err(|e| format!("{e}; {FORM}"))?;
    let ending = match end.status.as_str() {
        "done" => Ending::Done,
        "blocked" => Ending::Blocked,
        "too_big" => Ending::TooBig,
        "needs_context" => Ending::NeedsContext,
        "out_of_scope" => Ending::OutOfScope,
        other => return Err(format!("status {other:?} is not one; {FORM}")),
    };
    Ok((ending, end.reason.unwrap_or_default()))
}
