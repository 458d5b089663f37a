//! MCP servers: programs and services of others, joined by name, each on a short lead.
//!
//! A server is *configured* by the user or by a workspace's `.mcp.json`, and can be used once a person has *pinned* it:
//! what is started or called, and every tool's name, description and schema. What a plan and a model see of a server comes
//! from the pins alone, so nothing runs before the first call, and nothing a server says later reaches a prompt but results.
//! When a running server differs from its pins it is quarantined, with words that name the tool and the remedy.
//!
//! A program runs in the sandbox and nowhere else. No request is ever sent twice from here: a call whose answer did not
//! come ends as [`Called::Unknown`], and somebody else decides. Nothing a server asks of *us* (sampling, roots, elicitation) is granted.
//!
//! Read first: [`Servers`], then [`ServerConfig`], then `server.rs`.

mod address;
mod config;
mod connect;
mod import;
mod keyed;
mod offer;
mod pins;
mod result;
mod server;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use brigade_kernel::tool::{Effect, ToolOutput, ToolSpec, mcp_name, mcp_parts};
use tokio::sync::watch;

pub use config::{Draft, Origin, Reach, ServerConfig, Variable};
pub use import::{Imported, import};
pub use offer::Offered;
pub use pins::{Pin, Pins, PinsError, Standing};
pub use result::shown;
pub use server::Trouble;

use crate::brought::Brought;

use server::Server;

/// Where servers live on this machine.
#[derive(Clone, Default)]
pub struct Grounds {
    /// The run's workspace: relative paths of a configuration begin there.
    pub workspace: PathBuf,
    /// brigade's own folder for servers: each has a private one in it.
    pub dir: PathBuf,
    /// The variables that may be passed on by name.
    pub env: BTreeMap<String, String>,
    /// The binary that launches sandboxes, where it is not this one.
    pub launcher: Option<PathBuf>,
}

impl std::fmt::Debug for Grounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The variables are everybody's keys.
        f.debug_struct("Grounds").field("workspace", &self.workspace).field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Called {
    /// The server answered, or nothing was sent.
    Answered(Brought),
    /// It was sent and nobody knows what came of it.
    Unknown(String),
}

/// The servers that a process may use, by name. Dropping it ends every one of them.
#[derive(Debug)]
pub struct Servers {
    known: BTreeMap<String, Arc<Server>>,
    leaving: watch::Sender<bool>,
}

impl Servers {
    /// These servers with their pins; none is started.
    pub fn new(configs: &BTreeMap<String, ServerConfig>, pins: &Pins, grounds: &Grounds) -> Self {
        let server = |config: &ServerConfig| Arc::new(Server::new(config.clone(), pins.standing(config), grounds.clone()));
        let known = configs.iter().map(|(name, config)| (name.clone(), server(config))).collect();
        Self { known, leaving: watch::Sender::new(false) }
    }

    /// Every tool of every pinned server that its configuration lets through, in fixed order.
    pub fn specs(&self) -> Vec<ToolSpec> {
        let of = |(name, server): (&String, &Arc<Server>)| {
            let spec = |tool: &Offered| ToolSpec {
                name: mcp_name(name, &tool.name),
                description: tool.about(name),
                parameters: tool.schema.clone().into(),
                effect: if server.config().keyed.contains_key(&tool.name) { Effect::Keyed } else { Effect::Unkeyed },
                images: server.config().images.contains(&tool.name),
            };
            server.offered().map(spec).collect::<Vec<_>>()
        };
        self.known.iter().flat_map(of).collect()
    }

    /// Calls `mcp__server__tool` within `deadline` and the server's own.
    ///
    /// `key` names this call for good: where the user declared the tool keyed, it fills the template, and a repeat says the same.
    pub async fn call(&self, name: &str, arguments: &str, key: &str, deadline: Duration) -> Called {
        let refuse = |why: String| Called::Answered(ToolOutput::refused(why).into());
        let Some((server, tool)) = mcp_parts(name) else { return refuse(format!("{name:?} is no tool of an MCP server")) };
        let Some(known) = self.known.get(server) else {
            return refuse(format!("there is no MCP server {server:?} here; go on without it"));
        };
        let mut leaving = self.leaving.subscribe();
        tokio::select! {
            called = known.call(tool, arguments, key, deadline) => called,
            _ = leaving.wait_for(|leaving| *leaving) => Called::Unknown(format!("the MCP server {server} had not answered when the run was left")),
        }
    }

    /// Waits for no answer any more: calls under way end as unknown, and so does each that is still made.
    pub fn leave(&self) {
        self.leaving.send_replace(true);
    }

    /// Starts or calls a server and says what it offers; what it had been pinned to does not matter.
    ///
    /// # Errors
    /// [`Trouble`] says what of it failed.
    pub async fn look(&self, name: &str) -> Result<Vec<Offered>, Trouble> {
        match self.known.get(name) {
            Some(server) => server.look().await,
            None => Err(Trouble::Refused(format!("no MCP server is named {name:?}"))),
        }
    }

    /// Ends them all and waits until nothing of them lives.
    pub async fn close(&self) {
        for server in self.known.values() {
            server.close().await;
        }
    }
}
