//! What `brigade init` writes about agents that are on this machine: where no API key is set and one is logged in, the
//! tiers are bound to its models; else it stands there as a comment.

use std::fmt::Write as _;

use brigade_kernel::catalog::{Catalog, Day};
use brigade_tools::agent::Seen;

/// The sections of an agent, and the rungs they bind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// Of `[providers.NAME]` and, where it is to be used, the ladder and its tiers.
    pub text: String,
    /// Whether a run will use it.
    pub used: bool,
}

/// What is offered of the agents seen. `key`: an API key is set, so that runs work without them.
pub(super) fn offer(seen: &[Seen], key: bool, catalog: &Catalog, today: Day) -> Option<Offer> {
    let ready = seen.iter().find_map(|agent| {
        let rungs = rungs(agent, catalog, today);
        (!key && agent.login.is_some() && !rungs.is_empty()).then_some((agent, rungs))
    });
    let mut text = String::new();
    for agent in seen {
        let chosen = ready.as_ref().filter(|(chosen, _)| *chosen == agent);
        let mark = if chosen.is_some() { "" } else { "# " };
        let login = agent.login.as_ref().map_or_else(|| "not logged in".to_owned(), |by| format!("logged in by {by}"));
        // The path of a login is the user's own; a comment holds one line of it at most.
        let login: String = login.chars().filter(|c| !c.is_control()).take(200).collect();
        let billing = if agent.by_key { "tokens" } else { "quota" };
        let _ = writeln!(
            text,
            "\n# {0} is on this machine, {login}.\n{mark}[providers.{0}]\n{mark}dialect = \"agent\"\n{mark}agent = \"{0}\"\n{mark}billing = \"{billing}\"",
            agent.agent
        );
    }
    if let Some((agent, rungs)) = &ready {
        for (tier, model) in rungs {
            let _ = writeln!(text, "[tiers.{tier}]\nmodel = \"{}/{model}\"", agent.agent);
        }
    }
    // Above every section: a key of the file itself.
    let ladder = ready.as_ref().map(|(_, rungs)| {
        let tiers: Vec<String> = rungs.iter().map(|(tier, _)| format!("\"{tier}\"")).collect();
        format!("ladder = [{}]\n", tiers.join(", "))
    });
    (!seen.is_empty()).then(|| Offer { used: ready.is_some(), text: ladder.unwrap_or_default() + &text })
}

/// Tiers whose usual model the agent runs, by the list of its own vendor.
fn rungs(agent: &Seen, catalog: &Catalog, today: Day) -> Vec<(String, String)> {
    let runs = |tier: &&brigade_kernel::catalog::TierDefault| {
        let listed = catalog.model(&tier.model).is_some_and(|model| agent.agent != "codex" || model.codex.is_some());
        tier.model.provider() == agent.vendor && listed && catalog.lookup(&tier.model, today).is_ok()
    };
    catalog.tiers().iter().filter(runs).map(|tier| (tier.tier.to_string(), tier.model.model().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_tools::agent::Found;

    fn seen(agent: &'static str, vendor: &'static str, login: Option<&str>) -> Seen {
        let found = Found { program: "/opt/x".into(), shown: "/opt/x".into() };
        Seen { agent, vendor, found, login: login.map(str::to_owned), by_key: false }
    }

    fn today() -> Day {
        Day::parse("2026-11-21").expect("a day")
    }

    #[test]
    fn a_login_without_a_key_binds_the_tiers_to_models_its_vendor_lists_for_it() {
        let catalog = Catalog::built_in();
        let agents = [seen("claude", "anthropic", Some("x")), seen("codex", "openai", Some("auth.json"))];
        let offer = offer(&agents, false, &catalog, today()).expect("there are agents");
        assert!(offer.used);
        let config: toml::Table = offer.text.parse().expect("it is TOML");
        assert_eq!(config["providers"]["codex"]["billing"].as_str(), Some("quota"));
        assert!(config["providers"].get("claude").is_none(), "no tier is one of its vendor's");
        let ladder = config["ladder"].as_array().expect("a list");
        assert!(!ladder.is_empty());
        for tier in ladder {
            let model = config["tiers"][tier.as_str().expect("a name")]["model"].as_str().expect("a model");
            let name = brigade_kernel::ids::ModelRef::new(&model.replace("codex/", "openai/")).expect("a model");
            assert!(catalog.model(&name).is_some_and(|row| row.codex.is_some()), "{model}");
        }
    }

    #[test]
    fn with_a_key_or_without_a_login_agents_are_only_spoken_of() {
        let catalog = Catalog::built_in();
        for (login, key) in [(Some("auth.json"), true), (None, false)] {
            let offer = offer(&[seen("codex", "openai", login)], key, &catalog, today()).expect("there is one");
            let config: toml::Table = offer.text.parse().expect("it is TOML");
            assert!(!offer.used && config.is_empty() && offer.text.contains("# [providers.codex]"), "{}", offer.text);
        }
        assert_eq!(offer(&[], false, &catalog, today()), None);
    }
}
