//! A view, things outside it that must not be reached, and a sandbox between the two.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use brigade_tools::sandbox::{Finished, Profile, Sandbox, SandboxError, Spec, Status};

pub const NOBODY: u32 = 65534;

pub struct World {
    pub outside: tempfile::TempDir,
    pub view: PathBuf,
    pub sandbox: Sandbox,
    pub attacker: String,
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Profile)) -> Self {
        let outside = tempfile::tempdir().unwrap();
        let view = outside.path().join("view");
        fs::create_dir(&view).unwrap();
        fs::write(outside.path().join("secret"), "CANARY-OUTSIDE").unwrap();
        let attacker = std::env::current_exe().unwrap();
        let mut profile = Profile::from_env();
        profile.read_only.push(attacker.clone());
        change(&mut profile);
        let sandbox = Sandbox::new(&profile).unwrap();
        Self { outside, view, sandbox, attacker: attacker.to_str().unwrap().to_owned() }
    }

    pub fn outside(&self, name: &str) -> String {
        self.outside.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn spec<const N: usize>(&self, argv: [&str; N]) -> Spec {
        Spec { timeout: Duration::from_secs(20), ..Spec::new(&self.view, argv) }
    }

    pub fn try_run(&self, spec: Spec) -> Result<Finished, SandboxError> {
        runtime().block_on(self.sandbox.run(spec))
    }

    pub fn run(&self, spec: Spec) -> Finished {
        self.try_run(spec).unwrap()
    }

    pub fn attack_spec(&self, name: &str, args: &[&str]) -> Spec {
        let argv = [&[self.attacker.as_str(), "__attack", name], args].concat();
        Spec { timeout: Duration::from_secs(20), ..Spec::new(&self.view, argv) }
    }

    /// Runs an attack, and fails unless each of its tries was denied.
    pub fn denied(&self, name: &str, args: &[&str]) -> String {
        let finished = self.run(self.attack_spec(name, args));
        let text = finished.stdout.text();
        assert_eq!(finished.status, Status::Exit(0), "{name}: {text}");
        assert!(!text.is_empty(), "{name} said nothing");
        for line in text.lines() {
            assert!(line.starts_with("DENIED"), "{name}: {line}\nall: {text}");
        }
        text
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Processes of this machine whose command line holds `mark`.
pub fn alive(mark: &str) -> usize {
    let Ok(entries) = fs::read_dir("/proc") else {
        return 0;
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok_and(|pid| pid != std::process::id())))
        .filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(mark)
        })
        .count()
}

/// Waits for `mark` to be in exactly `count` processes; says how long it took.
pub fn until_alive(mark: &str, wanted: impl Fn(usize) -> bool, limit: Duration) -> Option<Duration> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if wanted(alive(mark)) {
            return Some(started.elapsed());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

pub fn mark() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("mark-{}-{}-end", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| Path::new(&dir).join(program).is_file()))
}

impl World {
    pub fn profile_of_this_binary() -> Profile {
        let mut profile = Profile::from_env();
        profile.read_only.push(std::env::current_exe().unwrap());
        profile
    }
}
