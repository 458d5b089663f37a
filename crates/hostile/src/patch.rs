//! Patches: read and laid onto a file, or refused; never anything between, never a path that leads out.
//!
//! The bytes are a file's text, a NUL, and a patch; without a NUL they are a patch of a small file.

use std::collections::BTreeSet;

use brigade_tools::gate::{Base, Hash};
use brigade_tools::patch::{Rules, parse, plan};
use brigade_tools::{Refusal, RelPath};

use crate::said;

/// Names that hold the file.
const THERE: [&str; 2] = ["a.txt", "src/b.rs"];

pub fn law(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (file, patch) = text.split_once('\0').unwrap_or(("one\ntwo\nthree\n", &text));
    let ops = match parse(patch) {
        Ok(ops) => ops,
        Err(refused) => return said(&refused),
    };
    let read = |path: &RelPath| {
        let there = THERE.contains(&path.as_str());
        there.then(|| file.as_bytes().to_vec()).ok_or_else(|| Refusal::Absent { path: path.to_string() })
    };
    let (edits, changes) = match plan(&ops, Rules::default(), read) {
        Ok(planned) => planned,
        Err(refused) => return said(&refused),
    };
    assert!(!changes.is_empty(), "a patch that was taken says what it does");
    let mut paths = BTreeSet::new();
    for edit in &edits {
        let path = edit.path.as_str();
        assert!(paths.insert(path), "{path} is written twice");
        assert_eq!(RelPath::new(path).as_ref(), Ok(&edit.path), "a path that the gate would not take");
        match edit.base {
            Base::Is(hash) => assert!(THERE.contains(&path) && hash == Hash::of(file.as_bytes()), "{path} was never read so"),
            Base::Absent | Base::Any => assert!(!THERE.contains(&path), "{path} is there and was taken for absent"),
        }
    }
    assert_eq!(plan(&ops, Rules::default(), read), Ok((edits, changes)), "the same patch, another outcome");
}
