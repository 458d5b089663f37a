//! Which files of which workspace a person has looked at and trusts, by hash: a file of the home that only its owner reads.
//!
//! The text that was looked at is kept with it, so that a change can be shown as one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::Read;
use crate::gate::Hash;

/// The file's name below the home.
const FILE: &str = "workspace-trust.json";
/// Nobody reads that much.
const MOST_BYTES: u64 = 64 << 20;
const VERSION: u64 = 1;

/// A file as it was when it was trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pin {
    sha256: String,
    text: String,
}

type Workspaces = BTreeMap<String, BTreeMap<String, Pin>>;

/// What one home trusts of one workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    file: PathBuf,
    workspace: String,
    all: Workspaces,
}

/// Why the list cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read or written.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what brigade wrote.
    #[error("{path} is not brigade's list of trusted workspace files ({why}): remove it and trust them again with `brigade trust`")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// How a file stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Nobody has looked at it.
    Untrusted,
    /// It is what was trusted, byte for byte.
    Trusted,
    /// It was trusted when it said this.
    Changed(&'a str),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u64,
    workspaces: Workspaces,
}

impl Trust {
    /// What `home` trusts of `workspace`; nothing where there is no file.
    ///
    /// # Errors
    /// [`TrustError`]: a broken file is no empty one.
    pub fn of(home: &Path, workspace: &Path) -> Result<Self, TrustError> {
        let file = home.join(FILE);
        // A path that is no text has a name of its own all the same: the bytes, written out.
        let workspace = workspace.canonicalize().unwrap_or_else(|_| workspace.to_owned());
        let workspace = workspace.to_str().map_or_else(|| format!("{workspace:?}"), str::to_owned);
        let all = stored(&file)?;
        Ok(Self { file, workspace, all })
    }

    /// How a file stands.
    pub fn standing(&self, file: &Read) -> Standing<'_> {
        match self.all.get(&self.workspace).and_then(|files| files.get(&file.path)) {
            None => Standing::Untrusted,
            Some(pin) if pin.sha256 == file.hash.to_string() => Standing::Trusted,
            Some(pin) => Standing::Changed(&pin.text),
        }
    }

    /// Paths that are trusted in some state.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.all.get(&self.workspace).into_iter().flat_map(|files| files.keys().map(String::as_str))
    }

    /// Trusts these files as they were read.
    ///
    /// # Errors
    /// Why it cannot be written; nothing more is trusted then.
    pub fn add(&mut self, files: &[&Read]) -> Result<(), TrustError> {
        self.change(|pins| {
            for file in files {
                pins.insert(file.path.clone(), Pin { sha256: file.hash.to_string(), text: file.text.clone() });
            }
        })
    }

    /// Trusts these paths no longer.
    ///
    /// # Errors
    /// Why it cannot be written; they are trusted still.
    pub fn remove(&mut self, paths: &[String]) -> Result<(), TrustError> {
        self.change(|pins| pins.retain(|path, _| !paths.contains(path)))
    }

    fn change(&mut self, change: impl FnOnce(&mut BTreeMap<String, Pin>)) -> Result<(), TrustError> {
        // Read again: another process may have written since.
        let mut all = stored(&self.file)?;
        let pins = all.entry(self.workspace.clone()).or_default();
        change(pins);
        if pins.is_empty() {
            all.remove(&self.workspace);
        }
        let stored = Stored { version: VERSION, workspaces: all };
        let text = serde_json::to_vec_pretty(&stored).expect("pins are plain data");
        let unwritten = |source| TrustError::File { what: "write", path: self.file.clone(), source };
        crate::private::write(&self.file, &text).map_err(unwritten)?;
        self.all = stored.workspaces;
        Ok(())
    }
}

fn stored(file: &Path) -> Result<Workspaces, TrustError> {
    let unread = |source| TrustError::File { what: "read", path: file.to_owned(), source };
    let broken = |why: String| TrustError::Broken { path: file.to_owned(), why };
    let meta = match fs::metadata(file) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Workspaces::new()),
        Err(error) => return Err(unread(error)),
    };
    if !meta.is_file() || meta.len() > MOST_BYTES {
        return Err(broken("no file of at most 64 MiB".to_owned()));
    }
    let text = fs::read_to_string(file).map_err(unread)?;
    let stored: Stored = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
    if stored.version != VERSION {
        return Err(broken(format!("version {}, this brigade reads {VERSION}", stored.version)));
    }
    let bad = stored.workspaces.values().flatten().find(|(_, pin)| Hash::parse(&pin.sha256).is_none());
    match bad {
        Some((path, _)) => Err(broken(format!("{path}: no hash"))),
        None => Ok(stored.workspaces),
    }
}
