//! `brigade answer`: a person's word on what waits in the inbox.

use std::io::Write as _;

use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Ask, Reply, Run};
use brigade_runtime::Home;
use brigade_runtime::commands::{Command, Delivered, deliver};

use crate::commands::inbox::waiting;
use crate::commands::run::run_id;
use crate::exit::{Exit, Failure};
use crate::{session, standing, wiring};

/// Longest answer, in bytes.
const TEXT_LIMIT: usize = 64 << 10;

/// Answer what waits for a person.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// RUN/ITEM as `brigade inbox` shows it; ITEM alone when one run has open items
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// Everything that is open
    #[arg(long)]
    all: bool,
    /// Of `--all`, only these: ask = 'failed'
    #[arg(long = "where", value_name = "EXPR", requires = "all")]
    filter: Option<String>,
    #[command(flatten)]
    word: Word,
}

/// Exactly one of three.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Word {
    /// Take it as it is; yes
    #[arg(long)]
    approve: bool,
    /// Do not; no
    #[arg(long)]
    reject: bool,
    /// An answer, or how to go about another try
    #[arg(long, value_name = "T")]
    text: Option<String>,
}

/// Does it.
///
/// # Errors
/// Exit 2 for what is not there or was answered before.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let reply = reply(&args.word)?;
    let home = wiring::open_home(&wiring::env())?;
    let chosen = match &args.id {
        Some(id) => vec![one(&home, id)?],
        None => {
            let wanted = args.filter.as_deref().map(only).transpose()?;
            let items = |run: &Run| {
                let fits = run.state().inbox.iter().filter(|(_, item)| wanted.is_none_or(|ask| item.ask == ask));
                (run.state().run().clone(), fits.map(|(no, _)| *no).collect::<Vec<_>>())
            };
            waiting(&home)?.iter().map(items).filter(|(_, items)| !items.is_empty()).collect()
        }
    };
    if chosen.is_empty() {
        return Err(Failure::usage("nothing that was asked for waits for a person; `brigade inbox` lists what does"));
    }
    for (id, items) in chosen {
        let commands = items.iter().map(|&item| Command::Answer { item, reply: reply.clone() }).collect();
        let fits = |run: &Run| items.iter().try_for_each(|item| is_open(run, *item));
        let delivered = deliver(&home, &id, commands, fits)?;
        for item in &items {
            let _ = writeln!(std::io::stdout(), "answered {id}/{item}");
        }
        if let Delivered::Here(_) = delivered {
            let _ = writeln!(std::io::stderr(), "go on with: brigade resume {id}");
        }
    }
    Ok(Exit::Done)
}

fn reply(word: &Word) -> Result<Reply, Failure> {
    Ok(match (&word.text, word.approve) {
        (Some(text), _) if text.trim().is_empty() => {
            return Err(Failure::usage("--text is empty: say something, or use --approve or --reject"));
        }
        (Some(text), _) if text.len() > TEXT_LIMIT => return Err(Failure::usage(format!("--text is over {TEXT_LIMIT} bytes: shorten it"))),
        (Some(text), _) => Reply::Text { text: text.clone() },
        (None, true) => Reply::Approve,
        (None, false) => Reply::Reject,
    })
}

fn is_open(run: &Run, item: u32) -> Result<(), String> {
    let (state, id) = (run.state(), run.state().run());
    if state.inbox.contains_key(&item) {
        return Ok(());
    }
    if item == 0 || item > state.last_item {
        return Err(format!("run {id} has no inbox item {item}; `brigade inbox` lists what waits"));
    }
    Err(format!("item {item} of run {id} was answered before"))
}

/// `RUN/ITEM`, or `ITEM` of the only run that waits.
fn one(home: &Home, text: &str) -> Result<(RunId, Vec<u32>), Failure> {
    let number = |text: &str| {
        text.trim_start_matches('#')
            .parse::<u32>()
            .map_err(|_| Failure::usage(format!("{text:?} is not an item: give RUN/ITEM as `brigade inbox` shows it")))
    };
    if let Some((id, item)) = text.split_once('/') {
        let (id, item) = (run_id(id)?, number(item)?);
        session::start_of(&*home.journal(), &id)?;
        is_open(&standing::fold(home, &id)?, item).map_err(Failure::usage)?;
        return Ok((id, vec![item]));
    }
    let item = number(text)?;
    let waiting = waiting(home)?;
    match waiting.as_slice() {
        [] => Err(Failure::usage("nothing waits for a person")),
        [run] => is_open(run, item).map(|()| (run.state().run().clone(), vec![item])).map_err(Failure::usage),
        several => {
            let ids: Vec<_> = several.iter().map(|r| r.state().run().as_str()).collect();
            Err(Failure::usage(format!("item {item} of which run? Give RUN/{item}; items are open in {}", ids.join(", "))))
        }
    }
}

/// The one filter there is: `ask = 'KIND'`.
fn only(expression: &str) -> Result<Ask, Failure> {
    let unsupported = || Failure::usage(format!("not supported yet: --where {expression:?}; only ask = 'KIND' is, e.g. ask = 'failed'"));
    let (field, value) = expression.split_once('=').ok_or_else(unsupported)?;
    let value = value.trim_start_matches('=').trim().trim_matches(['\'', '"']);
    if field.trim() != "ask" {
        return Err(unsupported());
    }
    serde_json::from_value(value.into()).map_err(|_| unsupported())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_understood_or_refused_by_name() {
        assert_eq!(only("ask = 'failed'").unwrap(), Ask::Failed);
        assert_eq!(only("ask == \"approve\"").unwrap(), Ask::Approve);
        for odd in ["subtask = 'a'", "ask", "ask = 'nothing'", "ask = 'failed' or ask = 'review'"] {
            assert!(only(odd).unwrap_err().message.contains("not supported yet"), "{odd}");
        }
    }
}
