//! The engine's side of one command: start the launcher, feed it the order, drain the output,
//! keep the time. Hanging up the control socket ends everything inside, so dropping is cancelling.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, pipe};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::capture::Captured;
use super::guard::Placeholders;
use super::wire::{MARK, Mode, Order, Primitive, Report};
use super::{Finished, Layers, PROTECTED, Sandbox, SandboxError, Spec, Status};

/// After the last process's end, or after the engine hung up: how long output and report may take.
const GRACE: Duration = Duration::from_secs(2);

/// Waits between tries when the machine is out of processes.
const RETRIES: [Duration; 3] = [Duration::from_millis(10), Duration::from_millis(50), Duration::from_millis(200)];

/// A started launcher and our ends of its descriptors.
struct Launched {
    child: Child,
    reports: BufReader<OwnedReadHalf>,
    line: OwnedWriteHalf,
    stdout: pipe::Receiver,
    stderr: Option<pipe::Receiver>,
}

pub(super) async fn run(sandbox: &Sandbox, spec: Spec) -> Result<Finished, SandboxError> {
    let started = Instant::now();
    let view = sandbox.directory("view_dir", &spec.view_dir)?;
    let _places = if spec.writable { Some(Placeholders::hold(&view, &PROTECTED)?) } else { None };
    let order = sandbox.order(&spec, Mode::Run)?;
    let Launched { mut child, reports, line, mut stdout, mut stderr } = launch(sandbox, &order, spec.merge_output).await?;

    let mut out = Captured::new(spec.limits.output);
    let mut err = Captured::new(spec.limits.output);
    let ended = {
        let drained = async {
            tokio::join!(drain(&mut stdout, &mut out), async {
                if let Some(stderr) = &mut stderr {
                    drain(stderr, &mut err).await;
                }
            });
        };
        tokio::pin!(drained);
        let watched = watch(reports, line, &order, spec.timeout);
        tokio::pin!(watched);
        let mut dry = false;
        let ended = loop {
            tokio::select! {
                ended = &mut watched => break ended,
                () = &mut drained, if !dry => dry = true,
            }
        };
        if !dry {
            let _ = timeout(GRACE, drained).await;
        }
        ended
    };
    if matches!(ended, Ended { gone: false, .. }) {
        // It did not even answer to the hang-up: its death is init's death.
        let _ = child.start_kill();
    }
    let duration = started.elapsed();
    ended.result.map(|status| Finished { status, stdout: out, stderr: err, duration })
}

/// How much of Landlock is enforced, when every layer stands.
pub(super) async fn probe(sandbox: &Sandbox) -> Result<String, SandboxError> {
    // /usr/lib is there on every Linux, is readable by all, and nothing is written to it.
    try_out(sandbox, &Spec { writable: false, ..Spec::new("/usr/lib", ["true"]) }).await
}

/// Whether layers can be mounted with their upper one in `dir`, which is made for this and goes again.
pub(super) async fn probe_layers(sandbox: &Sandbox, dir: &Path) -> Result<(), SandboxError> {
    let made = |source| SandboxError::Io { what: "make a folder for a trial", source };
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| dir.join(name));
    for folder in [&lower, &upper, &work] {
        std::fs::create_dir_all(folder).map_err(made)?;
    }
    let whiteout = crate::view::whiteout(&lower.join("gone")).map_err(made);
    let layers = Layers { lower: vec![lower, PathBuf::from("/usr/lib")], upper: upper.clone(), work };
    let spec = Spec { layers: Some(layers), ..Spec::new(upper, ["true"]) };
    let tried = match whiteout {
        Ok(()) => try_out(sandbox, &spec).await.map(drop),
        Err(error) => Err(error),
    };
    // What cannot be removed is empty.
    let _ = crate::view::clear(dir);
    tried
}

/// Builds everything for a command and runs nothing.
async fn try_out(sandbox: &Sandbox, spec: &Spec) -> Result<String, SandboxError> {
    let order = sandbox.order(spec, Mode::Probe)?;
    let launched = launch(sandbox, &order, true).await?;
    let Launched { mut reports, line: _held, .. } = launched;
    let heard = async {
        loop {
            match next(&mut reports).await {
                Some(Report::Ready { landlock }) => return Ok(landlock),
                Some(Report::Refused { primitive, errno, at }) => return Err(unavailable(primitive, errno, &at)),
                Some(_) => {}
                None => return Err(SandboxError::LostLauncher),
            }
        }
    };
    timeout(Duration::from_secs(10), heard).await.unwrap_or(Err(SandboxError::LostLauncher))
}

async fn launch(sandbox: &Sandbox, order: &Order, merge: bool) -> Result<Launched, SandboxError> {
    let cannot = |what| move |source| SandboxError::Io { what, source };
    let (ours, theirs) = StdUnixStream::pair().map_err(cannot("open the control socket"))?;
    ours.set_nonblocking(true).map_err(cannot("open the control socket"))?;
    let pair = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(io::Error::from);
    let (stdout, out) = pair().map_err(cannot("open a pipe"))?;
    let (stderr, err) = if merge {
        (None, out.try_clone().map_err(cannot("open a pipe"))?)
    } else {
        let (read, write) = pair().map_err(cannot("open a pipe"))?;
        (Some(read), write)
    };
    let child = spawn(sandbox, &theirs.into(), &out, &err).await?;
    drop((out, err));

    let receiver = |end: OwnedFd| {
        rustix::io::ioctl_fionbio(&end, true)?;
        pipe::Receiver::from_owned_fd(end)
    };
    let (read, mut line) = UnixStream::from_std(ours).map_err(cannot("open the control socket"))?.into_split();
    let body = serde_json::to_vec(order).expect("an order holds only UTF-8 paths, strings and numbers");
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    // A launcher that died before reading is found out by its silence.
    let _ = line.write_all(&[&length[..], &body].concat()).await;
    Ok(Launched {
        child,
        reports: BufReader::new(read),
        line,
        stdout: receiver(stdout).map_err(cannot("read the output"))?,
        stderr: stderr.map(receiver).transpose().map_err(cannot("read the output"))?,
    })
}

async fn spawn(sandbox: &Sandbox, control: &OwnedFd, out: &OwnedFd, err: &OwnedFd) -> Result<Child, SandboxError> {
    let mut waits = RETRIES.into_iter();
    loop {
        let stdio = |end: &OwnedFd| end.try_clone().map(Stdio::from);
        let tried = (|| {
            Command::new(&sandbox.program)
                .arg0("brigade-sandbox")
                .arg(MARK)
                .env_clear()
                // Not ours: Ctrl-C at the terminal is for the engine to answer.
                .process_group(0)
                .stdin(stdio(control)?)
                .stdout(stdio(out)?)
                .stderr(stdio(err)?)
                .spawn()
        })();
        match tried {
            Ok(child) => return Ok(child),
            Err(error) => {
                let short = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE));
                match waits.next() {
                    Some(wait) if short => sleep(wait).await,
                    _ if short => return Err(SandboxError::Busy(error)),
                    _ => {
                        return Err(unavailable(Primitive::Launcher, error.raw_os_error().unwrap_or(0), "start"));
                    }
                }
            }
        }
    }
}

struct Ended {
    result: Result<Status, SandboxError>,
    /// Whether the launcher said that no process is left.
    gone: bool,
}

async fn watch(mut reports: BufReader<OwnedReadHalf>, line: OwnedWriteHalf, order: &Order, limit: Duration) -> Ended {
    let mut result = None;
    let mut gone = false;
    let timed_out = {
        let heard = listen(&mut reports, order, &mut result, &mut gone);
        timeout(limit, heard).await.is_err()
    };
    // Hanging up: whatever still runs inside is killed.
    drop(line);
    if !gone {
        let _ = timeout(GRACE, listen(&mut reports, order, &mut result, &mut gone)).await;
    }
    let result = match result {
        Some(result) => result,
        None if timed_out => Ok(Status::TimedOut),
        None => Err(SandboxError::LostLauncher),
    };
    Ended { result, gone }
}

/// Until the launcher says that all is over, or is no more.
async fn listen(reports: &mut BufReader<OwnedReadHalf>, order: &Order, result: &mut Option<Result<Status, SandboxError>>, gone: &mut bool) {
    while let Some(report) = next(reports).await {
        let told = match report {
            Report::Ready { .. } => continue,
            Report::Gone => {
                *gone = true;
                return;
            }
            Report::Refused { primitive, errno, at } => Err(unavailable(primitive, errno, &at)),
            Report::CannotStart { errno, at } => Err(cannot_start(order, errno, &at)),
            Report::Exited(code) => Ok(Status::Exit(code)),
            Report::Signalled(signal) => Ok(Status::Signal(signal)),
            Report::Killed(reason) => Ok(Status::Killed(reason)),
            Report::TimedOut => Ok(Status::TimedOut),
        };
        // The first word counts: a child that could not start exits with 127 afterwards.
        result.get_or_insert(told);
    }
}

async fn next(reports: &mut BufReader<OwnedReadHalf>) -> Option<Report> {
    let mut line = Vec::new();
    match reports.read_until(b'\n', &mut line).await {
        Ok(1..) => serde_json::from_slice(&line).ok(),
        Ok(0) | Err(_) => None,
    }
}

async fn drain(pipe: &mut pipe::Receiver, into: &mut Captured) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        into.push(&buffer[..count]);
    }
}

fn unavailable(primitive: Primitive, errno: i32, at: &str) -> SandboxError {
    let why = match errno {
        0 => at.to_owned(),
        errno => format!("{at}: {}", io::Error::from_raw_os_error(errno)),
    };
    SandboxError::Unavailable { primitive, why, remedy: primitive.remedy() }
}

fn cannot_start(order: &Order, errno: i32, at: &str) -> SandboxError {
    let program = order.argv.first().cloned().unwrap_or_default();
    let reason = match (at, errno) {
        ("cwd", _) => format!("its directory {:?} cannot be entered: {}", order.cwd, io::Error::from_raw_os_error(errno)),
        ("exec", libc::ENOENT) if program.contains('/') => "no such file inside the sandbox".to_owned(),
        ("exec", libc::ENOENT) => "no such program on the PATH of the sandbox".to_owned(),
        ("exec", libc::EACCES) => "it is not executable".to_owned(),
        ("exec", libc::E2BIG) => "its arguments are too long for the system".to_owned(),
        (at, errno) => format!("{at}: {}", io::Error::from_raw_os_error(errno)),
    };
    SandboxError::CannotStart { program, reason }
}
