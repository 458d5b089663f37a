//! Money as integers: nano-dollars spent, micro-dollars per million tokens as prices. Units of a quota likewise.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// An amount in nano-dollars (10⁻⁹ USD), never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One dollar.
    pub const DOLLAR: Self = Self(1_000_000_000);

    /// The difference, or zero.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum, or `None` past 2⁶⁴ nano-dollars (18 billion dollars).
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Reads a decimal number of dollars with at most 9 places, as written by a person: `5`, `0.25`.
    pub fn parse_usd(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 || !digits(whole) || !digits(fraction) {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction: u64 = format!("{fraction:0<9}").parse().ok()?;
        whole.checked_mul(1_000_000_000)?.checked_add(fraction).map(Self)
    }

    /// Dollars as a decimal number without trailing zeros: the `*_usd` form of JSON output.
    pub fn usd(self) -> String {
        let (whole, rest) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if rest == 0 {
            return whole.to_string();
        }
        format!("{whole}.{rest:09}").trim_end_matches('0').to_owned()
    }
}

impl fmt::Display for NanoUsd {
    /// For people: `$0.0123`, at least two places, four significant digits below a dollar.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dollars = self.0 as f64 / 1e9;
        let text = match self.0 {
            0 => "$0.00".to_owned(),
            1..10_000_000 => format!("${dollars:.6}"),
            10_000_000..1_000_000_000 => format!("${dollars:.4}"),
            _ => format!("${dollars:.2}"),
        };
        f.pad(&text)
    }
}

impl Add for NanoUsd {
    type Output = Self;
    /// Saturates: sums of real money never come near the limit.
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for NanoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

/// Micro-dollars per million tokens: `$2.50 / 1M` is 2,500,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate(pub u64);

impl Rate {
    /// What `tokens` cost at this rate, in pico-dollars (10⁻¹² USD), exactly.
    pub fn pico(self, tokens: u64) -> u128 {
        u128::from(self.0) * u128::from(tokens)
    }
}

/// Rounds a sum of [`Rate::pico`] products up to nano-dollars; done once per call.
pub fn round_up(pico: u128) -> NanoUsd {
    NanoUsd(u64::try_from(pico.div_ceil(1000)).unwrap_or(u64::MAX))
}

/// Units of a subscription's quota, in thousandths; written as a decimal number of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub struct QuotaUnits(pub u64);

impl QuotaUnits {
    /// One unit.
    pub const ONE: Self = Self(1_000);

    /// Reads a decimal number of units with at most 3 places, at most a million: `1`, `0.3`.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || whole.len() > 7 || fraction.len() > 3 || !digits(whole) || !digits(fraction) {
            return None;
        }
        let units = Self(whole.parse::<u64>().ok()? * 1_000 + format!("{fraction:0<3}").parse::<u64>().ok()?);
        (units.0 <= 1_000_000_000).then_some(units)
    }

    /// Whether there are none.
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl AddAssign for QuotaUnits {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

impl fmt::Display for QuotaUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1_000, self.0 % 1_000);
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl From<QuotaUnits> for f64 {
    fn from(units: QuotaUnits) -> Self {
        units.0 as Self / 1_000.0
    }
}

impl From<f64> for QuotaUnits {
    /// Rounds to thousandths, so that what was written is read back the same.
    fn from(units: f64) -> Self {
        Self((units * 1_000.0).round().max(0.0) as u64)
    }
}
