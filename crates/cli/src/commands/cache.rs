//! `brigade cache`: results that are kept for equal work, in this run's home: listed, or forgotten.

use std::io::Write as _;

use brigade_kernel::plan::{TaskType, parse_span};
use brigade_kernel::time::Timestamp;
use brigade_kernel::view::{count, rfc3339};
use brigade_runtime::Clock;
use brigade_runtime::reuse::{self, Entry};

use crate::exit::{Exit, Failure};
use crate::screen::{Column, Table};
use crate::wiring;

/// What is kept of finished work, so that equal work is not paid twice.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List what is kept, newest first
    Ls {
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Forget what is kept; the runs themselves stay
    Clear {
        /// Only what is older: 30d, 12h, 90m
        #[arg(long, value_name = "AGE")]
        older_than: Option<String>,
        /// Only results of this type of subtask, or `review`
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
    },
}

/// Does it.
///
/// # Errors
/// Exit 2 for an age or a type that is none.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.what {
        What::Ls { json } => ls(*json),
        What::Clear { older_than, kind } => clear(older_than.as_deref(), kind.as_deref()),
    }
}

fn ls(json: bool) -> Result<Exit, Failure> {
    let home = wiring::open_home(&wiring::env())?;
    let entries = reuse::entries(&*home.journal())?;
    let mut out = std::io::stdout().lock();
    if json {
        for entry in entries.iter().rev() {
            let line = serde_json::json!({
                "work": entry.work, "task_type": entry.kind, "run_id": entry.run, "at": rfc3339(entry.at), "bytes": entry.bytes,
            });
            let _ = writeln!(out, "{line}");
        }
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        ("work", Column::Text(12)),
        ("type", Column::Text(16)),
        ("run", Column::Text(24)),
        ("accepted", Column::Text(24)),
        ("bytes", Column::Number),
    ]);
    for entry in entries.iter().rev() {
        let work = entry.work.chars().take(12).collect();
        table.row([work, entry.kind.clone(), entry.run.to_string(), rfc3339(entry.at), entry.bytes.to_string()]);
    }
    if !table.is_empty() {
        let _ = write!(out, "{}", table.text());
    }
    let _ = writeln!(std::io::stderr(), "{} kept", count(entries.len() as u64, "result", "results"));
    Ok(Exit::Done)
}

fn clear(older_than: Option<&str>, kind: Option<&str>) -> Result<Exit, Failure> {
    let age = older_than.map(|text| {
        parse_span(text).ok_or_else(|| Failure::usage(format!("--older-than {text:?} is not a span: write it like 30d, 12h or 90m")))
    });
    let age = age.transpose()?;
    let kind = kind.map(|name| match TaskType::parse(name) {
        Some(kind) => Ok(kind.as_str()),
        None if name == "review" => Ok("review"),
        None => Err(Failure::usage(format!("--type {name:?} is neither a type of subtask nor `review`"))),
    });
    let kind = kind.transpose()?;
    let home = wiring::open_home(&wiring::env())?;
    let journal = home.journal();
    let now: Timestamp = Clock::start().now();
    let goes = |entry: &Entry| age.is_none_or(|age| now - entry.at >= age) && kind.is_none_or(|kind| entry.kind == kind);
    let (gone, stay): (Vec<Entry>, Vec<Entry>) = reuse::entries(&*journal)?.into_iter().partition(goes);
    reuse::retain(&*journal, &stay)?;
    let _ = writeln!(std::io::stderr(), "{} forgotten, {} kept", count(gone.len() as u64, "result", "results"), stay.len());
    Ok(Exit::Done)
}
