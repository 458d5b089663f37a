//! Opening beneath one directory handle. Resolution is the kernel's (`openat2`), or name by name without following any link.

#![allow(clippy::unnecessary_cast, reason = "the widths of stat's fields differ between systems")]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::union::Beneath;
use super::{Hash, Refusal, RelPath, Scope};

/// A workspace, held open.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
    /// Set for a view: what is seen where it has no file of its own.
    beneath: Option<Beneath>,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Found {
    File,
    Folder,
    Link,
    Other,
}

/// A regular file, opened for reading and checked.
#[derive(Debug)]
pub struct Opened {
    /// The open file.
    pub file: File,
    /// Its size when opened.
    pub bytes: u64,
    /// Its permission bits.
    pub mode: u32,
}

impl Opened {
    /// All of its content, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] or [`Refusal::Io`].
    pub fn read_all(mut self, path: &RelPath, limit: u64) -> Result<Vec<u8>, Refusal> {
        read_all(&mut self.file, path.as_str(), self.bytes, limit)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// Followed as long as they stay beneath.
    Beneath,
    /// Refused in every component.
    Refused,
}

impl Root {
    /// Opens a workspace directory. A link in its own path is followed: the user named it.
    ///
    /// # Errors
    /// When it is no readable directory.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let path = path.canonicalize()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { dir, path, beneath: None })
    }

    /// This folder over another one: its own files first, then what is seen beneath.
    pub(crate) fn over(mut self, beneath: Beneath) -> Self {
        self.beneath = Some(beneath);
        self
    }

    /// Where it was when opened, for people and for walkers; never a ground for a decision.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The one way to a file's content.
    ///
    /// # Errors
    /// Any [`Refusal`] of reading.
    pub fn open_read(&self, scope: &Scope, path: &RelPath) -> Result<Opened, Refusal> {
        scope.may_read(path.as_str())?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fail = |e| refusal("read", path.as_str(), e);
        let file = if let Some(beneath) = &self.beneath {
            self.open_through(beneath, scope, path, flags)?
        } else {
            match self.resolve(path.as_str(), flags, Links::Refused) {
                Err(Errno::LOOP) => {
                    // A link is on the way: what it leads to must itself be in scope, by the name it really has.
                    let file = self.resolve(path.as_str(), flags, Links::Beneath).map_err(fail)?;
                    let real = self.real_path(&file).ok_or(Errno::LOOP).map_err(fail)?;
                    scope.may_read(&real)?;
                    file
                }
                other => other.map_err(fail)?,
            }
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| refusal("read", path.as_str(), e))?;
        regular(path.as_str(), FileType::from_raw_mode(stat.st_mode))?;
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Opened { file: file.into(), bytes, mode: stat.st_mode as u32 & 0o7777 })
    }

    /// A regular file of this folder alone, by any name the disk can hold: for what a view keeps, not for what somebody asks.
    pub(crate) fn open_own(&self, path: &str) -> std::io::Result<Opened> {
        let fd = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Links::Refused)?;
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(std::io::Error::other("not a regular file"));
        }
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Opened { file: fd.into(), bytes, mode: stat.st_mode as u32 & 0o7777 })
    }

    /// Reads a whole file of at most `limit` bytes.
    ///
    /// # Errors
    /// Any [`Refusal`] of reading.
    pub fn read(&self, scope: &Scope, path: &RelPath, limit: u64) -> Result<Vec<u8>, Refusal> {
        self.open_read(scope, path)?.read_all(path, limit)
    }

    /// What stands at `path` beneath the root, links not followed at the end; `None` when nothing does.
    pub fn look(&self, path: &RelPath) -> Option<Found> {
        if let Some(beneath) = &self.beneath {
            return self.look_through(beneath, path.as_str());
        }
        let (folder, name) = path.split();
        let at = self.resolve(folder.unwrap_or("."), OFlags::RDONLY | OFlags::DIRECTORY, Links::Beneath).ok()?;
        let stat = rustix::fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Found::File,
            FileType::Directory => Found::Folder,
            FileType::Symlink => Found::Link,
            _ => Found::Other,
        })
    }

    /// What stands at `path` itself: no link is followed on the way to it.
    pub(crate) fn stands(&self, path: &RelPath) -> Option<Found> {
        match &self.beneath {
            Some(beneath) => self.look_plainly(beneath, path.as_str()),
            None => self.look(path),
        }
    }

    /// Whether a link at `path` resolves, and stays beneath: `Ok(true)`; dangling: `Ok(false)`.
    pub(crate) fn link_stays(&self, path: &str) -> Result<bool, ()> {
        match self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Links::Beneath) {
            Ok(_) | Err(Errno::ACCESS) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(_) => Err(()),
        }
    }

    /// The folder that holds `path`, no link followed; with `make`, missing folders are made and listed, outermost first.
    pub(super) fn folder_of(&self, path: &RelPath, make: bool) -> Result<(OwnedFd, Vec<String>), Refusal> {
        let mut made = Vec::new();
        let Some(folder) = path.split().0 else {
            let own = self.resolve(".", OFlags::RDONLY | OFlags::DIRECTORY, Links::Refused);
            return Ok((own.map_err(|e| refusal("open", path.as_str(), e))?, made));
        };
        let open = |at: &str| self.resolve(at, OFlags::RDONLY | OFlags::DIRECTORY, Links::Refused);
        match open(folder) {
            Ok(dir) => return Ok((dir, made)),
            Err(Errno::NOENT) if make => {}
            Err(error) => return Err(refusal("open", folder, error)),
        }
        let mut at = open(".").map_err(|e| refusal("open", folder, e))?;
        let mut reached = String::new();
        for name in folder.split('/') {
            let parent = reached.clone();
            reached = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
            match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                Ok(()) => made.push(reached.clone()),
                Err(Errno::EXIST) => {}
                Err(error) => {
                    self.unmake(&made);
                    return Err(refusal("make folder", &reached, error));
                }
            }
            match open(&reached) {
                Ok(dir) => at = dir,
                Err(error) => {
                    self.unmake(&made);
                    return Err(refusal("open", &reached, error));
                }
            }
        }
        Ok((at, made))
    }

    /// Removes folders made by [`Root::folder_of`] that are still empty, innermost first.
    pub(super) fn unmake(&self, made: &[String]) {
        for folder in made.iter().rev() {
            let (parent, name) = folder.rsplit_once('/').unwrap_or((".", folder));
            if let Ok(at) = self.resolve(parent, OFlags::RDONLY | OFlags::DIRECTORY, Links::Refused) {
                let _ = rustix::fs::unlinkat(&at, name, AtFlags::REMOVEDIR);
            }
        }
    }

    pub(super) fn resolve(&self, path: &str, flags: OFlags, links: Links) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::ResolveFlags;
            let mut how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
            if links == Links::Refused {
                how |= ResolveFlags::NO_SYMLINKS;
            }
            // EAGAIN: a rename raced the kernel's own check of `..`; it asks for another try.
            for _ in 0..16 {
                match rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), how) {
                    Err(Errno::AGAIN) => {}
                    Err(Errno::NOSYS | Errno::PERM) => return self.walk(path, flags),
                    other => return other,
                }
            }
            Err(Errno::AGAIN)
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = links;
            self.walk(path, flags)
        }
    }

    /// Where the kernel cannot resolve beneath: name by name, no link followed at all, one device.
    pub(super) fn walk(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let device = rustix::fs::fstat(&self.dir)?.st_dev;
        let mut at: Option<OwnedFd> = None;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            if name == ".." || name.is_empty() {
                return Err(Errno::XDEV);
            }
            let last = names.peek().is_none();
            let how = if last { flags } else { OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC };
            let from = at.as_ref().unwrap_or(&self.dir);
            let next = rustix::fs::openat(from, name, how | OFlags::NOFOLLOW, Mode::empty())?;
            if rustix::fs::fstat(&next)?.st_dev != device {
                return Err(Errno::XDEV);
            }
            at = Some(next);
        }
        at.ok_or(Errno::NOENT)
    }

    /// The path an open file really has beneath the root, through its handle; `None` where that cannot be told.
    fn real_path(&self, file: &OwnedFd) -> Option<String> {
        use std::os::fd::AsRawFd;
        let name = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
        let real = name(file.as_raw_fd())?;
        let own = name(self.dir.as_raw_fd())?;
        real.strip_prefix(own).ok()?.to_str().map(str::to_owned)
    }
}

pub(super) fn regular(path: &str, kind: FileType) -> Result<(), Refusal> {
    let kind = match kind {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a folder",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Symlink => {
            return Err(Refusal::SymbolicLink { path: path.to_owned() });
        }
        _ => "something else",
    };
    Err(Refusal::NotRegular { path: path.to_owned(), kind })
}

pub(super) fn refusal(what: &'static str, path: &str, error: Errno) -> Refusal {
    let path = path.to_owned();
    match error {
        Errno::NOENT => Refusal::Absent { path },
        Errno::XDEV => Refusal::Escapes { path },
        Errno::LOOP => Refusal::SymbolicLink { path },
        Errno::NOTDIR => Refusal::BadPath { path, why: "goes through something that is not a folder" },
        Errno::ISDIR => Refusal::NotRegular { path, kind: "a folder" },
        Errno::NXIO => Refusal::NotRegular { path, kind: "a socket or a device" },
        Errno::NAMETOOLONG => Refusal::BadPath { path, why: "is too long for this file system" },
        error => Refusal::Io { what, path, error: error.to_string() },
    }
}

pub(super) fn read_all(file: &mut File, path: &str, bytes: u64, limit: u64) -> Result<Vec<u8>, Refusal> {
    let too_large = |bytes| Err(Refusal::TooLarge { path: path.to_owned(), bytes, limit });
    if bytes > limit {
        return too_large(bytes);
    }
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    // One byte more than allowed: a file that grows while it is read is refused, not cut.
    let read = file.take(limit + 1).read_to_end(&mut content);
    read.map_err(|e| Refusal::Io { what: "read", path: path.to_owned(), error: e.to_string() })?;
    if content.len() as u64 > limit {
        return too_large(content.len() as u64);
    }
    Ok(content)
}

/// A file as it stood when looked at for writing.
#[derive(Debug)]
pub(super) struct Seen {
    pub hash: Hash,
    pub mode: u32,
    pub id: (u64, u64),
    pub owner: (u32, u32),
}

/// Looks at `name` in an open folder as something to be replaced: regular, no link, no second hard link.
pub(super) fn see(folder: &OwnedFd, name: &str, path: &str, limit: u64) -> Result<Option<Seen>, Refusal> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(refusal("write", path, error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(|e| refusal("write", path, e))?;
    regular(path, FileType::from_raw_mode(stat.st_mode))?;
    if stat.st_nlink as u64 > 1 {
        return Err(Refusal::HardLinked { path: path.to_owned(), links: stat.st_nlink as u64 });
    }
    let content = read_all(&mut file.into(), path, u64::try_from(stat.st_size).unwrap_or(0), limit)?;
    let id = (stat.st_dev as u64, stat.st_ino as u64);
    Ok(Some(Seen { hash: Hash::of(&content), mode: stat.st_mode as u32 & 0o7777, id, owner: (stat.st_uid, stat.st_gid) }))
}
