//! How much an account serves in a minute, requests or tokens: learned from its headers, refilled as time goes by.
//!
//! Headers tell what was left when a call came in, and are read when it ends. So every call carries what was thought
//! to be left when it went ([`Mark`]), and only the difference is learned: what was sent meanwhile stays counted. Of calls
//! that end in another order than they went, the one that went last knows best. Calls before it
//! that have not ended may still be on their way: what the account holds is somewhere between with and without them.

use crate::time::{Millis, Timestamp};

/// One request or token, in the unit of the account's level: a billionth, so that slow refills are not rounded away.
const ONE: i64 = 1_000_000_000;
/// So much more than a call needs must be there: the account's own arithmetic rounds too.
const SPARE: i64 = ONE / 64;
/// A rate is measured from the time to a full account only where so much of it is missing.
const LEAST_MEASURED: Millis = Millis(1_000);

/// A supply that refills: requests, or tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// What it serves in a minute; 0 until the provider has said so.
    pub(super) full: u64,
    /// What can be saved up: a minute's worth, or less where headers show that it is whole again sooner.
    pub(super) holds: u64,
    /// Billionths that come back in a second.
    pub(super) rate: i64,
    /// Billionths that are left; below 0 once more was sent than is known to be there.
    pub(super) level: i64,
    /// Sum of all corrections so far.
    pub(super) learned: i64,
    /// When `level` was so.
    pub(super) at: Timestamp,
    /// Calls that went, and the one of them that went last of those whose headers were taken in.
    pub(super) gone: u64,
    pub(super) heard: u64,
    /// The call up to which what was refused is in `level` already.
    pub(super) settled: u64,
    /// Of what went, what has not ended.
    pub(super) out: u64,
}

/// What was thought to be left when a call went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    level: i64,
    learned: i64,
    gone: u64,
    /// Of calls before, what had not ended.
    out: u64,
}

fn billionths(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX).saturating_mul(ONE)
}

fn wide(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}

impl Pace {
    /// Whether the provider has said what it serves.
    pub fn is_known(&self) -> bool {
        self.full > 0
    }

    /// Time goes by.
    pub(super) fn flow(&mut self, now: Timestamp) {
        let came = wide(i128::from(self.rate) * i128::from((now - self.at).0) / 1_000);
        self.at = self.at.max(now);
        self.level = self.level.saturating_add(came);
        if self.is_known() {
            self.level = self.level.min(billionths(self.holds));
        }
    }

    /// Whether `n` are left. What is more than the account ever holds goes when it is full.
    pub(super) fn has(&self, n: u64) -> bool {
        !self.is_known() || self.level >= self.enough(n)
    }

    fn enough(&self, n: u64) -> i64 {
        billionths(n).saturating_add(SPARE).min(billionths(self.holds))
    }

    /// When `n` are left, if nothing else is sent.
    pub(super) fn has_at(&self, n: u64, now: Timestamp) -> Timestamp {
        if self.has(n) || self.rate <= 0 {
            return now;
        }
        let missing = i128::from(self.enough(n)) - i128::from(self.level);
        let wait = (missing * 1_000 + i128::from(self.rate) - 1) / i128::from(self.rate);
        now + Millis(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    /// `n` go.
    pub(super) fn take(&mut self, n: u64) {
        self.gone = self.gone.wrapping_add(1);
        self.out = self.out.saturating_add(n);
        self.level = self.level.saturating_sub(billionths(n));
    }

    /// Where `taken` went before, `n` go: calls that went between carry marks of what was thought then.
    pub(super) fn instead(&mut self, taken: u64, n: u64) {
        let correction = billionths(taken).saturating_sub(billionths(n));
        self.out = self.out.saturating_sub(taken).saturating_add(n);
        self.level = self.level.saturating_add(correction);
        self.learned = self.learned.saturating_add(correction);
    }

    /// What a call carries that goes now and takes `n`, itself counted.
    pub(super) fn mark(&self, n: u64) -> Mark {
        Mark { level: self.level, learned: self.learned, gone: self.gone, out: self.out.saturating_sub(n) }
    }

    /// What took `n` was refused, and took nothing.
    pub(super) fn refused(&mut self, n: u64, mark: Mark) {
        let counted = mark.gone <= self.settled;
        if !counted {
            self.instead(n, 0);
        }
        self.end(if counted { n } else { 0 });
    }

    /// What took `n` has ended.
    pub(super) fn end(&mut self, n: u64) {
        self.out = self.out.saturating_sub(n);
        self.floor();
    }

    /// No account holds less than nothing: below that there is only what may still be on its way.
    fn floor(&mut self) {
        let lacks = billionths(self.out).saturating_neg().saturating_sub(self.level);
        if self.is_known() && lacks > 0 {
            self.level = self.level.saturating_add(lacks);
            self.learned = self.learned.saturating_add(lacks);
        }
    }

    /// Takes in what headers say: how much there is in a minute, how much of it was left, and when it is whole again.
    /// `late`: how long after its mark the call was really sent; what came back in that time is not counted twice.
    pub(super) fn learn(&mut self, full: Option<u64>, left: Option<u64>, whole_in: Option<Millis>, mark: Mark, late: Millis) {
        let Some(full) = full.filter(|full| *full > 0) else { return };
        (self.full, self.holds) = (full, full);
        self.rate = wide(i128::from(billionths(full)) / 60).max(1);
        let Some(left) = left.map(|left| left.min(full)) else { return };
        if let Some(span) = whole_in {
            let comes = i128::from(self.rate) * i128::from(span.0) / 1_000;
            let whole = u64::try_from((comes + i128::from(ONE) - 1) / i128::from(ONE)).unwrap_or(u64::MAX);
            self.holds = left.saturating_add(whole).clamp(1, full);
        }
        // An account may be given by the day: then it comes back more slowly than within a minute.
        let missing = full - left;
        if let Some(span) = whole_in.filter(|span| *span >= LEAST_MEASURED && missing >= full / 20) {
            let measured = wide(i128::from(billionths(missing)) * 1_000 / i128::from(span.0));
            self.rate = self.rate.min(measured).max(1);
        }
        let meanwhile = wide(i128::from(self.rate) * i128::from(late.0) / 1_000);
        let then = mark.level.saturating_add(meanwhile).min(billionths(self.holds));
        let most = billionths(left).saturating_sub(then).saturating_sub(self.learned.saturating_sub(mark.learned));
        let least = most.saturating_sub(billionths(mark.out));
        let correction = if mark.gone >= self.heard {
            self.heard = mark.gone;
            if most <= 0 || least >= most {
                self.settled = mark.gone;
            }
            0.clamp(least, most)
        } else {
            // What came after it may be counted twice: it only says that there is so much at least.
            least.max(0)
        };
        self.learned = self.learned.saturating_add(correction);
        self.level = self.level.saturating_add(correction).min(billionths(self.holds));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(pace: &mut Pace, left: u64, mark: Mark) {
        pace.end(1);
        pace.learn(Some(600), Some(left), None, mark, Millis(0));
    }

    #[test]
    fn what_is_learned_late_counts_what_was_sent_meanwhile() {
        let mut pace = Pace::default();
        let marks: Vec<Mark> = (0..900)
            .map(|_| {
                pace.take(1);
                pace.mark(1)
            })
            .collect();
        ended(&mut pace, 599, marks[0]);
        assert_eq!(pace.level, -300 * ONE, "three hundred too many are on their way");
        for (served, mark) in marks.iter().enumerate().take(600).skip(1) {
            ended(&mut pace, 599 - served as u64, *mark);
        }
        assert_eq!(pace.level, -300 * ONE, "nothing new is said");
        for mark in &marks[600..] {
            pace.refused(1, *mark);
            pace.learn(Some(600), Some(0), None, *mark, Millis(0));
        }
        assert_eq!(pace.level, 0, "what was refused was not taken");
        assert_eq!(pace.has_at(1, Timestamp(0)), Timestamp(102));
    }

    #[test]
    fn an_account_given_by_the_day_is_not_taken_for_one_by_the_minute() {
        let mut pace = Pace::default();
        pace.take(1);
        let mark = pace.mark(1);
        pace.learn(Some(200), Some(0), Some(Millis(86_400_000)), mark, Millis(0));
        pace.flow(Timestamp(60_000));
        assert!(!pace.has(1));
        assert!(pace.has_at(1, Timestamp(60_000)) > Timestamp(400_000));
        pace.flow(Timestamp(440_000));
        assert!(pace.has(1), "one every 432 s");
    }

    #[test]
    fn news_in_any_order_ends_near_what_there_is_and_never_above() {
        let mut pace = Pace::default();
        let marks: Vec<Mark> = (0..300)
            .map(|_| {
                pace.take(1);
                pace.mark(1)
            })
            .collect();
        // Sixty are served, the others refused; the answers come in any order, the last one's first.
        for at in (0..300).map(|i| (i * 7 + 299) % 300) {
            if at < 60 {
                pace.end(1);
            } else {
                pace.refused(1, marks[at as usize]);
            }
            pace.learn(Some(600), Some(59_u64.saturating_sub(at)), None, marks[at as usize], Millis(0));
        }
        assert!((-10 * ONE..=0).contains(&pace.level), "{}", pace.level);
    }

    #[test]
    fn calls_that_overtook_others_do_not_hide_them() {
        let mut pace = Pace::default();
        pace.learn(Some(60), Some(60), None, pace.mark(0), Millis(0));
        let marks: Vec<Mark> = (0..60)
            .map(|_| {
                pace.take(1);
                pace.mark(1)
            })
            .collect();
        // The last one is the first to come: it hears of sixty less itself.
        pace.end(1);
        pace.learn(Some(60), Some(59), None, marks[59], Millis(0));
        assert!(!pace.has(1), "the other fifty-nine are on their way");
    }

    #[test]
    fn what_came_back_before_a_call_was_sent_is_not_counted_twice() {
        let mut pace = Pace::default();
        pace.learn(Some(600), Some(0), None, pace.mark(1), Millis(0));
        pace.flow(Timestamp(1_000));
        pace.take(1);
        let mark = pace.mark(1);
        pace.flow(Timestamp(1_500));
        // It went half a second after its turn: the account says what it held by then.
        pace.learn(Some(600), Some(14), Some(Millis(58_600)), mark, Millis(500));
        assert_eq!(pace.level, 14 * ONE);
    }

    #[test]
    fn what_did_not_go_after_all_is_given_back_once() {
        let mut pace = Pace::default();
        pace.learn(Some(600), Some(5), Some(Millis(0)), pace.mark(1), Millis(0));
        pace.take(1);
        pace.take(1);
        let second = pace.mark(1);
        pace.instead(1, 0);
        pace.learn(Some(600), Some(4), Some(Millis(100)), second, Millis(0));
        assert_eq!(pace.level, 4 * ONE);
    }

    #[test]
    fn what_an_account_saves_up_is_seen_from_when_it_is_whole_again() {
        let mut pace = Pace::default();
        pace.take(1);
        pace.learn(Some(600), Some(4), Some(Millis(100)), pace.mark(1), Millis(0));
        pace.flow(Timestamp(60_000));
        assert_eq!(pace.level, 5 * ONE);
    }

    #[test]
    fn small_steps_of_time_lose_nothing() {
        let mut pace = Pace::default();
        pace.learn(Some(600), Some(0), None, pace.mark(1), Millis(0));
        (0..60_000).for_each(|ms| pace.flow(Timestamp(ms)));
        pace.flow(Timestamp(60_000));
        assert!(pace.has(600) && !pace.has_at(600, Timestamp(60_000)).gt(&Timestamp(60_000)));
    }

    #[test]
    fn more_than_the_account_ever_holds_goes_when_it_is_full() {
        let mut pace = Pace::default();
        pace.learn(Some(1_000), Some(1_000), None, pace.mark(1), Millis(0));
        assert!(pace.has(5_000));
        pace.take(5_000);
        assert!(!pace.has(1));
    }
}
