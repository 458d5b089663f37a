//! Which of the workspace's instructions each prompt of this run shows: found once, then only read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Run;
use super::state::{Key, State};
use crate::context::{Shown, chain};

/// Found so far. What a run started with does not change, and neither do a subtask's scopes.
#[derive(Debug, Default)]
pub(super) struct Instructed {
    shared: OnceLock<Option<Arc<Shown>>>,
    own: Mutex<HashMap<Vec<String>, Arc<[Shown]>>>,
}

impl Run {
    /// What everybody is shown.
    pub(super) fn shared(&self) -> Option<&Shown> {
        let found = self.instructed.shared.get_or_init(|| chain::shared(&self.state.start().instructions).map(Arc::new));
        found.as_deref()
    }

    /// What a unit is shown that everybody is. Rows are data: without files of its own a row has no use for it.
    pub(super) fn shared_with(&self, key: Key) -> Option<&Shown> {
        let spec = &self.state.task(key).spec;
        let data = key.row.is_some() && spec.files.is_empty() && spec.writes.is_empty() && spec.tools.is_empty();
        if data { None } else { self.shared() }
    }

    /// What a unit is shown for its files.
    pub(super) fn own_instructions(&self, key: Key) -> Arc<[Shown]> {
        let files = &self.state.start().instructions;
        if files.iter().all(|file| file.folder().is_empty()) {
            return Arc::default();
        }
        let globs = globs(&self.state, key);
        let mut known = self.instructed.own.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |globs: &Vec<String>| chain::own(files, globs.iter()).into();
        if let Some(found) = known.get(&globs) {
            return found.clone();
        }
        let found: Arc<[Shown]> = find(&globs);
        known.insert(globs, found.clone());
        found
    }

    /// Bytes of instructions in a unit's prompt.
    pub(super) fn instruction_bytes(&self, key: Key) -> usize {
        if self.state.start().instructions.is_empty() {
            return 0;
        }
        let shared = self.shared_with(key).map_or(0, |shared| shared.text.len());
        shared + self.own_instructions(key).iter().map(|own| own.text.len()).sum::<usize>()
    }
}

fn globs(state: &State, key: Key) -> Vec<String> {
    let spec = &state.task(key).spec;
    spec.files.iter().chain(&spec.writes).cloned().collect()
}
