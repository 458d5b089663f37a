//! Rolling windows: what was used in the last so many hours, and when there is room again.
//!
//! An amount counts from its instant until exactly one span later, once, wherever the window is looked at from. Clocks jump: an
//! amount from the future counts as of when it is first seen, so that it is neither forgotten nor counted for longer than a span.
//! Amounts are plain numbers; what they measure is the caller's to know. Read first: [`Window`].

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::{Millis, Timestamp};

/// How finely what is older is told apart, both in milliseconds, the oldest first: beyond a day quarters of an hour, beyond an
/// hour minutes.
const COARSE: [(u64, u64); 2] = [(86_400_000, 900_000), (3_600_000, 60_000)];

/// Amounts by the instant from which they count, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rolling {
    /// Instants, ascending, each with the sum of all up to and including it.
    entries: VecDeque<(Timestamp, u128)>,
    /// The sum of all that was forgotten.
    before: u128,
}

/// At no instant more than `cap` in the last `span`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How long an amount counts.
    pub span: Millis,
    /// How much may count at once.
    pub cap: u64,
}

impl Rolling {
    /// Takes in an amount that was used at `at`.
    pub fn add(&mut self, at: Timestamp, amount: u64) {
        if amount == 0 {
            return;
        }
        let place = self.entries.partition_point(|(other, _)| *other < at);
        if self.entries.get(place).is_none_or(|(other, _)| *other != at) {
            let below = self.below(place);
            self.entries.insert(place, (at, below));
        }
        self.entries.range_mut(place..).for_each(|(_, sum)| *sum += u128::from(amount));
    }

    /// The clock stands at `now`: what counts from later on was written before the clock went back, and counts from here.
    pub fn seen(&mut self, now: Timestamp) {
        let place = self.entries.partition_point(|(at, _)| *at <= now);
        if place == self.entries.len() {
            return;
        }
        let total = self.total();
        self.entries.truncate(place);
        match self.entries.back_mut().filter(|(at, _)| *at == now) {
            Some((_, sum)) => *sum = total,
            None => self.entries.push_back((now, total)),
        }
    }

    /// Lets go of what no window of `span` counts any more.
    pub fn forget(&mut self, span: Millis, now: Timestamp) {
        while let Some((_, sum)) = self.entries.pop_front_if(|(at, _)| *at + span <= now) {
            self.before = sum;
        }
    }

    /// Keeps it small: what is old counts a little longer than it must, together with what came soon after it.
    pub fn condense(&mut self, now: Timestamp) {
        let mut kept: VecDeque<(Timestamp, u128)> = VecDeque::new();
        for (at, sum) in std::mem::take(&mut self.entries) {
            let age = (now - at).0;
            let grain = COARSE.into_iter().find(|(older, _)| age > *older).map_or(1, |(_, grain)| grain);
            match kept.back_mut().filter(|(last, _)| last.0 / grain == at.0 / grain) {
                Some(last) => *last = (at, sum),
                None => kept.push_back((at, sum)),
            }
        }
        self.entries = kept;
    }

    /// What counts in the last `span`.
    pub fn used(&self, span: Millis, now: Timestamp) -> u64 {
        let gone = self.entries.partition_point(|(at, _)| *at + span <= now);
        u64::try_from(self.total() - self.below(gone)).unwrap_or(u64::MAX)
    }

    /// The amounts that are kept, in the order of their instants.
    pub fn amounts(&self) -> impl Iterator<Item = (Timestamp, u64)> {
        self.entries.iter().enumerate().map(|(n, (at, sum))| (*at, u64::try_from(sum - self.below(n)).unwrap_or(u64::MAX)))
    }

    /// How many instants are kept.
    pub fn instants(&self) -> usize {
        self.entries.len()
    }

    fn total(&self) -> u128 {
        self.below(self.entries.len())
    }

    /// The sum of all before a place.
    fn below(&self, place: usize) -> u128 {
        place.checked_sub(1).map_or(self.before, |last| self.entries[last].1)
    }
}

impl Window {
    /// What counts now.
    pub fn used(&self, past: &Rolling, now: Timestamp) -> u64 {
        past.used(self.span, now)
    }

    /// Whether `need` more has room beside what was used and the `leased` that is promised.
    pub fn fits(&self, past: &Rolling, leased: u64, need: u64, now: Timestamp) -> bool {
        self.sum([self.used(past, now), leased, need]) <= u128::from(self.cap)
    }

    /// When `need` has room at the earliest, if nothing else is used meanwhile: `now` if it has. `None` when it never has
    /// beside what is promised.
    pub fn opens_for(&self, past: &Rolling, leased: u64, need: u64, now: Timestamp) -> Option<Timestamp> {
        let room = u128::from(self.cap).checked_sub(self.sum([leased, need]))?;
        if u128::from(self.used(past, now)) <= room {
            return Some(now);
        }
        // Past entry n the window holds total - sum(n): the first n that leaves at most `room`.
        let n = past.entries.partition_point(|(_, sum)| past.total() - sum > room);
        past.entries.get(n).map(|(at, _)| (*at).min(now) + self.span)
    }

    /// When the next amount leaves the window, and when the last one does; `None` while it is empty.
    pub fn returns(&self, past: &Rolling, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let gone = past.entries.partition_point(|(at, _)| *at + self.span <= now);
        let leaves = |(at, _): &(Timestamp, u128)| (*at).min(now) + self.span;
        Some((past.entries.get(gone).map(leaves)?, past.entries.back().map(leaves)?))
    }

    fn sum(self, parts: impl IntoIterator<Item = u64>) -> u128 {
        parts.into_iter().map(u128::from).sum()
    }
}

impl Serialize for Rolling {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.amounts())
    }
}

impl<'de> Deserialize<'de> for Rolling {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut rolling = Self::default();
        Vec::<(Timestamp, u64)>::deserialize(from)?.into_iter().for_each(|(at, amount)| rolling.add(at, amount));
        Ok(rolling)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400_000;

    /// What a window is, said slowly: every amount with the instant from which it counts.
    #[derive(Default)]
    struct Slow(Vec<(u64, u64)>);

    impl Slow {
        fn seen(&mut self, now: u64) {
            self.0.iter_mut().for_each(|(at, _)| *at = (*at).min(now));
        }

        fn used(&self, span: u64, now: u64) -> u64 {
            self.0.iter().filter(|(at, _)| at + span > now).map(|(_, amount)| amount).sum()
        }
    }

    /// Steps of a clock that mostly creeps and sometimes leaps a day either way, with an amount used a little before or after.
    fn steps() -> impl Strategy<Value = Vec<(i64, i64, u64)>> {
        let clock = prop_oneof![8 => 0..2_000_i64, 1 => Just(-DAY), 1 => Just(DAY), 1 => -3_600_000..3_600_000_i64];
        proptest::collection::vec((clock, -500..500_i64, 0..50_u64), 1..60)
    }

    proptest! {
        #[test]
        fn an_amount_counts_for_one_span_and_once_however_the_clock_jumps(steps in steps(), span in 1..20_000_u64, keep in any::<bool>()) {
            let (mut rolling, mut slow) = (Rolling::default(), Slow::default());
            let mut now = 10 * DAY;
            for (tick, skew, amount) in steps {
                now = (now + tick).max(1_000);
                let at = (now + skew).max(0) as u64;
                rolling.add(Timestamp(at), amount);
                rolling.seen(Timestamp(now as u64));
                slow.seen(now as u64);
                slow.0.push((at.min(now as u64), amount));
                prop_assert_eq!(rolling.used(Millis(span), Timestamp(now as u64)), slow.used(span, now as u64));
                let listed: u64 = rolling.amounts().filter(|(at, _)| at.0 + span > now as u64).map(|(_, amount)| amount).sum();
                prop_assert_eq!(listed, slow.used(span, now as u64));
                if !keep {
                    // What is forgotten can only come back by a clock that goes back: then it is no longer known.
                    rolling.forget(Millis(span), Timestamp(now as u64));
                    slow.0.retain(|(at, _)| at + span > now as u64);
                }
            }
        }

        #[test]
        fn a_window_opens_at_the_first_instant_at_which_the_need_fits(
            amounts in proptest::collection::vec((0..5_000_u64, 1..20_u64), 0..30),
            (span, cap, leased, need) in (1..4_000_u64, 1..100_u64, 0..30_u64, 0..60_u64),
            ahead in 0..500_u64,
        ) {
            let (mut rolling, last) = (Rolling::default(), Timestamp(5_000));
            for (at, amount) in amounts {
                rolling.add(Timestamp(at), amount);
            }
            let (window, now) = (Window { span: Millis(span), cap }, last + Millis(ahead));
            match window.opens_for(&rolling, leased, need, now) {
                None => prop_assert!(leased + need > cap),
                Some(at) => {
                    prop_assert!(at >= now);
                    prop_assert!(window.fits(&rolling, leased, need, at), "opens when it fits");
                    prop_assert!(at == now || !window.fits(&rolling, leased, need, Timestamp(at.0 - 1)), "and not before");
                }
            }
        }

        #[test]
        fn admission_by_a_window_never_lets_any_span_hold_more_than_its_cap(
            asks in proptest::collection::vec((0..700_u64, 1..12_u64), 1..80),
            (span, cap) in (1..3_000_u64, 1..30_u64),
        ) {
            let (mut rolling, mut taken, mut now) = (Rolling::default(), Vec::new(), 0_u64);
            let window = Window { span: Millis(span), cap };
            for (tick, need) in asks {
                now += tick;
                if window.fits(&rolling, 0, need, Timestamp(now)) {
                    rolling.add(Timestamp(now), need);
                    taken.push((now, need));
                }
            }
            for (start, _) in &taken {
                let within: u64 = taken.iter().filter(|(at, _)| (*start..start + span).contains(at)).map(|(_, need)| need).sum();
                prop_assert!(within <= cap);
            }
        }
    }

    #[test]
    fn at_its_boundary_an_amount_counts_in_one_window_and_not_in_the_next() {
        let mut rolling = Rolling::default();
        rolling.add(Timestamp(1_000), 7);
        let span = Millis(500);
        assert_eq!(rolling.used(span, Timestamp(1_499)), 7);
        assert_eq!(rolling.used(span, Timestamp(1_500)), 0);
        let window = Window { span, cap: 7 };
        assert_eq!(window.opens_for(&rolling, 0, 1, Timestamp(1_200)), Some(Timestamp(1_500)));
        assert_eq!(window.returns(&rolling, Timestamp(1_200)), Some((Timestamp(1_500), Timestamp(1_500))));
        assert_eq!(window.returns(&rolling, Timestamp(1_500)), None);
        // Forgetting changes nothing that a window of that span can see.
        rolling.forget(span, Timestamp(1_500));
        assert_eq!(rolling.used(span, Timestamp(1_500)), 0);
    }

    #[test]
    fn condensing_lets_nothing_go_early_and_keeps_a_month_small() {
        let (mut rolling, now) = (Rolling::default(), 40 * DAY as u64);
        (0..30 * 1_440).for_each(|minute| rolling.add(Timestamp(now - minute * 60_000 - 7), 1));
        let before = rolling.clone();
        rolling.condense(Timestamp(now));
        assert!(rolling.instants() < 5_000, "{}", rolling.instants());
        for hours in [1, 5, 24, 168, 720] {
            let (was, is) =
                (before.used(Millis(hours * 3_600_000), Timestamp(now)), rolling.used(Millis(hours * 3_600_000), Timestamp(now)));
            assert!((was..=was + 15).contains(&is), "{hours} h: {was} {is}");
        }
        let stored = serde_json::to_string(&rolling).unwrap();
        assert_eq!(serde_json::from_str::<Rolling>(&stored).unwrap().amounts().collect::<Vec<_>>(), rolling.amounts().collect::<Vec<_>>());
    }

    #[test]
    fn an_amount_from_the_future_counts_from_when_it_is_seen() {
        let mut rolling = Rolling::default();
        let tomorrow = Timestamp(DAY as u64);
        rolling.add(tomorrow, 5);
        // The clock is put right: the amount counts now, for one span, and not until tomorrow's is over.
        rolling.seen(Timestamp(1_000));
        assert_eq!(rolling.used(Millis(500), Timestamp(1_000)), 5);
        assert_eq!(rolling.used(Millis(500), Timestamp(1_500)), 0);
    }
}
