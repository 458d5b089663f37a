//! Agents that are known, read from `presets.toml`: how each is started and which reader understands it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use brigade_kernel::call::ErrorClass;
use serde::Deserialize;

/// The shipped list.
const SHIPPED: &str = include_str!("presets.toml");

/// How an agent is started and read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Preset {
    pub reader: Dialect,
    /// The provider of the catalog whose models it runs; `None`: its own name.
    pub vendor: Option<String>,
    /// Program and arguments that are always there.
    pub command: Vec<String>,
    pub model_args: Vec<String>,
    pub effort_args: Vec<String>,
    pub schema_args: Vec<String>,
    pub endpoint_args: Vec<String>,
    pub endpoint_key_args: Vec<String>,
    pub endpoint_env: BTreeMap<String, String>,
    pub last_args: Vec<String>,
    /// Where its login lies, beneath the user's home; and beneath its private one.
    pub home: Option<String>,
    /// The variable that tells it so.
    pub home_env: Option<String>,
    /// What of it an errand gets a copy of.
    pub home_files: Vec<String>,
    /// Variables passed on where they are set.
    pub env: Vec<String>,
    pub set_env: BTreeMap<String, String>,
    /// Where its provider is: what it may reach.
    pub hosts: Vec<String>,
    /// Where beneath its home it leaves a record of the session that tells of its quota.
    pub sessions: Option<String>,
    pub complaints: Vec<(String, Complaint)>,
}

impl Default for Preset {
    /// Any program: it is told what it needs by variables, and prints lines of our own form.
    fn default() -> Self {
        Self {
            reader: Dialect::Plain,
            vendor: None,
            command: Vec::new(),
            model_args: Vec::new(),
            effort_args: Vec::new(),
            schema_args: Vec::new(),
            endpoint_args: Vec::new(),
            endpoint_key_args: Vec::new(),
            endpoint_env: BTreeMap::new(),
            last_args: Vec::new(),
            home: None,
            home_env: None,
            home_files: Vec::new(),
            env: Vec::new(),
            set_env: BTreeMap::new(),
            hosts: Vec::new(),
            sessions: None,
            complaints: Vec::new(),
        }
    }
}

/// Whose lines a reader understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Dialect {
    Codex,
    Claude,
    Plain,
}

/// What an agent's complaint means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Complaint {
    Quota,
    Refused,
    Rate,
    TooLong,
    NoModel,
    Unreachable,
    Server,
}

impl Complaint {
    pub fn class(self) -> ErrorClass {
        match self {
            Self::Quota => ErrorClass::QuotaExhausted,
            Self::Refused => ErrorClass::Refused,
            Self::Rate => ErrorClass::RateLimited,
            Self::TooLong => ErrorClass::ContextTooLong,
            Self::NoModel => ErrorClass::ModelNotFound,
            Self::Unreachable => ErrorClass::Unreachable,
            Self::Server => ErrorClass::Server,
        }
    }
}

fn shipped() -> &'static BTreeMap<String, Preset> {
    static PRESETS: LazyLock<BTreeMap<String, Preset>> = LazyLock::new(|| toml::from_str(SHIPPED).expect("a test reads what is shipped"));
    &PRESETS
}

/// The names of all.
pub fn known() -> impl Iterator<Item = &'static str> {
    shipped().keys().map(String::as_str)
}

/// One by name.
pub(super) fn preset(name: &str) -> Option<&'static Preset> {
    shipped().get(name)
}

#[cfg(test)]
mod tests {
    use super::super::door::Host;
    use super::*;

    #[test]
    fn every_shipped_preset_is_whole() {
        assert_eq!(known().collect::<Vec<_>>(), ["claude", "codex"]);
        for (name, preset) in shipped() {
            assert!(!preset.command.is_empty() && preset.reader != Dialect::Plain && preset.vendor.is_some(), "{name}");
            assert!(
                !preset.model_args.is_empty()
                    && preset.hosts.iter().all(|host| Host::parse(host).is_ok())
                    && !preset.hosts.is_empty()
                    && !preset.home_files.is_empty(),
                "{name}"
            );
            // An endpoint that a person names must reach the agent somehow.
            assert!(!preset.endpoint_args.is_empty() || !preset.endpoint_env.is_empty(), "{name}");
            assert!(preset.complaints.iter().all(|(words, _)| *words == words.to_lowercase()), "{name}");
        }
    }
}
