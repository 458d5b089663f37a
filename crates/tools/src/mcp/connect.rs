//! One connection to a server: a program in the sandbox, or a service over HTTP, and the SDK's handshake over it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use reqwest::Url;
use rmcp::model::{ClientConfig, ClientRequest, ListToolsRequest, PaginatedRequestParams, ServerResult, Tool};
use rmcp::service::{ClientInitializeError, NotificationContext, PeerRequestOptions, RunningService};
use rmcp::transport::streamable_http_client::{StreamableHttpClientTransport, StreamableHttpClientTransportConfig};
use rmcp::{ClientHandler, RoleClient, serve_client};
use tokio::io::{AsyncRead, ReadBuf};

use super::Grounds;
use super::address::{Pinned, is_local};
use super::config::{Reach, ServerConfig, Variable};
use super::offer::{MOST_TOOLS, Offered};
use super::server::Trouble;
use crate::sandbox::{Limits, Profile, Sandbox, Session, Spec, Status};

/// One message: longer ones end the connection, for nobody can tell what they answer.
const MESSAGE_BYTES: usize = 8 << 20;
/// Standard error kept, head and tail.
const COMPLAINT_BYTES: usize = 16 << 10;
/// Pages of one list of tools.
const MOST_PAGES: usize = 32;
/// How long a service may take to be reached.
const CONNECT: Duration = Duration::from_secs(5);

/// What a server is told of us, and all that it may tell us unasked.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    /// The server says that its tools are others now.
    changed: Arc<AtomicBool>,
}

impl ClientHandler for Listener {
    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.store(true, Ordering::Release);
    }

    fn get_info(&self) -> ClientConfig {
        let mut info = ClientConfig::default();
        info.client_info.name = "brigade".to_owned();
        info.client_info.version = env!("CARGO_PKG_VERSION").to_owned();
        info
    }
}

/// A live connection. Dropping it ends the program behind it.
#[derive(Debug)]
pub(super) struct Line {
    pub service: RunningService<RoleClient, Listener>,
    changed: Arc<AtomicBool>,
    session: Option<Session>,
}

impl Line {
    /// Opens the connection and says what the server offers, all within its `init_timeout`.
    pub(super) async fn open(config: &ServerConfig, grounds: &Grounds) -> Result<(Self, Vec<Offered>), Trouble> {
        let changed = Arc::new(AtomicBool::new(false));
        let listener = Listener { changed: changed.clone() };
        let late = || format!("it did not finish its start within {} s (init_timeout)", config.init_timeout.as_secs_f64());
        match &config.reach {
            Reach::Program { .. } => {
                let mut session = program(config, grounds).await?;
                let stream = session.take_stream().ok_or_else(|| Trouble::Failed("its line was taken".to_owned()))?;
                let (read, write) = stream.into_split();
                let greeting = async {
                    let service = serve_client(listener, (Bounded::new(read), write)).await.map_err(|e| refusal(&e))?;
                    let line = Self { service, changed, session: None };
                    let tools = line.tools(config.init_timeout).await?;
                    Ok::<_, String>((line, tools))
                };
                match tokio::time::timeout(config.init_timeout, greeting).await.unwrap_or_else(|_| Err(late())) {
                    Ok((line, tools)) => Ok((Self { session: Some(session), ..line }, tools)),
                    Err(why) => Err(obituary(session, why).await),
                }
            }
            Reach::Service { url, bearer_env } => {
                let transport = service(url, bearer_env.as_deref(), grounds)?;
                let greeting = async {
                    let service = serve_client(listener, transport).await.map_err(|e| refusal(&e))?;
                    let line = Self { service, changed, session: None };
                    let tools = line.tools(config.init_timeout).await?;
                    Ok::<_, String>((line, tools))
                };
                tokio::time::timeout(config.init_timeout, greeting).await.unwrap_or_else(|_| Err(late())).map_err(Trouble::Failed)
            }
        }
    }

    /// Whether the server said that its tools changed, since this was asked last.
    pub(super) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.service.is_closed() || self.service.peer().is_transport_closed()
    }

    /// The server's tools, page by page: the SDK's own loop has no end, and its cache believes the server's word on how long.
    pub(super) async fn tools(&self, limit: Duration) -> Result<Vec<Offered>, String> {
        let mut tools: Vec<Offered> = Vec::new();
        let mut cursor = None;
        for _ in 0..MOST_PAGES {
            let params = cursor.take().map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
            let request = ClientRequest::ListToolsRequest(ListToolsRequest { params, ..ListToolsRequest::default() });
            let handle = self.service.peer().send_request_with_option(request, PeerRequestOptions::with_timeout(limit)).await;
            let answer = match handle {
                Ok(handle) => handle.await_response().await,
                Err(e) => Err(e),
            };
            let ServerResult::ListToolsResult(page) = answer.map_err(|e| format!("it does not list its tools: {}", words(&e)))? else {
                return Err("it answers with something that is no list of tools".to_owned());
            };
            for tool in page.tools {
                let tool = offered(tool);
                if let Some(twin) = tools.iter().find(|known| known.name.eq_ignore_ascii_case(&tool.name)) {
                    return Err(format!("it offers two tools named {:?}, one would hide the other", crate::escape_for_screen(&twin.name)));
                }
                tools.push(tool);
                if tools.len() > MOST_TOOLS {
                    return Err(format!("it offers more than {MOST_TOOLS} tools"));
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(tools);
            }
        }
        Err(format!("its list of tools has more than {MOST_PAGES} pages"))
    }

    /// Ends the connection and what stands behind it; the words say how it ended.
    pub(super) async fn close(self) -> String {
        let Self { service, session, .. } = self;
        drop(service);
        match session {
            Some(session) => match obituary(session, String::new()).await {
                Trouble::Failed(words) | Trouble::Refused(words) => words,
            },
            None => String::new(),
        }
    }
}

/// What became of a program, with the end of what it complained of.
async fn obituary(session: Session, why: String) -> Trouble {
    // Gathered before the program is ended: its last words are the useful ones.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let said = session.complaints();
    let how = match session.close().await {
        Err(error) => return Trouble::Refused(error.to_string()),
        Ok(Some(Status::Exit(code))) => format!("it ended with exit status {code}"),
        Ok(Some(Status::Signal(signal))) => format!("it was ended by signal {signal}"),
        Ok(Some(Status::Killed(reason))) => reason.to_string(),
        Ok(Some(Status::TimedOut) | None) => String::new(),
    };
    let tail: Vec<&str> = said.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    let tail: Vec<String> = tail.into_iter().rev().map(|line| crate::escape_for_screen(line).chars().take(300).collect()).collect();
    let said = if tail.is_empty() { String::new() } else { format!("it said: {}", tail.join(" / ")) };
    Trouble::Failed([why, how, said].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; "))
}

fn refusal(error: &ClientInitializeError) -> String {
    if error.is_authorization_required() {
        return "it wants a login, and logins (OAuth) are not supported yet; if it takes a token, name the variable that holds it in bearer_env".to_owned();
    }
    words(error)
}

/// An SDK error with its causes, inert and of bounded length.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    // The SDK names its own types in there.
    while let Some((before, rest)) = text.split_once(" Transport [") {
        let Some((_, after)) = rest.split_once("] error") else { break };
        text = format!("{before}{after}");
    }
    crate::escape_for_screen(&text).chars().take(500).collect()
}

fn offered(tool: Tool) -> Offered {
    let object = |schema: &Arc<rmcp::model::JsonObject>| serde_json::Value::Object((**schema).clone());
    Offered {
        schema: object(&tool.input_schema),
        output_schema: tool.output_schema.as_ref().map(object),
        name: tool.name.into_owned(),
        description: tool.description.map(std::borrow::Cow::into_owned).unwrap_or_default(),
    }
}

/// Starts the program in the sandbox: its own directory, its own variables, nothing of ours.
async fn program(config: &ServerConfig, grounds: &Grounds) -> Result<Session, Trouble> {
    let Reach::Program { command, args, cwd, read_only, writable, network } = &config.reach else {
        return Err(Trouble::Refused("it is no program".to_owned()));
    };
    let refused = |what: &str, error: &dyn std::fmt::Display| Trouble::Refused(format!("{what}: {error}"));
    let place = grounds.dir.join(&config.name);
    let private = |name: &str| -> Result<PathBuf, Trouble> {
        let dir = place.join(name);
        std::fs::create_dir_all(&dir).map_err(|e| refused(&format!("cannot make {}", dir.display()), &e))?;
        Ok(dir)
    };
    let mut env = variables(&config.env, &grounds.env)?;
    // What it downloads and remembers outlives it, and is nobody else's.
    for (name, value) in [("HOME", "/scratch"), ("XDG_CACHE_HOME", "/scratch/.cache"), ("npm_config_cache", "/scratch/.npm")] {
        env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    let mut profile = Profile::from_env();
    profile.network = *network;
    let absolute = |path: &PathBuf| if path.is_absolute() { path.clone() } else { grounds.workspace.join(path) };
    profile.read_only.extend(read_only.iter().map(absolute));
    if Path::new(command).is_absolute() {
        profile.read_only.push(PathBuf::from(command));
    }
    let view_dir = match cwd {
        Some(cwd) => grounds.workspace.join(cwd),
        None => private("work")?,
    };
    let argv = std::iter::once(command).chain(args).cloned();
    let spec = Spec {
        env,
        // A private directory is the server's own to change.
        writable: *writable || cwd.is_none(),
        scratch_dir: Some(private("home")?),
        limits: Limits { output: COMPLAINT_BYTES, ..Limits::default() },
        ..Spec::new(view_dir, argv)
    };
    let sandbox = Sandbox::new(&profile).map_err(|e| Trouble::Refused(e.to_string()))?;
    let sandbox = match &grounds.launcher {
        Some(program) => sandbox.with_launcher(program),
        None => sandbox,
    };
    sandbox.open(spec).await.map_err(|e| Trouble::Refused(e.to_string()))
}

fn variables(wanted: &BTreeMap<String, Variable>, env: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Trouble> {
    let value = |(name, variable): (&String, &Variable)| match variable {
        Variable::Value(text) => Ok((name.clone(), text.clone())),
        Variable::From(from) => match env.get(from) {
            Some(text) => Ok((name.clone(), text.clone())),
            None => Err(Trouble::Refused(format!("the variable {from} is not set, and its configuration passes it on: set it"))),
        },
    };
    wanted.iter().map(value).collect()
}

fn service(url: &str, bearer_env: Option<&str>, grounds: &Grounds) -> Result<StreamableHttpClientTransport<reqwest::Client>, Trouble> {
    let refused = |why: String| Trouble::Refused(why);
    let parsed = Url::parse(url).map_err(|e| refused(format!("{url}: {e}")))?;
    // A second call finds the first provider installed; which one does not matter then.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .dns_resolver(Pinned::new(&parsed))
        .pool_max_idle_per_host(0)
        .user_agent(concat!("brigade/", env!("CARGO_PKG_VERSION")));
    let builder = if is_local(&parsed) { builder.no_proxy() } else { builder };
    // No certificate will be looked at; the system's need not be loaded.
    let builder = if parsed.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
    let client = builder.build().map_err(|e| refused(format!("cannot set up TLS: {}", words(&e))))?;
    let mut config = StreamableHttpClientTransportConfig::with_uri(url);
    config.max_sse_event_size = MESSAGE_BYTES;
    // The SDK would send a call again into a new session; whether to repeat is not its to decide (promises.md I6).
    config.reinit_on_expired_session = false;
    if let Some(variable) = bearer_env {
        let token = grounds.env.get(variable).map(|value| value.trim()).filter(|value| !value.is_empty());
        let token = token.ok_or_else(|| refused(format!("the variable {variable} is not set: it holds the token (bearer_env)")))?;
        config = config.auth_header(token);
    }
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

/// A reader that ends the connection at a line longer than one message may be.
struct Bounded<R> {
    inner: R,
    line: usize,
}

impl<R> Bounded<R> {
    fn new(inner: R) -> Self {
        Self { inner, line: 0 }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Bounded<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = read {
            let fresh = &buf.filled()[before..];
            match fresh.iter().rposition(|byte| *byte == b'\n') {
                Some(at) => self.line = fresh.len() - at - 1,
                None => self.line += fresh.len(),
            }
            if self.line > MESSAGE_BYTES {
                return Poll::Ready(Err(io::Error::other("a message is longer than 8 MiB")));
            }
        }
        read
    }
}
