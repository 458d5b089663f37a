//! The flagship's answers: a plan, a plan patch, a review; each parsed at the plan's gate, mended at most twice.

use std::collections::HashSet;

use crate::call::{Answer, CallError, End};
use crate::plan::{self, Author, Plan, PlanPatch, PlanStream, ReviewVerdict, Standing, Streamed};
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
            _ => PlanStream::after(self.known(), self.accepted_subtasks()),
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
    pub(in crate::run) fn plan(&self) -> Plan {
        let there = |t: &&crate::run::Task| t.status != Some(SubtaskStatus::Dropped);
        Plan {
            coordination_notes: self.state.notes.clone(),
            subtasks: self.state.tasks.iter().filter(there).map(|t| (*t.spec).clone()).collect(),
            ..Plan::default()
        }
    }

    pub(super) fn flagship_answered(&mut self, caller: &Caller, answer: Result<Answer, CallError>, result: CallResult) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if let CallResult::Failed { repair: Repair::GiveUp(how), .. } = result {
                    match how {
                        GiveUp::TooLong | GiveUp::BadRequest => {
                            self.record(Event::Halted { class: None, message: format!("the flagship's call failed: {error}") });
                        }
                        how => self.give_up(how, &error),
                    }
                }
                return;
            }
        };
        if answer.end == End::Length && self.state.desk.doubled {
            return; // asked again with twice the room
        }
        if let Some(refusal) = &answer.refusal {
            return self.record(Event::Halted { class: None, message: format!("the flagship declined: {refusal}") });
        }
        if answer.end != End::Completed {
            let fault = "the answer was cut before its end: answer more briefly".to_owned();
            return self.faulted(caller, vec![fault]);
        }
        match caller {
            Caller::Planner => self.planned(&answer.text),
            Caller::Replanner => self.replanned(&answer.text),
            Caller::Reviewer => self.reviewed(&answer.text),
            Caller::Executor { .. } => {}
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
            Caller::Planner => self.record(Event::Halted { class: None, message: format!("the plan is still faulty after {MAX_MENDS} mends:\n{said}") }),
            Caller::Replanner => {
                self.record(Event::PlanPatched { patch: Box::default(), by: PatchedBy::Planner });
                self.after_patch(&format!("the planner's patch was faulty: {said}"));
            }
            _ => {
                let question = "The reviewer gave no usable judgement. Approve the result as it is, reject it, or say how to go on.".to_owned();
                self.record(Event::ReviewFailed { faults });
                self.ask_person(Ask::Review, None, None, question, said);
            }
        }
    }

    fn planned(&mut self, text: &str) {
        let started = |t: &&crate::run::Task| t.attempts > 0 || t.status.is_some();
        let frozen: Vec<_> = self.state.tasks.iter().filter(started).map(|t| (*t.spec).clone()).collect();
        let mut stream = PlanStream::after(self.known(), frozen);
        stream.push(text);
        let checked = stream.finish();
        self.session.stream = None;
        let Some(plan) = checked.plan else {
            let faults = checked.faults.iter().map(ToString::to_string).collect();
            return self.faulted(&Caller::Planner, faults);
        };
        let named: HashSet<_> = plan.subtasks.iter().map(|s| s.id.clone()).collect();
        let mut patch = PlanPatch {
            drop: self.state.tasks.iter().map(|t| t.spec.id.clone()).filter(|id| !named.contains(id)).collect(),
            ..PlanPatch::default()
        };
        let mut fresh = Vec::new();
        for subtask in plan.subtasks {
            match self.state.index.get(&subtask.id) {
                None => fresh.push(subtask),
                Some(&task) if *self.state.tasks[task as usize].spec != subtask => patch.change.push(subtask),
                Some(_) => {}
            }
        }
        if patch != PlanPatch::default() {
            self.record(Event::PlanPatched { patch: Box::new(patch), by: PatchedBy::Planner });
        }
        for subtask in fresh {
            self.record(Event::PlanSubtask { subtask: Box::new(subtask), streamed: false });
        }
        self.record(Event::PlanCompleted {
            subtasks: named.len() as u32,
            coordination_notes: plan.coordination_notes,
            warnings: checked.warnings.iter().map(ToString::to_string).collect(),
            bulk: None,
        });
    }

    fn replanned(&mut self, text: &str) {
        let parsed = plan::parse_json(text, Author::Planner);
        let amended = plan::amend(&self.plan(), &parsed, |id| self.standing(id), &self.known());
        match amended.applied {
            Some((patch, _)) => {
                let empty = patch == PlanPatch::default();
                self.record(Event::PlanPatched { patch: Box::new(patch), by: PatchedBy::Planner });
                self.after_patch(if empty { "the planner changed nothing" } else { "the planner left this subtask as it is" });
            }
            None => self.faulted(&Caller::Replanner, amended.faults.iter().map(ToString::to_string).collect()),
        }
    }

    fn standing(&self, id: &crate::ids::SubtaskId) -> Standing {
        let Some(&task) = self.state.index.get(id) else { return Standing::Waiting };
        let entry = &self.state.tasks[task as usize];
        match (entry.status, self.state.work.get(&Key { task, row: None })) {
            (Some(SubtaskStatus::Failed | SubtaskStatus::Dropped), _) => Standing::Stuck,
            (Some(_), _) => Standing::Done,
            (None, Some(work)) if work.stage == Stage::Planner && work.accepted.is_some() && work.tried.last().is_some_and(|t| t.failure.is_none() && t.ending == crate::run::Ending::Done) => Standing::Done,
            (None, Some(work)) if matches!(work.stage, Stage::Planner | Stage::Person(_)) => Standing::Stuck,
            (None, Some(work)) if work.attempt.is_some() => Standing::Started,
            (None, _) if entry.rows.ended() > 0 => Standing::Started,
            (None, _) => Standing::Waiting,
        }
    }

    /// Units that waited for the patch: checkpoints are through; what the patch left alone is a person's.
    fn after_patch(&mut self, why: &str) {
        let mut waiting: Vec<Key> = self.state.work.iter().filter(|(_, w)| w.stage == Stage::Planner).map(|(k, _)| *k).collect();
        waiting.sort_unstable();
        for key in waiting {
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
        let parsed = plan::parse_json(text, Author::Planner);
        let judged = plan::review(&self.plan(), &parsed, &self.known());
        let Some((review, _)) = judged.review else {
            return self.faulted(&Caller::Reviewer, judged.faults.iter().map(ToString::to_string).collect());
        };
        let round = self.state.desk.reviews + 1;
        let add = review.add.clone();
        let revisions = review.revisions.clone();
        let (verdict, summary) = (review.verdict, review.summary.clone());
        let shown = review.final_output.clone();
        self.record(Event::Reviewed { round, verdict, summary: summary.clone(), review: Box::new(review) });
        let limit = self.state.start().policy.limits.max_review_rounds;
        match verdict {
            ReviewVerdict::Approve => {}
            ReviewVerdict::Revise if round <= limit => {
                for revision in revisions {
                    let Ok(unit) = self.unit_named(&revision.subtask) else { continue };
                    self.record(Event::Reopened { unit, instructions: revision.instructions });
                }
                self.record(Event::PlanPatched { patch: Box::new(add), by: PatchedBy::Reviewer });
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

    fn unit_named(&self, id: &crate::ids::SubtaskId) -> Result<crate::run::Unit, ()> {
        self.state.index.get(id).map(|&task| self.state.unit(Key { task, row: None })).ok_or(())
    }

    pub(in crate::run) fn known(&self) -> plan::Known {
        let policy = &self.state.start().policy;
        let mut known = plan::Known::new(self.tools.iter());
        known.tiers.clone_from(&policy.ladder);
        known.max_subtasks = policy.limits.max_subtasks as usize;
        known
    }

    /// What the flagship's job in hand is called for.
    pub(in crate::run) fn desk_caller(&self) -> Option<Caller> {
        self.state.desk.job.as_ref().map(|job| match job {
            Job::Plan { .. } => Caller::Planner,
            Job::Replan { .. } => Caller::Replanner,
            Job::Review { .. } => Caller::Reviewer,
        })
    }
}
