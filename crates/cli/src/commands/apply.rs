//! `brigade apply`: a finished run's patch is written to the user's tree, all of it or nothing.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Event, Phase};
use brigade_kernel::view;
use brigade_runtime::{Shared, hands, land, perform, record};

use crate::commands::run::run_id;
use crate::exit::{Exit, Failure};
use crate::wiring;

/// Write a finished run's patch to the workspace.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run
    run: String,
    /// Take the verified patches of an unfinished run
    #[arg(long)]
    partial: bool,
}

/// Does it.
///
/// # Errors
/// Which files stand in the way.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    if args.partial {
        return Err(Failure::usage("not supported yet: apply --partial"));
    }
    let env = wiring::env();
    let (config, catalog) = wiring::configure(&[], &env, None)?;
    let shared = wiring::shared(&config, catalog, &env)?;
    let files = apply(&shared, &run_id(&args.run)?)?;
    for file in files {
        let _ = writeln!(std::io::stdout(), "{}", brigade_tools::escape_for_screen(&file));
    }
    Ok(Exit::Done)
}

/// Asks on the terminal whether a run's patch is to be applied.
///
/// # Errors
/// As [`apply`].
pub fn offer(shared: &Shared, id: &RunId) -> Result<(), Failure> {
    let (run, _) = record::load(&*shared.home.journal(), id, shared.catalog.clone(), hands::specs().into())?;
    let Some(patch) = run.state().patch.as_ref().filter(|p| !p.files.is_empty()) else { return Ok(()) };
    if !std::io::stdin().is_terminal() {
        return Ok(());
    }
    let mut err = std::io::stderr();
    let _ = writeln!(err, "The patch changes {}:", view::count(patch.files.len() as u64, "file", "files"));
    for file in &patch.files {
        let _ = writeln!(err, "  {}", brigade_tools::escape_for_screen(file));
    }
    let _ = write!(err, "Apply it? [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.trim().eq_ignore_ascii_case("y") || answer.trim().eq_ignore_ascii_case("yes") {
        apply(shared, id)?;
    } else {
        let _ = writeln!(err, "kept; apply it later with: brigade apply {id}");
    }
    Ok(())
}

fn apply(shared: &Shared, id: &RunId) -> Result<Vec<String>, Failure> {
    let _lock = shared.home.lock(id).map_err(brigade_runtime::StartError::from)?;
    let journal = shared.home.journal();
    let (mut run, version) = record::load(&*journal, id, shared.catalog.clone(), hands::specs().into())?;
    let state = run.state();
    if state.phase != Phase::Ended {
        return Err(Failure::usage(format!("run {id} is not finished: resume it first")));
    }
    let Some(patch) = state.patch.clone().filter(|p| !p.files.is_empty()) else {
        return Err(Failure::usage(format!("run {id} changed no file")));
    };
    if patch.applied == Some(Ok(())) {
        return Err(Failure::usage(format!("the patch of run {id} is applied already")));
    }
    let stored =
        perform::patch_on_record(&*journal, &patch.blob).ok_or_else(|| Failure::failed("the patch is not in the journal any more"))?;
    let done = land::apply(&stored, Path::new(&state.start().workspace));
    run.note(Event::PatchApplied { error: done.as_ref().err().cloned() }, shared.clock.now());
    record::append(&*journal, &mut run, version)?;
    done.map_err(Failure::failed)
}
