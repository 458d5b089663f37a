//! Tokens a call really used, as the provider reported them.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Token counts of one call, or a sum of them.
///
/// `cached_tokens` and `cache_write_tokens` are parts of `input_tokens`;
/// `reasoning_tokens` is a part of `output_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// All input, cached or not.
    pub input_tokens: u64,
    /// Input read from the provider's prompt cache.
    pub cached_tokens: u64,
    /// Input written to the provider's prompt cache (zero below GPT-5.6).
    pub cache_write_tokens: u64,
    /// All output, reasoning included.
    pub output_tokens: u64,
    /// Output that was reasoning.
    pub reasoning_tokens: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.cached_tokens += other.cached_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
        self.output_tokens += other.output_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
    }
}
