//! The fold of the task graph: subtasks that come, change, leave, and run again.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::budget::{Measure, Scope};
use crate::context::{self, Wanted};
use crate::ids::SubtaskId;
use crate::plan::reference::Reference;
use crate::plan::{self, ForEach, PlanPatch, Subtask};
use crate::route::Failure;
use crate::run::event::{Ending, PatchedBy, SubtaskStatus};
use crate::run::state::{DeskStage, Grants, Job, Key, Phase, Stage, State, Task, Tried, Work};
use crate::schedule;
use crate::units::NanoUsd;

/// How many rows a subtask of rows stands for before they are counted: ours, a guess.
const ROWS: u64 = 100;

impl State {
    /// A finished subtask (or row) is open again.
    pub(super) fn reopen(&mut self, key: Key, instructions: &str, onto: Option<&String>) {
        let entry = &mut self.tasks[key.task as usize];
        if !instructions.is_empty() {
            entry.instructions.push(instructions.to_owned());
        }
        match (key.row, entry.source) {
            (Some(row), Some(i)) => self.reopen_row(i as usize, row),
            (_, Some(_)) => self.restart_rows(key.task),
            (_, None) => {
                if entry.status.take().is_none() {
                    return;
                }
                let revised = entry.tier.clone().filter(|_| !instructions.is_empty());
                self.open += 1;
                let tried = revised.map(|tier| {
                    let evidence = if onto.is_some() { "its check fails on all work put together" } else { "the review sent it back" };
                    Tried { tier, ending: Ending::Done, failure: Some(Failure::Review), evidence: evidence.to_owned() }
                });
                if tried.is_some() || onto.is_some() {
                    // What it returned stands until it returns something else.
                    let accepted = onto.map(|_| entry.output.clone());
                    let work = Work { tried: tried.into_iter().collect(), onto: onto.cloned(), accepted, ..Work::default() };
                    self.work.insert(key, Box::new(work));
                }
                self.mended += u32::from(onto.is_some());
                self.unready_dependents(key.task);
                self.wake_task(key.task);
            }
        }
        self.phase = Phase::Running;
        // What was about to be judged is not whole any more.
        if matches!(self.desk.job, Some(Job::Review { .. })) && self.desk.stage == DeskStage::Call {
            self.desk.job = None;
            self.desk.stage = DeskStage::Idle;
        }
        // Rows of an empty input are done again at once: then it is judged after all.
        self.next_job();
    }

    pub(super) fn wake_dependents(&mut self, task: u32) {
        for dependent in self.tasks[task as usize].dependents.clone() {
            self.wake_task(dependent);
        }
    }

    /// What hangs on a subtask that is open again and has not begun waits again.
    fn unready_dependents(&mut self, task: u32) {
        for dependent in self.tasks[task as usize].dependents.clone() {
            let rows = self.tasks[dependent as usize].source.map(|i| &self.sources[i as usize].rows);
            let rows: Vec<u64> = rows.map(|rows| rows.keys().copied().collect()).unwrap_or_default();
            for row in std::iter::once(None).chain(rows.into_iter().map(Some)) {
                let key = Key { task: dependent, row };
                if self.work.get(&key).is_some_and(|w| w.stage == Stage::Ready) {
                    self.leave_queues(key);
                }
            }
        }
    }

    /// Makes a task ready if nothing stands before it any more.
    pub(super) fn wake_task(&mut self, task: u32) {
        let entry = &self.tasks[task as usize];
        if entry.status.is_some() {
            return;
        }
        if let Some(i) = entry.source {
            return self.wake_rows(i as usize);
        }
        let key = Key { task, row: None };
        if self.task_is_ripe(task) && self.work.get(&key).is_none_or(|w| w.stage == Stage::Ready) {
            self.enter(key, Stage::Ready);
        }
    }

    /// Whether everything before a task has ended.
    fn task_is_ripe(&self, task: u32) -> bool {
        let entry = &self.tasks[task as usize];
        let waits = entry.unknown > 0 || !entry.deps.iter().all(|&d| self.tasks[d as usize].status.is_some());
        !waits && entry.spec.for_each.is_none()
    }

    /// Whether a unit may start once there is room for it.
    pub(super) fn is_ripe(&self, key: Key) -> bool {
        match (key.row, self.tasks[key.task as usize].source) {
            (Some(row), Some(i)) => self.row_unit_is_ripe(i as usize, row, key.task),
            _ => self.task_is_ripe(key.task),
        }
    }

    /// What a subtask may cost: its own cap and that of every subtask both hold.
    fn cap_of(&self, spec: &Subtask) -> Option<NanoUsd> {
        [spec.max_cost_usd, self.start().policy.budget.subtask_usd].into_iter().flatten().min()
    }

    /// Gives every open subtask the cap that holds now.
    pub(super) fn cap_subtasks(&mut self) {
        for task in &self.tasks {
            let cap = self.cap_of(&task.spec);
            if cap.is_some() || self.ledger.balance(&Scope::Subtask(task.spec.id.clone()), Measure::NanoUsd).is_some() {
                self.ledger.set_subtask_cap(&task.spec.id, cap);
            }
        }
    }

    pub(super) fn add_task(&mut self, spec: Subtask) {
        let task = self.tasks.len() as u32;
        let id = spec.id.clone();
        if let Some(cap) = self.cap_of(&spec) {
            self.ledger.set_subtask_cap(&id, Some(cap));
        }
        let dependents = self.forward.remove(&id).unwrap_or_default();
        for &waiting in &dependents {
            let waiting = &mut self.tasks[waiting as usize];
            waiting.unknown -= 1;
            waiting.deps.push(task);
        }
        self.tasks.push(Task {
            deps: Vec::new(),
            unknown: 0,
            dependents,
            source: None,
            status: None,
            output: "".into(),
            error: None,
            tier: None,
            priority: schedule::estimate(&spec).0,
            attempts: 0,
            cost: NanoUsd::ZERO,
            instructions: Vec::new(),
            again: false,
            restarts: 0,
            rows: Default::default(),
            sample: Vec::new(),
            checks: Vec::new(),
            merge: None,
            wanted: wanted(&spec),
            spec: Arc::new(spec),
        });
        self.index.insert(id, task);
        self.open += 1;
        self.add_grants(task);
        self.link(task);
        self.wake_task(task);
    }

    /// Notes which tools a subtask's type is granted. Nothing is taken out again: what was offered once stays in front
    /// of what comes later, so that a plan that grows changes no earlier byte.
    fn add_grants(&mut self, task: u32) {
        let spec = &self.tasks[task as usize].spec;
        let units = if spec.for_each.is_some() { ROWS } else { 1 };
        let sets = self.grants.entry(spec.kind).or_default();
        match sets.iter_mut().find(|set| (&set.of.tools, &set.of.mcp_servers) == (&spec.tools, &spec.mcp_servers)) {
            Some(set) => set.units += units,
            None => sets.push(Grants { of: spec.clone(), units }),
        }
    }

    /// Ties a task to all that it names, known or not yet.
    fn link(&mut self, task: u32) {
        for dep in waits_for(&self.tasks[task as usize].spec.clone()) {
            match self.index.get(&dep) {
                Some(&d) if d == task => {}
                Some(&d) => {
                    self.tasks[task as usize].deps.push(d);
                    self.tasks[d as usize].dependents.push(task);
                }
                None => {
                    self.tasks[task as usize].unknown += 1;
                    self.forward.entry(dep).or_default().push(task);
                }
            }
        }
        for merge in self.merges_before(task) {
            self.wait_for(task, merge);
        }
    }

    fn unlink(&mut self, task: u32) {
        for dep in std::mem::take(&mut self.tasks[task as usize].deps) {
            self.tasks[dep as usize].dependents.retain(|&d| d != task);
        }
        if std::mem::take(&mut self.tasks[task as usize].unknown) > 0 {
            self.forward.retain(|_, waiting| {
                waiting.retain(|&w| w != task);
                !waiting.is_empty()
            });
        }
    }

    pub(super) fn patch_plan(&mut self, patch: &PlanPatch, by: PatchedBy) {
        for spec in &patch.add {
            self.add_task(spec.clone());
        }
        for spec in &patch.change {
            self.change_task(spec);
        }
        for id in &patch.drop {
            if let Some(&task) = self.index.get(id) {
                self.keep_change(Key { task, row: None }, SubtaskStatus::Dropped, None);
                self.forget_changes(task);
                self.end_unit(Key { task, row: None }, SubtaskStatus::Dropped, "", None, None);
            }
        }
        if let Some(notes) = &patch.coordination_notes {
            self.notes.clone_from(notes);
        }
        if self.desk.planned {
            self.desk.replans += u32::from(by == PatchedBy::Planner);
            self.desk.job = None;
            self.desk.stage = DeskStage::Idle;
            self.phase = Phase::Running;
            self.settle_graph();
        }
        self.next_job();
    }

    fn change_task(&mut self, spec: &Subtask) {
        let Some(&task) = self.index.get(&spec.id) else { return };
        let key = Key { task, row: None };
        self.leave_queues(key);
        self.work.remove(&key);
        self.inbox.retain(|_, item| item.unit != Some(key));
        self.unlink(task);
        self.keep_change(key, SubtaskStatus::Dropped, None);
        let entry = &mut self.tasks[task as usize];
        let merged = plan::with_planned_fields(&entry.spec, spec);
        entry.wanted = wanted(&merged);
        entry.spec = Arc::new(merged);
        entry.instructions.clear();
        if entry.status.take().is_some() {
            self.open += 1;
        }
        self.link(task);
        self.unready_dependents(task);
        self.wake_task(task);
    }

    /// After the graph changed as a whole: priorities, row sources, what is ready.
    pub(super) fn settle_graph(&mut self) {
        let left = |t: &Task| if t.status.is_some() { 0 } else { schedule::estimate(&t.spec).0 };
        let graph = schedule::Graph {
            durations: self.tasks.iter().map(left).collect(),
            waits: self.tasks.iter().map(|t| t.deps.iter().map(|&d| d as usize).collect()).collect(),
        };
        let priorities = schedule::best_ranks(&graph, self.start().policy.limits.max_concurrent_subagents.most() as usize);
        for queue in [&mut self.ready, &mut self.to_call] {
            let old = std::mem::take(queue);
            queue.extend(old.into_iter().map(|(_, key)| (Reverse(priorities[key.task as usize]), key)));
        }
        for (task, priority) in self.tasks.iter_mut().zip(priorities) {
            task.priority = priority;
        }
        self.find_passes();
        for task in 0..self.tasks.len() as u32 {
            self.wake_task(task);
        }
    }
}

fn wanted(spec: &Subtask) -> Wanted {
    context::wanted(&spec.output_format, spec.output_schema.as_ref())
}

/// All that a subtask waits for, each once.
pub fn waits_for(spec: &Subtask) -> Vec<SubtaskId> {
    let mut named = spec.depends_on.clone();
    let mut add = |id: &SubtaskId| {
        if !named.contains(id) {
            named.push(id.clone());
        }
    };
    if let Some(ForEach::Subtask(from)) = &spec.for_each {
        add(from);
    }
    for reference in spec.when.iter().flat_map(plan::When::references) {
        if let Reference::Output { id, .. } = reference {
            add(id);
        }
    }
    named
}
