//! Who does work that several runs want at once: the first of those that are still at it; the others wait for what it brings.

use serde::{Deserialize, Serialize};

use crate::ids::RunId;

/// A run's word on some work, in the order all runs of the home see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The work.
    pub work: String,
    /// Whose word it is.
    pub run: RunId,
    /// It is not at it any more: done, failed, or sent on to another tier.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
}

/// Whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// One's own.
    Mine,
    /// This run's.
    Of(RunId),
}

/// Whose turn it is among the claims to one piece of work, `me` having claimed it too. A run that is no longer at work has none.
pub fn whose(claims: &[Claim], me: &RunId, at_work: impl Fn(&RunId) -> bool) -> Whose {
    for (n, claim) in claims.iter().enumerate().filter(|(_, claim)| !claim.over) {
        let taken_back = claims[n..].iter().any(|later| later.over && later.run == claim.run);
        if claim.run == *me && !taken_back {
            return Whose::Mine;
        }
        if claim.run != *me && !taken_back && at_work(&claim.run) {
            return Whose::Of(claim.run.clone());
        }
    }
    Whose::Mine
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(n: u8) -> RunId {
        RunId::new(&format!("r{n}")).unwrap()
    }

    fn claims() -> impl Strategy<Value = Vec<Claim>> {
        let claim = (0..4_u8, any::<bool>()).prop_map(|(n, over)| Claim { work: "w".to_owned(), run: run(n), over });
        proptest::collection::vec(claim, 0..12)
    }

    /// Runs with a claim that they have not taken back.
    fn open(claims: &[Claim]) -> Vec<RunId> {
        let last = |n: u8| claims.iter().rev().find(|claim| claim.run == run(n)).is_some_and(|claim| !claim.over);
        (0..4).filter(|&n| last(n)).map(run).collect()
    }

    proptest! {
        #[test]
        fn of_all_that_claim_it_and_are_at_work_exactly_one_does_it(claims in claims(), dead in 0..16_u8) {
            let at_work = |who: &RunId| (0..4_u8).any(|n| run(n) == *who && dead & (1 << n) == 0);
            let mine = open(&claims).into_iter().filter(|who| at_work(who)).filter(|who| whose(&claims, who, at_work) == Whose::Mine).count();
            let any = open(&claims).iter().any(at_work);
            prop_assert_eq!(mine, usize::from(any));
        }

        #[test]
        fn nobody_waits_for_the_dead_or_for_who_gave_up(claims in claims(), me in 0..4_u8, dead in 0..16_u8) {
            let at_work = |who: &RunId| (0..4_u8).any(|n| run(n) == *who && dead & (1 << n) == 0);
            if let Whose::Of(other) = whose(&claims, &run(me), at_work) {
                prop_assert!(at_work(&other) && open(&claims).contains(&other) && other != run(me));
            }
        }
    }
}
