//! What a model is shown: rules first, so that siblings share a cached prefix, then what is its own.
//!
//! Pure packing of parts that others fetched. A request's and a description's words are never altered;
//! everything from files, tools and other models stands in marked blocks that it cannot close.
//! Sizes are estimates (bytes / 4) for soft limits and receipts; leases count bytes themselves.
//!
//! Read first: [`Parts`] and [`pack`] for executors, [`Planning`] for the planner.

pub mod chain;
mod compact;
mod data;
mod ending;
mod executor;
mod format;
mod kit;
mod planner;
mod receipt;
mod relevance;
mod reviewer;
mod rules;
mod warm;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use chain::{Instructions, Shown};
pub use compact::{Compacting, Conversation, compacted, compactor, conversation_tokens, due, shrunk};
pub use data::{block, cut};
pub use ending::{END, Ending, Status, end_tool, ending, parse_end};
pub use executor::{Evidence, Excerpt, Output, Parts, TierLimits, pack};
pub use format::{Wanted, wanted};
pub use kit::{Alike, InputRates, LEAST_CACHED, one_kit};
pub use planner::{Planning, Replanning, Rows, Standing, TierLine, mend, planner, replan, the_rest};
pub use receipt::{PartReceipt, format_bytes, item_bytes, tokens_est, tool_bytes, with_call};
pub use reviewer::{CheckLine, Reviewing, Worked, reviewer};
pub use rules::{cache_key, instructions};
pub use warm::worth_waiting;

use crate::call::{Item, Speaker};
use crate::image::Image;

/// A call's opening and conversation, and where its size comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Packed {
    /// Goes into [`crate::call::Call::instructions`].
    pub instructions: String,
    /// Goes into [`crate::call::Call::items`].
    pub items: Vec<Item>,
    /// The context receipt: every part in order; [`with_call`] adds the tools and the format.
    pub receipt: Vec<PartReceipt>,
}

impl Packed {
    /// Estimated tokens of everything packed; tools and format are not in it.
    pub fn tokens_est(&self) -> u64 {
        self.receipt.iter().map(PartReceipt::tokens_est).sum()
    }
}

/// An image to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// What it is called: a path, or its place among the request's.
    pub name: String,
    /// The image.
    pub image: Image,
    /// What it counts as at the most, for the model at hand.
    pub tokens: u64,
}

/// Collects sections of one message and the receipt of each.
#[derive(Debug, Default)]
struct Message {
    text: String,
    receipt: Vec<PartReceipt>,
    images: Vec<Image>,
}

impl Message {
    /// Appends a part, two line ends after the one before.
    fn add(&mut self, name: impl Into<String>, text: &str, trimmed: usize) {
        if text.is_empty() {
            return;
        }
        let before = self.text.len();
        if before > 0 {
            self.text.push_str("\n\n");
        }
        self.text.push_str(text);
        self.receipt.push(PartReceipt::new(name, self.text.len() - before, trimmed));
    }

    /// Shows images with the message, named in order.
    fn show(&mut self, pictures: &[Picture]) {
        if pictures.is_empty() {
            return;
        }
        let line = |(n, picture): (usize, &Picture)| format!("\n{}. {} ({})", n + 1, data::one_line(&picture.name), picture.image);
        let lines: String = pictures.iter().enumerate().map(line).collect();
        self.add("list of images", &format!("# Images shown with this message, in order{lines}"), 0);
        self.receipt
            .extend(pictures.iter().map(|picture| PartReceipt::new(format!("image {}", picture.name), picture.tokens as usize * 4, 0)));
        self.images.extend(pictures.iter().map(|picture| picture.image.clone()));
    }

    /// Appends the parts of another message.
    fn append(&mut self, mut other: Self) {
        if let Some(first) = other.receipt.first_mut() {
            let gap = if self.text.is_empty() { "" } else { "\n\n" };
            first.bytes += gap.len() as u64;
            self.text.push_str(gap);
            self.text.push_str(&other.text);
            self.receipt.append(&mut other.receipt);
            self.images.append(&mut other.images);
        }
    }

    /// `shared` is the part of the instructions, at their end, that the workspace gives.
    fn into_packed(self, instructions: String, shared: Option<&Shown>, mut items: Vec<Item>) -> Packed {
        let given = shared.map_or(0, |shared| shared.text.len());
        let mut receipt = vec![PartReceipt::new("rules", instructions.len() - given, 0)];
        receipt.extend(shared.map(|shared| PartReceipt::new(shared.name(), given, shared.left_out)));
        if !items.is_empty() {
            let bytes = items.iter().map(item_bytes).sum();
            receipt.push(PartReceipt::new("earlier turns", bytes, 0));
        }
        receipt.extend(self.receipt);
        items.push(Item::Message { speaker: Speaker::User, text: self.text, phase: None, images: self.images });
        Packed { instructions, items, receipt }
    }
}

/// A conversation as it is, and nothing new.
pub fn replayed(rules: String, items: Vec<Item>) -> Packed {
    let bytes = items.iter().map(item_bytes).sum();
    let receipt = vec![PartReceipt::new("rules", rules.len(), 0), PartReceipt::new("earlier turns", bytes, 0)];
    Packed { instructions: rules, items, receipt }
}

/// Shares `room` among parts of the given sizes: small ones whole, the rest evenly. Returns each one's share.
fn shares(sizes: &[usize], room: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|i| (sizes[*i], *i));
    let mut left = room;
    let mut given = vec![0; sizes.len()];
    for (done, i) in order.iter().enumerate() {
        let share = sizes[*i].min(left / (sizes.len() - done));
        given[*i] = share;
        left -= share;
    }
    given
}
