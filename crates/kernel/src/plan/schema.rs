//! JSON Schemas of the structured outputs, within the strict subset (responses-api.md §4.3): every field required,
//! null = default, nothing else allowed. Models write fields in this order, so reasons stand before verdicts.

use serde_json::{Value, json};

use super::TaskType;

/// Name of a plan's format.
pub const PLAN: &str = "brigade_plan";
/// Name of a plan patch's format.
pub const PLAN_PATCH: &str = "brigade_plan_patch";
/// Name of a review's format.
pub const REVIEW: &str = "brigade_review";
/// Name of a judge's format.
pub const JUDGE: &str = "brigade_judge";

/// `brigade_plan`.
pub fn plan() -> Value {
    with_subtask(vec![("coordination_notes", maybe("string")), ("subtasks", list(subtask_ref()))])
}

/// `brigade_plan_patch`.
pub fn plan_patch() -> Value {
    with_subtask(vec![
        ("add", list(subtask_ref())),
        ("drop", list(text())),
        ("change", list(subtask_ref())),
        ("coordination_notes", maybe("string")),
    ])
}

/// `brigade_review`.
pub fn review() -> Value {
    let revision = object(vec![("subtask", text()), ("instructions", text())]);
    with_subtask(vec![
        ("summary", text()),
        ("verdict", json!({"type": "string", "enum": ["approve", "revise", "escalate"]})),
        ("revisions", list(revision)),
        ("add", list(subtask_ref())),
        ("final_output", text()),
    ])
}

/// `brigade_judge`.
pub fn judge() -> Value {
    object(vec![
        ("reasoning", text()),
        ("evidence", maybe("string")),
        ("verdict", json!({"type": "string", "enum": ["pass", "fail", "unsure"]})),
    ])
}

fn subtask() -> Value {
    let types: Vec<&str> = TaskType::ALL.iter().map(|t| t.as_str()).collect();
    object(vec![
        ("id", json!({"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"})),
        ("type", json!({"type": "string", "enum": types})),
        ("title", text()),
        ("description", text()),
        ("output_format", maybe("string")),
        ("depends_on", maybe_list(text())),
        ("files", maybe_list(text())),
        ("writes", maybe_list(text())),
        ("tools", maybe_list(text())),
        ("complexity", json!({"type": ["string", "null"], "enum": ["low", "medium", "high", null]})),
        ("checks", maybe_list(list(text()))),
    ])
}

fn with_subtask(fields: Vec<(&str, Value)>) -> Value {
    let mut schema = object(fields);
    schema["$defs"] = json!({"subtask": subtask()});
    schema
}

fn object(fields: Vec<(&str, Value)>) -> Value {
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let required = json!(required);
    let properties: serde_json::Map<String, Value> = fields.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn subtask_ref() -> Value {
    json!({"$ref": "#/$defs/subtask"})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn maybe(kind: &str) -> Value {
    json!({"type": [kind, "null"]})
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn maybe_list(items: Value) -> Value {
    json!({"type": ["array", "null"], "items": items})
}
