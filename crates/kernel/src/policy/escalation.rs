//! What may raise work to a dearer tier, where configuration bounds it. It holds no rule of its own: `route` reads it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::Tier;

/// Bounds on starting high and on climbing; by default there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Escalation {
    /// Work whose start nobody named starts here at most.
    pub start_at_most: Option<Tier>,
    /// Only these raise a tier; `None` = any.
    pub only_on: Option<BTreeSet<Ground>>,
}

impl Escalation {
    /// Whether a failure of this kind may raise the tier.
    pub fn allows(&self, ground: Ground) -> bool {
        self.only_on.as_ref().is_none_or(|grounds| grounds.contains(&ground))
    }

    /// Whether this ground is named, and so goes past [`Escalation::start_at_most`].
    pub fn names(&self, ground: Ground) -> bool {
        self.only_on.as_ref().is_some_and(|grounds| grounds.contains(&ground))
    }
}

/// Why work goes to a dearer tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// A check failed.
    Check,
    /// A check could not tell.
    Unsure,
    /// The answer had the wrong form.
    Form,
    /// The reviewer sent it back.
    Review,
    /// The answer was cut at its limit twice.
    Length,
    /// It ran out of turns, or repeated a tool call.
    Turns,
    /// The input was over the model's window.
    Context,
    /// The model declined.
    Refusal,
    /// The planner calls it complex: it may start above `start_at_most`.
    Complexity,
    /// Two changes conflict: the merge may start above `start_at_most`.
    Conflict,
}

impl Ground {
    /// Every ground, as configuration lists them.
    pub const ALL: [Self; 10] = [
        Self::Check,
        Self::Unsure,
        Self::Form,
        Self::Review,
        Self::Length,
        Self::Turns,
        Self::Context,
        Self::Refusal,
        Self::Complexity,
        Self::Conflict,
    ];

    /// The name in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Unsure => "unsure",
            Self::Form => "form",
            Self::Review => "review",
            Self::Length => "length",
            Self::Turns => "turns",
            Self::Context => "context",
            Self::Refusal => "refusal",
            Self::Complexity => "complexity",
            Self::Conflict => "conflict",
        }
    }

    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ground| ground.as_str() == name)
    }
}
