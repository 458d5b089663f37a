//! What a person has looked at and trusts, by hash: a file of the home that only its owner reads.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::{Origin, ServerConfig};
use super::offer::{self, Offered};

/// The file's name below the home.
const FILE: &str = "mcp-trust.json";
/// Nobody pins that much by hand.
const MOST_BYTES: u64 = 32 << 20;
const VERSION: u64 = 1;

/// A server as it was when it was trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// Hash of what is started or called.
    pub launch: String,
    /// The same in words, to say what changed.
    pub line: String,
    /// Its tools.
    pub tools: Vec<Offered>,
}

/// Every pin of the home.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pins {
    file: PathBuf,
    servers: BTreeMap<String, Pin>,
}

/// Why pins cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// The file cannot be read or written.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what brigade wrote.
    #[error("{path} is not brigade's list of trusted MCP servers ({why}): remove it and trust them again with `brigade mcp trust NAME`")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// How a configured server stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// Nobody has looked at it.
    Untrusted,
    /// It is what was pinned, as far as can be known without starting it.
    Pinned(Pin),
    /// It is quarantined; the words say what changed and what to do.
    Changed(String),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u64,
    servers: BTreeMap<String, Pin>,
}

/// Under which name a server is pinned: one of a workspace is another in the next.
fn key(config: &ServerConfig) -> String {
    match &config.origin {
        Origin::Home => config.name.clone(),
        Origin::Workspace(file) => format!("{}#{}", file.display(), config.name),
    }
}

/// Hash of everything that decides what is started or called.
fn launch(config: &ServerConfig) -> String {
    let env: BTreeMap<&String, Value> = config.env.iter().map(|(name, value)| (name, json!(value))).collect();
    offer::hash(&json!([config.reach, env]))
}

impl Pins {
    /// The pins of a home; none where there is no file.
    ///
    /// # Errors
    /// [`PinsError`]: a broken file is no empty one.
    pub fn read(home: &Path) -> Result<Self, PinsError> {
        let file = home.join(FILE);
        let unread = |source| PinsError::File { what: "read", path: file.clone(), source };
        let broken = |why: String| PinsError::Broken { path: file.clone(), why };
        let meta = match fs::metadata(&file) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { file, servers: BTreeMap::new() }),
            Err(error) => return Err(unread(error)),
        };
        if !meta.is_file() || meta.len() > MOST_BYTES {
            return Err(broken("no file of at most 32 MiB".to_owned()));
        }
        let text = fs::read_to_string(&file).map_err(unread)?;
        let stored: Stored = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
        if stored.version != VERSION {
            return Err(broken(format!("version {}, this brigade reads {VERSION}", stored.version)));
        }
        for (name, pin) in &stored.servers {
            let server = name.rsplit('#').next().unwrap_or(name);
            for tool in &pin.tools {
                tool.judge(server).map_err(|why| broken(format!("{name}: {why}")))?;
            }
        }
        Ok(Self { file, servers: stored.servers })
    }

    /// How a server stands, before it is started.
    pub fn standing(&self, config: &ServerConfig) -> Standing {
        let Some(pin) = self.servers.get(&key(config)) else { return Standing::Untrusted };
        if pin.launch == launch(config) {
            return Standing::Pinned(pin.clone());
        }
        let (now, name) = (config.line(), &config.name);
        let what = if now == pin.line { "its variables changed".to_owned() } else { format!("it was `{}` and is `{now}` now", pin.line) };
        Standing::Changed(format!(
            "the MCP server {name} is not what was trusted: {what}; look at it with `brigade mcp list`, then `brigade mcp trust {name}`"
        ))
    }

    /// Pins a server as it is, and writes the file whole or not at all, readable by its owner only.
    ///
    /// # Errors
    /// Why it cannot be written; nothing is trusted then.
    pub fn pin(&mut self, config: &ServerConfig, tools: Vec<Offered>) -> Result<(), PinsError> {
        let path = self.file.clone();
        let unwritten = |source| PinsError::File { what: "write", path: path.clone(), source };
        let mut servers = self.servers.clone();
        servers.insert(key(config), Pin { launch: launch(config), line: config.line(), tools });
        let stored = Stored { version: VERSION, servers };
        let text = serde_json::to_vec_pretty(&stored).expect("pins are plain data");
        crate::private::write(&path, &text).map_err(unwritten)?;
        self.servers = stored.servers;
        Ok(())
    }
}

/// What of a running server is not as pinned, in words; `None` when all is.
pub(super) fn difference(server: &str, pinned: &[Offered], now: &[Offered]) -> Option<String> {
    let by_name = |tools: &'_ [Offered]| tools.iter().map(|tool| (tool.name.clone(), tool.clone())).collect::<BTreeMap<_, _>>();
    let (before, after) = (by_name(pinned), by_name(now));
    let mut what = Vec::new();
    for (name, tool) in &after {
        match before.get(name) {
            None => what.push(format!("the tool {name:?} is new")),
            Some(old) if old.description != tool.description => what.push(format!("the description of {name:?} changed")),
            Some(old) if old.hash() != tool.hash() => what.push(format!("the schema of {name:?} changed")),
            Some(_) => {}
        }
    }
    what.extend(before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("the tool {name:?} is gone")));
    if what.is_empty() {
        return None;
    }
    let (shown, more) = (what.iter().take(5).cloned().collect::<Vec<_>>().join(", "), what.len().saturating_sub(5));
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "the MCP server {server} is quarantined, it is not what was trusted: {shown}{more}; \
         look with `brigade mcp trust {server} --dry-run`, then `brigade mcp trust {server}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::config::Draft;
    use super::*;
    use brigade_kernel::policy::Setting;

    fn config(args: &[&str], token: &str) -> ServerConfig {
        let mut draft = Draft::default();
        draft.set("command", &Setting::from("docs")).expect("fine");
        draft.set("args", &Setting::List(args.iter().map(|a| (*a).to_owned()).collect())).expect("fine");
        draft.set("env.TOKEN", &Setting::from(token)).expect("fine");
        draft.finish("docs", Origin::Home).expect("whole").expect("on")
    }

    fn tool(name: &str, description: &str) -> Offered {
        Offered { name: name.to_owned(), description: description.to_owned(), schema: json!({"type": "object"}), output_schema: None }
    }

    #[test]
    fn a_pin_holds_until_command_arguments_or_variables_change() {
        let home = tempfile::tempdir().expect("a folder");
        let mut pins = Pins::read(home.path()).expect("none yet");
        assert_eq!(pins.standing(&config(&["a"], "t")), Standing::Untrusted);
        pins.pin(&config(&["a"], "t"), vec![tool("find", "Finds.")]).expect("written");
        let pins = Pins::read(home.path()).expect("as written");
        assert!(matches!(pins.standing(&config(&["a"], "t")), Standing::Pinned(pin) if pin.tools == [tool("find", "Finds.")]));
        let Standing::Changed(why) = pins.standing(&config(&["b"], "t")) else { panic!("other arguments") };
        assert!(why.contains("was `docs a (env: TOKEN)` and is `docs b (env: TOKEN)`") && why.contains("brigade mcp trust docs"), "{why}");
        assert!(matches!(pins.standing(&config(&["a"], "u")), Standing::Changed(_)));
        let elsewhere = ServerConfig { origin: Origin::Workspace("/w/.mcp.json".into()), ..config(&["a"], "t") };
        assert_eq!(pins.standing(&elsewhere), Standing::Untrusted);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().expect("a folder");
        fs::write(home.path().join(FILE), "{\"version\":1,\"servers\":{}}").expect("written");
        fs::set_permissions(home.path().join(FILE), fs::Permissions::from_mode(0o644)).expect("opened to all");
        Pins::read(home.path()).expect("fine").pin(&config(&[], "t"), Vec::new()).expect("written");
        assert_eq!(fs::metadata(home.path().join(FILE)).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_not_an_empty_one() {
        let home = tempfile::tempdir().expect("a folder");
        for text in ["", "[]", "{\"version\":9,\"servers\":{}}"] {
            fs::write(home.path().join(FILE), text).expect("written");
            assert!(matches!(Pins::read(home.path()), Err(PinsError::Broken { .. })), "{text:?}");
        }
    }

    #[test]
    fn every_change_names_its_tool() {
        let pinned = [tool("a", "x"), tool("b", "x"), tool("c", "x")];
        let now = [tool("a", "x"), tool("b", "y"), tool("d", "x")];
        let why = difference("docs", &pinned, &now).expect("it changed");
        for words in ["description of \"b\"", "\"d\" is new", "\"c\" is gone", "brigade mcp trust docs"] {
            assert!(why.contains(words), "{why}");
        }
        assert_eq!(difference("docs", &pinned, &[tool("c", "x"), tool("b", "x"), tool("a", "x")]), None);
    }
}
