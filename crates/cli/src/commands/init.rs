//! `brigade init`: a commented `config.toml` to start from. What is there already stays as it is.

mod agents;

use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

use brigade_kernel::catalog::{Catalog, Day};
use brigade_tools::agent::seen;

use crate::exit::{Exit, Failure};
use crate::{screen, wiring};

/// Write a commented config.toml into BRIGADE_HOME, unless there is one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Start a workspace from a template (not supported yet)
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
}

/// Does it.
///
/// # Errors
/// Exit 2 when the home cannot be written.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    if args.template.is_some() {
        return Err(Failure::usage("not supported yet: init --template"));
    }
    let env = wiring::env();
    let home = wiring::home_dir(&env)?;
    let path = home.join("config.toml");
    let fault =
        |e: std::io::Error| Failure::usage(format!("cannot write {}: {e}; set BRIGADE_HOME to a folder you may write to", path.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(&home).map_err(fault)?;
    let catalog = Catalog::built_in();
    let key = env.get("OPENAI_API_KEY").is_some_and(|key| !key.trim().is_empty());
    let offer = agents::offer(&seen(&env), key, &catalog, Day::of(brigade_runtime::Clock::start().now()));
    let text = template(&catalog, offer.as_ref().map_or("", |offer| &offer.text));
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fault)?,
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            screen::remark(&format!("{} is there already and stays as it is", path.display()));
            return Ok(Exit::Done);
        }
        Err(e) => return Err(fault(e)),
    }
    screen::print(&format!("{}\n", brigade_tools::escape_for_screen(&path.display().to_string())));
    screen::remark(match &offer {
        Some(offer) if offer.used => "written; its tiers are bound to the agent that is logged in here. Next: brigade doctor",
        _ => "written; all of it is commented out. Next: brigade doctor",
    });
    Ok(Exit::Done)
}

/// Every setting in it is a comment and says what holds without it, but for the local server.
fn template(catalog: &Catalog, agents: &str) -> String {
    let mut tiers = String::new();
    for tier in catalog.tiers() {
        let _ = writeln!(tiers, "# [tiers.{}]\n# model = \"{}\"", tier.tier, tier.model);
    }
    format!("{TITLE}{agents}{HEAD}{tiers}{TAIL}")
}

const TITLE: &str = r#"# brigade's configuration. What is commented out shows the defaults; `brigade config show --origin` shows what holds.
# Keys are never written here: a provider names the variable that holds its key.
"#;

const HEAD: &str = r#"
# [providers.openai]
# dialect = "responses"            # or "chat"
# base_url = "https://api.openai.com/v1"
# env_key = "OPENAI_API_KEY"

# A server on this machine needs no key. Its models need a price: 0.
# [providers.local]
# dialect = "chat"
# base_url = "http://localhost:8080/v1"
# [models."local/small"]
# input = 0
# output = 0

# The tiers, from the cheapest up, and the model of each, as "PROVIDER/MODEL" (`brigade models` lists them).
"#;

const TAIL: &str = r#"
# Who plans and who reviews.
# [roles]
# planner = "flagship"
# reviewer = "flagship"
# executor = "none"                   # a tier: where executors start, instead of the table below

# What may raise a tier, and where work starts at most.
# [escalation]
# start_at_most = "none"
# only_on = "any"                     # or a list: check, form, review, unsure, length, turns, context, refusal, complexity, conflict

# Where a type of work starts, instead of the built-in table.
# [routes]
# classify = "nano"

# [limits]
# max_concurrent_subagents = "auto"   # or a number
# max_attempts = 4
# max_replans = 3

# [budget]
# run_usd = 5.0                       # a run pauses here; raise it with resume --max-budget-usd
# day_usd = "none"                    # so do all runs together that day, e.g. 20.0
# preset = "none"                     # "small": 100,000 planner and 50,000 executor tokens a run
# on_exhausted = "pause"              # or "cheaper", "finish_partial": what happens when a cap has no room
# confirm_above_usd = "none"          # ask before a plan that is expected to cost more starts

# What a subscription allows: so many units in a rolling window; a call of the flagship is one unit, of others its weight.
# [quota]
# window = "none"                     # e.g. "5h"
# units = "none"                      # e.g. 300

# [service]
# batch = false                       # rows without tools travel by the Batch API: half the price, up to a day

# MCP servers that subtasks may join by name are sections [mcp_servers.NAME] with command and args, or url;
# `brigade mcp trust NAME` pins one as it is.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, File, Sources};
    use brigade_kernel::policy::Rung;

    fn rows(text: &str) -> Vec<config::Row> {
        let catalog = Catalog::built_in();
        let rung = |t: &brigade_kernel::catalog::TierDefault| Rung {
            tier: t.tier.clone(),
            model: t.model.clone(),
            effort: t.effort,
            max_context_tokens: t.max_context_tokens.and_then(|n| u32::try_from(n).ok()),
        };
        let rungs: Vec<Rung> = catalog.tiers().iter().map(rung).collect();
        let file = File { path: "config.toml".into(), text: text.to_owned() };
        catalog.with_config(text).expect("its models can be read");
        let sources = Sources { home: Some(file), rungs: &rungs, ..Sources::default() };
        let config = config::resolve(&sources, &|_| Err("no prompts here".to_owned())).expect("it can be read");
        config.rows(&config::Env::new())
    }

    #[test]
    fn the_template_says_nothing_and_its_comments_are_the_defaults() {
        let text = template(&Catalog::built_in(), "");
        let plain = |rows: Vec<config::Row>| -> Vec<(String, String)> {
            let kept = rows.into_iter().filter(|r| !r.key.starts_with("providers.local.") && r.key != "routes.classify");
            kept.map(|r| (r.key, r.value)).collect()
        };
        let defaults = plain(rows(""));
        assert_eq!(plain(rows(&text)), defaults);
        let setting = |line: &str| {
            line.starts_with("# [") || line.split_once(" = ").is_some_and(|(key, _)| !key.trim_start_matches("# ").contains(' '))
        };
        let uncommented: Vec<&str> = text.lines().map(|line| if setting(line) { line.trim_start_matches("# ") } else { line }).collect();
        assert!(uncommented.iter().any(|line| line.starts_with("run_usd")), "the test uncomments");
        assert_eq!(plain(rows(&uncommented.join("\n"))), defaults);
    }
}
