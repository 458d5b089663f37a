//! Layers laid on one another, weakest first: [`resolve`] takes texts and returns values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use brigade_kernel::catalog::{Catalog, Day};
use brigade_kernel::policy::{BudgetPolicy, Fault, Rung, Setting, Settings};

use super::agents::{Effect, Ground, Line};
use super::repository::{Repository, about};
use super::{Config, ConfigError, ConfigErrors, File, Notify, Origin, Sources, env, file, provider};

/// What a workspace may never set, whoever trusts it.
const NEVER: [&str; 8] = ["providers", "trust", "models", "grants", "mcp_servers", "notify", "telemetry", "service"];

type Prompts<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

/// Resolves all layers. `prompt` reads a prompt's file.
///
/// # Errors
/// [`ConfigErrors`] with every fault found, each with its place.
pub fn resolve(sources: &Sources<'_>, prompt: Prompts<'_>) -> Result<Config, ConfigErrors> {
    // What there is without the workspace bounds what it may set.
    let without = lay(sources, prompt, None)?;
    let Some(workspace) = &sources.workspace else { return Ok(without) };
    if !workspace.trusts_any() {
        let mut config = without;
        config.notices.extend(workspace.notices());
        config.repository = workspace.clone();
        return Ok(config);
    }
    let settled = lay(sources, prompt, Some(&Own { workspace, budget: &without.policy.budget, lines: &[], rungs: sources.rungs }))?;
    narrowed(&settled, &without)?;
    let catalog = match (sources.catalog, &settled.models_in) {
        (Some(catalog), None) => catalog.clone(),
        (catalog, models) => {
            let catalog = catalog.cloned().unwrap_or_else(Catalog::built_in);
            // A broken table is told where the catalog is made.
            models.as_ref().and_then(|file| catalog.with_config(&file.text).ok()).unwrap_or(catalog)
        }
    };
    let usable = settled.providers.iter().filter(|(_, provider)| provider.usable(&sources.env)).map(|(name, _)| name.clone());
    let agents = settled.agents.iter().filter(|(_, agent)| agent.missing_key(&sources.env).is_none()).map(|(name, _)| name.clone());
    let providers: BTreeSet<String> = usable.chain(agents).collect();
    let catalog = settled.with_vendors(catalog);
    let ground = Ground { policy: &settled.policy, catalog: &catalog, today: Day::of(sources.now), providers: &providers };
    let (mut lines, roles) = workspace.lines(&ground);
    checked(&mut lines);
    let mut config = match lines.is_empty() {
        true => settled,
        false => lay(sources, prompt, Some(&Own { workspace, budget: &without.policy.budget, lines: &lines, rungs: sources.rungs }))?,
    };
    narrowed(&config, &without)?;
    config.notices.extend(workspace.notices());
    config.notices.extend(about(&lines));
    config.repository = workspace.clone();
    (config.lines, config.roles) = (lines, roles);
    Ok(config)
}

/// A quota is judged as a whole: a shorter window allows as much more as further units do.
fn narrowed(with: &Config, without: &Config) -> Result<(), ConfigErrors> {
    let Some(key) = with.policy.quota.widens(&without.policy.quota) else { return Ok(()) };
    let message = format!("{key}: a workspace may narrow a quota (fewer units, a longer window, larger weights), not widen it");
    Err(ConfigErrors(vec![ConfigError { origin: with.origin(&key).clone(), message }]))
}

/// Values that the gate of configuration does not take make their line a refused one.
fn checked(lines: &mut [Line]) {
    for effect in lines.iter_mut().flat_map(|line| &mut line.effects) {
        if let Effect::Sets(key, value) = effect
            && let Err(fault) = Settings::default().set(key, value)
        {
            *effect = Effect::Refused(fault.to_string());
        }
    }
}

/// The workspace's part of the layers.
struct Own<'a> {
    workspace: &'a Repository,
    /// What it may not exceed.
    budget: &'a BudgetPolicy,
    lines: &'a [Line],
    rungs: &'a [Rung],
}

fn lay(sources: &Sources<'_>, prompt: Prompts<'_>, own: Option<&Own<'_>>) -> Result<Config, ConfigErrors> {
    let mut layers = Layers {
        prompt,
        settings: Settings::default(),
        providers: provider::built_in(),
        servers: BTreeMap::new(),
        notify: Notify::default(),
        origins: BTreeMap::new(),
        errors: Vec::new(),
    };
    let mut models_in = None;
    if let Some(home) = &sources.home {
        for entry in layers.read(home) {
            match entry.key.split_once('.').map_or(entry.key.as_str(), |(section, _)| section) {
                "models" => models_in = Some(home.clone()),
                "mcp_servers" => layers.server(&entry.key, &entry.value, entry.origin),
                "notify" => layers.told(&entry.key, &entry.value, entry.origin),
                _ => layers.set(&entry.key, &entry.value, entry.origin, true),
            }
        }
    }
    if let Some(own) = own {
        layers.lines(own.workspace, own.lines);
        layers.settings_of(own);
    }
    if let Some(url) = sources.env.get("OPENAI_BASE_URL").filter(|url| !url.trim().is_empty()) {
        let origin = Origin::Variable("OPENAI_BASE_URL".to_owned());
        layers.set("providers.openai.dialect", &Setting::from("responses"), origin.clone(), false);
        layers.set("providers.openai.base_url", &Setting::from(url.as_str()), origin, false);
    }
    for found in env::settings(&sources.env) {
        match found {
            env::Found::Set { name, key, value } => layers.set(&key, &value, Origin::Variable(name), false),
            env::Found::Stray { name, message } => layers.refuse(Origin::Variable(name), message),
        }
    }
    for flag in sources.flags {
        layers.set(flag.key, &Setting::from(flag.value.as_str()), Origin::Flag(flag.name), false);
    }
    layers.finish(sources, Vec::new(), models_in)
}

/// Settings as they pile up, weakest layer first.
struct Layers<'a> {
    prompt: &'a dyn Fn(&Path) -> Result<String, String>,
    settings: Settings,
    providers: BTreeMap<String, provider::Draft>,
    servers: BTreeMap<String, brigade_tools::mcp::Draft>,
    notify: Notify,
    origins: BTreeMap<String, Origin>,
    errors: Vec<ConfigError>,
}

impl Layers<'_> {
    fn refuse(&mut self, origin: Origin, message: impl Into<String>) {
        self.errors.push(ConfigError { origin, message: message.into() });
    }

    fn read(&mut self, file: &File) -> Vec<file::Entry> {
        let (entries, mut errors) = file::entries(file);
        self.errors.append(&mut errors);
        entries
    }

    /// `mcp_servers.NAME.FIELD`, from the home's file only: a server is a program, and its tools are grants.
    fn server(&mut self, key: &str, value: &Setting, origin: Origin) {
        let rest = key.strip_prefix("mcp_servers.").and_then(|rest| rest.split_once('.'));
        let taken = match rest {
            Some((name, field)) => {
                self.servers.entry(name.to_owned()).or_default().set(field, value).map_err(|why| format!("{key}: {why}"))
            }
            None => Err(format!("{key} is empty: give command or url")),
        };
        match taken {
            Ok(()) => drop(self.origins.insert(key.to_owned(), origin)),
            Err(message) => self.refuse(origin, message),
        }
    }

    /// `notify.FIELD`, from the home's file only: it names a program.
    fn told(&mut self, key: &str, value: &Setting, origin: Origin) {
        match self.notify.set(key.strip_prefix("notify.").unwrap_or_default(), value) {
            Ok(()) => drop(self.origins.insert(key.to_owned(), origin)),
            Err(message) => self.refuse(origin, message),
        }
    }

    /// What lines of trusted instruction and role files set; texts for one role add up.
    fn lines(&mut self, workspace: &Repository, lines: &[Line]) {
        let mut texts: BTreeMap<&str, String> = BTreeMap::new();
        for line in lines {
            for effect in &line.effects {
                let Effect::Sets(key, value) = effect else { continue };
                let origin = Origin::File { path: workspace.root.join(&line.path), line: line.line };
                let value = match (key.starts_with("additions."), value) {
                    (true, Setting::Text(text)) => {
                        let all = texts.entry(key).or_default();
                        *all = if all.is_empty() { text.clone() } else { format!("{all}\n\n{text}") };
                        Setting::Text(all.clone())
                    }
                    _ => value.clone(),
                };
                self.set(key, &value, origin, false);
            }
        }
    }

    /// `.brigade/config.toml` of a trusted workspace: it narrows and prefers, and widens nothing.
    fn settings_of(&mut self, own: &Own<'_>) {
        let Some(file) = own.workspace.settings() else { return };
        for entry in self.read(&file) {
            let section = entry.key.split('.').next().unwrap_or_default();
            if NEVER.contains(&section) {
                let message = format!("{}: a workspace may not set {section}; put it into the config.toml of BRIGADE_HOME", entry.key);
                self.refuse(entry.origin, message);
            } else if let (true, Setting::Text(path)) = (section == "prompts", &entry.value) {
                match own.workspace.prompt(path) {
                    Ok(text) => self.set_text(&entry.key, text, entry.origin),
                    Err(why) => self.refuse(entry.origin, format!("{} = {}: {why}", entry.key, entry.value)),
                }
            } else if section == "budget" && raises(&entry.key, &entry.value, own.rungs, own.budget) {
                let message = format!("{} = {}: a workspace may lower a budget, not raise it", entry.key, entry.value);
                self.refuse(entry.origin, message);
            } else {
                self.set(&entry.key, &entry.value, entry.origin, true);
            }
        }
    }

    fn set_text(&mut self, key: &str, text: String, origin: Origin) {
        match self.settings.set(key, &Setting::Text(text)) {
            Ok(key) => drop(self.origins.insert(key, origin)),
            Err(fault) => self.refuse(origin, fault.to_string()),
        }
    }

    fn set(&mut self, key: &str, value: &Setting, origin: Origin, from_file: bool) {
        let taken = if key == "mcp_servers" || key.starts_with("mcp_servers.") {
            Err(format!("{key}: MCP servers are set in the config.toml of BRIGADE_HOME only"))
        } else if key == "notify" || key.starts_with("notify.") {
            Err(format!("{key}: notifications are set in the config.toml of BRIGADE_HOME only"))
        } else if let Some(rest) = key.strip_prefix("providers.") {
            provider::set(&mut self.providers, rest, value).map(|()| key.to_owned())
        } else if key.starts_with("prompts.") && matches!(value, Setting::Text(_)) {
            self.prompt_text(key, value, &origin, from_file)
        } else {
            self.settings.set(key, value).map_err(|fault| fault.to_string())
        };
        match taken {
            Ok(key) => {
                self.origins.insert(key, origin);
            }
            Err(message) => self.refuse(origin, message),
        }
    }

    /// `prompts.*` name files: relative to the folder of the configuration file, else to the current one.
    fn prompt_text(&mut self, key: &str, value: &Setting, origin: &Origin, from_file: bool) -> Result<String, String> {
        let Setting::Text(path) = value else {
            return Err(format!("{key} = {value}: use the path of a file"));
        };
        let base = match origin {
            Origin::File { path, .. } if from_file => path.parent().unwrap_or(Path::new("")).to_owned(),
            _ => PathBuf::new(),
        };
        let text = (self.prompt)(&base.join(path)).map_err(|why| format!("{key} = {value}: {why}"))?;
        self.settings.set(key, &Setting::Text(text)).map_err(|fault| match fault {
            Fault::Bad { expected, .. } => format!("{key} = {value}: {expected}"),
            other => other.to_string(),
        })
    }

    fn finish(mut self, sources: &Sources<'_>, mut notices: Vec<String>, models_in: Option<File>) -> Result<Config, ConfigErrors> {
        let (mut providers, mut agents) = (BTreeMap::new(), BTreeMap::new());
        for (name, draft) in std::mem::take(&mut self.providers) {
            match draft.finish(&name) {
                Ok(provider::Finished::Endpoint(provider)) => {
                    notices.extend(provider.notice(&name, &sources.env));
                    providers.insert(name, provider);
                }
                Ok(provider::Finished::Agent(agent)) => drop(agents.insert(name, *agent)),
                Err(message) => {
                    let prefix = format!("providers.{name}.");
                    let origin = self.origins.iter().find(|(key, _)| key.starts_with(&prefix)).map_or(Origin::Default, |(_, o)| o.clone());
                    self.refuse(origin, message);
                }
            }
        }
        let mut mcp_servers = BTreeMap::new();
        for (name, draft) in std::mem::take(&mut self.servers) {
            match draft.finish(&name, brigade_tools::mcp::Origin::Home) {
                Ok(server) => drop(server.map(|server| mcp_servers.insert(name, server))),
                Err(message) => {
                    let key = format!("mcp_servers.{name}");
                    let origin = self.origin_of(&format!("{key}.command"));
                    self.refuse(origin, format!("{key}: {message}"));
                }
            }
        }
        // A broken setting makes cross-checks lie.
        if !self.errors.is_empty() {
            return Err(ConfigErrors(self.errors));
        }
        let mut policy = match self.settings.finish(sources.rungs) {
            Ok(policy) => policy,
            Err(fault) => {
                let origin = self.origin_of(fault.key());
                return Err(ConfigErrors(vec![ConfigError { origin, message: fault.to_string() }]));
            }
        };
        policy.agents = agents.iter().map(|(name, agent)| (name.clone(), agent.policy.clone())).collect();
        policy.service.batch_at = providers.iter().filter(|(_, provider)| provider.batches()).map(|(name, _)| name.clone()).collect();
        for (key, model) in provider::models(&policy) {
            if !providers.contains_key(model.provider()) && !agents.contains_key(model.provider()) {
                let known: Vec<&str> = providers.keys().chain(agents.keys()).map(String::as_str).collect();
                let message = format!(
                    "{key} = \"{model}\": no provider named {}; configured are {}: add [providers.{}] with base_url",
                    model.provider(),
                    known.join(", "),
                    model.provider()
                );
                let origin = self.origin_of(&key);
                self.refuse(origin, message);
            }
        }
        if !self.errors.is_empty() {
            return Err(ConfigErrors(self.errors));
        }
        for rung in sources.rungs.iter().filter(|rung| policy.tiers.contains_key(&rung.tier)) {
            let mut shipped = |field: &str| {
                let key = format!("tiers.{}.{field}", rung.tier);
                self.origins.entry(key).or_insert(Origin::Catalog);
            };
            shipped("model");
            if rung.effort.is_some() {
                shipped("effort");
            }
            if rung.max_context_tokens.is_some() {
                shipped("max_context_tokens");
            }
        }
        Ok(Config {
            policy,
            providers,
            agents,
            mcp_servers,
            notify: self.notify,
            models_in,
            notices,
            repository: Repository::default(),
            lines: Vec::new(),
            roles: String::new(),
            origins: self.origins,
        })
    }

    /// The place of a key that a cross-check names: its own, else that of anything in its section.
    fn origin_of(&self, key: &str) -> Origin {
        let section = key.rsplit_once('.').map_or(key, |(section, _)| section);
        let near = || self.origins.iter().find(|(other, _)| other.starts_with(section)).map(|(_, origin)| origin);
        self.origins.get(key).or_else(near).cloned().unwrap_or(Origin::Default)
    }
}

/// Whether a value is above what the run may spend without it. One that the gate does not take is refused there.
fn raises(key: &str, value: &Setting, rungs: &[Rung], now: &BudgetPolicy) -> bool {
    let mut asked = Settings::default();
    let Some(asked) = asked.set(key, value).ok().and_then(|_| asked.finish(rungs).ok()).map(|policy| policy.budget) else { return false };
    let field = key.strip_prefix("budget.").unwrap_or(key);
    if field == "run_usd" {
        return asked.run_usd > now.run_usd;
    }
    now.cap(field).is_some_and(|now| asked.cap(field).is_none_or(|asked| asked > now))
}
