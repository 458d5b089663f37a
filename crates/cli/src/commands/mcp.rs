//! `brigade mcp`: which servers there are and how they stand; and a person's word that one may be used as it is.
//!
//! Only `trust` starts a server that is not trusted yet, in the sandbox, and shows what is started first.

use std::path::PathBuf;

use brigade_runtime::Mcp;
use brigade_tools::mcp::{Offered, Origin, Pins, ServerConfig, Standing, import};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure, chain};
use crate::screen::{Column, Table};
use crate::{screen, wiring};

/// List MCP servers, or trust one as it is.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Servers, what is started or called, their tools and how they stand; nothing is started
    List {
        /// The workspace, for its .mcp.json
        #[arg(short = 'C', value_name = "DIR", default_value = ".")]
        directory: PathBuf,
        /// One JSON array on standard output
        #[arg(long)]
        json: bool,
    },
    /// Start a server once, show its tools, and pin it as it is
    Trust {
        /// The server
        name: String,
        /// The workspace, for its .mcp.json
        #[arg(short = 'C', value_name = "DIR", default_value = ".")]
        directory: PathBuf,
        /// Show what would be pinned, and pin nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Does it.
///
/// # Errors
/// Exit 2 for a configuration that cannot be read or a server that is not there; exit 1 for one that does not start.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.what {
        What::List { directory, json } => list(directory, *json),
        What::Trust { name, directory, dry_run } => trust(name, directory, *dry_run),
    }
}

/// The servers seen from a workspace, and what of its `.mcp.json` is unusable.
fn seen_from(directory: &std::path::Path) -> Result<(Mcp, PathBuf, Vec<String>), Failure> {
    let env = wiring::env();
    let workspace = directory.canonicalize().map_err(|e| Failure::usage(format!("-C {}: {e}", directory.display())))?;
    let (config, _) = wiring::configure(&[], &env, Some(&workspace))?;
    let imported = import(&workspace);
    let mut faults = imported.faults;
    for name in imported.servers.keys().filter(|name| config.mcp_servers.contains_key(*name)) {
        faults.push(format!("the server {name} of .mcp.json is hidden by the one of the configuration"));
    }
    Ok((wiring::mcp(&config, &env, Some(&workspace))?, workspace, faults))
}

fn list(directory: &std::path::Path, json: bool) -> Result<Exit, Failure> {
    let (mcp, _, faults) = seen_from(directory)?;
    for fault in &faults {
        screen::remark(fault);
    }
    if json {
        let servers: Vec<Value> = mcp.configs().values().map(|config| as_json(config, &mcp.pins().standing(config))).collect();
        screen::print(&screen::json_line(&servers));
        return Ok(Exit::Done);
    }
    if mcp.configs().is_empty() {
        screen::remark("no MCP servers: write [mcp_servers.NAME] into the config.toml of BRIGADE_HOME, or an .mcp.json into the workspace");
        return Ok(Exit::Done);
    }
    let (words, number) = (|heading| (heading, Column::Whole), |heading| (heading, Column::Number));
    let mut servers = Table::new(&[
        words("server"),
        words("trust"),
        number("tools"),
        number("tokens"),
        words("from"),
        words("what is started or called"),
    ]);
    let mut tools = Table::new(&[words("tool"), number("tokens"), words("effect"), ("what the server says of it", Column::Text(100))]);
    for config in mcp.configs().values() {
        let standing = mcp.pins().standing(config);
        let (count, tokens) = match &standing {
            Standing::Pinned(pin) => {
                let offered: Vec<&Offered> = pin.tools.iter().filter(|tool| lets_through(config, tool)).collect();
                offered.iter().for_each(|tool| tools.row(row(config, tool)));
                let tokens: usize = offered.iter().map(|tool| tool.tokens(&config.name)).sum();
                (offered.len().to_string(), tokens.to_string())
            }
            Standing::Untrusted | Standing::Changed(_) => ("?".to_owned(), "?".to_owned()),
        };
        servers.row([config.name.clone(), word(&standing).to_owned(), count, tokens, origin(config), config.line()]);
    }
    screen::print(&servers.shown());
    if !tools.is_empty() {
        screen::print("\n");
        screen::print(&tools.shown());
    }
    for config in mcp.configs().values() {
        match mcp.pins().standing(config) {
            Standing::Changed(why) => screen::remark(&why),
            Standing::Untrusted => screen::remark(&format!("{0} is not trusted: brigade mcp trust {0}", config.name)),
            Standing::Pinned(_) => {}
        }
    }
    Ok(Exit::Done)
}

fn trust(name: &str, directory: &std::path::Path, dry_run: bool) -> Result<Exit, Failure> {
    let (mcp, workspace, _) = seen_from(directory)?;
    let Some(config) = mcp.configs().get(name) else {
        let names: Vec<&str> = mcp.configs().keys().map(String::as_str).collect();
        let known = if names.is_empty() { "none is configured".to_owned() } else { format!("there are: {}", names.join(", ")) };
        return Err(Failure::usage(format!("there is no MCP server {name:?}; {known}")));
    };
    let home = wiring::home_dir(&wiring::env())?;
    screen::remark(&format!("{name}: {}", config.line()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let servers = mcp.servers(&home, &workspace);
    let tools = match runtime.block_on(servers.look(name)) {
        Ok(tools) => tools,
        Err(why) => {
            screen::remark(&format!("the MCP server {name} cannot be trusted: {why}"));
            return Ok(Exit::Failed);
        }
    };
    for tool in &tools {
        screen::print(&in_full(config, tool));
    }
    if dry_run {
        screen::remark("nothing was pinned");
        return Ok(Exit::Done);
    }
    let count = tools.len() as u64;
    let mut pins = Pins::read(&home).map_err(|e| Failure::usage(chain(&e)))?;
    pins.pin(config, tools).map_err(|e| Failure::usage(chain(&e)))?;
    screen::remark(&format!(
        "{name} is trusted with {}, exactly as shown; a subtask joins it by mcp_servers = [\"{name}\"]",
        brigade_kernel::view::count(count, "tool", "tools")
    ));
    Ok(Exit::Done)
}

fn lets_through(config: &ServerConfig, tool: &Offered) -> bool {
    config.tools.as_ref().is_none_or(|allowed| allowed.contains(&tool.name))
}

fn effect(config: &ServerConfig, tool: &Offered) -> &'static str {
    match (lets_through(config, tool), config.keyed.contains_key(&tool.name)) {
        (false, _) => "left out",
        (true, true) => "keyed",
        (true, false) => "at most once",
    }
}

/// Every word of it that a model would read: whoever trusts it must have seen it.
fn in_full(config: &ServerConfig, tool: &Offered) -> String {
    fn said(schema: &Value, path: &str, lines: &mut Vec<String>) {
        let Value::Object(map) = schema else { return };
        for word in ["title", "description"].into_iter().filter_map(|key| map.get(key)).filter_map(Value::as_str) {
            lines.push(format!("{path}: {word}"));
        }
        for (name, inner) in map.iter().filter(|(_, inner)| inner.is_object()) {
            let path = match name.as_str() {
                "properties" | "items" => path.to_owned(),
                _ if path.is_empty() => name.clone(),
                _ => format!("{path}.{name}"),
            };
            said(inner, &path, lines);
        }
    }
    let name = brigade_kernel::tool::mcp_name(&config.name, &tool.name);
    let mut lines = vec![tool.description.clone()];
    said(&tool.schema, "", &mut lines);
    let words = brigade_tools::escape_for_screen(&lines.join("\n")).replace('\n', "\n    ");
    format!("{name} ({} tokens, {})\n    {}\n", tool.tokens(&config.name), effect(config, tool), words.trim())
}

fn row(config: &ServerConfig, tool: &Offered) -> [String; 4] {
    let name = brigade_kernel::tool::mcp_name(&config.name, &tool.name);
    let first = tool.description.split('\n').next().unwrap_or_default().to_owned();
    [name, tool.tokens(&config.name).to_string(), effect(config, tool).to_owned(), first]
}

fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Untrusted => "no",
        Standing::Pinned(_) => "yes",
        Standing::Changed(_) => "changed",
    }
}

fn origin(config: &ServerConfig) -> String {
    match config.origin {
        Origin::Home => "config.toml".to_owned(),
        Origin::Workspace(_) => ".mcp.json".to_owned(),
    }
}

fn as_json(config: &ServerConfig, standing: &Standing) -> Value {
    let tool = |tool: &Offered| {
        json!({
            "name": brigade_kernel::tool::mcp_name(&config.name, &tool.name),
            "description": tool.description,
            "tokens": tool.tokens(&config.name),
            "hash": tool.hash(),
            "keyed": config.keyed.contains_key(&tool.name),
            "used": lets_through(config, tool),
        })
    };
    let (tools, why) = match standing {
        Standing::Pinned(pin) => (pin.tools.iter().map(tool).collect(), None),
        Standing::Changed(why) => (Vec::new(), Some(why.clone())),
        Standing::Untrusted => (Vec::new(), None),
    };
    json!({"name": config.name, "trust": word(standing), "why": why, "from": origin(config), "line": config.line(), "tools": tools})
}
