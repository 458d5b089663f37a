//! A command that stays and is talked to: its standard input and output are the two ends of one socket.
//!
//! Hanging up the control socket ends everything inside, so dropping a [`Session`] is killing it. There is no wall
//! time: whoever talks keeps the deadlines.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedWriteHalf, pipe};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::capture::Captured;
use super::guard::Placeholders;
use super::run::{Controlled, GRACE, cannot, control, listen, receiver};
use super::wire::Mode;
use super::{PROTECTED, Sandbox, SandboxError, Spec, Status};

/// For an engine that is stopped rather than dead; what talks is bounded by the talker's deadlines.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// A running command and the line to it.
#[derive(Debug)]
pub struct Session {
    /// What it reads and writes.
    stream: Option<UnixStream>,
    /// What its proxy's other side listens on.
    door: Option<OwnedFd>,
    complaints: Arc<Mutex<Captured>>,
    drained: JoinHandle<()>,
    ended: JoinHandle<Result<Status, SandboxError>>,
    line: Option<OwnedWriteHalf>,
    child: Child,
    _places: Option<Placeholders>,
}

impl Session {
    pub(super) async fn open(sandbox: &Sandbox, spec: Spec) -> Result<Self, SandboxError> {
        let view = sandbox.directory("view_dir", &spec.view_dir)?;
        let places = if spec.writable { Some(Placeholders::hold(&view, &PROTECTED)?) } else { None };
        let mut order = sandbox.order(&spec, Mode::Run)?;
        order.talks = true;
        order.door = sandbox.door;
        order.caps.wall_ms = u64::try_from(LONGEST.as_millis()).unwrap_or(u64::MAX);
        let (ours, theirs) = StdUnixStream::pair().map_err(cannot("open a socket"))?;
        ours.set_nonblocking(true).map_err(cannot("open a socket"))?;
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| cannot("open a pipe")(io::Error::from(e)))?;
        let theirs: OwnedFd = theirs.into();
        let Controlled { child, mut reports, line } = control(sandbox, &order, &theirs, &write).await?;
        drop((theirs, write));
        let complaints = Arc::new(Mutex::new(Captured::new(spec.limits.output)));
        let drained = tokio::spawn(drain(receiver(read)?, complaints.clone()));
        let ended = tokio::spawn(async move {
            let (mut result, mut gone) = (None, false);
            listen(&mut reports, &order, &mut result, &mut gone).await;
            result.unwrap_or(Err(SandboxError::LostLauncher))
        });
        let stream = UnixStream::from_std(ours).map_err(cannot("open a socket"))?;
        let door = if sandbox.door { handed(&stream).await } else { None };
        Ok(Self { stream: Some(stream), door, complaints, drained, ended, line: Some(line), child, _places: places })
    }

    /// The line to the command; only the first caller gets it.
    pub fn take_stream(&mut self) -> Option<UnixStream> {
        self.stream.take()
    }

    /// The other side of its proxy ([`super::Profile::door`]), listening; only the first caller gets it.
    pub fn take_door(&mut self) -> Option<OwnedFd> {
        self.door.take()
    }

    /// What it wrote to standard error so far, within its bound.
    pub fn complaints(&self) -> String {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).text()
    }

    /// Ends the command and all it started; says how it had ended, if it had by itself.
    ///
    /// # Errors
    /// Why it never ran.
    pub async fn close(mut self) -> Result<Option<Status>, SandboxError> {
        // What ended by itself has a last word, and its last complaint, on the way.
        let own = timeout(Duration::from_millis(200), &mut self.ended).await;
        drop(self.line.take());
        self.stream = None;
        let ended = match own {
            Ok(ended) => Some(ended),
            Err(_) => {
                if timeout(GRACE, &mut self.ended).await.is_err() {
                    let _ = self.child.start_kill();
                }
                None
            }
        };
        let _ = timeout(GRACE, &mut self.drained).await;
        match ended {
            Some(Ok(Ok(status))) => Ok(Some(status)),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(_)) | None => Ok(None),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The socket has two halves; both must go for the launcher to see that nobody holds it any more.
        self.ended.abort();
        self.drained.abort();
    }
}

/// The door as init hands it out, before the command has started; `None` where init came to nothing.
async fn handed(line: &UnixStream) -> Option<OwnedFd> {
    let receive = || {
        let mut byte = [0_u8; 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        recvmsg(line, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
        let rights = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok(rights)
    };
    line.async_io(Interest::READABLE, receive).await.ok().flatten()
}

async fn drain(mut pipe: pipe::Receiver, into: Arc<Mutex<Captured>>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        into.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..count]);
    }
}
