//! `brigade undo`: what a run's patch did to the workspace is taken back, where the files still are as it left them.

use std::io::Write as _;
use std::path::Path;

use brigade_kernel::ids::RunId;
use brigade_kernel::run::Event;
use brigade_runtime::{Mcp, Shared, hands, land, perform, record};

use crate::commands::run::run_id;
use crate::exit::{Exit, Failure};
use crate::wiring;

/// Take a run's applied patch back out of the workspace.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run
    run: String,
}

/// Does it.
///
/// # Errors
/// Which files have changed since.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let env = wiring::env();
    let (config, catalog) = wiring::configure(&[], &env, None)?;
    let shared = wiring::shared(&config, catalog, &env, Mcp::default())?;
    for file in undo(&shared, &run_id(&args.run)?)? {
        let _ = writeln!(std::io::stdout(), "{}", brigade_tools::escape_for_screen(&file));
    }
    Ok(Exit::Done)
}

fn undo(shared: &Shared, id: &RunId) -> Result<Vec<String>, Failure> {
    let _lock = shared.home.lock(id).map_err(brigade_runtime::StartError::from)?;
    let journal = shared.home.journal();
    let (mut run, version) = record::load(&*journal, id, shared.catalog.clone(), hands::specs().into())?;
    let state = run.state();
    let whole = state.patch.as_ref().filter(|patch| patch.applied == Some(Ok(()))).map(|patch| &patch.blob);
    let Some(blob) = whole.or(state.partial.as_ref().map(|(blob, _)| blob)) else {
        return Err(Failure::usage(format!("nothing of run {id} is applied to the workspace")));
    };
    let stored = perform::patch_on_record(&*journal, blob).ok_or_else(|| Failure::failed("the patch is not in the journal any more"))?;
    let files = land::undo(&stored, Path::new(&state.start().workspace)).map_err(Failure::failed)?;
    run.note(Event::PatchUndone { files: files.clone() }, shared.clock.now());
    record::append(&*journal, &mut run, version)?;
    Ok(files)
}
