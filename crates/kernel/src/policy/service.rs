//! Which service calls ask for: cheaper and slower, faster and dearer, or by the batch.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Policy;
use super::value::Value;
use crate::ids::ModelRef;
use crate::plan::Subtask;
use crate::time::Millis;

/// `[service]`, and `--fast`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServicePolicy {
    /// Calls ask for priority where their model has a price for it. Only `--fast` says so, never a file.
    pub fast: bool,
    /// Flex work that finds no capacity is served at the default price in the end.
    pub flex_fallback: bool,
    /// Rows of bulk work go to their provider's Batch API.
    pub batch: bool,
    /// Rows that may be in batches at once.
    pub batch_rows: u32,
    /// How often a batch is asked after.
    pub batch_poll: Millis,
    /// Providers that have a Batch API.
    pub batch_at: BTreeSet<String>,
}

impl Default for ServicePolicy {
    fn default() -> Self {
        Self { fast: false, flex_fallback: true, batch: false, batch_rows: 5_000, batch_poll: Millis(30_000), batch_at: BTreeSet::new() }
    }
}

impl ServicePolicy {
    /// Takes a setting of `[service]`; `None`: there is no such key.
    pub(super) fn set(&mut self, field: &str, value: &Value) -> Option<()> {
        match (field, value) {
            ("batch", Value::Switch(on)) => self.batch = *on,
            ("batch_rows", Value::Count(Some(n))) => self.batch_rows = u32::try_from(*n).unwrap_or(u32::MAX),
            ("batch_poll", Value::Span(Some(span))) => self.batch_poll = *span,
            ("flex_fallback", Value::Switch(on)) => self.flex_fallback = *on,
            _ => return None,
        }
        Some(())
    }
}

impl Policy {
    /// Whether a row's calls may go by batch: one call an attempt, no image, and no hurry.
    pub fn may_travel(&self, spec: &Subtask, model: &ModelRef) -> bool {
        let plain = spec.tools.is_empty() && spec.mcp_servers.is_empty() && spec.images.is_empty();
        let bulk = self.service.batch && self.service.batch_at.contains(model.provider());
        bulk && plain && spec.deadline.or(self.limits.subtask).is_none()
    }
}
