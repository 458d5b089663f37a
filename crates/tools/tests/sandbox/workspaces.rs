//! Real exercises as a subtask meets them: in a view, the test command fails, the known fix goes in as a patch through brigade's
//! own tool, the test command passes; the user's folder changes only when the view's own patch lands in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brigade_tools::command::{self, Place};
use brigade_tools::gate::Root;
use brigade_tools::view::Store;
use brigade_tools::{Grant, Scope, Toolbox};
use serde::Deserialize;

use crate::world::{World, has, runtime};

pub const ALL: &[(&str, fn())] = &[("exercises_fail_before_their_fix_and_pass_after", exercises)];

#[derive(Deserialize)]
struct Exercise {
    id: String,
    language: String,
    files: BTreeMap<String, String>,
    test_command: Vec<String>,
    fix: BTreeMap<String, String>,
}

fn load() -> Option<Vec<Exercise>> {
    let data =
        std::env::var_os("BRIGADE_DATA").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let packed = data.join("workspaces/workspaces.jsonl.gz");
    let output = std::process::Command::new("gzip").arg("-dc").arg(&packed).output().ok().filter(|output| output.status.success());
    let Some(output) = output else {
        println!("skipped: no {}", packed.display());
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// All of them with `BRIGADE_WORKSPACES=all`, else the first two of each language.
fn exercises() {
    let Some(exercises) = load() else { return };
    let all = std::env::var("BRIGADE_WORKSPACES").is_ok_and(|value| value == "all");
    let (mut done, mut seen) = (0, BTreeMap::new());
    for exercise in exercises {
        let count = seen.entry(exercise.language.clone()).or_insert(0);
        *count += 1;
        if !all && *count > 2 {
            continue;
        }
        if !has(&exercise.test_command[0]) {
            println!("skipped: no {}", exercise.test_command[0]);
            continue;
        }
        one(&exercise);
        done += 1;
    }
    println!("{done} exercises");
}

type Tree = BTreeMap<String, String>;

fn one(exercise: &Exercise) {
    let world = World::new();
    let user = world.outside.path().join("user");
    for (name, text) in &exercise.files {
        let path = user.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let scratch = world.outside.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let store = Store::create(&user, &world.outside.path().join("home")).unwrap();
    let view = store.view("fix", &store.base()).unwrap();
    let test = || {
        let place = Place { view: view.clone(), scratch_dir: Some(scratch.clone()), writable: true };
        runtime().block_on(command::check(&world.sandbox, &place, &exercise.test_command, Duration::from_secs(300))).unwrap()
    };

    let before = test();
    assert!(!before.ok, "{}: passes before the fix", exercise.id);
    let files: Vec<&String> = exercise.fix.keys().collect();
    let grant = Grant::new(&["apply_patch"], &[], &files.iter().map(|file| file.as_str()).collect::<Vec<_>>()).unwrap();
    let arguments = serde_json::json!({"patch": patch(&exercise.files, &exercise.fix)}).to_string();
    let answer = runtime().block_on(Toolbox::default().call(&view, &grant, "apply_patch", &arguments)).output;
    assert!(answer.ok, "{}: {answer:?}", exercise.id);
    let after = test();
    assert!(after.ok, "{}: {}", exercise.id, after.evidence);

    assert_eq!(read(&user), exercise.files, "{} changed before its patch landed", exercise.id);
    assert_eq!(fs::read_to_string(world.outside("secret")).unwrap(), "CANARY-OUTSIDE");
    let mut left: Vec<String> =
        fs::read_dir(world.outside.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["home", "scratch", "secret", "user", "view"], "{}", exercise.id);

    let changed = view.diff().unwrap();
    changed.apply_to(&Root::open(&user).unwrap(), &Scope::whole()).unwrap();
    let mut fixed = exercise.files.clone();
    fixed.extend(exercise.fix.clone());
    // What the build leaves that nobody ignores is no part of the fix, and lands like any other file of the view.
    let landed: Tree = read(&user).into_iter().filter(|(name, _)| fixed.contains_key(name)).collect();
    assert_eq!(landed, fixed, "{}", exercise.id);
    println!("{}: fails before, {} patched, passes after", exercise.id, files.len());
}

/// The fix as a unified diff.
fn patch(files: &Tree, fix: &Tree) -> String {
    let one = |(name, text): (&String, &String)| {
        let old = files.get(name).map_or("", String::as_str);
        let from = if files.contains_key(name) { format!("a/{name}") } else { "/dev/null".to_owned() };
        similar::TextDiff::from_lines(old, text).unified_diff().header(&from, &format!("b/{name}")).to_string()
    };
    fix.iter().map(one).collect()
}

fn read(folder: &Path) -> Tree {
    let (mut out, mut todo) = (Tree::new(), vec![folder.to_owned()]);
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            out.insert(name, String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned());
        }
    }
    out
}
