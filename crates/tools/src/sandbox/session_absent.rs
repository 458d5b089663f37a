//! Where there is no sandbox there is no session either: nothing can be made of this type.

use tokio::net::UnixStream;

use super::{Sandbox, SandboxError, Spec, Status};

/// A running command and the line to it.
#[derive(Debug)]
pub enum Session {}

impl Session {
    pub(super) async fn open(_: &Sandbox, _: Spec) -> Result<Self, SandboxError> {
        Err(SandboxError::NotSupported)
    }

    /// The line to the command; only the first caller gets it.
    pub fn take_stream(&mut self) -> Option<UnixStream> {
        match *self {}
    }

    /// The other side of its proxy; only the first caller gets it.
    pub fn take_door(&mut self) -> Option<std::os::fd::OwnedFd> {
        match *self {}
    }

    /// What it wrote to standard error so far, within its bound.
    pub fn complaints(&self) -> String {
        match *self {}
    }

    /// Ends the command and all it started.
    ///
    /// # Errors
    /// Why it never ran.
    pub async fn close(self) -> Result<Option<Status>, SandboxError> {
        match self {}
    }
}
