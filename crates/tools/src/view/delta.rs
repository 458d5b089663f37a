//! What a tree holds beyond the base: changes by path, and their text form, whose hash names the tree.
//!
//! Its size is that of the changes, never of the workspace. Nothing here touches the disk.

use std::collections::BTreeMap;

use crate::gate::Hash;
use crate::patch::LeftOut;

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

/// One path's change: from what the base held when it was first touched, to what stands there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Change {
    pub before: Option<Entry>,
    /// `None`: removed.
    pub after: Option<Entry>,
}

/// All changes of a tree, and what stands in it that no tree can hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Delta {
    pub changes: BTreeMap<String, Change>,
    pub left_out: BTreeMap<String, String>,
}

impl Delta {
    /// The tree's name: over the base and the changes that are any.
    pub fn name(&self, base: &Hash) -> Hash {
        Hash::of(self.to_text(base).as_bytes())
    }

    /// One line for the base, one per change, one per thing left out.
    pub fn to_text(&self, base: &Hash) -> String {
        let mut out = format!("base {base}\n");
        for (path, change) in self.real() {
            out.push_str(&format!("{} {} {}\n", side(change.before), side(change.after), serde_json::Value::from(path.as_str())));
        }
        for (path, why) in &self.left_out {
            out.push_str(&format!("! {}\n", serde_json::json!([path, why])));
        }
        out
    }

    /// Changes that change something.
    pub fn real(&self) -> impl Iterator<Item = (&String, &Change)> {
        self.changes.iter().filter(|(_, change)| change.before != change.after)
    }

    /// Reads the text form; `None` when it is damaged or of another base.
    pub fn parse(text: &str, base: &Hash) -> Option<Self> {
        let mut lines = text.lines();
        let own = lines.next()?.strip_prefix("base ")?;
        if Hash::parse(own)? != *base {
            return None;
        }
        let mut delta = Self::default();
        for line in lines {
            if let Some(rest) = line.strip_prefix("! ") {
                let (path, why) = serde_json::from_str(rest).ok()?;
                delta.left_out.insert(path, why);
                continue;
            }
            let (before, rest) = line.split_once(' ')?;
            let (after, path) = rest.split_once(' ')?;
            let change = Change { before: read_side(before)?, after: read_side(after)? };
            delta.changes.insert(serde_json::from_str(path).ok()?, change);
        }
        Some(delta)
    }

    pub fn left_out(&self) -> Vec<LeftOut> {
        self.left_out.iter().map(|(path, why)| LeftOut { path: path.clone(), why: why.clone() }).collect()
    }
}

fn side(entry: Option<Entry>) -> String {
    let Some(entry) = entry else { return "-".to_owned() };
    let kind = match entry.kind {
        Kind::File => 'f',
        Kind::Executable => 'x',
        Kind::Link => 'l',
    };
    format!("{kind}{}", entry.hash)
}

#[allow(clippy::option_option, reason = "a damaged side, or a side without a file")]
fn read_side(text: &str) -> Option<Option<Entry>> {
    if text == "-" {
        return Some(None);
    }
    let kind = match text.get(..1)? {
        "f" => Kind::File,
        "x" => Kind::Executable,
        "l" => Kind::Link,
        _ => return None,
    };
    Some(Some(Entry { kind, hash: Hash::parse(&text[1..])? }))
}
