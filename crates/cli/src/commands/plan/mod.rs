//! `brigade plan`: a plan file judged, every fault at once; or the planner asked for one ([`ask`]).

pub(super) mod ask;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use brigade_kernel::plan::{self, Author, Checked, Fault, Format, Known, MAX_PLAN_BYTES, Warning};
use brigade_kernel::policy::Policy;
use brigade_kernel::view::count;
use brigade_runtime::Mcp;

use crate::exit::{Exit, Failure};
use crate::screen::{Column, Table};
use crate::{screen, wiring};

/// Ask for a plan without running it, or judge a plan file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is to be planned; `-` reads it from standard input
    #[arg(required_unless_present = "check", conflicts_with = "check")]
    request: Option<String>,
    /// Write the plan to this file (JSON if it ends in .json, else TOML) instead of standard output
    #[arg(short, value_name = "FILE", conflicts_with = "check")]
    output: Option<PathBuf>,
    /// The workspace
    #[arg(short = 'C', value_name = "DIR", default_value = ".", conflicts_with = "check")]
    directory: PathBuf,
    /// Judge this plan (TOML or JSON; `-` reads standard input)
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Know these tools, `[{"id": "NAME"}, …]`, instead of the built-in ones
    #[arg(long, value_name = "FILE", requires = "check")]
    tools: Option<PathBuf>,
    /// One JSON object on standard output: the plan and its price, or `{"ok", "faults", "warnings"}`
    #[arg(long)]
    json: bool,
}

/// Does it.
///
/// # Errors
/// Exit 2 when a file cannot be read, or the configuration.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    if let Some(request) = &args.request {
        return ask::ask(&ask::Asked { request, output: args.output.as_deref(), directory: &args.directory, json: args.json });
    }
    match &args.check {
        Some(file) => judge(file, args.tools.as_deref(), args.json),
        None => Err(Failure::usage("give a request, or a plan file with --check FILE")),
    }
}

fn judge(file: &Path, tools: Option<&Path>, json: bool) -> Result<Exit, Failure> {
    let env = wiring::env();
    let (config, _) = wiring::configure(&[], &env, None)?;
    let known = match tools {
        Some(tools) => plan::parse_tools(&read_text(tools, "the tools file")?).map(Known::names),
        None => Ok(Known::new(wiring::mcp(&config, &env, here().as_deref())?.specs().iter())),
    };
    let checked = match known {
        Ok(known) => plan::check(&parsed(file)?, &bounded(known, &config.policy)),
        Err(fault) => Checked { plan: None, faults: vec![fault], warnings: Vec::new() },
    };
    if json {
        screen::print(&screen::json_line(&checked));
    } else {
        screen::print(&shown(file, &checked));
    }
    Ok(if checked.faults.is_empty() { Exit::Done } else { Exit::Usage })
}

/// A valid plan from a file, as a run of this configuration would take it, and what is sloppy in it.
///
/// # Errors
/// Exit 2 with every fault.
pub fn valid(file: &Path, policy: &Policy, mcp: &Mcp) -> Result<(plan::Plan, Vec<String>), Failure> {
    let checked = plan::check(&parsed(file)?, &bounded(Known::new(mcp.specs().iter()), policy));
    let Some(plan) = checked.plan else {
        let lines: Vec<String> = checked.faults.iter().map(ToString::to_string).collect();
        return Err(Failure::usage(format!("the plan {} cannot be run:\n{}", file.display(), lines.join("\n"))));
    };
    Ok((plan, checked.warnings.into_iter().map(|warning| warning.message).collect()))
}

/// Where a plan without a workspace of its own would run.
pub fn here() -> Option<PathBuf> {
    std::env::current_dir().ok()
}

fn bounded(mut known: Known, policy: &Policy) -> Known {
    known.tiers.clone_from(&policy.ladder);
    known.max_subtasks = policy.limits.max_subtasks as usize;
    known
}

fn parsed(file: &Path) -> Result<plan::Parsed, Failure> {
    let text = read_text(file, "the plan")?;
    Ok(plan::parse(&text, Format::of(&file.display().to_string(), &text), Author::Person))
}

fn read_text(path: &Path, what: &str) -> Result<String, Failure> {
    let limit = MAX_PLAN_BYTES as u64;
    let mut bytes = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().take(limit + 1).read_to_end(&mut bytes),
        false => std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)),
    };
    let at = path.display();
    read.map_err(|e| Failure::usage(format!("cannot read {what} {at}: {e}")))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::usage(format!("cannot read {what} {at}: it has more than {limit} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("cannot read {what} {at}: it is not UTF-8, convert it")))
}

/// The verdict for a person: what must be mended first, then what is sloppy.
fn shown(file: &Path, checked: &Checked) -> String {
    let row = |kind: &str, code: String, subtask: &Option<String>, field: &Option<String>, message: &str| {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        [kind.to_owned(), code, or_dash(subtask), or_dash(field), message.to_owned()]
    };
    let fault = |f: &Fault| row("fault", code(f), &f.subtask, &f.field, &f.message);
    let warning = |w: &Warning| row("warning", w.code.to_owned(), &w.subtask, &w.field, &w.message);
    let mut table = Table::new(&["", "code", "subtask", "field", "message"].map(|heading| (heading, Column::Whole)));
    checked.faults.iter().map(fault).chain(checked.warnings.iter().map(warning)).for_each(|cells| table.row(cells));
    let mut text = if table.is_empty() { String::new() } else { table.shown() };
    let at = file.display().to_string();
    let verdict = match &checked.plan {
        Some(plan) => {
            let warnings = match checked.warnings.len() as u64 {
                0 => String::new(),
                n => format!(", {}", count(n, "warning", "warnings")),
            };
            format!("{at}: valid, {}{warnings}", count(plan.subtasks.len() as u64, "subtask", "subtasks"))
        }
        None => format!("{at}: {} to mend", count(checked.faults.len() as u64, "fault", "faults")),
    };
    text.push_str(&brigade_tools::escape_for_screen(&verdict));
    text.push('\n');
    text
}

/// A code's name as `--json` has it.
fn code(fault: &Fault) -> String {
    serde_json::to_value(fault.code).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
