//! How long an account has refused this run: what bounds its patience.

use crate::time::Timestamp;

/// Refusals of one account (429, overloaded) with no answer between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Storm {
    /// The last of them.
    pub last: Timestamp,
    /// How often the line waited and was refused again; all calls on the wire at once count as one.
    pub windows: u32,
}

impl Storm {
    /// The storm after a refusal of a call sent at `since`.
    pub fn after(self, since: Timestamp, refused: Timestamp) -> Self {
        let again = self.windows == 0 || since > self.last;
        Self { last: refused, windows: self.windows + u32::from(again) }
    }
}
