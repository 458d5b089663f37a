//! What the engine and its launcher say to each other over the control socket: one order in,
//! report lines out. Only this binary speaks it, with itself, so it has no versions.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Layers;

/// Hidden first argument that turns the binary into the launcher.
pub(super) const MARK: &str = "__brigade_sandbox";

/// Where the view stands inside the sandbox, whatever its path outside.
pub(super) const VIEW: &str = "/workspace";

/// Where the scratch directory stands inside the sandbox.
pub(super) const SCRATCH: &str = "/scratch";

/// Where the door stands inside: a listener whose other side is the engine's.
pub(super) const DOOR: (&str, u16) = ("127.0.0.1", 3128);

/// Longest order accepted, in bytes: 128 KiB of arguments, JSON-escaped, fit with room to spare.
pub(super) const MAX_ORDER: usize = 4 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mode {
    Run,
    /// Build every layer, run nothing, report.
    Probe,
}

/// One existing directory or file made visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bind {
    pub source: PathBuf,
    /// Absolute, inside the sandbox.
    pub target: PathBuf,
    /// A regular file rather than a directory.
    pub file: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Layout {
    pub binds: Vec<Bind>,
    /// (path inside, what it points to)
    pub links: Vec<(PathBuf, PathBuf)>,
    pub env: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Caps {
    pub wall_ms: u64,
    pub memory: u64,
    pub processes: u64,
    pub file_size: u64,
    pub open_files: u64,
    pub tmp: u64,
    pub disk_reserve: u64,
    pub inode_reserve: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    pub mode: Mode,
    pub uid: u32,
    pub gid: u32,
    pub layout: Layout,
    pub view: PathBuf,
    pub layers: Option<Layers>,
    pub writable: bool,
    pub scratch: Option<PathBuf>,
    /// Names in the view's root that stay read-only.
    pub protected: Vec<String>,
    pub argv: Vec<String>,
    /// Relative to the view.
    pub cwd: PathBuf,
    pub caps: Caps,
    pub loopback: bool,
    /// Whether init opens the door and hands it out over the command's own line; needs `talks`.
    pub door: bool,
    pub local_sockets: bool,
    /// The host's network instead of none.
    pub network: bool,
    /// Descriptor 1 is a socket that is the command's standard input as well.
    pub talks: bool,
}

/// A layer of the sandbox; each must stand or nothing runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Primitive {
    /// Re-executing the engine's own binary.
    Launcher,
    UserNamespace,
    MountNamespace,
    PidNamespace,
    NetworkNamespace,
    IpcNamespace,
    UtsNamespace,
    /// The private root: bind mounts, tmpfs, recursive read-only, `pivot_root`.
    PrivateRoot,
    /// A `/proc` that shows only the sandbox.
    PrivateProc,
    /// Resource limits.
    Limits,
    /// Giving up every capability and ever gaining one.
    Capabilities,
    Landlock,
    Seccomp,
    /// A view as mounted layers: not a wall, so not one of [`Primitive::ALL`]; without it commands work on a copy.
    Layers,
}

impl Primitive {
    /// In the order in which the launcher builds them.
    pub const ALL: [Self; 13] = [
        Self::Launcher,
        Self::UserNamespace,
        Self::MountNamespace,
        Self::PidNamespace,
        Self::NetworkNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::PrivateRoot,
        Self::PrivateProc,
        Self::Limits,
        Self::Capabilities,
        Self::Landlock,
        Self::Seccomp,
    ];

    /// What a person can do when it is missing.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Launcher => "the engine must be able to execute its own binary: look for noexec mounts and process limits",
            Self::UserNamespace | Self::MountNamespace => {
                "allow unprivileged user namespaces: sysctl user.max_user_namespaces=15000, \
                 kernel.unprivileged_userns_clone=1 (Debian), \
                 kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu); in a container, start it with a \
                 seccomp profile that permits unshare and mount"
            }
            Self::PidNamespace | Self::NetworkNamespace | Self::IpcNamespace | Self::UtsNamespace => {
                "use a kernel built with PID_NS, NET_NS, IPC_NS and UTS_NS, and raise the sysctls user.max_*_namespaces"
            }
            Self::PrivateRoot => {
                "needs Linux 5.12 or later, and a container that permits mount; the path named must be readable by this user"
            }
            Self::PrivateProc => {
                "a container that hides parts of /proc forbids a fresh one: start it with an unmasked /proc, or run brigade outside it"
            }
            Self::Limits => "the hard limits of this process are lower than the ones asked for: raise them (ulimit -H)",
            Self::Capabilities => "needs a kernel with PR_SET_NO_NEW_PRIVS (3.5 or later)",
            Self::Landlock => "use Linux 5.13 or later with landlock among the boot parameter lsm=",
            Self::Seccomp => "use a kernel with SECCOMP_FILTER on x86-64 or arm64",
            Self::Layers => {
                "use Linux 5.11 or later, and put BRIGADE_HOME on a file system that an overlay can write to (ext4, xfs, btrfs)"
            }
        }
    }
}

impl std::fmt::Display for Primitive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Launcher => "launcher",
            Self::UserNamespace => "user namespace",
            Self::MountNamespace => "mount namespace",
            Self::PidNamespace => "pid namespace",
            Self::NetworkNamespace => "network namespace",
            Self::IpcNamespace => "ipc namespace",
            Self::UtsNamespace => "uts namespace",
            Self::PrivateRoot => "private root",
            Self::PrivateProc => "private /proc",
            Self::Limits => "resource limits",
            Self::Capabilities => "no capabilities",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Layers => "overlay",
        })
    }
}

/// Which limit the sandbox's first process enforced by ending everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillReason {
    /// Resident memory of all processes and of the private tmpfs, in bytes.
    Memory { limit: u64 },
    /// Processes at once.
    Processes { limit: u64 },
    /// Free bytes or inodes of the view's file system fell below the engine's reserve.
    Disk { reserve: u64 },
}

impl std::fmt::Display for KillReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory { limit } => write!(f, "it used more than {} MiB of memory", limit >> 20),
            Self::Processes { limit } => write!(f, "it ran more than {limit} processes at once"),
            Self::Disk { .. } => f.write_str("it filled the disk down to the engine's reserve"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    Refused {
        primitive: Primitive,
        errno: i32,
        at: String,
    },
    /// Every layer stands.
    Ready {
        landlock: String,
    },
    CannotStart {
        errno: i32,
        at: String,
    },
    Exited(i32),
    Signalled(i32),
    Killed(KillReason),
    TimedOut,
    /// The pid namespace is empty.
    Gone,
}
