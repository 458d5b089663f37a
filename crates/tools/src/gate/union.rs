//! A root of two layers: what a view changed, over what is still seen of the workspace beneath.
//!
//! Every name is opened without following a link, in the upper layer first. A link on the way is followed here, name by name
//! through both layers, so that it leads to the changed file where there is one; what it leads to is opened without following again.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use super::open::{Found, Links, Root};
use super::{RelPath, Scope};
use crate::gate::Refusal;

/// Links followed on one way.
const MAX_LINKS: usize = 40;

/// What lies beneath a view's own files.
pub(crate) struct Beneath {
    pub base: Arc<Root>,
    /// Whether a file or folder of the base is still seen: it counts, and was neither changed nor removed.
    pub seen: Box<dyn Fn(&str) -> bool + Send + Sync>,
}

impl std::fmt::Debug for Beneath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Beneath({})", self.base.path().display())
    }
}

impl Root {
    pub(super) fn open_through(&self, beneath: &Beneath, scope: &Scope, path: &RelPath, flags: OFlags) -> Result<OwnedFd, Refusal> {
        let fail = |e| super::open::refusal("read", path.as_str(), e);
        match self.open_plainly(beneath, path.as_str(), flags) {
            Err(error @ (Errno::LOOP | Errno::NOENT)) => {
                let real = self.follow(beneath, path.as_str()).map_err(fail)?;
                if real == path.as_str() {
                    return Err(fail(error));
                }
                scope.may_read(&real)?;
                self.open_plainly(beneath, &real, flags).map_err(fail)
            }
            other => other.map_err(fail),
        }
    }

    pub(super) fn look_through(&self, beneath: &Beneath, path: &str) -> Option<Found> {
        let plainly = self.look_plainly(beneath, path);
        if plainly.is_some() {
            return plainly;
        }
        let (folder, name) = path.rsplit_once('/')?;
        let real = self.follow(beneath, folder).ok().filter(|real| real != folder)?;
        self.look_plainly(beneath, &if real.is_empty() { name.to_owned() } else { format!("{real}/{name}") })
    }

    fn open_plainly(&self, beneath: &Beneath, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        // What is seen of the base is nothing the upper layer holds, unless it is a folder in both.
        let layer = if (beneath.seen)(path) { &beneath.base } else { self };
        layer.resolve(path, flags, Links::Refused)
    }

    /// What stands at `path`, no link followed on the way.
    pub(super) fn look_plainly(&self, beneath: &Beneath, path: &str) -> Option<Found> {
        if (beneath.seen)(path) { beneath.base.look_alone(path) } else { self.look_alone(path) }
    }

    fn look_alone(&self, path: &str) -> Option<Found> {
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
        let at = self.resolve(folder, OFlags::RDONLY | OFlags::DIRECTORY, Links::Refused).ok()?;
        let stat = rustix::fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Found::File,
            FileType::Directory => Found::Folder,
            FileType::Symlink => Found::Link,
            _ => Found::Other,
        })
    }

    /// The target of a link that stands at `path` in this layer alone.
    pub(crate) fn target(&self, path: &str) -> rustix::io::Result<String> {
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
        let at = self.resolve(folder, OFlags::RDONLY | OFlags::DIRECTORY, Links::Refused)?;
        let target = rustix::fs::readlinkat(&at, name, Vec::new())?;
        target.into_string().map_err(|_| Errno::ILSEQ)
    }

    /// The same path without links; what is not there stays as it is.
    fn follow(&self, beneath: &Beneath, path: &str) -> rustix::io::Result<String> {
        let mut done: Vec<String> = Vec::new();
        let mut todo: VecDeque<String> = path.split('/').map(str::to_owned).collect();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    done.pop().ok_or(Errno::XDEV)?;
                    continue;
                }
                _ => done.push(name),
            }
            let here = done.join("/");
            let layer = match (self.look_alone(&here), (beneath.seen)(&here)) {
                (Some(Found::Link), _) => self,
                (None, true) if beneath.base.look_alone(&here) == Some(Found::Link) => &beneath.base,
                _ => continue,
            };
            links += 1;
            let target = layer.target(&here)?;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            if target.starts_with('/') {
                return Err(Errno::XDEV);
            }
            done.pop();
            for part in target.split('/').rev() {
                todo.push_front(part.to_owned());
            }
        }
        Ok(done.join("/"))
    }
}
