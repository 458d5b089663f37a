//! `brigade run`: a request (or a plan file) becomes a run, worked off and reviewed.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use brigade_kernel::budget::parse_usd_cap;
use brigade_kernel::catalog::{Catalog, Day};
use brigade_kernel::ids::RunId;
use brigade_kernel::image::{Image, MAX_CALL_IMAGE_BYTES, MAX_CALL_IMAGES, MAX_IMAGE_BYTES, Pictures};
use brigade_kernel::plan::{self, Plan};
use brigade_kernel::policy::Policy;
use brigade_kernel::run::{BulkRules, Fact, RunStarted};
use brigade_runtime::{Mcp, input, start};
use brigade_tools::View;

use super::plan::ask;
use crate::config::Flag;
use crate::exit::{Exit, Failure, chain};
use crate::offline;
use crate::pricing;
use crate::session::{self, Output};
use crate::wiring;

/// Longest request, in bytes.
const REQUEST_LIMIT: u64 = 1 << 20;
/// What a planner is told of the workspace, in bytes.
const LISTING_BYTES: usize = 16 << 10;

/// Plan a request, work it off, review the result.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is to be done; `-` reads it from standard input
    request: Option<String>,
    /// Work off this plan (TOML or JSON) instead of asking the planner
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Rows for `for_each = "input"` (JSONL or CSV)
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The workspace
    #[arg(short = 'C', value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Stop before more than this is spent
    #[arg(long, value_name = "USD")]
    max_budget_usd: Option<String>,
    /// One event per line on standard output
    #[arg(long)]
    json: bool,
    /// Write the result (rows as JSONL) to this file
    #[arg(short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What becomes of the verified patch [default: ask on a terminal, never otherwise]
    #[arg(long, value_name = "MODE", value_parser = ["auto", "ask", "never", "branch"])]
    apply: Option<String>,
    /// Sit out a quota window: go on by itself when it opens
    #[arg(long)]
    wait: bool,
    /// Plan and price, run nothing; with --plan no model is asked and no key is needed
    #[arg(long)]
    dry_run: bool,
    /// Go on where this run's planner stopped
    #[arg(long, value_name = "RUN")]
    r#continue: Option<String>,
    /// Show this image to the planner
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,
    /// embedded, or restate
    #[arg(long, value_name = "NAME", default_value = "embedded")]
    engine: String,
    /// Run an example against scripted models: no key, no network
    #[arg(long, value_name = "EXAMPLE")]
    offline: Option<String>,
    /// Ask for priority service where a model has a price for it: faster, and about twice as dear
    #[arg(long)]
    fast: bool,
    /// Pay again for work whose result is on record
    #[arg(long)]
    no_cache: bool,
    /// Only the result
    #[arg(short, conflicts_with = "verbose")]
    quiet: bool,
    /// Every attempt and check
    #[arg(short)]
    verbose: bool,
}

impl Args {
    /// Flags whose machinery is not there yet refuse by name.
    fn refuse_what_is_missing(&self) -> Result<(), Failure> {
        let missing = [(self.engine == "restate", "--engine restate")];
        if let Some((_, name)) = missing.into_iter().find(|(asked, _)| *asked) {
            return Err(Failure::usage(format!("not supported yet: {name}")));
        }
        if self.engine != "embedded" {
            return Err(Failure::usage(format!("--engine {:?} is not one: use embedded", self.engine)));
        }
        Ok(())
    }
}

/// Does it.
///
/// # Errors
/// What to say, and the exit code.
pub fn run(mut args: Args) -> Result<Exit, Failure> {
    args.refuse_what_is_missing()?;
    let mut env = wiring::env();
    let mut flags = Vec::new();
    if let Some(value) = &args.max_budget_usd {
        parse_usd_cap("--max-budget-usd", value).map_err(|e| Failure::usage(e.to_string()))?;
        flags.push(Flag { name: "--max-budget-usd", key: "budget.run_usd", value: value.clone() });
    }
    let id = start::new_id(brigade_runtime::Clock::start().now());
    let example = match &args.offline {
        Some(name) => Some(offline::open(name, &wiring::home_dir(&env)?, &id)?),
        None => None,
    };
    if let Some(example) = &example {
        example.fill(&mut args.request, &mut args.plan, &mut args.input);
        args.directory = example.workspace()?;
        args.apply.get_or_insert_with(|| example.apply.clone());
        example.key(&mut env);
    }
    let request = request(args.request.as_deref())?;
    if request.is_none() && args.plan.is_none() {
        return Err(Failure::usage("nothing to do: give a request, or a plan with --plan FILE"));
    }
    let workspace = args.directory.canonicalize().map_err(|e| Failure::usage(format!("-C {}: {e}", args.directory.display())))?;
    let (mut config, catalog) = wiring::configure(&flags, &env, Some(&workspace).filter(|_| example.is_none()).map(|p| &**p))?;
    if let Some(example) = &example {
        example.capture(&mut config, &mut env);
    }
    config.policy.service.fast = args.fast;
    let notify = config.notify.clone();

    let mcp = wiring::mcp(&config, &env, Some(&workspace).filter(|_| example.is_none()).map(|p| &**p))?;
    let plan = match &args.plan {
        Some(path) => Some(super::plan::valid(path, &config.policy, &mcp)?),
        None => None,
    };
    check_input(plan.as_ref().map(|(p, _)| p), args.input.is_some())?;
    let shared_now = brigade_runtime::Clock::start().now();
    let only_priced = args.dry_run && plan.is_some();
    if only_priced {
        wiring::check_prices(&config.policy, &catalog, Day::of(shared_now))?;
    } else {
        wiring::check_models(&config, &catalog, &env, Day::of(shared_now))?;
    }
    let input = match &args.input {
        Some(path) => Some(input::describe(path).map_err(|e| Failure::usage(chain(&e)))?),
        None => None,
    };
    let commands = plan.as_ref().is_some_and(|(plan, _)| needs_sandbox(plan, &mcp)) || example.as_ref().is_some_and(|e| e.commands);
    if commands && !args.dry_run {
        session::check_sandbox(&wiring::home_dir(&env)?)?;
    }
    if args.apply.as_deref() == Some("branch") {
        brigade_tools::branch::check(&workspace)
            .map_err(|why| Failure::usage(format!("--apply branch: {why}; use --apply auto, ask or never")))?;
    }
    if let Some((plan, _)) = &plan {
        wiring::check_sight(plan, &config.policy, &catalog, &mcp)?;
    }
    config.notices.extend(wiring::services(plan.as_ref().map(|(plan, _)| plan), &config.policy, &catalog, Day::of(shared_now))?);
    let notices = std::mem::take(&mut config.notices);
    let (images, pictures) = request_images(&args.image, plan.is_some(), &config.policy, &catalog)?;
    if let Some((plan, _)) = plan.as_ref().filter(|_| args.dry_run) {
        let home = wiring::open_home(&env)?;
        let preview = pricing::price(&home, plan, &config.policy, &Arc::new(catalog), &mcp, args.input.as_deref())?;
        return Ok(pricing::show(&preview, &config.policy, args.json));
    }
    let listing = if plan.is_none() { listing(&workspace) } else { String::new() };
    let shared = wiring::shared(&config, catalog, &env, mcp)?;
    let continues = match &args.r#continue {
        Some(id) => Some(session::continued(&shared, &run_id(id)?)?),
        None => None,
    };
    let apply = args.apply.clone().unwrap_or_else(|| if std::io::stdin().is_terminal() { "ask".to_owned() } else { "never".to_owned() });
    let start = RunStarted {
        run: id,
        request: request.unwrap_or_default(),
        images,
        planned: plan.is_none(),
        workspace: workspace.display().to_string(),
        listing,
        instructions: config.repository.chain().into(),
        roles: config.roles.clone(),
        pipeline: plan.as_ref().and_then(|(plan, _)| plan.pipeline.clone()),
        policy: Arc::new(config.policy),
        input,
        apply: apply == "auto",
        branch: apply == "branch",
        continues,
        offline: example.as_ref().map(|e| e.name.clone()),
        reuse: !args.no_cache,
        wait: args.wait,
    };
    if args.dry_run {
        let how = ask::How { output: args.output.as_deref(), json: args.json, dry_run: true };
        return ask::planned(&shared, start, &pictures, &notices, &how);
    }
    let fact = plan.map(|(plan, warnings)| Fact::PlanGiven {
        notes: plan.coordination_notes,
        bulk: BulkRules {
            canary: plan.stops.canary,
            max_failure_rate: plan.stops.max_failure_rate,
            max_escalation_rate: plan.stops.max_escalation_rate,
        },
        subtasks: plan.subtasks,
        warnings,
    });
    let output = Output {
        json: args.json,
        quiet: args.quiet,
        verbose: args.verbose,
        file: args.output,
        ask_to_apply: apply == "ask",
        notices,
        notify,
    };
    session::drive(&shared, |show| shared.begin(start, &pictures, fact, show), &output)
}

/// The request's text, verbatim.
pub(crate) fn request(argument: Option<&str>) -> Result<Option<String>, Failure> {
    let text = match argument {
        None => return Ok(None),
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin().take(REQUEST_LIMIT + 1).read_to_end(&mut bytes)?;
            String::from_utf8(bytes).map_err(|_| Failure::usage("the request on standard input is not UTF-8: convert it"))?
        }
        Some(text) => text.to_owned(),
    };
    if text.len() as u64 > REQUEST_LIMIT {
        return Err(Failure::usage(format!("the request is over {REQUEST_LIMIT} bytes: put long material into files of the workspace")));
    }
    if text.trim().is_empty() {
        return Err(Failure::usage("the request is empty: say what is to be done"));
    }
    Ok(Some(text))
}

/// The images of the request: wherever they lie, for the user named them.
fn request_images(files: &[PathBuf], given: bool, policy: &Policy, catalog: &Catalog) -> Result<(Vec<Image>, Pictures), Failure> {
    let refuse = |why: String| Err(Failure::usage(format!("--image: {why}")));
    let (mut images, mut pictures) = (Vec::new(), Pictures::default());
    if files.is_empty() {
        return Ok((images, pictures));
    }
    if given {
        return refuse("it is for the planner, and a plan was given: name images in its subtasks, images = [\"PATH\"]".to_owned());
    }
    wiring::check_planner_sees(policy, catalog)?;
    if files.len() > MAX_CALL_IMAGES {
        return refuse(format!("{} files, a call shows at most {MAX_CALL_IMAGES}", files.len()));
    }
    for file in files {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(file).and_then(|open| open.take(MAX_IMAGE_BYTES + 1).read_to_end(&mut bytes));
        let judged = read.map_err(|e| format!("cannot be read: {e}")).and_then(|_| brigade_tools::judge_image(bytes));
        match judged {
            Ok((image, bytes)) => {
                pictures.insert(&image, bytes);
                images.push(image);
            }
            Err(why) => return refuse(format!("{} {why}", file.display())),
        }
    }
    let bytes: u64 = images.iter().map(|image| image.bytes).sum();
    if bytes > MAX_CALL_IMAGE_BYTES {
        return refuse(format!("{bytes} bytes in all, a call takes {MAX_CALL_IMAGE_BYTES}: scale some down, or leave some out"));
    }
    Ok((images, pictures))
}

fn check_input(plan: Option<&Plan>, given: bool) -> Result<(), Failure> {
    let wanted = plan.is_some_and(|p| p.subtasks.iter().any(|s| s.for_each == Some(plan::ForEach::Input)));
    if wanted && !given {
        return Err(Failure::usage("the plan maps a subtask over its input: give the rows with --input FILE"));
    }
    if given && !wanted {
        return Err(Failure::usage("--input needs a plan with a subtask that has for_each = \"input\": give it with --plan FILE"));
    }
    Ok(())
}

fn needs_sandbox(plan: &Plan, mcp: &Mcp) -> bool {
    mcp.starts_programs(plan.subtasks.iter().flat_map(|s| &s.mcp_servers))
        || plan.subtasks.iter().any(|s| !s.checks.is_empty() || s.tools.iter().any(|t| t == "run_command"))
}

pub(crate) fn listing(workspace: &std::path::Path) -> String {
    View::in_place(workspace).map(|view| brigade_tools::listing(&view, LISTING_BYTES)).unwrap_or_default()
}

/// A run's id as typed.
pub(crate) fn run_id(text: &str) -> Result<RunId, Failure> {
    RunId::new(text).map_err(|e| Failure::usage(e.to_string()))
}
