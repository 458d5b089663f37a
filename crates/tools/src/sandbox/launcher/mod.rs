//! The engine's binary, started again with an empty environment to build the sandbox.
//!
//! Three processes: the *launcher* (outside the pid namespace) waits for the engine to hang up,
//! *init* (pid 1 inside) builds the root, confines itself and reaps, and its child is the command.
//! Engine gone → the control socket closes → the launcher kills init; launcher gone → init's
//! parent-death signal; init gone → the kernel kills the whole namespace. No pid is ever guessed.
//!
//! It refuses to go on when any layer fails: the report names the layer, and nothing has run.

mod confine;
mod init;
mod root;
mod sys;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::thread::UnshareFlags;

use super::wire::{MAX_ORDER, Order, Primitive, Report};

/// Why the sandbox could not be built.
struct Refusal {
    primitive: Primitive,
    errno: i32,
    at: String,
}

trait OrRefuse<T> {
    fn or_refuse(self, primitive: Primitive, at: impl FnOnce() -> String) -> Result<T, Refusal>;
}

impl<T, E: Into<io::Error>> OrRefuse<T> for Result<T, E> {
    fn or_refuse(self, primitive: Primitive, at: impl FnOnce() -> String) -> Result<T, Refusal> {
        self.map_err(|error| {
            let error = error.into();
            match error.raw_os_error() {
                Some(errno) => Refusal { primitive, errno, at: at() },
                None => Refusal { primitive, errno: 0, at: format!("{}: {error}", at()) },
            }
        })
    }
}

/// The control socket, as seen from the launcher's side.
struct Control(File);

impl Control {
    fn say(&mut self, report: &Report) {
        let mut line = serde_json::to_vec(report).expect("a report holds only strings and numbers");
        line.push(b'\n');
        // The engine may be gone; then there is nobody to tell, and the poll below ends the run.
        let _ = self.0.write_all(&line);
    }

    fn refuse(&mut self, refusal: Refusal) -> ! {
        let Refusal { primitive, errno, at } = refusal;
        self.say(&Report::Refused { primitive, errno, at });
        std::process::exit(1)
    }

    fn read_order(&mut self) -> io::Result<Order> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_ORDER {
            return Err(io::Error::other("order too long"));
        }
        let mut order = vec![0; length];
        self.0.read_exact(&mut order)?;
        Ok(serde_json::from_slice(&order)?)
    }
}

pub(super) fn main() -> ! {
    // Descriptors 1 and 2 belong to the command.
    std::panic::set_hook(Box::new(|_| {}));
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { std::process::exit(2) };
    let mut control = Control(File::from(control));
    let order = match control.read_order() {
        Ok(order) => order,
        Err(_) => std::process::exit(2),
    };
    match launch(&order, &mut control) {
        Ok(()) => std::process::exit(0),
        Err(refusal) => control.refuse(refusal),
    }
}

fn launch(order: &Order, control: &mut Control) -> Result<(), Refusal> {
    let launcher = |what: &'static str| move || what.to_owned();
    // Already a group leader of its own (the engine sees to it), so this cannot make a session;
    // init and the command do.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let null = File::options().read(true).write(true).open("/dev/null").or_refuse(Primitive::Launcher, launcher("open /dev/null"))?;
    namespaces(order)?;
    let (life, ours) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).or_refuse(Primitive::Launcher, launcher("pipe"))?;
    let Some(pid) = sys::fork().or_refuse(Primitive::PidNamespace, launcher("fork"))? else {
        drop(ours);
        init::main(order, control, &life);
    };
    drop(life);
    silence(&null).or_refuse(Primitive::Launcher, launcher("close the output"))?;
    let outcome = watch(pid, control);
    drop(ours);
    outcome.or_refuse(Primitive::Launcher, launcher("wait for init"))
}

fn namespaces(order: &Order) -> Result<(), Refusal> {
    let unshare = |flag, primitive| sys::unshare(flag).or_refuse(primitive, || "unshare".to_owned());
    unshare(UnshareFlags::NEWUSER, Primitive::UserNamespace)?;
    let write = |file: &str, text: String| std::fs::write(file, text).or_refuse(Primitive::UserNamespace, || format!("write {file}"));
    // Inside, everybody is uid 1000: a program cannot tell whether the engine was root, and the
    // kernel's habits for uid 0 (capabilities at exec) do not apply.
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{} {} 1", root::UID, order.uid))?;
    write("/proc/self/gid_map", format!("{} {} 1", root::UID, order.gid))?;
    unshare(UnshareFlags::NEWNS, Primitive::MountNamespace)?;
    unshare(UnshareFlags::NEWPID, Primitive::PidNamespace)?;
    if !order.network {
        unshare(UnshareFlags::NEWNET, Primitive::NetworkNamespace)?;
    }
    unshare(UnshareFlags::NEWIPC, Primitive::IpcNamespace)?;
    unshare(UnshareFlags::NEWUTS, Primitive::UtsNamespace)?;
    // Hides only the name of our control group; not a wall, so its absence is no refusal.
    let _ = sys::unshare(UnshareFlags::NEWCGROUP);
    Ok(())
}

fn silence(null: &File) -> io::Result<()> {
    rustix::stdio::dup2_stdin(null)?;
    rustix::stdio::dup2_stdout(null)?;
    rustix::stdio::dup2_stderr(null)?;
    Ok(())
}

/// Waits for init to end or the engine to hang up, whichever comes first; init is dead after.
fn watch(pid: i32, control: &mut Control) -> io::Result<()> {
    let init = Pid::from_raw(pid).ok_or_else(|| io::Error::other("fork returned no pid"))?;
    let pidfd: OwnedFd = pidfd_open(init, PidfdFlags::empty())?;
    loop {
        let mut waits = [
            PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(control.0.as_fd(), PollFlags::IN | PollFlags::RDHUP),
        ];
        match poll(&mut waits, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if waits[0].revents().is_empty() {
            // The engine never sends a second message: readable means that it hung up.
            kill_process(init, Signal::KILL)?;
        }
        break;
    }
    // Returns when the last process of the namespace is dead: init is reaped after all others.
    sys::reap(true)?;
    control.say(&Report::Gone);
    Ok(())
}
