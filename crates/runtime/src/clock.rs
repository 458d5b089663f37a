//! The time of a run: wall time at its start, moved on by a clock that never jumps.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use brigade_kernel::time::Timestamp;

/// A wall clock that a change of the system's time does not move.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: Timestamp,
    since: Instant,
}

impl Clock {
    /// Set by the system's wall clock, now.
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { base: Timestamp(wall.as_millis() as u64), since: Instant::now() }
    }

    /// Milliseconds since 1970 UTC.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.base.0 + self.since.elapsed().as_millis() as u64)
    }
}
