//! Accounts that tell how much of their quota is used: an errand starts only where one more fits.
//!
//! What an errand takes is learned: the largest rise seen between two reports of the same window, at least one per cent.

use std::collections::BTreeMap;

use super::park::Parking;
use super::{ReportedWindow, Run};
use crate::ids::ModelRef;
use crate::plan::write_span;
use crate::time::{Millis, Timestamp};

/// What an errand is taken for until more is known, in per cent of a window.
const LEAST_RISE: f64 = 1.0;
/// Reports of one window may differ by so much in when it ends.
const SAME_END: u64 = 600_000;

/// The last report of every account, window by window.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reports(BTreeMap<String, BTreeMap<u64, Reported>>);

#[derive(Debug, Clone, PartialEq)]
struct Reported {
    used: f64,
    rise: f64,
    /// When it is empty again; where it was not said, one length after the report.
    resets_at: Timestamp,
}

impl Reports {
    /// A report of `provider`, as of `at`.
    pub(super) fn take(&mut self, provider: &str, windows: &[ReportedWindow], at: Timestamp) {
        let known = self.0.entry(provider.to_owned()).or_default();
        for window in windows {
            let resets_at = window.resets_at.unwrap_or(at + window.span());
            let before = known.get(&window.minutes);
            let same = before.filter(|before| before.resets_at.0.abs_diff(resets_at.0) <= SAME_END);
            let rise = same.map_or(0.0, |before| window.used_percent - before.used);
            let rise = before.map_or(LEAST_RISE, |before| before.rise).max(rise);
            known.insert(window.minutes, Reported { used: window.used_percent, rise, resets_at });
        }
    }

    /// The window in which no further errand fits beside those `in_flight`, and when it is empty: the last of them to open.
    fn full(&self, provider: &str, in_flight: usize, now: Timestamp) -> Option<(u64, &Reported)> {
        let full = |(_, window): &(&u64, &Reported)| window.resets_at > now && window.used + window.rise * (in_flight as f64 + 1.0) > 100.0;
        let windows = self.0.get(provider)?.iter().filter(full);
        windows.max_by_key(|(_, window)| window.resets_at).map(|(minutes, window)| (*minutes, window))
    }
}

impl Run {
    /// Whether the account of a model reports that it has no room for one more errand; noted, for the run may have to park.
    pub(super) fn is_used_up(&mut self, model: &ModelRef) -> bool {
        let provider = model.provider();
        if !self.state.reports.0.contains_key(provider) {
            return false;
        }
        let in_flight = self.state.calls.values().filter(|flight| flight.model.provider() == provider).count();
        let in_flight = in_flight + self.session.errands.get(provider).copied().unwrap_or_default();
        let Some((minutes, window)) = self.state.reports.full(provider, in_flight, self.now) else {
            *self.session.errands.entry(provider.to_owned()).or_default() += 1;
            return false;
        };
        let name = format!("{provider} {}", write_span(Millis(minutes * 60_000)));
        let message = format!(
            "the account of {provider} reports {:.0} % of its {} window used, and one errand took up to {:.0} %",
            window.used,
            write_span(Millis(minutes * 60_000)),
            window.rise
        );
        let until = Some(window.resets_at);
        self.session.used_up = Some(Parking { window: name, until, units: None, message, error: None });
        true
    }

    /// Until when an account that turned an errand away is used up, if its own reports say so.
    pub(super) fn used_up_until(&self, model: &ModelRef) -> Option<Timestamp> {
        self.state.reports.full(model.provider(), 0, self.now).map(|(_, window)| window.resets_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(minutes: u64, used_percent: f64, resets_at: u64) -> ReportedWindow {
        ReportedWindow { minutes, used_percent, resets_at: Some(Timestamp(resets_at)) }
    }

    #[test]
    fn windows_are_told_apart_by_their_length_and_the_last_to_open_counts() {
        let mut reports = Reports::default();
        // The same two windows, the other way round.
        reports.take("codex", &[window(300, 20.0, 900_000), window(10_080, 50.0, 9_000_000)], Timestamp(0));
        reports.take("codex", &[window(10_080, 51.0, 9_000_000), window(300, 24.0, 900_000)], Timestamp(1));
        assert_eq!(reports.full("codex", 0, Timestamp(2)), None);
        let of = |minutes: u64| reports.0["codex"][&minutes].clone();
        assert_eq!((of(300).used, of(300).rise, of(10_080).rise), (24.0, 4.0, 1.0));
        reports.take("codex", &[window(300, 97.0, 900_000), window(10_080, 99.5, 9_000_000)], Timestamp(3));
        assert_eq!(reports.full("codex", 0, Timestamp(4)).map(|(minutes, _)| minutes), Some(10_080));
        assert_eq!(reports.full("codex", 0, Timestamp(9_000_000)), None, "it is empty again");
        assert_eq!(reports.full("other", 0, Timestamp(4)), None);
    }

    #[test]
    fn errands_under_way_count_as_if_each_took_the_most_that_one_has_taken() {
        let mut reports = Reports::default();
        reports.take("codex", &[window(300, 80.0, 900_000)], Timestamp(0));
        reports.take("codex", &[window(300, 85.0, 900_000)], Timestamp(1));
        assert!(reports.full("codex", 2, Timestamp(2)).is_none(), "85 and three times 5 is 100");
        assert!(reports.full("codex", 3, Timestamp(2)).is_some());
        // A new window: less is used, and what an errand takes is remembered.
        reports.take("codex", &[window(300, 1.0, 90_000_000)], Timestamp(3));
        assert_eq!(reports.0["codex"][&300].rise, 5.0);
    }
}
