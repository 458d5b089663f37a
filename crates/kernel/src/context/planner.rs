//! The planner's context: the request in its own words, what the team and the workspace offer,
//! and on later turns what happened since.

use crate::call::{Item, Speaker};
use crate::ids::{SubtaskId, Tier};
use crate::plan::Plan;
use crate::units::NanoUsd;

use super::data::{block, cut};
use super::executor::Output;
use super::{Message, Packed, Picture, Shown, shares};

/// The summary of a workspace is cut to this: about 6,000 tokens.
const WORKSPACE_BYTES: usize = 24_000;
/// All results shown in one later turn: about 16,000 tokens.
const RESULTS_BYTES: usize = 64_000;
/// Names and descriptions of roles.
const ROLES_BYTES: usize = 4_000;
/// A sample of input rows.
const SAMPLE_BYTES: usize = 4_000;

/// What a first plan of a request is made from.
#[derive(Debug, Clone, Default)]
pub struct Planning<'a> {
    /// [`super::instructions`] of the planner.
    pub rules: &'a str,
    /// The conversation of earlier requests (`--continue`), replayed as it was.
    pub earlier: Vec<Item>,
    /// The request, byte for byte.
    pub request: &'a str,
    /// Images that belong to the request.
    pub images: Vec<Picture>,
    /// The ladder, lowest first.
    pub tiers: Vec<TierLine>,
    /// Names of the tools that may be granted, and what each does.
    pub tools: Vec<(String, String)>,
    /// What is in the workspace: names, build files; tainted.
    pub workspace: Option<&'a str>,
    /// The workspace's instructions for everybody.
    pub shared: Option<&'a Shown>,
    /// Roles that the workspace describes and that are bound to no type; tainted.
    pub roles: &'a str,
    /// The rows of `--input`.
    pub rows: Option<Rows<'a>>,
    /// Notes of earlier planner turns.
    pub notes: &'a str,
    /// Most subtasks it may plan.
    pub max_subtasks: u32,
    /// Cap of the run.
    pub run_usd: Option<NanoUsd>,
}

/// A rung, as the planner is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierLine {
    /// Its name.
    pub tier: Tier,
    /// What it bears, e.g. `8000 tokens, 1 tool`.
    pub bears: String,
}

impl TierLine {
    /// From what the policy says of a rung.
    pub fn of(tier: &Tier, bound: &crate::policy::TierPolicy) -> Self {
        let mut bears = Vec::new();
        if let Some(tokens) = bound.max_context_tokens {
            bears.push(format!("input up to about {tokens} tokens"));
        }
        if let Some(tools) = bound.max_tools {
            bears.push(format!("{tools} tool{}", if tools == 1 { "" } else { "s" }));
        }
        if let Some(calls) = bound.max_tool_calls {
            bears.push(format!("{calls} tool calls"));
        }
        if !bound.never.is_empty() {
            let types: Vec<&str> = bound.never.iter().map(|t| t.as_str()).collect();
            bears.push(format!("never {}", types.join(", ")));
        }
        let bears = if bears.is_empty() { "no limits".to_owned() } else { bears.join(", ") };
        Self { tier: tier.clone(), bears }
    }
}

/// Rows that a `for_each` subtask may be mapped over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows<'a> {
    /// How many, where known.
    pub count: Option<u64>,
    /// The first few, as JSONL; tainted.
    pub sample: &'a str,
}

/// Packs the planner's turn on a request.
pub fn planner(planning: Planning<'_>) -> Packed {
    let mut message = Message::default();
    message.add("request", planning.request, 0);
    message.show(&planning.images);
    let mut team = String::from("# The team, lowest tier first");
    for line in &planning.tiers {
        team.push_str(&format!("\n- {}: {}", line.tier, line.bears));
    }
    message.add("team", &team, 0);
    let mut tools = String::from("# Tools you may grant");
    for (name, about) in &planning.tools {
        tools.push_str(&format!("\n- {name}: {about}"));
    }
    if planning.tools.is_empty() {
        tools.push_str("\nNone: descriptions must hold everything.");
    }
    message.add("tools", &tools, 0);
    let mut limits = format!("# Limits\nAt most {} subtasks.", planning.max_subtasks);
    if let Some(cap) = planning.run_usd {
        limits.push_str(&format!(" The whole run may cost {cap}."));
    }
    message.add("limits", &limits, 0);
    add_notes(&mut message, planning.notes);
    if let Some(shared) = planning.shared {
        message.add(shared.name(), &shared.text, shared.left_out);
    }
    if !planning.roles.is_empty() {
        let (text, left_out) = cut(planning.roles, ROLES_BYTES);
        message.add("roles", &format!("# Roles this workspace describes\n{}", block("role files", &text)), left_out);
    }
    if let Some(workspace) = planning.workspace {
        let (text, left_out) = cut(workspace, WORKSPACE_BYTES);
        message.add("workspace", &format!("# The workspace\n{}", block("workspace summary", &text)), left_out);
    }
    if let Some(rows) = planning.rows {
        let (sample, left_out) = cut(rows.sample, SAMPLE_BYTES);
        let count = rows.count.map_or_else(|| "an unknown number".to_owned(), |n| n.to_string());
        message.add("input rows", &format!("# Input\n{count} of rows, the first of them:\n{}", block("input rows", &sample)), left_out);
    }
    message.into_packed(planning.rules.to_owned(), None, planning.earlier)
}

/// What a change of a plan under way is made from.
#[derive(Debug, Clone, Default)]
pub struct Replanning<'a> {
    /// [`super::instructions`] of the planner's patches.
    pub rules: &'a str,
    /// The request, byte for byte.
    pub request: &'a str,
    /// The workspace's instructions for everybody, where the planner has not read them with a request.
    pub shared: Option<&'a Shown>,
    /// Every subtask and where it stands, in the plan's order.
    pub standing: Vec<Standing>,
    /// What happened, in brigade's words: `find-login ended blocked`.
    pub happened: &'a str,
    /// The words of whom it concerns: an executor's reason, a check's evidence. Tainted.
    pub evidence: &'a str,
    /// What a person said since (`brigade tell`); trusted.
    pub told: &'a [String],
    /// Results that came since its last turn, as capsules.
    pub results: Vec<Output>,
    /// Notes of earlier planner turns.
    pub notes: &'a str,
    /// Patches left after this one.
    pub replans_left: u32,
}

/// One subtask of a plan under way, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its id.
    pub id: SubtaskId,
    /// `finished`, `running on mini`, `waits for a, b`, `failed on every tier`.
    pub state: String,
    /// Its title.
    pub title: String,
}

/// Packs a later turn of the planner.
pub fn replan(replanning: Replanning<'_>) -> Packed {
    let mut message = Message::default();
    message.add("what happened", &format!("# What happened\n{}", replanning.happened), 0);
    if !replanning.evidence.is_empty() {
        let (text, left_out) = cut(replanning.evidence, 8_000);
        message.add("evidence", &block("evidence", &text), left_out);
    }
    for said in replanning.told {
        message.add("told", &format!("# The person says\n{said}"), 0);
    }
    let mut lines = String::from("# Where the plan stands");
    for line in &replanning.standing {
        lines.push_str(&format!("\n- {} ({}): {}", line.id, line.state, one_line(&line.title)));
    }
    message.add("standing", &lines, 0);
    add_notes(&mut message, replanning.notes);
    if let Some(shared) = replanning.shared {
        message.add(shared.name(), &shared.text, shared.left_out);
    }
    message.add("limits", &format!("# Limits\nPatches left after this one: {}.", replanning.replans_left), 0);
    add_results(&mut message, &replanning.results, RESULTS_BYTES);
    // Last and whole, however long the run has been.
    message.add("request", &format!("# The request\n{}", replanning.request), 0);
    message.into_packed(replanning.rules.to_owned(), None, Vec::new())
}

/// The turn that hands an answer back with its faults: appended to the items it was asked with.
/// `frozen` are subtasks of it that have started and must stay as they are.
pub fn mend(answer: &str, faults: &[String], warnings: &[String], frozen: &[SubtaskId]) -> Vec<Item> {
    let mut text = String::from("Your answer cannot be used as it is.");
    for fault in faults {
        text.push_str(&format!("\n- {fault}"));
    }
    if !warnings.is_empty() {
        text.push_str("\n\nNot wrong, but worth a second look:");
        for warning in warnings {
            text.push_str(&format!("\n- {warning}"));
        }
    }
    if !frozen.is_empty() {
        let ids: Vec<&str> = frozen.iter().map(SubtaskId::as_str).collect();
        text.push_str(&format!("\n\nAlready started; repeat them unchanged: {}.", ids.join(", ")));
    }
    text.push_str("\n\nAnswer again with the whole JSON object.");
    let mut items = Vec::new();
    if !answer.is_empty() {
        items.push(Item::message(Speaker::Assistant, answer));
    }
    items.push(Item::message(Speaker::User, text));
    items
}

/// Titles come from a model: one line of at most 80 characters.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(80).collect()
}

pub(super) fn add_notes(message: &mut Message, notes: &str) {
    if !notes.trim().is_empty() {
        message.add("notes", &format!("# Coordination notes so far\n{notes}"), 0);
    }
}

/// Results as capsules, small ones whole, the rest evenly cut to `room` bytes.
pub(super) fn add_results(message: &mut Message, results: &[Output], room: usize) {
    let sizes: Vec<usize> = results.iter().map(|r| r.text.len()).collect();
    for (result, share) in results.iter().zip(shares(&sizes, room)) {
        let (text, left_out) = cut(&result.text, share);
        message.add(format!("result of {}", result.id), &block(&format!("result of {}", result.id), &text), left_out);
    }
}

/// After a cut plan: what is accepted already, and that the rest is wanted.
pub fn the_rest(accepted: &Plan) -> Item {
    let subtasks = serde_json::to_string(&accepted.subtasks).unwrap_or_default();
    let text = format!(
        "Your answer was cut off. These subtasks of it are accepted and may have started; do not repeat them:\n{subtasks}\n\nAnswer with the whole JSON object again, its subtasks being only those still missing. They may depend on the accepted ones."
    );
    Item::message(Speaker::User, text)
}
