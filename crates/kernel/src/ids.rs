//! Names of things: runs, subtasks, tiers, models. Each is checked once, where it enters.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// A name that does not fit its pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not a name: use {pattern}")]
pub struct BadName {
    /// What was being named, e.g. `subtask id`.
    pub what: &'static str,
    /// The value as given, cut to 80 characters.
    pub value: String,
    /// The pattern that names of this kind match.
    pub pattern: &'static str,
}

/// Pattern of subtask ids (design.md "The plan").
pub const SUBTASK_ID_PATTERN: &str = "[a-z0-9][a-z0-9_-]{0,63}";

fn slug(what: &'static str, value: &str) -> Result<(), BadName> {
    let mut bytes = value.bytes();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ok = value.len() <= 64 && bytes.next().is_some_and(plain) && bytes.all(|b| plain(b) || b == b'_' || b == b'-');
    if ok {
        return Ok(());
    }
    Err(BadName { what, value: value.chars().take(80).collect(), pattern: SUBTASK_ID_PATTERN })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// [`BadName`] when it does not match [`SUBTASK_ID_PATTERN`].
            pub fn new(value: &str) -> Result<Self, BadName> {
                slug($what, value)?;
                Ok(Self(value.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(value: String) -> Result<Self, BadName> {
                Self::new(&value)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

name!(
    /// Names one subtask within its plan.
    SubtaskId,
    "subtask id"
);
name!(
    /// A rung of the ladder: `nano`, `mini`, `flagship`, or any configured name.
    Tier,
    "tier"
);
name!(
    /// Names one run: `r` and 19 lowercase letters and digits, sortable by start time.
    RunId,
    "run id"
);

/// A model as configured: `PROVIDER/MODEL`, e.g. `openai/gpt-5.4-mini`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ModelRef(Arc<str>);

impl ModelRef {
    /// Takes `PROVIDER/MODEL`; the model part may hold further slashes.
    ///
    /// # Errors
    /// [`BadName`] when either part is empty or the whole is over 200 bytes.
    pub fn new(value: &str) -> Result<Self, BadName> {
        let ok = value.len() <= 200
            && value.split_once('/').is_some_and(|(p, m)| !p.is_empty() && !m.is_empty())
            && !value.chars().any(|c| c.is_control() || c.is_whitespace());
        if ok {
            return Ok(Self(value.into()));
        }
        Err(BadName { what: "model", value: value.chars().take(80).collect(), pattern: "PROVIDER/MODEL" })
    }

    /// The whole reference as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The provider's name in configuration.
    pub fn provider(&self) -> &str {
        self.0.split_once('/').map_or("", |(p, _)| p)
    }

    /// The name the provider knows the model by.
    pub fn model(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, m)| m)
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ModelRef {
    type Error = BadName;
    fn try_from(value: String) -> Result<Self, BadName> {
        Self::new(&value)
    }
}

impl Serialize for ModelRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
