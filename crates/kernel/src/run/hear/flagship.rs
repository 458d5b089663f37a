//! The flagship's answers: a plan, a plan patch, a review; each parsed at the plan's gate, mended at most twice.

use std::collections::HashSet;
use std::sync::Arc;

use crate::call::{Answer, CallError, End};
use crate::plan::{self, Plan, PlanPatch, PlanStream, Standing, Streamed, Verdict as ReviewVerdict};
use crate::policy::MAX_MENDS;
use crate::route::{GiveUp, Repair};
use crate::run::event::{Ask, CallResult, Caller, Event, PatchedBy, SubtaskStatus};
use crate::run::state::{Job, Key, Stage};
use crate::run::{CallNo, Run};

impl Run {
    /// More of the planner's answer: subtasks whose object has closed are accepted at once.
    pub(super) fn planner_said(&mut self, call: CallNo, text: &str) {
        if self.state.calls.get(&call).is_none_or(|f| f.caller != Caller::Planner) {
            return;
        }
        let mut stream = match self.session.stream.take() {
            Some((of, stream)) if of == call => stream,
            _ => PlanStream::after((*self.known()).clone(), self.accepted_subtasks()),
        };
        for found in stream.push(text) {
            if let Streamed::Subtask(subtask) = found
                && !self.state.index.contains_key(&subtask.id)
            {
                self.record(Event::PlanSubtask { subtask: Box::new(subtask), streamed: true });
            }
        }
        self.session.stream = Some((call, stream));
    }

    fn accepted_subtasks(&self) -> Vec<plan::Subtask> {
        self.state.tasks.iter().map(|t| (*t.spec).clone()).collect()
    }

    /// The plan as it stands.
    pub fn plan(&self) -> Plan {
        let there = |t: &&crate::run::Task| t.status != Some(SubtaskStatus::Dropped);
        Plan {
            pipeline: self.state.start().pipeline.clone(),
            coordination_notes: self.state.notes.clone(),
            subtasks: self.state.tasks.iter().filter(there).map(|t| (*t.spec).clone()).collect(),
            ..Plan::default()
        }
    }

    pub(super) fn flagship_answered(&mut self, caller: &Caller, answer: Result<Answer, CallError>, result: CallResult) {
        if let Caller::Compactor { by } = caller {
            return self.compactor_answered(*by, answer);
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if self.compaction().is_some() {
                    return; // too long: asked again when it is condensed
                }
                if let CallResult::Failed { repair: Repair::GiveUp(how), .. } = result {
                    match how {
                        GiveUp::TooLong | GiveUp::BadRequest => {
                            self.record(Event::Halted {
                                class: None,
                                message: format!("the flagship's call failed: {error}"),
                                until: None,
                            });
                        }
                        how => self.give_up(how, &error),
                    }
                }
                return;
            }
        };
        if answer.end == End::Length && self.state.desk.doubled && answer.refusal.is_none() {
            return; // asked again with twice the room
        }
        if let Some(refusal) = &answer.refusal {
            return self.record(Event::Halted { class: None, message: format!("the flagship declined: {refusal}"), until: None });
        }
        if answer.end != End::Completed {
            let fault = "the answer was cut before its end: answer more briefly".to_owned();
            return self.faulted(caller, vec![fault]);
        }
        match caller {
            Caller::Planner => self.planned(&answer.text),
            Caller::Replanner => self.replanned(&answer.text),
            Caller::Reviewer => self.reviewed(&answer.text),
            Caller::Executor { .. } | Caller::Compactor { .. } => {}
        }
    }

    /// Sends faults back for mending, or gives up after two tries.
    fn faulted(&mut self, caller: &Caller, faults: Vec<String>) {
        let mend = self.state.desk.mends + 1;
        if mend <= MAX_MENDS {
            return self.record(Event::PlanFaulted { faults, mend });
        }
        let said = faults.join("\n");
        match caller {
            Caller::Planner => self.record(Event::Halted {
                class: None,
                message: format!("the plan is still faulty after {MAX_MENDS} mends:\n{said}"),
                until: None,
            }),
            Caller::Replanner => {
                let units = self.replan_units();
                self.patched(PlanPatch::default(), PatchedBy::Planner);
                self.after_patch(units, &format!("the planner's patch was faulty: {said}"));
            }
            _ => {
                let question =
                    "The reviewer gave no usable judgement. Approve the result as it is, reject it, or say how to go on.".to_owned();
                self.record(Event::ReviewFailed { faults });
                self.ask_person(Ask::Review, None, None, question, said);
            }
        }
    }

    fn planned(&mut self, text: &str) {
        let prefix = self.state.desk.frozen as usize;
        let begun = |(n, t): &(usize, &crate::run::Task)| {
            t.status != Some(SubtaskStatus::Dropped) && (*n < prefix || t.attempts > 0 || t.status.is_some())
        };
        let frozen: Vec<_> = self.state.tasks.iter().enumerate().filter(begun).map(|(_, t)| (*t.spec).clone()).collect();
        let mut stream = PlanStream::after((*self.known()).clone(), frozen);
        stream.push(text);
        let checked = stream.finish();
        self.session.stream = None;
        let Some(plan) = checked.plan else {
            let faults = checked.faults.iter().map(ToString::to_string).collect();
            return self.faulted(&Caller::Planner, faults);
        };
        let named: HashSet<_> = plan.subtasks.iter().map(|s| s.id.clone()).collect();
        let mut patch = PlanPatch {
            drop: self
                .state
                .tasks
                .iter()
                .filter(|t| t.status != Some(SubtaskStatus::Dropped) && !named.contains(&t.spec.id))
                .map(|t| t.spec.id.clone())
                .collect(),
            ..PlanPatch::default()
        };
        let mut fresh = Vec::new();
        for subtask in plan.subtasks {
            match self.state.index.get(&subtask.id) {
                None => fresh.push(subtask),
                Some(&task) => {
                    let there = &self.state.tasks[task as usize];
                    if *there.spec != subtask || there.status == Some(SubtaskStatus::Dropped) {
                        patch.change.push(subtask);
                    }
                }
            }
        }
        if patch != PlanPatch::default() {
            self.patched(patch, PatchedBy::Planner);
        }
        for subtask in fresh {
            self.record(Event::PlanSubtask { subtask: Box::new(subtask), streamed: false });
        }
        self.record(Event::PlanCompleted {
            subtasks: named.len() as u32,
            coordination_notes: plan.coordination_notes,
            warnings: checked.warnings.iter().map(|w| w.message.clone()).collect(),
            bulk: None,
        });
        self.reserve_for_review();
    }

    fn replanned(&mut self, text: &str) {
        let parsed = plan::parse_answer(text);
        let known = self.known();
        let amended = plan::amend(&self.plan(), &parsed, |id| self.standing(id), &known);
        match amended.applied {
            Some((patch, _)) => {
                let empty = patch == PlanPatch::default();
                let units = self.replan_units();
                let mended: Vec<u32> = patch.change.iter().filter_map(|s| self.state.index.get(&s.id).copied()).collect();
                self.patched(patch, PatchedBy::Planner);
                for task in mended {
                    self.revive(task);
                }
                self.reserve_for_review();
                self.after_patch(units, if empty { "the planner changed nothing" } else { "the planner left this subtask as it is" });
            }
            None => self.faulted(&Caller::Replanner, amended.faults.iter().map(ToString::to_string).collect()),
        }
    }

    fn patched(&mut self, patch: PlanPatch, by: PatchedBy) {
        self.record(Event::PlanPatched { patch: Box::new(patch), by });
        self.passes_changed();
    }

    fn standing(&self, id: &crate::ids::SubtaskId) -> Standing {
        let Some(&task) = self.state.index.get(id) else { return Standing::Waiting };
        let entry = &self.state.tasks[task as usize];
        if entry.merge.is_some() && entry.status.is_none() {
            return Standing::Started; // without it the work of both sides cannot be put together
        }
        match (entry.status, self.state.work.get(&Key { task, row: None })) {
            (Some(SubtaskStatus::Failed), _) if entry.source.is_some() => Standing::Done,
            (Some(SubtaskStatus::Failed | SubtaskStatus::Dropped), _) => Standing::Stuck,
            (Some(_), _) => Standing::Done,
            (None, Some(work))
                if work.stage == Stage::Planner
                    && work.accepted.is_some()
                    && work.tried.last().is_some_and(|t| t.failure.is_none() && t.ending == crate::run::Ending::Done) =>
            {
                Standing::Done
            }
            (None, Some(work)) if matches!(work.stage, Stage::Planner | Stage::Person(_)) => Standing::Stuck,
            (None, Some(work)) if work.attempt.is_some() => Standing::Started,
            (None, _) if entry.source.is_some_and(|i| self.state.has_begun(i as usize)) => Standing::Started,
            (None, _) => Standing::Waiting,
        }
    }

    /// The units on whose account the planner was asked.
    fn replan_units(&self) -> Vec<Key> {
        match &self.state.desk.job {
            Some(Job::Replan { units, .. }) => units.clone(),
            _ => Vec::new(),
        }
    }

    /// Units that waited for the patch: checkpoints are through; what the patch left alone is a person's.
    fn after_patch(&mut self, units: Vec<Key>, why: &str) {
        for key in units {
            if self.state.work.get(&key).is_none_or(|w| w.stage != Stage::Planner) {
                continue;
            }
            let unit = self.state.unit(key);
            if self.standing(&unit.subtask) == Standing::Done {
                let tier = self.state.work.get(&key).and_then(|w| w.tried.last()).map(|t| t.tier.clone());
                let by = tier.and_then(|tier| Some((tier.clone(), self.state.start().policy.tier(&tier)?.model.clone())));
                let output = self.accepted(key);
                self.end_unit(key, SubtaskStatus::Done, output, None, by);
            } else {
                let evidence = self.state.work.get(&key).and_then(|w| w.tried.last()).map(|t| t.evidence.clone()).unwrap_or_default();
                self.ask_about_failure(key, format!("{why}\n{evidence}"));
            }
        }
    }

    fn reviewed(&mut self, text: &str) {
        let parsed = plan::parse_answer(text);
        let known = self.known();
        let named = |id: &str| {
            let task = &self.state.tasks[*self.state.index.get(id)? as usize];
            (task.status != Some(SubtaskStatus::Dropped)).then(|| task.spec.id.clone())
        };
        let judged = plan::review(&named, || self.plan(), &parsed, &known);
        let Some(review) = judged.review else {
            return self.faulted(&Caller::Reviewer, judged.faults.iter().map(ToString::to_string).collect());
        };
        let round = self.state.desk.reviews + 1;
        let add = review.add.clone();
        let revisions = review.revisions.clone();
        let (verdict, summary) = (review.verdict, review.summary.clone());
        let shown = review.final_output.clone();
        self.record(Event::Reviewed { round, verdict, summary: summary.clone(), review: Box::new(review), reused_from: None });
        let limit = self.state.start().policy.limits.max_review_rounds;
        match verdict {
            ReviewVerdict::Approve => {}
            ReviewVerdict::Revise if round <= limit => {
                for revision in revisions {
                    let Some(&task) = self.state.index.get(&revision.subtask) else { continue };
                    self.reopen(Key { task, row: None }, revision.instructions);
                }
                self.patched(add, PatchedBy::Reviewer);
            }
            verdict => {
                let question = match verdict {
                    ReviewVerdict::Escalate => format!("The reviewer asks for your judgement: {summary}"),
                    _ => format!("The reviewer still wants changes after {limit} rounds: {summary}"),
                };
                self.ask_person(Ask::Review, None, None, question, shown);
            }
        }
    }

    pub(in crate::run) fn known(&mut self) -> Arc<plan::Known> {
        if let Some(known) = &self.session.known {
            return known.clone();
        }
        let policy = &self.state.start().policy;
        let mut known = plan::Known::new(self.assignable().iter());
        known.tiers.clone_from(&policy.ladder);
        known.max_subtasks = policy.limits.max_subtasks as usize;
        self.session.known.insert(Arc::new(known)).clone()
    }

    /// What the flagship's job in hand is called for.
    pub(in crate::run) fn desk_caller(&self) -> Option<Caller> {
        self.state.desk.job.as_ref().map(|job| match job {
            Job::Plan { .. } => Caller::Planner,
            Job::Replan { .. } => self.compaction().map_or(Caller::Replanner, |by| Caller::Compactor { by }),
            Job::Review { .. } => Caller::Reviewer,
        })
    }
}
