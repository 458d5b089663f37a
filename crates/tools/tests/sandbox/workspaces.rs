//! Real exercises: the test command fails before the known fix and passes after it, inside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brigade_tools::sandbox::{Spec, Status};
use serde::Deserialize;

use crate::world::{World, has};

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

fn one(exercise: &Exercise) {
    let world = World::new();
    let write = |files: &BTreeMap<String, String>| {
        for (name, text) in files {
            let path = world.view.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    };
    let scratch = world.outside.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let test = || {
        let spec = Spec::new(&world.view, exercise.test_command.clone());
        world.run(Spec { timeout: Duration::from_secs(300), scratch_dir: Some(scratch.clone()), ..spec })
    };
    write(&exercise.files);
    let before = test();
    assert_ne!(before.status, Status::Exit(0), "{}: passes before the fix", exercise.id);
    // Cargo refreshes by modification time, to the second on some file systems.
    write(&exercise.fix);
    let after = test();
    assert_eq!(after.status, Status::Exit(0), "{}: {}", exercise.id, after.stdout.text());
    let mut left: Vec<String> =
        fs::read_dir(world.outside.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["scratch", "secret", "view"], "{}", exercise.id);
    assert_eq!(fs::read_to_string(world.outside("secret")).unwrap(), "CANARY-OUTSIDE");
    println!("{}: fails before ({:?}), passes after ({:?})", exercise.id, before.duration, after.duration);
}
