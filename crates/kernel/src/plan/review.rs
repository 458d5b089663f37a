//! The flagship's judgement of a run: accept, have things done again or added, or ask a person.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Plan;
use super::amend::{Draft, PlanPatch, Standing, entries, judge};
use super::check::Known;
use super::fault::{Code, Fault, shown};
use super::fields::{Fields, kind_and_value};
use super::gate::{Parsed, fault};
use super::reference::outputs;
use crate::ids::SubtaskId;

/// A checked review.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// What was found, for people.
    pub summary: String,
    /// The judgement.
    pub verdict: Verdict,
    /// Subtasks to run again.
    pub revisions: Vec<Revision>,
    /// New subtasks as a patch of the plan (only `add` is used).
    pub add: PlanPatch,
    /// The answer, with `{{id.output}}` where results belong.
    pub final_output: String,
}

/// What a review decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Good as it is.
    Approve,
    /// Revisions and additions run, then it is reviewed again.
    Revise,
    /// A person decides.
    Escalate,
}

/// One subtask that must be done again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Which.
    pub subtask: SubtaskId,
    /// What to do differently.
    pub instructions: String,
}

/// What came of judging a review.
#[derive(Debug, Clone, PartialEq)]
pub struct Reviewed {
    /// There only without faults.
    pub review: Option<Review>,
    /// Everything that must be mended.
    pub faults: Vec<Fault>,
}

/// Judges a review that came through the gate against the plan it is about: `named` finds a subtask of it by its id,
/// and the whole of it is only made when something is added to it.
pub fn review(named: &dyn Fn(&str) -> Option<SubtaskId>, plan: impl FnOnce() -> Plan, answer: &Parsed, known: &Known) -> Reviewed {
    let mut faults = answer.faults.clone();
    let map = match &answer.value {
        Some(Value::Object(map)) => map,
        other => {
            if let Some(value) = other {
                faults.push(fault(Code::BadValue, format!("the review is {}; write an object", kind_and_value(value))));
            }
            return Reviewed { review: None, faults };
        }
    };
    let mut fields = Fields::new(map, None);
    fields.only(&[&["summary", "verdict", "revisions", "add", "final_output"]], &[]);
    let summary = fields.text("summary").unwrap_or_default().to_owned();
    let verdicts = |text: &str| match text {
        "approve" => Some(Verdict::Approve),
        "revise" => Some(Verdict::Revise),
        "escalate" => Some(Verdict::Escalate),
        _ => None,
    };
    let verdict = fields.parsed("verdict", "use approve, revise or escalate", verdicts);
    if fields.get("verdict").is_none() {
        fields.fault(Code::BadValue, "verdict", "there is no verdict; write approve, revise or escalate".to_owned());
    }
    let revisions = read_revisions(&mut fields, named);
    let add = entries(&mut fields, "add", known);
    let final_output = fields.text("final_output").unwrap_or_default().to_owned();
    let revises = fields.get("revisions").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if verdict == Some(Verdict::Revise) && !revises && add.is_empty() {
        let message = "the verdict is revise, but nothing is to be revised or added; name what, or approve".to_owned();
        fields.fault(Code::BadValue, "revisions", message);
    }
    faults.append(&mut fields.faults);
    let (add, mut faults) = if add.is_empty() {
        (Some(PlanPatch::default()).filter(|_| faults.is_empty()), faults)
    } else {
        let draft = Draft { add, drop: Vec::new(), change: Vec::new(), notes: None };
        let amended = judge(&plan(), draft, faults, &|_| Standing::Done, known);
        (amended.applied.map(|(add, _)| add), amended.faults)
    };
    if let Some(add) = &add {
        let there = |id: &SubtaskId| named(id.as_str()).is_some() || add.add.iter().any(|s| s.id == *id);
        for id in outputs(&final_output).iter().filter(|id| !there(id)) {
            let message = format!("final_output refers to {}, which no subtask is called; name one of the plan", shown(id.as_str()));
            faults.push(Fault { field: Some("final_output".to_owned()), ..fault(Code::DanglingLink, message) });
        }
    }
    let review = match (add, verdict) {
        (Some(add), Some(verdict)) if faults.is_empty() => Some(Review { summary, verdict, revisions, add, final_output }),
        _ => None,
    };
    Reviewed { review, faults }
}

fn read_revisions(fields: &mut Fields<'_>, named: &dyn Fn(&str) -> Option<SubtaskId>) -> Vec<Revision> {
    let mut revisions: Vec<Revision> = Vec::new();
    for value in fields.entries("revisions") {
        let Value::Object(map) = value else {
            fields.bad("revisions", value, "write {\"subtask\", \"instructions\"}");
            continue;
        };
        let mut one = Fields::new(map, None);
        one.only(&[&["subtask", "instructions"]], &[]);
        let instructions = one.text("instructions").unwrap_or_default().to_owned();
        let name = one.text("subtask").unwrap_or_default();
        fields.faults.append(&mut one.faults);
        let Some(subtask) = named(name) else {
            let message = format!("no subtask has the id {}; name one of the plan", shown(name));
            fields.fault(Code::DanglingLink, "revisions", message);
            continue;
        };
        if revisions.iter().any(|r| r.subtask == subtask) {
            let message = format!("{} is revised twice; put both instructions into one", shown(name));
            fields.fault(Code::DuplicateNode, "revisions", message);
            continue;
        }
        revisions.push(Revision { subtask, instructions });
    }
    revisions
}
