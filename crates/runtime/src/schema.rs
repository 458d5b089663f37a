//! The cheapest check: an answer that must be JSON of a certain shape.

use brigade_kernel::run::Verdict;
use serde_json::Value;

/// Faults shown at most.
const MOST: usize = 8;

/// Whether the answer is JSON that matches; else what is wrong, for the next attempt.
pub fn check(schema: &Value, answer: &str) -> (Verdict, String) {
    let value: Value = match serde_json::from_str(answer.trim()) {
        Ok(value) => value,
        Err(e) => return (Verdict::Fail, format!("the answer is not JSON: {e}")),
    };
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(e) => return (Verdict::Unsure, format!("the schema itself cannot be used: {e}")),
    };
    let faults: Vec<String> =
        validator.iter_errors(&value).take(MOST).map(|e| format!("at {}: {e}", path(&e.instance_path().to_string()))).collect();
    if faults.is_empty() { (Verdict::Pass, String::new()) } else { (Verdict::Fail, faults.join("\n")) }
}

fn path(pointer: &str) -> &str {
    if pointer.is_empty() { "the root" } else { pointer }
}
