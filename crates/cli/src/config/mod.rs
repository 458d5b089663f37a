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
//! 4. files of the workspace that a person trusts: `.brigade/config.toml`, then the agent configuration of `AGENTS.md`,
//!    then role files; no providers, prices or grants in them, and no budget above the one there is without them;
//! 5. `$BRIGADE_HOME/config.toml` (default `~/.brigade`);
//! 6. `models.toml` and built-in defaults.

pub mod agents;
mod env;
mod file;
mod layers;
mod notify;
mod origin;
mod provider;
pub mod repository;
pub mod roles;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agents::Line;
use brigade_kernel::catalog::Catalog;
use brigade_kernel::policy::{Policy, Rung};
use brigade_kernel::time::Timestamp;
use brigade_tools::agent::AgentConfig;
use brigade_tools::mcp::ServerConfig;
pub use layers::resolve;
pub use notify::Notify;
pub use origin::{ConfigError, ConfigErrors, Origin};
pub use provider::{Dialect, Provider};
pub use repository::Repository;

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
    /// The workspace's files.
    pub workspace: Option<Repository>,
    /// The home's file.
    pub home: Option<File>,
    /// What each tier is by default, lowest first: the catalog's.
    pub rungs: &'a [Rung],
    /// Models that a workspace may name; the shipped ones unless given.
    pub catalog: Option<&'a Catalog>,
    /// The time for which prices are looked up.
    pub now: Timestamp,
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
    /// Who is told when a run pauses, goes on by itself, or ends.
    pub notify: Notify,
    /// The home's file, when it has a `[models]` table: the catalog reads that itself.
    pub models_in: Option<File>,
    /// What a person should know, one line each.
    pub notices: Vec<String>,
    /// The workspace's files.
    pub repository: Repository,
    /// What each line of its agent configuration and its role files does.
    pub lines: Vec<Line>,
    /// Roles it describes that are bound to no type.
    pub roles: String,
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

    /// The catalog, in which an agent's models are its vendor's.
    pub fn with_vendors(&self, catalog: Catalog) -> Catalog {
        let vendors = self.agents.iter().filter_map(|(name, agent)| Some((name, agent.vendor()?)));
        vendors.fold(catalog, |catalog, (name, vendor)| catalog.with_vendor(name, vendor))
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
        for (key, value) in self.notify.entries() {
            rows.push(Row { origin: self.origin(key).to_string(), key: key.to_owned(), value });
        }
        for (key, value) in self.policy.entries() {
            let is_text = ["prompts.", "additions."].iter().any(|texts| key.starts_with(texts));
            let value = if is_text { format!("({} bytes)", value.len()) } else { value };
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
pub fn load(sources: Sources<'_>, workspace: Option<&Path>) -> Result<Config, ConfigErrors> {
    let at_home = home(&sources.env);
    let mut errors = Vec::new();
    let file = at_home.as_ref().map(|home| home.join("config.toml"));
    let home = file.and_then(|path| read_file(&path).map_err(|error| errors.push(error)).ok().flatten());
    let look = |root: &Path| {
        let mut seen = Repository::look(root, at_home.as_deref())?;
        // A workspace that is the user's own folder has one file of settings, not two.
        if at_home.as_ref().is_some_and(|home| *home == root.join(".brigade")) {
            seen.found.files.retain(|file| !file.path.starts_with(".brigade/"));
        }
        Ok(seen)
    };
    let workspace = match workspace.map(look).transpose() {
        Ok(workspace) => workspace,
        Err(message) => {
            errors.push(ConfigError { origin: Origin::Default, message });
            None
        }
    };
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    resolve(&Sources { workspace, home, ..sources }, &read_prompt)
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
