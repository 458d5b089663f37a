//! One home, one workspace, one scripted API with a durable ledger, and real engines started on them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use brigade_emulator::{CallRecord, Emulator, Options, Running, Scenario};

/// How long an engine may take before the lab gives it up: far above any run in here.
const PATIENCE: Duration = Duration::from_secs(90);

/// A place to break things in; gone when dropped.
#[derive(Debug)]
pub struct Lab {
    dir: tempfile::TempDir,
    engine: PathBuf,
    api: Running,
    /// Variables every engine gets.
    pub env: BTreeMap<String, String>,
}

/// How an engine's process ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// An engine at work.
#[derive(Debug)]
pub struct Engine {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Lab {
    /// A lab for `engine`, with a scenario and the files of a workspace.
    ///
    /// # Errors
    /// What the system or the scenario's gate says.
    pub fn new(engine: &Path, scenario: &str, files: &[(&str, &str)]) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("brigade-sim-").tempdir()?;
        for (path, text) in files {
            let path = dir.path().join("workspace").join(path);
            fs::create_dir_all(path.parent().unwrap_or(dir.path()))?;
            fs::write(path, text)?;
        }
        fs::create_dir_all(dir.path().join("workspace"))?;
        fs::create_dir_all(dir.path().join("logs"))?;
        let scenario = Scenario::parse(scenario, dir.path()).map_err(io::Error::other)?;
        let options = Options { ledger: Some(dir.path().join("ledger.jsonl")), durable: true, ..Options::default() };
        let api = Emulator::start(scenario, &options).map_err(io::Error::other)?;
        let home = dir.path().join("home");
        let env = [
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("HOME", dir.path().display().to_string()),
            ("BRIGADE_HOME", home.display().to_string()),
            ("OPENAI_BASE_URL", api.base_url()),
            ("OPENAI_API_KEY", "sk-canary-of-the-lab".to_owned()),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Self { dir, engine: engine.to_owned(), api, env })
    }

    /// Sets a setting by its key, `limits.max_tries`.
    pub fn set(&mut self, key: &str, value: &str) {
        let name = format!("BRIGADE_{}", key.to_ascii_uppercase().replace('.', "__"));
        self.env.insert(name, value.to_owned());
    }

    /// brigade's folder.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The user's tree.
    pub fn workspace(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    /// A file beside home and workspace.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.dir.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Every call that reached the API.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.api.ledger().calls
    }

    /// The API itself.
    pub fn api(&self) -> &Running {
        &self.api
    }

    /// A command that starts an engine; the caller may still change it.
    #[expect(clippy::disallowed_methods, reason = "the engine under test is a process, to be killed")]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.engine);
        command.args(arguments).env_clear().envs(&self.env).current_dir(self.workspace()).stdin(Stdio::null());
        command
    }

    /// Starts an engine.
    ///
    /// # Errors
    /// The system's.
    pub fn start(&self, arguments: &[&str], more: &[(&str, &str)]) -> io::Result<Engine> {
        let mut command = self.command(arguments);
        command.envs(more.iter().copied());
        self.spawn(command)
    }

    /// Starts a command with its output kept in files: a full pipe stops nobody.
    ///
    /// # Errors
    /// The system's.
    pub fn spawn(&self, mut command: Command) -> io::Result<Engine> {
        let logs = self.dir.path().join("logs");
        let number = fs::read_dir(&logs)?.count();
        let (out, err) = (logs.join(format!("{number}.out")), logs.join(format!("{number}.err")));
        let child = command.stdout(File::create(&out)?).stderr(File::create(&err)?).spawn()?;
        Ok(Engine { child, out, err })
    }

    /// Starts an engine and waits for its end.
    ///
    /// # Errors
    /// The system's; an engine that does not end in time.
    pub fn run(&self, arguments: &[&str]) -> io::Result<Ended> {
        self.start(arguments, &[])?.wait()
    }

    /// The user's tree, file by file.
    ///
    /// # Errors
    /// The system's.
    pub fn tree(&self) -> io::Result<BTreeMap<String, String>> {
        let mut files = BTreeMap::new();
        collect(&self.workspace(), "", &mut files)?;
        Ok(files)
    }
}

fn collect(dir: &Path, prefix: &str, files: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.insert(name, String::from_utf8_lossy(&fs::read(entry.path())?).into_owned());
        }
    }
    Ok(())
}

impl Engine {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// The system's.
    pub fn signal(&self, signal: rustix::process::Signal) -> io::Result<()> {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).ok_or_else(|| io::Error::other("no process"))?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Waits at most so long for its end.
    ///
    /// # Errors
    /// The system's.
    pub fn ended_within(&mut self, span: Duration) -> io::Result<bool> {
        let until = Instant::now() + span;
        loop {
            if self.child.try_wait()?.is_some() {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(mut self) -> io::Result<Ended> {
        self.child.kill()?;
        self.wait()
    }

    /// What it has said on standard error so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The system's; an engine that does not end in time is killed and reported.
    pub fn wait(mut self) -> io::Result<Ended> {
        let hung = !self.ended_within(PATIENCE)?;
        if hung {
            self.child.kill()?;
        }
        let status = self.child.wait()?;
        let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let ended = Ended { code: status.code(), signal: status.signal(), out: text(&self.out)?, err: text(&self.err)? };
        if hung {
            return Err(io::Error::other(format!("the engine did not end within {PATIENCE:?}: {}\n{}", ended.out, ended.err)));
        }
        Ok(ended)
    }
}
