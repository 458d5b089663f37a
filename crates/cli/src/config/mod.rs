//! Where the layers of configuration meet: flags, variables, the workspace's file, the home's file, defaults.
//!
//! [`resolve`] takes texts and returns values; only [`load`] touches files. Every effective value knows where
//! it came from, every refusal names its place (`file:line`, variable or flag), and all are reported at once.
//! No key is ever held here: a provider names the variable that holds it.
//!
//! Layers, strongest first:
//! 1. flags;
//! 2. variables `BRIGADE_` + key in capitals, `__` for the dot: `BRIGADE_BUDGET__RUN_USD=2`,
//!    `BRIGADE_TIERS__NANO__MODEL=local/small`, `BRIGADE_LADDER=nano,flagship` (lists with commas);
//! 3. `OPENAI_BASE_URL` for the provider `openai` (dialect `responses`; its key is in `OPENAI_API_KEY`
//!    unless the home's file names another variable);
//! 4. `.brigade/config.toml` of a trusted workspace; no providers, prices or trust in it;
//! 5. `$BRIGADE_HOME/config.toml` (default `~/.brigade`);
//! 6. `models.toml` and built-in defaults.

mod env;
mod file;
mod origin;
mod provider;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use brigade_kernel::policy::{Fault, Policy, Rung, Setting, Settings};
use brigade_tools::agent::AgentConfig;
use brigade_tools::mcp::ServerConfig;
use sha2::{Digest, Sha256};

pub use origin::{ConfigError, ConfigErrors, Origin};
pub use provider::{Dialect, Provider};

/// Files above this are refused unread: configuration is written by people.
const MOST_BYTES: u64 = 1024 * 1024;

/// The variables of a process.
pub type Env = BTreeMap<String, String>;

/// A configuration file as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is, as shown in messages; prompt files are relative to its folder.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

impl File {
    /// Its hash, as `[trust] configs` lists it: SHA-256, 64 hex digits.
    pub fn hash(&self) -> String {
        Sha256::digest(self.text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// One flag that stands for a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// As typed: `--max-budget-usd`.
    pub name: &'static str,
    /// The setting: `budget.run_usd`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

/// Everything configuration is made of.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// Flags that stand for settings.
    pub flags: &'a [Flag],
    /// The process's variables.
    pub env: Env,
    /// The workspace's file.
    pub workspace: Option<File>,
    /// The home's file.
    pub home: Option<File>,
    /// What each tier is by default, lowest first: the catalog's.
    pub rungs: &'a [Rung],
}

/// Effective configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What a run pins.
    pub policy: Policy,
    /// Where models are.
    pub providers: BTreeMap<String, Provider>,
    /// Providers that are programs on this machine; none is among `providers`.
    pub agents: BTreeMap<String, AgentConfig>,
    /// MCP servers of the home's file.
    pub mcp_servers: BTreeMap<String, ServerConfig>,
    /// The home's file, when it has a `[models]` table: the catalog reads that itself.
    pub models_in: Option<File>,
    /// What a person should know, one line each.
    pub notices: Vec<String>,
    origins: BTreeMap<String, Origin>,
}

/// A line of `config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Row {
    pub key: String,
    pub value: String,
    pub origin: String,
}

impl Config {
    /// Where a value came from.
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }

    /// Every effective value and its origin, sorted by key; no secret is among them.
    pub fn rows(&self, env: &Env) -> Vec<Row> {
        let mut rows = Vec::new();
        for (name, provider) in &self.providers {
            for (field, value) in provider.entries(env) {
                let key = format!("providers.{name}.{field}");
                rows.push(Row { origin: self.origin(&key).to_string(), key, value });
            }
        }
        for (name, agent) in &self.agents {
            for (field, value) in agent.entries().into_iter().chain([("dialect", "agent".to_owned())]) {
                let key = format!("providers.{name}.{field}");
                rows.push(Row { origin: self.origin(&key).to_string(), key, value });
            }
        }
        for (name, server) in &self.mcp_servers {
            let key = format!("mcp_servers.{name}");
            let field = self.origins.keys().find(|other| other.strip_prefix(&key).is_some_and(|rest| rest.starts_with('.')));
            let origin = field.map_or_else(|| Origin::Default.to_string(), |field| self.origin(field).to_string());
            rows.push(Row { origin, key, value: server.line() });
        }
        for (key, value) in self.policy.entries() {
            let value = match key.strip_prefix("prompts.") {
                Some(_) => format!("({} bytes)", value.len()),
                None => value,
            };
            rows.push(Row { origin: self.origin(&key).to_string(), key, value });
        }
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows
    }
}

/// brigade's own folder: `BRIGADE_HOME`, else `.brigade` in the user's.
pub fn home(env: &Env) -> Option<PathBuf> {
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("BRIGADE_HOME").or_else(|| Some(set("HOME")?.join(".brigade")))
}

/// Reads the files and resolves all layers.
///
/// # Errors
/// [`ConfigErrors`] with every fault found, each with its place.
pub fn load(flags: &[Flag], env: Env, workspace: Option<&Path>, rungs: &[Rung]) -> Result<Config, ConfigErrors> {
    let at_home = home(&env).map(|home| home.join("config.toml"));
    let in_workspace = workspace.map(|root| root.join(".brigade").join("config.toml"));
    let mut errors = Vec::new();
    let mut read = |path: Option<PathBuf>| path.and_then(|path| read_file(&path).map_err(|error| errors.push(error)).ok().flatten());
    // A workspace that is the user's own folder has one file, not two.
    let workspace = read(in_workspace.filter(|path| Some(path) != at_home.as_ref()));
    let home = read(at_home);
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    resolve(&Sources { flags, env, workspace, home, rungs }, &read_prompt)
}

fn read_prompt(path: &Path) -> Result<String, String> {
    match read_file(path) {
        Ok(Some(file)) => Ok(file.text),
        Ok(None) => Err(format!("{} does not exist", path.display())),
        Err(error) => Err(error.message),
    }
}

fn read_file(path: &Path) -> Result<Option<File>, ConfigError> {
    let fault = |message: String| ConfigError { origin: Origin::File { path: path.to_owned(), line: 1 }, message };
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(fault(format!("cannot be read: {error}"))),
    };
    if !meta.is_file() || meta.len() > MOST_BYTES {
        return Err(fault("is no file of at most 1 MiB".to_owned()));
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(File { path: path.to_owned(), text })),
        Err(error) => Err(fault(format!("cannot be read: {error}"))),
    }
}

/// Resolves all layers. `prompt` reads a prompt's file.
///
/// # Errors
/// [`ConfigErrors`] with every fault found, each with its place.
pub fn resolve(sources: &Sources<'_>, prompt: &dyn Fn(&Path) -> Result<String, String>) -> Result<Config, ConfigErrors> {
    let mut layers = Layers {
        prompt,
        settings: Settings::default(),
        providers: provider::built_in(),
        servers: BTreeMap::new(),
        origins: BTreeMap::new(),
        errors: Vec::new(),
    };
    let mut notices = Vec::new();
    let mut trusted = Vec::new();
    let mut models_in = None;

    if let Some(home) = &sources.home {
        for entry in layers.read(home) {
            match entry.key.split_once('.').map_or(entry.key.as_str(), |(section, _)| section) {
                "trust" => match (entry.key.as_str(), &entry.value) {
                    ("trust.configs", Setting::List(hashes)) => trusted.extend(hashes.iter().map(|h| h.to_ascii_lowercase())),
                    ("trust.configs", value) => layers.refuse(entry.origin, format!("trust.configs = {value}: use a list of hashes")),
                    (key, _) => layers.refuse(entry.origin, format!("unknown key {key}; did you mean trust.configs?")),
                },
                "models" => models_in = Some(home.clone()),
                "mcp_servers" => layers.server(&entry.key, &entry.value, entry.origin),
                _ => layers.set(&entry.key, &entry.value, entry.origin, true),
            }
        }
    }
    if let Some(workspace) = &sources.workspace {
        let hash = workspace.hash();
        if trusted.contains(&hash) {
            for entry in layers.read(workspace) {
                let section = entry.key.split('.').next().unwrap_or_default();
                if matches!(section, "providers" | "trust" | "models" | "grants" | "mcp_servers") {
                    let message = format!("{}: a workspace may not set {section}; put it into the config.toml of BRIGADE_HOME", entry.key);
                    layers.refuse(entry.origin, message);
                } else {
                    layers.set(&entry.key, &entry.value, entry.origin, true);
                }
            }
        } else {
            let path = workspace.path.display();
            notices.push(format!("{path} is not trusted, ignored (to use it, read it and add \"{hash}\" to [trust] configs in the config.toml of BRIGADE_HOME)"));
        }
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
    layers.finish(sources, notices, models_in)
}

/// Settings as they pile up, weakest layer first.
struct Layers<'a> {
    prompt: &'a dyn Fn(&Path) -> Result<String, String>,
    settings: Settings,
    providers: BTreeMap<String, provider::Draft>,
    servers: BTreeMap<String, brigade_tools::mcp::Draft>,
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

    fn set(&mut self, key: &str, value: &Setting, origin: Origin, from_file: bool) {
        let taken = if key == "mcp_servers" || key.starts_with("mcp_servers.") {
            Err(format!("{key}: MCP servers are set in the config.toml of BRIGADE_HOME only"))
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
        Ok(Config { policy, providers, agents, mcp_servers, models_in, notices, origins: self.origins })
    }

    /// The place of a key that a cross-check names: its own, else that of anything in its section.
    fn origin_of(&self, key: &str) -> Origin {
        let section = key.rsplit_once('.').map_or(key, |(section, _)| section);
        let near = || self.origins.iter().find(|(other, _)| other.starts_with(section)).map(|(_, origin)| origin);
        self.origins.get(key).or_else(near).cloned().unwrap_or(Origin::Default)
    }
}
