//! What the time to first content says about a server: whether it queues what it is sent.
//!
//! ```text
//! sixteen calls ended ─► median of (time / usual time of its model) ─► twice in a row three times the usual
//!    ─► as many calls at once as the server was seen to work on, and half as many again
//!    ─► slow all the same, and fewer served? Then it was not their number: the limit goes, this is the usual time now
//! ```
//!
//! Refuses to act on noise: medians, twice in a row, and a decision that did not help is taken back.

use crate::time::{Millis, Timestamp};

/// Calls in a batch; its median decides.
pub(super) const BATCH: usize = 16;
/// Models of one account whose usual time is kept.
pub(super) const MODELS: usize = 8;
/// A batch is slow at so many hundredths of the usual time.
const SLOW: u32 = 300;
/// Below so many calls at once nothing is held back.
const LEAST: u32 = 8;
/// Added to both times before they are compared: milliseconds of a network are no queue.
const GRAIN: u64 = 50;

/// Latency of one account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strain {
    /// Usual time to first content in milliseconds, by a model's key.
    pub(super) usual: Vec<(u64, u64)>,
    /// Of the batch under way: hundredths of the usual time.
    pub(super) ratios: Vec<u32>,
    /// Calls ended after `since`, and the sum of the times they would have taken without a queue.
    pub(super) ended: u64,
    pub(super) work_ms: u64,
    /// When the first call of the batches counted ended.
    pub(super) since: Timestamp,
    /// Slow batches in a row.
    pub(super) slow: u32,
    /// Only calls sent after this count: older ones stood in the old queue.
    pub(super) after: Timestamp,
    /// Calls a minute when it was last held back, and how many there were at once.
    pub(super) before: (u32, u32),
}

/// What follows from a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// The server queues: so many at once are enough.
    Queues(u32),
    /// Holding back did not help: it was something else.
    NotOurs,
}

/// A served call, as far as it says something about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Stands for the model: times are compared within one.
    pub model: u64,
    /// From sending to first content.
    pub first: Millis,
    /// From sending to the end.
    pub whole: Millis,
}

impl Strain {
    /// Takes in a call that was sent at `sent`; `in_flight` counts it; `held`: there is a limit on how many those are.
    pub(super) fn note(&mut self, timing: Timing, sent: Timestamp, in_flight: u32, held: bool, now: Timestamp) -> Option<Finding> {
        if sent < self.after {
            return None;
        }
        let first = timing.first.0;
        let at = self.usual.iter().position(|(model, _)| *model == timing.model).unwrap_or_else(|| {
            self.usual.truncate(MODELS - 1);
            self.usual.insert(0, (timing.model, first));
            0
        });
        let usual = &mut self.usual[at].1;
        let ratio = u32::try_from(first.saturating_add(GRAIN).saturating_mul(100) / usual.saturating_add(GRAIN)).unwrap_or(u32::MAX);
        if ratio < SLOW {
            // Follows the median: as many steps up as down; but a queue that is kept short is not what is usual.
            let step = (*usual / 32).max(1);
            *usual = match first > *usual {
                true if held => *usual,
                true => usual.saturating_add(step),
                false => usual.saturating_sub(step),
            };
        }
        // The first only starts the clock.
        if self.since == Timestamp::default() {
            self.since = now;
        } else {
            self.ended = self.ended.saturating_add(1);
            self.work_ms = self.work_ms.saturating_add(usual.saturating_add(timing.whole.0.saturating_sub(first)));
        }
        self.ratios.push(ratio);
        if self.ratios.len() < BATCH {
            return None;
        }
        self.judge(in_flight, now)
    }

    fn judge(&mut self, in_flight: u32, now: Timestamp) -> Option<Finding> {
        self.ratios.sort_unstable();
        let median = self.ratios[BATCH / 2];
        self.ratios.clear();
        if median < SLOW {
            self.start_over();
            if median < SLOW / 2 {
                self.before = (0, 0);
            }
            return None;
        }
        self.slow = self.slow.saturating_add(1);
        if self.slow < 2 || in_flight < LEAST {
            return None;
        }
        let (ended, work, span) = (self.ended, self.work_ms, (now - self.since).0.max(1));
        if span < work / ended.max(1) {
            return None; // they came in one wave: what follows tells how many there are at once
        }
        self.start_over();
        let rate = u32::try_from(ended.saturating_mul(60_000) / span).unwrap_or(u32::MAX);
        let (was, many) = self.before;
        if in_flight <= many / 2 && u64::from(rate) * 10 < u64::from(was) * 7 {
            self.before = (0, 0);
            for (_, usual) in &mut self.usual {
                *usual = usual.saturating_mul(u64::from(median)) / 100;
            }
            return Some(Finding::NotOurs);
        }
        // Little's law: calls ended in a millisecond, times the time each is worked on, is how many are worked on at once.
        let at_once = u32::try_from(work / span).unwrap_or(u32::MAX);
        let enough = (at_once.saturating_add(at_once / 2)).max(LEAST);
        if u64::from(enough) * 10 >= u64::from(in_flight) * 9 {
            return None;
        }
        (self.before, self.after) = ((rate, in_flight), now);
        Some(Finding::Queues(enough))
    }

    fn start_over(&mut self) {
        (self.slow, self.ended, self.work_ms, self.since) = (0, 0, 0, Timestamp::default());
    }
}
