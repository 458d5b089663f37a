//! The accepted work of a run that has not ended, put together as far as it fits.

use std::path::Path;

use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Part, State, Unit};
use brigade_tools::Patch;

use crate::hands::Hands;
use crate::home::Home;

/// What there is so far.
#[derive(Debug)]
pub struct Partial {
    /// The changes that fit together.
    pub patch: Patch,
    /// Units whose accepted changes do not fit on those before them.
    pub left_out: Vec<Unit>,
}

/// Composes what was accepted so far; what conflicts is left out, by name.
///
/// # Errors
/// Which tree cannot be read.
pub async fn compose(home: &Home, id: &RunId, state: &State) -> Result<Partial, String> {
    let hands = Hands::new(Path::new(&state.start().workspace).to_owned(), home.view_dir(id), home.scratch_dir(id));
    let mut parts: Vec<Part> = state.parts();
    let mut left_out = Vec::new();
    loop {
        let laid = hands.compose(&parts).await?;
        let Some(conflict) = laid.conflicts.into_iter().next() else {
            return Ok(Partial { patch: hands.patch(&laid.tree).await?, left_out });
        };
        parts.retain(|part| part.unit != conflict.second);
        left_out.push(conflict.second);
    }
}
