//! One worker's turn: which tools the model asked for, whether it goes in circles, how it says it is done.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::event::Ending;
use super::state::PendingTool;
use crate::call::Item;
use crate::context::{self, Status};

/// The tool calls of an answer, each waiting for its output.
pub fn pending(items: &[Item]) -> Vec<PendingTool> {
    let call = |item: &Item| match item {
        Item::ToolCall { call_id, name, arguments } => {
            Some(PendingTool { call_id: call_id.clone(), name: name.clone(), arguments: arguments.clone(), started: false, asked: None })
        }
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
    const OPTIONAL: [&str; 7] =
        ["reasoning", "verbosity", "prompt_cache_retention", "prompt_cache_key", "service_tier", "include", "parallel_tool_calls"];
    OPTIONAL.into_iter().find(|f| message.contains(f)).unwrap_or_default().to_owned()
}

/// Reads a call of `end`.
///
/// # Errors
/// What the model should send instead.
pub fn ending(arguments: &str) -> Result<(Ending, String), String> {
    let end = context::parse_end(arguments)?;
    let ending = match end.status {
        Status::Done => Ending::Done,
        Status::Blocked => Ending::Blocked,
        Status::TooBig => Ending::TooBig,
        Status::NeedsContext => Ending::NeedsContext,
        Status::OutOfScope => Ending::OutOfScope,
    };
    Ok((ending, end.reason))
}
