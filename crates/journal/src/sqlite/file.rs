//! The file under the journal: where it may live, who may read it, whether it is still the same one.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::OpenError;

/// Which file a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self(found.dev(), found.ino()))
    }
}

/// `journal.db` → `journal.db-wal`, and the like.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the home (0700) and an empty file (0600) where there are none.
///
/// An existing file is never opened here: closing it would drop the locks that SQLite holds on it
/// elsewhere in this process.
pub(super) fn prepare(path: &Path) -> Result<(), OpenError> {
    let home = home(path);
    let refused = |path: &Path, source: io::Error| match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => OpenError::ReadOnly { path: path.into() },
        _ => OpenError::Unreachable { path: path.into(), source },
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(home).map_err(|e| refused(home, e))?;
    if let Some(kind) = network_file_system(home) {
        return Err(OpenError::Network { path: home.into(), kind });
    }
    use rustix::fs::{Access, access};
    access(home, Access::WRITE_OK | Access::EXEC_OK).map_err(|e| refused(home, e.into()))?;
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => fs::File::open(home).and_then(|home| home.sync_all()).map_err(|e| refused(home, e)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            access(path, Access::READ_OK | Access::WRITE_OK).map_err(|e| refused(path, e.into()))
        }
        Err(e) => Err(refused(path, e)),
    }
}

fn home(path: &Path) -> &Path {
    match path.parent() {
        Some(home) if home != Path::new("") => home,
        _ => Path::new("."),
    }
}

/// The kind of network or cluster file system the directory lies on: their locks and shared memory
/// do not hold between machines.
#[cfg(target_os = "linux")]
fn network_file_system(home: &Path) -> Option<&'static str> {
    network_magic(rustix::fs::statfs(home).ok()?.f_type as u64 & 0xffff_ffff)
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_home: &Path) -> Option<&'static str> {
    None
}

/// Magic numbers of statfs(2) and linux/magic.h.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "statfs knows no magic there"))]
pub(super) fn network_magic(magic: u64) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x0102_1997 => "9p",
        0x00c3_6400 => "Ceph",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x0bd0_0bd0 => "Lustre",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        _ => return None,
    })
}

/// Whether a file beside the journal cannot be written for want of space or quota. SQLite reports
/// some of those cases as plain write errors.
pub(super) fn out_of_space(path: &Path) -> bool {
    use rustix::io::Errno;
    let probe = beside(path, &format!("-probe-{}", std::process::id()));
    let written = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&probe).and_then(|mut file| {
        io::Write::write_all(&mut file, &[1; 64 << 10])?;
        file.sync_all()
    });
    let _ = fs::remove_file(&probe);
    let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG].map(|errno| Some(errno.raw_os_error()));
    written.is_err_and(|e| full.contains(&e.raw_os_error()))
}

/// Bytes of the database, its write-ahead log and the log's index.
pub(super) fn size_on_disk(path: &Path) -> io::Result<u64> {
    let extra = ["-wal", "-shm"].map(|suffix| fs::metadata(beside(path, suffix)).map_or(0, |m| m.len()));
    Ok(fs::metadata(path)?.len() + extra.iter().sum::<u64>())
}
