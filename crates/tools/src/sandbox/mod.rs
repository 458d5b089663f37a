//! Runs a command where it can reach the view and nothing else: no network, no writes outside, no
//! secrets, nothing left running. Read [`Sandbox`] first.
//!
//! It fails closed: when any layer cannot be built, nothing runs and the error names the layer and
//! the remedy; there is no weaker mode to fall back to. On systems other than Linux it refuses by name.

mod capture;
#[cfg(target_os = "linux")]
mod guard;
mod harden;
#[cfg(target_os = "linux")]
mod launcher;
mod probe;
mod profile;
#[cfg(target_os = "linux")]
mod run;
#[cfg_attr(not(target_os = "linux"), path = "session_absent.rs")]
mod session;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

pub use capture::Captured;
pub use harden::{Hardened, harden_self};
pub use probe::{Probe, State};
pub use profile::Profile;
pub use session::Session;
pub use wire::{KillReason, Primitive};

use wire::{Caps, Layout, Mode, Order};

/// Must be the first thing `main` does: when the engine started this very binary as the launcher
/// of a sandbox, it never returns.
pub fn launcher_main_if_asked() {
    if std::env::args_os().nth(1).is_some_and(|first| first == wire::MARK) {
        #[cfg(target_os = "linux")]
        launcher::main();
        #[cfg(not(target_os = "linux"))]
        std::process::exit(2);
    }
}

/// Longest wall time a command may ask for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// Protected in a writable view, even while absent.
pub const PROTECTED: [&str; 2] = [".git", ".brigade"];

/// Protected in a writable view where they exist: what the next agent, editor or CI run obeys.
pub const PROTECTED_IF_PRESENT: [&str; 14] = [
    ".github",
    ".gitlab-ci.yml",
    ".gitmodules",
    ".gitattributes",
    ".hg",
    ".svn",
    ".vscode",
    ".agents",
    ".claude",
    ".codex",
    ".mcp.json",
    "AGENTS.md",
    "CLAUDE.md",
    ".envrc",
];

/// Bounds of one command; every one is enforced, none can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of each stream kept; the rest is drained and counted.
    pub output: usize,
    /// Resident bytes of all processes and of the private `/tmp` together.
    pub memory: u64,
    /// Processes and threads at once; at least 301 where the engine is root.
    pub processes: u64,
    /// Bytes of one file.
    pub file_size: u64,
    pub open_files: u64,
    /// Bytes of the private `/tmp`, held in memory.
    pub tmp: u64,
    /// Free bytes of the view's file system that stay the engine's.
    pub disk_reserve: u64,
    /// Likewise inodes.
    pub inode_reserve: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            output: 1 << 20,
            memory: 4 << 30,
            processes: 1024,
            file_size: 4 << 30,
            open_files: 4096,
            tmp: 1 << 30,
            disk_reserve: 512 << 20,
            inode_reserve: 10_000,
        }
    }
}

/// Folders that stand as one inside: the view, without a copy of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Layers {
    /// Read-only, topmost first.
    pub lower: Vec<PathBuf>,
    /// Where writes go.
    pub upper: PathBuf,
    /// An empty folder on the same file system, for the mount itself.
    pub work: PathBuf,
}

/// One command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Program and arguments; never a shell string.
    pub argv: Vec<String>,
    /// The directory that is `/workspace` inside; with `layers`, their upper one.
    pub view_dir: PathBuf,
    pub layers: Option<Layers>,
    /// Where to start, relative to the view.
    pub cwd_in_view: PathBuf,
    /// Whether the view may be changed.
    pub writable: bool,
    /// A directory outside the view that outlives the command, for build output (`CARGO_TARGET_DIR`).
    pub scratch_dir: Option<PathBuf>,
    /// Additional environment.
    pub env: BTreeMap<String, String>,
    /// More names of the view's root to protect, where present.
    pub protected: Vec<String>,
    /// Wall time, at most [`MAX_TIMEOUT`].
    pub timeout: Duration,
    /// Both streams as one, in the order written; it is then [`Finished::stdout`].
    pub merge_output: bool,
    pub limits: Limits,
}

impl Spec {
    /// Writable, 120 seconds, streams merged, in the view's root.
    pub fn new<S: Into<String>>(view_dir: impl Into<PathBuf>, argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            view_dir: view_dir.into(),
            layers: None,
            cwd_in_view: PathBuf::new(),
            writable: true,
            scratch_dir: None,
            env: BTreeMap::new(),
            protected: Vec::new(),
            timeout: Duration::from_secs(120),
            merge_output: true,
            limits: Limits::default(),
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Exit(i32),
    Signal(i32),
    TimedOut,
    Killed(KillReason),
}

impl Status {
    pub fn success(self) -> bool {
        self == Self::Exit(0)
    }
}

/// A command that ran to its end, and of which no process is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub status: Status,
    pub stdout: Captured,
    pub stderr: Captured,
    /// From the request to the last process's end.
    pub duration: Duration,
}

/// Why nothing ran.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Infrastructure, not the command's fault; known before a token is spent by asking [`Sandbox::probe`].
    #[error("no sandbox here: {primitive} is missing ({why}); to mend it, {remedy}")]
    Unavailable { primitive: Primitive, why: String, remedy: &'static str },
    #[error("no sandbox on this system: run_command needs Linux; every other tool works")]
    NotSupported,
    #[error("{field} {value:?} is not accepted: {remedy}")]
    Spec { field: &'static str, value: String, remedy: &'static str },
    /// The program is absent inside, or not executable.
    #[error("cannot start {program:?}: {reason}")]
    CannotStart { program: String, reason: String },
    /// No process could be made, after some retries.
    #[error("cannot start the launcher, the machine is out of processes or memory: {0}")]
    Busy(io::Error),
    #[error("the launcher of the sandbox ended without a report")]
    LostLauncher,
    #[error("cannot {what}: {source}")]
    Io { what: &'static str, source: io::Error },
}

/// A resolved profile, ready to run commands; cheap to share, nothing is running in it.
#[derive(Debug, Clone)]
pub struct Sandbox {
    layout: std::sync::Arc<Layout>,
    home: Option<PathBuf>,
    loopback: bool,
    door: bool,
    local_sockets: bool,
    network: bool,
    program: PathBuf,
}

impl Sandbox {
    /// # Errors
    /// [`SandboxError::Spec`] names what of the profile cannot be shown.
    pub fn new(profile: &Profile) -> Result<Self, SandboxError> {
        Ok(Self {
            layout: std::sync::Arc::new(profile.layout()?),
            home: profile.home.clone(),
            loopback: profile.loopback,
            door: profile.door,
            local_sockets: profile.local_sockets,
            network: profile.network,
            program: PathBuf::from("/proc/self/exe"),
        })
    }

    /// Launches `program` instead of this binary; it must call [`launcher_main_if_asked`] too.
    #[must_use]
    pub fn with_launcher(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Runs one command to its end. Dropping the future ends it and all it started.
    ///
    /// # Errors
    /// Each of [`SandboxError`]: nothing of the command has run then.
    pub async fn run(&self, spec: Spec) -> Result<Finished, SandboxError> {
        #[cfg(target_os = "linux")]
        return run::run(self, spec).await;
        #[cfg(not(target_os = "linux"))]
        {
            let _ = spec;
            Err(SandboxError::NotSupported)
        }
    }

    /// Starts a command that is talked to over its standard input and output. Dropping the session ends it and all
    /// it started; [`Spec::timeout`] and [`Spec::merge_output`] do not apply.
    ///
    /// # Errors
    /// Each of [`SandboxError`]: nothing of the command has run then. A program that cannot be started is heard of by [`Session::close`].
    pub async fn open(&self, spec: Spec) -> Result<Session, SandboxError> {
        Session::open(self, spec).await
    }

    fn order(&self, spec: &Spec, mode: Mode) -> Result<Order, SandboxError> {
        let fault = |field, value: String, remedy| Err(SandboxError::Spec { field, value, remedy });
        if spec.timeout.is_zero() || spec.timeout > MAX_TIMEOUT {
            return fault("timeout", format!("{:?}", spec.timeout), "ask for more than nothing and at most 600 seconds");
        }
        if spec.argv.is_empty() || spec.argv[0].is_empty() || spec.argv.iter().any(|part| part.contains('\0')) {
            return fault("argv", spec.argv.join(" "), "give a program and its arguments, without NUL");
        }
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !spec.cwd_in_view.components().all(inside) {
            let value = spec.cwd_in_view.display().to_string();
            return fault("cwd_in_view", value, "name a directory relative to the view, without ..");
        }
        let view = self.directory("view_dir", &spec.view_dir)?;
        let scratch = spec.scratch_dir.as_ref().map(|dir| self.directory("scratch_dir", dir)).transpose()?;
        let one_name = |name: &String| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        };
        if let Some(name) = spec.protected.iter().find(|name| !one_name(name)) {
            return fault("protected", name.clone(), "give a plain name of the view's root");
        }
        let mut layout = (*self.layout).clone();
        if scratch.is_some() {
            set(&mut layout.env, "CARGO_TARGET_DIR", "/scratch/target");
        }
        for (name, value) in &spec.env {
            profile::check_variable(name, value)?;
            set(&mut layout.env, name, value);
        }
        let limits = &spec.limits;
        let names = PROTECTED.iter().chain(&PROTECTED_IF_PRESENT).map(|name| (*name).to_owned());
        // A link can be protected only in what it points to; the path gate judges the link itself.
        let lower = spec.layers.iter().flat_map(|layers| &layers.lower);
        let stands: Vec<&Path> = std::iter::once(view.as_path()).chain(lower.map(PathBuf::as_path)).collect();
        let kept = |name: &String| stands.iter().any(|dir| dir.join(name).symlink_metadata().is_ok_and(|found| !found.is_symlink()));
        Ok(Order {
            mode,
            uid: owner().0,
            gid: owner().1,
            protected: names.chain(spec.protected.iter().cloned()).filter(kept).collect(),
            layout,
            view,
            layers: spec.layers.clone(),
            writable: spec.writable,
            scratch,
            argv: spec.argv.clone(),
            cwd: spec.cwd_in_view.clone(),
            caps: Caps {
                wall_ms: u64::try_from(spec.timeout.as_millis()).unwrap_or(u64::MAX),
                memory: limits.memory,
                processes: limits.processes,
                file_size: limits.file_size,
                open_files: limits.open_files,
                tmp: limits.tmp,
                disk_reserve: limits.disk_reserve,
                inode_reserve: limits.inode_reserve,
            },
            loopback: self.loopback || self.door,
            door: false,
            local_sockets: self.local_sockets,
            network: self.network,
            talks: false,
        })
    }

    /// An existing directory that is neither the root, nor the home, nor above it.
    fn directory(&self, field: &'static str, path: &Path) -> Result<PathBuf, SandboxError> {
        let fault = |remedy| Err(SandboxError::Spec { field, value: path.display().to_string(), remedy });
        let Ok(real) = std::fs::canonicalize(path) else {
            return fault("name a directory that exists");
        };
        if !real.is_dir() {
            return fault("name a directory");
        }
        if real.parent().is_none() || self.home.as_ref().is_some_and(|home| home.starts_with(&real)) {
            return fault("name a directory of its own: the whole home or root would show every secret in it");
        }
        profile::text(&real)?;
        Ok(real)
    }
}

fn set(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    env.retain(|(old, _)| old != name);
    env.push((name.to_owned(), value.to_owned()));
}

#[cfg(unix)]
fn owner() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

#[cfg(not(unix))]
fn owner() -> (u32, u32) {
    (0, 0)
}
