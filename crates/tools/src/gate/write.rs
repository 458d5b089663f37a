//! Changing files: all of a set of edits, or none of them.
//!
//! Each new content is staged in a temporary file beside its target, then swapped in atomically; what the swap brings back
//! is compared with what was read (compare-and-swap), and swapped back when it is something else. A failure undoes every
//! swap already made. A second writer's bytes are never lost.

use std::io::{Read as _, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;

use super::open::{Seen, refusal, see};
use super::{Hash, Refusal, RelPath, Root, Scope};

/// Largest file that is replaced or written.
pub(crate) const MAX_WRITE_BYTES: u64 = 64 << 20;
/// How temporary files begin; a view's walk passes over them.
pub(crate) const TEMP_PREFIX: &str = ".brigade-tmp-";

/// What must stand at the path for the edit to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Absent,
    /// A file with this content.
    Is(Hash),
    /// Anything writable, or nothing.
    Any,
}

/// What shall stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Content.
    pub bytes: Vec<u8>,
    /// `Some`: set or clear the executable bits; `None`: as the old file had them, off for a new one.
    pub executable: Option<bool>,
}

/// One file's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Which file.
    pub path: RelPath,
    /// What it must be now.
    pub base: Base,
    /// What it shall be; `None` deletes it.
    pub to: Option<NewFile>,
}

struct Staged {
    path: String,
    folder: OwnedFd,
    name: String,
    /// Holds the new content before the swap and the old one after it.
    temp: String,
    old: Option<Seen>,
    /// Device and inode of the new content.
    new: Option<(u64, u64)>,
    writes: bool,
    swapped: bool,
}

/// Makes all `edits`, or none.
///
/// # Errors
/// The first [`Refusal`]; then nothing has changed. [`Refusal::Conflict`] when a file is not what its edit was made from.
pub fn commit(root: &Root, scope: &Scope, edits: &[Edit], sync: bool) -> Result<(), Refusal> {
    let mut made = Vec::new();
    let mut staged = Vec::new();
    let result = stage_all(root, scope, edits, sync, &mut staged, &mut made).and_then(|()| staged.iter_mut().try_for_each(swap));
    match result {
        Ok(()) => {
            for one in staged.iter().filter(|one| one.old.is_some()) {
                let _ = rustix::fs::unlinkat(&one.folder, &one.temp, AtFlags::empty());
            }
            if sync {
                for one in &staged {
                    rustix::fs::fsync(&one.folder).map_err(|e| refusal("sync", &one.path, e))?;
                }
            }
            Ok(())
        }
        Err(refused) => {
            staged.iter_mut().rev().for_each(unswap);
            root.unmake(&made);
            Err(refused)
        }
    }
}

fn stage_all(
    root: &Root,
    scope: &Scope,
    edits: &[Edit],
    sync: bool,
    staged: &mut Vec<Staged>,
    made: &mut Vec<String>,
) -> Result<(), Refusal> {
    for edit in edits {
        scope.may_write(&edit.path)?;
    }
    for edit in edits {
        let path = edit.path.as_str();
        let (folder, new_folders) = root.folder_of(&edit.path, edit.to.is_some())?;
        made.extend(new_folders);
        let name = edit.path.split().1.to_owned();
        let old = see(&folder, &name, path, MAX_WRITE_BYTES)?;
        match (edit.base, &old) {
            (Base::Any, _) | (Base::Absent, None) => {}
            (Base::Absent, Some(_)) => {
                return Err(Refusal::Exists { path: path.to_owned() });
            }
            (Base::Is(_), None) => {
                return Err(Refusal::Absent { path: path.to_owned() });
            }
            (Base::Is(hash), Some(seen)) if hash == seen.hash => {}
            (Base::Is(_), Some(_)) => {
                return Err(Refusal::Conflict { path: path.to_owned() });
            }
        }
        if old.is_none() && edit.to.is_none() {
            return Err(Refusal::Absent { path: path.to_owned() });
        }
        let one =
            Staged { path: path.to_owned(), folder, name, temp: temp_name(), old, new: None, writes: edit.to.is_some(), swapped: false };
        // Pushed first, so that a temporary file is removed whatever happens next.
        staged.push(one);
        if let (Some(to), Some(one)) = (&edit.to, staged.last_mut()) {
            write_temp(one, to, sync)?;
        }
    }
    Ok(())
}

fn temp_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{TEMP_PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn write_temp(one: &mut Staged, to: &NewFile, sync: bool) -> Result<(), Refusal> {
    let fail = |e: Errno| refusal("write", &one.path, e);
    if to.bytes.len() as u64 > MAX_WRITE_BYTES {
        return Err(Refusal::TooLarge { path: one.path.clone(), bytes: to.bytes.len() as u64, limit: MAX_WRITE_BYTES });
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // The process's umask applies to a new file; an old one's bits are restored below.
    let new_mode = if to.executable == Some(true) { 0o777 } else { 0o666 };
    let fd = rustix::fs::openat(&one.folder, &one.temp, flags, Mode::from_raw_mode(new_mode)).map_err(fail)?;
    one.new = identity(&fd);
    let fail = |e: Errno| refusal("write", &one.path, e);
    let mut file = std::fs::File::from(fd);
    file.write_all(&to.bytes).map_err(|e| Refusal::Io { what: "write", path: one.path.clone(), error: e.to_string() })?;
    if let Some(old) = &one.old {
        // Only root may give files away; anyone else already owns what can be replaced, or ends up owning it.
        let _ = rustix::fs::fchown(&file, Some(Uid::from_raw(old.owner.0)), Some(Gid::from_raw(old.owner.1)));
        let mode = match to.executable {
            None => old.mode,
            // Executable for whoever may read.
            Some(true) => old.mode | ((old.mode & 0o444) >> 2),
            Some(false) => old.mode & !0o111,
        };
        // No set-uid or set-gid bit survives a change of content.
        rustix::fs::fchmod(&file, Mode::from_raw_mode((mode & 0o777) as _)).map_err(fail)?;
    }
    if sync {
        rustix::fs::fsync(&file).map_err(fail)?;
    }
    Ok(())
}

fn swap(one: &mut Staged) -> Result<(), Refusal> {
    let (folder, name, temp) = (&one.folder, one.name.as_str(), one.temp.as_str());
    let conflict = |_| Refusal::Conflict { path: one.path.clone() };
    // A look first: a swap that must be undone is seen by others for a moment, so it is only made when it should hold.
    if let Some(old) = &one.old {
        #[allow(clippy::unnecessary_cast, reason = "the widths of stat's fields differ between systems")]
        let id = |stat: rustix::fs::Stat| (stat.st_dev as u64, stat.st_ino as u64);
        let now = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map(id);
        if now != Ok(old.id) {
            return Err(Refusal::Conflict { path: one.path.clone() });
        }
    }
    match (&one.old, one.writes) {
        (None, _) => rename(folder, temp, name, RenameFlags::NOREPLACE).map_err(|e| match e {
            Errno::EXIST => Refusal::Exists { path: one.path.clone() },
            e => refusal("write", &one.path, e),
        })?,
        (Some(_), true) => rename(folder, temp, name, RenameFlags::EXCHANGE).map_err(|e| match e {
            Errno::NOENT => Refusal::Conflict { path: one.path.clone() },
            e => refusal("write", &one.path, e),
        })?,
        (Some(_), false) => rename(folder, name, temp, RenameFlags::NOREPLACE).map_err(conflict)?,
    }
    one.swapped = true;
    // What came back must be what was read; otherwise another writer was between, and the undo gives it back.
    if let Some(old) = &one.old {
        let back = see(folder, temp, &one.path, u64::MAX - 1).map_err(|_| Refusal::Conflict { path: one.path.clone() })?;
        if !back.is_some_and(|back| back.id == old.id && back.hash == old.hash) {
            return Err(Refusal::Conflict { path: one.path.clone() });
        }
    }
    Ok(())
}

fn unswap(one: &mut Staged) {
    let (folder, name, temp) = (&one.folder, one.name.as_str(), one.temp.as_str());
    if one.swapped {
        let back = |how| rename(folder, temp, name, how);
        let _ = match (&one.old, one.writes) {
            (None, _) => rename(folder, name, temp, RenameFlags::NOREPLACE),
            // When ours has gone from there meanwhile, the old file returns to the free place.
            (Some(_), true) => back(RenameFlags::EXCHANGE).or_else(|_| back(RenameFlags::NOREPLACE)),
            (Some(_), false) => back(RenameFlags::NOREPLACE),
        };
    }
    // Only what this commit wrote is removed: whatever else ended up here is somebody's, and stays under this name.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let here = rustix::fs::openat(folder, temp, flags, Mode::empty()).ok();
    if one.new.is_some() && here.is_some_and(|fd| identity(&fd) == one.new) {
        let _ = rustix::fs::unlinkat(folder, temp, AtFlags::empty());
    }
}

/// Removes what a commit that was killed left beside `path`: temporary files of processes that are no more, and of those
/// only such whose bytes are known to be `ours`. Whatever else bears such a name is somebody's, and stays.
pub(crate) fn clear_leftovers(root: &Root, path: &RelPath, ours: impl Fn(&[u8]) -> bool) {
    let Ok((folder, _)) = root.folder_of(path, false) else { return };
    let Ok(entries) = rustix::fs::Dir::read_from(&folder) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name.strip_prefix(TEMP_PREFIX).is_some_and(is_orphan) && read_small(&folder, name).is_some_and(|bytes| ours(&bytes)) {
            let _ = rustix::fs::unlinkat(&folder, name, AtFlags::empty());
        }
    }
}

/// Whether the process named by `PID-NUMBER` has gone. A number taken by a new process reads as alive: then the file stays.
fn is_orphan(rest: &str) -> bool {
    let pid = rest.split_once('-').and_then(|(pid, _)| pid.parse().ok());
    pid.and_then(rustix::process::Pid::from_raw).is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH))
}

fn read_small(folder: &OwnedFd, name: &str) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(folder, name, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&fd).ok()?;
    let plain = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
    if !plain || u64::try_from(stat.st_size).ok()? > MAX_WRITE_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::from(fd).take(MAX_WRITE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn identity(fd: &OwnedFd) -> Option<(u64, u64)> {
    #[allow(clippy::unnecessary_cast, reason = "the widths of stat's fields differ between systems")]
    rustix::fs::fstat(fd).ok().map(|stat| (stat.st_dev as u64, stat.st_ino as u64))
}

/// `renameat2`; on a file system without it, the plain call after a look.
fn rename(folder: &OwnedFd, from: &str, to: &str, how: RenameFlags) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(folder, from, folder, to, how) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        other => return other,
    }
    if how == RenameFlags::NOREPLACE {
        return match rustix::fs::statat(folder, to, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => rustix::fs::renameat(folder, from, folder, to),
            Err(error) => Err(error),
        };
    }
    // An exchange in three steps, in none of which the name is missing; `from` ends up with the old file.
    let aside = temp_name();
    rustix::fs::linkat(folder, to, folder, &aside, AtFlags::empty())?;
    rustix::fs::renameat(folder, from, folder, to)?;
    rustix::fs::renameat(folder, &aside, folder, from)
}
