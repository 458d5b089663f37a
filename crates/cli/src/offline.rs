//! Examples without a key or a network: a scripted model API inside this process, everything else real.
//!
//! A run keeps its example in `BRIGADE_HOME/offline/RUN`: `example/` as it was when the run began, and `ledger.jsonl`, by which
//! the scripted API goes on counting after a restart. Its workspace is a temporary copy that stays, for it holds the result.

mod embedded;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use brigade_emulator::{Emulator, Options, Running, Scenario};
use brigade_kernel::ids::RunId;
use serde::Deserialize;

use crate::config::{Config, Dialect, Env, Provider};
use crate::exit::{Failure, chain};

/// An example that is open: its scripted API runs until this is dropped.
#[derive(Debug)]
pub struct Example {
    /// What the user called it: shown wherever the run is.
    pub name: String,
    /// What becomes of the patch.
    pub apply: String,
    /// Whether its checks run commands.
    pub commands: bool,
    manifest: Manifest,
    dir: PathBuf,
    api: Running,
}

/// `example.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// What is asked, unless the user asks something else.
    #[serde(default)]
    request: Option<String>,
    /// A plan file beside it.
    #[serde(default)]
    plan: Option<PathBuf>,
    /// Rows beside it.
    #[serde(default)]
    input: Option<PathBuf>,
    /// `auto`, `ask` or `never`.
    #[serde(default = "auto")]
    apply: String,
    /// The scripted plan runs commands: no token is spent where no sandbox can be built.
    #[serde(default)]
    commands: bool,
}

fn auto() -> String {
    "auto".to_owned()
}

/// Opens an example for a new run, by folder, by name in `./examples`, or by name among those in the binary.
///
/// # Errors
/// Exit 2 when there is none, or it is damaged.
pub fn open(name: &str, home: &Path, run: &RunId) -> Result<Example, Failure> {
    let kept = kept(home, run);
    let dir = kept.join("example");
    // The home's own mode, as it may be made here.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    if let Some(found) = folder(name) {
        manifest(&found)?;
        copy(&found, &dir)?;
    } else if embedded::names().contains(&name) {
        for (path, bytes) in embedded::of(name) {
            write(&dir.join(path), bytes)?;
        }
    } else {
        return Err(Failure::usage(format!(
            "there is no example {name:?}: give a folder that holds example.toml, or one of: {}",
            known().join(", ")
        )));
    }
    start(name, &kept)
}

/// Opens the example that a run was started with, as it was then.
///
/// # Errors
/// Exit 2 when it is gone or damaged.
pub fn reopen(name: &str, home: &Path, run: &RunId) -> Result<Example, Failure> {
    start(name, &kept(home, run))
}

fn kept(home: &Path, run: &RunId) -> PathBuf {
    home.join("offline").join(run.as_str())
}

fn start(name: &str, kept: &Path) -> Result<Example, Failure> {
    let dir = kept.join("example");
    let manifest = manifest(&dir)?;
    let scenario = Scenario::load(&dir.join("scenario.toml")).map_err(|e| Failure::usage(chain(&e)))?;
    // Durable, so that no answer is counted less than it was given, whatever ends this process.
    let options = Options { ledger: Some(kept.join("ledger.jsonl")), durable: true, ..Options::default() };
    let api = Emulator::start(scenario, &options).map_err(|e| Failure::failed(chain(&e)))?;
    Ok(Example { name: name.to_owned(), apply: manifest.apply.clone(), commands: manifest.commands, manifest, dir, api })
}

fn manifest(dir: &Path) -> Result<Manifest, Failure> {
    let path = dir.join("example.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| Failure::usage(format!("cannot read {}: {e}", path.display())))?;
    toml::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

/// The folder of an example, where there is one.
fn folder(name: &str) -> Option<PathBuf> {
    [PathBuf::from(name), Path::new("examples").join(name)].into_iter().find(|dir| is_example(dir))
}

fn is_example(dir: &Path) -> bool {
    dir.join("example.toml").is_file()
}

/// Every name that would be found from here.
fn known() -> Vec<String> {
    let here = std::fs::read_dir("examples").into_iter().flatten().flatten();
    let mut names: Vec<String> = here.filter(|e| is_example(&e.path())).map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.extend(embedded::names().into_iter().map(str::to_owned));
    names.sort();
    names.dedup();
    names
}

/// Copies files and folders; links are left out, they could lead anywhere.
fn copy(from: &Path, into: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(into)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = into.join(entry.file_name());
        let kind = entry.file_type()?;
        // What was built there is not part of it.
        if kind.is_dir() && entry.file_name() != "target" {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, bytes)
}

impl Example {
    /// A temporary copy of its workspace (an empty folder where it has none), kept after the run: it holds the result.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn workspace(&self) -> Result<PathBuf, Failure> {
        let into = tempfile::Builder::new().prefix("brigade-example-").tempdir()?.keep();
        let from = self.dir.join("workspace");
        if from.is_dir() {
            copy(&from, &into)?;
        }
        Ok(into)
    }

    /// Fills what the user left open.
    pub fn fill(&self, request: &mut Option<String>, plan: &mut Option<PathBuf>, input: &mut Option<PathBuf>) {
        if request.is_none() && plan.is_none() {
            *request = self.manifest.request.as_ref().map(|text| text.trim().to_owned());
            *plan = self.manifest.plan.as_ref().map(|p| self.dir.join(p));
        }
        if input.is_none() {
            *input = self.manifest.input.as_ref().map(|p| self.dir.join(p));
        }
    }

    /// Gives the default provider a key, so that none has to be set.
    pub fn key(&self, env: &mut Env) {
        env.insert("OPENAI_API_KEY".to_owned(), "offline".to_owned());
    }

    /// Points every provider at the scripted API, whatever the user's configuration says: nothing leaves this machine.
    pub fn capture(&self, config: &mut Config, env: &mut Env) {
        for provider in config.providers.values_mut() {
            provider.base_url = self.api.base_url();
            provider.env_key = Some("OPENAI_API_KEY".to_owned());
        }
        // An agent would ask its own provider: its models are asked for here instead.
        for name in std::mem::take(&mut config.agents).into_keys() {
            let here = Provider {
                dialect: Dialect::Responses,
                base_url: self.api.base_url(),
                env_key: Some("OPENAI_API_KEY".to_owned()),
                compaction: None,
                batch: None,
            };
            config.providers.insert(name, here);
        }
        config.policy.agents.clear();
        self.key(env);
    }
}
