//! `brigade config show`: every effective value, and where it came from. No secret is among them.

use std::path::PathBuf;

use brigade_kernel::policy::Setting;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::config::agents::{Effect, Line};
use crate::exit::{Exit, Failure};
use crate::screen::{Column, Table};
use crate::{screen, wiring};

/// Show the effective configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Every effective value
    Show {
        /// And where each came from
        #[arg(long)]
        origin: bool,
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
        /// The workspace whose `.brigade/config.toml` counts
        #[arg(short = 'C', value_name = "DIR", default_value = ".")]
        directory: PathBuf,
    },
}

/// Does it.
///
/// # Errors
/// Exit 2 with every fault and its place.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let What::Show { origin, json, directory } = &args.what;
    let workspace = directory.canonicalize().map_err(|e| Failure::usage(format!("-C {}: {e}", directory.display())))?;
    let env = wiring::env();
    let (config, _) = wiring::configure(&[], &env, Some(&workspace))?;
    for notice in &config.notices {
        screen::remark(&format!("note: {notice}"));
    }
    let rows = config.rows(&env);
    if *json {
        let value = |row: &crate::config::Row| match origin {
            true => json!({"value": row.value, "origin": row.origin}),
            false => Value::from(row.value.clone()),
        };
        let mut all: Map<String, Value> = rows.iter().map(|row| (row.key.clone(), value(row))).collect();
        if *origin {
            let line =
                |line: &Line| json!({"line": format!("{}:{}", line.path, line.line), "says": line.says, "does": does(line, &config)});
            all.insert("workspace_lines".to_owned(), config.lines.iter().map(line).collect());
        }
        screen::print(&screen::json_line(&all));
        return Ok(Exit::Done);
    }
    let headings = ["key", "value", "from"].map(|heading| (heading, Column::Whole));
    let mut table = Table::new(&headings[..if *origin { 3 } else { 2 }]);
    rows.into_iter().for_each(|row| table.row([row.key, row.value, row.origin]));
    screen::print(&table.shown());
    if *origin && !config.lines.is_empty() {
        let mut table = Table::new(&[("line", Column::Whole), ("says", Column::Text(60)), ("does", Column::Whole)]);
        for line in &config.lines {
            for (n, does) in does(line, &config).into_iter().enumerate() {
                let (at, says) = if n == 0 { (format!("{}:{}", line.path, line.line), line.says.clone()) } else { Default::default() };
                table.row([at, says, does]);
            }
        }
        screen::print("\n");
        screen::print(&table.shown());
    }
    Ok(Exit::Done)
}

/// What a line of the workspace's files does in this configuration, in words.
fn does(line: &Line, config: &Config) -> Vec<String> {
    let word = |effect: &Effect| match effect {
        Effect::Sets(key, value) => {
            let value = match value {
                Setting::Text(text) if key.starts_with("additions.") => format!("({} bytes)", text.len()),
                Setting::Text(text) => text.clone(),
                other => other.to_string(),
            };
            let place = format!("{}:{}", config.repository.root.join(&line.path).display(), line.line);
            let origin = config.origin(key).to_string();
            // Texts and grounds add up over lines: the last of them is where the key came from.
            let adds = key.starts_with("additions.") || key == "escalation.only_on";
            let ours =
                origin == place || (adds && config.lines.iter().any(|other| origin.ends_with(&format!("{}:{}", other.path, other.line))));
            let hidden = if ours { String::new() } else { format!(" (hidden: {origin} says {key} too)") };
            format!("{key} = {value}{hidden}")
        }
        Effect::Always(how) => format!("always so: {how}"),
        Effect::Refused(why) => format!("refused: {why}"),
        Effect::NotUnderstood(why) => format!("nothing, not understood: {why}"),
    };
    line.effects.iter().map(word).collect()
}
