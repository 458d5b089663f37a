//! What patches mean, case by case, on files in memory.

use std::collections::BTreeMap;

use super::land::{Side, diff_file};
use super::*;
use crate::gate::Edit;
use proptest::prelude::*;

type Tree = BTreeMap<String, String>;

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn try_on(tree: &Tree, patch: &str, rules: Rules) -> Result<Vec<Edit>, PatchError> {
    let read = |path: &RelPath| match tree.get(path.as_str()) {
        Some(text) => Ok(text.clone().into_bytes()),
        None => Err(Refusal::Absent { path: path.as_str().to_owned() }),
    };
    plan(&parse(patch)?, rules, read).map(|(edits, _)| edits)
}

/// As a view's patch lands.
fn landed(tree: &Tree, patch: &str) -> Result<Tree, String> {
    let mut ops = parse(patch).map_err(|e| e.to_string())?;
    apply::exactly(&mut ops);
    run(tree, &ops, Rules::default())
}

fn run(tree: &Tree, ops: &[Op], rules: Rules) -> Result<Tree, String> {
    let read = |path: &RelPath| match tree.get(path.as_str()) {
        Some(text) => Ok(text.clone().into_bytes()),
        None => Err(Refusal::Absent { path: path.as_str().to_owned() }),
    };
    let (edits, _) = plan(ops, rules, read).map_err(|e| e.to_string())?;
    let mut after = tree.clone();
    for edit in edits {
        match edit.to {
            Some(file) => after.insert(edit.path.as_str().to_owned(), String::from_utf8(file.bytes).expect("text")),
            None => after.remove(edit.path.as_str()),
        };
    }
    Ok(after)
}

fn apply(tree: &Tree, patch: &str) -> Result<Tree, String> {
    run(tree, &parse(patch).map_err(|e| e.to_string())?, Rules::default())
}

fn one(text: &str, hunks: &str) -> Result<String, String> {
    let patch = format!("*** Begin Patch\n*** Update File: f\n{hunks}*** End Patch\n");
    apply(&tree(&[("f", text)]), &patch).map(|tree| tree["f"].clone())
}

fn unified(text: &str, hunks: &str) -> Result<String, String> {
    apply(&tree(&[("f", text)]), &format!("--- a/f\n+++ b/f\n{hunks}")).map(|tree| tree["f"].clone())
}

#[test]
fn context_tolerates_blanks_indentation_and_typography_and_keeps_the_files_own_lines() {
    for (text, hunk, after) in [
        ("a  \nb\n", "@@\n a\n-b\n+c\n", "a  \nc\n"),
        ("\ta\nb\n", "@@\n     a\n-b\n+c\n", "\ta\nc\n"),
        ("say “hi” – now\nb\n", "@@\n say \"hi\" - now\n-b\n+c\n", "say “hi” – now\nc\n"),
        ("x\u{a0}y\nb\n", "@@\n x y\n-b\n+c\n", "x\u{a0}y\nc\n"),
    ] {
        assert_eq!(one(text, hunk).as_deref(), Ok(after), "{text:?}");
    }
    assert!(one("a b\nb\n", "@@\n a  b\n-b\n+c\n").is_err(), "blanks within a line count");
    assert!(one("A\nb\n", "@@\n a\n-b\n+c\n").is_err(), "case counts");
}

#[test]
fn anchors_lead_to_the_right_of_several_places() {
    let text = "fn a\n x\nfn b\n x\nfn c\n x\n";
    assert_eq!(one(text, "@@ fn b\n- x\n+ y\n").as_deref(), Ok("fn a\n x\nfn b\n y\nfn c\n x\n"));
    assert_eq!(one(text, "@@ fn a\n@@ fn c\n- x\n+ y\n").as_deref(), Ok("fn a\n x\nfn b\n x\nfn c\n y\n"));
    assert_eq!(one(text, "@@ -3,2 +3,2 @@ fn b\n- x\n+ y\n").as_deref(), Ok("fn a\n x\nfn b\n y\nfn c\n x\n"));
    let message = one(text, "@@ fn z\n- x\n+ y\n").expect_err("no such line");
    assert!(message.contains("no line \"fn z\"") && message.contains("write only @@"), "{message}");
}

#[test]
fn line_ends_stay_as_the_file_has_them() {
    assert_eq!(one("a\r\nb\r\n", "@@\n a\n-b\n+c\n+d\n").as_deref(), Ok("a\r\nc\r\nd\r\n"));
    assert_eq!(one("a\nb", "@@\n a\n-b\n+c\n").as_deref(), Ok("a\nc\n"));
    assert_eq!(unified("a\r\nb\r\n", "@@ -1,2 +1,2 @@\n a\n-b\n+c\n").as_deref(), Ok("a\r\nc\r\n"));
    assert_eq!(unified("a\nb", "@@ -1,2 +1,2 @@\n-a\n+x\n b\n\\ No newline at end of file\n").as_deref(), Ok("x\nb"));
    assert_eq!(unified("a\nb", "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n").as_deref(), Ok("a\nc\n"));
    assert_eq!(unified("a\nb\n", "@@ -1,2 +1,2 @@\n a\n-b\n+c\n\\ No newline at end of file\n").as_deref(), Ok("a\nc"));
    let crlf = "*** Begin Patch\r\n*** Update File: f\r\n@@\r\n-a\r\n+b\r\n*** End Patch\r\n";
    assert_eq!(apply(&tree(&[("f", "a\n")]), crlf), Ok(tree(&[("f", "b\n")])), "the transport's line ends are not the file's");
}

#[test]
fn unified_diffs_find_their_place_by_content_nearest_to_the_number() {
    let text = "x\n1\nx\n2\nx\n3\n";
    assert_eq!(unified(text, "@@ -5 +5 @@\n-x\n+y\n").as_deref(), Ok("x\n1\nx\n2\ny\n3\n"));
    assert_eq!(unified(text, "@@ -90,2 +90,2 @@ fn far()\n-x\n+y\n 2\n").as_deref(), Ok("x\n1\ny\n2\nx\n3\n"));
    assert_eq!(unified(text, "@@ -2,0 +3,1 @@\n+new\n").as_deref(), Ok("x\n1\nnew\nx\n2\nx\n3\n"));
    assert_eq!(unified(text, "@@ -1,9 +1,9 @@\n x\n-1\n+one\n").as_deref(), Ok("x\none\nx\n2\nx\n3\n"), "wrong counts are forgiven");
    assert!(unified(text, "@@ -1 +1 @@\n-gone\n+y\n").is_err());
    assert_eq!(unified("-- a\nb\n", "@@ -1,2 +1,1 @@\n--- a\n b\n").as_deref(), Ok("b\n"), "a removed line may look like a header");
}

#[test]
fn git_diffs_add_delete_rename_and_quote() {
    let before = tree(&[("old name", "1\n2\n"), ("gone", "x\n"), ("tab\tname", "t\n")]);
    let patch = "From: someone\n\ndiff --git a/old name b/new name\nsimilarity index 50%\nrename from old name\nrename to new name\n--- a/old name\t\n+++ b/new name\t\n@@ -1,2 +1,2 @@\n 1\n-2\n+3\n\
        diff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\
        diff --git a/added b/added\nnew file mode 100644\n--- /dev/null\n+++ b/added\n@@ -0,0 +1,2 @@\n+p\n+q\n\\ No newline at end of file\n\
        diff --git a/empty b/empty\nnew file mode 100644\nindex 0000000..e69de29\n\
        diff --git \"a/tab\\tname\" \"b/tab\\tname\"\n--- \"a/tab\\tname\"\n+++ \"b/tab\\tname\"\n@@ -1 +1 @@\n-t\n+u\n";
    // A name with a tab is refused by the gate; without that part the rest applies.
    assert!(apply(&before, patch).expect_err("a tab").contains("control character"));
    let (patch, _) = patch.split_at(patch.find("diff --git \"a").expect("the last part"));
    let after = tree(&[("new name", "1\n3\n"), ("added", "p\nq"), ("empty", ""), ("tab\tname", "t\n")]);
    assert_eq!(apply(&before, patch), Ok(after));
}

#[test]
fn what_is_never_done_is_refused_by_name() {
    let base = tree(&[("f", "a\n"), ("g", "b\n")]);
    let envelope = |body: &str| format!("*** Begin Patch\n{body}*** End Patch\n");
    for (patch, word) in [
        ("diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc/passwd\n", "symbolic link"),
        ("diff --git a/m b/m\nnew file mode 160000\n--- /dev/null\n+++ b/m\n@@ -0,0 +1 @@\n+Subproject commit 0\n", "submodule"),
        ("diff --git a/f b/f\nold mode 100644\nnew mode 100755\n", "executable"),
        ("diff --git a/x b/x\nnew file mode 100755\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n", "executable"),
        ("diff --git a/p b/p\nindex 1..2 100644\nGIT binary patch\nliteral 0\n", "binary"),
        ("--- a/f\n+++ b/../../f\n@@ -1 +1 @@\n-a\n+b\n", "`..`"),
        ("--- /etc/passwd\n+++ /etc/passwd\n@@ -1 +1 @@\n-a\n+b\n", "absolute"),
        ("--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+x\n", "exists"),
        ("--- a/none\n+++ b/none\n@@ -1 +1 @@\n-a\n+b\n", "does not exist"),
        ("no patch at all", "*** Begin Patch"),
        ("", "*** Begin Patch"),
        (&envelope(""), "changes no file"),
        (&envelope("*** Add File: ../x\n+x\n"), "`..`"),
        (&envelope("*** Frobnicate: x\n"), "is no file header"),
        (&envelope("*** Update File: f\n"), "holds no change"),
        (&envelope("*** Update File: f\n@@\n"), "holds no lines"),
        (&envelope("*** Update File: f\n@@\n-a\nb\n"), "must start with a space"),
        (&envelope("*** Update File: f\n@@\n-a\n+b\n*** Delete File: none\n"), "does not exist"),
        ("*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n", "*** End Patch"),
    ] {
        let message = apply(&base, patch).expect_err(patch);
        assert!(message.contains(word), "{patch:?} said {message:?}");
    }
    let granted = try_on(&base, "diff --git a/f b/f\nold mode 100644\nnew mode 100755\n", Rules { executable: true });
    assert_eq!(granted.expect("granted")[0].to.as_ref().expect("a file").executable, Some(true));
}

#[test]
fn a_stale_hunk_says_which_line_is_nowhere() {
    let message = one("a\nb\nc\n", "@@\n a\n-x\n+y\n c\n").expect_err("x is not there");
    assert_eq!(
        message,
        "f: patch line 3: these lines are not in the file:\n  a\n  x\n  c\nFirst line that is nowhere in it: \"x\". Read the file again and copy the unchanged and removed lines exactly. Nothing was changed."
    );
    let message = one("a\nb\nc\n", "@@\n-c\n+d\n@@\n-a\n+e\n").expect_err("out of order");
    assert!(message.contains("order the hunks from top to bottom"), "{message}");
}

#[test]
fn several_operations_on_one_file_see_each_other() {
    let patch = "*** Begin Patch\n*** Add File: n\n+1\n*** Update File: n\n@@\n-1\n+2\n*** Update File: n\n*** Move to: m\n@@\n-2\n+3\n*** Delete File: f\n*** Add File: f\n+again\n*** End Patch";
    assert_eq!(apply(&tree(&[("f", "a\n")]), patch), Ok(tree(&[("m", "3\n"), ("f", "again\n")])));
    let patch = "*** Begin Patch\n*** Add File: n\n+1\n*** Delete File: n\n*** End Patch";
    assert_eq!(try_on(&Tree::new(), patch, Rules::default()), Ok(Vec::new()));
}

#[test]
fn a_million_hunks_are_refused_at_once() {
    let hunks = "@@\n-a\n+b\n".repeat(200_000);
    assert!(one("a\n", &hunks).expect_err("too many").contains("hunks"));
    let many = "@@\n-zz\n+b\n".repeat(90_000);
    assert!(one(&"a\n".repeat(100_000), &many).expect_err("too much").contains("too much"));
}

fn text() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("a"),
        Just("b"),
        Just(""),
        Just("  a"),
        Just("-- x"),
        Just("ü"),
        Just("@@ -1 +1 @@"),
        Just("\\ x"),
        Just("*** End Patch")
    ];
    let end = prop_oneof![4 => Just("\n"), 1 => Just("\r\n")];
    (proptest::collection::vec((line, end), 0..14), any::<bool>()).prop_map(|(lines, open)| {
        let mut text: String = lines.iter().flat_map(|(line, end)| [*line, *end]).collect();
        if open {
            text.push_str("last");
        }
        text
    })
}

proptest! {
    #[test]
    fn a_diff_applied_to_its_old_side_gives_its_new_side(old in text(), new in text()) {
        let side = |text| Some(Side { bytes: str::as_bytes(text), executable: false });
        let patch = diff_file("f", side(&old), side(&new)).expect("text");
        if old != new {
            let after = landed(&tree(&[("f", &old)]), &patch);
            prop_assert_eq!(after, Ok(tree(&[("f", &new)])), "{}", patch);
        }
        let added = diff_file("f", None, side(&new)).expect("text");
        prop_assert_eq!(landed(&Tree::new(), &added), Ok(tree(&[("f", &new)])), "{}", added);
        let deleted = diff_file("f", side(&old), None).expect("text");
        prop_assert_eq!(landed(&tree(&[("f", &old)]), &deleted), Ok(Tree::new()), "{}", deleted);
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "(\\*\\*\\* (Begin|End) Patch\n|\\*\\*\\* (Add|Update|Delete) File: [a-c./]{0,4}\n|@@[ a0-9,+@-]{0,8}\n|[ +-][a-c]{0,2}\n|diff --git [ab/\" ]{0,8}\n|--- [ab/\"\\\\0-7]{0,6}\n|\\+\\+\\+ [ab/]{0,4}\n|(old|new file) mode 1[0-9]{5}\n|\\\\ No\n|[\\x00-\\x7fü]{0,4}\n?){0,24}") {
        let _ = apply(&tree(&[("a", "a\nb\n"), ("b", "c")]), &text);
        let _ = apply(&tree(&[("a", "a\nb\n")]), &format!("*** Begin Patch\n{text}*** End Patch"));
    }
}
