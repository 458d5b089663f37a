//! The few system calls no safe wrapper exists for. The launcher has one thread, so `fork` is as
//! safe here as it is in C.
#![allow(unsafe_code, reason = "fork, sigtimedwait, mount_setattr and close_range have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use rustix::thread::UnshareFlags;

pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: one thread, and no flag given here splits the descriptor table.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// `None` in the child, its pid in the parent.
pub(super) fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the launcher never starts a thread, so no lock can be held by another one.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

pub(super) enum Reaped {
    Nothing,
    Exited { pid: i32, code: i32 },
    Signalled { pid: i32, signal: i32 },
}

/// Collects one dead child; `block` waits for it.
pub(super) fn reap(block: bool) -> io::Result<Reaped> {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, if block { 0 } else { libc::WNOHANG }) };
        if pid == -1 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        if pid == 0 {
            return Ok(Reaped::Nothing);
        }
        if libc::WIFSIGNALED(status) {
            return Ok(Reaped::Signalled { pid, signal: libc::WTERMSIG(status) });
        }
        if libc::WIFEXITED(status) {
            return Ok(Reaped::Exited { pid, code: libc::WEXITSTATUS(status) });
        }
    }
}

fn child_signal() -> libc::sigset_t {
    // SAFETY: the set is initialised by sigemptyset before it is read.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        set
    }
}

/// Holds SIGCHLD back, for [`wait_for_child`] to collect.
pub(super) fn hold_child_signal() -> io::Result<()> {
    let set = child_signal();
    // SAFETY: a valid set, and no old mask is asked for.
    match unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sleeps until a child changes state, at most `limit`.
pub(super) fn wait_for_child(limit: Duration) {
    let set = child_signal();
    let limit = libc::timespec { tv_sec: limit.as_secs().try_into().unwrap_or(1), tv_nsec: limit.subsec_nanos().into() };
    // SAFETY: both structures live through the call; a time-out or interruption is as good as a signal.
    unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const limit) };
}

/// Signal mask and dispositions as a fresh program expects them (Rust ignores SIGPIPE).
pub(super) fn default_signals() {
    // SAFETY: resets only; the set is initialised before use.
    unsafe {
        for signal in 1..32 {
            if signal != libc::SIGKILL && signal != libc::SIGSTOP {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Marks every descriptor but 0, 1 and 2 to close at exec.
pub(super) fn close_at_exec() -> io::Result<()> {
    const CLOEXEC: libc::c_uint = 4;
    // SAFETY: integers only; descriptors stay open until exec.
    match unsafe { libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, libc::c_uint::MAX, CLOEXEC) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[derive(Clone, Copy)]
pub(super) struct MountAttr {
    pub read_only: bool,
    pub no_devices: bool,
    pub recursive: bool,
}

/// Adds restrictions to the mount that `at` is the root of.
pub(super) fn restrict_mount(at: impl AsFd, attr: MountAttr) -> io::Result<()> {
    let mut set = libc::MOUNT_ATTR_NOSUID;
    if attr.read_only {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    if attr.no_devices {
        set |= libc::MOUNT_ATTR_NODEV;
    }
    let request = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let mut flags = libc::AT_EMPTY_PATH;
    if attr.recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is an empty C string, the request outlives the call and its size is given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const request,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Brings the loopback interface of the current network namespace up.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: an all-zero ifreq is valid; it outlives both calls.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        match libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
