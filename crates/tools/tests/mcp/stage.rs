//! A home, a workspace, and servers configured as a user would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brigade_kernel::policy::Setting;
use brigade_kernel::tool::ToolOutput;
use brigade_tools::mcp::{Called, Draft, Grounds, Origin, Pins, ServerConfig, Servers, Trouble};

pub struct Stage {
    pub dir: tempfile::TempDir,
    pub fields: Vec<(String, Setting)>,
    pub env: BTreeMap<String, String>,
}

pub fn list(words: &[&str]) -> Setting {
    Setting::List(words.iter().map(|word| (*word).to_owned()).collect())
}

impl Stage {
    /// A server `t` that is this binary in that mode, in a directory it may write to.
    pub fn new(mode: &str) -> Self {
        let stage = Self::bare();
        let exe = std::env::current_exe().unwrap();
        stage
            .with("command", exe.to_str().unwrap().into())
            .with("args", list(&["__server", mode]))
            .with("cwd", ".".into())
            .with("writable", "true".into())
    }

    pub fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("workspace")).unwrap();
        Self { dir, fields: Vec::new(), env: BTreeMap::new() }
    }

    pub fn with(mut self, field: &str, value: Setting) -> Self {
        self.fields.push((field.to_owned(), value));
        self
    }

    pub fn workspace(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn config(&self) -> ServerConfig {
        let mut draft = Draft::default();
        for (field, value) in &self.fields {
            draft.set(field, value).unwrap();
        }
        draft.finish("t", Origin::Home).unwrap().unwrap()
    }

    /// The servers with the pins as they are now.
    pub fn servers(&self) -> Servers {
        let grounds = Grounds { workspace: self.workspace(), dir: self.home().join("mcp"), env: self.env.clone(), launcher: None };
        let configs = BTreeMap::from([("t".to_owned(), self.config())]);
        Servers::new(&configs, &Pins::read(&self.home()).unwrap(), &grounds)
    }

    /// Pins the server as it is.
    pub async fn try_trust(&self) -> Result<(), Trouble> {
        let tools = self.servers().look("t").await?;
        std::fs::create_dir_all(self.home()).unwrap();
        Pins::read(&self.home()).unwrap().pin(&self.config(), tools).unwrap();
        Ok(())
    }

    pub async fn trusted(self) -> Self {
        self.try_trust().await.unwrap();
        let _ = std::fs::remove_file(self.workspace().join("ledger"));
        self
    }

    /// What the server did, in its own durable words.
    pub fn ledger(&self) -> Vec<String> {
        read(&self.workspace().join("ledger"))
    }

    pub fn did(&self, tool: &str) -> usize {
        self.ledger().iter().filter(|line| line.starts_with(tool)).count()
    }
}

pub fn read(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

pub async fn call(servers: &Servers, tool: &str, text: &str) -> Called {
    let arguments = serde_json::json!({ "text": text }).to_string();
    servers.call(&format!("mcp__t__{tool}"), &arguments, "key-1", Duration::from_secs(60)).await
}

pub async fn answer(servers: &Servers, tool: &str, text: &str) -> ToolOutput {
    match call(servers, tool, text).await {
        Called::Answered(brought) => brought.output,
        Called::Unknown(why) => panic!("{tool}: {why}"),
    }
}

pub async fn unknown(servers: &Servers, tool: &str) -> String {
    match call(servers, tool, "").await {
        Called::Unknown(why) => why,
        Called::Answered(output) => panic!("{tool} answered: {output:?}"),
    }
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Processes of this machine whose command line holds `mark`.
pub fn alive(mark: &str) -> usize {
    let own = std::process::id();
    let line = |entry: &std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
    let pid = |entry: &std::fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter(|e| pid(e).is_some_and(|pid| pid != own)).filter(|e| String::from_utf8_lossy(&line(e)).contains(mark)).count()
}

/// Waits until nothing with that mark lives.
pub fn gone(mark: &str, limit: Duration) -> bool {
    let started = std::time::Instant::now();
    while started.elapsed() < limit {
        if alive(mark) == 0 {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Waits until something with that mark lives.
pub fn born(mark: &str) -> bool {
    let started = std::time::Instant::now();
    while alive(mark) == 0 && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    alive(mark) > 0
}

/// An engine that is killed while a server of its works: says that it is ready, and waits for its end.
pub fn engine(mark: &str) {
    block_on(async {
        let stage = Stage::new("honest").trusted().await;
        let servers = stage.servers();
        assert!(answer(&servers, "daemon", mark).await.ok);
        assert!(born(mark));
        println!("ready");
        std::future::pending::<()>().await;
    });
}
