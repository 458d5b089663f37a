//! What a result depends on, content for content: work that is equal in all of it need not be paid for twice.
//!
//! Equal work has the same opening, form, pins, grants, scopes, checks and inputs. The model is not among them: an accepted
//! result is one, whoever gave it. Work that may depend on more than is named here has no name at all.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::event::Caller;
use super::state::{Job, Key};
use super::{Earlier, Prepared, Run, SubtaskStatus, uses_view};
use crate::call::Item;
use crate::plan::{Review, Subtask, Verdict as Judged};
use crate::run::event::{Event, Verdict};
use crate::tool::OPEN_OUTPUT;
use crate::units::NanoUsd;

/// Tools that see nothing but the files of the workspace and what the prompt names.
const OF_THE_WORKSPACE: [&str; 8] =
    ["search", "list_files", "read_file", "apply_patch", "write_file", "run_command", "view_image", OPEN_OUTPUT];
/// Fields of a subtask that say when and at what price it is done, or that its prompt holds anyway.
const NOT_OF_THE_WORK: [&str; 15] = [
    "id",
    "title",
    "description",
    "depends_on",
    "complexity",
    "for_each",
    "when",
    "max_attempts",
    "deadline",
    "max_cost_usd",
    "flex",
    "simulate_ms",
    "canary",
    "max_failure_rate",
    "max_escalation_rate",
];

/// Work that is about to be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Work {
    /// SHA-256 in hex over all it depends on, files that its tools may look at aside.
    pub name: String,
    /// Which files these are.
    pub sees: Sees,
    /// Its type, or `review`.
    pub kind: &'static str,
}

/// Which files the tools of some work may look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sees {
    /// None.
    Nothing,
    /// All of the workspace, as it was when the run began to look.
    Workspace,
    /// All of this tree.
    Tree(String),
}

/// Hashes parts so that no two lists of them are alike.
#[derive(Default)]
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn add_items(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Message { text, images, .. } => {
                    self.add(text);
                    images.iter().for_each(|image| self.add(&image.blob));
                }
                other => self.add(serde_json::to_vec(other).expect("items are plain values")),
            }
        }
    }

    fn name(self) -> String {
        let mut name = String::with_capacity(64);
        for byte in self.0.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        name
    }
}

/// What of a subtask belongs to its work, as stored: a field that is new belongs to it until it is named above.
fn of_the_work(spec: &Subtask) -> Value {
    let mut value = serde_json::to_value(spec).expect("a subtask is a map of plain values");
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, _| !NOT_OF_THE_WORK.contains(&name.as_str()));
    }
    value
}

impl Run {
    /// What a call begins, if equal work may have been done before; `None` when its result may depend on more, or when it goes on
    /// with what was begun.
    pub fn work_of(&self, prepared: &Prepared) -> Option<Work> {
        let start = self.state.start();
        if !start.reuse || start.policy.agent(&prepared.call.model).is_some() {
            return None;
        }
        match &prepared.caller {
            Caller::Executor { unit, attempt: 1 } => self.units_work(self.state.key(unit)?, prepared),
            Caller::Reviewer if !start.planned => self.review_work(prepared),
            _ => None,
        }
    }

    fn parts_of(&self, prepared: &Prepared) -> Parts {
        let mut parts = Parts::default();
        let call = &prepared.call;
        // A scripted answer is nobody's but its example's.
        parts.add(self.state.start().offline.as_deref().unwrap_or_default());
        parts.add(&call.instructions);
        parts.add(call.cache_key.as_deref().unwrap_or_default());
        parts.add(call.format.as_ref().map_or("", |format| format.schema.text().get()));
        parts.add_items(&call.items);
        parts
    }

    fn units_work(&self, key: Key, prepared: &Prepared) -> Option<Work> {
        let task = self.state.task(key);
        let spec = &task.spec;
        let work = self.state.work.get(&key)?;
        let begins = work.tried.is_empty() && work.attempt.as_ref().is_some_and(|attempt| !attempt.opened);
        let as_planned = work.instructions.is_empty() && task.instructions.is_empty() && work.onto.is_none();
        let hermetic = spec.mcp_servers.is_empty() && spec.tools.iter().all(|tool| OF_THE_WORKSPACE.contains(&tool.as_str()));
        if !begins || !as_planned || !hermetic || spec.approve || spec.checkpoint {
            return None;
        }
        let mut parts = self.parts_of(prepared);
        parts.add(of_the_work(spec).to_string());
        for tool in self.tools.iter().filter(|tool| spec.grants(&tool.name)) {
            parts.add(serde_json::to_vec(tool).expect("a tool's description is plain values"));
        }
        if let Some(merge) = &task.merge {
            merge.files.iter().for_each(|file| parts.add(file));
        }
        if spec.grants(OPEN_OUTPUT) {
            // What the prompt shows in part can be opened whole.
            for &dep in &task.deps {
                parts.add(self.output_of(key, dep).map_or_else(|| "".into(), |(_, text)| text).as_bytes());
            }
        }
        let looks = uses_view(spec) || spec.tools.iter().any(|tool| tool != OPEN_OUTPUT);
        let tree = work.attempt.as_ref().and_then(|attempt| attempt.tree.clone());
        let sees = match tree {
            _ if !looks => Sees::Nothing,
            Some(tree) => Sees::Tree(tree),
            None => Sees::Workspace,
        };
        Some(Work { name: parts.name(), sees, kind: spec.kind.as_str() })
    }

    /// A judgement is the model's own: another one may judge otherwise.
    fn review_work(&self, prepared: &Prepared) -> Option<Work> {
        if !matches!(&self.state.desk.job, Some(Job::Review { faults }) if faults.is_empty()) {
            return None;
        }
        let mut parts = self.parts_of(prepared);
        parts.add("review");
        parts.add(prepared.call.model.as_str());
        parts.add(serde_json::to_vec(&prepared.call.effort).expect("an effort is a word"));
        Some(Work { name: parts.name(), sees: Sees::Nothing, kind: "review" })
    }

    /// Equal work is being looked for: until [`super::Fact::LookedUp`] this call is not made.
    pub fn look(&mut self, caller: &Caller) {
        let key = self.state.key_of(caller);
        key.into_iter().for_each(|key| self.leads_no_more(key));
        self.session.looking.insert(key);
    }

    /// Whether a caller may wait for somebody who does the same: not where its own time is short.
    pub fn may_wait(&self, caller: &Caller) -> bool {
        let own = self.state.key_of(caller).and_then(|key| self.state.task(key).spec.deadline);
        own.or(self.state.start().policy.limits.subtask).is_none()
    }

    /// What came of looking for equal work.
    pub(super) fn looked_up(&mut self, caller: &Caller, earlier: Option<Earlier>) {
        let key = self.state.key_of(caller);
        self.session.looking.remove(&key);
        match (caller, key, earlier) {
            (Caller::Executor { attempt, .. }, Some(key), Some(Earlier::Result { run, output, change, changed })) => {
                let work = self.state.work.get(&key);
                let fresh = work.and_then(|w| w.attempt.as_ref()).is_some_and(|a| a.no == *attempt && !a.opened);
                let base = work.and_then(|w| w.base_tree.as_ref());
                let spec = &self.state.task(key).spec;
                let lies = change.as_ref().is_some_and(|change| !uses_view(spec) || base != Some(&change.from));
                // Its checks are looked at as far as that costs nothing.
                let strays = !crate::plan::outside(&spec.writes, &changed.paths).is_empty();
                if fresh && !lies && !strays {
                    self.reused(key, run, output, change);
                }
            }
            (Caller::Reviewer, _, Some(Earlier::Review { run, review })) => {
                let asked = matches!(self.state.desk.job, Some(Job::Review { .. }));
                if asked && review.verdict == Judged::Approve {
                    let round = self.state.desk.reviews + 1;
                    let summary = review.summary.clone();
                    self.record(Event::Reviewed { round, verdict: review.verdict, summary, review, reused_from: Some(run) });
                }
            }
            _ => {}
        }
    }

    fn reused(&mut self, key: Key, run: crate::ids::RunId, output: String, change: Option<super::Change>) {
        let Some(attempt) = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()) else { return };
        let (no, tier, model) = (attempt.no, attempt.tier.clone(), attempt.model.clone());
        let unit = self.state.unit(key);
        for check in self.checks_of(key) {
            // It passed on these very files: what it said then is said again.
            self.record(Event::CheckEnded {
                unit: unit.clone(),
                attempt: no,
                tier: tier.clone(),
                model: model.clone(),
                check: check.name(),
                verdict: Verdict::Pass,
                evidence: String::new(),
                reused_from: Some(run.clone()),
                ms: crate::time::Millis(0),
            });
        }
        self.record(Event::SubtaskEnded {
            unit,
            status: SubtaskStatus::Done,
            kind: self.state.task(key).spec.kind,
            output,
            tier: Some(tier),
            model: Some(model),
            attempts: 0,
            cost_usd: NanoUsd::ZERO,
            error: None,
            reused_from: Some(run),
            change,
        });
        self.forget_row(key);
    }
}

impl Earlier {
    /// What a review said, if it is worth being said again: an approval that adds nothing.
    pub fn of_review(run: crate::ids::RunId, review: Box<Review>) -> Option<Self> {
        let plain = review.verdict == Judged::Approve && review.revisions.is_empty() && review.add == crate::plan::PlanPatch::default();
        plain.then_some(Self::Review { run, review })
    }
}
