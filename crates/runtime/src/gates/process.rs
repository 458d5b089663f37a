//! Who a process is, so that another one can tell whether it is still there; and the clock that all of a machine share.

use std::sync::LazyLock;

use brigade_kernel::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// This process and when it started.
pub(super) static OURS: LazyLock<(u32, u64)> = LazyLock::new(|| (std::process::id(), started(std::process::id()).unwrap_or(0)));

/// When a process started, in the kernel's ticks since boot; `None` when there is none.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, blanks and parentheses too.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Whether the process that said so of itself is still there.
pub(super) fn lives((pid, since): (u32, u64)) -> bool {
    if (pid, since) == *OURS {
        return true;
    }
    match since {
        // A system without /proc: a number is all there is.
        0 => i32::try_from(pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .is_some_and(|pid| !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))),
        since => started(pid) == Some(since),
    }
}

/// Milliseconds since the machine started, sleep included: the same for all its processes, whatever its wall clock does.
pub(super) fn uptime() -> Timestamp {
    #[cfg(target_os = "linux")]
    let now = clock_gettime(ClockId::Boottime);
    #[cfg(not(target_os = "linux"))]
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    Timestamp(seconds * 1_000 + nanos / 1_000_000 + 1)
}

/// Which start of the machine this is; zeros where it does not say.
pub(super) fn boot() -> (u64, u64) {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |range: std::ops::Range<usize>| digits.get(range).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    (half(0..16), half(16..32))
}
