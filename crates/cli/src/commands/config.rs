//! `brigade config show`: every effective value, and where it came from. No secret is among them.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

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
        let all: Map<String, Value> = rows.iter().map(|row| (row.key.clone(), value(row))).collect();
        screen::print(&screen::json_line(&all));
        return Ok(Exit::Done);
    }
    let headings = ["key", "value", "from"].map(|heading| (heading, Column::Whole));
    let mut table = Table::new(&headings[..if *origin { 3 } else { 2 }]);
    rows.into_iter().for_each(|row| table.row([row.key, row.value, row.origin]));
    screen::print(&table.shown());
    Ok(Exit::Done)
}
