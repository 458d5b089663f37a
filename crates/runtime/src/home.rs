//! Where brigade keeps its things: one folder, one journal file, a folder for each run's views.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brigade_journal::{AppendError, Journal, LockError, OpenError, ReadError, RunLock, Sqlite, Stream};
use brigade_kernel::ids::RunId;

/// The folder under `BRIGADE_HOME`.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
    journal: Arc<Sqlite>,
}

/// Why the home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The folder cannot be made.
    #[error("cannot make the home {path}: {source}; set BRIGADE_HOME to a folder you may write to")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] OpenError),
}

impl Home {
    /// Opens the home, made on first use.
    ///
    /// # Errors
    /// [`HomeError`] names the path and the remedy.
    pub fn open(dir: &Path) -> Result<Self, HomeError> {
        let folder = |source| HomeError::Folder { path: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(folder)?;
        let dir = dir.canonicalize().map_err(folder)?;
        let journal = Arc::new(Sqlite::open(&dir.join("journal.sqlite"))?);
        Ok(Self { dir, journal })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its journal.
    pub fn journal(&self) -> Arc<dyn Journal> {
        self.journal.clone()
    }

    /// Where the views and trees of a run stand.
    pub fn view_dir(&self, run: &RunId) -> PathBuf {
        self.dir.join("views").join(run.as_str())
    }

    /// Where the build output of a run's commands stands.
    pub fn scratch_dir(&self, run: &RunId) -> PathBuf {
        self.dir.join("scratch").join(run.as_str())
    }

    /// Where an offline run keeps its example and the script's counts.
    pub fn offline_dir(&self, run: &RunId) -> PathBuf {
        self.dir.join("offline").join(run.as_str())
    }

    /// Where the statistics of a run are put away.
    pub fn history_file(&self, run: &RunId) -> PathBuf {
        self.dir.join("history").join(format!("{run}.json"))
    }

    /// Takes the right to be the run's only engine.
    ///
    /// # Errors
    /// [`LockError::Held`] names the holder's pid.
    pub fn lock(&self, run: &RunId) -> Result<RunLock, LockError> {
        RunLock::lock(&self.dir.join("locks"), run.as_str())
    }

    /// The pid of the engine that works on the run now.
    pub fn engine_of(&self, run: &RunId) -> Option<u32> {
        // A lock that cannot be looked at is nobody's as far as a reader is concerned; taking it would say why.
        RunLock::holder(&self.dir.join("locks"), run.as_str()).ok().flatten()
    }

    /// Every run of the home, newest first.
    ///
    /// # Errors
    /// The journal's.
    pub fn runs(&self) -> Result<Vec<(RunId, u64)>, ReadError> {
        let streams = self.journal.streams("run/")?;
        let id = |stream: &Stream| RunId::new(stream.as_str().strip_prefix("run/")?).ok();
        let mut runs: Vec<_> = streams.iter().filter_map(|(stream, version)| Some((id(stream)?, *version))).collect();
        runs.sort_by(|a, b| b.0.cmp(&a.0));
        Ok(runs)
    }

    /// Removes everything of a run: its events, words left for it, its statistics, its view and build output. The caller holds its
    /// lock, which goes with it. The bytes linger in the journal's file until it is compacted.
    ///
    /// # Errors
    /// [`ForgetError`]; what is left can be forgotten again.
    pub fn forget(&self, run: &RunId, lock: RunLock) -> Result<(), ForgetError> {
        for dir in [self.view_dir(run), self.scratch_dir(run), self.offline_dir(run)] {
            brigade_tools::view::clear(&dir).map_err(|source| ForgetError::Folder { path: dir, source })?;
        }
        let history = self.history_file(run);
        if let Err(source) = std::fs::remove_file(&history)
            && source.kind() != io::ErrorKind::NotFound
        {
            return Err(ForgetError::Folder { path: history, source });
        }
        self.journal.remove(&commands_of(run)).wait()?;
        self.journal.remove(&events_of(run)).wait()?;
        // A lock file left behind is no obstacle to anybody.
        let _ = lock.discard();
        Ok(())
    }
}

/// Why a run was not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// A folder of it cannot be removed.
    #[error("cannot remove {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The journal did not let go of it.
    #[error(transparent)]
    Journal(#[from] AppendError),
}

/// What the streams of events of all runs begin with.
pub const RUNS: &str = "run/";

/// Where a run's events stand.
pub fn events_of(run: &RunId) -> Stream {
    Stream::new(&format!("{RUNS}{run}")).expect("a run id fits a stream's name")
}

/// Where other processes leave word for a run's engine.
pub fn commands_of(run: &RunId) -> Stream {
    Stream::new(&format!("commands/{run}")).expect("a run id fits a stream's name")
}
