//! What a workspace's instructions cost every call, and which MCP servers cost more than they are used.

use std::collections::{BTreeMap, BTreeSet};

use brigade_kernel::call::Service;
use brigade_kernel::catalog::{self, Catalog, Day};
use brigade_kernel::context::chain::{own, shared};
use brigade_kernel::context::tokens_est;
use brigade_kernel::units::NanoUsd;
use brigade_kernel::usage::Usage;
use brigade_kernel::view::count;
use brigade_tools::instructions::{Kind, NAME};
use brigade_tools::mcp::{Pin, ServerConfig};

use super::{Report, Standing};
use crate::config::{Config, Env};
use crate::wiring;

/// Lines of an instruction file above which models follow it less.
const MANY_LINES: usize = 500;
/// Tokens of a prompt's instructions above which they are worth a look.
const MANY_TOKENS: u64 = 2_000;
/// Runs in which a server should have been used once.
pub(super) const RUNS: usize = 20;

/// Cost of the chain: the root's part for every call, and the dearest way inwards.
pub(super) fn check(config: &Config, catalog: &Catalog, report: &mut Report) {
    let chain = config.repository.chain();
    let remedy = "brigade doctor --fix proposes a leaner version as a diff";
    if chain.is_empty() {
        return report.ok("instructions", format!("no {NAME}"));
    }
    for file in config.repository.found.files.iter().filter(|file| file.kind == Kind::Instructions) {
        let lines = file.text.lines().count();
        if lines > MANY_LINES {
            let found = format!("{} has {lines} lines: above {MANY_LINES} models follow less of it", file.path);
            report.bad(Standing::Warning, "instructions", found, remedy);
        }
    }
    let root = shared(&chain).map_or(0, |shown| tokens_est(shown.text.len()));
    let price = |tokens: u64| match on_planner(config, catalog, tokens) {
        Some(usd) => format!(", {usd} a call on {}, uncached", planner(config)),
        None => String::new(),
    };
    let mut found = vec![(root, format!("{NAME} of the root: about {root} tokens in every call of planner and executors{}", price(root)))];
    for file in chain.iter().filter(|file| !file.folder().is_empty()) {
        let inside: u64 = own(&chain, [file.folder().to_owned()].iter()).iter().map(|shown| tokens_est(shown.text.len())).sum();
        found.push((
            root + inside,
            format!("for files in {}: about {} tokens in all, with what stands around it", file.folder(), root + inside),
        ));
    }
    for (tokens, words) in found {
        match tokens > MANY_TOKENS {
            true => report.bad(Standing::Warning, "instructions", format!("{words}; above {MANY_TOKENS} tokens"), remedy),
            false => report.ok("instructions", words),
        }
    }
}

fn planner(config: &Config) -> String {
    config.policy.tier(config.policy.planner()).map_or_else(String::new, |bound| bound.model.to_string())
}

fn on_planner(config: &Config, catalog: &Catalog, tokens: u64) -> Option<NanoUsd> {
    let model = &config.policy.tier(config.policy.planner())?.model;
    let found = catalog.lookup(model, Day::of(brigade_runtime::Clock::start().now())).ok()?;
    Some(catalog::cost(found.price, &Usage { input_tokens: tokens, ..Usage::default() }, Service::Default))
}

/// How often servers were called lately.
#[derive(Debug, Default)]
pub(super) struct Lately {
    runs: usize,
    /// Runs in which a server was called.
    used: BTreeMap<String, usize>,
}

impl Lately {
    /// What the last runs of the home called; nothing where there is no journal.
    pub(super) fn of(env: &Env) -> Self {
        let mut lately = Self::default();
        let there = wiring::home_dir(env).is_ok_and(|home| home.join("journal.sqlite").exists());
        let Some(home) = Some(()).filter(|()| there).and_then(|()| wiring::open_home(env).ok()) else { return lately };
        for (run, _) in home.runs().unwrap_or_default().into_iter().take(RUNS) {
            // A damaged run is told of by the journal's own check.
            let Ok(called) = brigade_runtime::mcp::called_in(&*home.journal(), &run) else { continue };
            lately.runs += 1;
            for server in called {
                *lately.used.entry(server).or_default() += 1;
            }
        }
        lately
    }

    fn used(&self, server: &str) -> usize {
        self.used.get(server).copied().unwrap_or_default()
    }

    /// Whether there were runs enough to say that a server is not used.
    pub(super) fn idle(&self, server: &str) -> bool {
        self.runs >= RUNS && self.used(server) == 0
    }
}

/// What a trusted server costs each call of a subtask that joins it, and how often one did.
pub(super) fn server(config: &ServerConfig, pin: &Pin, lately: &Lately, report: &mut Report) {
    let check = format!("mcp {}", config.name);
    let offered: Vec<_> =
        pin.tools.iter().filter(|tool| config.tools.as_ref().is_none_or(|allowed| allowed.contains(&tool.name))).collect();
    let tokens: usize = offered.iter().map(|tool| tool.tokens(&config.name)).sum();
    let tools = count(offered.len() as u64, "tool", "tools");
    let words = format!("trusted with {tools}, about {tokens} tokens in every call of a subtask that joins it");
    if lately.idle(&config.name) {
        let remedy = format!("leave it out: enabled = false in [mcp_servers.{}]; brigade doctor --fix=config proposes that", config.name);
        return report.bad(Standing::Warning, &check, format!("{words}; not used in the last {RUNS} runs"), remedy);
    }
    let runs = count(lately.runs as u64, "run", "runs");
    report.ok(&check, format!("{words}; used in {} of the last {runs}", lately.used(&config.name)));
}

/// Servers that were not used lately.
pub(super) fn idle<'a>(servers: impl Iterator<Item = &'a String>, lately: &Lately) -> BTreeSet<String> {
    servers.filter(|server| lately.idle(server)).cloned().collect()
}
