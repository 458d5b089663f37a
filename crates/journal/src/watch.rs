//! Whether a stream has grown, by whatever process, at the price of a glance.

use crate::{Journal, ReadError, Stream};

/// Remembers how far a stream was seen.
#[derive(Debug, Clone)]
pub struct Watch {
    stream: Stream,
    version: u64,
    pulse: Option<u64>,
}

impl Watch {
    /// Watches for growth beyond `version` (the last seq already seen).
    pub fn new(stream: Stream, version: u64) -> Self {
        Self { stream, version, pulse: None }
    }

    /// The stream's new version when it moved since the last call.
    ///
    /// # Errors
    /// [`ReadError`] when the journal cannot be read; the next call looks again.
    pub fn poll(&mut self, journal: &dyn Journal) -> Result<Option<u64>, ReadError> {
        let pulse = journal.pulse()?;
        if self.pulse == Some(pulse) {
            return Ok(None);
        }
        let version = journal.version(&self.stream)?;
        self.pulse = Some(pulse);
        let moved = version != self.version;
        self.version = version;
        Ok(moved.then_some(version))
    }
}
