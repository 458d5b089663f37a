//! From accepted changes to one patch: composed, checked as a whole, stored; and applied when the result is approved.

use crate::run::event::Event;
use crate::run::state::{Key, Phase};
use crate::run::{Action, Run};

impl Run {
    /// What the patch needs next, once all subtasks have ended.
    pub(super) fn patch(&mut self, actions: &mut Vec<Action>) {
        let idle = self.state.calls.is_empty() && self.session.outstanding == 0;
        if self.state.phase == Phase::Reviewing && self.state.desk.job.is_none() && idle && self.state.wants_patch() {
            self.compose(actions);
        }
        if self.state.phase == Phase::Closing
            && self.state.start().apply
            && !self.session.applying
            && let Some(patch) = self.state.patch.as_ref().filter(|p| p.applied.is_none())
        {
            let blob = patch.blob.clone();
            self.session.applying = true;
            self.hand_out(actions, Action::ApplyPatch { blob });
        }
    }

    fn compose(&mut self, actions: &mut Vec<Action>) {
        if let Some(task) = self.state.stale_merge() {
            // What it merged is no longer what there is.
            return self.reopen(Key { task, row: None }, String::new());
        }
        let parts = self.state.parts();
        let Some(composed) = self.state.composed.as_ref().filter(|composed| composed.parts == parts) else {
            return self.hand_out(actions, Action::Compose { parts });
        };
        if composed.asked.is_some() {
            return;
        }
        let (tree, passed) = (composed.tree.clone(), composed.passed as usize);
        let together = if parts.len() > 1 && !composed.waived { self.state.checks_of_all(&tree) } else { Vec::new() };
        let action = match together.into_iter().nth(passed) {
            Some((key, argv)) => Action::CheckComposed { unit: self.state.unit(key), argv, tree },
            None => Action::StorePatch { tree },
        };
        self.hand_out(actions, action);
    }

    /// A subtask is opened again on the composed tree, on which its check fails.
    pub(in crate::run) fn mend_composed(&mut self, key: Key, tree: String, instructions: String) {
        let unit = self.state.unit(key);
        self.record(Event::Reopened { unit, instructions, onto: Some(tree) });
    }
}
