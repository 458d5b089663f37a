//! An executor's context: its rules, its task in the planner's words, and material cut to its tier's soft limit.

use serde::{Deserialize, Serialize};

use super::data::{block, cut, one_line};
use super::relevance::choose;
use super::{Message, Packed, Picture, Shown, shares};
use crate::ids::{SubtaskId, Tier};
use crate::policy::TierPolicy;

/// Evidence of one failed attempt is cut to this; the newest [`EVIDENCE_KEPT`] are shown.
const EVIDENCE_BYTES: usize = 6_000;
const EVIDENCE_KEPT: usize = 3;
/// A result that can be opened on demand is cut to this: about 2,000 tokens.
const CAPSULE_BYTES: usize = 8_000;
/// What excerpts keep at least when dependencies are large.
const EXCERPT_SHARE: usize = 3;

/// What an executor's context is made of.
#[derive(Debug, Clone, Default)]
pub struct Parts<'a> {
    /// [`super::instructions`] of its type: the same bytes for all siblings.
    pub rules: &'a str,
    /// The workspace's instructions for everybody: the same bytes for all siblings.
    pub shared: Option<&'a Shown>,
    /// The workspace's instructions for its files.
    pub own: &'a [Shown],
    /// The description, byte for byte.
    pub description: &'a str,
    /// What to return, in words; empty where a schema says it all.
    pub output_format: &'a str,
    /// Globs it may change.
    pub writes: &'a [String],
    /// Commands its work must pass.
    pub checks: &'a [Vec<String>],
    /// Tool calls it may make, where it has tools.
    pub tool_calls: Option<u32>,
    /// Images, in the order to be shown.
    pub images: Vec<Picture>,
    /// Parts of files, in the order to be shown.
    pub excerpts: Vec<Excerpt>,
    /// Results it builds on.
    pub dependencies: Vec<Output>,
    /// What was wrong with earlier attempts, oldest first.
    pub evidence: Vec<Evidence>,
}

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// Relative to the workspace.
    pub path: String,
    /// Number of its first line; 1 for a whole file.
    pub start_line: usize,
    /// Its text.
    pub text: String,
}

/// A subtask's result, as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Whose.
    pub id: SubtaskId,
    /// The result.
    pub text: String,
    /// What `open_output` takes to show all of it; `None` = it cannot be opened and is shown as whole as fits.
    pub reference: Option<String>,
}

/// Why an earlier attempt was not good enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Where it ran.
    pub tier: Tier,
    /// What failed, in brigade's words: `check cargo test failed`.
    pub what: String,
    /// What shows it: output of the check, the reviewer's instructions. Tainted.
    pub text: String,
}

/// What a rung bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TierLimits {
    /// Soft limit on input, in estimated tokens; `None` = none.
    pub max_context_tokens: Option<u32>,
}

impl From<&TierPolicy> for TierLimits {
    fn from(tier: &TierPolicy) -> Self {
        Self { max_context_tokens: tier.max_context_tokens }
    }
}

impl TierLimits {
    fn bytes(self) -> usize {
        self.max_context_tokens.map_or(usize::MAX / 2, |tokens| tokens as usize * 4)
    }
}

/// Packs an executor's context.
///
/// Rules, description, form and limits are never cut; evidence is cut to a fixed size; what is left of the
/// soft limit goes to dependencies (evenly, small ones whole) and to the excerpts most like the description.
pub fn pack(parts: &Parts<'_>, limits: &TierLimits) -> Packed {
    let mut rules = parts.rules.to_owned();
    let mut message = Message::default();
    match parts.shared {
        Some(shared) if shared.trusted => {
            rules = format!("{}\n\n{}", rules.trim_end(), shared.text);
        }
        // First in the message: the same for all siblings of the run.
        Some(shared) => message.add(shared.name(), &shared.text, shared.left_out),
        None => {}
    }
    for own in parts.own {
        message.add(own.name(), &own.text, own.left_out);
    }
    message.add("task", parts.description, 0);
    message.add("form", &form(parts), 0);
    message.show(&parts.images);

    let mut evidence = Message::default();
    let first = parts.evidence.len().saturating_sub(EVIDENCE_KEPT);
    for failed in &parts.evidence[first..] {
        let (text, left_out) = cut(&failed.text, EVIDENCE_BYTES);
        let text = format!("# Attempt {} failed: {}\n{}", failed.attempt, failed.what, block("what was wrong", &text));
        evidence.add(format!("evidence of attempt {}", failed.attempt), &text, left_out);
    }

    let seen: u64 = parts.images.iter().map(|picture| picture.tokens * 4).sum();
    let fixed = rules.len() + message.text.len() + evidence.text.len() + seen as usize;
    let room = limits.bytes().saturating_sub(fixed);
    let excerpt_bytes: usize = parts.excerpts.iter().map(|e| e.text.len()).sum();
    let for_outputs = room.saturating_sub(excerpt_bytes.min(room / EXCERPT_SHARE));
    let mut left = room;

    let sizes: Vec<usize> =
        parts.dependencies.iter().map(|d| if d.reference.is_some() { d.text.len().min(CAPSULE_BYTES) } else { d.text.len() }).collect();
    let mut outputs = Message::default();
    for (output, share) in parts.dependencies.iter().zip(shares(&sizes, for_outputs)) {
        let (mut text, left_out) = cut(&output.text, share);
        if let (true, Some(reference)) = (left_out > 0, &output.reference) {
            text.push_str(&format!("\n[all of it: open_output {{\"id\": \"{reference}\"}}]"));
        }
        let text = block(&format!("result of {}", output.id), &text);
        left = left.saturating_sub(text.len());
        outputs.add(format!("result of {}", output.id), &text, left_out);
    }

    let overhead: usize = parts.excerpts.iter().map(|e| e.path.len() + 80).sum();
    for (excerpt, chosen) in parts.excerpts.iter().zip(choose(&parts.excerpts, parts.description, left.saturating_sub(overhead))) {
        let whole = chosen.left_out == 0;
        let from = match (whole, excerpt.start_line) {
            (true, 1) => format!("file {}", excerpt.path),
            _ => format!("file {}, from line {}", excerpt.path, excerpt.start_line),
        };
        if chosen.text.is_empty() && !whole {
            message.add(
                format!("file {}", excerpt.path),
                &format!("[file {} did not fit and is not shown]", one_line(&excerpt.path)),
                chosen.left_out,
            );
        } else {
            message.add(format!("file {}", excerpt.path), &block(&from, &chosen.text), chosen.left_out);
        }
    }
    message.append(outputs);
    message.append(evidence);
    message.into_packed(rules, parts.shared.filter(|shared| shared.trusted), Vec::new())
}

fn form(parts: &Parts<'_>) -> String {
    let mut lines = Vec::new();
    let asked = parts.output_format.trim();
    if !asked.is_empty() && asked != "text" {
        lines.push(format!("# What to return\n{asked}"));
    }
    if !parts.writes.is_empty() {
        lines.push(format!(
            "# What you may change\nOnly what the task names, in files matching: {}\nLeave formatting, comments and code around it as they are.",
            parts.writes.join(", ")
        ));
    }
    if !parts.checks.is_empty() {
        let commands: Vec<String> = parts.checks.iter().map(|argv| format!("- {}", argv.join(" "))).collect();
        lines.push(format!("# What must pass afterwards\nThese commands, run by others, must exit 0:\n{}", commands.join("\n")));
    }
    if let Some(calls) = parts.tool_calls {
        lines.push(format!(
            "# Tool calls\nAt most {calls}, each only when the answer needs it and none twice with the same arguments. When a tool refuses, read \
             why and do that instead."
        ));
    }
    lines.join("\n\n")
}
