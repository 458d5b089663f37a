//! Examples without a key or a network: a scripted model API inside this process, everything else real.

use std::path::{Path, PathBuf};

use brigade_emulator::{Emulator, Options, Running, Scenario};
use serde::Deserialize;

use crate::config::Env;
use crate::exit::{Failure, chain};

/// An example that is open: its scripted API runs until this is dropped.
#[derive(Debug)]
pub struct Example {
    /// Its name.
    pub name: String,
    /// A copy of its workspace, to work in.
    pub workspace: PathBuf,
    /// What becomes of the patch.
    pub apply: String,
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
}

fn auto() -> String {
    "auto".to_owned()
}

/// Opens an example by name (in `examples/` here or above) or by folder; its workspace is copied first.
///
/// # Errors
/// Exit 2 when there is none, or it is damaged.
pub fn open(name: &str) -> Result<Example, Failure> {
    start(name, true)
}

/// Opens the example that a run was started with; its workspace stays as the run left it.
///
/// # Errors
/// As [`open`].
pub fn reopen(name: &str) -> Result<Example, Failure> {
    start(name, false)
}

fn start(name: &str, copy: bool) -> Result<Example, Failure> {
    let dir = find(name).ok_or_else(|| {
        let known = known().join(", ");
        Failure::usage(format!("there is no example {name:?}: give a folder that holds example.toml, or one of: {known}"))
    })?;
    let text = std::fs::read_to_string(dir.join("example.toml")).map_err(|e| Failure::usage(format!("{}: {e}", dir.display())))?;
    let manifest: Manifest = toml::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", dir.join("example.toml").display())))?;
    let scenario = Scenario::load(&dir.join("scenario.toml")).map_err(|e| Failure::usage(chain(&e)))?;
    let workspace = if copy { copy_workspace(&dir)? } else { dir.clone() };
    let api = Emulator::start(scenario, &Options::default()).map_err(|e| Failure::failed(chain(&e)))?;
    let name = dir.display().to_string();
    Ok(Example { name, workspace, apply: manifest.apply.clone(), manifest, dir, api })
}

/// The folder of an example.
fn find(name: &str) -> Option<PathBuf> {
    let is_one = |dir: &Path| dir.join("example.toml").is_file();
    let direct = PathBuf::from(name);
    if is_one(&direct) {
        return direct.canonicalize().ok();
    }
    if name.contains(['/', '\\']) || name.starts_with('.') {
        return None;
    }
    let here = std::env::current_dir().ok()?;
    here.ancestors().map(|up| up.join("examples").join(name)).find(|dir| is_one(dir))
}

fn known() -> Vec<String> {
    let Ok(here) = std::env::current_dir() else { return Vec::new() };
    let folder = here.ancestors().map(|up| up.join("examples")).find(|dir| dir.is_dir());
    let entries = folder.and_then(|dir| std::fs::read_dir(dir).ok()).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter(|e| e.path().join("example.toml").is_file()).map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A temporary copy of the example's workspace (an empty folder where it has none), kept after the run: it holds the result.
fn copy_workspace(dir: &Path) -> Result<PathBuf, Failure> {
    let into = tempfile::Builder::new().prefix("brigade-example-").tempdir()?.keep();
    let from = dir.join("workspace");
    if from.is_dir() {
        copy(&from, &into)?;
    }
    Ok(into)
}

fn copy(from: &Path, into: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = into.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

impl Example {
    /// Fills what the user left open.
    pub fn fill(&self, request: &mut Option<String>, plan: &mut Option<PathBuf>, input: &mut Option<PathBuf>) {
        if request.is_none() && plan.is_none() {
            request.clone_from(&self.manifest.request);
            *plan = self.manifest.plan.as_ref().map(|p| self.dir.join(p));
        }
        if input.is_none() {
            *input = self.manifest.input.as_ref().map(|p| self.dir.join(p));
        }
    }

    /// Points the default provider at the scripted API.
    pub fn point(&self, env: &mut Env) {
        env.insert("OPENAI_BASE_URL".to_owned(), self.api.base_url());
        env.insert("OPENAI_API_KEY".to_owned(), "offline".to_owned());
    }
}
