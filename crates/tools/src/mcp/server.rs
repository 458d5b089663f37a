//! One server's life: started at the first call, compared with its pins, restarted a bounded number of times, ended with the run.
//!
//! It never repeats a call. What a server says about itself (read-only, idempotent) decides nothing.

use std::sync::Arc;
use std::time::Duration;

use brigade_kernel::tool::ToolOutput;
use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest, ServerResult};
use rmcp::service::{PeerRequestOptions, ServiceError};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::config::{ServerConfig, Variable};
use super::connect::{Line, words};
use super::offer::Offered;
use super::pins::{Standing, difference};
use super::{Called, Grounds, Reach, result};

/// Longest arguments of one call, in bytes.
const ARGUMENT_BYTES: usize = 1 << 20;
/// Starts in a row that may fail before the server is given up.
const MOST_FAILURES: u32 = 5;
/// First wait before a restart; doubled each time.
const BACKOFF: Duration = Duration::from_millis(200);
/// Shorter values are no secrets and would blot out ordinary words.
const SHORTEST_SECRET: usize = 6;

/// Why a server cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Its configuration, its pins or the machine stand in the way: trying again does not help.
    #[error("{0}")]
    Refused(String),
    /// It failed, and may not the next time.
    #[error("{0}")]
    Failed(String),
}

/// A server and the line to it, if there is one.
#[derive(Debug)]
pub(super) struct Server {
    config: ServerConfig,
    standing: Standing,
    grounds: Grounds,
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    line: Option<Arc<Line>>,
    failures: u32,
    not_before: Option<Instant>,
    quarantined: Option<String>,
}

impl Server {
    pub(super) fn new(config: ServerConfig, standing: Standing, grounds: Grounds) -> Self {
        Self { config, standing, grounds, slot: Mutex::default() }
    }

    pub(super) fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// Pinned tools that the configuration lets through.
    pub(super) fn offered(&self) -> impl Iterator<Item = &Offered> {
        let pinned = match &self.standing {
            Standing::Pinned(pin) => pin.tools.as_slice(),
            Standing::Untrusted | Standing::Changed(_) => &[],
        };
        pinned.iter().filter(|tool| self.config.tools.as_ref().is_none_or(|allowed| allowed.contains(&tool.name)))
    }

    /// What it offers now, whatever was pinned; fit to be pinned.
    pub(super) async fn look(&self) -> Result<Vec<Offered>, Trouble> {
        let (line, tools) = Line::open(&self.config, &self.grounds).await.map_err(|trouble| self.clean(trouble))?;
        line.close().await;
        for tool in &tools {
            tool.judge(&self.config.name).map_err(|why| {
                let name: String = crate::escape_for_screen(&tool.name).chars().take(80).collect();
                Trouble::Refused(format!("its tool {name:?} cannot be offered to a model: {why}"))
            })?;
        }
        Ok(tools)
    }

    pub(super) async fn close(&self) {
        let line = self.slot.lock().await.line.take();
        if let Some(line) = line.and_then(Arc::into_inner) {
            line.close().await;
        }
    }

    pub(super) async fn call(&self, tool: &str, arguments: &str, key: &str, deadline: Duration) -> Called {
        let refuse = |why: String| Called::Answered(ToolOutput::refused(why).into());
        let until = Instant::now() + deadline;
        let (offered, arguments) = match self.admit(tool, arguments, key) {
            Ok(admitted) => admitted,
            Err(why) => return refuse(why),
        };
        let name = &self.config.name;
        let line = match timeout(deadline, self.line(until)).await {
            Ok(Ok(line)) => line,
            Ok(Err(trouble)) => return refuse(format!("the MCP server {name} cannot be used, nothing was done: {}", self.clean(trouble))),
            Err(_) => return refuse(format!("the MCP server {name} was not ready in time, nothing was done")),
        };
        let left = until.saturating_duration_since(Instant::now());
        let answer = self.ask(&line, tool, arguments, left).await;
        let answer = match answer {
            Ok(ServerResult::CallToolResult(answer)) => {
                self.slot.lock().await.failures = 0;
                return Called::Answered(result::brought(&answer, offered.output_schema.as_ref(), |text| self.blot(text)));
            }
            Ok(_) => return refuse(format!("{name} did something and answered with what is no result of a tool; do not count on it")),
            Err(ServiceError::McpError(error)) => {
                self.slot.lock().await.failures = 0;
                let told: String = crate::escape_for_screen(&error.message).chars().take(2_000).collect();
                return refuse(self.blot(format!("the MCP server {name} refuses: {told}")));
            }
            Err(error) => error,
        };
        let why = match &answer {
            ServiceError::Timeout { timeout } => format!("no answer and no progress for {} s", timeout.as_secs_f64()),
            error => words(error),
        };
        let how = if line.is_closed() { self.bury(line).await } else { String::new() };
        let how = if how.is_empty() { String::new() } else { format!("; {how}") };
        Called::Unknown(self.blot(format!("the MCP server {name} was called and did not answer: {why}{how}")))
    }

    /// Checks the call without starting anything.
    fn admit(&self, tool: &str, arguments: &str, key: &str) -> Result<(&Offered, Map<String, Value>), String> {
        let name = &self.config.name;
        match &self.standing {
            Standing::Pinned(_) => {}
            Standing::Untrusted => return Err(format!("the MCP server {name} is not trusted: `brigade mcp trust {name}`")),
            Standing::Changed(why) => return Err(why.clone()),
        }
        let names = || self.offered().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", ");
        let offered = self.offered().find(|offered| offered.name == tool);
        let offered = offered.ok_or_else(|| format!("the MCP server {name} has no tool {tool:?} for you; it has {}", names()))?;
        if arguments.len() > ARGUMENT_BYTES {
            return Err(format!("the arguments have {} bytes, the limit is {ARGUMENT_BYTES}: send less", arguments.len()));
        }
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        let mut arguments = match serde_json::from_str::<Value>(arguments) {
            Ok(Value::Object(map)) => map,
            Ok(_) => return Err("the arguments must be a JSON object".to_owned()),
            Err(e) => return Err(format!("the arguments are no JSON: {e}")),
        };
        if let Some(template) = self.config.keyed.get(tool) {
            template.apply(&mut arguments, key)?;
        }
        let arguments = Value::Object(arguments);
        if let Some(fault) = result::mismatch(&offered.schema, &arguments) {
            return Err(format!("the arguments do not fit, nothing was done: {fault}"));
        }
        match arguments {
            Value::Object(map) => Ok((offered, map)),
            _ => Err("the arguments must be a JSON object".to_owned()),
        }
    }

    async fn ask(&self, line: &Line, tool: &str, arguments: Map<String, Value>, left: Duration) -> Result<ServerResult, ServiceError> {
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        // Not the SDK's `call_tool`: it sends the call again when the server asks for more input.
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let total = self.config.call_timeout.min(left);
        let options =
            PeerRequestOptions::with_timeout(self.config.idle_timeout.min(total)).reset_timeout_on_progress().with_max_total_timeout(total);
        // A program that stops reading fills the line; the deadline holds for the sending as well.
        let asked = async { line.service.peer().send_request_with_option(request, options).await?.await_response().await };
        timeout(total + Duration::from_millis(500), asked).await.unwrap_or(Err(ServiceError::Timeout { timeout: total }))
    }

    /// The line to the server: the one there is, or a new one that was compared with the pins.
    async fn line(&self, until: Instant) -> Result<Arc<Line>, Trouble> {
        let mut slot = self.slot.lock().await;
        if let Some(why) = &slot.quarantined {
            return Err(Trouble::Refused(why.clone()));
        }
        let Standing::Pinned(pin) = &self.standing else { return Err(Trouble::Refused("it is not trusted".to_owned())) };
        if let Some(line) = slot.line.clone() {
            if line.is_closed() {
                slot.line = None;
            } else if line.take_changed() {
                let tools = line.tools(self.config.init_timeout).await.map_err(Trouble::Failed)?;
                if let Some(why) = difference(&self.config.name, &pin.tools, &tools) {
                    slot.line = None;
                    slot.quarantined = Some(why.clone());
                    return Err(Trouble::Refused(why));
                }
                return Ok(line);
            } else {
                return Ok(line);
            }
        }
        if slot.failures >= MOST_FAILURES {
            return Err(Trouble::Refused(format!("it failed {MOST_FAILURES} times in a row and is given up for this run")));
        }
        if let Some(at) = slot.not_before.take().filter(|at| *at < until) {
            sleep_until(at).await;
        }
        let opened = Line::open(&self.config, &self.grounds).await;
        // Counted until a call succeeds: a server that starts well and dies at every call is no better.
        slot.failures += 1;
        slot.not_before = Some(Instant::now() + BACKOFF * 2_u32.pow(slot.failures - 1));
        let (line, tools) = opened?;
        if let Some(why) = difference(&self.config.name, &pin.tools, &tools) {
            line.close().await;
            slot.quarantined = Some(why.clone());
            return Err(Trouble::Refused(why));
        }
        let line = Arc::new(line);
        slot.line = Some(line.clone());
        Ok(line)
    }

    /// Takes a dead line out of use; says how its program ended, if nobody else holds it.
    async fn bury(&self, line: Arc<Line>) -> String {
        let mut slot = self.slot.lock().await;
        if slot.line.as_ref().is_some_and(|current| Arc::ptr_eq(current, &line)) {
            slot.line = None;
        }
        drop(slot);
        match Arc::into_inner(line) {
            Some(line) => line.close().await,
            None => String::new(),
        }
    }

    fn clean(&self, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::Refused(why) => Trouble::Refused(self.blot(why)),
            Trouble::Failed(why) => Trouble::Failed(self.blot(why)),
        }
    }

    /// The server knows what it was given; nobody else is to learn it from what it says.
    fn blot(&self, text: String) -> String {
        let token = match &self.config.reach {
            Reach::Service { bearer_env, .. } => bearer_env.as_ref().and_then(|name| self.grounds.env.get(name)),
            Reach::Program { .. } => None,
        };
        let given = self.config.env.values().filter_map(|variable| match variable {
            Variable::Value(text) => Some(text),
            Variable::From(name) => self.grounds.env.get(name),
        });
        let secrets = given.chain(token).map(|secret| secret.trim()).filter(|secret| secret.len() >= SHORTEST_SECRET);
        secrets.fold(text, |text, secret| if text.contains(secret) { text.replace(secret, "[redacted]") } else { text })
    }
}
