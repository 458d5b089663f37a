//! What the living line says of a run: only what events said, or the state it was taken up from.

use std::collections::{HashMap, HashSet};

use brigade_kernel::ids::SubtaskId;
use brigade_kernel::plan::{ForEach, Subtask};
use brigade_kernel::run::{Caller, Event, State, SubtaskOrInput, SubtaskStatus, Unit};
use brigade_kernel::units::NanoUsd;

/// Bulk subtasks named in the line.
const MOST_BULK: usize = 3;

/// How far a run is.
#[derive(Debug, Default)]
pub struct Living {
    /// Every subtask of the plan so far; of a bulk one where its rows are counted.
    tasks: HashMap<SubtaskId, Option<usize>>,
    bulk: Vec<Bulk>,
    /// Rows there are, by source, once their end was seen.
    totals: HashMap<SubtaskOrInput, u64>,
    /// Ended as a whole.
    ended: HashSet<SubtaskId>,
    /// In an attempt.
    running: HashSet<Unit>,
    waiting: usize,
    cost: NanoUsd,
    planning: bool,
    reviewing: bool,
    /// Taken from a state that has events in it which are still to be shown.
    ahead: bool,
}

/// A subtask that runs per row.
#[derive(Debug)]
struct Bulk {
    subtask: SubtaskId,
    source: SubtaskOrInput,
    ended: u64,
}

impl Living {
    /// From how a run stands.
    pub fn of(state: &State) -> Self {
        let mut living = Self { planning: !state.desk.planned, ahead: true, ..Self::default() };
        for task in &state.tasks {
            living.plan(&task.spec);
            if let Some(bulk) = living.bulk_of(&task.spec.id) {
                bulk.ended = task.rows.ended();
            } else if task.status.is_some() {
                living.ended.insert(task.spec.id.clone());
            }
        }
        living.totals = state.sources.iter().filter_map(|s| Some((s.from.clone(), s.total?))).collect();
        living.running = state.work.iter().filter(|(_, work)| work.attempt.is_some()).map(|(key, _)| state.unit(*key)).collect();
        (living.waiting, living.cost) = (state.inbox.len(), state.spent());
        living
    }

    /// Takes one event in.
    pub fn saw(&mut self, event: &Event) {
        match event {
            Event::RunStarted(start) => *self = Self { planning: start.planned, ..Self::default() },
            Event::RunResumed {} => self.ahead = false,
            Event::PlanSubtask { subtask, .. } | Event::MergePlanned { subtask, .. } => self.plan(subtask),
            Event::PlanCompleted { .. } => self.planning = false,
            Event::PlanPatched { patch, .. } => patch.add.iter().for_each(|subtask| self.plan(subtask)),
            Event::RowsEnded { source, rows } => {
                self.totals.insert(source.clone(), *rows);
            }
            Event::AttemptStarted { unit, .. } => {
                self.running.insert(unit.clone());
            }
            Event::AttemptEnded { unit, .. } => {
                self.running.remove(unit);
            }
            Event::SubtaskEnded { unit, status, .. } => {
                self.running.remove(unit);
                match (self.bulk_of(&unit.subtask), unit.row) {
                    (Some(bulk), Some(_)) => bulk.ended += 1,
                    (Some(_), None) if *status != SubtaskStatus::Dropped => {}
                    _ => {
                        self.ended.insert(unit.subtask.clone());
                    }
                }
            }
            Event::Reopened { unit, .. } => self.reopened(unit),
            Event::CallStarted { caller, .. } => self.reviewing |= *caller == Caller::Reviewer,
            Event::Reviewed { .. } | Event::ReviewFailed { .. } => self.reviewing = false,
            Event::CallEnded { cost_usd, sent: true, .. } if !self.ahead => self.cost += *cost_usd,
            Event::InboxOpened { .. } => self.waiting += 1,
            Event::InboxAnswered { .. } => self.waiting = self.waiting.saturating_sub(1),
            _ => {}
        }
    }

    fn plan(&mut self, subtask: &Subtask) {
        if self.tasks.contains_key(&subtask.id) {
            return;
        }
        let source = match &subtask.for_each {
            None => None,
            Some(ForEach::Input) => Some(SubtaskOrInput::Input),
            Some(ForEach::Subtask(from)) => {
                let same = self.tasks.get(from).copied().flatten().map(|at| self.bulk[at].source.clone());
                Some(same.unwrap_or_else(|| SubtaskOrInput::Subtask(from.clone())))
            }
        };
        let at = source.map(|source| {
            self.bulk.push(Bulk { subtask: subtask.id.clone(), source, ended: 0 });
            self.bulk.len() - 1
        });
        self.tasks.insert(subtask.id.clone(), at);
    }

    fn bulk_of(&mut self, id: &SubtaskId) -> Option<&mut Bulk> {
        let at = self.tasks.get(id).copied().flatten()?;
        self.bulk.get_mut(at)
    }

    /// One row again, or all rows of a source.
    fn reopened(&mut self, unit: &Unit) {
        self.ended.remove(&unit.subtask);
        let Some(bulk) = self.bulk_of(&unit.subtask) else { return };
        if unit.row.is_some() {
            bulk.ended = bulk.ended.saturating_sub(1);
            return;
        }
        let source = bulk.source.clone();
        self.bulk.iter_mut().filter(|bulk| bulk.source == source).for_each(|bulk| bulk.ended = 0);
    }

    /// Rows of a bulk subtask that have ended, and how many there are once that is known.
    pub fn rows(&self, id: &SubtaskId) -> (u64, Option<u64>) {
        let Some(bulk) = self.tasks.get(id).copied().flatten().map(|at| &self.bulk[at]) else { return (0, None) };
        let total = self.totals.get(&bulk.source).copied();
        (bulk.ended.min(total.unwrap_or(u64::MAX)), total)
    }

    /// Subtasks that have ended, and how many there are.
    pub fn done(&self) -> (usize, usize) {
        let whole = |bulk: &&Bulk| {
            let (ended, total) = self.rows(&bulk.subtask);
            Some(ended) == total && !self.ended.contains(&bulk.subtask)
        };
        (self.ended.len() + self.bulk.iter().filter(whole).count(), self.tasks.len())
    }

    /// The line.
    pub fn text(&self) -> String {
        let (done, all) = self.done();
        let mut parts = Vec::new();
        if self.planning {
            parts.push("planning".to_owned());
        }
        if all > 0 {
            parts.push(format!("{done} of {all} done{}", if self.planning { " so far" } else { "" }));
        }
        parts.push(self.cost.to_string());
        if !self.running.is_empty() {
            parts.push(format!("{} running", self.running.len()));
        }
        if self.reviewing {
            parts.push("reviewing".to_owned());
        }
        if self.waiting > 0 {
            parts.push(format!("{} in the inbox", self.waiting));
        }
        // At the end, where a narrow terminal cuts.
        for bulk in self.bulk.iter().take(MOST_BULK) {
            let (ended, total) = self.rows(&bulk.subtask);
            let of = total.map(|total| format!("/{total}")).unwrap_or_default();
            parts.push(format!("{} {ended}{of} rows", bulk.subtask));
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use brigade_kernel::ids::{ModelRef, Tier};
    use brigade_kernel::plan::TaskType;

    use super::*;

    fn id(name: &str) -> SubtaskId {
        SubtaskId::new(name).expect("an id")
    }

    fn planned(name: &str, for_each: Option<ForEach>) -> Event {
        let mut subtask = Subtask::new(id(name));
        subtask.for_each = for_each;
        Event::PlanSubtask { subtask: Box::new(subtask), streamed: true }
    }

    fn begun(name: &str, row: Option<u64>) -> Event {
        Event::AttemptStarted {
            unit: Unit { subtask: id(name), row },
            attempt: 1,
            tier: Tier::new("nano").expect("a tier"),
            model: ModelRef::new("openai/m").expect("a model"),
            why: String::new(),
        }
    }

    fn ended(name: &str, row: Option<u64>) -> Event {
        Event::SubtaskEnded {
            unit: Unit { subtask: id(name), row },
            status: SubtaskStatus::Done,
            kind: TaskType::General,
            output: String::new(),
            tier: None,
            model: None,
            attempts: 1,
            cost_usd: NanoUsd::ZERO,
            error: None,
            reused_from: None,
            change: None,
        }
    }

    fn after(living: &mut Living, events: impl IntoIterator<Item = Event>) -> String {
        events.into_iter().for_each(|event| living.saw(&event));
        living.text()
    }

    #[test]
    fn the_line_counts_what_is_planned_so_far_and_what_is_under_way() {
        let mut living = Living { planning: true, ..Living::default() };
        assert_eq!(living.text(), "planning, $0.00");
        assert_eq!(
            after(&mut living, [planned("a", None), planned("b", None), begun("a", None)]),
            "planning, 0 of 2 done so far, $0.00, 1 running"
        );
        // Taken from an earlier run: it ends without its attempt having ended.
        assert_eq!(after(&mut living, [ended("a", None)]), "planning, 1 of 2 done so far, $0.00");
        let whole = Event::PlanCompleted { subtasks: 2, coordination_notes: String::new(), warnings: Vec::new(), bulk: None };
        assert_eq!(after(&mut living, [whole]), "1 of 2 done, $0.00");
    }

    #[test]
    fn rows_are_counted_by_subtask_and_what_is_tried_again_is_not_done() {
        let mut living = Living::default();
        let chain = [planned("label", Some(ForEach::Input)), planned("draft", Some(ForEach::Subtask(id("label")))), planned("sum", None)];
        assert_eq!(after(&mut living, chain), "0 of 3 done, $0.00, label 0 rows, draft 0 rows");
        let some = [ended("label", Some(0)), ended("label", Some(1)), ended("draft", Some(0))];
        assert_eq!(after(&mut living, some), "0 of 3 done, $0.00, label 2 rows, draft 1 rows");
        let total = Event::RowsEnded { source: SubtaskOrInput::Input, rows: 2 };
        assert_eq!(after(&mut living, [total]), "1 of 3 done, $0.00, label 2/2 rows, draft 1/2 rows");
        let again = |row| Event::Reopened { unit: Unit { subtask: id("label"), row }, instructions: String::new(), onto: None };
        assert_eq!(after(&mut living, [again(Some(1))]), "0 of 3 done, $0.00, label 1/2 rows, draft 1/2 rows");
        assert_eq!(after(&mut living, [again(None)]), "0 of 3 done, $0.00, label 0/2 rows, draft 0/2 rows");
    }
}
