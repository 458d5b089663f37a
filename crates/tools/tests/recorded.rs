//! The recorded answers of the tools that ours stand beside: Codex's apply_patch and ripgrep.
//! Read from `BRIGADE_DATA` (see each folder's SOURCE.md); skipped with a note when it is not there.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use brigade_kernel::tool::ToolOutput;
use brigade_tools::{Grant, Toolbox, View};
use serde_json::{Value, json};

type Tree = BTreeMap<String, String>;

/// A committed sample (see tests/samples/SOURCE.md).
fn sample(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(file);
    let text = fs::read_to_string(path).expect("samples are committed");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
}

fn rows(file: &str) -> Option<Vec<Value>> {
    let data =
        std::env::var_os("BRIGADE_DATA").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let Ok(packed) = fs::read(data.join(file)) else {
        eprintln!("skipped: no {file}; set BRIGADE_DATA");
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("the data is gzip");
    Some(text.lines().map(|line| serde_json::from_str(line).expect("the data is JSON lines")).collect())
}

fn tree_of(value: &Value) -> Tree {
    let files = value.as_object().expect("an object of files");
    files.iter().map(|(path, text)| (path.clone(), text.as_str().expect("text").to_owned())).collect()
}

fn write_tree(dir: &Path, tree: &Tree) {
    for (path, text) in tree {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("beneath dir")).expect("make folder");
        fs::write(path, text).expect("write");
    }
}

fn read_tree(dir: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("read folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("beneath").to_str().expect("UTF-8").to_owned();
                tree.insert(name, fs::read_to_string(&path).expect("text"));
            }
        }
    }
    tree
}

fn in_place(dir: &Path) -> View {
    View::in_place(dir).expect("a workspace")
}

/// The same files as a view: some stand in the workspace, the rest and what an ignore rule keeps out of the base were written in the view.
fn in_a_view(dir: &Path, files: &Tree) -> View {
    let user = dir.join("user");
    fs::create_dir(&user).expect("mkdir");
    let of_git = |path: &str| path.starts_with(".git/");
    let split =
        files.iter().enumerate().filter(|(n, (path, _))| n % 2 == 0 || of_git(path)).map(|(_, (path, text))| (path.clone(), text.clone()));
    write_tree(&user, &split.collect());
    let store = brigade_tools::view::Store::create(&user, &dir.join("home")).expect("a store");
    let view = store.view("one", &store.base()).expect("a view");
    for (path, text) in files.iter().filter(|(path, _)| !of_git(path)) {
        let read =
            brigade_tools::gate::RelPath::new(path).and_then(|path| view.root().read(&brigade_tools::Scope::whole(), &path, 1 << 20));
        if read.is_err() {
            let answer = call(&view, "write_file", &json!({"path": path, "content": text}));
            assert!(answer.ok, "{path}: {answer:?}");
        }
    }
    view
}

fn call(view: &View, name: &str, arguments: &Value) -> ToolOutput {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let toolbox = Toolbox::with_output_chars(4_000_000);
    runtime.block_on(toolbox.call(view, &Grant::whole(), name, &arguments.to_string())).output
}

/// Applies a patch to a fresh tree with a canary beside it; returns the answer and the tree afterwards.
fn patched(input: &Tree, patch: &str) -> (ToolOutput, Tree) {
    let outside = tempfile::tempdir().expect("tempdir");
    let dir = outside.path().join("workspace");
    fs::create_dir(&dir).expect("mkdir");
    write_tree(&dir, input);
    let answer = call(&in_place(&dir), "apply_patch", &json!({"patch": patch}));
    let beside: Vec<_> = fs::read_dir(outside.path()).expect("read").map(|e| e.expect("entry").file_name()).collect();
    assert_eq!(beside, ["workspace"], "something was written outside");
    let tree = read_tree(&dir);
    (answer, tree)
}

#[test]
fn codex_scenarios_end_in_the_expected_tree() {
    let Some(rows) = rows("apply-patch/codex_scenarios.jsonl.gz") else {
        return;
    };
    let mut passed = 0;
    for row in &rows {
        let id = row["id"].as_str().expect("id");
        let input = tree_of(&row["input"]);
        let (answer, tree) = patched(&input, row["patch"].as_str().expect("patch"));
        if id.starts_with("015") {
            // A later failure takes the earlier change back.
            assert!(!answer.ok && tree == input, "{id}");
            assert!(answer.error.unwrap_or_default().contains("othing was changed"), "{id} does not say so");
            continue;
        }
        assert_eq!(tree, tree_of(&row["expected"]), "{id}: {answer:?}");
        passed += 1;
    }
    assert_eq!((passed, rows.len()), (22, 23));
}

#[test]
fn recorded_patches_give_the_recorded_trees_or_change_nothing() {
    let Some(rows) = rows("apply-patch/recorded.jsonl.gz") else {
        return;
    };
    let key = |id: &str| id.split_once(':').map_or(String::new(), |(_, key)| key.to_owned());
    let plain: HashMap<String, &Value> =
        rows.iter().filter(|row| row["kind"] == "plain").map(|row| (key(row["id"].as_str().unwrap()), row)).collect();
    let after = |row: &Value| {
        let mut tree = tree_of(&row["input"]);
        tree.extend(tree_of(&row["expected"]));
        for gone in row["removed"].as_array().expect("removed") {
            tree.remove(gone.as_str().expect("path"));
        }
        tree
    };
    let mut wrong = Vec::new();
    let mut counts = BTreeMap::new();
    for row in &rows {
        let (id, kind) = (row["id"].as_str().expect("id"), row["kind"].as_str().expect("kind"));
        let input = tree_of(&row["input"]);
        let (answer, tree) = patched(&input, row["patch"].as_str().expect("patch"));
        let refused = !answer.ok && tree == input && answer.error.is_some();
        let expected = after(row);
        let (class, right) = if row["policy"] == "must_refuse" {
            ("escapes", refused)
        } else if row["rc"] == 0 {
            ("applies", answer.ok && tree == expected)
        } else if expected != input {
            ("partial", refused || tree == expected)
        } else if ["fenced", "no_end", "two_begin"].contains(&kind) {
            let same = plain.get(&key(id)).is_some_and(|row| row["rc"] == 0 && after(row) == tree);
            ("refused", refused || (answer.ok && same))
        } else {
            ("refused", refused)
        };
        *counts.entry(class).or_insert(0) += 1;
        if !right {
            wrong.push(format!("{id} ({class}): {:?}", answer.error));
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong ({counts:?}):\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert_eq!(rows.len(), 894);
}

fn searched(view: &View, row: &Value, wrong: &mut Vec<String>) {
    let answer = call(view, "search", &json!({"args": row["args"]}));
    let (rc, stdout) = (row["rc"].as_u64().expect("rc"), row["stdout"].as_str().expect("stdout"));
    let right = if rc == 2 { !answer.ok && answer.error.is_some() } else { answer.ok && answer.output == stdout };
    if !right {
        let cut = |text: &str| text.chars().take(400).collect::<String>();
        wrong.push(format!(
            "{} {}: rc {rc}\n--- ripgrep\n{}\n--- ours {:?}\n{}",
            row["id"],
            row["args"],
            cut(stdout),
            answer.error,
            cut(&answer.output)
        ));
    }
}

#[test]
fn search_prints_what_ripgrep_printed_over_the_workspaces() {
    let (Some(queries), Some(spaces)) = (rows("search/rg_recorded.jsonl.gz"), rows("workspaces/workspaces.jsonl.gz")) else {
        return;
    };
    let dir = tempfile::tempdir().expect("tempdir");
    for space in &spaces {
        write_tree(&dir.path().join(space["id"].as_str().expect("id")), &tree_of(&space["files"]));
    }
    let mut wrong = Vec::new();
    let twin = tempfile::tempdir().expect("tempdir");
    for view in [in_place(dir.path()), in_a_view(twin.path(), &read_tree(dir.path()))] {
        for query in &queries {
            searched(&view, query, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), queries.len(), wrong.join("\n"));
    assert_eq!(queries.len(), 145);
}

fn ignored(rows: &[Value]) {
    let mut wrong = Vec::new();
    for row in rows {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut files = tree_of(&row["files"]);
        if row["is_git"] == false {
            files.retain(|path, _| !path.starts_with(".git/"));
        }
        write_tree(dir.path(), &files);
        searched(&in_place(dir.path()), row, &mut wrong);
        let twin = tempfile::tempdir().expect("tempdir");
        searched(&in_a_view(twin.path(), &files), row, &mut wrong);
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn search_ignores_what_ripgrep_ignored() {
    ignored(&sample("ignore_recorded.jsonl"));
    let Some(rows) = rows("search/ignore_recorded.jsonl.gz") else {
        return;
    };
    ignored(&rows);
    assert_eq!(rows.len(), 154);
}

/// Every workspace: a view of it, the known fix written through the tools, and its patch landed in the original.
#[test]
fn known_fixes_travel_from_a_view_into_the_users_tree() {
    let Some(spaces) = rows("workspaces/workspaces.jsonl.gz") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for space in &spaces {
        let dir = tempfile::tempdir().expect("tempdir");
        let user = dir.path().join("user");
        let (before, fix) = (tree_of(&space["files"]), tree_of(&space["fix"]));
        write_tree(&user, &before);
        let store = brigade_tools::view::Store::create(&user, &dir.path().join("home")).expect("a store");
        let view = store.view("one", &store.base()).expect("a view");
        for (path, text) in &fix {
            let arguments = json!({"path": path, "content": text}).to_string();
            let answer = runtime.block_on(Toolbox::default().call(&view, &Grant::whole(), "write_file", &arguments)).output;
            assert!(answer.ok, "{}: {answer:?}", space["id"]);
        }
        assert_eq!(read_tree(&user), before, "{} changed before its patch landed", space["id"]);
        let patch = view.diff().expect("a diff");
        assert_eq!(patch.left_out, [], "{}", space["id"]);
        let root = brigade_tools::gate::Root::open(&user).expect("root");
        patch.apply_to(&root, &brigade_tools::Scope::whole()).expect("it lands");
        let mut after = before;
        after.extend(fix);
        assert_eq!(read_tree(&user), after, "{}", space["id"]);
        // The same text is a patch for git and for our own apply_patch.
        assert!(patch.text.starts_with("diff --git a/"), "{}", space["id"]);
    }
    assert_eq!(spaces.len(), 42);
}
