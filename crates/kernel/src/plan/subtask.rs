//! One subtask: every field that a planner may set, and every field that only a person may.
//!
//! The serde form is compact (absent = default) and meant for our own records; it trusts its input.

use crate::json_schema::Schema;
use serde::{Deserialize, Serialize};

use super::when::When;
use crate::call::{Effort, Verbosity};
use crate::ids::{BadName, ModelRef, SubtaskId, Tier};
use crate::time::Millis;
use crate::tool::{ToolSpec, mcp_parts};
use crate::units::NanoUsd;

/// A node of the task graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subtask {
    /// Unique in its plan.
    pub id: SubtaskId,
    /// Decides the start tier, the rules and the tool set.
    #[serde(rename = "type", default, skip_serializing_if = "is_default")]
    pub kind: TaskType,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What the executor is told, byte for byte (but for `{{item.…}}`). At most [`super::MAX_TEXT_BYTES`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// `text`, or what to return, or a JSON Schema as text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output_format: String,
    /// What must have ended first; includes every `{{id.output}}` of the description, without repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<SubtaskId>,
    /// Globs relative to the workspace: the read scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Globs relative to the workspace: the write scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<String>,
    /// Names of tools the executor is offered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// The planner's guess.
    #[serde(default, skip_serializing_if = "is_default")]
    pub complexity: Complexity,
    /// Commands (argv) that must exit 0 in the sandbox, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Vec<String>>,

    // From here on: hand-written plans only.
    /// The start tier, in place of the table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// The tiers to climb, lowest first; empty = the configured ladder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladder: Vec<Tier>,
    /// One model for every attempt, in place of a tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// Reasoning effort, in place of the role's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// Verbosity, in place of the role's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<Verbosity>,
    /// JSON Schema that the result must match; an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Schema>,
    /// Runs once per row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// Skipped unless true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// Least share of accepted results, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality_bar: Option<f64>,
    /// Rubric of a judge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
    /// How many attempts vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<u32>,
    /// Images shown to the executor: paths in the workspace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// MCP servers joined by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mcp_servers: Vec<String>,
    /// A person must agree to its result before anything builds on it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub approve: bool,
    /// Its end goes to the planner for a patch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub checkpoint: bool,
    /// Bound on attempts over all tiers, 1 to 100; absent = configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// From its start to its end.
    #[serde(default, with = "super::text::span", skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Millis>,
    /// Cap over all its attempts.
    #[serde(default, with = "super::text::usd", skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<NanoUsd>,
    /// May wait for cheaper service.
    #[serde(default, skip_serializing_if = "is_default")]
    pub flex: bool,
    /// Its duration in simulation, and the scheduler's estimate of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulate_ms: Option<Millis>,
    /// Stops of this subtask's rows, in place of the plan's.
    #[serde(flatten)]
    pub stops: Stops,
}

impl Subtask {
    /// A subtask with nothing but a name and defaults.
    pub fn new(id: SubtaskId) -> Self {
        Self {
            id,
            kind: TaskType::default(),
            title: String::new(),
            description: String::new(),
            output_format: String::new(),
            depends_on: Vec::new(),
            files: Vec::new(),
            writes: Vec::new(),
            tools: Vec::new(),
            complexity: Complexity::default(),
            checks: Vec::new(),
            tier: None,
            ladder: Vec::new(),
            model: None,
            effort: None,
            verbosity: None,
            output_schema: None,
            for_each: None,
            when: None,
            quality_bar: None,
            judge: None,
            vote: None,
            images: Vec::new(),
            mcp_servers: Vec::new(),
            approve: false,
            checkpoint: false,
            max_attempts: None,
            deadline: None,
            max_cost_usd: None,
            flex: false,
            simulate_ms: None,
            stops: Stops::default(),
        }
    }
}

impl Subtask {
    /// Whether it may call a tool. A tool of an MCP server needs the server joined; where `tools` names some of a joined
    /// server's tools, it may call these only.
    pub fn grants(&self, tool: &str) -> bool {
        let named = self.tools.iter().any(|name| name == tool);
        let Some((server, _)) = mcp_parts(tool) else { return named };
        let narrowed = || self.tools.iter().any(|name| mcp_parts(name).is_some_and(|(of, _)| of == server));
        self.mcp_servers.iter().any(|joined| joined == server) && (named || !narrowed())
    }

    /// The tools it is offered, of all there are: its own in the order it names them, then those of its servers.
    pub fn offered<'a>(&'a self, all: &'a [ToolSpec]) -> impl Iterator<Item = &'a ToolSpec> {
        let own = self.tools.iter().filter(|name| mcp_parts(name).is_none()).filter_map(|name| all.iter().find(|t| t.name == *name));
        own.chain(all.iter().filter(|t| !self.mcp_servers.is_empty() && mcp_parts(&t.name).is_some() && self.grants(&t.name)))
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What kind of work a subtask is (design.md "The plan").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum TaskType {
    Search,
    ReviewFile,
    Debug,
    Diff,
    Generate,
    Test,
    Document,
    SimpleEdit,
    Screenshot,
    Classify,
    Extract,
    Rank,
    Summarize,
    Merge,
    #[default]
    General,
}

impl TaskType {
    /// Every type, in design.md's order.
    pub const ALL: [Self; 15] = [
        Self::Search,
        Self::ReviewFile,
        Self::Debug,
        Self::Diff,
        Self::Generate,
        Self::Test,
        Self::Document,
        Self::SimpleEdit,
        Self::Screenshot,
        Self::Classify,
        Self::Extract,
        Self::Rank,
        Self::Summarize,
        Self::Merge,
        Self::General,
    ];

    /// The name in plans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::ReviewFile => "review_file",
            Self::Debug => "debug",
            Self::Diff => "diff",
            Self::Generate => "generate",
            Self::Test => "test",
            Self::Document => "document",
            Self::SimpleEdit => "simple_edit",
            Self::Screenshot => "screenshot",
            Self::Classify => "classify",
            Self::Extract => "extract",
            Self::Rank => "rank",
            Self::Summarize => "summarize",
            Self::Merge => "merge",
            Self::General => "general",
        }
    }

    /// Reads a name or one of the aliases `format`, `verify`, `label`, `frontend`.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "format" => Some(Self::SimpleEdit),
            "verify" => Some(Self::ReviewFile),
            "label" => Some(Self::Classify),
            "frontend" => Some(Self::Generate),
            _ => Self::ALL.into_iter().find(|t| t.as_str() == name),
        }
    }
}

impl std::fmt::Display for TaskType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The planner's guess of how hard a subtask is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Complexity {
    Low,
    /// Also what an absent value means: it raises no tier.
    #[default]
    Medium,
    High,
}

/// What a `for_each` subtask is mapped over.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ForEach {
    /// The rows of `--input`.
    Input,
    /// The list (or the rows) that a subtask returns. It is a dependency.
    Subtask(SubtaskId),
}

impl TryFrom<String> for ForEach {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        if text == "input" { Ok(Self::Input) } else { SubtaskId::new(&text).map(Self::Subtask) }
    }
}

impl From<ForEach> for String {
    fn from(value: ForEach) -> Self {
        match value {
            ForEach::Input => "input".to_owned(),
            ForEach::Subtask(id) => id.to_string(),
        }
    }
}

/// When a bulk subtask stops early: the rest of its rows are kept and a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Stops {
    /// Rows run first, and all ended, before any other starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<u64>,
    /// Largest tolerated share of failed rows, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failure_rate: Option<f64>,
    /// Largest tolerated share of rows that left their start tier, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_escalation_rate: Option<f64>,
}

impl Stops {
    /// These, and `other`'s where these are silent.
    pub fn or(self, other: Self) -> Self {
        Self {
            canary: self.canary.or(other.canary),
            max_failure_rate: self.max_failure_rate.or(other.max_failure_rate),
            max_escalation_rate: self.max_escalation_rate.or(other.max_escalation_rate),
        }
    }
}
