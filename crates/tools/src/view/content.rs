//! What a tree holds, by content: the same for the same files wherever they stand and whenever they were written; and a tree of another
//! store taken over into this one.
//!
//! A tree's own name hangs on the times of the workspace's files, which are not read for it. Here they are, once a run, within limits.

use std::fs;
use std::path::Path;

use super::base::survey;
use super::changes::content;
use super::delta::{Delta, Kind};
use super::objects::Objects;
use super::{Store, ViewError};
use crate::gate::Hash;

/// Most files of a workspace that is read whole.
const MOST_FILES: usize = 20_000;
/// Most bytes of it.
const MOST_BYTES: u64 = 256 << 20;
/// Most bytes of changes that are taken over from another store.
const MOST_ADOPTED: u64 = 64 << 20;

impl Store {
    /// A hash over what a tree holds; `None` for a workspace over the limits, or one that has changed since it was first looked at.
    ///
    /// # Errors
    /// When the tree is unknown.
    pub fn content_of(&self, tree: &Hash) -> Result<Option<Hash>, ViewError> {
        let Some(base) = self.base_content() else { return Ok(None) };
        let text = self.recorded(tree)?.to_text(base);
        Ok(Some(Hash::of(text.as_bytes())))
    }

    /// Whether the workspace still is as it was when the run first looked at it.
    pub fn is_fresh(&self) -> bool {
        survey(self.root()).is_ok_and(|now| now.id() == self.base_id())
    }

    /// Reads every file of the base: what changes while it is read leaves it without a hash.
    pub(super) fn read_base(&self) -> Option<Hash> {
        let text = fs::read_to_string(self.base_file()).ok()?;
        let bytes: u64 = text.lines().filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok()).sum();
        if text.lines().count() > MOST_FILES || bytes > MOST_BYTES {
            return None;
        }
        let mut all = String::with_capacity(text.len());
        for line in text.lines() {
            let mut parts = line.splitn(4, ' ');
            let (kind, name) = (parts.next()?, parts.nth(2)?);
            let path: String = serde_json::from_str(name).ok()?;
            let bytes = content(self.root(), &path, if kind == "l" { Kind::Link } else { Kind::File }).ok()?;
            all.push_str(&format!("{kind} {} {name}\n", Hash::of(&bytes)));
        }
        self.is_fresh().then(|| Hash::of(all.as_bytes()))
    }

    /// Takes over a tree that the store in `home` recorded, of a base with the same content. Returns its name here.
    ///
    /// # Errors
    /// [`ViewError::NotRecorded`] when it is not there whole, or is too large.
    pub fn adopt(&self, home: &Path, tree: &Hash) -> Result<Hash, ViewError> {
        let lost = |why: &str| ViewError::NotRecorded { tree: *tree, why: why.to_owned() };
        let text = fs::read_to_string(home.join("trees").join(tree.to_string())).map_err(|_| lost("its store has gone"))?;
        let base = text.lines().next().and_then(|line| Hash::parse(line.strip_prefix("base ")?));
        let delta = base.filter(|_| Hash::of(text.as_bytes()) == *tree).and_then(|base| Delta::parse(&text, &base));
        let delta = delta.ok_or_else(|| lost("its record is damaged"))?;
        let theirs = Objects::at(home.join("objects"));
        let mut bytes = 0;
        for entry in delta.real().flat_map(|(_, change)| [change.before, change.after]).flatten() {
            if self.objects().has(&entry.hash) {
                continue;
            }
            let Some(found) = theirs.read(&entry.hash) else { return Err(lost("one of its contents is lost")) };
            bytes += found.len() as u64;
            if bytes > MOST_ADOPTED {
                return Err(lost("its changes are too large to be taken over"));
            }
            self.objects().keep(&found)?;
        }
        self.record(&delta)
    }
}
