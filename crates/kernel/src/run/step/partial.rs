//! What a run gives that stops at a cap: the results there are, and what is missing, by name.

use std::fmt::Write as _;

use crate::run::Run;
use crate::run::event::SubtaskStatus;
use crate::run::prepare::state_word;

impl Run {
    /// Results that no other result was made from, and the subtasks without one. It was not reviewed, and says so.
    pub(super) fn partial_result(&self) -> String {
        let tasks = &self.state.tasks;
        let done = |task: u32| tasks[task as usize].status == Some(SubtaskStatus::Done);
        let last = tasks.iter().filter(|t| t.status == Some(SubtaskStatus::Done) && !t.dependents.iter().any(|&d| done(d)));
        let mut text = String::new();
        for task in last.filter(|task| !task.output.is_empty()) {
            let _ = writeln!(text, "{}\n", task.output.trim_end());
        }
        let missing: Vec<_> = tasks.iter().filter(|t| !matches!(t.status, Some(SubtaskStatus::Done | SubtaskStatus::Dropped))).collect();
        let _ = writeln!(text, "This is a part: it was not reviewed, and {} missing.", are(missing.len()));
        for task in missing {
            let word = match state_word(&self.state, task) {
                word if task.status.is_some() || word.contains("needs") || word.contains("person") => word,
                _ => "not done".to_owned(),
            };
            let _ = write!(text, "- {}: {word}", task.spec.id);
            if task.source.is_some() {
                let _ = write!(text, ", {} rows done", task.rows.done);
            }
            let _ = writeln!(text);
        }
        if !self.state.changes.is_empty() {
            let _ = writeln!(text, "Accepted changes can be applied as they are: brigade apply {} --partial", self.state.run());
        }
        text
    }
}

fn are(missing: usize) -> String {
    match missing {
        0 => "nothing else is".to_owned(),
        1 => "one subtask is".to_owned(),
        n => format!("{n} subtasks are"),
    }
}
