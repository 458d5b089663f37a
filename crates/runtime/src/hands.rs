//! What a run's executors touch: the user's tree for reading, the run's view for writing, the sandbox for commands.
//!
//! One view per run for now, one writer at a time (the kernel sees to that); a view per subtask comes behind this seam.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use brigade_kernel::plan::Subtask;
use brigade_kernel::run::{Verdict, uses_view};
use brigade_kernel::tool::{ToolOutput, ToolSpec};
use brigade_tools::gate::{Hash, Root};
use brigade_tools::sandbox::{Profile, Sandbox};
use brigade_tools::view::{Store, ViewError};
use brigade_tools::{Grant, Patch, Scope, Toolbox, View, command, excerpts};
use tokio::sync::OnceCell;

use crate::failpoint::hit;

/// How long a check's command may take.
const CHECK_TIME: Duration = Duration::from_secs(600);

/// The tools, the workspace and the view of one run.
#[derive(Debug)]
pub struct Hands {
    toolbox: Toolbox,
    /// `None` where no command can run; then a command is an unsure check and a refused tool.
    sandbox: Result<Sandbox, String>,
    workspace: PathBuf,
    view_dir: PathBuf,
    scratch_dir: PathBuf,
    view: OnceCell<View>,
    reading: OnceCell<View>,
}

/// Every tool a plan may name, in fixed order.
pub fn specs() -> Vec<ToolSpec> {
    let mut specs = Toolbox::default().specs();
    specs.push(command::run_command_spec());
    specs.push(ask());
    specs
}

/// The tool that puts a question to a person; the kernel answers it from the inbox.
fn ask() -> ToolSpec {
    ToolSpec {
        name: "ask".to_owned(),
        description: "Asks the person behind this work one question and waits for the answer. Only when you cannot go on without it."
            .to_owned(),
        parameters: serde_json::json!({
            "type": "object",
            "properties": {"question": {"type": "string"}},
            "required": ["question"],
            "additionalProperties": false
        })
        .into(),
        effect: brigade_kernel::tool::Effect::Repeatable,
    }
}

impl Hands {
    /// Hands for a workspace; nothing is copied before it is needed.
    pub fn new(workspace: PathBuf, view_dir: PathBuf, scratch_dir: PathBuf) -> Self {
        let sandbox = Sandbox::new(&Profile::from_env()).map_err(|e| e.to_string());
        Self { toolbox: Toolbox::default(), sandbox, workspace, view_dir, scratch_dir, view: OnceCell::new(), reading: OnceCell::new() }
    }

    fn place(&self, view: &View) -> command::Place {
        // Without it build output stays in the sandbox's own /tmp.
        let made = std::fs::create_dir_all(&self.scratch_dir).is_ok();
        command::Place { view: view.clone(), scratch_dir: made.then(|| self.scratch_dir.clone()), writable: true }
    }

    /// The run's view, made on first use; after a restart it stands where it was last recorded or put back.
    ///
    /// # Errors
    /// Why the workspace cannot have views.
    pub async fn view(&self) -> Result<View, String> {
        let made = self.view.get_or_try_init(|| async {
            let (base, home) = (self.workspace.clone(), self.view_dir.clone());
            blocking(move || store(&base, &home).and_then(|store| store.view(VIEW, &standing(&home).unwrap_or(store.base())))).await
        });
        made.await.cloned().map_err(|e| format!("the workspace cannot be opened for writing: {e}"))
    }

    async fn reading(&self) -> Result<View, String> {
        // A view made before a restart holds accepted work: the base is behind it.
        if self.view.get().is_some() || Store::is_made(&self.view_dir) {
            return self.view().await;
        }
        let dir = self.workspace.clone();
        let opened = self.reading.get_or_try_init(|| async { blocking(move || View::in_place(&dir)).await });
        opened.await.cloned().map_err(|e| e.to_string())
    }

    /// The tree of the view, its contents kept so that it can be gone back to.
    ///
    /// # Errors
    /// Why the view cannot be read.
    pub async fn snapshot(&self) -> Result<String, String> {
        let view = self.view().await?;
        let home = self.view_dir.clone();
        let taken = blocking(move || view.snapshot().and_then(|tree| stand(&home, &tree).map(|()| tree))).await;
        taken.map(|tree| tree.to_string()).map_err(|e| e.to_string())
    }

    /// Puts the view back to a tree on record.
    ///
    /// # Errors
    /// Why it cannot be put back.
    pub async fn restore(&self, tree: &str) -> Result<(), String> {
        let view = self.view().await?;
        let hash = Hash::parse(tree).ok_or_else(|| format!("{tree:?} is not a tree's hash"))?;
        hit("before-restore");
        let home = self.view_dir.clone();
        let restored = blocking(move || view.restore(&hash).and_then(|()| stand(&home, &hash))).await.map_err(|e| e.to_string());
        hit("after-restore");
        restored
    }

    /// Excerpts of the files in a subtask's read scope.
    pub async fn excerpts(&self, globs: Vec<String>, limit_bytes: u64) -> Vec<(String, String)> {
        let Ok(view) = self.reading().await else { return Vec::new() };
        blocking(move || excerpts(&view, &globs, limit_bytes)).await
    }

    /// Calls a tool within a subtask's grant.
    pub async fn call(&self, spec: &Subtask, name: &str, arguments: &str) -> ToolOutput {
        let view = if uses_view(spec) { self.view().await } else { self.reading().await };
        let view = match view {
            Ok(view) => view,
            Err(why) => return ToolOutput::refused(why),
        };
        let grant = match Grant::new(&spec.tools, &spec.files, &spec.writes) {
            Ok(grant) => grant,
            Err(refusal) => return ToolOutput::refused(refusal.to_string()),
        };
        if name == "run_command" {
            if !grant.tools.contains(name) {
                return ToolOutput::refused(format!("{name} was not granted to this subtask"));
            }
            let output = self.command(&view, arguments).await;
            return self.recorded(output).await;
        }
        let output = self.toolbox.call(&view, &grant, name, arguments).await;
        if uses_view(spec) { self.recorded(output).await } else { output }
    }

    /// The output of a tool, once what it did will be there after a restart.
    async fn recorded(&self, output: ToolOutput) -> ToolOutput {
        match self.snapshot().await {
            Ok(_) => output,
            Err(why) => ToolOutput::refused(format!("the view could not be recorded: {why}")),
        }
    }

    async fn command(&self, view: &View, arguments: &str) -> ToolOutput {
        let sandbox = match &self.sandbox {
            Ok(sandbox) => sandbox,
            Err(why) => return ToolOutput::refused(why.clone()),
        };
        let arguments = match serde_json::from_str(arguments) {
            Ok(arguments) => arguments,
            Err(e) => return ToolOutput::refused(format!("the arguments are no JSON: {e}")),
        };
        match command::run_command(sandbox, &self.place(view), &arguments).await {
            Ok(ran) => ran.output(None),
            Err(e) => ToolOutput::refused(e.to_string()),
        }
    }

    /// Runs a check's command in the view as it is on record (`tree`), and puts it back to that afterwards.
    pub async fn check(&self, argv: &[String], tree: Option<&str>) -> (Verdict, String) {
        let view = match self.view().await {
            Ok(view) => view,
            Err(why) => return (Verdict::Unsure, why),
        };
        let sandbox = match &self.sandbox {
            Ok(sandbox) => sandbox,
            Err(why) => return (Verdict::Unsure, why.clone()),
        };
        // An engine that died in here may have left the by-products of its check.
        let before = match tree {
            Some(tree) => self.restore(tree).await.map(|()| tree.to_owned()),
            None => self.snapshot().await,
        };
        let tree = match before {
            Ok(tree) => tree,
            Err(why) => return (Verdict::Unsure, format!("the view could not be put in order for the check: {why}")),
        };
        hit("inside-check");
        let checked = command::check(sandbox, &self.place(&view), argv, CHECK_TIME).await;
        hit("after-check-command");
        // By-products of a check are not part of the result.
        if let Err(why) = self.restore(&tree).await {
            return (Verdict::Unsure, format!("the view could not be put back after the check: {why}"));
        }
        match checked {
            Ok(checked) if checked.ok => (Verdict::Pass, checked.evidence),
            Ok(checked) => (Verdict::Fail, checked.evidence),
            Err(e) => (Verdict::Unsure, e.to_string()),
        }
    }

    /// The view's changes as one patch.
    ///
    /// # Errors
    /// Why the view cannot be read.
    pub async fn patch(&self) -> Result<Patch, String> {
        let view = self.view().await?;
        blocking(move || view.diff()).await.map_err(|e| e.to_string())
    }
}

/// Writes a patch to the user's tree: all of it, or nothing.
///
/// # Errors
/// Which files stand in the way.
pub fn apply(patch: &Patch, workspace: &Path) -> Result<Vec<String>, String> {
    let root = Root::open(workspace).map_err(|e| format!("cannot open {}: {e}", workspace.display()))?;
    patch.apply_to(&root, &Scope::whole()).map(|landed| landed.written).map_err(|e| e.to_string())
}

/// The name of the run's one view.
const VIEW: &str = "run";

fn store(base: &Path, home: &Path) -> Result<Store, ViewError> {
    if Store::is_made(home) {
        return Store::open(home);
    }
    // Left half made by an engine that died: nothing in it is on record.
    let _ = brigade_tools::view::clear(home);
    Store::create(base, home)
}

fn standing(home: &Path) -> Option<Hash> {
    std::fs::read_to_string(home.join("standing")).ok().and_then(|text| Hash::parse(text.trim()))
}

fn stand(home: &Path, tree: &Hash) -> Result<(), ViewError> {
    let (path, temp) = (home.join("standing"), home.join("standing.new"));
    let written = std::fs::write(&temp, tree.to_string()).and_then(|()| std::fs::rename(&temp, &path));
    written.map_err(|source| ViewError::Io { what: "write", path: path.display().to_string(), source })
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act).await.expect("blocking work on files does not panic and is not cancelled")
}

/// Shared by the actions in flight.
pub type SharedHands = Arc<Hands>;
