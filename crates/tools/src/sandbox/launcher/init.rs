//! Pid 1 of the sandbox: builds, confines itself, starts the command, reaps, and watches memory,
//! processes and disk. When it ends, the kernel ends everything else in the namespace.

use std::fs;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{DumpableBehavior, Signal};

use super::super::wire::{DOOR, KillReason, Mode, Order, Report, VIEW};
use super::sys::{self, Reaped};
use super::{Control, Refusal, confine, root};

/// Between two looks at memory, processes and disk.
const ROUND: Duration = Duration::from_millis(50);

/// The engine keeps the time; this is for an engine that is stopped rather than dead.
const LATE: Duration = Duration::from_secs(2);

pub(super) fn main(order: &Order, control: &mut Control, life: &OwnedFd) -> ! {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // The launcher may have died before that call: then the other end of the pipe is closed.
    let mut ends = [PollFd::from_borrowed_fd(life.as_fd(), PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    if !matches!(poll(&mut ends, Some(&now)), Ok(0)) {
        std::process::exit(1);
    }
    let landlock = match build(order) {
        Ok(landlock) => landlock,
        Err(refusal) => control.refuse(refusal),
    };
    if order.mode == Mode::Probe {
        control.say(&Report::Ready { landlock });
        std::process::exit(0);
    }
    let started = Instant::now();
    let _ = sys::hold_child_signal();
    match sys::fork() {
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(0);
            control.say(&Report::CannotStart { errno, at: "fork".to_owned() });
            std::process::exit(1)
        }
        Ok(None) => start(order, control),
        Ok(Some(command)) => {
            let last = watch(order, command, started);
            control.say(&last);
            std::process::exit(0)
        }
    }
}

fn build(order: &Order) -> Result<String, Refusal> {
    use super::super::wire::Primitive::{Capabilities, NetworkNamespace, UtsNamespace};
    use super::OrRefuse;
    // No controlling terminal, and none to be had by opening one.
    rustix::process::setsid().or_refuse(Capabilities, || "new session".to_owned())?;
    root::build(order)?;
    rustix::system::sethostname(b"sandbox").or_refuse(UtsNamespace, || "name the host".to_owned())?;
    if order.loopback {
        sys::loopback_up().or_refuse(NetworkNamespace, || "loopback".to_owned())?;
    }
    if order.door {
        hand_out_the_door().or_refuse(NetworkNamespace, || "proxy".to_owned())?;
    }
    confine::limits(&order.caps)?;
    confine::drop_capabilities()?;
    // The command must not read this process; exec makes the command itself readable again.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).or_refuse(Capabilities, || "hide init".to_owned())?;
    let landlock = confine::landlock(order)?;
    confine::seccomp(order)?;
    Ok(landlock)
}

/// Listens at the door and gives the listener to the engine: a socket stays in the namespace it was made in.
fn hand_out_the_door() -> io::Result<()> {
    let door = std::net::TcpListener::bind(DOOR)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let door = [door.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&door));
    sendmsg(rustix::stdio::stdout(), &[IoSlice::new(b"d")], &mut control, SendFlags::empty())?;
    Ok(())
}

/// In the child: becomes the command.
fn start(order: &Order, control: &mut Control) -> ! {
    let error = become_command(order);
    let (errno, at) = match error {
        Ok((error, at)) | Err((error, at)) => (error.raw_os_error().unwrap_or(0), at),
    };
    control.say(&Report::CannotStart { errno, at });
    std::process::exit(127)
}

type Step = (io::Error, String);

fn become_command(order: &Order) -> Result<Step, Step> {
    let at = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| (error, what)
    };
    rustix::process::setsid().map_err(io::Error::from).map_err(at("new session"))?;
    let cwd = Path::new(VIEW).join(&order.cwd);
    std::env::set_current_dir(&cwd).map_err(at("cwd"))?;
    if order.talks {
        rustix::stdio::dup2_stdin(rustix::stdio::stdout()).map_err(io::Error::from).map_err(at("stdin"))?;
    } else {
        let null = fs::File::open("/dev/null").map_err(at("/dev/null"))?;
        rustix::stdio::dup2_stdin(null).map_err(io::Error::from).map_err(at("stdin"))?;
    }
    sys::close_at_exec().map_err(at("close"))?;
    sys::default_signals();
    let (program, arguments) = order.argv.split_first().ok_or_else(|| (io::Error::other("empty argv"), "argv".to_owned()))?;
    #[expect(clippy::disallowed_methods, reason = "this is the sandboxed side of the process spawner")]
    let error = std::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(order.layout.env.iter().map(|(name, value)| (name, value)))
        .exec();
    Ok((error, "exec".to_owned()))
}

/// Until the command ends or a limit does it for it.
fn watch(order: &Order, command: i32, started: Instant) -> Report {
    let deadline = started + Duration::from_millis(order.caps.wall_ms) + LATE;
    let mut looked = Instant::now();
    loop {
        sys::wait_for_child(ROUND);
        loop {
            match sys::reap(false) {
                Ok(Reaped::Exited { pid, code }) if pid == command => return Report::Exited(code),
                Ok(Reaped::Signalled { pid, signal }) if pid == command => {
                    return Report::Signalled(signal);
                }
                Ok(Reaped::Exited { .. } | Reaped::Signalled { .. }) => {}
                Ok(Reaped::Nothing) | Err(_) => break,
            }
        }
        if looked.elapsed() < ROUND {
            continue;
        }
        if let Some(reason) = exceeded(order) {
            return Report::Killed(reason);
        }
        looked = Instant::now();
        if looked >= deadline {
            return Report::TimedOut;
        }
    }
}

fn exceeded(order: &Order) -> Option<KillReason> {
    let caps = &order.caps;
    if (order.writable && disk_is_low(VIEW, order)) || (order.scratch.is_some() && disk_is_low("/scratch", order)) {
        return Some(KillReason::Disk { reserve: caps.disk_reserve });
    }
    let held = used("/tmp") + used("/dev/shm");
    let pids: Vec<u32> = processes();
    if pids.len() as u64 > caps.processes {
        return Some(KillReason::Processes { limit: caps.processes });
    }
    let resident: u64 = pids.iter().map(|pid| resident(*pid)).sum();
    if resident + held <= caps.memory {
        return None;
    }
    // Shared pages were counted once per process: look closer before killing.
    let exact: u64 = pids.iter().map(|pid| proportional(*pid).unwrap_or_else(|| self::resident(*pid))).sum();
    (exact + held > caps.memory).then_some(KillReason::Memory { limit: caps.memory })
}

fn disk_is_low(path: &str, order: &Order) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| {
        disk.f_bavail.saturating_mul(disk.f_frsize) < order.caps.disk_reserve
            || (disk.f_files > 0 && disk.f_favail < order.caps.inode_reserve)
    })
}

fn used(path: &str) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |disk| disk.f_blocks.saturating_sub(disk.f_bfree) * disk.f_frsize)
}

fn processes() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| *pid != 1).collect()
}

/// Bytes in memory, shared ones included.
fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Bytes in memory, shared ones divided among those who share them.
fn proportional(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
