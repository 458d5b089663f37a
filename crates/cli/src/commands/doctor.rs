//! `brigade doctor`: what works, what is missing, how to mend it. It spends no token and mends nothing itself:
//! `--fix` prints a diff, for a person to read and apply.

mod diff;
mod fix;
mod instructions;
mod lean;

mod agents;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use brigade_journal::Sqlite;
use brigade_kernel::catalog::{Catalog, Day};
use brigade_models::{Endpoint, Http, Probe, Secret};
use brigade_tools::mcp::Standing as Pinned;
use brigade_tools::sandbox::{Profile, Sandbox, State, harden_self};
use serde::Serialize;

use instructions::Lately;

use crate::config::{Config, Dialect, Env, Provider};
use crate::exit::{Exit, Failure, chain};
use crate::{screen, wiring};

/// How long one provider may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Descriptors below which many subtasks at once run out of them.
const FEW_FILES: u64 = 1_024;

/// Say what works, what is missing, and how to mend it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
    /// Print a leaner version as a diff: of the workspace's AGENTS.md (for git apply), or of the configuration (for patch)
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "workspace",
          value_parser = ["workspace", "config"], conflicts_with = "json")]
    fix: Option<String>,
}

/// What a look at one thing found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    Ok,
    /// Runs work, but not all of them or not at their best.
    Warning,
    /// No run can work.
    Fault,
}

/// A line of the report.
#[derive(Debug, Serialize)]
struct Finding {
    name: String,
    state: Standing,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Debug, Default)]
struct Report(Vec<Finding>);

impl Report {
    fn ok(&mut self, name: &str, found: impl Into<String>) {
        self.0.push(Finding { name: name.to_owned(), state: Standing::Ok, found: found.into(), remedy: None });
    }

    fn bad(&mut self, state: Standing, name: &str, found: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { name: name.to_owned(), state, found: found.into(), remedy: Some(remedy.into()) });
    }
}

/// Does it. Exit 0 if a run could work, 1 otherwise.
///
/// # Errors
/// Exit 2 where `--fix` cannot read the configuration; everything else is in the report.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let env = wiring::env();
    if let Some(what) = &args.fix {
        return fix::propose(what, &env);
    }
    let mut report = Report::default();
    home(&env, &mut report);
    match wiring::configure(&[], &env, std::env::current_dir().ok().as_deref()) {
        Ok((config, catalog)) => {
            report.ok("configuration", "can be read");
            for notice in &config.notices {
                report.bad(Standing::Warning, "configuration", notice.clone(), "see the note");
            }
            models(&config, &catalog, &mut report);
            instructions::check(&config, &catalog, &mut report);
            servers(&config, &env, &mut report);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                providers(&config, &env, &mut report).await;
                agents::agents(&config, &env, &mut report).await;
                sandbox(&env, &mut report).await;
            });
        }
        Err(failure) => {
            report.bad(Standing::Fault, "configuration", failure.message, "mend it at the place named; brigade config show reads it again")
        }
    }
    machine(&env, &mut report);
    let works = report.0.iter().all(|finding| finding.state != Standing::Fault);
    if args.json {
        screen::print(&screen::json_line(&serde_json::json!({"ok": works, "checks": report.0})));
    } else {
        screen::print(&shown(&report, works));
    }
    Ok(if works { Exit::Done } else { Exit::Failed })
}

fn home(env: &Env, report: &mut Report) {
    let writable = "set BRIGADE_HOME to a folder you may write to";
    let dir = match wiring::home_dir(env) {
        Ok(dir) => dir,
        Err(failure) => return report.bad(Standing::Fault, "home", failure.message, writable),
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    if let Err(e) = made.and_then(|()| tempfile::tempfile_in(&dir).map(drop)) {
        return report.bad(Standing::Fault, "home", format!("{} cannot be written: {e}", dir.display()), writable);
    }
    report.ok("home", format!("{} can be written", dir.display()));
    journal(&dir.join("journal.sqlite"), report);
}

fn journal(path: &Path, report: &mut Report) {
    if !path.exists() {
        return report.ok("journal", "none yet; the first run makes it");
    }
    let aside = || format!("keep a copy of {}, then move it away: the next run makes a new one", path.display());
    match Sqlite::open(path).map_err(|e| chain(&e)).and_then(|journal| journal.verify().map_err(|e| chain(&e))) {
        Err(why) => report.bad(Standing::Fault, "journal", why, aside()),
        Ok(damage) if damage.is_empty() => report.ok("journal", "whole"),
        Ok(damage) => {
            for one in &damage {
                report.bad(Standing::Warning, "journal", chain(one), format!("runs that do not touch it work; {}", aside()));
            }
        }
    }
}

fn models(config: &Config, catalog: &Catalog, report: &mut Report) {
    let today = Day::of(brigade_runtime::Clock::start().now());
    for tier in &config.policy.ladder {
        let Some(rung) = config.policy.tier(tier) else { continue };
        let name = format!("tier {tier}");
        match catalog.lookup(&rung.model, today) {
            Ok(found) => report.ok(&name, format!("{}, priced since {}", rung.model, found.since)),
            Err(refusal) => report.bad(
                Standing::Fault,
                &name,
                refusal.to_string(),
                format!("[tiers.{tier}] in config.toml; brigade models --all lists models"),
            ),
        }
    }
}

/// Only those that a tier calls; each is asked for its list of models, which costs nothing.
async fn providers(config: &Config, env: &Env, report: &mut Report) {
    let mut asked: Vec<&str> = wiring::models_of(&config.policy).map(|model| model.provider()).collect();
    asked.sort_unstable();
    asked.dedup();
    // Those that are programs are looked at by themselves.
    for provider in asked.into_iter().filter(|name| !config.agents.contains_key(*name)) {
        let name = format!("provider {provider}");
        let Some(found) = config.providers.get(provider) else {
            report.bad(Standing::Fault, &name, "not configured", format!("add [providers.{provider}] with base_url to config.toml"));
            continue;
        };
        if !found.usable(env) {
            let variable = found.env_key.as_deref().unwrap_or_default();
            let remedy = format!("set {variable} to your API key, or bind the tiers to a local server (brigade init writes an example)");
            report.bad(Standing::Fault, &name, format!("no key: {variable} is not set"), remedy);
            continue;
        }
        match probe(provider, found, env).await {
            Ok(probe) => answered(&name, provider, found, &probe, config, report),
            Err(why) => report.bad(Standing::Fault, &name, why, "mend base_url in config.toml or OPENAI_BASE_URL"),
        }
    }
}

async fn probe(name: &str, provider: &Provider, env: &Env) -> Result<Probe, String> {
    let dialect = match provider.dialect {
        Dialect::Responses => brigade_models::Dialect::Responses,
        Dialect::Chat => brigade_models::Dialect::Chat,
    };
    let http = Http::new(Endpoint::new(name, dialect, &provider.base_url, provider.key(env).map(Secret::new))).map_err(|e| chain(&e))?;
    let late = |_| format!("{} did not answer within {} s", provider.base_url, PATIENCE.as_secs());
    tokio::time::timeout(PATIENCE, http.probe()).await.map_err(late)
}

fn answered(name: &str, provider: &str, found: &Provider, probe: &Probe, config: &Config, report: &mut Report) {
    let at = &found.base_url;
    let why = probe.error.as_ref().map(|e| e.message.clone()).unwrap_or_default();
    if !probe.reachable {
        return report.bad(
            Standing::Fault,
            name,
            format!("{at} cannot be reached: {why}"),
            "check the address, the proxy variables and the network",
        );
    }
    if probe.key_accepted == Some(false) {
        let variable = found.env_key.as_deref().unwrap_or("its key's variable");
        return report.bad(Standing::Fault, name, format!("{at} refused the key: {why}"), format!("put a valid key into {variable}"));
    }
    if !probe.lists_models {
        return report.bad(
            Standing::Warning,
            name,
            format!("{at} answers, but lists no models: {why}"),
            "nothing, if it is a proxy without /models",
        );
    }
    report.ok(name, format!("{at} answers, {} models", probe.models.len()));
    let mut wanted: Vec<&str> = wiring::models_of(&config.policy)
        .filter(|m| m.provider() == provider)
        .filter_map(|m| m.as_str().split_once('/'))
        .map(|(_, model)| model)
        .collect();
    wanted.dedup();
    for model in wanted {
        if !probe.models.iter().any(|listed| listed.id == model) {
            report.bad(Standing::Warning, name, format!("does not list {model}"), "bind the tier to a model it has, or ask for access");
        }
    }
}

/// MCP servers, without starting one.
fn servers(config: &Config, env: &Env, report: &mut Report) {
    let mcp = match wiring::mcp(config, env, std::env::current_dir().ok().as_deref()) {
        Ok(mcp) => mcp,
        Err(failure) => return report.bad(Standing::Warning, "mcp", failure.message, "no MCP server can be joined until then"),
    };
    let lately = if mcp.configs().is_empty() { Lately::default() } else { Lately::of(env) };
    for (name, server) in mcp.configs() {
        let (check, trust) = (format!("mcp {name}"), format!("brigade mcp trust {name}"));
        match mcp.pins().standing(server) {
            Pinned::Pinned(pin) => instructions::server(server, &pin, &lately, report),
            Pinned::Untrusted => report.bad(Standing::Warning, &check, "not trusted, no subtask can join it", trust),
            Pinned::Changed(why) => report.bad(Standing::Warning, &check, why, trust),
        }
    }
}

async fn sandbox(env: &Env, report: &mut Report) {
    let only = "everything but run_command and command checks works without it";
    let sandbox = match Sandbox::new(&Profile::from_env()) {
        Ok(sandbox) => sandbox,
        Err(e) => return report.bad(Standing::Warning, "sandbox", chain(&e), only),
    };
    let probe = match sandbox.probe().await {
        Ok(probe) => probe,
        Err(e) => return report.bad(Standing::Warning, "sandbox", chain(&e), only),
    };
    let mut works = Vec::new();
    for (primitive, state) in &probe.primitives {
        match state {
            State::Works => works.push(primitive.to_string()),
            State::Missing { why, remedy } => {
                report.bad(Standing::Warning, "sandbox", format!("{primitive}: {why}"), format!("{remedy}; {only}"))
            }
            State::Untried => {}
        }
    }
    if probe.usable() {
        let landlock = probe.landlock.map(|how| format!(" (landlock {how})")).unwrap_or_default();
        report.ok("sandbox", format!("{}{landlock}", works.join(", ")));
        views(&sandbox, env, report).await;
    } else if probe.not_supported {
        report.bad(Standing::Warning, "sandbox", "there is none on this system", only);
    }
}

/// How a command gets to see the files of a view.
async fn views(sandbox: &Sandbox, env: &Env, report: &mut Report) {
    // A home that is not there was told of above.
    let Ok(home) = wiring::home_dir(env) else { return };
    match sandbox.probe_layers(&home).await {
        Ok(()) => report.ok("views", "mounted as layers over the workspace"),
        Err(e) => report.bad(
            Standing::Warning,
            "views",
            chain(&e),
            "commands work on a copy of the workspace made for each of them, which is slower",
        ),
    }
}

fn machine(env: &Env, report: &mut Report) {
    let path = env.get("PATH").map(String::as_str).unwrap_or_default();
    match std::env::split_paths(path).map(|dir| dir.join("git")).find(|git| git.is_file()) {
        Some(git) => report.ok("git", git.display().to_string()),
        None => report.bad(Standing::Warning, "git", "not on PATH", "install it where checks use it; brigade itself does not"),
    }
    match harden_self() {
        Ok(hardened) => match hardened.open_files {
            Some(most) if most < FEW_FILES => report.bad(
                Standing::Warning,
                "open files",
                format!("at most {most}"),
                format!("raise the hard limit to {FEW_FILES} or more (ulimit -Hn)"),
            ),
            Some(most) => report.ok("open files", format!("up to {most}")),
            None => report.ok("open files", "no limit"),
        },
        Err(e) => report.bad(Standing::Warning, "open files", format!("the limit cannot be read: {e}"), "runs use what there is"),
    }
}

fn shown(report: &Report, works: bool) -> String {
    let width = report.0.iter().map(|f| f.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in &report.0 {
        let (word, colour) = match finding.state {
            Standing::Ok => ("ok     ", "32"),
            Standing::Warning => ("warning", "33"),
            Standing::Fault => ("fault  ", "31"),
        };
        let indent = width + 11;
        let lines = |words: &str| brigade_tools::escape_for_screen(words).replace('\n', &format!("\n{:indent$}", ""));
        let name = brigade_tools::escape_for_screen(&finding.name);
        text.push_str(&format!("{}  {name:<width$}  {}\n", screen::paint(colour, word), lines(&finding.found)));
        if let Some(remedy) = &finding.remedy {
            text.push_str(&format!("{:indent$}-> {}\n", "", lines(remedy)));
        }
    }
    text.push_str(if works {
        "a run can work\n"
    } else {
        "no run can work until the faults are mended; without any of it: brigade run --offline fix-failing-test\n"
    });
    text
}
