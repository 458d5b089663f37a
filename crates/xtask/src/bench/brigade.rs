//! The built `brigade` under test: a scripted provider in a process of its own, runs measured from outside.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::{house, process};

/// A folder for one bench, removed afterwards.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("brigade-bench-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The release binary, built if need be.
pub fn binary() -> Result<PathBuf, String> {
    if !process::cargo(&["build", "--release", "-p", "brigade-cli"].map(str::to_owned)).success {
        return Err("the release binary does not build".to_owned());
    }
    Ok(house::root().join("target/release/brigade"))
}

/// A scripted provider in its own process.
pub struct Provider {
    child: Child,
    // Held open: a provider whose reader is gone would fail to write.
    _stdout: BufReader<ChildStdout>,
    pub base_url: String,
}

impl Provider {
    pub fn start(binary: &Path, scenario: &Path) -> Result<Self, String> {
        Self::start_with(binary, scenario, &[])
    }

    pub fn start_with(binary: &Path, scenario: &Path, more: &[&str]) -> Result<Self, String> {
        let mut command = process::program(binary);
        command.arg("emulate").arg(scenario).args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| format!("cannot start the emulator: {e}"))?;
        let stdout = child.stdout.take().ok_or("the emulator has no output")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line).map_err(|e| e.to_string())?;
        let base_url = line.split_whitespace().find(|w| w.starts_with("http")).ok_or_else(|| format!("no address in {line:?}"))?.to_owned();
        Ok(Self { child, _stdout: stdout, base_url })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one process took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    pub wall_ms: f64,
    pub cpu_us: u64,
    pub peak_kib: u64,
}

/// Runs `brigade` to its end in a home of its own.
pub fn run(binary: &Path, base_url: &str, home: &Path, arguments: &[&str]) -> Result<(Took, String), String> {
    let mut command = process::program(binary);
    command
        .args(arguments)
        .env("BRIGADE_HOME", home)
        .env("OPENAI_BASE_URL", base_url)
        .env("OPENAI_API_KEY", "bench")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let start = std::time::Instant::now();
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let mut out = child.stdout.take().ok_or("no output")?;
    let mut err = child.stderr.take().ok_or("no errors")?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = std::io::Read::read_to_string(&mut err, &mut text);
        text
    });
    let mut text = String::new();
    let _ = std::io::Read::read_to_string(&mut out, &mut text);
    let (ok, cpu_us, peak_kib) = process::wait_with_usage(&child)?;
    let wall_ms = start.elapsed().as_secs_f64() * 1_000.0;
    let errors = reader.join().unwrap_or_default();
    if !ok {
        return Err(format!("brigade failed:\n{errors}"));
    }
    Ok((Took { wall_ms, cpu_us, peak_kib }, text))
}

/// Bytes below a folder.
pub fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|e| match e.metadata() {
            Ok(meta) if meta.is_dir() => size_of(&e.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// A scenario that answers every subtask with `answer` at once, and approves.
pub fn scenario(models: &str, answer: &str) -> String {
    format!(
        "{models}\n\
         [[rule]]\n\
         match = {{ format = \"brigade_review\" }}\n\
         reply = {{ json = {{ summary = \"Good.\", verdict = \"approve\", revisions = [], add = [], final_output = \"done\" }} }}\n\
         [[rule]]\n\
         reply = {{ text = {answer:?} }}\n"
    )
}

/// A plan as JSON: each entry an id, a type and what it hangs on.
pub fn plan(subtasks: impl IntoIterator<Item = (String, &'static str, Vec<String>)>) -> String {
    let subtasks: Vec<Value> = subtasks
        .into_iter()
        .map(|(id, kind, after)| json!({ "id": id, "type": kind, "description": format!("Work item {id}: answer ok."), "output_format": "text", "depends_on": after }))
        .collect();
    json!({ "subtasks": subtasks }).to_string()
}
