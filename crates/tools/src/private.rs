//! Files of the home that only their owner reads, replaced whole or not at all.

use std::io::{self, Write as _};
use std::path::Path;
use std::{fs, process};

/// Writes `text` to `path` with mode 0600, durably; who reads it meanwhile sees the old or the new.
pub(crate) fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    fs::create_dir_all(dir)?;
    let fresh = dir.join(format!(".{name}.{}", process::id()));
    let _ = fs::remove_file(&fresh);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    fs::File::open(dir)?.sync_all()
}
