//! Changing a plan while it runs: what a planner sends back, judged against the graph as it stands.
//!
//! What has started stays as it is, whatever the patch says; what only a person may set is kept.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check::{Checked, Known, Top, whole};
use super::fault::{Code, Fault, Warning, shown};
use super::fields::{Fields, kind_and_value};
use super::gate::{Author, Parsed, fault};
use super::read::{Entry, read};
use super::{Plan, Subtask};
use crate::ids::SubtaskId;

/// How far a subtask has come, as far as changing it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Not begun: may be changed and dropped.
    Waiting,
    /// Begun or waiting for a person about its result.
    Started,
    /// Ended with a result (or skipped), which is kept.
    Done,
    /// Ended without a result: may be changed, to run again, and dropped.
    Stuck,
}

/// A checked change of a plan, as an event carries it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PlanPatch {
    /// New subtasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Subtask>,
    /// Subtasks that leave the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<SubtaskId>,
    /// Subtasks whose planner's fields are replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub change: Vec<Subtask>,
    /// New notes; `None` keeps the old ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordination_notes: Option<String>,
}

/// What came of judging a patch.
#[derive(Debug, Clone, PartialEq)]
pub struct Amended {
    /// There only without faults: the patch to record, and the plan it leads to.
    pub applied: Option<(PlanPatch, Plan)>,
    /// Everything that must be mended.
    pub faults: Vec<Fault>,
    /// What is sloppy in the resulting plan.
    pub warnings: Vec<Warning>,
}

/// Judges a plan patch that came through the gate.
pub fn amend(plan: &Plan, patch: &Parsed, standing: impl Fn(&SubtaskId) -> Standing, known: &Known) -> Amended {
    let mut faults = patch.faults.clone();
    let Some(value) = &patch.value else {
        return Amended { applied: None, faults, warnings: Vec::new() };
    };
    let Value::Object(map) = value else {
        faults.push(fault(Code::BadValue, format!("the patch is {}; write an object", kind_and_value(value))));
        return Amended { applied: None, faults, warnings: Vec::new() };
    };
    let mut fields = Fields::new(map, None);
    fields.only(&[&["add", "drop", "change", "coordination_notes"]], &[]);
    let add = entries(&mut fields, "add", known);
    let change = entries(&mut fields, "change", known);
    let mut drop = Vec::new();
    for name in fields.list("drop", |_, _| true) {
        match SubtaskId::new(&name) {
            Ok(id) => drop.push(id),
            Err(_) => fields.fault(Code::DanglingLink, "drop", format!("no subtask has the id {}; remove it", shown(&name))),
        }
    }
    let notes = fields.text("coordination_notes").map(str::to_owned);
    faults.append(&mut fields.faults);
    judge(plan, Draft { add, drop, change, notes }, faults, &standing, known)
}

/// Entries as read, not yet judged against a plan.
pub(super) struct Draft {
    pub add: Vec<Entry>,
    pub drop: Vec<SubtaskId>,
    pub change: Vec<Entry>,
    pub notes: Option<String>,
}

/// The subtasks of one list of a patch or review.
pub(super) fn entries(fields: &mut Fields<'_>, field: &str, known: &Known) -> Vec<Entry> {
    let values = match fields.get(field) {
        None => return Vec::new(),
        Some(Value::Array(list)) => list,
        Some(other) => {
            fields.bad(field, other, "write a list of subtasks");
            return Vec::new();
        }
    };
    values.iter().enumerate().map(|(n, value)| read(value, n, Author::Planner, known)).collect()
}

pub(super) fn judge(
    plan: &Plan,
    draft: Draft,
    mut faults: Vec<Fault>,
    standing: &dyn Fn(&SubtaskId) -> Standing,
    known: &Known,
) -> Amended {
    let place: HashMap<&str, usize> = plan.subtasks.iter().enumerate().map(|(n, s)| (s.id.as_str(), n)).collect();
    let refuse = |code, id: &str, field: &str, message| Fault {
        code,
        subtask: Some(super::fault::label(id)),
        field: Some(field.to_owned()),
        message,
    };
    let mut touched = HashSet::new();
    let mut judge_target = |id: &str, field: &str, faults: &mut Vec<Fault>| {
        let Some(subtask) = place.get(id).map(|&n| &plan.subtasks[n]) else {
            faults.push(refuse(Code::DanglingLink, id, field, format!("no subtask has the id {}; add it or leave it out", shown(id))));
            return;
        };
        if !touched.insert(id.to_owned()) {
            faults.push(refuse(Code::DuplicateNode, id, field, format!("{} is changed or dropped twice; keep one", shown(id))));
        }
        let what = match standing(&subtask.id) {
            Standing::Waiting | Standing::Stuck => return,
            Standing::Started => "has started",
            Standing::Done => "is done",
        };
        faults.push(refuse(Code::BadValue, id, field, format!("{} {what} and stays as it is; add another subtask instead", shown(id))));
    };
    for id in &draft.drop {
        judge_target(id.as_str(), "drop", &mut faults);
    }
    for key in draft.change.iter().filter_map(|entry| entry.key.as_deref()) {
        judge_target(key, "change", &mut faults);
    }
    // The plan as it would be, through the same verdict as any plan.
    let dropped: HashSet<&SubtaskId> = draft.drop.iter().collect();
    let mut result: Vec<Entry> = plan.subtasks.iter().cloned().map(Entry::of).collect();
    let mut change = Vec::new();
    for mut entry in draft.change {
        let Some(&n) = entry.key.as_deref().and_then(|key| place.get(key)) else {
            faults.append(&mut entry.faults);
            continue;
        };
        let Some(new) = entry.subtask.clone() else {
            result[n] = entry;
            continue;
        };
        // Links as written first: they know the field that a fault must name.
        let kept = Entry::of(with_planned_fields(&plan.subtasks[n], &new));
        let new_to: HashSet<&str> = entry.links.iter().map(|l| l.to.as_str()).collect();
        let more: Vec<_> = kept.links.iter().filter(|l| !new_to.contains(l.to.as_str())).cloned().collect();
        result[n] = Entry { links: [entry.links, more].concat(), ..kept };
        change.push(new);
    }
    let add: Vec<Subtask> = draft.add.iter().filter_map(|entry| entry.subtask.clone()).collect();
    // A dropped id is not free: results are kept by id.
    for entry in draft.add.iter().filter(|e| e.key.as_deref().is_some_and(|key| place.contains_key(key))) {
        if let Some(id) = entry.subtask.as_ref().map(|s| &s.id).filter(|id| dropped.contains(id)) {
            let message = format!("the id {} is dropped by the same patch; choose another or use change", shown(id.as_str()));
            faults.push(refuse(Code::DuplicateNode, id.as_str(), "add", message));
        }
    }
    result.retain(|entry| entry.subtask.as_ref().is_none_or(|s| !dropped.contains(&s.id)));
    result.extend(draft.add);
    let top = Top {
        pipeline: plan.pipeline.clone(),
        coordination_notes: draft.notes.clone().unwrap_or_else(|| plan.coordination_notes.clone()),
        stops: plan.stops,
    };
    let Checked { plan: amended, faults, warnings } = whole(top, result, faults, known);
    let patch = PlanPatch { add, drop: draft.drop, change, coordination_notes: draft.notes };
    Amended { applied: amended.map(|plan| (patch, plan)), faults, warnings }
}

/// The planner's fields of `new` over everything else of `old`.
pub(crate) fn with_planned_fields(old: &Subtask, new: &Subtask) -> Subtask {
    let Subtask { kind, title, description, output_format, depends_on, files, writes, tools, complexity, checks, .. } = new.clone();
    let mut merged =
        Subtask { kind, title, description, output_format, depends_on, files, writes, tools, complexity, checks, ..old.clone() };
    // What the kept fields wait for is still waited for.
    for id in kept_links(old) {
        if !merged.depends_on.contains(&id) {
            merged.depends_on.push(id);
        }
    }
    merged
}

fn kept_links(old: &Subtask) -> Vec<SubtaskId> {
    let mut links = Vec::new();
    if let Some(super::ForEach::Subtask(id)) = &old.for_each {
        links.push(id.clone());
    }
    for reference in old.when.iter().flat_map(super::When::references) {
        if let super::reference::Reference::Output { id, .. } = reference {
            links.push(id.clone());
        }
    }
    links
}

impl PlanPatch {
    /// Folds a recorded patch into its plan; it was judged when it was recorded.
    pub fn apply(&self, plan: &mut Plan) {
        let change: HashMap<&SubtaskId, &Subtask> = self.change.iter().map(|s| (&s.id, s)).collect();
        let dropped: HashSet<&SubtaskId> = self.drop.iter().collect();
        plan.subtasks.retain(|s| !dropped.contains(&s.id));
        for subtask in &mut plan.subtasks {
            if let Some(new) = change.get(&subtask.id) {
                *subtask = with_planned_fields(subtask, new);
            }
        }
        plan.subtasks.extend(self.add.iter().cloned());
        if let Some(notes) = &self.coordination_notes {
            plan.coordination_notes.clone_from(notes);
        }
    }
}
