//! The ledger of a home: what all its runs have spent, and what is promised to their calls in flight.
//!
//! A fold of two streams that every process of the home appends to. `leases` holds promises, appended only where
//! the stream still stands as the promise was judged against; `spending` holds what calls took, appended blindly. A record of
//! `spending` only ever lowers what is promised (or books what nobody promised), so admission from a view that
//! lacks the newest of it is safe; admission from a view that lacks a promise cannot be written.
//!
//! A call belongs to the day on which its lease was taken, whenever it ends: it counts once, and a day that is over
//! grows no more.

mod record;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Amounts, Measure, Refused, Rolling, Scope, Window};
use crate::catalog::Day;
use crate::time::{Millis, Timestamp};

pub use record::{Ended, HomeLease, Promise, Promised, RunMark, Spent};

/// What is older counts in no window: the longest that can be configured, and a day.
const LONGEST_WINDOW: Millis = Millis(31 * 86_400_000);
/// Instants kept apart before the older ones are put together.
const MOST_INSTANTS: usize = 8_192;
/// Days whose sums are kept.
const DAYS: usize = 40;

/// A cap that the runs of the home share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeCap {
    /// Whose.
    pub scope: Scope,
    /// What it counts.
    pub measure: Measure,
    /// So much.
    pub cap: u64,
}

/// A call that wants a lease of the home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeAsk {
    /// The most it can take.
    pub most: Amounts,
    /// Closed to this call, for the run's final judgement.
    pub held_back: Amounts,
}

/// Settled and promised amounts of one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Spent for good.
    pub settled: Amounts,
    /// Promised to calls in flight.
    pub leased: Amounts,
}

/// A lease that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Whose call.
    pub run: RunMark,
    /// When it was taken.
    pub at: Timestamp,
    /// The most it can take.
    pub most: Amounts,
}

/// All spending and all promises of a home.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HomeLedger {
    total: Standing,
    days: BTreeMap<Day, Standing>,
    /// Units by the instant from which they count.
    #[serde(default)]
    units: Rolling,
    #[serde(with = "pairs")]
    open: BTreeMap<HomeLease, Open>,
}

impl HomeLedger {
    /// Whether a call may start now.
    ///
    /// # Errors
    /// [`Refused`] by the first cap, in the order given, that has no room.
    pub fn admit(&self, caps: &[HomeCap], ask: &HomeAsk, now: Timestamp) -> Result<(), Refused> {
        caps.iter().try_for_each(|cap| {
            let (standing, retry_at) = match &cap.scope {
                Scope::Day => (self.day(Day::of(now)), Some(end_of_day(now))),
                _ => (self.total, None),
            };
            if let Scope::Window { span, .. } = &cap.scope {
                return self.admit_to(Window { span: *span, cap: cap.cap }, cap, ask, now);
            }
            let measure = cap.measure;
            let of = |amounts: &Amounts| amounts.of(measure);
            let (settled, leased, needed) = (of(&standing.settled), of(&standing.leased), of(&ask.most));
            let held_back = of(&ask.held_back);
            let total = [settled, leased, held_back, needed].into_iter().map(u128::from).sum::<u128>();
            if total <= u128::from(cap.cap) {
                return Ok(());
            }
            Err(Refused { scope: cap.scope.clone(), measure, cap: cap.cap, settled, leased, held_back, needed, frozen: false, retry_at })
        })
    }

    /// A rolling window's part of [`HomeLedger::admit`]. What is held back never keeps a call out of an empty window.
    fn admit_to(&self, window: Window, cap: &HomeCap, ask: &HomeAsk, now: Timestamp) -> Result<(), Refused> {
        let needed = ask.most.units.0;
        let held_back = ask.held_back.units.0.min(window.cap.saturating_sub(needed));
        let (settled, leased) = (window.used(&self.units, now), self.total.leased.units.0);
        if needed == 0 || window.fits(&self.units, leased, needed.saturating_add(held_back), now) {
            return Ok(());
        }
        // Calls in flight settle at their start: that is when they leave the window.
        let mut all = self.units.clone();
        self.open.values().for_each(|open| all.add(open.at, open.most.units.0));
        let retry_at = window.opens_for(&all, 0, needed.saturating_add(held_back), now);
        let (scope, measure) = (cap.scope.clone(), Measure::Units);
        Err(Refused { scope, measure, cap: cap.cap, settled, leased, held_back, needed, frozen: false, retry_at })
    }

    /// The clock stands at `now`: nothing that is on record counts from later on.
    pub fn seen(&mut self, now: Timestamp) {
        self.units.seen(now);
        if self.units.instants() > MOST_INSTANTS {
            self.units.forget(LONGEST_WINDOW, now);
            self.units.condense(now);
        }
    }

    /// How a window stands: what counts, what is promised to calls in flight, and when the next and the last of it no longer count.
    pub fn window(&self, span: Millis, now: Timestamp) -> (u64, u64, Option<(Timestamp, Timestamp)>) {
        let window = Window { span, cap: u64::MAX };
        (window.used(&self.units, now), self.total.leased.units.0, window.returns(&self.units, now))
    }

    /// Takes in a record of `leases`, which stands at `seq`.
    pub fn promised(&mut self, seq: u64, record: &Promised) {
        for (n, promise) in record.calls.iter().enumerate() {
            let open = Open { run: promise.run, at: record.at, most: promise.most };
            self.promise(HomeLease { seq, n: n as u32 }, open);
        }
    }

    /// Takes in one promise of a record that is about to be written.
    pub fn promise(&mut self, lease: HomeLease, open: Open) {
        self.book(&open, |standing| standing.leased.add(&open.most));
        self.open.insert(lease, open);
    }

    /// Takes back a record of `leases` that was not written after all.
    pub fn unpromised(&mut self, seq: u64, record: &Promised) {
        for n in 0..record.calls.len() {
            if let Some(open) = self.open.remove(&HomeLease { seq, n: n as u32 }) {
                self.book(&open, |standing| standing.leased.take(&open.most));
            }
        }
    }

    /// Takes in a record of `spending`. A lease ends once: what is said of it later changes nothing.
    pub fn ended(&mut self, record: &Ended) {
        for call in &record.calls {
            let at = match call.lease {
                None => call.at,
                Some(lease) => {
                    let Some(open) = self.open.remove(&lease) else { continue };
                    self.book(&open, |standing| standing.leased.take(&open.most));
                    open.at
                }
            };
            self.total.settled.add(&call.took);
            self.units.add(at, call.took.units.0);
            self.days.entry(Day::of(at)).or_default().settled.add(&call.took);
        }
        while self.days.len() > DAYS {
            self.days.pop_first();
        }
    }

    /// How a day stands.
    pub fn day(&self, day: Day) -> Standing {
        self.days.get(&day).copied().unwrap_or_default()
    }

    /// How the home stands.
    pub fn total(&self) -> Standing {
        self.total
    }

    /// Leases that have not ended, in the order they were taken.
    pub fn open(&self) -> impl Iterator<Item = (HomeLease, &Open)> {
        self.open.iter().map(|(lease, open)| (*lease, open))
    }

    fn book(&mut self, open: &Open, act: impl Fn(&mut Standing)) {
        act(&mut self.total);
        act(self.days.entry(Day::of(open.at)).or_default());
    }
}

/// The first instant of the next UTC day.
fn end_of_day(at: Timestamp) -> Timestamp {
    const DAY: u64 = 86_400_000;
    Timestamp((at.0 / DAY).saturating_add(1).saturating_mul(DAY))
}

/// A map whose keys are no texts, as a list of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{HomeLease, Open};

    pub fn serialize<S: Serializer>(map: &BTreeMap<HomeLease, Open>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<HomeLease, Open>, D::Error> {
        Ok(Vec::deserialize(from)?.into_iter().collect())
    }
}
