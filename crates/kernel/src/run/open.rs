//! What an id of `open_output` names: an output of the unit's own tools that was cut, or the result of a subtask it builds on.
//! Nothing else of the run can be opened, and nothing of another.

use serde::Deserialize;

use super::action::Opened;
use super::state::Key;
use super::{Run, SubtaskStatus};

/// What a call of it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// What is to be shown.
    pub id: String,
    #[serde(default)]
    page: Option<u64>,
}

impl Opening {
    /// Reads a model's arguments.
    ///
    /// # Errors
    /// In words for the model: what it should send.
    pub fn parse(arguments: &str) -> Result<Self, String> {
        serde_json::from_str(arguments).map_err(|e| format!("open_output takes {{\"id\": \"…\", \"page\": 1}}: {e}"))
    }

    /// Which page of it, counted from 1.
    pub fn page(&self) -> u64 {
        self.page.unwrap_or(1)
    }
}

impl Run {
    /// What a call of `open_output` is to show.
    ///
    /// # Errors
    /// In words for the model: what it may open.
    pub(super) fn opens(&self, key: Key, arguments: &str) -> Result<Opened, String> {
        let asked = Opening::parse(arguments)?;
        let saved = self.state.work.get(&key).map(|work| &work.saved);
        if let Some(blob) = saved.and_then(|saved| saved.get(&asked.id)) {
            return Ok(Opened::Blob(blob.clone()));
        }
        let results = self.state.task(key).deps.iter().filter_map(|&dep| {
            let (status, text) = self.output_of(key, dep)?;
            (status == SubtaskStatus::Done).then(|| (self.state.tasks[dep as usize].spec.id.as_str(), text))
        });
        let mut known: Vec<&str> = saved.into_iter().flat_map(|saved| saved.keys()).map(String::as_str).collect();
        for (id, text) in results {
            if id == asked.id {
                return Ok(Opened::Text(text));
            }
            known.push(id);
        }
        let shown: String = asked.id.chars().take(80).collect();
        let there = if known.is_empty() { "there is nothing to open here".to_owned() } else { format!("there are {}", known.join(", ")) };
        Err(format!("there is no output {shown:?}; {there}"))
    }
}
