//! `brigade plan REQUEST`: the planner is asked, its plan is written, nothing of it is worked off.
//!
//! It is a run like any other, with every call on record and under its cap, but with no slot for an executor: it pauses when
//! the plan is whole, and `brigade resume` works it off with today's slots.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use brigade_kernel::catalog::Day;
use brigade_kernel::image::Pictures;
use brigade_kernel::plan::Plan;
use brigade_kernel::policy::Slots;
use brigade_kernel::run::{Event, RunStarted, RunSummary};
use brigade_kernel::view::{preview, usd};
use brigade_runtime::{Leave, Mcp, Shared, hands, record, start};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::commands::run;
use crate::exit::{Exit, Failure, chain};
use crate::screen::{self, Level, Progress};
use crate::{pricing, session, wiring};

/// What is asked, and where the answer goes.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The request; `-` is standard input.
    pub request: &'a str,
    /// `None` is standard output.
    pub output: Option<&'a Path>,
    /// The workspace.
    pub directory: &'a Path,
    /// One JSON object on standard output.
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// What to say, and the exit code.
pub fn ask(asked: &Asked<'_>) -> Result<Exit, Failure> {
    let request = run::request(Some(asked.request))?.unwrap_or_default();
    let workspace = asked.directory.canonicalize().map_err(|e| Failure::usage(format!("-C {}: {e}", asked.directory.display())))?;
    let env = wiring::env();
    let (config, catalog) = wiring::configure(&[], &env, Some(&workspace))?;
    let today = Day::of(brigade_runtime::Clock::start().now());
    wiring::check_models(&config, &catalog, &env, today)?;
    let shared = wiring::shared(&config, catalog, &env, Mcp::default())?;
    let id = start::new_id(shared.clock.now());
    let started = RunStarted {
        run: id,
        request,
        images: Vec::new(),
        planned: true,
        workspace: workspace.display().to_string(),
        listing: run::listing(&workspace),
        instructions: config.repository.chain().into(),
        roles: config.roles.clone(),
        pipeline: None,
        policy: Arc::new(config.policy.clone()),
        input: None,
        apply: false,
        branch: false,
        continues: None,
        offline: None,
        reuse: true,
        wait: false,
    };
    let how = How { output: asked.output, json: asked.json, dry_run: false };
    planned(&shared, started, &Pictures::default(), &config.notices, &how)
}

/// What is made of the plan.
#[derive(Debug)]
pub struct How<'a> {
    /// Where the plan is written; `None` is standard output, unless something else stands there.
    pub output: Option<&'a Path>,
    /// One JSON object on standard output.
    pub json: bool,
    /// The price is what is wanted, not the plan.
    pub dry_run: bool,
}

/// Asks the planner, and prices what it says. The run waits for whoever resumes it.
///
/// # Errors
/// What to say, and the exit code.
pub fn planned(shared: &Shared, started: RunStarted, pictures: &Pictures, notices: &[String], how: &How<'_>) -> Result<Exit, Failure> {
    let (id, wanted) = (started.run.clone(), started.policy.clone());
    let mut policy = (*wanted).clone();
    policy.limits.max_concurrent_subagents = Slots::At(0);
    let started = RunStarted { policy: Arc::new(policy), ..started };
    let mut progress = Progress::new(if how.json { Level::Silent } else { Level::Normal });
    for notice in notices {
        progress.note(notice);
    }
    let (summary, interrupted) = drive(shared, started, pictures, &mut progress)?;
    let (run, _) = record::load(&*shared.home.journal(), &id, shared.catalog.clone(), hands::specs().into())?;
    let state = run.state();
    if !state.desk.planned {
        screen::remark(&format!("there is no plan: {}; spent {}", summary.output, summary.cost_usd));
        return Ok(Exit::of(&summary, interrupted));
    }
    let plan = Plan {
        coordination_notes: state.notes.clone(),
        subtasks: state.tasks.iter().map(|task| (*task.spec).clone()).collect(),
        ..Plan::default()
    };
    let preview = pricing::price(&shared.home, &plan, &wanted, &shared.catalog, &shared.mcp, None)?;
    if how.output.is_some() || !(how.json || how.dry_run) {
        write(&plan, how.output)?;
    }
    if how.json {
        let object = json!({
            "run_id": id, "planning_cost_usd": usd(summary.cost_usd), "plan": plan, "preview": preview::object(&preview),
        });
        screen::print(&screen::json_line(&object));
        return Ok(Exit::Done);
    }
    let shown = screen::preview(&preview, wanted.budget.run_usd);
    match how.dry_run {
        true => screen::print(&shown),
        false => screen::remark(shown.trim_end()),
    }
    screen::remark(&format!("planning cost {}", summary.cost_usd));
    match how.output {
        Some(path) => screen::remark(&format!("edit it and: brigade run --plan {}; or as it is: brigade resume {id}", path.display())),
        None if how.dry_run => screen::remark(&format!("work it off: brigade resume {id}")),
        None => screen::remark(&format!("edit it and: brigade run --plan FILE; or as it is: brigade resume {id}")),
    }
    Ok(Exit::Done)
}

/// Drives the run until its plan is whole, it ends, or a signal says to leave.
fn drive(shared: &Shared, started: RunStarted, pictures: &Pictures, progress: &mut Progress) -> Result<(RunSummary, bool), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (show, mut shown) = mpsc::unbounded_channel();
        let engine = shared.begin(started, pictures, None, Some(show))?;
        let id = engine.run().state().run().clone();
        let (leave, left) = watch::channel(Leave::No);
        let signals = tokio::spawn(session::signals(leave));
        let follow = async {
            while let Some(recorded) = shown.recv().await {
                // How it pauses is told below, in the words of a plan.
                if !matches!(recorded.stamped.event, Event::RunPaused(_)) {
                    progress.saw(&recorded);
                }
            }
            progress.close();
        };
        let (ended, ()) = tokio::join!(engine.drive(left.clone()), follow);
        signals.abort();
        let summary = ended.map_err(|e| Failure::failed(format!("{}\ngo on with: brigade resume {id}", chain(&e))))?;
        Ok((summary, *left.borrow() > Leave::No))
    })
}

/// TOML, as people edit it; JSON for a file that is named so.
fn write(plan: &Plan, output: Option<&Path>) -> Result<(), Failure> {
    let json = output.is_some_and(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")));
    let text = match json {
        true => serde_json::to_string_pretty(plan).map_err(|e| Failure::failed(e.to_string()))? + "\n",
        false => toml::to_string_pretty(plan)
            .map_err(|e| Failure::failed(format!("the plan cannot be written as TOML: {e}; name a .json file with -o")))?,
    };
    match output.map(PathBuf::from) {
        Some(path) => std::fs::write(&path, text).map_err(|e| Failure::failed(format!("cannot write {}: {e}", path.display()))),
        None => {
            screen::print_from_outside(&text);
            Ok(())
        }
    }
}
