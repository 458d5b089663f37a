//! What a tool is to a plan and to a model: a name, a schema, and what its effects are worth on a crash.

use serde::{Deserialize, Serialize};

use crate::image::Image;
use crate::json_schema::Schema;

/// What repeating a tool call would do (promises.md §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A read: repeat at will.
    Repeatable,
    /// A write inside the view: reset the view to the last journaled hash and repeat.
    Keyed,
    /// Leaves the view: at most once, and *unknown* after a crash.
    Unkeyed,
}

/// A tool as offered to a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// 1 to 64 of `[a-zA-Z0-9_-]`.
    pub name: String,
    /// What it does, for a small model: one or two sentences.
    pub description: String,
    /// JSON Schema of its arguments, within the strict subset (responses-api.md §4.3).
    pub parameters: Schema,
    /// What repeating it would do.
    pub effect: Effect,
    /// Whether it answers with images: who is offered it must see them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub images: bool,
}

/// The tool that shows what was cut, or is a result of another subtask.
pub const OPEN_OUTPUT: &str = "open_output";

/// What the names of tools from MCP servers begin with; the server's name and `__` follow.
const MCP: &str = "mcp__";

/// The name under which a server's tool is offered.
pub fn mcp_name(server: &str, tool: &str) -> String {
    format!("{MCP}{server}__{tool}")
}

/// The server and its tool behind such a name. A server's name holds no `__` and does not end in `_`, so the first one parts them.
pub fn mcp_parts(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(MCP)?.split_once("__").filter(|(server, tool)| !server.is_empty() && !tool.is_empty())
}

/// What a tool call came back with; the same four fields `brigade tool call` prints.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ToolOutput {
    /// Whether the tool did what was asked.
    pub ok: bool,
    /// What the model is shown on success (and what there was of it on failure).
    pub output: String,
    /// Why not, and what to do instead.
    pub error: Option<String>,
    /// Whether `output` was cut; it then says how to get the rest.
    pub truncated: bool,
    /// What it shows besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
}

impl ToolOutput {
    /// A refusal or failure that the model can act on.
    pub fn refused(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }

    /// What stands in the `function_call_output` item.
    pub fn for_model(&self) -> String {
        match &self.error {
            None => self.output.clone(),
            Some(error) if self.output.is_empty() => format!("error: {error}"),
            Some(error) => format!("error: {error}\n{}", self.output),
        }
    }
}
