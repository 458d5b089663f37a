//! Sloppy but legal: what is shown to the planner once, and never refused.

use std::collections::HashMap;

use super::fault::{Warning, shown};
use super::{Complexity, Plan, Subtask, TaskType, graph, scope};

/// Most warnings about overlapping writes, and most pairs looked at; a plan that needs more has said enough.
const MAX_OVERLAPS: usize = 100;
const MAX_PAIRS: usize = 2_000;

/// What a subtask shows by itself.
pub(super) fn alone(subtask: &Subtask) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut warn = |code, field: &str, message: &str| {
        let (subtask, field) = (Some(subtask.id.to_string()), Some(field.to_owned()));
        found.push(Warning { code, subtask, field, message: message.to_owned() });
    };
    if subtask.title.is_empty() && subtask.description.is_empty() {
        warn("no_description", "description", "there is nothing to do; describe the work");
    }
    if subtask.output_format.is_empty() && subtask.output_schema.is_none() {
        warn("empty_output_format", "output_format", "what to return is open; write `text`, a sentence or a JSON Schema");
    }
    if !subtask.writes.is_empty() && subtask.checks.is_empty() {
        warn("no_checks", "checks", "it writes, and nothing checks what; add a command that must exit 0");
    }
    if subtask.tools.len() > 1 && starts_on_nano(subtask) {
        warn("many_tools_for_nano", "tools", "nano handles one tool; give one, or split the subtask");
    }
    found
}

/// By the default table of design.md "Routing": a hint only, the route is decided elsewhere.
fn starts_on_nano(subtask: &Subtask) -> bool {
    let by_type = matches!(subtask.kind, TaskType::Classify | TaskType::Extract | TaskType::Rank | TaskType::SimpleEdit);
    match &subtask.tier {
        Some(tier) => tier.as_str() == "nano",
        None => by_type && subtask.complexity != Complexity::High && subtask.model.is_none(),
    }
}

/// Every warning of a valid plan; `waits` are its edges by position.
pub(super) fn all(plan: &Plan, waits: &[Vec<usize>]) -> Vec<Warning> {
    let mut found: Vec<Warning> = plan.subtasks.iter().flat_map(alone).collect();
    found.extend(overlaps(plan, waits));
    found
}

/// Writers that nothing orders and whose scopes surely meet.
fn overlaps(plan: &Plan, waits: &[Vec<usize>]) -> Vec<Warning> {
    let mut scopes: Vec<(&str, usize, &str)> = Vec::new();
    for (n, subtask) in plan.subtasks.iter().enumerate() {
        scopes.extend(subtask.writes.iter().map(|glob| (scope::fixed_part(glob), n, glob.as_str())));
    }
    scopes.sort_unstable();
    let order = graph::order(waits);
    let mut rank = vec![0; waits.len()];
    for (r, &node) in order.iter().enumerate() {
        rank[node] = r;
    }
    let mut pairs = 0;
    let mut told: HashMap<(usize, usize), ()> = HashMap::new();
    let mut found = Vec::new();
    for (i, &(prefix, a, glob_a)) in scopes.iter().enumerate() {
        // Sorted by fixed part, everything below a prefix follows it directly.
        for &(_, b, glob_b) in scopes[i + 1..].iter().take_while(|(other, ..)| other.starts_with(prefix)) {
            pairs += 1;
            if pairs > MAX_PAIRS || found.len() >= MAX_OVERLAPS {
                return found;
            }
            let pair = (a.min(b), a.max(b));
            if a == b || told.contains_key(&pair) || !scope::meet(glob_a, glob_b) || ordered(waits, &rank, a, b) {
                continue;
            }
            told.insert(pair, ());
            let (first, second) = (&plan.subtasks[pair.0].id, &plan.subtasks[pair.1].id);
            found.push(Warning {
                code: "overlapping_writes",
                subtask: Some(second.to_string()),
                field: Some("writes".to_owned()),
                message: format!(
                    "{} may be written by {first} at the same time; make one depend on the other, or divide the files",
                    shown(if glob_a.len() > glob_b.len() { glob_a } else { glob_b })
                ),
            });
        }
    }
    found
}

/// Whether one of two waits for the other, over any number of steps; only nodes between them in rank are walked.
fn ordered(waits: &[Vec<usize>], rank: &[usize], a: usize, b: usize) -> bool {
    let (early, late) = if rank[a] < rank[b] { (a, b) } else { (b, a) };
    let mut seen = std::collections::HashSet::from([late]);
    let mut open = vec![late];
    while let Some(node) = open.pop() {
        for &w in &waits[node] {
            if w == early {
                return true;
            }
            if rank[w] > rank[early] && seen.insert(w) {
                open.push(w);
            }
        }
    }
    false
}
