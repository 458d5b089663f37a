//! A tree as names, kinds and content hashes, and its one-line-per-file text form.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::gate::Hash;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    File,
    Executable,
    /// Its content is the link's target.
    Link,
}

/// One name's kind and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Entry {
    pub kind: Kind,
    pub hash: Hash,
}

/// Every file of a tree by its path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest(pub BTreeMap<String, Entry>);

impl Manifest {
    /// The tree's hash: over its text form.
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        for (path, entry) in &self.0 {
            hasher.update(line(path, entry));
        }
        let digest: [u8; 32] = hasher.finalize().into();
        Hash::from_digest(digest)
    }

    /// One line per file: kind, hash, path as a JSON string.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|(path, entry)| line(path, entry)).collect()
    }

    /// Reads the text form; `None` when it is damaged.
    pub fn parse(text: &str) -> Option<Self> {
        let mut files = BTreeMap::new();
        for line in text.lines() {
            let (kind, rest) = line.split_once(' ')?;
            let (hash, path) = rest.split_once(' ')?;
            let kind = match kind {
                "f" => Kind::File,
                "x" => Kind::Executable,
                "l" => Kind::Link,
                _ => return None,
            };
            files.insert(serde_json::from_str(path).ok()?, Entry { kind, hash: Hash::parse(hash)? });
        }
        Some(Self(files))
    }
}

fn line(path: &str, entry: &Entry) -> String {
    let kind = match entry.kind {
        Kind::File => 'f',
        Kind::Executable => 'x',
        Kind::Link => 'l',
    };
    format!("{kind} {} {}\n", entry.hash, serde_json::Value::from(path))
}
