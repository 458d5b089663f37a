//! `doctor --fix`: the leaner version as a diff on standard output, everything else on standard error. Nothing is written.

use std::collections::BTreeSet;
use std::path::Path;

use brigade_kernel::context::tokens_est;
use brigade_tools::instructions::{Kind, Read};
use brigade_tools::mcp::{Origin, ServerConfig};

use super::diff::Edit;
use super::instructions::{self, Lately, RUNS};
use super::lean::{Tree, lean};
use crate::config::{Config, Env, agents};
use crate::exit::{Exit, Failure};
use crate::{screen, wiring};

/// Prints what it proposes.
///
/// # Errors
/// Exit 2 for a configuration that cannot be read.
pub(super) fn propose(what: &str, env: &Env) -> Result<Exit, Failure> {
    let here = std::env::current_dir()?.canonicalize()?;
    let (config, _) = wiring::configure(&[], env, Some(&here))?;
    let mcp = wiring::mcp(&config, env, Some(&here))?;
    let idle = instructions::idle(mcp.configs().keys(), &Lately::of(env));
    match what {
        "config" => servers(&config, env, mcp.configs().values().filter(|server| idle.contains(&server.name)))?,
        _ => {
            workspace(&config, &here);
            if !idle.is_empty() {
                let names: Vec<&str> = idle.iter().map(String::as_str).collect();
                screen::remark(&format!(
                    "MCP servers not used in the last {RUNS} runs: {}; see brigade doctor --fix=config",
                    names.join(", ")
                ));
            }
        }
    }
    Ok(Exit::Done)
}

fn workspace(config: &Config, here: &Path) {
    let files: Vec<&Read> = config.repository.found.files.iter().filter(|file| file.kind == Kind::Instructions).collect();
    let texts: Vec<(&str, &str)> = files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let plain = |path: &str| !path.is_empty() && !path.starts_with('/') && !path.split('/').any(|part| part == "..");
    let there = |path: &str| plain(path) && here.join(path).exists();
    let folder = |path: &str| plain(path) && here.join(path).is_dir();
    let edits = lean(&texts, kept, &Tree { there: &there, folder: &folder });
    if edits.is_empty() {
        screen::remark(if files.is_empty() {
            "there is no AGENTS.md here"
        } else {
            "nothing to propose: no rule finds a line that could go"
        });
        return;
    }
    // A diff is applied byte for byte: only where a terminal would show it, it is made inert.
    edits.iter().for_each(|edit| screen::print_from_outside(&edit.diff()));
    let root = edits.iter().find(|edit| edit.path == "AGENTS.md");
    if let Some((edit, now)) = root.zip(texts.iter().find(|(path, _)| *path == "AGENTS.md")) {
        let (now, then) = (tokens_est(now.1.len()), tokens_est(edit.after().len()));
        screen::remark(&format!("every call would show about {then} tokens of AGENTS.md instead of {now}"));
    }
    screen::remark("nothing was written; read it, then: brigade doctor --fix | git apply; and trust the result: brigade trust");
}

/// Lines of the agent configuration: they are settings, not words.
fn kept(text: &str) -> BTreeSet<usize> {
    agents::lines_of(text)
}

fn servers<'a>(config: &Config, env: &Env, idle: impl Iterator<Item = &'a ServerConfig>) -> Result<(), Failure> {
    let home = wiring::home_dir(env)?;
    let text = std::fs::read_to_string(home.join("config.toml")).unwrap_or_default();
    let mut edit = Edit::of("config.toml", Some(&text));
    for server in idle {
        if matches!(server.origin, Origin::Workspace(_)) {
            screen::remark(&format!("{}: set \"enabled\": false for it in .mcp.json", server.name));
            continue;
        }
        let header = format!("[mcp_servers.{}]", server.name);
        match text.split('\n').position(|line| line.split('#').next().is_some_and(|line| line.trim() == header)) {
            Some(at) => edit.put.push((at + 1, "enabled = false".to_owned())),
            None => {
                screen::remark(&format!("{}: its section is no line of its own in config.toml; set enabled = false in it", server.name))
            }
        }
    }
    if edit.put.is_empty() {
        screen::remark(&format!(
            "nothing to propose: every server of the configuration was used in the last {RUNS} runs, or there were not so many"
        ));
        return Ok(());
    }
    let saved = config.mcp_servers.len().min(edit.put.len());
    screen::print_from_outside(&edit.diff());
    screen::remark(&format!(
        "{saved} left out: no prompt changes unless a plan joins them; nothing was written; read it, then: brigade doctor --fix=config | patch -p1 -d {}",
        home.display()
    ));
    Ok(())
}
