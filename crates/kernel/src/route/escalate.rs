//! After a bad answer: the same tier once with the evidence, then a tier up with the evidence,
//! at the top the planner, then a person (design.md "Routing").
//!
//! "Once" counts per subtask: a ladder of three costs four attempts, not six.

use serde::{Deserialize, Serialize};

use crate::ids::Tier;
use crate::policy::Ground;

/// An attempt that ended with an answer, and a bad one. Attempts that got no answer are not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// On which rung.
    pub tier: Tier,
    /// What was wrong.
    pub failure: Failure,
}

/// What was wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// A check failed, with evidence.
    Check,
    /// A check could not tell.
    Unsure,
    /// Not of the form asked for: no JSON, against the schema, a patch that does not apply.
    Form,
    /// The reviewer sent it back.
    Review,
    /// Cut at the output limit, twice.
    Length,
    /// Too many turns or tool calls.
    TooManyTurns,
    /// The same tool call over and over.
    Loop,
    /// Over the model's window.
    ContextTooLong,
    /// A refusal, or the provider's content filter.
    Refusal,
}

impl Failure {
    /// Whether evidence may help the same model: not where its size or its will failed,
    /// nor where its work passed every check and the reviewer still wants better.
    pub fn worth_repeating(self) -> bool {
        matches!(self, Self::Check | Self::Unsure | Self::Form)
    }

    /// What configuration calls it.
    pub fn ground(self) -> Ground {
        match self {
            Self::Check => Ground::Check,
            Self::Unsure => Ground::Unsure,
            Self::Form => Ground::Form,
            Self::Review => Ground::Review,
            Self::Length => Ground::Length,
            Self::TooManyTurns | Self::Loop => Ground::Turns,
            Self::ContextTooLong => Ground::Context,
            Self::Refusal => Ground::Refusal,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Check => "a check failed",
            Self::Unsure => "a check could not tell",
            Self::Form => "the answer had the wrong form",
            Self::Review => "the reviewer sent it back",
            Self::Length => "the answer was cut at its limit twice",
            Self::TooManyTurns => "it ran out of turns",
            Self::Loop => "it repeated the same tool call",
            Self::ContextTooLong => "the input was over the model's window",
            Self::Refusal => "the model declined",
        }
    }
}

/// How far a subtask may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Attempts over all tiers.
    pub max_attempts: u32,
    /// Whether there is a planner that may still be asked: the run has one, and replans are left.
    pub may_replan: bool,
    /// Whether what went wrong last may raise the tier.
    pub may_rise: bool,
}

/// Where a failed subtask goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Again on the same rung, shown what was wrong.
    SameTierWithEvidence,
    /// One rung up, shown what was wrong.
    TierUp(Tier),
    /// The planner patches the plan.
    AskPlanner,
    /// A person decides.
    AskPerson,
}

/// A next step and its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What to do.
    pub next: Next,
    /// Why, in one line for people.
    pub why: String,
}

/// What follows the last of `tried` (oldest first). `ladder` is [`super::Route::ladder`].
pub fn after_failure(tried: &[Tried], ladder: &[Tier], bounds: Bounds) -> Decision {
    let Some(last) = tried.last() else {
        return higher_up(bounds, "nothing was tried");
    };
    let what = last.failure.words();
    if tried.len() >= bounds.max_attempts as usize {
        return higher_up(bounds, &format!("{what} on {}, and all {} attempts are used", last.tier, bounds.max_attempts));
    }
    let again = || Decision { next: Next::SameTierWithEvidence, why: format!("{what}: {} tries once more with the evidence", last.tier) };
    if tried.len() == 1 && last.failure.worth_repeating() {
        return again();
    }
    let Some(here) = ladder.iter().position(|tier| *tier == last.tier) else {
        return higher_up(bounds, &format!("{what}, and {} is not on the ladder", last.tier));
    };
    match ladder.get(here + 1) {
        Some(up) if bounds.may_rise => {
            Decision { next: Next::TierUp(up.clone()), why: format!("{what} on {}: {up} takes over with the evidence", last.tier) }
        }
        // The reviewer's instructions are new work, which this tier has seen only once.
        _ if last.failure == Failure::Review && !tried[..tried.len() - 1].iter().any(|t| t.tier == last.tier) => again(),
        Some(_) => higher_up(bounds, &format!("{what} on {}, for which escalation.only_on raises no tier", last.tier)),
        None => higher_up(bounds, &format!("{what} on {}, and there is no higher tier", last.tier)),
    }
}

fn higher_up(bounds: Bounds, reason: &str) -> Decision {
    if bounds.may_replan {
        return Decision { next: Next::AskPlanner, why: format!("{reason}: the planner decides") };
    }
    Decision { next: Next::AskPerson, why: format!("{reason}: a person decides") }
}
