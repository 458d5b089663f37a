//! The MCP servers of a run: which there are, and calls of their tools turned into facts.
//!
//! What is offered comes from configuration and pins; nothing is started before the first call.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use brigade_journal::{Journal, Stream};
use brigade_kernel::ids::RunId;
use brigade_kernel::plan::Subtask;
use brigade_kernel::run::{Event, Fact, Unit};
use brigade_kernel::time::Millis;
use brigade_kernel::tool::{OPEN_OUTPUT, ToolSpec, mcp_parts};
use brigade_tools::mcp::{Called, Grounds, Pins, Reach, ServerConfig, Servers};
use sha2::{Digest, Sha256};

use crate::engine::World;
use crate::failpoint::hit;
use crate::hands;
use crate::home::{Home, events_of};
use crate::outputs::keep;
use crate::record::{LoadError, decode};

/// Longer than any server's own deadline.
const LONGEST: Duration = Duration::from_secs(2 * 3600);

/// What a process knows of MCP servers.
#[derive(Clone, Default)]
pub struct Mcp {
    configs: BTreeMap<String, ServerConfig>,
    pins: Pins,
    env: BTreeMap<String, String>,
}

impl std::fmt::Debug for Mcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The variables are everybody's keys.
        f.debug_struct("Mcp").field("configs", &self.configs).finish_non_exhaustive()
    }
}

impl Mcp {
    /// These servers, with these pins; `env` are the variables that may be passed on by name.
    pub fn new(configs: BTreeMap<String, ServerConfig>, pins: Pins, env: BTreeMap<String, String>) -> Self {
        Self { configs, pins, env }
    }

    /// The servers as configured, by name.
    pub fn configs(&self) -> &BTreeMap<String, ServerConfig> {
        &self.configs
    }

    /// What was pinned.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Every tool a plan may name: the built-in ones, then those of pinned servers.
    pub fn specs(&self) -> Vec<ToolSpec> {
        let mut specs = hands::specs();
        specs.extend(Servers::new(&self.configs, &self.pins, &Grounds::default()).specs());
        specs
    }

    /// Whether joining one of these servers starts a program here.
    pub fn starts_programs<'a>(&self, mut joined: impl Iterator<Item = &'a String>) -> bool {
        joined.any(|name| matches!(self.configs.get(name).map(|config| &config.reach), Some(Reach::Program { .. })))
    }

    /// The servers, ready to be called from a workspace.
    pub fn servers(&self, home: &Path, workspace: &Path) -> Servers {
        let grounds = Grounds { workspace: workspace.to_owned(), dir: home.join("mcp"), env: self.env.clone(), launcher: None };
        Servers::new(&self.configs, &self.pins, &grounds)
    }

    pub(crate) fn of_run(&self, home: &Home, workspace: &str) -> Servers {
        self.servers(home.dir(), Path::new(workspace))
    }
}

/// Events looked at of one run: enough for any but a huge bulk run, whose first rows tell as much.
const MOST_EVENTS: u64 = 200_000;

/// The servers whose tools a run called.
///
/// # Errors
/// The journal's.
pub fn called_in(journal: &dyn Journal, run: &RunId) -> Result<BTreeSet<String>, LoadError> {
    const PAGE: usize = 4_096;
    let (stream, mut next, mut servers) = (events_of(run), 1, BTreeSet::new());
    while next <= MOST_EVENTS {
        let page = journal.read(&stream, next, PAGE)?;
        let Some(last) = page.last() else { break };
        next = last.seq + 1;
        // Only records that name such a tool are worth reading.
        for stored in page.iter().filter(|stored| stored.bytes.windows(PREFIX.len()).any(|bytes| bytes == PREFIX)) {
            if let Event::ToolEnded { name, .. } | Event::ToolStarted { name, .. } = decode(run, stored.seq, &stored.bytes)?.event
                && let Some((server, _)) = mcp_parts(&name)
            {
                servers.insert(server.to_owned());
            }
        }
    }
    Ok(servers)
}

/// How the name of such a tool begins in a record.
const PREFIX: &[u8] = b"\"mcp__";

/// One call of a server's tool, on record before it is made.
#[derive(Debug)]
pub(crate) struct McpCall<'a> {
    pub unit: Unit,
    pub attempt: u32,
    pub call_id: String,
    pub name: &'a str,
    pub arguments: &'a str,
}

/// Makes the call; the view is none of its business.
pub(crate) async fn call(world: &World, stream: &Stream, spec: &Subtask, call: McpCall<'_>) -> Fact {
    let start = Instant::now();
    let key = key_of(stream, &call);
    let McpCall { unit, attempt, call_id, name, arguments } = call;
    let deadline = spec.deadline.map_or(LONGEST, |limit| Duration::from_millis(limit.0));
    hit("before-tool");
    let called = world.servers.call(name, arguments, &key, deadline).await;
    hit("after-tool");
    match called {
        Called::Answered(brought) => {
            let brought = if spec.grants(OPEN_OUTPUT) { brought } else { brought.closed("ask for less, or for a part") };
            let (output, saved) = keep(brought, world, stream).await;
            let ms = Millis(start.elapsed().as_millis() as u64);
            Fact::ToolDone { unit, attempt, call_id, output, saved, tree: None, changed: None, ms }
        }
        Called::Unknown(why) => Fact::ToolUnknown { unit, call_id, why },
    }
}

/// What a keyed tool is told of this call: the same for a repeat after a crash, another for any other call.
/// The arguments are in it because weak models use one call id twice.
fn key_of(stream: &Stream, call: &McpCall<'_>) -> String {
    let mut hasher = Sha256::new();
    let attempt = call.attempt.to_string();
    let unit = call.unit.to_string();
    for part in [stream.as_str(), &unit, &attempt, &call.call_id, call.name, call.arguments] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
