//! How a number is spread, in little room: counts by size, sixteen classes to a doubling.
//!
//! Merging is adding, so the order in which runs are read changes nothing, and no quantile depends on chance. Numbers
//! below 32 are kept exactly, larger ones to within a thirty-second.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Below this, every number is a class of its own.
const EXACT: u64 = 32;

/// Counts of numbers by their size.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sketch(BTreeMap<u16, u64>);

impl Sketch {
    /// Counts one number.
    pub fn add(&mut self, number: u64) {
        *self.0.entry(class(number)).or_default() += 1;
    }

    /// Takes another sketch in.
    pub fn merge(&mut self, other: &Self) {
        for (class, n) in &other.0 {
            *self.0.entry(*class).or_default() += n;
        }
    }

    /// How many numbers were counted.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The number that so many in a hundred do not pass, by nearest rank; `None` when nothing was counted.
    pub fn quantile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.0.iter().find_map(|(class, n)| {
            seen += n;
            (seen >= rank).then(|| middle(*class))
        })
    }
}

fn class(number: u64) -> u16 {
    if number < EXACT {
        return number as u16;
    }
    let doubling = number.ilog2();
    let sixteenth = (number >> (doubling - 4)) & 15;
    (EXACT + u64::from(doubling - 5) * 16 + sixteenth) as u16
}

/// What stands for the numbers of a class.
fn middle(class: u16) -> u64 {
    let class = u64::from(class);
    if class < EXACT {
        return class;
    }
    // A class read back from a damaged file may be any number: the largest doubling then.
    let (doubling, sixteenth) = ((5 + (class - EXACT) / 16).min(63), (class - EXACT) % 16);
    let from = (16 + sixteenth) << (doubling - 4);
    from + ((1 << (doubling - 4)) - 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_off_by_a_thirty_second_at_most() {
        for number in (0..64).map(|n| 1_u64 << n).chain([33, 100, 999, 12_345, 1_000_001, u64::MAX]).flat_map(|n| [n - 1, n]) {
            let mut sketch = Sketch::default();
            sketch.add(number);
            let found = sketch.quantile(50).unwrap();
            assert!(found.abs_diff(number) <= number / 32, "{number} {found}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_numbers_in_whatever_order_they_came() {
        let numbers: Vec<u64> = (0..1_000).map(|n| n * n % 7_919 + 1).collect();
        let (mut forth, mut back, mut halves) = (Sketch::default(), Sketch::default(), [Sketch::default(), Sketch::default()]);
        for (i, n) in numbers.iter().enumerate() {
            forth.add(*n);
            halves[i % 2].add(*n);
        }
        numbers.iter().rev().for_each(|n| back.add(*n));
        let [mut merged, other] = halves;
        merged.merge(&other);
        assert!(forth == back && forth == merged);
        let mut sorted = numbers;
        sorted.sort_unstable();
        for percent in [1, 5, 50, 95, 99, 100] {
            let exact = sorted[(percent as usize * 10) - 1];
            let found = forth.quantile(percent).unwrap();
            assert!(found.abs_diff(exact) <= exact / 32 + 1, "{percent}: {found} {exact}");
        }
        assert_eq!(Sketch::default().quantile(50), None);
    }
}
