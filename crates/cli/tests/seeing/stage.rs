//! A home, a scripted model API and the built binary.

use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use brigade_emulator::{Emulator, LedgerSnapshot, Options, Running, Scenario};
use serde_json::Value;
use tempfile::TempDir;

/// Long enough for a busy machine; nothing here takes a second on a quiet one.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Stage {
    pub dir: TempDir,
    pub api: Running,
}

/// Approves whatever it is shown.
pub const REVIEW: &str = r#"
[[rule]]
match = { format = "brigade_review" }
reply = { json = { summary = "all there", verdict = "approve", revisions = [], add = [], final_output = "It says {{c.output}}." } }
"#;

/// Three subtasks, the last one after the others.
pub const THREE: &str = r#"
[[subtasks]]
id = "a"
type = "extract"
description = "say alpha"
[[subtasks]]
id = "b"
type = "extract"
description = "say beta"
[[subtasks]]
id = "c"
type = "summarize"
description = "join {{a.output}} and {{b.output}}"
"#;

/// Answers for [`THREE`].
pub const ANSWERS: &str = r#"
[[rule]]
match = { contains = "join" }
reply = { text = "alpha and beta" }
[[rule]]
match = { contains = "say alpha" }
reply = { text = "alpha" }
[[rule]]
match = { contains = "say beta" }
reply = { text = "beta" }
"#;

impl Stage {
    /// Plays these rules; a review is approved unless they say otherwise.
    pub fn new(rules: &str) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("workspace")).unwrap();
        // First: what is reviewed holds the words the other rules look for.
        let review = if rules.contains("brigade_review") { "" } else { REVIEW };
        let scenario = Scenario::parse(&format!("{review}\n{rules}"), dir.path()).unwrap();
        Self { api: Emulator::start(scenario, &Options { keep_bodies: true, ..Options::default() }).unwrap(), dir }
    }

    /// Writes a file beside the home.
    pub fn file(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "the test starts the product")]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BRIGADE_") || name.to_lowercase().ends_with("_proxy")) {
            command.env_remove(name);
        }
        command.env("BRIGADE_HOME", self.home()).env("OPENAI_BASE_URL", self.api.base_url()).env("OPENAI_API_KEY", "test");
        command
    }

    pub fn home(&self) -> std::path::PathBuf {
        self.dir.path().join("brigade-home")
    }

    /// Runs to the end.
    pub fn brigade(&self, arguments: &[&str]) -> Ended {
        Ended::of(arguments, self.command(arguments).output().unwrap())
    }

    /// Runs a plan to the end.
    pub fn run(&self, plan: &str, more: &[&str]) -> Ended {
        self.file("plan.toml", plan);
        self.brigade(&[&["run", "--plan", "plan.toml", "-C", "workspace"], more].concat())
    }

    /// Starts a plan and waits until that many calls have reached the API.
    pub fn start(&self, plan: &str, calls: usize) -> Under {
        self.file("plan.toml", plan);
        self.begin(&["run", "--plan", "plan.toml", "-C", "workspace", "--json"], calls)
    }

    /// Starts a run and waits until that many calls have reached the API.
    pub fn begin(&self, arguments: &[&str], calls: usize) -> Under {
        let child = self.command(arguments).spawn().unwrap();
        let mut under = Under { child, id: String::new() };
        until("calls arrive", || self.ledger().calls.len() >= calls);
        under.id = self.ids().remove(0);
        under
    }

    pub fn ledger(&self) -> LedgerSnapshot {
        self.api.ledger()
    }

    /// Runs, newest first.
    pub fn ids(&self) -> Vec<String> {
        self.brigade(&["ps", "--json"]).lines().iter().map(|l| l["run_id"].as_str().unwrap().to_owned()).collect()
    }

    pub fn state_of(&self, id: &str) -> String {
        self.brigade(&["show", id, "--json"]).lines()[0]["state"].as_str().unwrap().to_owned()
    }
}

/// A run under way in another process.
pub struct Under {
    pub child: Child,
    pub id: String,
}

impl Under {
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let drain = |out: ChildStdout| std::thread::spawn(move || std::io::read_to_string(out).unwrap());
        let drain_err = |err: ChildStderr| std::thread::spawn(move || std::io::read_to_string(err).unwrap());
        let (out, err) = (drain(self.child.stdout.take().unwrap()), drain_err(self.child.stderr.take().unwrap()));
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if since.elapsed() > PATIENCE {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Ended { code: status.code(), out: out.join().unwrap(), err: err.join().unwrap(), what: format!("run {}", self.id) }
    }
}

/// What a process left.
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    what: String,
}

impl Ended {
    pub fn of(what: &[&str], output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr), what: what.join(" ") }
    }

    /// Its exit code was this; shows everything otherwise.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n--- stdout\n{}\n--- stderr\n{}", self.what, self.out, self.err);
        self
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}\n{}", self.what, self.err));
        self.out.lines().map(read).collect()
    }

    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(
                self.err.contains(word) || self.out.contains(word),
                "{}: no {word:?}\n--- stdout\n{}\n--- stderr\n{}",
                self.what,
                self.out,
                self.err
            );
        }
        self
    }
}

/// Waits for something another process does.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Types of JSON lines, in order.
pub fn types(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|l| l["type"].as_str().unwrap()).collect()
}

pub fn read(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}
