//! Contents by their hash, in one folder; and files that are there whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::ViewError;
use crate::gate::Hash;

/// More new contents than this are made durable by one call for all.
const FEW: usize = 16;

#[derive(Debug)]
pub(super) struct Objects {
    dir: PathBuf,
}

impl Objects {
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub fn has(&self, hash: &Hash) -> bool {
        self.path(hash).exists()
    }

    /// `None` when it is not there, or is not what its name says.
    pub fn read(&self, hash: &Hash) -> Option<Vec<u8>> {
        fs::read(self.path(hash)).ok().filter(|bytes| Hash::of(bytes) == *hash)
    }

    /// Kept durably.
    pub fn keep(&self, bytes: &[u8]) -> Result<Hash, ViewError> {
        let hash = Hash::of(bytes);
        if !self.has(&hash) {
            write_whole(&self.path(&hash), bytes, true)?;
        }
        Ok(hash)
    }

    /// Keeps many, durably when this returns; `read` gives the content of each that is missing.
    pub fn keep_all<'a>(
        &self,
        hashes: impl Iterator<Item = (&'a str, &'a Hash)>,
        read: impl Fn(&str) -> Result<Vec<u8>, ViewError>,
    ) -> Result<(), ViewError> {
        let missing: Vec<_> = hashes.filter(|(_, hash)| !self.has(hash)).collect();
        let each = missing.len() <= FEW;
        for (path, hash) in missing {
            let bytes = read(path)?;
            if Hash::of(&bytes) != *hash {
                let changed = std::io::Error::other("it is not what was written there");
                return Err(ViewError::io("record", Path::new(path), changed));
            }
            write_whole(&self.path(hash), &bytes, each)?;
        }
        if !each {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), ViewError> {
        let dir = File::open(&self.dir).map_err(|e| ViewError::io("open", &self.dir, e))?;
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&dir).map_err(|e| ViewError::io("sync", &self.dir, e))?;
        #[cfg(not(target_os = "linux"))]
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let synced = File::open(entry.path()).and_then(|file| file.sync_all());
            synced.map_err(|e| ViewError::io("sync", &entry.path(), e))?;
        }
        drop(dir);
        Ok(())
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        self.dir.join(hash.to_string())
    }
}

/// Writes a file that appears whole; `sync`: and stays, whatever happens next.
pub(super) fn write_whole(path: &Path, bytes: &[u8], sync: bool) -> Result<(), ViewError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let temp = path.with_extension(format!("new-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temp)?;
        file.write_all(bytes)?;
        if sync {
            file.sync_all()?;
        }
        fs::rename(&temp, path)
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&temp);
        ViewError::io("write", path, e)
    })
}
