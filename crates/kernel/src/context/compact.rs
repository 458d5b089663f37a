//! The planner's conversation grown long: when it is compacted, what a summary is made from, and what stands in its place.
//!
//! Only the conversation shrinks: the request, the notes and the journal are as they were. How often it is tried is
//! bounded here ([`due`]); who compacts, and what came of it, is on record in the run.

use crate::call::{Item, Speaker};

use super::data::{block, cut};
use super::receipt::{item_bytes, tokens_est};
use super::{Message, Packed, shares};

/// The plan as it stands is cut to this: about 12,000 tokens.
const PLAN_BYTES: usize = 48_000;

/// How large the planner's conversation is, and what is known of earlier compactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conversation {
    /// Estimated tokens of the planner's next call.
    pub tokens: u64,
    /// The same when compaction was last tried; 0 before.
    pub tokens_then: u64,
    /// Results told to the planner since.
    pub results: u32,
    /// The last try did not shrink it.
    pub in_vain: bool,
    /// Tries so far.
    pub tries: u32,
}

/// Whether a conversation is compacted before it is sent again: it has grown by the threshold since the last try, or holds more
/// results than it should. After a try in vain only growth counts, and after `most` tries nothing does: so there are at
/// most (tokens ever added / threshold) + (results ever told / their bound) tries, and never a loop.
pub fn due(now: Conversation, threshold: u64, results: u32, most: u32) -> bool {
    let grown = now.tokens > now.tokens_then.saturating_add(threshold);
    now.tries < most && (grown || (now.results > results && !now.in_vain))
}

/// Whether what came back is worth having: a fifth shorter at least.
pub fn shrunk(before: u64, after: u64) -> bool {
    after <= before / 5 * 4
}

/// What a summary is made from.
#[derive(Debug, Clone, Copy)]
pub struct Compacting<'a> {
    /// [`super::instructions`] of the compactor.
    pub rules: &'a str,
    /// The request, byte for byte.
    pub request: &'a str,
    /// The turns to be replaced, oldest first.
    pub turns: &'a [Item],
    /// Bytes that the model's window has room for.
    pub room: usize,
}

/// Packs the call that summarizes: every turn as marked data; what does not fit loses its middle.
pub fn compactor(compacting: &Compacting<'_>) -> Packed {
    let mut message = Message::default();
    message.add("request", &format!("# The request\n{}", compacting.request), 0);
    let room = compacting.room.saturating_sub(compacting.rules.len() + message.text.len());
    let texts: Vec<(&str, &str)> = compacting.turns.iter().filter_map(said).collect();
    let sizes: Vec<usize> = texts.iter().map(|(_, text)| text.len()).collect();
    for (n, ((speaker, text), share)) in texts.iter().zip(shares(&sizes, room)).enumerate() {
        let (text, left_out) = cut(text, share);
        let name = format!("turn {}: {speaker}", n + 1);
        message.add(name.clone(), &block(&name, &text), left_out);
    }
    message.into_packed(compacting.rules.to_owned(), None, Vec::new())
}

/// Who says what in a turn; an item that only its provider understands says nothing.
fn said(item: &Item) -> Option<(&str, &str)> {
    match item {
        Item::Message { speaker: Speaker::Assistant, text, .. } => Some(("the planner", text)),
        Item::Message { text, .. } => Some(("to the planner", text)),
        Item::ToolCall { arguments, .. } => Some(("the planner calls", arguments)),
        Item::ToolOutput { output, .. } => Some(("a tool answers", output)),
        Item::Opaque { .. } => None,
    }
}

/// What opens the conversation in place of what was compacted: the plan as it stands, and the summary where brigade has one.
pub fn compacted(plan: &str, summary: Option<&str>) -> Item {
    let (plan, _) = cut(plan, PLAN_BYTES);
    let mut text = format!("# The plan as it stands\nEarlier turns are condensed.\n{}", block("plan", &plan));
    if let Some(summary) = summary {
        text.push_str(&format!("\n\n# What led there\n{}", block("summary of earlier turns", summary)));
    }
    Item::message(Speaker::User, text)
}

/// Estimated tokens of a conversation.
pub fn conversation_tokens(items: &[Item]) -> u64 {
    tokens_est(items.iter().map(item_bytes).sum())
}
