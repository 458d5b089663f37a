//! The context receipt: what a call's opening is made of, part by part, and how large each part is.

use serde::{Deserialize, Serialize};

use crate::call::{Format, Item};
use crate::tool::ToolSpec;

/// One line of a context receipt; stored as `[name, bytes, trimmed]`, for every attempt has some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(String, u64, u64)", into = "(String, u64, u64)")]
pub struct PartReceipt {
    /// Which part, e.g. `rules`, `file src/a.rs`.
    pub name: String,
    /// Its size as packed; of an image, four times the tokens it counts as at the most.
    pub bytes: u64,
    /// Bytes that were left out of it; 0 = whole.
    pub trimmed: u64,
}

impl PartReceipt {
    pub(super) fn new(name: impl Into<String>, bytes: usize, trimmed: usize) -> Self {
        Self { name: name.into(), bytes: bytes as u64, trimmed: trimmed as u64 }
    }

    /// Its size in tokens, estimated as bytes / 4.
    pub fn tokens_est(&self) -> u64 {
        tokens_est(self.bytes as usize)
    }
}

impl From<(String, u64, u64)> for PartReceipt {
    fn from((name, bytes, trimmed): (String, u64, u64)) -> Self {
        Self { name, bytes, trimmed }
    }
}

impl From<PartReceipt> for (String, u64, u64) {
    fn from(part: PartReceipt) -> Self {
        (part.name, part.bytes, part.trimmed)
    }
}

/// Tokens of a text of so many bytes, estimated: four bytes each, rounded up. English and code come near it;
/// other scripts take more, which is why nothing that must hold is counted with it.
pub fn tokens_est(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

/// Bytes of one entry of a conversation, its framing aside.
pub fn item_bytes(item: &Item) -> usize {
    match item {
        Item::Message { text, .. } => text.len(),
        Item::ToolCall { call_id, name, arguments } => call_id.len() + name.len() + arguments.len(),
        Item::ToolOutput { call_id, output, .. } => call_id.len() + output.len(),
        Item::Opaque { raw } => raw.to_string().len(),
    }
}

/// Bytes of a tool as it is offered, its framing aside.
pub fn tool_bytes(tool: &ToolSpec) -> usize {
    tool.name.len() + tool.description.len() + tool.parameters.text().get().len()
}

/// Bytes of a form that is asked for.
pub fn format_bytes(format: &Format) -> usize {
    format.name.len() + format.schema.text().get().len()
}

/// Adds what a call holds beside its texts, behind the rules: the tools it offers and the form it asks for.
pub fn with_call(receipt: &mut Vec<PartReceipt>, tools: &[ToolSpec], format: Option<&Format>) {
    let at = 1.min(receipt.len());
    let tools = (!tools.is_empty()).then(|| PartReceipt::new("tools", tools.iter().map(tool_bytes).sum(), 0));
    let format = format.map(|format| PartReceipt::new("format", format_bytes(format), 0));
    receipt.splice(at..at, tools.into_iter().chain(format));
}
