//! Where the time of a run went: per subtask from ready to ended, split into model, tool, check and queue.
//!
//! Rows of a bulk subtask share one line: their work overlaps, so its parts are sums and it has no queue of its own.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::ids::SubtaskId;
use crate::run::{CallNo, Caller, Event, Stamped, SubtaskStatus, Unit};
use crate::time::{Millis, Timestamp};

/// Whose time a line shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Plans and plan patches.
    Planner,
    /// A subtask.
    Subtask(SubtaskId),
    /// Judging the result.
    Reviewer,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Planner => "(planner)",
            Self::Subtask(id) => id.as_str(),
            Self::Reviewer => "(reviewer)",
        })
    }
}

/// One line of the drawing. Milliseconds since the run started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whose.
    pub who: Who,
    /// When all it hangs on had ended.
    pub ready: Millis,
    /// When its first work began.
    pub from: Millis,
    /// When its last work ended.
    pub to: Millis,
    /// Spent in model calls.
    pub model: Millis,
    /// Spent in tools.
    pub tool: Millis,
    /// Spent in checks.
    pub check: Millis,
    /// Neither: waiting for a slot, a person, the planner, the disk. `None` for rows.
    pub queue: Option<Millis>,
    /// Rows that ended.
    pub rows: u64,
    /// Whether the run could not have ended earlier without it.
    pub critical: bool,
}

/// The lines of a run: planner first, subtasks in plan order, reviewer last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timeline {
    /// The lines.
    pub lines: Vec<Line>,
    /// From the start of the run to its last event.
    pub wall: Millis,
}

#[derive(Debug, Default)]
struct Task {
    deps: Vec<SubtaskId>,
    known: Millis,
    from: Option<Millis>,
    to: Option<Millis>,
    ended: Option<Millis>,
    model: Millis,
    tool: Millis,
    check: Millis,
    rows: u64,
}

/// Folds events into a [`Timeline`].
#[derive(Debug, Default)]
pub struct Folding {
    start: Option<Timestamp>,
    last: Millis,
    order: Vec<SubtaskId>,
    tasks: HashMap<SubtaskId, Task>,
    planner: Task,
    reviewer: Task,
    calls: BTreeMap<CallNo, (Caller, Millis)>,
}

impl Folding {
    /// Takes one event in.
    pub fn saw(&mut self, stamped: &Stamped) {
        let at = stamped.at - *self.start.get_or_insert(stamped.at);
        self.last = self.last.max(at);
        match &stamped.event {
            Event::PlanSubtask { subtask, .. } | Event::MergePlanned { subtask, .. } => self.plan(subtask, at),
            Event::PlanPatched { patch, .. } => {
                for subtask in patch.add.iter().chain(&patch.change) {
                    self.plan(subtask, at);
                }
            }
            Event::AttemptStarted { unit, .. } => self.begin(unit, at),
            Event::CallStarted { call, caller, .. } => {
                self.calls.insert(*call, (caller.clone(), at));
            }
            Event::CallEnded { call, ms, .. } => {
                let Some((caller, from)) = self.calls.remove(call) else { return };
                let task = match &caller {
                    Caller::Planner | Caller::Replanner | Caller::Compactor { .. } => &mut self.planner,
                    Caller::Reviewer => &mut self.reviewer,
                    Caller::Executor { unit, .. } => self.tasks.entry(unit.subtask.clone()).or_default(),
                };
                task.model = sum(task.model, *ms);
                task.work(from);
                task.work(at);
            }
            Event::ToolEnded { unit, ms, .. } => self.spent(unit, at, *ms, |task| &mut task.tool),
            Event::CheckEnded { unit, ms, .. } => self.spent(unit, at, *ms, |task| &mut task.check),
            Event::SubtaskEnded { unit, status, .. } => {
                let Some(task) = self.tasks.get_mut(&unit.subtask) else { return };
                if *status == SubtaskStatus::Dropped {
                    return;
                }
                task.rows += u64::from(unit.row.is_some());
                task.work(at);
                task.ended = Some(at);
            }
            _ => {}
        }
    }

    fn plan(&mut self, subtask: &crate::plan::Subtask, at: Millis) {
        if !self.tasks.contains_key(&subtask.id) {
            self.order.push(subtask.id.clone());
        }
        let task = self.tasks.entry(subtask.id.clone()).or_default();
        task.deps.clone_from(&subtask.depends_on);
        if let Some(crate::plan::ForEach::Subtask(source)) = &subtask.for_each {
            task.deps.push(source.clone());
        }
        task.known = at;
    }

    fn begin(&mut self, unit: &Unit, at: Millis) {
        if let Some(task) = self.tasks.get_mut(&unit.subtask) {
            task.work(at);
        }
    }

    fn spent(&mut self, unit: &Unit, at: Millis, ms: Millis, part: impl Fn(&mut Task) -> &mut Millis) {
        let Some(task) = self.tasks.get_mut(&unit.subtask) else { return };
        let part = part(task);
        *part = sum(*part, ms);
        task.work(at);
    }

    /// The drawing so far.
    pub fn timeline(&self) -> Timeline {
        let critical = self.critical();
        let flagship = |who: Who, task: &Task| {
            let (from, to) = (task.from?, task.to?);
            let queue = Some(Millis((to.0 - from.0).saturating_sub(task.model.0)));
            Some(Line {
                who,
                ready: from,
                from,
                to,
                model: task.model,
                tool: task.tool,
                check: task.check,
                queue,
                rows: 0,
                critical: false,
            })
        };
        let mut lines: Vec<Line> = flagship(Who::Planner, &self.planner).into_iter().collect();
        for id in &self.order {
            let task = &self.tasks[id];
            let Some(to) = task.to else { continue };
            let ready = self.ready(task);
            let worked = task.model.0 + task.tool.0 + task.check.0;
            lines.push(Line {
                who: Who::Subtask(id.clone()),
                ready,
                from: task.from.unwrap_or(to),
                to,
                model: task.model,
                tool: task.tool,
                check: task.check,
                queue: (task.rows == 0).then(|| Millis((to.0.saturating_sub(ready.0)).saturating_sub(worked))),
                rows: task.rows,
                critical: critical.contains(id),
            });
        }
        lines.extend(flagship(Who::Reviewer, &self.reviewer));
        Timeline { lines, wall: self.last }
    }

    /// When all that a task hangs on had ended and the task was known.
    fn ready(&self, task: &Task) -> Millis {
        let deps = task.deps.iter().filter_map(|d| self.tasks.get(d)?.ended);
        deps.chain([task.known]).max().unwrap_or_default()
    }

    /// From the subtask that ended last back along what it waited for last.
    fn critical(&self) -> Vec<SubtaskId> {
        let ended = |id: &&SubtaskId| self.tasks.get(*id).and_then(|t| t.ended);
        let last = |ids: &mut dyn Iterator<Item = &SubtaskId>| ids.filter(|id| ended(id).is_some()).max_by_key(|id| ended(id)).cloned();
        let mut path: Vec<SubtaskId> = Vec::new();
        let mut next = last(&mut self.order.iter());
        while let Some(id) = next.filter(|id| !path.contains(id)) {
            next = last(&mut self.tasks[&id].deps.iter());
            path.push(id);
        }
        path
    }
}

impl Task {
    fn work(&mut self, at: Millis) {
        self.from = Some(self.from.map_or(at, |from| from.min(at)));
        self.to = Some(self.to.map_or(at, |to| to.max(at)));
    }
}

fn sum(a: Millis, b: Millis) -> Millis {
    Millis(a.0.saturating_add(b.0))
}

impl Serialize for Line {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            subtask: Option<SubtaskId>,
            role: &'static str,
            ready_ms: Millis,
            from_ms: Millis,
            to_ms: Millis,
            model_ms: Millis,
            tool_ms: Millis,
            check_ms: Millis,
            queue_ms: Option<Millis>,
            rows: u64,
            critical: bool,
        }
        let (subtask, role) = match &self.who {
            Who::Planner => (None, "planner"),
            Who::Subtask(id) => (Some(id.clone()), "executor"),
            Who::Reviewer => (None, "reviewer"),
        };
        Shown {
            subtask,
            role,
            ready_ms: self.ready,
            from_ms: self.from,
            to_ms: self.to,
            model_ms: self.model,
            tool_ms: self.tool,
            check_ms: self.check,
            queue_ms: self.queue,
            rows: self.rows,
            critical: self.critical,
        }
        .serialize(to)
    }
}
