//! A workspace's `.mcp.json`: read like any untrusted file, usable only once a person has pinned what it names.

use std::collections::BTreeMap;
use std::path::Path;

use brigade_kernel::policy::Setting;
use serde_json::{Map, Value};

use super::config::{Draft, Origin, ServerConfig, check_name, check_variable};

const FILE: &str = ".mcp.json";
const MOST_BYTES: u64 = 1 << 20;
const MOST_SERVERS: usize = 64;

/// What a workspace's file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// Entries that can be used once they are trusted.
    pub servers: BTreeMap<String, ServerConfig>,
    /// What of the file cannot be used, one line each; it stops nothing else.
    pub faults: Vec<String>,
}

/// Reads `.mcp.json` in a workspace's root. Nothing in it grants anything: not trust, not a keyed tool.
pub fn import(workspace: &Path) -> Imported {
    let path = workspace.join(FILE);
    let mut found = Imported::default();
    let whole = |why: &str| vec![format!("{}: {why}; its MCP servers are left out", path.display())];
    // A link could show any file of the user's in a message.
    match std::fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() && meta.len() <= MOST_BYTES => {}
        Ok(_) => {
            found.faults = whole("is no plain file of at most 1 MiB");
            return found;
        }
        Err(_) => return found,
    }
    let value: Value = match std::fs::read_to_string(&path).map_err(|e| e.to_string()).and_then(|text| read(&text)) {
        Ok(value) => value,
        Err(why) => {
            found.faults = whole(&why);
            return found;
        }
    };
    let Some(Value::Object(servers)) = value.get("mcpServers") else {
        found.faults = whole("has no object \"mcpServers\"");
        return found;
    };
    for (name, value) in servers.iter().take(MOST_SERVERS) {
        match entry(name, value, &path) {
            Ok(Some(config)) => drop(found.servers.insert(name.clone(), config)),
            Ok(None) => {}
            Err(why) => {
                let shown: String = crate::escape_for_screen(name).chars().take(64).collect();
                found.faults.push(format!("{}: {shown}: {why}", path.display()));
            }
        }
    }
    if servers.len() > MOST_SERVERS {
        found.faults.push(format!("{}: only the first {MOST_SERVERS} servers are looked at", path.display()));
    }
    found
}

fn read(text: &str) -> Result<Value, String> {
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|e| format!("is no JSON at line {}", e.line()))
}

fn entry(name: &str, value: &Value, path: &Path) -> Result<Option<ServerConfig>, String> {
    check_name(name)?;
    let Value::Object(fields) = value else { return Err("write an object with command or url".to_owned()) };
    let mut draft = Draft::default();
    for (field, value) in fields {
        take(&mut draft, field, value).map_err(|why| {
            let shown: String = crate::escape_for_screen(field).chars().take(40).collect();
            format!("{shown}: {why}")
        })?;
    }
    draft.finish(name, Origin::Workspace(path.to_owned()))
}

fn take(draft: &mut Draft, field: &str, value: &Value) -> Result<(), String> {
    match (field, value) {
        ("type" | "transport", Value::String(kind)) => match kind.as_str() {
            "stdio" | "http" | "streamable-http" | "streamableHttp" => Ok(()),
            "sse" => Err("not supported yet: sse; most servers offer streamable HTTP at another address".to_owned()),
            _ => Err("write stdio or http".to_owned()),
        },
        ("env", Value::Object(map)) => map.iter().try_for_each(|(name, value)| variable(draft, name, value)),
        ("headers", Value::Object(map)) => headers(draft, map),
        ("disabled", Value::Bool(off)) => draft.set("enabled", &Setting::Text((!off).to_string())),
        // Other programs' notes to themselves; here they would have to grant something to matter.
        ("description" | "autoApprove" | "alwaysAllow", _) => Ok(()),
        ("keyed", _) => Err("only the config.toml of BRIGADE_HOME can declare a tool keyed".to_owned()),
        (_, value) => draft.set(field, &setting(value)?),
    }
}

fn variable(draft: &mut Draft, name: &str, value: &Value) -> Result<(), String> {
    check_variable(name)?;
    let Value::String(text) = value else { return Err("a variable is a text".to_owned()) };
    match reference(text) {
        Some(from) => {
            check_variable(from)?;
            draft.pass_on(name, from);
            Ok(())
        }
        None if text.contains("${") => Err(format!("{name}: a value is either ${{VARIABLE}} as a whole or plain text")),
        None => draft.set(&format!("env.{name}"), &Setting::Text(text.clone())),
    }
}

fn headers(draft: &mut Draft, map: &Map<String, Value>) -> Result<(), String> {
    for (name, value) in map {
        let token = value.as_str().and_then(|text| text.strip_prefix("Bearer ")).and_then(|text| reference(text.trim()));
        match token {
            Some(variable) if name.eq_ignore_ascii_case("authorization") => draft.set("bearer_env", &Setting::from(variable))?,
            _ => return Err("only \"Authorization\": \"Bearer ${VARIABLE}\" is sent".to_owned()),
        }
    }
    Ok(())
}

/// The variable in `${NAME}`.
fn reference(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}').filter(|name| !name.contains('$'))
}

fn setting(value: &Value) -> Result<Setting, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        _ => Err("write texts".to_owned()),
    };
    match value {
        Value::Array(list) => Ok(Setting::List(list.iter().map(text).collect::<Result<_, _>>()?)),
        other => text(other).map(Setting::Text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{Reach, Variable};
    use super::*;
    use serde_json::json;

    fn imported(value: &Value) -> Imported {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join(FILE), value.to_string()).expect("written");
        import(dir.path())
    }

    #[test]
    fn the_usual_files_are_read() {
        let found = imported(&json!({"mcpServers": {
            "files": {"type": "stdio", "command": "npx", "args": ["-y", "files", "."], "env": {"TOKEN": "${FILES_TOKEN}", "MODE": "1"}, "autoApprove": ["x"]},
            "docs": {"type": "http", "url": "https://docs.example/mcp", "headers": {"Authorization": "Bearer ${DOCS_TOKEN}"}},
            "off": {"command": "x", "disabled": true}
        }}));
        assert_eq!(found.faults, Vec::<String>::new());
        assert_eq!(found.servers.keys().collect::<Vec<_>>(), ["docs", "files"]);
        assert_eq!(found.servers["files"].env["TOKEN"], Variable::From("FILES_TOKEN".to_owned()));
        let token = Reach::Service { url: "https://docs.example/mcp".to_owned(), bearer_env: Some("DOCS_TOKEN".to_owned()) };
        assert_eq!(found.servers["docs"].reach, token);
    }

    #[test]
    fn a_bad_entry_is_named_and_spoils_no_other() {
        let found = imported(&json!({"mcpServers": {
            "good": {"command": "x"},
            "a__b": {"command": "x"},
            "sse": {"type": "sse", "url": "https://a.example/"},
            "keys": {"command": "x", "keyed": {"send": "id={{key}}"}},
            "mixed": {"command": "x", "env": {"A": "x-${B}"}},
            "shape": 7
        }}));
        assert_eq!(found.servers.keys().collect::<Vec<_>>(), ["good"]);
        let all = found.faults.join("\n");
        for words in ["a__b", "not supported yet: sse", "declare a tool keyed", "as a whole", "shape: write an object"] {
            assert!(all.contains(words), "{all}");
        }
    }

    #[test]
    fn a_file_that_is_none_imports_nothing() {
        assert_eq!(import(tempfile::tempdir().expect("a folder").path()), Imported::default());
        assert_eq!(imported(&json!([])).faults.len(), 1);
        #[cfg(unix)]
        {
            let dir = tempfile::tempdir().expect("a folder");
            std::os::unix::fs::symlink("/etc/passwd", dir.path().join(FILE)).expect("linked");
            let found = import(dir.path());
            assert!(found.servers.is_empty() && found.faults[0].contains("no plain file"), "{found:?}");
        }
    }
}
