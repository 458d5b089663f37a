//! The HTTP server: routes, keys, headers, and the life of one call.
//!
//! It runs on a thread of its own, so that a test or a bench on any runtime can start it, and so
//! that its work does not sit between the caller's tasks. It binds where it is told, by default to
//! loopback only, and never logs a key.

mod batch;
mod call;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

use crate::batches::Batches;
use crate::ledger::{Ledger, LedgerSnapshot};
use crate::scenario::Scenario;
use crate::schema::Schemas;
use crate::store::Store;

/// Callers that may wait to be accepted. The usual 128 drops some of a thousand that come at once, each for a second.
const WAITING_CALLERS: u32 = 4_096;

/// How to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address to listen at; port 0 = any free one.
    pub bind: SocketAddr,
    /// File that every call is written to; goes on where an earlier emulator stopped.
    pub ledger: Option<PathBuf>,
    /// Whether a call is on the disk before its answer leaves. Costs one fsync, shared.
    pub durable: bool,
    /// Whether the bodies of requests are kept, for [`Running::bodies`].
    pub keep_bodies: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { bind: SocketAddr::from(([127, 0, 0, 1], 0)), ledger: None, durable: false, keep_bodies: false }
    }
}

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen at {addr}: {source}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The ledger file cannot be read or written.
    #[error("cannot use the ledger {}: {source}", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No thread or event loop could be made.
    #[error("cannot start the emulator: {0}")]
    Thread(std::io::Error),
}

/// What all calls share.
#[derive(Debug)]
pub(crate) struct Shared {
    scenario: Scenario,
    ledger: Arc<Ledger>,
    schemas: Schemas,
    store: Store,
    batches: tokio::sync::Mutex<Batches>,
    bodies: Bodies,
    stop: watch::Receiver<bool>,
}

/// Bodies of requests by number, where they are kept.
type Bodies = Option<Arc<Mutex<Vec<(u64, Bytes)>>>>;

/// The scripted model API.
#[derive(Debug)]
pub struct Emulator;

/// An emulator that is serving; dropping it stops it.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    ledger: Arc<Ledger>,
    bodies: Bodies,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Emulator {
    /// Starts to serve a scenario.
    ///
    /// # Errors
    /// [`StartError`] when the address or the ledger cannot be had.
    pub fn start(scenario: Scenario, options: &Options) -> Result<Running, StartError> {
        let path = options.ledger.as_deref();
        let (ledger, kept) = Ledger::open(path, options.durable, scenario.fingerprint)
            .map_err(|source| StartError::Ledger { path: path.unwrap_or(std::path::Path::new("")).into(), source })?;
        for number in kept.counted {
            scenario.rules.restore(number, false);
        }
        for number in kept.answered {
            scenario.rules.restore(number, true);
        }
        let bind = |source| StartError::Bind { addr: options.bind, source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let listener = {
            let _inside = runtime.enter();
            listen(options.bind).map_err(bind)?
        };
        let addr = listener.local_addr().map_err(bind)?;
        let (stop, stopped) = watch::channel(false);
        let ledger = Arc::new(ledger);
        let bodies: Bodies = options.keep_bodies.then(Arc::default);
        let shared = Arc::new(Shared {
            scenario,
            ledger: Arc::clone(&ledger),
            schemas: Schemas::default(),
            store: Store::default(),
            batches: tokio::sync::Mutex::default(),
            bodies: bodies.clone(),
            stop: stopped,
        });
        let thread = std::thread::Builder::new()
            .name("emulator".into())
            .spawn(move || runtime.block_on(accept(listener, shared)))
            .map_err(StartError::Thread)?;
        Ok(Running { addr, ledger, bodies, stop, thread: Some(thread) })
    }
}

impl Running {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What goes into `OPENAI_BASE_URL`: ends in `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// The ledger as it stands.
    pub fn ledger(&self) -> LedgerSnapshot {
        self.ledger.snapshot()
    }

    /// The body of every call received so far with its number in the ledger, byte for byte; none unless
    /// [`Options::keep_bodies`].
    pub fn bodies(&self) -> Vec<(u64, Vec<u8>)> {
        let kept = self.bodies.iter().flat_map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner).clone());
        kept.map(|(seq, body)| (seq, body.to_vec())).collect()
    }

    /// Stops at once: open answers are cut, the ledger is written to its end.
    pub fn shutdown(mut self) -> LedgerSnapshot {
        self.stop_now();
        self.ledger.snapshot()
    }

    fn stop_now(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop_now();
    }
}

/// Serves until `until` is done; `ready` learns where.
///
/// # Errors
/// [`StartError`] when the address or the ledger cannot be had.
pub async fn serve_until(
    scenario: Scenario,
    options: &Options,
    ready: impl FnOnce(&Running),
    until: impl Future<Output = ()>,
) -> Result<LedgerSnapshot, StartError> {
    let running = Emulator::start(scenario, options)?;
    ready(&running);
    until.await;
    Ok(running.shutdown())
}

fn listen(at: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(WAITING_CALLERS)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut stop = shared.stop.clone();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                // without it small pieces of a stream wait for acknowledgements; a failure only slows
                let _ = stream.set_nodelay(true);
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
            // out of descriptors: those in use must end first
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
    connections.shutdown().await;
}

async fn serve(stream: tokio::net::TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(call::answer_request(request, &shared).await) }
    });
    // an error here is the caller's leaving or our own cut: both are in the ledger
    let _ = http1::Builder::new().timer(TokioTimer::new()).keep_alive(true).serve_connection(TokioIo::new(stream), service).await;
}
