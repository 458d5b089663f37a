//! Rows of a bulk run: read ahead, and started while there is room.

use std::sync::Arc;

use serde_json::Value;

use super::{AT_ONCE, Doors};
use crate::budget::Role;
use crate::ids::SubtaskId;
use crate::run::event::{SubtaskOrInput, SubtaskStatus};
use crate::run::state::Key;
use crate::run::{Action, Held, RowRead, Run, rows};

/// Rows read at a time.
const ROWS_AT_ONCE: u64 = 512;

impl Run {
    /// Rows: read ahead, and started while there is room.
    pub(super) fn rows(&mut self, gate: &mut Doors<'_, '_>, actions: &mut Vec<Action>) {
        if !self.state.desk.planned || self.unpriced() {
            return;
        }
        for i in 0..self.state.sources.len() {
            if !self.source_is_open(i) {
                // Rows in hand go on, and may have to be read again for it.
                if self.rows_to_read_again(i) {
                    self.read_ahead(i, true, actions);
                }
                continue;
            }
            self.read_ahead(i, false, actions);
            while actions.len() < AT_ONCE
                && rows::may_start(&self.state, &self.state.sources[i]) > 0
                && self.room() > 0
                && !self.state.is_starved(Role::Executor)
            {
                let Some(row) = self.session.incoming.get_mut(&i).and_then(std::collections::VecDeque::pop_front) else { break };
                if !self.start_row(i, &row, gate, actions) {
                    self.session.items.remove(&(i, row.row));
                    self.session.incoming.entry(i).or_default().push_front(row);
                    break;
                }
            }
        }
    }

    /// Whether all that the rows of a source wait for, rows aside, has ended.
    pub(super) fn source_is_open(&self, i: usize) -> bool {
        let source = &self.state.sources[i];
        if source.members.is_empty() || source.total.is_some_and(|total| source.finished >= total) {
            return false;
        }
        source.members.iter().all(|&task| {
            let deps = &self.state.tasks[task as usize].deps;
            let per_row = deps.iter().any(|&d| self.state.tasks[d as usize].source == Some(i as u32));
            per_row || deps.iter().all(|&d| self.state.tasks[d as usize].status.is_some())
        })
    }

    fn rows_to_read_again(&self, i: usize) -> bool {
        self.state.sources[i].rows.keys().any(|&row| !self.session.items.contains_key(&(i, row)))
    }

    fn read_ahead(&mut self, i: usize, again: bool, actions: &mut Vec<Action>) {
        let source = &self.state.sources[i];
        let in_hand = source.rows.keys().next().copied().unwrap_or(source.below);
        let first = in_hand.min(source.below);
        let from = self.session.next_read.get(&i).copied().unwrap_or(first);
        let waiting = self.session.incoming.get(&i).map_or(0, std::collections::VecDeque::len) as u64;
        if self.session.reading.contains(&i) || (waiting >= ROWS_AT_ONCE / 2 && !again) || source.total.is_some_and(|total| from >= total) {
            return;
        }
        match source.from.clone() {
            SubtaskOrInput::Input => {
                let with = self.earlier_members(i);
                self.session.reading.push(i);
                self.hand_out(actions, Action::ReadRows { source: i as u32, from, count: ROWS_AT_ONCE, list: None, with });
            }
            SubtaskOrInput::Subtask(id) => self.list_of(i, &id, actions),
        }
    }

    /// Members of earlier passes that the rows of this one build on, row by row.
    fn earlier_members(&self, i: usize) -> Vec<SubtaskId> {
        let mut with = Vec::new();
        for &task in &self.state.sources[i].members {
            for &dep in &self.state.tasks[task as usize].deps {
                let other = &self.state.tasks[dep as usize];
                if other.source != Some(i as u32) && self.state.row_by_row(task, dep) && !with.contains(&other.spec.id) {
                    with.push(other.spec.id.clone());
                }
            }
        }
        with
    }

    /// The rows of a list that a subtask returned.
    fn list_of(&mut self, i: usize, id: &SubtaskId, actions: &mut Vec<Action>) {
        let output = self.state.index.get(id).map(|&t| self.state.tasks[t as usize].output.clone()).unwrap_or_else(|| "".into());
        let list = match serde_json::from_str::<Value>(&output) {
            Ok(Value::Array(list)) => Some(list),
            // Structured output must be an object: a list comes as its only list field.
            Ok(Value::Object(map)) => map.into_iter().find_map(|(_, v)| if let Value::Array(list) = v { Some(list) } else { None }),
            _ => None,
        };
        let Some(list) = list else {
            for task in self.state.sources[i].members.clone() {
                if self.state.tasks[task as usize].status.is_some() {
                    continue;
                }
                let key = Key { task, row: None };
                self.end_unit(key, SubtaskStatus::Failed, String::new(), Some(format!("{id} returned no list")), None);
            }
            return;
        };
        let row = |(row, item)| RowRead { row: row as u64, item: Ok(Arc::new(item)), kept: Vec::new() };
        let rows: Vec<RowRead> = list.into_iter().enumerate().map(row).collect();
        let (total, with) = (rows.len() as u64, self.earlier_members(i));
        if with.is_empty() || rows.is_empty() {
            self.take_rows(i, rows, Some(total));
        } else {
            self.session.reading.push(i);
            self.hand_out(actions, Action::ReadRows { source: i as u32, from: 0, count: total, list: Some(rows), with });
        }
        // A list is read once, even when it is empty.
        self.session.next_read.insert(i, total);
    }

    /// Starts the first subtasks of a row. `false`: the gate is closed.
    fn start_row(&mut self, i: usize, row: &RowRead, gate: &mut Doors<'_, '_>, actions: &mut Vec<Action>) -> bool {
        let members = self.state.sources[i].members.clone();
        let item = match &row.item {
            Ok(item) => item.clone(),
            Err(why) => {
                for (n, task) in members.into_iter().enumerate() {
                    let status = if n == 0 { SubtaskStatus::Failed } else { SubtaskStatus::Skipped };
                    self.end_unit(Key { task, row: Some(row.row) }, status, String::new(), Some(why.clone()), None);
                }
                return true;
            }
        };
        self.session.items.insert((i, row.row), Held { item, kept: row.kept.clone() });
        // The first to start puts the row into hand; the fold makes the others ready then.
        for task in members {
            let key = Key { task, row: Some(row.row) };
            if !self.state.work.contains_key(&key) && self.state.row_unit_is_ripe(i, row.row, task) {
                return self.start_unit(key, gate, actions);
            }
        }
        true
    }
}
