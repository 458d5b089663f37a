//! How long a subtask will take, before anything is known about it.

use crate::ids::Tier;
use crate::plan::{Complexity, Subtask, TaskType};
use crate::time::Millis;

/// Median time of one whole call of a tier, in ms: gpt-4.1-nano, gpt-5.4-mini and gpt-5.4 of data/latency
/// (evaluation.md B.1).
const NANO_CALL_MS: u64 = 596;
const MINI_CALL_MS: u64 = 744;
const FLAGSHIP_CALL_MS: u64 = 1_354;

/// `simulate_ms` where it is set; else calls expected for the type on its default tier, halved or doubled by complexity.
///
/// The numbers of calls are our guess; only their ratios matter, and only until a run has timings of its own.
pub fn estimate(subtask: &Subtask) -> Millis {
    if let Some(given) = subtask.simulate_ms {
        return given;
    }
    let (calls, call_ms) = usual(subtask.kind);
    Millis(match subtask.complexity {
        Complexity::Low => calls * call_ms / 2,
        Complexity::Medium => calls * call_ms,
        Complexity::High => calls * call_ms * 2,
    })
}

/// Calls and the time of each, by type, on its default tier.
fn usual(kind: TaskType) -> (u64, u64) {
    match kind {
        TaskType::Classify | TaskType::Extract | TaskType::Rank => (1, NANO_CALL_MS),
        TaskType::SimpleEdit => (2, NANO_CALL_MS),
        TaskType::Summarize => (1, MINI_CALL_MS),
        TaskType::ReviewFile | TaskType::Diff => (2, MINI_CALL_MS),
        TaskType::Search | TaskType::Screenshot => (3, MINI_CALL_MS),
        TaskType::Document => (4, MINI_CALL_MS),
        TaskType::Generate | TaskType::Test => (6, MINI_CALL_MS),
        TaskType::Debug => (8, MINI_CALL_MS),
        TaskType::Merge => (2, FLAGSHIP_CALL_MS),
        TaskType::General => (4, FLAGSHIP_CALL_MS),
    }
}

/// Calls that one attempt is expected to make, tools being offered; our guess.
pub fn calls_expected(subtask: &Subtask) -> u64 {
    usual(subtask.kind).0
}

/// The usual time of one call on a tier, in milliseconds; a tier of another name counts as the slowest.
pub fn call_ms(tier: &Tier) -> u64 {
    match tier.as_str() {
        "nano" => NANO_CALL_MS,
        "mini" => MINI_CALL_MS,
        _ => FLAGSHIP_CALL_MS,
    }
}
