//! `brigade apply`: a run's patch is written to the user's tree, all of it or nothing; or it becomes a git branch.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use brigade_journal::{Batch, Blob};
use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Event, Phase, RunStatus, State};
use brigade_kernel::view;
use brigade_runtime::partial::{self, Partial};
use brigade_runtime::{Mcp, Shared, hands, land, perform, record};

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
    let env = wiring::env();
    let (config, catalog) = wiring::configure(&[], &env, None)?;
    let shared = wiring::shared(&config, catalog, &env, Mcp::default())?;
    let id = run_id(&args.run)?;
    let files = if args.partial { partial(&shared, &id)? } else { apply(&shared, &id)? };
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

/// Lays a run's patch on the last commit as the branch `brigade/RUN`; `None` when it changed no file.
///
/// # Errors
/// Why the branch cannot be made.
pub fn branch(shared: &Shared, id: &RunId) -> Result<Option<String>, Failure> {
    let journal = shared.home.journal();
    let (run, _) = record::load(&*journal, id, shared.catalog.clone(), hands::specs().into())?;
    let Some(patch) = run.state().patch.as_ref().filter(|p| !p.files.is_empty()) else { return Ok(None) };
    let stored = perform::patch_on_record(&*journal, &patch.blob).ok_or_else(lost)?;
    let name = format!("brigade/{id}");
    let start = run.state().start();
    let title = start.request.lines().next().filter(|line| !line.trim().is_empty()).unwrap_or("work of a plan");
    let message = format!("{title}\n\n{}\n\nbrigade run {id}\n", run.state().desk.summary);
    brigade_tools::branch::make(Path::new(&start.workspace), &name, &stored, &message).map_err(Failure::failed)?;
    Ok(Some(name))
}

fn lost() -> Failure {
    Failure::failed("the patch is not in the journal any more")
}

/// Writes what was accepted so far of a run that has not ended.
fn partial(shared: &Shared, id: &RunId) -> Result<Vec<String>, Failure> {
    let _lock = shared.home.lock(id).map_err(brigade_runtime::StartError::from)?;
    let journal = shared.home.journal();
    let (mut run, version) = record::load(&*journal, id, shared.catalog.clone(), hands::specs().into())?;
    let state = run.state();
    let over = state.ended.as_ref().is_some_and(|summary| summary.status == RunStatus::Completed);
    if state.phase == Phase::Ended && over {
        return Err(Failure::usage(format!("run {id} is finished: brigade apply {id} writes all of it")));
    }
    if state.partial.is_some() {
        return Err(Failure::usage(format!("work of run {id} is applied already: brigade undo {id} takes it back")));
    }
    if state.changes.is_empty() {
        return Err(Failure::usage(format!("no subtask of run {id} has changed a file and been accepted yet")));
    }
    let made = so_far(&shared.home, id, state)?;
    let done = land::apply(&made.patch, Path::new(&state.start().workspace)).map_err(Failure::failed)?;
    let blob = Blob::new(serde_json::to_vec(&made.patch).map_err(|e| Failure::failed(e.to_string()))?);
    let event = Event::PartialApplied { blob: blob.hash().to_string(), files: done.clone() };
    journal.append(Batch::new().blob(&brigade_runtime::home::events_of(id), blob)).wait()?;
    run.note(event, shared.clock.now());
    record::append(&*journal, &mut run, version)?;
    Ok(done)
}

/// The accepted work so far; what is left out of it is said on standard error.
///
/// # Errors
/// Why it cannot be put together.
pub fn so_far(home: &brigade_runtime::Home, id: &RunId, state: &State) -> Result<Partial, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let made = runtime.block_on(partial::compose(home, id, state)).map_err(Failure::failed)?;
    for unit in &made.left_out {
        let _ = writeln!(std::io::stderr(), "left out: {unit}, its changes conflict with those of another subtask");
    }
    Ok(made)
}

fn apply(shared: &Shared, id: &RunId) -> Result<Vec<String>, Failure> {
    let _lock = shared.home.lock(id).map_err(brigade_runtime::StartError::from)?;
    let journal = shared.home.journal();
    let (mut run, version) = record::load(&*journal, id, shared.catalog.clone(), hands::specs().into())?;
    let state = run.state();
    if state.phase != Phase::Ended {
        return Err(Failure::usage(format!("run {id} is not finished: resume it first, or take what is verified so far with --partial")));
    }
    let Some(patch) = state.patch.clone().filter(|p| !p.files.is_empty()) else {
        return Err(Failure::usage(format!("run {id} changed no file")));
    };
    if patch.applied == Some(Ok(())) {
        return Err(Failure::usage(format!("the patch of run {id} is applied already")));
    }
    let stored = perform::patch_on_record(&*journal, &patch.blob).ok_or_else(lost)?;
    let done = land::apply(&stored, Path::new(&state.start().workspace));
    run.note(Event::PatchApplied { error: done.as_ref().err().cloned() }, shared.clock.now());
    record::append(&*journal, &mut run, version)?;
    done.map_err(Failure::failed)
}
