//! `when`: a condition over other subtasks' results, read when the plan is checked and decided without running anything.

use serde::{Deserialize, Serialize};

/// A readable condition, kept as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct When {
    text: String,
}

impl When {
    /// The condition as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl TryFrom<String> for When {
    type Error = std::convert::Infallible;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(Self { text })
    }
}

impl From<When> for String {
    fn from(when: When) -> Self {
        when.text
    }
}
