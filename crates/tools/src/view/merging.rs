//! Composing by example: what merges, what is a conflict, and what then stands in the tree.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::tests::by_command;
use super::*;
use crate::gate::RelPath;

struct Case {
    _all: tempfile::TempDir,
    store: Store,
}

impl Case {
    fn new(base: &[(&str, &[u8])]) -> Self {
        let all = tempfile::tempdir().expect("tempdir");
        let user = all.path().join("user");
        fs::create_dir(&user).expect("mkdir");
        for (path, bytes) in base {
            put(&user, path, bytes);
        }
        let store = Store::create(&user, &all.path().join("home")).expect("a store");
        Self { _all: all, store }
    }

    fn part(&self, label: &str, from: &Hash, act: impl FnOnce(&Path)) -> Part {
        let view = self.store.view(label, from).expect("a view");
        by_command(&view, act).expect("folds");
        Part { label: label.to_owned(), from: *from, to: view.snapshot().expect("recorded") }
    }

    /// The conflicts as `path: first/second`, and what stands at `path` afterwards.
    fn composed(&self, parts: &[Part], path: &str) -> (Vec<String>, Option<Vec<u8>>) {
        let composed = self.store.compose(parts).expect("composed");
        let view = self.store.reading(&composed.tree).expect("a view");
        let bytes = view.root().read(&Scope::whole(), &RelPath::new(path).expect("path"), 1 << 20).ok();
        let told = composed.conflicts.iter().map(|one| format!("{}: {}/{}", one.path, one.first, one.second));
        (told.collect(), bytes)
    }

    /// One file that two parts set from the base: `None` removes it.
    fn both(base: Option<&[u8]>, first: Option<&[u8]>, second: Option<&[u8]>) -> (Vec<String>, Option<Vec<u8>>) {
        let case = Self::new(&base.map(|bytes| ("f", bytes)).into_iter().collect::<Vec<_>>());
        let set = |to: Option<Vec<u8>>| {
            move |dir: &Path| match to {
                Some(bytes) => put(dir, "f", &bytes),
                None => _ = fs::remove_file(dir.join("f")),
            }
        };
        let start = case.store.base();
        let parts = [case.part("a", &start, set(first.map(<[u8]>::to_vec))), case.part("b", &start, set(second.map(<[u8]>::to_vec)))];
        case.composed(&parts, "f")
    }
}

fn put(dir: &Path, path: &str, bytes: &[u8]) {
    let at = dir.join(path);
    fs::create_dir_all(at.parent().expect("beneath")).expect("mkdir");
    fs::write(at, bytes).expect("write");
}

fn clean(bytes: &[u8]) -> (Vec<String>, Option<Vec<u8>>) {
    (Vec::new(), Some(bytes.to_vec()))
}

fn conflict(bytes: &[u8]) -> (Vec<String>, Option<Vec<u8>>) {
    (vec!["f: a/b".to_owned()], Some(bytes.to_vec()))
}

#[test]
fn changes_of_other_lines_merge_with_their_bytes_exact() {
    let base = b"1\n2\n3\n4\n5\n6\n7\n8";
    let merged = Case::both(Some(base), Some(b"one\n2\n3\n4\n5\n6\n7\n8"), Some(b"1\n2\n3\n4\n5\n6\n7\neight"));
    assert_eq!(merged, clean(b"one\n2\n3\n4\n5\n6\n7\neight"));
    let crlf = Case::both(Some(b"1\r\n2\r\n3\r\n4\r\n"), Some(b"x\r\n2\r\n3\r\n4\r\n"), Some(b"1\r\n2\r\n3\r\n4\r\n5"));
    assert_eq!(crlf, clean(b"x\r\n2\r\n3\r\n4\r\n5"));
    let latin = Case::both(Some(b"\xe4\n2\n3\n4\n"), Some(b"\xf6\n2\n3\n4\n"), Some(b"\xe4\n2\n3\n\xfc\n"));
    assert_eq!(latin, clean(b"\xf6\n2\n3\n\xfc\n"));
}

#[test]
fn equal_changes_are_no_conflict() {
    assert_eq!(Case::both(Some(b"1\n"), Some(b"2\n"), Some(b"2\n")), clean(b"2\n"));
    assert_eq!(Case::both(None, Some(b"new"), Some(b"new")), clean(b"new"));
    assert_eq!(Case::both(Some(b"1\n"), None, None), (Vec::new(), None));
    assert_eq!(Case::both(Some(b"\0"), Some(b"\0\0"), Some(b"\0\0")), clean(b"\0\0"));
}

#[test]
fn what_cannot_be_merged_stands_between_markers() {
    let same_line = Case::both(Some(b"1\n2\n3\n"), Some(b"1\nA\n3\n"), Some(b"1\nB\n3\n"));
    assert_eq!(same_line, conflict(b"1\n<<<<<<< a\nA\n=======\nB\n>>>>>>> b\n3\n"));
    let unended = Case::both(Some(b"1"), Some(b"A"), Some(b"B"));
    assert_eq!(unended, conflict(b"<<<<<<< a\nA\n=======\nB\n>>>>>>> b\n"));
    assert_eq!(Case::both(None, Some(b"A"), Some(b"B\n")), conflict(b"<<<<<<< a\nA\n=======\nB\n>>>>>>> b\n"));
    assert_eq!(Case::both(Some(b"1\n"), None, Some(b"B\n")), conflict(b"<<<<<<< a\n=======\nB\n>>>>>>> b\n"));
    assert_eq!(Case::both(Some(b"1\n"), Some(b"A\n"), None), conflict(b"<<<<<<< a\nA\n=======\n>>>>>>> b\n"));
}

#[test]
fn markers_in_the_text_itself_stay_what_they_are() {
    let base = b"<<<<<<< ours\n=======\n>>>>>>> theirs\n2\n";
    let told =
        Case::both(Some(base), Some(b"<<<<<<< ours\n=======\n>>>>>>> theirs\nA\n"), Some(b"<<<<<<< ours\n=======\n>>>>>>> theirs\nB\n"));
    assert_eq!(told, conflict(b"<<<<<<< ours\n=======\n>>>>>>> theirs\n<<<<<<< a\nA\n=======\nB\n>>>>>>> b\n"));
}

#[test]
fn a_binary_file_changed_twice_is_a_conflict_and_stays_as_the_first_left_it() {
    assert_eq!(Case::both(Some(b"\0"), Some(b"\0A"), Some(b"\0B")), conflict(b"\0A"));
    assert_eq!(Case::both(Some(b"\0"), None, Some(b"\0B")), conflict(b"\0B"));
}

#[test]
fn the_executable_bit_and_the_text_are_merged_apart() {
    let case = Case::new(&[("f", b"1\n")]);
    let start = case.store.base();
    let parts = [
        case.part("a", &start, |dir| fs::set_permissions(dir.join("f"), fs::Permissions::from_mode(0o755)).expect("chmod")),
        case.part("b", &start, |dir| put(dir, "f", b"2\n")),
    ];
    for parts in [parts.to_vec(), parts.iter().rev().cloned().collect()] {
        assert_eq!(case.composed(&parts, "f"), clean(b"2\n"));
        let patch = case.store.diff(&start, &case.store.compose(&parts).expect("composed").tree).expect("a diff");
        assert!(patch.text.contains("new mode 100755"), "{}", patch.text);
    }
}

#[test]
fn a_part_that_stands_on_another_ones_result_is_laid_on_without_it() {
    let case = Case::new(&[("f", b"1\n2\n3\n"), ("g", b"g\n")]);
    let start = case.store.base();
    let a = case.part("a", &start, |dir| put(dir, "f", b"A\n2\n3\n"));
    let b = case.part("b", &a.to, |dir| put(dir, "f", b"A\nB\n3\n"));
    let c = case.part("c", &a.to, |dir| put(dir, "g", b"c\n"));
    assert_eq!(case.composed(&[a.clone(), b.clone(), c.clone()], "f"), clean(b"A\nB\n3\n"));
    assert_eq!(case.composed(&[a, b, c], "g"), clean(b"c\n"));
}

#[test]
fn a_file_where_another_part_needs_a_folder_is_told_and_nothing_else_is_lost() {
    let case = Case::new(&[("keep", b"k\n")]);
    let start = case.store.base();
    let parts = [case.part("a", &start, |dir| put(dir, "x", b"file")), case.part("b", &start, |dir| put(dir, "x/y", b"in a folder"))];
    assert_eq!(case.composed(&parts, "x"), (vec!["x/y: a/b".to_owned()], Some(b"file".to_vec())));
    assert_eq!(case.composed(&parts, "keep").1, Some(b"k\n".to_vec()));
}

#[test]
fn nothing_composes_to_the_base_and_an_unknown_tree_is_refused() {
    let case = Case::new(&[("f", b"1\n")]);
    assert_eq!(case.store.compose(&[]).expect("composed").tree, case.store.base());
    let part = Part { label: "a".to_owned(), from: case.store.base(), to: Hash::of(b"never") };
    assert!(matches!(case.store.compose(&[part]), Err(ViewError::NotRecorded { .. })));
}

#[test]
fn who_only_reads_makes_nothing_and_writes_nothing() {
    let case = Case::new(&[("f", b"1\n")]);
    let view = case.store.reading(&case.store.base()).expect("a view");
    let refused = view.commit(&Scope::whole(), &[super::tests::edit("f", Some("2"))]).expect_err("refused").to_string();
    assert!(refused.contains("only reads"), "{refused}");
    assert!(view.stage().is_err() && view.restore(&case.store.base()).is_err());
    assert_eq!(view.tree_hash().expect("hash"), case.store.base());
    let made = case._all.path().join("home/views");
    assert_eq!(fs::read_dir(made).expect("a folder").count(), 0);
}
