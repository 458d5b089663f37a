//! Named points at which a test kills the process, as a power cut would. Without the feature
//! `failpoints` there is nothing here: `hit` compiles to no code.

/// The points of this crate, in the order an append passes them.
pub const NAMES: [&str; 6] = ["in-batch", "before-commit", "after-commit", "after-tickets", "before-checkpoint", "after-checkpoint"];

/// Kills the own process with SIGKILL when `BRIGADE_KILL=NAME:N` names this point and it is the Nth hit.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &str) {}

/// Kills the own process with SIGKILL when `BRIGADE_KILL=NAME:N` names this point and it is the Nth hit.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ASKED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let value = std::env::var("BRIGADE_KILL").ok()?;
        let (name, nth) = value.rsplit_once(':')?;
        Some((name.to_owned(), nth.parse().ok()?))
    });
    static HITS: AtomicU64 = AtomicU64::new(0);

    if let Some((asked, nth)) = &*ASKED
        && asked == name
        && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
