//! How an executor says that it is finished: a final answer, or the built-in tool `end`.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::Answer;
use crate::tool::{Effect, ToolSpec};

/// Name of the built-in tool.
pub const END: &str = "end";
/// Longest reason kept.
const MOST_REASON: usize = 2_000;

/// How an executor ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The status.
    pub status: Status,
    /// In the executor's words: tainted. Empty for a plain final answer.
    pub reason: String,
}

/// The endings of design.md "The plan". All but `done` go to the planner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Status {
    Done,
    Blocked,
    TooBig,
    NeedsContext,
    OutOfScope,
}

impl Status {
    const ALL: [Self; 5] = [Self::Done, Self::Blocked, Self::TooBig, Self::NeedsContext, Self::OutOfScope];

    /// The name on the wire and on screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Blocked => "blocked",
            Self::TooBig => "too_big",
            Self::NeedsContext => "needs_context",
            Self::OutOfScope => "out_of_scope",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name.trim())
    }
}

/// The tool as offered, first of every executor's tools.
pub fn end_tool() -> ToolSpec {
    static OFFERED: LazyLock<ToolSpec> = LazyLock::new(|| ToolSpec {
        name: END.to_owned(),
        description: "Ends your work without a result, or as done when nothing is to be returned. Say in one or two sentences why."
            .to_owned(),
        parameters: json!({
            "type": "object",
            "properties": {"status": {"type": "string", "enum": Status::ALL.map(Status::as_str)}, "reason": {"type": "string"}},
            "required": ["status", "reason"],
            "additionalProperties": false
        })
        .into(),
        effect: Effect::Repeatable,
        images: false,
    });
    OFFERED.clone()
}

/// Reads the arguments of a call of `end`.
///
/// # Errors
/// What to tell the model.
pub fn parse_end(arguments: &str) -> Result<Ending, String> {
    const FORM: &str = "call end with {\"status\": \"done|blocked|too_big|needs_context|out_of_scope\", \"reason\": \"…\"}";
    let value: Value = serde_json::from_str(arguments).map_err(|fault| format!("the arguments are no JSON ({fault}): {FORM}"))?;
    let given = value.get("status").and_then(Value::as_str).unwrap_or_default();
    let status = Status::parse(given).ok_or_else(|| {
        let given: String = given.chars().take(40).collect();
        format!("status {given:?} is not known: {FORM}")
    })?;
    let reason = value.get("reason").and_then(Value::as_str).unwrap_or_default();
    Ok(Ending { status, reason: reason.chars().take(MOST_REASON).collect() })
}

/// How an answer ends the attempt: `None` = it goes on (other tools were called, or none of both).
/// The first call of `end` counts, whatever stands beside it.
///
/// # Errors
/// The call id and what to tell the model, when `end` was called wrongly.
pub fn ending(answer: &Answer) -> Option<Result<Ending, (String, String)>> {
    let mut calls = answer.tool_calls().peekable();
    if calls.peek().is_none() {
        let done = Ending { status: Status::Done, reason: String::new() };
        return (!answer.text.is_empty()).then_some(Ok(done));
    }
    let (call_id, _, arguments) = calls.find(|(_, name, _)| *name == END)?;
    Some(parse_end(arguments).map_err(|said| (call_id.to_owned(), said)))
}
