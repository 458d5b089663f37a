//! Questions to a person, and the answers.

use serde::{Deserialize, Serialize};

/// Why something waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// A subtask failed up to the top and the planner had no better plan.
    Failed,
    /// The subtask is marked `approve`.
    Approve,
    /// An executor asked a question.
    Question,
    /// The reviewer wants a person's judgement.
    Review,
    /// A check fails on all work put together, and was not mended.
    Composed,
    /// Too many rows failed or went up a tier.
    Rates,
    /// The provider will not serve the account until a person acts.
    Account,
    /// The plan is dearer than may start unasked.
    Price,
}

/// A person's answer to an inbox item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Reply {
    /// Take it as it is.
    Approve,
    /// Do not.
    Reject,
    /// Words: an answer, or an instruction for another try.
    Text {
        /// The words.
        text: String,
    },
}
