//! `[providers.NAME]` with `dialect = "agent"`: one gate for every field of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use brigade_kernel::plan::parse_span;
use brigade_kernel::policy::{AgentPolicy, Billing, Setting};
use brigade_kernel::time::Millis;
use brigade_kernel::units::QuotaUnits;

use super::door::Host;
use super::preset::{Preset, known, preset};

/// Every field of an agent, for hints.
pub const FIELDS: [&str; 17] = [
    "agent",
    "command",
    "args",
    "env",
    "home",
    "home_files",
    "read_only",
    "network",
    "hosts",
    "timeout",
    "billing",
    "max_input_tokens",
    "max_output_tokens",
    "units",
    "vendor",
    "base_url",
    "env_key",
];

/// Longest errand that can be asked for.
const LONGEST: Millis = Millis(3_600_000);

/// What an agent may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Network {
    /// These, through the engine's door.
    Hosts(Vec<Host>),
    /// All that the host reaches, its loopback included.
    All,
}

/// An agent as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// The provider's name.
    pub name: String,
    /// Which known agent it is; `None`: any program that speaks our own lines.
    pub agent: Option<String>,
    pub(super) preset: Preset,
    /// Put behind the program's own arguments.
    pub(super) args: Vec<String>,
    /// The user's folder with its login.
    pub(super) home: Option<PathBuf>,
    pub(super) read_only: Vec<PathBuf>,
    pub(super) network: Network,
    /// An address other than the agent's own, and the variable with its key.
    pub(super) endpoint: Option<(String, Option<String>)>,
    /// What a run pins of it.
    pub policy: AgentPolicy,
}

impl AgentConfig {
    /// The provider of the catalog whose rows its models have.
    pub fn vendor(&self) -> Option<&str> {
        self.preset.vendor.as_deref()
    }

    /// The program, as it is looked for.
    pub fn program(&self) -> &str {
        self.preset.command.first().map_or("", String::as_str)
    }

    /// Variables that are passed on where they are set.
    pub fn env(&self) -> impl Iterator<Item = &str> {
        let key = self.endpoint.iter().filter_map(|(_, key)| key.as_deref());
        self.preset.env.iter().map(String::as_str).chain(key)
    }

    /// Whether calls may be tried: a key that is named for its address is set.
    pub fn missing_key<'a>(&'a self, env: &BTreeMap<String, String>) -> Option<&'a str> {
        let key = self.endpoint.as_ref().and_then(|(_, key)| key.as_deref())?;
        env.get(key).is_none_or(|value| value.trim().is_empty()).then_some(key)
    }

    /// Whether it is to use an address other than its own.
    pub fn has_endpoint(&self) -> bool {
        self.endpoint.is_some()
    }

    /// What `config show` prints; values of variables are not in it.
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("agent", self.agent.clone().unwrap_or_else(|| "(any program)".to_owned())),
            ("command", self.preset.command.iter().chain(&self.args).map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ")),
            ("billing", if self.policy.billing == Billing::Quota { "quota" } else { "tokens" }.to_owned()),
            ("hosts", if self.network == Network::All { "(the whole network)".to_owned() } else { self.preset.hosts.join(", ") }),
            ("timeout", brigade_kernel::plan::write_span(self.policy.timeout)),
            ("max_input_tokens", self.policy.max_input_tokens.to_string()),
            ("max_output_tokens", self.policy.max_output_tokens.to_string()),
        ];
        if let Some((url, _)) = &self.endpoint {
            rows.push(("base_url", url.clone()));
        }
        rows
    }
}

/// An entry while its fields come in.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    agent: Option<String>,
    command: Option<Vec<String>>,
    args: Vec<String>,
    env: Option<Vec<String>>,
    home: Option<PathBuf>,
    home_files: Option<Vec<String>>,
    read_only: Vec<PathBuf>,
    network: Option<bool>,
    hosts: Option<Vec<String>>,
    vendor: Option<String>,
    policy: AgentPolicy,
}

impl Draft {
    /// Takes `FIELD` or `units.MODEL`; `None`: an agent has no such field, or it is the caller's (`base_url`, `env_key`).
    ///
    /// # Errors
    /// What is wrong with the value, to be put behind the field's full name.
    pub fn set(&mut self, field: &str, value: &Setting) -> Option<Result<(), String>> {
        let taken = match field {
            "agent" => one(value).and_then(|name| {
                if preset(name).is_none() {
                    let list: Vec<&str> = known().collect();
                    return Err(format!("no such agent: known are {}; for another give its command", list.join(", ")));
                }
                self.agent = Some(name.to_owned());
                Ok(())
            }),
            "command" => words(value).and_then(|words| {
                if words.first().is_none_or(|program| program.trim().is_empty()) {
                    return Err("write the program and its arguments as a list of texts".to_owned());
                }
                self.command = Some(words);
                Ok(())
            }),
            "args" => words(value).map(|words| self.args = words),
            "env" => words(value).and_then(|names| {
                names.iter().try_for_each(|name| check_variable(name))?;
                self.env = Some(names);
                Ok(())
            }),
            "home" => one(value).and_then(path).map(|path| self.home = Some(path)),
            "home_files" => words(value).and_then(|files| {
                if let Some(bad) = files.iter().find(|file| file.is_empty() || file.contains('/') || file.starts_with("..")) {
                    return Err(format!("{bad:?}: name files that lie in home itself"));
                }
                self.home_files = Some(files);
                Ok(())
            }),
            "read_only" => words(value).and_then(|paths| {
                self.read_only = paths.iter().map(|text| path(text)).collect::<Result<_, _>>()?;
                Ok(())
            }),
            "network" => one(value).and_then(|text| {
                self.network = Some(text.parse().map_err(|_| "write true or false".to_owned())?);
                Ok(())
            }),
            "hosts" => words(value).and_then(|hosts| {
                hosts.iter().try_for_each(|host| Host::parse(host).map(drop))?;
                self.hosts = Some(hosts);
                Ok(())
            }),
            "timeout" => one(value).and_then(|text| {
                let span = parse_span(text).filter(|span| (1_000..=LONGEST.0).contains(&span.0));
                self.policy.timeout = span.ok_or_else(|| "write a span from 1s to 1h, e.g. \"10m\"".to_owned())?;
                Ok(())
            }),
            "billing" => one(value).and_then(|text| {
                self.policy.billing = match text {
                    "tokens" => Billing::Tokens,
                    "quota" => Billing::Quota,
                    _ => return Err("write \"tokens\" (paid by the token) or \"quota\" (a subscription pays)".to_owned()),
                };
                Ok(())
            }),
            "max_input_tokens" => count(value, 1_000, 100_000_000).map(|n| self.policy.max_input_tokens = n),
            "max_output_tokens" => {
                count(value, 100, 10_000_000).map(|n| self.policy.max_output_tokens = u32::try_from(n).unwrap_or(u32::MAX))
            }
            "units" if *value == Setting::Empty => Ok(()),
            "vendor" => one(value).map(|name| self.vendor = Some(name.to_owned())),
            _ => match field.strip_prefix("units.") {
                Some(model) if !model.is_empty() => one(value).and_then(|text| {
                    let units = QuotaUnits::parse(text).ok_or_else(|| "write units with at most 3 decimal places, e.g. 0.3".to_owned())?;
                    self.policy.units.insert(model.to_owned(), units);
                    Ok(())
                }),
                _ => return None,
            },
        };
        Some(taken)
    }

    /// Whether anything was set.
    pub fn is_empty(&self) -> bool {
        self.agent.is_none()
            && self.command.is_none()
            && self.args.is_empty()
            && self.env.is_none()
            && self.home.is_none()
            && self.home_files.is_none()
            && self.read_only.is_empty()
            && self.network.is_none()
            && self.hosts.is_none()
            && self.vendor.is_none()
            && self.policy == AgentPolicy::default()
    }

    /// The entry, with the address it is to use instead of its own.
    ///
    /// # Errors
    /// What is missing or does not go together.
    pub fn finish(self, name: &str, endpoint: Option<(String, Option<String>)>) -> Result<AgentConfig, String> {
        let mut preset = match &self.agent {
            Some(agent) => preset(agent).cloned().ok_or_else(|| format!("agent: no such agent: {agent}"))?,
            None if self.command.is_some() => Preset::default(),
            None => {
                let list: Vec<String> = known().map(|name| format!("agent = {name:?}")).collect();
                return Err(format!("it says neither which agent nor which command: give {}, or command", list.join(" or ")));
            }
        };
        if let Some(command) = self.command {
            preset.command = command;
        }
        if endpoint.is_some() && preset.endpoint_args.is_empty() && preset.endpoint_env.is_empty() {
            return Err("base_url is for agents that brigade knows (agent = …); tell another one in its command".to_owned());
        }
        if self.home_files.as_ref().is_some_and(|files| !files.is_empty()) && self.home.is_none() && preset.home.is_none() {
            return Err("home_files are files of home: give home".to_owned());
        }
        preset.env = self.env.unwrap_or(preset.env);
        preset.home_files = self.home_files.unwrap_or(preset.home_files);
        let network = match (self.network, self.hosts) {
            (Some(_), Some(hosts)) if !hosts.is_empty() => return Err("it has both network and hosts: keep one".to_owned()),
            (Some(true), _) => Network::All,
            (Some(false), _) => {
                preset.hosts.clear();
                Network::Hosts(Vec::new())
            }
            (None, hosts) => {
                let own = endpoint.as_ref().and_then(|(url, _)| Host::of_url(url));
                // Who is sent to another address has no business at the usual one.
                preset.hosts = hosts.unwrap_or(if own.is_some() { Vec::new() } else { preset.hosts });
                let named = preset.hosts.iter().map(|host| Host::parse(host)).collect::<Result<Vec<_>, _>>()?;
                preset.hosts.extend(own.iter().map(ToString::to_string));
                Network::Hosts(named.into_iter().chain(own).collect())
            }
        };
        preset.vendor = self.vendor.or(preset.vendor);
        Ok(AgentConfig {
            name: name.to_owned(),
            agent: self.agent,
            preset,
            args: self.args,
            home: self.home,
            read_only: self.read_only,
            network,
            endpoint,
            policy: self.policy,
        })
    }
}

fn one(value: &Setting) -> Result<&str, String> {
    match value {
        Setting::Text(text) => Ok(text.trim()),
        Setting::List(_) | Setting::Empty => Err("write one text".to_owned()),
    }
}

fn words(value: &Setting) -> Result<Vec<String>, String> {
    match value {
        Setting::List(list) if list.len() > 256 => Err("at most 256 entries are taken".to_owned()),
        Setting::List(list) if list.iter().any(|word| word.contains('\0') || word.len() > 32_000) => {
            Err("an entry has no NUL and at most 32,000 bytes".to_owned())
        }
        Setting::List(list) => Ok(list.clone()),
        Setting::Text(_) | Setting::Empty => Err("write a list of texts".to_owned()),
    }
}

fn count(value: &Setting, min: u64, max: u64) -> Result<u64, String> {
    let number = one(value)?.replace('_', "").parse().ok().filter(|n| (min..=max).contains(n));
    number.ok_or_else(|| format!("write a whole number from {min} to {max}"))
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') || text.len() > 4_096 {
        return Err("write a path".to_owned());
    }
    Ok(PathBuf::from(text))
}

fn check_variable(name: &str) -> Result<(), String> {
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first || name.len() > 100 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        // Whoever pastes a key here must not find it in a log.
        return Err("name variables, e.g. \"MY_TOKEN\", not their values".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, Setting)]) -> Result<AgentConfig, String> {
        let mut draft = Draft::default();
        for (field, value) in fields {
            let taken = draft.set(field, value).expect("an agent has this field");
            taken.map_err(|why| format!("{field}: {why}"))?;
        }
        draft.finish("a", None)
    }

    fn texts(words: &[&str]) -> Setting {
        Setting::List(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn every_field_is_refused_by_name_with_a_remedy() {
        for (field, value, words) in [
            ("agent", "cobex".into(), "no such agent: known are claude, codex"),
            ("command", "codex exec".into(), "a list of texts"),
            ("command", texts(&[" "]), "the program and its arguments"),
            ("env", texts(&["sk-123 4"]), "name variables"),
            ("home_files", texts(&["../x"]), "in home itself"),
            ("network", "yes".into(), "true or false"),
            ("hosts", texts(&["http://x"]), "is no host"),
            ("timeout", "2h".into(), "from 1s to 1h"),
            ("billing", "free".into(), "\"quota\""),
            ("max_input_tokens", "0".into(), "from 1000 to"),
            ("units.m", "0.0001".into(), "3 decimal places"),
        ] {
            let why = entry(&[(field, value)]).expect_err(words);
            assert!(why.contains(words), "{field}: {why}");
        }
        assert!(entry(&[]).expect_err("it is empty").contains("agent = \"codex\""));
        let lost = entry(&[("command", texts(&["x"])), ("home_files", texts(&["login"]))]).expect_err("files of nothing");
        assert!(lost.contains("give home"), "{lost}");
    }

    #[test]
    fn a_preset_stands_where_nothing_else_is_said() {
        let config = entry(&[("agent", "codex".into()), ("billing", "quota".into()), ("units.gpt-x.1", "0.3".into())]).expect("whole");
        assert_eq!((config.program(), config.vendor(), config.preset.hosts.len() > 2), ("codex", Some("openai"), true));
        assert_eq!(config.policy.units["gpt-x.1"], QuotaUnits(300));
        let own = entry(&[("agent", "codex".into()), ("network", "false".into()), ("command", texts(&["codex-next", "exec"]))]);
        let own = own.expect("whole");
        assert_eq!((own.program(), &own.network), ("codex-next", &Network::Hosts(Vec::new())));
        let plain = entry(&[("command", texts(&["mine"]))]).expect("whole");
        assert!(plain.network == Network::Hosts(Vec::new()) && plain.vendor().is_none());
        let whole = entry(&[("agent", "codex".into()), ("network", "true".into())]).expect("whole");
        assert_eq!(whole.network, Network::All);
        let both = entry(&[("agent", "codex".into()), ("network", "true".into()), ("hosts", texts(&["a.example"]))]);
        assert!(both.expect_err("two words on one thing").contains("keep one"));
        let mut draft = Draft::default();
        assert_eq!(draft.set("agent", &"codex".into()), Some(Ok(())));
        let sent = draft.finish("a", Some(("http://localhost:81/v1".to_owned(), None))).expect("whole");
        assert_eq!(sent.network, Network::Hosts(vec![Host::parse("localhost:81").expect("a host")]), "and nowhere else");
    }
}
