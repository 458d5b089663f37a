//! Where models are: `[providers.NAME]`. A provider names the variable that holds its key, never the key.

use std::collections::BTreeMap;

use brigade_kernel::ids::ModelRef;
use brigade_kernel::policy::{Policy, RouteTo, Setting, distance};
use brigade_models::Capabilities;
use brigade_tools::agent::{self, AgentConfig};

use super::Env;

const FIELDS: [&str; 6] = ["dialect", "base_url", "env_key", "chain", "compaction", "batch"];

/// A configured provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The format it speaks.
    pub dialect: Dialect,
    /// `http` or `https`, without a trailing slash, user or password.
    pub base_url: String,
    /// The variable that holds its key; `None` = it takes none (local servers).
    pub env_key: Option<String>,
    /// Whether it serves `/responses/compact`; `None` = as known of its address.
    pub compaction: Option<bool>,
    /// Whether it serves `/files` and `/batches`; `None` = as known of its address.
    pub batch: Option<bool>,
}

/// The format of requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// `POST {base_url}/responses`.
    #[default]
    Responses,
    /// `POST {base_url}/chat/completions`.
    Chat,
}

impl Provider {
    /// The key among the variables, if it is set.
    pub fn key<'e>(&self, env: &'e Env) -> Option<&'e str> {
        let value = env.get(self.env_key.as_ref()?)?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// Whether it has a Batch API.
    pub fn batches(&self) -> bool {
        let dialect = match self.dialect {
            Dialect::Responses => brigade_models::Dialect::Responses,
            Dialect::Chat => brigade_models::Dialect::Chat,
        };
        self.batch.unwrap_or_else(|| Capabilities::known(dialect, &self.base_url).batch)
    }

    /// Whether calls can be tried: it needs no key, or has one.
    pub fn usable(&self, env: &Env) -> bool {
        self.env_key.is_none() || self.key(env).is_some()
    }

    pub(super) fn entries(&self, env: &Env) -> Vec<(&'static str, String)> {
        let dialect = match self.dialect {
            Dialect::Responses => "responses",
            Dialect::Chat => "chat",
        };
        let key = match &self.env_key {
            Some(name) if self.key(env).is_some() => format!("{name} (set)"),
            Some(name) => format!("{name} (not set)"),
            None => "(none)".to_owned(),
        };
        let mut entries = vec![("base_url", self.base_url.clone())];
        entries.extend(self.batch.map(|can| ("batch", can.to_string())));
        entries.extend(self.compaction.map(|can| ("compaction", can.to_string())));
        entries.extend([("dialect", dialect.to_owned()), ("env_key", key)]);
        entries
    }

    /// A key that would travel in clear.
    pub(super) fn notice(&self, name: &str, env: &Env) -> Option<String> {
        let plain = self.base_url.starts_with("http://") && !is_loopback(&self.base_url);
        (plain && self.key(env).is_some()).then(|| format!("provider {name}: its key is sent unencrypted to {}; use https", self.base_url))
    }
}

/// A provider while its layers pile up.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    dialect: Dialect,
    base_url: Option<String>,
    env_key: Option<String>,
    /// Its dialect is `agent`: it is no address but a program.
    is_agent: bool,
    agent: agent::Draft,
    compaction: Option<bool>,
    batch: Option<bool>,
}

/// What a provider turned out to be.
pub(super) enum Finished {
    Endpoint(Provider),
    Agent(Box<AgentConfig>),
}

impl Draft {
    pub(super) fn finish(self, name: &str) -> Result<Finished, String> {
        if self.is_agent {
            if self.env_key.is_some() && self.base_url.is_none() {
                return Err(format!("providers.{name}: env_key is the key of base_url; name variables to pass on in env"));
            }
            let endpoint = self.base_url.map(|url| (url, self.env_key));
            return self
                .agent
                .finish(name, endpoint)
                .map(|agent| Finished::Agent(Box::new(agent)))
                .map_err(|why| format!("providers.{name}: {why}"));
        }
        if !self.agent.is_empty() {
            return Err(format!("providers.{name}: some of its fields are for agents only: add dialect = \"agent\", or take them out"));
        }
        let base_url =
            self.base_url.ok_or_else(|| format!("providers.{name}: base_url is missing, e.g. base_url = \"http://localhost:8080/v1\""))?;
        if self.compaction == Some(true) && self.dialect == Dialect::Chat {
            return Err(format!("providers.{name}.compaction: the chat dialect has none; set dialect = \"responses\""));
        }
        if self.batch == Some(true) && self.dialect == Dialect::Chat {
            return Err(format!("providers.{name}.batch: not supported yet in the chat dialect; set dialect = \"responses\""));
        }
        let (dialect, env_key) = (self.dialect, self.env_key);
        Ok(Finished::Endpoint(Provider { dialect, base_url, env_key, compaction: self.compaction, batch: self.batch }))
    }
}

/// What is there without configuration.
pub(super) fn built_in() -> BTreeMap<String, Draft> {
    let openai = Draft {
        dialect: Dialect::Responses,
        base_url: Some("https://api.openai.com/v1".to_owned()),
        env_key: Some("OPENAI_API_KEY".to_owned()),
        ..Draft::default()
    };
    BTreeMap::from([("openai".to_owned(), openai)])
}

/// Takes `NAME.FIELD`. Refusals of values that may be keys do not repeat them.
pub(super) fn set(providers: &mut BTreeMap<String, Draft>, path: &str, value: &Setting) -> Result<(), String> {
    let Some((name, field)) = path.split_once('.') else {
        return Err(format!("providers.{path} is empty: give base_url, and dialect and env_key where they apply"));
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(format!("providers.{name:?}: name it with lowercase letters, digits, - and _"));
    }
    let key = format!("providers.{name}.{field}");
    let mut draft = providers.get(name).cloned().unwrap_or_default();
    if let Some(taken) = draft.agent.set(field, value) {
        taken.map_err(|why| format!("{key}: {why}"))?;
        providers.insert(name.to_owned(), draft);
        return Ok(());
    }
    let Setting::Text(text) = value else {
        return Err(format!("{key}: use one text"));
    };
    let text = text.trim();
    match field {
        "dialect" => {
            draft.is_agent = text == "agent";
            draft.dialect = match text {
                "responses" | "agent" => Dialect::Responses,
                "chat" => Dialect::Chat,
                _ => return Err(format!("{key} = {text:?}: use responses, chat or agent")),
            }
        }
        "base_url" => draft.base_url = Some(base_url(&key, text)?),
        "env_key" => draft.env_key = env_key(&key, text)?,
        "compaction" | "batch" => {
            let on = match text {
                "true" => true,
                "false" => false,
                _ => return Err(format!("{key}: use true or false")),
            };
            if field == "batch" { draft.batch = Some(on) } else { draft.compaction = Some(on) }
        }
        "chain" => match text {
            "false" => {}
            "true" => return Err(format!("not supported yet: {key}")),
            _ => return Err(format!("{key}: use true or false")),
        },
        "api_key" | "key" | "token" | "secret" => {
            return Err(format!("{key}: keys do not stand in files; set a variable and name it: env_key = \"MY_KEY\""));
        }
        _ => {
            let all = || FIELDS.iter().chain(agent::FIELDS.iter().filter(|_| draft.is_agent));
            let near = all().map(|known| (distance(field, known), *known)).min().filter(|(slips, _)| *slips <= 3);
            let hint = near.map_or_else(
                || format!("known are {}", all().copied().collect::<Vec<_>>().join(", ")),
                |(_, known)| format!("did you mean {known}?"),
            );
            return Err(format!("unknown key {key}; {hint}"));
        }
    }
    providers.insert(name.to_owned(), draft);
    Ok(())
}

fn base_url(key: &str, text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default()).unwrap_or_default();
    if authority.contains('@') {
        return Err(format!("{key}: no user or password in an address; name the key's variable in env_key"));
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '?' || c == '#';
    if authority.is_empty() || text.len() > 2_000 || text.chars().any(odd) {
        let shown: String = text.chars().take(80).collect();
        return Err(format!("{key} = {shown:?}: use an address such as https://host/v1"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn env_key(key: &str, text: &str) -> Result<Option<String>, String> {
    if text.is_empty() || text == "none" {
        return Ok(None);
    }
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first || text.len() > 100 || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        // Whoever pastes a key here must not find it in a log.
        return Err(format!("{key}: name the variable that holds the key, e.g. \"OPENAI_API_KEY\", not the key itself"));
    }
    Ok(Some(text.to_owned()))
}

fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.starts_with("localhost") || host.starts_with("127.") || host.starts_with("[::1]")
}

/// Every model a policy may call, with the key that names it.
pub(super) fn models(policy: &Policy) -> Vec<(String, ModelRef)> {
    let mut named = Vec::new();
    for (tier, bound) in &policy.tiers {
        named.push((format!("tiers.{tier}.model"), bound.model.clone()));
        named.extend(bound.alternates.iter().map(|model| (format!("tiers.{tier}.alternates"), model.clone())));
    }
    for (kind, route) in &policy.routes {
        if let RouteTo::Model(model) = route {
            named.push((format!("routes.{kind}"), model.clone()));
        }
    }
    named
}
