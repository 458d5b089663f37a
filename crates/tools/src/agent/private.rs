//! The private home of one errand: a copy of the login, so that the agent cannot alter it, and nothing else of the user's.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Longest file of a login.
const FILE_BYTES: u64 = 1 << 20;

/// A folder that goes with its errand.
#[derive(Debug)]
pub(super) struct Private {
    dir: PathBuf,
}

impl Private {
    /// Makes it anew at `dir`, with `inner` for the login inside.
    pub fn make(dir: PathBuf, inner: Option<&str>) -> io::Result<Self> {
        let made = Self { dir };
        made.clear();
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(made.dir.join("home"))?;
        if let Some(inner) = inner {
            builder.create(made.dir.join("home").join(inner))?;
        }
        Ok(made)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Copies these files of `from`, those that are there; links are not followed.
    pub fn copy(&self, from: &Path, inner: &str, files: &[String]) -> io::Result<()> {
        for name in files {
            let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
            let source = match File::options().read(true).custom_flags(nofollow).open(from.join(name)) {
                Ok(source) => source,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let mut bytes = Vec::new();
            source.take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > FILE_BYTES {
                return Err(io::Error::other(format!("{name} is longer than 1 MiB")));
            }
            self.put(&Path::new("home").join(inner).join(name), &bytes)?;
        }
        Ok(())
    }

    /// Writes a file beneath it.
    pub fn put(&self, name: &Path, bytes: &[u8]) -> io::Result<()> {
        File::options().write(true).create_new(true).mode(0o600).open(self.dir.join(name))?.write_all(bytes)
    }

    fn clear(&self) {
        // What stays in spite of it goes with the run.
        let _ = crate::view::clear(&self.dir);
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.clear();
    }
}
