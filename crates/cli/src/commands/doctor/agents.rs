//! Agents on this machine: where each lies, its version, whether it is logged in. Nothing is asked of a provider.

use brigade_tools::agent::{self, AgentConfig, Seen};

use super::{Report, Standing};
use crate::config::{Config, Env};
use crate::wiring;

/// The agents that tiers are bound to, and those that could be.
pub(super) async fn agents(config: &Config, env: &Env, report: &mut Report) {
    let seen = agent::seen(env);
    for (name, agent) in &config.agents {
        let bound = wiring::models_of(&config.policy).any(|model| model.provider() == name);
        configured(name, agent, bound, &seen, env, report).await;
    }
    let used = |seen: &&Seen| config.agents.values().any(|agent| agent.agent.as_deref() == Some(seen.agent));
    for found in seen.iter().filter(|seen| !used(seen)) {
        let what = describe(&found.found, login(Some(found))).await;
        report.ok(&format!("agent {}", found.agent), format!("{what}; it could do the work: docs/agents.md"));
    }
}

async fn configured(name: &str, agent: &AgentConfig, bound: bool, seen: &[Seen], env: &Env, report: &mut Report) {
    let check = format!("provider {name}");
    // What no tier is bound to cannot keep a run from working.
    let grave = if bound { Standing::Fault } else { Standing::Warning };
    let Some(found) = agent::find(agent.program(), env.get("PATH").map_or("", String::as_str)) else {
        let remedy = format!("install it, or name its path in command of [providers.{name}]");
        return report.bad(grave, &check, format!("{:?} is not on PATH", agent.program()), remedy);
    };
    if let Some(variable) = agent.missing_key(env) {
        return report.bad(grave, &check, format!("no key: {variable} is not set"), format!("set {variable}"));
    }
    let known = seen.iter().find(|seen| agent.agent.as_deref() == Some(seen.agent));
    let what = describe(&found, login(known)).await;
    match known {
        Some(seen) if seen.login.is_none() && !agent.has_endpoint() => {
            report.bad(Standing::Warning, &check, what, format!("log in: {} login, or set the variable of its key", seen.agent));
        }
        _ => report.ok(&check, what),
    }
}

fn login(seen: Option<&Seen>) -> Option<String> {
    let seen = seen?;
    Some(seen.login.as_ref().map_or_else(|| "not logged in".to_owned(), |by| format!("logged in by {by}")))
}

async fn describe(found: &agent::Found, login: Option<String>) -> String {
    let version = agent::version(found).await.unwrap_or_else(|why| format!("version unknown: {why}"));
    let place = found.program.display().to_string();
    [Some(version), Some(place), login].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
