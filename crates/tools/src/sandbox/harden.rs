//! Makes the engine's own process hard to read and ready for many descriptors.

/// What [`harden_self`] reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardened {
    /// Descriptors this process may hold at once; `None` is no limit.
    pub open_files: Option<u64>,
}

/// No core files, no reading of this process's memory and environment by programs of the same
/// user, and as many descriptors as the hard limit allows. Call it once, at start.
///
/// # Errors
/// When the system refuses one of the three.
#[cfg(unix)]
pub fn harden_self() -> std::io::Result<Hardened> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(Hardened { open_files: maximum })
}

#[cfg(not(unix))]
pub fn harden_self() -> std::io::Result<Hardened> {
    Ok(Hardened { open_files: None })
}
