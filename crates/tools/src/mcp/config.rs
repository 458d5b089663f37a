//! `[mcp_servers.NAME]`: one gate for every field, whoever wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use brigade_kernel::plan::parse_span;
use brigade_kernel::policy::{Setting, distance};
use serde::Serialize;

use super::address;
use super::keyed::Template;

/// Every field of a server, for hints.
const FIELDS: [&str; 16] = [
    "command",
    "args",
    "env",
    "cwd",
    "read_only",
    "writable",
    "network",
    "url",
    "bearer_env",
    "init_timeout",
    "call_timeout",
    "idle_timeout",
    "tools",
    "keyed",
    "images",
    "enabled",
];

/// Longest deadline that can be given.
const LONGEST: Duration = Duration::from_secs(3600);

/// Who wrote a server's entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The user's own configuration.
    Home,
    /// A workspace's `.mcp.json`, by its path.
    Workspace(PathBuf),
}

/// A variable of a server's environment.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Variable {
    /// Passed on from brigade's own variable of that name.
    From(String),
    /// Given as it stands.
    Value(String),
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::From(name) => write!(f, "From({name:?})"),
            // People put keys there in spite of everything.
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// A program, in the sandbox, over its standard input and output.
    Program {
        /// The program, looked for on the sandbox's PATH.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// The directory that is `/workspace` for it; `None` = a private one that outlives it.
        cwd: Option<PathBuf>,
        /// More that it may read, at the same path.
        read_only: Vec<PathBuf>,
        /// Whether it may change what lies below `cwd`.
        writable: bool,
        /// Whether it has the host's network.
        network: bool,
    },
    /// A service, over streamable HTTP.
    Service {
        /// Its address.
        url: String,
        /// The variable that holds its token.
        bearer_env: Option<String>,
    },
}

/// A server as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Its name.
    pub name: String,
    /// Who wrote it.
    pub origin: Origin,
    /// How it is reached.
    pub reach: Reach,
    /// Its environment beside the sandbox's own.
    pub env: BTreeMap<String, Variable>,
    /// From its start to its list of tools.
    pub init_timeout: Duration,
    /// One whole call.
    pub call_timeout: Duration,
    /// Silence within a call: neither an answer nor progress.
    pub idle_timeout: Duration,
    /// Tools that may be used; `None` = all that are pinned.
    pub tools: Option<BTreeSet<String>>,
    /// Tools whose repeat does nothing new, and the argument that says so.
    pub keyed: BTreeMap<String, Template>,
    /// Tools that answer with images: who is offered one must see.
    pub images: BTreeSet<String>,
}

impl ServerConfig {
    /// What is started or called, in one line for a person. Values of variables are not in it.
    pub fn line(&self) -> String {
        let names: Vec<&str> = self.env.keys().map(String::as_str).collect();
        let env = if names.is_empty() { String::new() } else { format!(" (env: {})", names.join(", ")) };
        match &self.reach {
            Reach::Program { command, args, cwd, read_only, writable, network } => {
                let word = |word: &String| {
                    let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c));
                    if plain { word.clone() } else { format!("{word:?}") }
                };
                let mut line: Vec<String> = std::iter::once(command).chain(args).map(word).collect();
                match (cwd, writable) {
                    (Some(cwd), false) => line.push(format!("(reads {})", cwd.display())),
                    (Some(cwd), true) => line.push(format!("(changes {})", cwd.display())),
                    (None, _) => {}
                }
                if !read_only.is_empty() {
                    let paths: Vec<String> = read_only.iter().map(|path| path.display().to_string()).collect();
                    line.push(format!("(reads {})", paths.join(", ")));
                }
                if *network {
                    line.push("(network)".to_owned());
                }
                format!("{}{env}", line.join(" "))
            }
            Reach::Service { url, bearer_env: Some(variable) } => format!("{url} (token: {variable})"),
            Reach::Service { url, bearer_env: None } => url.clone(),
        }
    }
}

/// An entry while its fields come in.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    command: Option<String>,
    args: Vec<String>,
    env: BTreeMap<String, Variable>,
    cwd: Option<PathBuf>,
    read_only: Vec<PathBuf>,
    writable: bool,
    network: bool,
    url: Option<String>,
    bearer_env: Option<String>,
    timeouts: BTreeMap<&'static str, Duration>,
    tools: Option<BTreeSet<String>>,
    keyed: BTreeMap<String, Template>,
    images: BTreeSet<String>,
    disabled: bool,
}

/// Whether a server may be called that: 1 to 32 of `[a-z0-9_-]`, beginning with a letter or digit, no `__`, no `_` at the end.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !plain || !begins || name.len() > 32 || name.contains("__") || name.ends_with('_') {
        let shown: String = crate::escape_for_screen(name).chars().take(64).collect();
        return Err(format!("{shown:?} cannot be a server's name: use 1 to 32 lowercase letters, digits, - and single _ inside"));
    }
    Ok(())
}

pub(super) fn check_variable(name: &str) -> Result<(), String> {
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first || name.len() > 100 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        // Whoever pastes a key here must not find it in a log.
        return Err("name a variable, e.g. \"DOCS_TOKEN\", not its value".to_owned());
    }
    Ok(())
}

impl Draft {
    /// Takes `FIELD`, `env.NAME` or `keyed.TOOL`.
    ///
    /// # Errors
    /// What is wrong with the value, to be put behind the field's full name. Values that may be keys are not repeated.
    pub fn set(&mut self, field: &str, value: &Setting) -> Result<(), String> {
        match field.split_once('.') {
            Some(("env", name)) => {
                check_variable(name)?;
                let text = one(value)?;
                if text.contains('\0') || text.len() > 32_000 {
                    return Err("a value has no NUL and at most 32,000 bytes".to_owned());
                }
                self.env.insert(name.to_owned(), Variable::Value(text.to_owned()));
                return Ok(());
            }
            Some(("keyed", tool)) => {
                self.keyed.insert(tool.to_owned(), Template::parse(one(value)?)?);
                return Ok(());
            }
            _ => {}
        }
        match field {
            "command" => self.command = Some(program(one(value)?)?),
            "args" => self.args = list(value)?.iter().map(|word| argument(word)).collect::<Result<_, _>>()?,
            "env" => {
                for name in list(value)? {
                    check_variable(name)?;
                    self.env.insert(name.clone(), Variable::From(name.clone()));
                }
            }
            "cwd" => self.cwd = Some(path(one(value)?)?),
            "read_only" => self.read_only = list(value)?.iter().map(|text| path(text)).collect::<Result<_, _>>()?,
            "writable" => self.writable = flag(value)?,
            "network" => self.network = flag(value)?,
            "enabled" => self.disabled = !flag(value)?,
            "url" => self.url = Some(address::check(one(value)?)?),
            "bearer_env" => {
                let name = one(value)?;
                check_variable(name)?;
                self.bearer_env = Some(name.to_owned());
            }
            "init_timeout" => self.timeouts.insert("init", span(value)?).map_or((), drop),
            "call_timeout" => self.timeouts.insert("call", span(value)?).map_or((), drop),
            "idle_timeout" => self.timeouts.insert("idle", span(value)?).map_or((), drop),
            "tools" => self.tools = Some(list(value)?.iter().cloned().collect()),
            "images" => self.images = list(value)?.iter().cloned().collect(),
            "keyed" => match value {
                Setting::Empty => {}
                _ => return Err("write a table, e.g. { create_issue = \"request_id={{key}}\" }".to_owned()),
            },
            "bearer" | "token" | "api_key" | "headers" => {
                return Err("keys do not stand in files; set a variable and name it: bearer_env = \"DOCS_TOKEN\"".to_owned());
            }
            _ => {
                let near = FIELDS.iter().map(|known| (distance(field, known), *known)).min().filter(|(slips, _)| *slips <= 3);
                let hint = near.map_or_else(|| format!("known are {}", FIELDS.join(", ")), |(_, known)| format!("did you mean {known}?"));
                return Err(format!("there is no such field; {hint}"));
            }
        }
        Ok(())
    }

    pub(super) fn pass_on(&mut self, name: &str, from: &str) {
        self.env.insert(name.to_owned(), Variable::From(from.to_owned()));
    }

    /// The entry, or `None` where it is switched off.
    ///
    /// # Errors
    /// What is missing or does not go together.
    pub fn finish(self, name: &str, origin: Origin) -> Result<Option<ServerConfig>, String> {
        check_name(name)?;
        let only = |program: bool, field: &str| {
            let (kind, way) = if program { ("a program", "command") } else { ("a service", "url") };
            Err(format!("{field} is for {kind}: give {way}, or take {field} out"))
        };
        let reach = match (self.command, self.url) {
            (Some(_), Some(_)) => return Err("it has both command and url: keep one".to_owned()),
            (None, None) => return Err("it has neither command nor url: give one".to_owned()),
            (Some(command), None) => {
                if self.bearer_env.is_some() {
                    return only(false, "bearer_env");
                }
                if self.writable && self.cwd.is_none() {
                    return Err("writable is about cwd: give cwd, the directory it may change".to_owned());
                }
                let (args, cwd, read_only) = (self.args, self.cwd, self.read_only);
                Reach::Program { command, args, cwd, read_only, writable: self.writable, network: self.network }
            }
            (None, Some(url)) => {
                let program = [
                    ("args", !self.args.is_empty()),
                    ("env", !self.env.is_empty()),
                    ("cwd", self.cwd.is_some()),
                    ("read_only", !self.read_only.is_empty()),
                    ("writable", self.writable),
                    ("network", self.network),
                ];
                if let Some((field, _)) = program.iter().find(|(_, given)| *given) {
                    return only(true, field);
                }
                Reach::Service { url, bearer_env: self.bearer_env }
            }
        };
        let call_timeout = self.timeouts.get("call").copied().unwrap_or(Duration::from_secs(60));
        let config = ServerConfig {
            name: name.to_owned(),
            origin,
            reach,
            env: self.env,
            init_timeout: self.timeouts.get("init").copied().unwrap_or(Duration::from_secs(30)),
            call_timeout,
            idle_timeout: self.timeouts.get("idle").copied().unwrap_or(call_timeout),
            tools: self.tools,
            keyed: self.keyed,
            images: self.images,
        };
        Ok((!self.disabled).then_some(config))
    }
}

fn one(value: &Setting) -> Result<&str, String> {
    match value {
        Setting::Text(text) => Ok(text),
        Setting::List(_) | Setting::Empty => Err("write one text".to_owned()),
    }
}

fn list(value: &Setting) -> Result<&[String], String> {
    match value {
        Setting::List(list) if list.len() <= 256 => Ok(list),
        Setting::List(_) => Err("at most 256 entries are taken".to_owned()),
        Setting::Text(_) | Setting::Empty => Err("write a list of texts".to_owned()),
    }
}

fn flag(value: &Setting) -> Result<bool, String> {
    match one(value)? {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

fn span(value: &Setting) -> Result<Duration, String> {
    let remedy = || "write a span from 1s to 1h, e.g. \"30s\"".to_owned();
    let span = parse_span(one(value)?).map(|span| Duration::from_millis(span.0)).ok_or_else(remedy)?;
    if (Duration::from_millis(100)..=LONGEST).contains(&span) { Ok(span) } else { Err(remedy()) }
}

fn argument(word: &str) -> Result<String, String> {
    if word.contains('\0') || word.len() > 32_000 {
        return Err("an argument has no NUL and at most 32,000 bytes".to_owned());
    }
    Ok(word.to_owned())
}

fn program(word: &str) -> Result<String, String> {
    let word = argument(word)?;
    if word.trim().is_empty() || word.contains(char::is_whitespace) {
        return Err("write the program alone, and its arguments in args".to_owned());
    }
    Ok(word)
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') || text.len() > 4_096 {
        return Err("write a path".to_owned());
    }
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, Setting)]) -> Result<Option<ServerConfig>, String> {
        let mut draft = Draft::default();
        for (field, value) in fields {
            draft.set(field, value).map_err(|why| format!("{field}: {why}"))?;
        }
        draft.finish("docs", Origin::Home)
    }

    fn texts(words: &[&str]) -> Setting {
        Setting::List(words.iter().map(|w| (*w).to_owned()).collect())
    }

    #[test]
    fn every_field_is_refused_by_name_with_a_remedy() {
        let program = ("command", Setting::from("npx"));
        for (fields, words) in [
            (vec![], "neither command nor url"),
            (vec![program.clone(), ("url", "https://a.example/mcp".into())], "both command and url"),
            (vec![("command", "npx -y docs".into())], "command: write the program alone"),
            (vec![program.clone(), ("args", "x".into())], "args: write a list"),
            (vec![program.clone(), ("env", texts(&["sk-123 456"]))], "env: name a variable"),
            (vec![program.clone(), ("init_timeout", "soon".into())], "init_timeout: write a span"),
            (vec![program.clone(), ("call_timeout", "2h".into())], "call_timeout: write a span"),
            (vec![program.clone(), ("network", "yes".into())], "network: write true or false"),
            (vec![program.clone(), ("comand", "x".into())], "did you mean command?"),
            (vec![program.clone(), ("writable", "true".into())], "writable is about cwd"),
            (vec![program.clone(), ("bearer_env", "TOKEN".into())], "bearer_env is for a service"),
            (vec![program.clone(), ("keyed.send", "always".into())], "keyed.send: write ARGUMENT="),
            (vec![("url", "https://a.example/mcp".into()), ("cwd", ".".into())], "cwd is for a program"),
            (vec![("url", "https://a.example/mcp".into()), ("token", "x".into())], "bearer_env"),
            (vec![("url", "http://a.example/mcp".into())], "url: "),
        ] {
            let error = entry(&fields).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
        let full = [program, ("env", texts(&["DOCS_TOKEN"])), ("env.MODE", "fast".into()), ("idle_timeout", "5s".into())];
        let config = entry(&full).expect("it is whole").expect("it is on");
        assert_eq!(config.env["DOCS_TOKEN"], Variable::From("DOCS_TOKEN".to_owned()));
        assert_eq!(config.idle_timeout, Duration::from_secs(5));
        assert_eq!(entry(&[("command", "x".into()), ("enabled", "false".into())]), Ok(None));
    }

    #[test]
    fn names_that_could_be_mistaken_for_another_server_are_refused() {
        for name in ["", "a__b", "a_", "_a", "Docs", "a.b", "dócs", "a b", &"x".repeat(33)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["docs", "a_b", "a-1", "7"] {
            assert_eq!(check_name(name), Ok(()));
        }
    }

    #[test]
    fn values_of_variables_are_never_shown() {
        let config = entry(&[("command", "x".into()), ("env.KEY", "canary".into())]).expect("whole").expect("on");
        assert!(!format!("{config:?}{}", config.line()).contains("canary"));
    }
}
