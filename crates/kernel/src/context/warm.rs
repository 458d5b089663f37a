//! Whether siblings wait until the first of them has warmed the provider's cache.
//!
//! Sent together, all of them write the prefix they share and none reads it. Sent a moment after the first, the rest
//! read it at the cached price. Decides by money alone; how long a wait may be is the caller's bound.

use super::kit::{InputRates, LEAST_CACHED};

/// Whether it is cheaper that `siblings`, with so many tokens of prefix in common, wait for the first of them:
/// (siblings − 1) · shared · (plain − cached), less what writing the cache costs beyond plain input.
pub fn worth_waiting(siblings: u64, shared: u64, rates: InputRates) -> bool {
    if siblings < 2 || shared <= LEAST_CACHED || rates.cached >= rates.plain {
        return false;
    }
    let reads = shared.saturating_mul(siblings - 1);
    let saved = rates.plain.pico(reads) - rates.cached.pico(reads);
    saved > rates.write.pico(shared).saturating_sub(rates.plain.pico(shared))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Rate;

    #[test]
    fn siblings_wait_only_where_it_is_cheaper() {
        let rates = |plain, cached, write| InputRates { plain: Rate(plain), cached: Rate(cached), write: Rate(write) };
        for (siblings, shared, rates, holds, why) in [
            (2, 1_025, rates(100, 10, 100), true, "one reads what the other wrote"),
            (1, 9_000, rates(100, 10, 100), false, "nobody waits"),
            (9, 1_024, rates(100, 10, 100), false, "too short to be cached for sure"),
            (9, 9_000, rates(100, 100, 100), false, "cached input costs as much"),
            (9, 9_000, rates(0, 0, 0), false, "it costs nothing"),
            (2, 2_000, rates(100, 10, 125), true, "writing costs a quarter more, reading saves nine tenths"),
            (2, 2_000, rates(100, 60, 150), false, "writing costs more than reading once saves"),
            (3, 2_000, rates(100, 60, 150), true, "reading twice saves more"),
        ] {
            assert_eq!(worth_waiting(siblings, shared, rates), holds, "{why}");
        }
    }
}
