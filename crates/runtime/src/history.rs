//! The statistics of every run of the home, read forward from where they were left.
//!
//! What was folded of a run is put away in a file beside the journal. It is a cache and nothing else: it may be lost,
//! damaged or of another build at any time, and is then made again from the run's events, always the same.

use std::io;
use std::path::{Path, PathBuf};

use brigade_journal::ReadError;
use brigade_kernel::ids::RunId;
use brigade_kernel::view::history::{Digest, History};
use serde::{Deserialize, Serialize};

use crate::home::Home;
use crate::record;

/// Largest cache file that is read.
const MOST_BYTES: u64 = 64 << 20;

/// What is put away of a run.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The build that made it.
    build: String,
    /// The last event it holds.
    seq: u64,
    digest: Digest,
}

/// Walks the runs of the home, newest first, each with its statistics up to now. Returns what is wrong with those that
/// cannot be read.
///
/// # Errors
/// The journal's, when not even the runs can be listed.
pub fn digests(home: &Home, mut each: impl FnMut(&RunId, Digest)) -> Result<Vec<String>, ReadError> {
    let build = build();
    let mut unread = Vec::new();
    for (id, version) in home.runs()? {
        let path = home.history_file(&id);
        let kept = read(&path, &build).filter(|kept| kept.seq <= version);
        let (from, mut digest) = kept.map_or_else(|| (0, Digest::default()), |kept| (kept.seq, kept.digest));
        if from < version {
            match record::events(&*home.journal(), &id, from + 1, |recorded| digest.saw(&recorded.stamped)) {
                Ok(seq) => {
                    let kept = Kept { build: build.clone(), seq, digest };
                    // Not put away: folded again next time.
                    let _ = write(&path, &kept);
                    digest = kept.digest;
                }
                Err(e) => {
                    unread.push(e.to_string());
                    continue;
                }
            }
        }
        each(&id, digest);
    }
    Ok(unread)
}

/// All of it together.
///
/// # Errors
/// As [`digests`]; a run that cannot be read is left out.
pub fn of(home: &Home) -> Result<History, ReadError> {
    let mut history = History::default();
    digests(home, |_, digest| history.add(&digest))?;
    Ok(history)
}

fn read(path: &Path, build: &str) -> Option<Kept> {
    if std::fs::metadata(path).ok()?.len() > MOST_BYTES {
        return None;
    }
    let kept: Kept = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (kept.build == build).then_some(kept)
}

/// Whole or not at all: another process may be reading.
fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::NotFound)?;
    std::fs::create_dir_all(dir)?;
    let fresh: PathBuf = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&fresh, serde_json::to_vec(kept)?)?;
    std::fs::rename(&fresh, path).inspect_err(|_| drop(std::fs::remove_file(&fresh)))
}

/// Changes whenever the fold may have: with the binary.
fn build() -> String {
    let exe = std::env::current_exe().and_then(std::fs::metadata);
    exe.map(|m| format!("{} {:?} {}", env!("CARGO_PKG_VERSION"), m.modified().ok(), m.len())).unwrap_or_default()
}
