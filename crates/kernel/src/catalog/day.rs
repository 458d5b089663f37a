//! A calendar day, UTC: what prices are dated by. It knows no clock and no time zone.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

const DAY_MS: u64 = 86_400_000;

/// Days since 1970-01-01 (UTC), written `YYYY-MM-DD`; years 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(u32);

impl Day {
    /// 1970-01-01: before every price.
    pub const FIRST: Self = Self(0);

    /// The day an instant falls on, in UTC.
    pub fn of(at: Timestamp) -> Self {
        let days = u32::try_from(at.0 / DAY_MS).unwrap_or(u32::MAX);
        Self(days.min(LAST))
    }

    /// Reads `YYYY-MM-DD`; `None` for anything else, a 30th of February included.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return None;
        }
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().try_fold(0_u32, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u32::from(b - b'0')))
        };
        Self::from_ymd(number(0..4)?, number(5..7)?, number(8..10)?)
    }

    fn from_ymd(year: u32, month: u32, day: u32) -> Option<Self> {
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 || day > month_days(year, month) {
            return None;
        }
        let before: u32 = (1..month).map(|m| month_days(year, m)).sum();
        Some(Self(days_before_year(year) + before + day - 1))
    }

    /// Year, month and day of the month.
    pub fn ymd(self) -> (u32, u32, u32) {
        // 400 years hold 146,097 days; the guess is at most one year early or late.
        let mut year = 1970 + (u64::from(self.0) * 400 / 146_097) as u32;
        while days_before_year(year) > self.0 {
            year -= 1;
        }
        while days_before_year(year + 1) <= self.0 {
            year += 1;
        }
        let mut rest = self.0 - days_before_year(year);
        let mut month = 1;
        while rest >= month_days(year, month) {
            rest -= month_days(year, month);
            month += 1;
        }
        (year, month, rest + 1)
    }
}

/// 9999-12-31.
const LAST: u32 = 2_932_896;

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_days(year: u32, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first day of `year`.
fn days_before_year(year: u32) -> u32 {
    let leaps = |y: u32| y / 4 - y / 100 + y / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.ymd();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl TryFrom<String> for Day {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no day: write YYYY-MM-DD"))
    }
}

impl From<Day> for String {
    fn from(day: Day) -> String {
        day.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_reads_back_as_written() {
        let mut last = None;
        for n in 0..=LAST {
            let day = Day(n);
            let (y, m, d) = day.ymd();
            assert_eq!(Day::from_ymd(y, m, d), Some(day));
            assert!(last < Some((y, m, d)));
            last = Some((y, m, d));
        }
        assert_eq!(Day(LAST).to_string(), "9999-12-31");
    }

    #[test]
    fn an_instant_falls_on_its_utc_day() {
        assert_eq!(Day::of(Timestamp(1_761_768_904_000)).to_string(), "2025-10-29");
        assert_eq!(Day::of(Timestamp(951_782_400_000)).to_string(), "2000-02-29");
        assert_eq!(Day::of(Timestamp(u64::MAX)).to_string(), "9999-12-31");
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in ["", "2026-2-01", "2026-02-30", "2100-02-29", "1969-12-31", "2026-13-01", "2026/01/01", "2026-00-10", "é026-01-1"] {
            assert_eq!(Day::parse(text), None, "{text}");
        }
    }
}
