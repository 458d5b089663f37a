//! Which tools siblings are offered: each its own, or all of their type the same, narrowed call by call.
//!
//! Tools stand in front of everything that a provider caches. Where siblings are granted different ones, their prefixes
//! share nothing; one set for all makes them share everything, at the price of schemas that most of them may not use.
//! It decides on prices handed in; it grants nothing: a tool that was not granted is refused when it is called.

use crate::units::Rate;

/// Shorter prefixes are never cached (responses-api.md §5).
pub const LEAST_CACHED: u64 = 1_024;
/// Calls of one attempt that has tools: ours, a guess. Every one of them sends the tools again.
const CALLS: u64 = 3;

/// Siblings with the same grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alike {
    /// How many.
    pub units: u64,
    /// Tokens of the tools they are granted.
    pub tools: u64,
}

/// What a token of input costs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputRates {
    /// Neither read from the cache nor written to it.
    pub plain: Rate,
    /// Read from the cache.
    pub cached: Rate,
    /// Written to the cache.
    pub write: Rate,
}

impl InputRates {
    /// What a prefix costs that `units` siblings share, in pico-dollars.
    fn shared(self, prefix: u64, units: u64) -> u128 {
        let calls = units.saturating_mul(CALLS);
        if prefix < LEAST_CACHED {
            return self.plain.pico(prefix.saturating_mul(calls));
        }
        self.plain.max(self.write).pico(prefix) + self.cached.pico(prefix.saturating_mul(calls.saturating_sub(1)))
    }
}

/// Whether it is cheaper to offer all siblings of a type the `union` of their tools (in tokens) than each its own.
/// `rest` is what stands in front of their own parts beside the tools: rules, format, shared instructions.
pub fn one_kit(groups: &[Alike], union: u64, rest: u64, rates: InputRates) -> bool {
    let units = groups.iter().fold(0_u64, |sum, group| sum.saturating_add(group.units));
    let apart = groups.iter().fold(0_u128, |sum, group| sum.saturating_add(rates.shared(rest + group.tools, group.units)));
    groups.len() > 1 && rates.shared(rest + union, units) < apart
}

#[cfg(test)]
mod tests {
    use super::*;

    const NANO: InputRates = InputRates { plain: Rate(200_000), cached: Rate(20_000), write: Rate(200_000) };

    #[test]
    fn one_kit_is_offered_only_where_the_cache_pays_for_it() {
        let two = [Alike { units: 4, tools: 150 }, Alike { units: 4, tools: 100 }];
        let same = [Alike { units: 8, tools: 150 }];
        let dear = [Alike { units: 400, tools: 100 }, Alike { units: 1, tools: 9_000 }];
        let flat = InputRates { cached: NANO.plain, ..NANO };
        for (groups, union, rest, rates, holds, why) in [
            (&two[..], 250, 500, NANO, false, "no prefix is long enough to be cached"),
            (&two[..], 250, 800, NANO, true, "only together it is long enough"),
            (&two[..], 250, 3_000, NANO, true, "one prefix is written instead of two"),
            (&two[..], 250, 3_000, flat, false, "cached input costs as much"),
            (&two[..], 250, 3_000, InputRates::default(), false, "it costs nothing either way"),
            (&same[..], 150, 3_000, NANO, false, "they are alike already"),
            (&dear[..], 9_100, 3_000, NANO, false, "four hundred would read the tools of one"),
        ] {
            assert_eq!(one_kit(groups, union, rest, rates), holds, "{why}");
        }
    }
}
