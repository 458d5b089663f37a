//! One request, whatever its dialect: what rules match on and what an answer must keep to.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::store::Stored;

/// How a request was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Responses,
    Chat,
}

impl Dialect {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Responses => "/v1/responses",
            Self::Chat => "/v1/chat/completions",
        }
    }
}

/// What a piece of context is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Instructions,
    Message,
    Reply,
    Call,
    Output,
    Other,
}

/// One piece of text that the model is shown.
#[derive(Debug, Clone)]
pub(crate) struct Piece<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: Cow<'a, str>,
    pub(crate) call_id: Option<Cow<'a, str>>,
}

impl Piece<'_> {
    pub(crate) fn owned(self) -> Piece<'static> {
        Piece { kind: self.kind, text: Cow::Owned(self.text.into_owned()), call_id: self.call_id.map(|id| Cow::Owned(id.into_owned())) }
    }
}

/// Structured output asked for.
#[derive(Debug, Clone)]
pub(crate) struct Format<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) schema: &'a RawValue,
    pub(crate) strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToolKind {
    Function,
    Custom,
    Hosted,
}

/// A tool offered.
#[derive(Debug, Clone)]
pub(crate) struct Tool<'a> {
    pub(crate) kind: ToolKind,
    pub(crate) name: Cow<'a, str>,
    pub(crate) parameters: Option<&'a RawValue>,
}

/// Which tools may, or must, be called.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Choice {
    Auto,
    None,
    Required,
    Named(String),
    Allowed { required: bool, names: Vec<String> },
}

/// A checked request.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) model: Cow<'a, str>,
    pub(crate) stream: bool,
    /// Chat: whether a last chunk with usage was asked for.
    pub(crate) stream_usage: bool,
    pub(crate) parent: Option<Arc<Stored>>,
    pub(crate) pieces: Vec<Piece<'a>>,
    /// Images shown in this request; those of a chain are not counted again.
    pub(crate) images: u64,
    pub(crate) format: Option<Format<'a>>,
    pub(crate) tools: Vec<Tool<'a>>,
    pub(crate) choice: Choice,
    pub(crate) parallel: bool,
    pub(crate) max_output: Option<u64>,
    pub(crate) service_tier: Cow<'a, str>,
    pub(crate) wants_encrypted: bool,
    pub(crate) store: bool,
    /// Estimate of everything the model is shown, ancestors included.
    pub(crate) input_tokens: u64,
}

impl Ask<'_> {
    /// All context, newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Piece<'_>> {
        let mut stored = self.parent.as_deref();
        let ancestors = std::iter::from_fn(move || {
            let now = stored?;
            stored = now.parent.as_deref();
            Some(now.pieces.iter().rev())
        });
        self.pieces.iter().rev().map(shorten).chain(ancestors.flatten().map(shorten))
    }

    /// The last tool output, if there is one.
    pub(crate) fn last_output(&self) -> Option<&str> {
        self.newest_first().find(|piece| piece.kind == Kind::Output).map(|piece| piece.text.as_ref())
    }

    /// The last message from the caller's side.
    pub(crate) fn last_message(&self) -> &str {
        self.newest_first().find(|piece| piece.kind == Kind::Message).map_or("", |piece| piece.text.as_ref())
    }

    pub(crate) fn tool(&self, name: &str) -> Option<&Tool<'_>> {
        self.tools.iter().find(|tool| tool.name == name)
    }
}

fn shorten<'s>(piece: &'s Piece<'_>) -> &'s Piece<'s> {
    piece
}

/// Tokens of a text: a quarter of its bytes, rounded up.
pub(crate) fn tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4)
}

/// Tokens of what the model is shown: text, plus 4 an entry and 3 a request for formatting.
pub(crate) fn context_tokens(pieces: &[Piece<'_>]) -> u64 {
    pieces.iter().map(|piece| tokens(&piece.text) + 4).sum()
}

/// Formatting of one request.
pub(crate) const REQUEST_TOKENS: u64 = 3;
