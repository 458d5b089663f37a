//! Errands of agents: a program is sent into a view with a prompt, and what became of the files comes back with its answer.

use std::collections::HashMap;
use std::sync::Arc;

use brigade_kernel::call::{Answer, Call, CallError, ErrorClass};
use brigade_kernel::run::{Caller, Changed, Handiwork, State, may_write};
use brigade_tools::agent::{self, Agent};

use crate::hands::{Hands, blocking};

/// Agents by the name of their provider.
pub type Agents = HashMap<String, Arc<Agent>>;

/// The view that an agent looks at for the flagship; no unit has a name with a blank.
const DESK: &str = "the desk";
/// The same for who condenses the planner's conversation, which may be under way beside it.
const BESIDE_DESK: &str = "beside the desk";

/// Where an errand goes, as it stands on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The view's name.
    view: String,
    /// The tree it is set to; `None`: the workspace as it was.
    tree: Option<String>,
    /// What its changes are measured against; `None`: it may make none.
    from: Option<String>,
}

impl Place {
    /// Where a caller's errand goes: an attempt to its unit's view, the reviewer to the composed tree, the planner to the base.
    pub fn of(caller: &Caller, state: &State) -> Self {
        let Caller::Executor { unit, .. } = caller else {
            let tree = state.composed.as_ref().filter(|_| *caller == Caller::Reviewer).map(|composed| composed.tree.clone());
            let view = if matches!(caller, Caller::Compactor { .. }) { BESIDE_DESK } else { DESK };
            return Self { view: view.to_owned(), tree, from: None };
        };
        let key = state.key(unit);
        let work = key.and_then(|key| state.work.get(&key));
        let tree = work.and_then(|work| work.attempt.as_ref()).and_then(|attempt| attempt.tree.clone());
        let writes = key.is_some_and(|key| may_write(&state.task(key).spec));
        let from = work.and_then(|work| work.base_tree.clone()).filter(|_| writes);
        Self { view: unit.to_string(), tree, from }
    }
}

impl Hands {
    /// Sends an agent into a view that is set to the tree on record first, whatever an errand before it left there.
    pub async fn errand(&self, agent: &Agent, call: &Call, place: &Place) -> (Result<Answer, CallError>, Handiwork) {
        let view = match self.set_named(place.view.clone(), place.tree.as_deref()).await {
            Ok(view) => view,
            Err(why) => return (Err(not_sent(why)), Handiwork::default()),
        };
        let private_dir = self.scratch_of(&format!("{} errand", place.view));
        if let Some(above) = private_dir.parent() {
            // Where it cannot be made, the agent's own folder cannot either, and that is said.
            let _ = std::fs::create_dir_all(above);
        }
        let errand = agent::Errand { call, view: view.clone(), writable: place.from.is_some(), private_dir };
        let agent::Done { answer, deeds, quota } = agent.run(&errand).await;
        let mut work = Handiwork { tree: None, changed: None, deeds, quota };
        if let Some(name) = [DESK, BESIDE_DESK].into_iter().find(|name| *name == place.view) {
            self.forget_named(name).await;
        }
        let Some(from) = place.from.as_ref().filter(|_| answer.is_ok()) else { return (answer, work) };
        let left = async {
            let tree = blocking(move || view.snapshot()).await.map_err(|e| e.to_string())?.to_string();
            let changed = self.changed(from, &tree).await?;
            Ok::<(String, Changed), String>((tree, changed))
        };
        match left.await {
            Ok((tree, changed)) => {
                (work.tree, work.changed) = (Some(tree), Some(changed));
                (answer, work)
            }
            // Its words without its work are worth nothing.
            Err(why) => {
                let usage = answer.ok().and_then(|answer| answer.usage);
                (
                    Err(CallError {
                        class: ErrorClass::BadRequest,
                        sent: true,
                        usage,
                        ..not_sent(format!("what the agent did cannot be kept: {why}"))
                    }),
                    work,
                )
            }
        }
    }
}

fn not_sent(message: String) -> CallError {
    CallError { sent: false, ..CallError::new(ErrorClass::Refused, message) }
}
