//! Names of streams. Checked once, where they enter.

use std::fmt;
use std::sync::Arc;

/// A name that is not a stream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stream {value:?} is not a name: use segments of [A-Za-z0-9._:@+-] joined by '/', at most 250 bytes")]
pub struct BadStream {
    /// The name as given, cut to 80 characters.
    pub value: String,
}

/// Names one stream of records, e.g. `run/r01…` or `day/2026-11-21`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream(Arc<str>);

impl Stream {
    /// Checks and takes a name: non-empty segments of `[A-Za-z0-9._:@+-]` joined by `/`, at most
    /// 250 bytes.
    ///
    /// # Errors
    /// [`BadStream`] with the value.
    pub fn new(name: &str) -> Result<Self, BadStream> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._:@+-".contains(&b);
        let ok = name.len() <= 250 && name.split('/').all(|part| !part.is_empty() && part.bytes().all(plain));
        if ok {
            return Ok(Self(name.into()));
        }
        Err(BadStream { value: name.chars().take(80).collect() })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<&str> for Stream {
    type Error = BadStream;
    fn try_from(value: &str) -> Result<Self, BadStream> {
        Self::new(value)
    }
}
