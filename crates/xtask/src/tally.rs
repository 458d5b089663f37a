//! Counts tests from what cargo-nextest and the standard test harness print; it believes only their summary lines.

use std::ops::{Add, AddAssign};

/// Tests that ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
}

impl Tally {
    /// What this line adds: nothing, unless it is a summary.
    pub fn of_line(line: &str) -> Self {
        let line = without_colour(line);
        // nextest shows the output of failed tests indented: their own summaries count for nothing
        let counts = if let Some(counts) = line.strip_prefix("test result: ") {
            counts.split_once(". ").map(|(_, counts)| counts)
        } else if line.trim_start().starts_with("Summary [") {
            line.split_once(" run: ").map(|(_, counts)| counts)
        } else {
            None
        };
        let mut tally = Self::default();
        for part in counts.unwrap_or_default().split([',', ';', '(', ')']) {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => tally.passed += number,
                "failed" | "timed out" | "exec failed" => tally.failed += number,
                // slow, flaky, leaky are remarks on the passed; skipped, ignored and filtered out did not run
                _ => {}
            }
        }
        tally
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// The line without escape sequences that set colours.
fn without_colour(line: &str) -> String {
    let mut pieces = line.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('m').map_or(piece, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn both_harnesses_are_understood() {
        for (line, passed, failed) in [
            ("test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 1 filtered out; finished in 0.02s", 12, 0),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out", 1, 2),
            ("     Summary [   0.015s] 2 tests run: 2 passed, 1 skipped", 2, 0),
            ("     Summary [   0.015s] 1 test run: 1 passed, 0 skipped", 1, 0),
            ("     Summary [  71.015s] 5/9 tests run: 2 passed (1 slow, 1 flaky), 1 failed, 1 timed out, 1 exec failed, 0 skipped", 2, 3),
            (
                "\x1b[32;1m     Summary\x1b[0m [   0.015s] \x1b[1m2\x1b[0m tests run: \x1b[1m2\x1b[0m \x1b[32;1mpassed\x1b[0m, 0 skipped",
                2,
                0,
            ),
            ("test ledger::settles ... ok", 0, 0),
            ("note: 5 passed, 6 failed", 0, 0),
            ("    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 13 filtered out", 0, 0),
        ] {
            assert_eq!(Tally::of_line(line), Tally { passed, failed }, "{line}");
        }
    }
}
