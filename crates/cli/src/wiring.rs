//! The parts put together: configuration, catalog, providers, home. One readable function, never a global.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brigade_kernel::call::Service;
use brigade_kernel::catalog::{Catalog, Day};
use brigade_kernel::ids::ModelRef;
use brigade_kernel::plan::Plan;
use brigade_kernel::policy::{Policy, Rung};
use brigade_kernel::run;
use brigade_models::{Endpoint, Http, Model, Secret};
use brigade_runtime::gates::Gates;
use brigade_runtime::{Agents, Clock, Home, Mcp, Models, Shared, Treasury};
use brigade_tools::agent::{self, Agent, AgentConfig};
use brigade_tools::mcp::Pins;

use crate::config::{self, Config, Dialect, Env, Flag, Sources};
use crate::exit::{Failure, chain};

/// The process's variables.
pub fn env() -> Env {
    std::env::vars().collect()
}

/// The catalog and effective configuration for a workspace.
///
/// # Errors
/// Exit 2 with every fault and its place.
pub fn configure(flags: &[Flag], env: &Env, workspace: Option<&Path>) -> Result<(Config, Catalog), Failure> {
    let catalog = Catalog::built_in();
    let rungs: Vec<Rung> = catalog
        .tiers()
        .iter()
        .map(|t| Rung {
            tier: t.tier.clone(),
            model: t.model.clone(),
            effort: t.effort,
            max_context_tokens: t.max_context_tokens.and_then(|n| u32::try_from(n).ok()),
        })
        .collect();
    let now = Clock::start().now();
    let sources = Sources { flags, env: env.clone(), rungs: &rungs, catalog: Some(&catalog), now, ..Sources::default() };
    let config = config::load(sources, workspace)?;
    let catalog = match &config.models_in {
        Some(file) => catalog.with_config(&file.text).map_err(|e| Failure::usage(format!("{}: {e}", file.path.display())))?,
        None => catalog,
    };
    let catalog = config.with_vendors(catalog);
    Ok((config, catalog))
}

/// brigade's folder.
///
/// # Errors
/// Exit 2 when neither `BRIGADE_HOME` nor `HOME` is set.
pub fn home_dir(env: &Env) -> Result<PathBuf, Failure> {
    config::home(env)
        .ok_or_else(|| Failure::usage("neither BRIGADE_HOME nor HOME is set: set BRIGADE_HOME to a folder brigade may write to"))
}

/// The home, opened.
///
/// # Errors
/// Exit 2 with path and remedy.
pub fn open_home(env: &Env) -> Result<Home, Failure> {
    Ok(Home::open(&home_dir(env)?)?)
}

/// Clients for every configured provider.
///
/// # Errors
/// Exit 2 for an address that cannot be one.
pub fn models(config: &Config, env: &Env) -> Result<Models, Failure> {
    let mut models: Models = HashMap::new();
    for (name, provider) in &config.providers {
        let dialect = match provider.dialect {
            Dialect::Responses => brigade_models::Dialect::Responses,
            Dialect::Chat => brigade_models::Dialect::Chat,
        };
        let key = provider.key(env).map(Secret::new);
        let mut endpoint = Endpoint::new(name, dialect, &provider.base_url, key);
        endpoint.capabilities.batch = provider.batches();
        endpoint.capabilities.compaction = provider.compaction.unwrap_or(endpoint.capabilities.compaction);
        let http = Http::new(endpoint).map_err(|e| Failure::usage(chain(&e)))?;
        let model: Arc<dyn Model> = Arc::new(http);
        models.insert(name.clone(), model);
    }
    Ok(models)
}

/// Programs for every configured agent.
pub fn agents(config: &Config, env: &Env) -> Agents {
    let agent = |(name, agent): (&String, &AgentConfig)| (name.clone(), Arc::new(Agent::new(agent.clone(), env.clone())));
    config.agents.iter().map(agent).collect()
}

/// MCP servers of the configuration and of the workspace's `.mcp.json`, with what was pinned of them.
/// A server of the configuration hides one of the workspace's that has its name.
///
/// # Errors
/// Exit 2 for a list of pins that cannot be read.
pub fn mcp(config: &Config, env: &Env, workspace: Option<&Path>) -> Result<Mcp, Failure> {
    let mut servers = workspace.map(|workspace| brigade_tools::mcp::import(workspace).servers).unwrap_or_default();
    servers.extend(config.mcp_servers.clone());
    if servers.is_empty() {
        return Ok(Mcp::default());
    }
    let pins = Pins::read(&home_dir(env)?).map_err(|e| Failure::usage(chain(&e)))?;
    Ok(Mcp::new(servers, pins, env.clone()))
}

/// What runs of this process share.
///
/// # Errors
/// As [`models`] and [`open_home`].
pub fn shared(config: &Config, catalog: Catalog, env: &Env, mcp: Mcp) -> Result<Shared, Failure> {
    let (home, clock) = (open_home(env)?, Clock::start());
    // One address and one key are one account, whatever the provider is called.
    let account = |(name, provider): (&String, &config::Provider)| {
        (name.clone(), format!("{}\n{}", provider.base_url, provider.env_key.as_deref().unwrap_or_default()))
    };
    let gates = Gates::shared(&home.dir().join("gates"), config.providers.iter().map(account).collect());
    Ok(Shared {
        mcp,
        models: Arc::new(models(config, env)?),
        agents: Arc::new(agents(config, env)),
        treasury: Treasury::of(&home, clock),
        home,
        catalog: Arc::new(catalog),
        gates,
        clock,
    })
}

/// Refuses, before anything is spent, subtasks that show images to tiers that take none.
///
/// # Errors
/// Exit 2, by subtask and field, with the remedy.
pub fn check_sight(plan: &Plan, policy: &Policy, catalog: &Catalog, mcp: &Mcp) -> Result<(), Failure> {
    let faults: Vec<String> = run::unseen(plan, policy, catalog, &mcp.specs()).iter().map(ToString::to_string).collect();
    if faults.is_empty() { Ok(()) } else { Err(Failure::usage(faults.join("\n"))) }
}

/// Refuses images of a request where the planner takes none.
///
/// # Errors
/// Exit 2 with the remedy.
pub fn check_planner_sees(policy: &Policy, catalog: &Catalog) -> Result<(), Failure> {
    let Some(blind) = policy.tier(policy.planner()).map(|tier| &tier.model).filter(|model| !run::sees(model, policy, catalog)) else {
        return Ok(());
    };
    Err(Failure::usage(format!(
        "--image: the planner's model {blind} takes no images: give [roles] planner a tier whose model does (`brigade models --json`), \
         or say that it does: [models.\"{blind}\"] supports = [\"vision\"]"
    )))
}

/// What will not be served as asked for, in words for people.
///
/// # Errors
/// Exit 2 when `--fast` was asked for and no model has a price for it.
pub fn services(plan: Option<&Plan>, policy: &Policy, catalog: &Catalog, today: Day) -> Result<Vec<String>, Failure> {
    let mut notices = Vec::new();
    let without = |service| {
        let offers = |model: &ModelRef| catalog.priced(model, today).is_ok_and(|found| found.price.offers(service));
        let plain = models_of(policy).filter(|model| policy.agent(model).is_some() || !offers(model));
        plain.map(ToString::to_string).collect::<std::collections::BTreeSet<String>>()
    };
    let names = |models: &std::collections::BTreeSet<String>| models.iter().cloned().collect::<Vec<_>>().join(", ");
    if policy.service.fast {
        let plain = without(Service::Priority);
        if models_of(policy).all(|model| plain.contains(model.as_str())) {
            return Err(Failure::usage(format!("--fast: no priority price is listed for {}; run without it", names(&plain))));
        }
        if !plain.is_empty() {
            notices.push(format!("--fast: no priority price is listed for {}: served as usual", names(&plain)));
        }
    }
    if plan.is_some_and(|plan| plan.subtasks.iter().any(|subtask| subtask.flex)) {
        let plain = without(Service::Flex);
        if !plain.is_empty() {
            notices.push(format!("flex: no flex price is listed for {}: served as usual, at the usual price", names(&plain)));
        }
    }
    if policy.service.batch {
        let plain = without(Service::Batch);
        if !plain.is_empty() {
            notices.push(format!("service.batch: no batch price is listed for {}: its rows go one by one", names(&plain)));
        }
        let elsewhere: std::collections::BTreeSet<String> = models_of(policy)
            .map(|model| model.provider().to_owned())
            .filter(|provider| !policy.service.batch_at.contains(provider) && !policy.agents.contains_key(provider))
            .collect();
        for provider in elsewhere {
            notices.push(format!(
                "service.batch: provider {provider} is not known to have a Batch API, its rows go one by one; if it has one: [providers.{provider}] batch = true"
            ));
        }
    }
    Ok(notices)
}

/// Every model that a policy may call.
pub fn models_of(policy: &Policy) -> impl Iterator<Item = &ModelRef> {
    policy.ladder.iter().filter_map(|t| policy.tier(t)).flat_map(|t| std::iter::once(&t.model).chain(&t.alternates))
}

/// Refuses a model without a price, or past its retirement.
///
/// # Errors
/// Exit 2, by name, with the remedy.
pub fn check_prices(policy: &Policy, catalog: &Catalog, today: Day) -> Result<(), Failure> {
    models_of(policy).try_for_each(|model| catalog.lookup(model, today).map(drop)).map_err(|refusal| Failure::usage(refusal.to_string()))
}

/// Refuses, before anything is spent, a model without a price, past its retirement, or without a way to reach it.
///
/// # Errors
/// Exit 2, by name, with the remedy.
pub fn check_models(config: &Config, catalog: &Catalog, env: &Env, today: Day) -> Result<(), Failure> {
    for model in models_of(&config.policy) {
        catalog.lookup(model, today).map_err(|refusal| Failure::usage(refusal.to_string()))?;
        if let Some(agent) = config.agents.get(model.provider()) {
            check_agent(agent, env)?;
            continue;
        }
        let provider = config.providers.get(model.provider()).ok_or_else(|| {
            Failure::usage(format!(
                "model {model} names provider {:?}, which is not configured: add [providers.{}]",
                model.provider(),
                model.provider()
            ))
        })?;
        if !provider.usable(env) {
            let variable = provider.env_key.as_deref().unwrap_or_default();
            return Err(Failure::usage(format!(
                "no key for {}: set {variable} to your API key,\n\
                 or bind the tiers to a local server: [providers.local] and [tiers.…] in {}/config.toml (`brigade init` writes one),\n\
                 or see it work without either: brigade run --offline fix-failing-test",
                model.provider(),
                config::home(env).unwrap_or_default().display(),
            )));
        }
    }
    Ok(())
}

/// Refuses an agent that cannot be started.
fn check_agent(agent: &AgentConfig, env: &Env) -> Result<(), Failure> {
    let name = &agent.name;
    if let Some(variable) = agent.missing_key(env) {
        return Err(Failure::usage(format!("no key for {name}: set {variable}, which providers.{name}.env_key names")));
    }
    match agent::find(agent.program(), env.get("PATH").map_or("", String::as_str)) {
        Some(_) => Ok(()),
        None => Err(Failure::usage(format!(
            "the program of providers.{name} is not there: {:?} is not on PATH; install it, or name its path in command",
            agent.program()
        ))),
    }
}
