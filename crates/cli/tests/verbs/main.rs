//! The verbs as a person or a script meets them: processes, their output, their exit codes.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what went wrong by failing")]
#![allow(clippy::disallowed_methods, reason = "the binary under test is a process")]

mod decode;
mod emulate;
mod plan;
mod quota;
mod setup;
mod tool;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A home and a workspace of a test's own; nothing of the machine's configuration reaches brigade.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("work")).unwrap();
        Self { dir }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
        command.args(args).current_dir(self.work()).env_clear().env("BRIGADE_HOME", self.home()).env("HOME", self.dir.path());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).stdin(Stdio::null()).output().unwrap())
    }

    fn fed(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || stdin.write_all(&input));
        let ran = Ran::of(&child.wait_with_output().unwrap());
        // It may have stopped reading: what it printed tells.
        let _ = feeder.join();
        ran
    }
}

/// How a process ended and what it said.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Recorded rows of `BRIGADE_DATA`, or a note that they are not there.
fn rows(file: &str) -> Option<Vec<Value>> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = std::env::var_os("BRIGADE_DATA").map_or(default, PathBuf::from).join(file);
    let Ok(packed) = std::fs::File::open(&path) else {
        eprintln!("skipped: no {file}; set BRIGADE_DATA");
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// Every `n`-th of the recorded rows, all of them with `BRIGADE_ALL` set: each costs a process.
fn sample(rows: Vec<Value>, n: usize) -> Vec<Value> {
    let n = if std::env::var_os("BRIGADE_ALL").is_some() { 1 } else { n };
    rows.into_iter().step_by(n).collect()
}
