//! What a run's executors touch: a view each for those that write, the tree they hang on for those that only read, the
//! sandbox for commands. A view is named by its unit, so no two of them share one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brigade_kernel::ids::RunId;
use brigade_kernel::plan::Subtask;
use brigade_kernel::run::{Changed, Unit, Verdict, uses_view};
use brigade_kernel::tool::{OPEN_OUTPUT, ToolOutput, ToolSpec};
use brigade_tools::gate::Hash;
use brigade_tools::sandbox::{Profile, Sandbox};
use brigade_tools::view::{Store, ViewError};
use brigade_tools::{Brought, Grant, Patch, Picture, Toolbox, View, command, excerpts};
use tokio::sync::OnceCell;

use crate::failpoint::hit;
use crate::land::changed_lines;
use crate::outputs;

/// How long a check's command may take.
const CHECK_TIME: Duration = Duration::from_secs(600);
/// The view in which all work is checked together; no unit has a name with a blank.
const TOGETHER: &str = "all together";

/// The tools, the workspace and the views of one run.
#[derive(Debug)]
pub struct Hands {
    toolbox: Toolbox,
    /// `None` where no command can run; then a command is an unsure check and a refused tool.
    sandbox: Result<Sandbox, String>,
    workspace: PathBuf,
    store_dir: PathBuf,
    scratch_dir: PathBuf,
    store: OnceCell<Store>,
    in_place: OnceCell<View>,
    /// Units that read the workspace as it was, by the tree they read.
    pinned: Mutex<HashMap<Unit, String>>,
    /// Views of attempts at work, as this process made or opened them.
    views: Mutex<HashMap<String, View>>,
    /// One view is made or dropped at a time.
    making: tokio::sync::Mutex<()>,
}

/// Every tool a plan may name, in fixed order.
pub fn specs() -> Vec<ToolSpec> {
    let mut specs = Toolbox::default().specs();
    specs.push(command::run_command_spec());
    specs.push(ask());
    specs.push(outputs::open_output());
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
        images: false,
    }
}

impl Hands {
    /// Hands for a workspace; nothing is made before it is needed.
    pub fn new(workspace: PathBuf, store_dir: PathBuf, scratch_dir: PathBuf) -> Self {
        let sandbox = Sandbox::new(&Profile::from_env()).map_err(|e| e.to_string());
        Self {
            toolbox: Toolbox::default(),
            sandbox,
            workspace,
            store_dir,
            scratch_dir,
            store: OnceCell::new(),
            in_place: OnceCell::new(),
            pinned: Mutex::default(),
            views: Mutex::default(),
            making: tokio::sync::Mutex::default(),
        }
    }

    /// The run's store of trees and views, made on first use, opened again after a restart.
    ///
    /// # Errors
    /// Why the workspace cannot have views.
    pub(crate) async fn store(&self) -> Result<Store, String> {
        let made = self.store.get_or_try_init(|| async {
            let (base, home) = (self.workspace.clone(), self.store_dir.clone());
            blocking(move || if Store::is_made(&home) { Store::open(&home) } else { make(&base, &home) }).await
        });
        made.await.cloned().map_err(|e| format!("the workspace cannot have views: {e}"))
    }

    /// Sets a unit's view to a tree, made when it is not there.
    ///
    /// # Errors
    /// Why it cannot be made, or does not know the tree.
    pub async fn set(&self, unit: &Unit, tree: &str) -> Result<View, String> {
        let _one = self.making.lock().await;
        self.set_alone(unit.to_string(), tree).await
    }

    /// Sets a view of this name to a tree, or to the workspace as it was.
    pub(crate) async fn set_named(&self, name: String, tree: Option<&str>) -> Result<View, String> {
        let _one = self.making.lock().await;
        let base = self.store().await?.base().to_string();
        self.set_alone(name, tree.unwrap_or(&base)).await
    }

    /// Lets go of a view that no unit has.
    pub(crate) async fn forget_named(&self, name: &'static str) {
        let _one = self.making.lock().await;
        self.views().remove(name);
        if let Ok(store) = self.store().await {
            blocking(move || store.drop_view(name)).await;
        }
    }

    async fn set_alone(&self, name: String, tree: &str) -> Result<View, String> {
        let (store, tree) = (self.store().await?, hash(tree)?);
        hit("before-restore");
        let made = blocking({
            let name = name.clone();
            move || store.view(&name, &tree)
        });
        let view = made.await.map_err(|e| e.to_string())?;
        hit("after-restore");
        self.views().insert(name, view.clone());
        Ok(view)
    }

    fn views(&self) -> std::sync::MutexGuard<'_, HashMap<String, View>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pinned(&self) -> std::sync::MutexGuard<'_, HashMap<Unit, String>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where another run of the home keeps its views: the folders stand side by side.
    pub(crate) fn beside(&self, run: &RunId) -> PathBuf {
        self.store_dir.with_file_name(run.as_str())
    }

    /// A unit's view; one that an engine before this one made is put back to the tree on record first.
    async fn view(&self, unit: &Unit, tree: Option<&str>) -> Result<View, String> {
        let name = unit.to_string();
        if let Some(view) = self.views().get(&name).cloned() {
            return Ok(view);
        }
        let _one = self.making.lock().await;
        if let Some(view) = self.views().get(&name).cloned() {
            return Ok(view);
        }
        let base = self.store().await?.base().to_string();
        self.set_alone(name, tree.unwrap_or(&base)).await
    }

    /// Lets go of the view of a unit that has ended; the trees it made stay.
    pub fn drop_view(self: &Arc<Self>, unit: &Unit) {
        self.pinned().remove(unit);
        let name = unit.to_string();
        if self.views().remove(&name).is_none() {
            return;
        }
        let hands = self.clone();
        tokio::spawn(async move {
            let _one = hands.making.lock().await;
            // Taken up again meanwhile: it is in use.
            let used = hands.views().contains_key(&name);
            if let (false, Ok(store)) = (used, hands.store().await) {
                let scratch = hands.scratch_of(&name);
                blocking(move || {
                    store.drop_view(&name);
                    // What cannot be removed goes with the run.
                    let _ = std::fs::remove_dir_all(scratch);
                })
                .await;
            }
        });
    }

    /// What a unit reads that has no view of its own: a tree, or the user's own.
    async fn reading(&self, tree: Option<&str>) -> Result<View, String> {
        if let Some(tree) = tree {
            let (store, tree) = (self.store().await?, hash(tree)?);
            return blocking(move || store.reading(&tree)).await.map_err(|e| e.to_string());
        }
        let dir = self.workspace.clone();
        let opened = self.in_place.get_or_try_init(|| async { blocking(move || View::in_place(&dir)).await });
        opened.await.cloned().map_err(|e| e.to_string())
    }

    /// The tree of a unit's view, its contents kept so that it can be gone back to.
    ///
    /// # Errors
    /// Why the view cannot be read.
    pub async fn snapshot(&self, unit: &Unit) -> Result<String, String> {
        let view = self.view(unit, None).await?;
        blocking(move || view.snapshot()).await.map(|h| h.to_string()).map_err(|e| e.to_string())
    }

    /// What lies between two trees.
    ///
    /// # Errors
    /// Why a tree cannot be read.
    pub async fn changed(&self, from: &str, to: &str) -> Result<Changed, String> {
        if from == to {
            return Ok(Changed::default());
        }
        let patch = self.diff(from, to).await?;
        let mut paths = patch.paths().unwrap_or_default();
        paths.extend(patch.left_out.iter().map(|left| left.path.clone()));
        Ok(Changed { paths, lines: changed_lines(&patch.text) })
    }

    /// What has to change in one tree to make it the other.
    ///
    /// # Errors
    /// Why a tree cannot be read.
    pub async fn diff(&self, from: &str, to: &str) -> Result<Patch, String> {
        let (store, from, to) = (self.store().await?, hash(from)?, hash(to)?);
        blocking(move || store.diff(&from, &to)).await.map_err(|e| e.to_string())
    }

    /// The changes that lead from the workspace to a tree.
    ///
    /// # Errors
    /// Why the tree cannot be read.
    pub async fn patch(&self, tree: &str) -> Result<Patch, String> {
        let base = self.store().await?.base().to_string();
        self.diff(&base, tree).await
    }

    /// Excerpts of the files in a unit's read scope, as they stand in the tree it works on.
    pub async fn excerpts(&self, own: Option<&Unit>, tree: Option<&str>, globs: Vec<String>, limit_bytes: u64) -> Vec<(String, String)> {
        let view = match own {
            Some(unit) => self.view(unit, tree).await,
            None => self.reading(tree).await,
        };
        let Ok(view) = view else { return Vec::new() };
        blocking(move || excerpts(&view, &globs, limit_bytes)).await
    }

    /// Images in a unit's read scope, as they stand in the tree it works on.
    ///
    /// # Errors
    /// Which of them cannot be shown, and why.
    pub async fn pictures(
        &self,
        own: Option<&Unit>,
        tree: Option<&str>,
        files: &[String],
        images: Vec<String>,
    ) -> Result<Vec<(String, Picture)>, String> {
        let view = match own {
            Some(unit) => self.view(unit, tree).await,
            None => self.reading(tree).await,
        }?;
        let grant = Grant::new(&[], files, &[]).map_err(|e| e.to_string())?;
        blocking(move || brigade_tools::pictures(&view, &grant.scope, &images)).await
    }

    /// Calls a tool within a subtask's grant.
    pub async fn call(&self, unit: &Unit, spec: &Subtask, tree: Option<&str>, name: &str, arguments: &str) -> Brought {
        let pinned = self.pinned().get(unit).cloned();
        let view = if uses_view(spec) { self.view(unit, tree).await } else { self.reading(tree.or(pinned.as_deref())).await };
        let view = match view {
            Ok(view) => view,
            Err(why) => return ToolOutput::refused(why).into(),
        };
        let grant = match Grant::new(&spec.tools, &spec.files, &spec.writes) {
            Ok(grant) => grant,
            Err(refusal) => return ToolOutput::refused(refusal.to_string()).into(),
        };
        if name == "run_command" {
            if !grant.tools.contains(name) {
                return ToolOutput::refused(format!("{name} was not granted to this subtask")).into();
            }
            let ran = self.command(unit, &view, arguments).await;
            return if spec.grants(OPEN_OUTPUT) { ran } else { ran.closed("run it again with less output to see it") };
        }
        self.toolbox.call(&view, &grant, name, arguments).await
    }

    pub(crate) fn scratch_of(&self, name: &str) -> PathBuf {
        self.scratch_dir.join(Hash::of(name.as_bytes()).to_string())
    }

    fn place(&self, name: &str, view: &View) -> command::Place {
        // Without it build output stays in the sandbox's own /tmp.
        let scratch = self.scratch_of(name);
        let made = std::fs::create_dir_all(&scratch).is_ok();
        command::Place { view: view.clone(), scratch_dir: made.then_some(scratch), writable: true }
    }

    async fn command(&self, unit: &Unit, view: &View, arguments: &str) -> Brought {
        let sandbox = match &self.sandbox {
            Ok(sandbox) => sandbox,
            Err(why) => return ToolOutput::refused(why.clone()).into(),
        };
        let arguments = match serde_json::from_str(arguments) {
            Ok(arguments) => arguments,
            Err(e) => return ToolOutput::refused(format!("the arguments are no JSON: {e}")).into(),
        };
        match command::run_command(sandbox, &self.place(&unit.to_string(), view), &arguments).await {
            Ok(ran) => ran.brought(),
            Err(e) => ToolOutput::refused(e.to_string()).into(),
        }
    }

    /// Runs a check's command in a unit's view as it is on record (`tree`), and puts it back to that afterwards.
    pub async fn check(&self, unit: &Unit, argv: &[String], tree: Option<&str>) -> (Verdict, String) {
        let tree = match tree {
            Some(tree) => tree.to_owned(),
            None => match self.snapshot(unit).await {
                Ok(tree) => tree,
                Err(why) => return (Verdict::Unsure, why),
            },
        };
        self.check_in(unit.to_string(), argv, &tree).await
    }

    /// Runs a check's command on all work put together.
    pub async fn check_together(&self, argv: &[String], tree: &str) -> (Verdict, String) {
        self.check_in(TOGETHER.to_owned(), argv, tree).await
    }

    async fn check_in(&self, name: String, argv: &[String], tree: &str) -> (Verdict, String) {
        let sandbox = match &self.sandbox {
            Ok(sandbox) => sandbox,
            Err(why) => return (Verdict::Unsure, why.clone()),
        };
        // An engine that died in here may have left the by-products of its check.
        let set = {
            let _one = self.making.lock().await;
            self.set_alone(name.clone(), tree).await
        };
        let view = match set {
            Ok(view) => view,
            Err(why) => return (Verdict::Unsure, format!("the view could not be put in order for the check: {why}")),
        };
        hit("inside-check");
        let checked = command::check(sandbox, &self.place(&name, &view), argv, CHECK_TIME).await;
        hit("after-check-command");
        // By-products of a check are not part of the result.
        let back = match hash(tree) {
            Ok(tree) => blocking(move || view.restore(&tree)).await.map_err(|e| e.to_string()),
            Err(why) => Err(why),
        };
        if let Err(why) = back {
            return (Verdict::Unsure, format!("the view could not be put back after the check: {why}"));
        }
        match checked {
            Ok(checked) if checked.ok => (Verdict::Pass, checked.evidence),
            Ok(checked) => (Verdict::Fail, checked.evidence),
            Err(e) => (Verdict::Unsure, e.to_string()),
        }
    }

    /// Whether none of these files holds conflict markers any more.
    pub async fn markers(&self, unit: &Unit, tree: Option<&str>, files: Vec<String>) -> (Verdict, String) {
        let view = match self.view(unit, tree).await {
            Ok(view) => view,
            Err(why) => return (Verdict::Unsure, why),
        };
        let left = blocking(move || files.into_iter().flat_map(|path| crate::land::markers_in(&view, &path)).collect::<Vec<_>>()).await;
        if left.is_empty() {
            return (Verdict::Pass, String::new());
        }
        (Verdict::Fail, format!("These conflict markers are still there:\n{}", left.join("\n")))
    }
}

pub(crate) fn hash(tree: &str) -> Result<Hash, String> {
    Hash::parse(tree).ok_or_else(|| format!("{tree:?} is not a tree's hash"))
}

fn make(base: &Path, home: &Path) -> Result<Store, ViewError> {
    // Left half made by an engine that died: nothing in it is on record.
    let _ = brigade_tools::view::clear(home);
    Store::create(base, home)
}

pub(crate) async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act).await.expect("blocking work on files does not panic and is not cancelled")
}

/// Shared by the actions in flight.
pub type SharedHands = Arc<Hands>;
