//! The stable opening of each role: built-in prompts, or the ones that replace them.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::plan::TaskType;
use crate::policy::{Policy, Who};

fn built_in(who: Who) -> &'static str {
    use TaskType as T;
    match who {
        Who::Planner => include_str!("../../prompts/planner.md"),
        Who::PlannerPatch => include_str!("../../prompts/planner_patch.md"),
        Who::Compactor => include_str!("../../prompts/compactor.md"),
        Who::Reviewer => include_str!("../../prompts/reviewer.md"),
        Who::Executor => include_str!("../../prompts/executor.md"),
        Who::Type(kind) => match kind {
            T::Search => include_str!("../../prompts/type/search.md"),
            T::ReviewFile => include_str!("../../prompts/type/review_file.md"),
            T::Debug => include_str!("../../prompts/type/debug.md"),
            T::Diff => include_str!("../../prompts/type/diff.md"),
            T::Generate => include_str!("../../prompts/type/generate.md"),
            T::Test => include_str!("../../prompts/type/test.md"),
            T::Document => include_str!("../../prompts/type/document.md"),
            T::SimpleEdit => include_str!("../../prompts/type/simple_edit.md"),
            T::Screenshot => include_str!("../../prompts/type/screenshot.md"),
            T::Classify => include_str!("../../prompts/type/classify.md"),
            T::Extract => include_str!("../../prompts/type/extract.md"),
            T::Rank => include_str!("../../prompts/type/rank.md"),
            T::Summarize => include_str!("../../prompts/type/summarize.md"),
            T::Merge => include_str!("../../prompts/type/merge.md"),
            T::General => include_str!("../../prompts/type/general.md"),
        },
    }
}

/// What a role is told, the same bytes in every run of one policy. A type's are the executor's and its own; what
/// configuration adds follows, the more general first.
pub fn instructions(who: Who, policy: &Policy) -> String {
    let mut told = prompt(who, policy);
    let adds: &[Who] = match who {
        Who::Planner | Who::PlannerPatch => &[Who::Planner],
        Who::Type(_) => &[Who::Executor, who],
        Who::Reviewer | Who::Executor | Who::Compactor => &[who],
    };
    let added: Vec<&str> = adds.iter().filter_map(|who| policy.additions.get(who)).map(|text| text.trim()).collect();
    if !added.is_empty() {
        told.push_str(&format!("\n# Your role in this workspace\n{}\n", added.join("\n\n")));
    }
    told
}

fn prompt(who: Who, policy: &Policy) -> String {
    let text = |who: Who| policy.prompts.get(&who).map_or_else(|| built_in(who), String::as_str).trim_end();
    match who {
        Who::Type(_) => format!("{}\n\n{}\n", text(Who::Executor), text(who)),
        _ => format!("{}\n", text(who)),
    }
}

/// The routing hint for the provider's prompt cache: one per role and type and wording, at most 64 bytes.
pub fn cache_key(who: Who, instructions: &str) -> String {
    let role = match who {
        Who::Planner => "plan".to_owned(),
        Who::PlannerPatch => "patch".to_owned(),
        Who::Compactor => "compact".to_owned(),
        Who::Reviewer => "review".to_owned(),
        Who::Executor => "exec".to_owned(),
        Who::Type(kind) => format!("exec-{kind}"),
    };
    let mut key = format!("brigade-{role}-");
    for byte in Sha256::digest(instructions.as_bytes()).iter().take(8) {
        let _ = write!(key, "{byte:02x}");
    }
    key
}
