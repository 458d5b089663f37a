//! The fold of one unit: its queues, its attempts, its end.

use std::cmp::Reverse;

use super::uses_view;
use crate::budget::Role;
use crate::call::{End, Item};
use crate::ids::{ModelRef, Tier};
use crate::route::Repair;
use crate::run::event::{CallResult, Change, SubtaskStatus};
use crate::run::state::{Attempt, Key, Parked, Stage, State, Tried};
use crate::run::turn;
use crate::time::Timestamp;
use crate::units::NanoUsd;
use crate::usage::Usage;

impl State {
    fn priority(&self, key: Key) -> Reverse<u64> {
        Reverse(self.tasks[key.task as usize].priority)
    }

    pub(super) fn leave_queues(&mut self, key: Key) {
        let entry = (self.priority(key), key);
        self.ready.remove(&entry);
        self.to_call.remove(&entry);
        self.to_act.remove(&key);
        if let Some(until) = self.work.get_mut(&key).and_then(|w| w.until.take()) {
            self.parked.remove(&(until, Parked::Unit(key)));
        }
    }

    /// Moves a unit to a stage and into the queue that belongs to it.
    pub(in crate::run) fn enter(&mut self, key: Key, stage: Stage) {
        self.leave_queues(key);
        let entry = (self.priority(key), key);
        match stage {
            Stage::Ready if self.is_ripe(key) => {
                self.ready.insert(entry);
            }
            // Something it hangs on was taken up again, or joined the plan: woken when that has ended.
            Stage::Ready => {}
            Stage::Call => {
                self.to_call.insert(entry);
            }
            Stage::Gather | Stage::Tools | Stage::Checks => {
                self.to_act.insert(key);
                self.fresh.push(key);
            }
            Stage::Calling(_) | Stage::Parked | Stage::Planner | Stage::Person(_) => {}
        }
        self.work.entry(key).or_default().stage = stage;
    }

    /// Whether an attempt is shown files, or works on some, and these are to be put in order first.
    pub(in crate::run) fn must_gather(&self, key: Key) -> bool {
        let spec = &self.task(key).spec;
        let parts = self.work.get(&key).is_none_or(|work| work.parts.is_none());
        uses_view(spec)
            || (parts && (!spec.files.is_empty() || !spec.images.is_empty() || (!spec.tools.is_empty() && self.hangs_on_changes(key))))
    }

    pub(super) fn begin(&mut self, key: Key, no: u32, tier: &Tier, model: &ModelRef, at: Timestamp) {
        let gather = self.must_gather(key);
        let task = &mut self.tasks[key.task as usize];
        task.attempts += 1;
        task.checks.clear();
        let (source, kind) = (task.source, task.spec.kind);
        self.active += 1;
        *self.active_of.entry(kind).or_default() += 1;
        self.tally.attempts += 1;
        let work = self.work.entry(key).or_default();
        work.since.get_or_insert(at);
        work.granted = work.granted.saturating_sub(1);
        work.attempt = Some(Attempt {
            no,
            tier: tier.clone(),
            model: model.clone(),
            items: Vec::new(),
            opened: false,
            turns: 0,
            tool_calls: 0,
            repeated: (0, 0),
            doubled: false,
            alternate: 0,
            omit: Vec::new(),
            pending: Vec::new(),
            answer: None,
            checked: 0,
            tree: work.base_tree.clone().filter(|_| !gather),
            touched: Default::default(),
            cost: NanoUsd::ZERO,
            usage: Usage::default(),
        });
        self.enter(key, if gather { Stage::Gather } else { Stage::Call });
        if let (Some(row), Some(source)) = (key.row, source)
            && !self.sources[source as usize].rows.contains_key(&row)
        {
            self.sources[source as usize].rows.insert(row, Default::default());
            self.wake_row(source as usize, row);
        }
    }

    pub(super) fn spent_on(&mut self, key: Key, cost: NanoUsd, usage: Usage) {
        self.tasks[key.task as usize].cost += cost;
        let Some(work) = self.work.get_mut(&key) else { return };
        work.cost += cost;
        let Some(attempt) = &mut work.attempt else { return };
        attempt.cost += cost;
        attempt.usage += usage;
    }

    pub(super) fn answered(&mut self, key: Key, result: &CallResult) {
        let Some(work) = self.work.get_mut(&key) else { return };
        let Some(attempt) = &mut work.attempt else { return };
        let stage = match result {
            CallResult::Answered { text, items, end, .. } => {
                work.trouble = 0;
                attempt.turns += 1;
                if *end == End::Length && !attempt.doubled {
                    attempt.doubled = true;
                    Stage::Call
                } else if items.iter().any(|i| matches!(i, Item::ToolCall { .. })) && *end == End::Completed {
                    attempt.pending = turn::pending(items);
                    attempt.repeated = turn::repeated(attempt.repeated, items);
                    attempt.items.extend(items.iter().cloned());
                    Stage::Tools
                } else {
                    attempt.answer = Some(text.as_str().into());
                    Stage::Checks
                }
            }
            CallResult::Failed { repair, param, message, .. } => match repair {
                Repair::Wait(until) => {
                    work.trouble += 1;
                    self.parked.insert((*until, Parked::Unit(key)));
                    work.until = Some(*until);
                    work.stage = Stage::Parked;
                    return;
                }
                Repair::Alternate => {
                    work.trouble = 0;
                    attempt.alternate += 1;
                    Stage::Call
                }
                Repair::DropField => {
                    work.trouble = 0;
                    attempt.omit.push(turn::field_named(param.as_deref().unwrap_or(message)));
                    Stage::Call
                }
                Repair::Rebuild => {
                    attempt.items.retain(|i| !matches!(i, Item::Opaque { .. }));
                    Stage::Call
                }
                Repair::GiveUp(_) => {
                    work.trouble = 0;
                    Stage::Call
                }
            },
            CallResult::Lost => Stage::Call,
        };
        self.enter(key, stage);
    }

    pub(super) fn finish_attempt(&mut self, key: Key, tried: Tried, accepted: bool) {
        let Some(work) = self.work.get_mut(&key) else { return };
        let Some(attempt) = work.attempt.take() else { return };
        if accepted || attempt.answer.is_some() {
            work.made = work.base_tree.clone().zip(attempt.tree).map(|(from, to)| Change { from, to });
        }
        work.accepted = if accepted { attempt.answer } else { attempt.answer.or(work.accepted.take()) };
        work.tried.push(tried);
        self.one_less(key);
        self.enter(key, Stage::Ready);
    }

    /// An attempt is in progress no more.
    fn one_less(&mut self, key: Key) {
        self.active = self.active.saturating_sub(1);
        let of_kind = self.active_of.entry(self.tasks[key.task as usize].spec.kind).or_default();
        *of_kind = of_kind.saturating_sub(1);
    }

    pub(super) fn end_unit(&mut self, key: Key, status: SubtaskStatus, output: &str, tier: Option<Tier>, error: Option<String>) {
        self.leave_queues(key);
        if let Some(work) = self.work.remove(&key)
            && work.attempt.is_some()
        {
            self.one_less(key);
        }
        if let Some(row) = key.row {
            self.end_row_unit(key.task, row, status, output);
            return;
        }
        if status == SubtaskStatus::Dropped {
            self.inbox.retain(|_, item| item.unit != Some(key));
            self.leave_source(key.task);
        }
        let task = &mut self.tasks[key.task as usize];
        if task.status.is_none() {
            self.open -= 1;
        }
        if status == SubtaskStatus::Done {
            self.desk.news.insert(key.task);
        }
        task.status = Some(status);
        task.output = output.into();
        task.tier = tier;
        task.error = error;
        self.wake_dependents(key.task);
        self.next_job();
    }

    /// Whether a lease was refused to a role and nothing was settled since.
    pub(in crate::run) fn is_starved(&self, role: Role) -> bool {
        self.starved.contains_key(&role)
    }
}
