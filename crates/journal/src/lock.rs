//! One engine per run: a file lock that the operating system releases when its holder dies.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{name} is held by process {pid}: wait for it, or end it")]
    Held {
        /// What was to be locked.
        name: String,
        /// The holder; 0 when it died or has not yet said.
        pid: u32,
    },
    /// The name cannot be a file's.
    #[error("{name:?} cannot name a lock: use [A-Za-z0-9._-], at most 200 bytes")]
    BadName {
        /// The name, cut to 80 characters.
        name: String,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {path}: {source}")]
    Unreachable {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The right to act on something, held until dropped or until the process dies, however it dies.
#[derive(Debug)]
pub struct RunLock {
    file: File,
    path: PathBuf,
}

impl RunLock {
    /// Takes `DIR/NAME.lock`, without waiting. A file left behind by a dead process is no obstacle.
    ///
    /// # Errors
    /// [`LockError::Held`] with the holder's pid.
    pub fn lock(dir: &Path, name: &str) -> Result<Self, LockError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(LockError::BadName { name: name.chars().take(80).collect() });
        }
        let path = dir.join(format!("{name}.lock"));
        let unreachable = |source| LockError::Unreachable { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unreachable)?;
        loop {
            let mut file =
                File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(unreachable)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held { name: name.to_owned(), pid: holder(&mut file) });
                }
                Err(TryLockError::Error(source)) => return Err(unreachable(source)),
            }
            // The holder before us may have discarded the file between our open and our lock.
            let ours = file.metadata().map_err(unreachable)?;
            if fs::metadata(&path).is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())) {
                file.set_len(0).map_err(unreachable)?;
                write!(file, "{}", std::process::id()).map_err(unreachable)?;
                return Ok(Self { file, path });
            }
        }
    }

    /// Who holds `DIR/NAME.lock` now, if anybody does: its pid, 0 when it has not said yet. Makes no file.
    ///
    /// # Errors
    /// When the lock file is there and cannot be read.
    pub fn holder(dir: &Path, name: &str) -> io::Result<Option<u32>> {
        let mut file = match File::open(dir.join(format!("{name}.lock"))) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut pid = String::new();
        file.read_to_string(&mut pid)?;
        if pid.trim().is_empty() {
            return Ok(None); // let go of in good order
        }
        // A pid stays behind when its process was killed: then nobody holds the lock. Shared, so that
        // two who look do not see each other.
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(pid.trim().parse().unwrap_or(0))),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// Gives the lock up and deletes its file, for what will never be locked again.
    ///
    /// # Errors
    /// When the file cannot be deleted; the lock is released all the same.
    pub fn discard(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

/// The pid in the file; a holder that has just taken the lock gets a moment to write it.
fn holder(file: &mut File) -> u32 {
    for _ in 0..20 {
        let mut text = String::new();
        let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
        if let (Ok(_), Ok(pid)) = (read, text.trim().parse()) {
            return pid;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    0
}
