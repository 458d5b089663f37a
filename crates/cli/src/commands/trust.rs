//! `brigade trust`: a person's word that files of a workspace may instruct and configure, exactly as they stand.
//!
//! Everything is shown before it counts: new files whole, changed ones as a difference, with nothing in them that could
//! steer a terminal. What is trusted is the bytes that were shown; a file that changes afterwards is untrusted again.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use brigade_tools::escape_for_screen;
use brigade_tools::instructions::{Found, Kind, Read, Standing, Trust, find};
use serde_json::json;

use crate::exit::{Exit, Failure, chain};
use crate::screen::{Column, Table};
use crate::{screen, wiring};

/// Trust a workspace's instructions and settings as they are.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these files
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// How each file stands; nothing is trusted
    #[arg(long, conflicts_with_all = ["revoke", "yes"])]
    list: bool,
    /// Trust them no longer
    #[arg(long, conflicts_with = "yes")]
    revoke: bool,
    /// Trust what is shown without being asked
    #[arg(long)]
    yes: bool,
    /// With --list: one JSON array on standard output
    #[arg(long, requires = "list")]
    json: bool,
    /// The workspace
    #[arg(short = 'C', value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

/// Does it.
///
/// # Errors
/// Exit 2 for a path that is not there, or without anybody to ask; exit 1 when nothing could be written.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let workspace = args.directory.canonicalize().map_err(|e| Failure::usage(format!("-C {}: {e}", args.directory.display())))?;
    let home = wiring::home_dir(&wiring::env())?;
    let mut trust = Trust::of(&home, &workspace).map_err(|e| Failure::usage(chain(&e)))?;
    let found = find(&workspace);
    for fault in &found.faults {
        screen::remark(fault);
    }
    let paths = plain(&args.paths, &workspace);
    if args.revoke {
        return revoke(&mut trust, paths);
    }
    let missing = paths.iter().find(|path| !found.files.iter().any(|file| file.path == **path));
    if let Some(path) = missing {
        return Err(Failure::usage(format!("{path} is none of the files that can be trusted; there are: {}", names(&found))));
    }
    let chosen: Vec<&Read> = found.files.iter().filter(|file| paths.is_empty() || paths.contains(&file.path)).collect();
    if args.list {
        return Ok(list(&chosen, &trust, args.json));
    }
    let new: Vec<&Read> = chosen.iter().copied().filter(|file| trust.standing(file) != Standing::Trusted).collect();
    if new.is_empty() {
        let nothing = if chosen.is_empty() {
            "there is nothing to trust here: no AGENTS.md, no .brigade/config.toml, no role files"
        } else {
            "all of it is trusted as it stands"
        };
        screen::remark(nothing);
        return Ok(Exit::Done);
    }
    let asked = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let mut taken: Vec<&Read> = Vec::new();
    for file in new {
        screen::print(&shown(file, &trust.standing(file)));
        if args.yes || (asked && agreed(file)) {
            taken.push(file);
        }
    }
    if taken.is_empty() {
        if !asked {
            return Err(Failure::usage("nothing is trusted: there is nobody to ask; read what is shown, then give --yes"));
        }
        screen::remark("nothing is trusted");
        return Ok(Exit::Done);
    }
    trust.add(&taken).map_err(|e| Failure::failed(chain(&e)))?;
    let names: Vec<&str> = taken.iter().map(|file| file.path.as_str()).collect();
    screen::remark(&format!("trusted exactly as shown: {}; what they set: brigade config show --origin", names.join(", ")));
    Ok(Exit::Done)
}

/// Paths as they stand in the list: relative to the workspace, however they were typed.
fn plain(paths: &[String], workspace: &Path) -> Vec<String> {
    let plain = |path: &String| {
        let whole = std::path::absolute(path).ok();
        let inside = whole.as_deref().and_then(|whole| whole.strip_prefix(workspace).ok()).filter(|_| Path::new(path).is_absolute());
        inside.map_or_else(|| path.trim_start_matches("./").to_owned(), |inside| inside.display().to_string())
    };
    paths.iter().map(plain).collect()
}

fn names(found: &Found) -> String {
    let names: Vec<&str> = found.files.iter().map(|file| file.path.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn revoke(trust: &mut Trust, paths: Vec<String>) -> Result<Exit, Failure> {
    let known: Vec<String> = trust.paths().map(str::to_owned).collect();
    if let Some(path) = paths.iter().find(|path| !known.contains(path)) {
        return Err(Failure::usage(format!(
            "{path} is not trusted; trusted are: {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        )));
    }
    let gone = if paths.is_empty() { known } else { paths };
    trust.remove(&gone).map_err(|e| Failure::failed(chain(&e)))?;
    screen::remark(&if gone.is_empty() {
        "nothing here was trusted".to_owned()
    } else {
        format!("trusted no longer: {}", gone.join(", "))
    });
    Ok(Exit::Done)
}

fn word(standing: &Standing<'_>) -> &'static str {
    match standing {
        Standing::Trusted => "trusted",
        Standing::Changed(_) => "changed",
        Standing::Untrusted => "not trusted",
    }
}

fn kind(file: &Read) -> &'static str {
    match file.kind {
        Kind::Instructions => "instructions",
        Kind::Settings => "settings",
        Kind::Prompt => "prompt",
        Kind::Role => "role",
    }
}

fn list(files: &[&Read], trust: &Trust, as_json: bool) -> Exit {
    if as_json {
        let row = |file: &&Read| json!({"path": file.path, "kind": kind(file), "trust": word(&trust.standing(file)), "sha256": file.hash.to_string(), "bytes": file.text.len()});
        screen::print(&screen::json_line(&files.iter().map(row).collect::<Vec<_>>()));
        return Exit::Done;
    }
    let mut table = Table::new(&[("file", Column::Whole), ("kind", Column::Whole), ("trust", Column::Whole), ("tokens", Column::Number)]);
    for file in files {
        let tokens = brigade_kernel::context::tokens_est(file.text.len());
        table.row([file.path.clone(), kind(file).to_owned(), word(&trust.standing(file)).to_owned(), tokens.to_string()]);
    }
    screen::print(&table.shown());
    Exit::Done
}

/// All that would be trusted, inert.
fn shown(file: &Read, standing: &Standing<'_>) -> String {
    let hidden = if matches!(escape_for_screen(&file.text), std::borrow::Cow::Owned(_)) {
        "; it holds hidden characters, written out below"
    } else {
        ""
    };
    let (head, body) = match standing {
        Standing::Changed(before) => ("changed since it was trusted", brigade_tools::patch::difference(before, &file.text)),
        _ => ("new", file.text.lines().map(|line| format!("  {line}\n")).collect()),
    };
    format!("{} ({}, {head}{hidden})\n{}\n", escape_for_screen(&file.path), kind(file), escape_for_screen(&body))
}

fn agreed(file: &Read) -> bool {
    let _ = write!(std::io::stderr(), "trust {} as shown? [y/N] ", escape_for_screen(&file.path));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok() && matches!(line.trim(), "y" | "Y" | "yes")
}
