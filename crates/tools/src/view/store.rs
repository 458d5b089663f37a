//! All views of one run, in one folder: the base's names, contents by hash, trees by name, and a folder for each view.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use serde::{Deserialize, Serialize};

use super::base::{Base, Surveyed, survey, workspace};
use super::delta::Delta;
use super::objects::{Objects, write_whole};
use super::stage::mask;
use super::{Inner, Layer, Turns, View, ViewError};
use crate::gate::{Beneath, Hash, Root};
use crate::patch::LeftOut;

/// The user's workspace as the base, and what differs from it. Cheap to clone; all clones are the same store.
#[derive(Debug, Clone)]
pub struct Store(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    home: PathBuf,
    meta: Meta,
    root: Arc<Root>,
    base: OnceLock<Arc<Base>>,
    /// What the base holds, by content; `None` inside where that is not known.
    content: OnceLock<Option<Hash>>,
    objects: Objects,
    /// Views in use, by the name of their folder.
    views: Mutex<HashMap<String, Weak<Inner>>>,
    /// Why commands get a copy instead of mounted layers.
    unmountable: OnceLock<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    workspace: PathBuf,
    id: String,
    as_git: bool,
    skipped: Vec<LeftOut>,
    unmountable: Option<String>,
}

impl Store {
    /// Makes the folder `home` for a workspace, which is looked at once and not copied.
    ///
    /// # Errors
    /// When it may not be a workspace or is over the limits, or `home` exists or lies inside it.
    pub fn create(from: &Path, home: &Path) -> Result<Self, ViewError> {
        let root = workspace(from)?;
        if let Some(parent) = home.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(|e| ViewError::io("make", parent, e))?;
        }
        fs::create_dir(home).map_err(|e| ViewError::io("make", home, e))?;
        let home = home.canonicalize().map_err(|e| ViewError::io("open", home, e))?;
        if home.starts_with(root.path()) {
            let _ = fs::remove_dir(&home);
            let why = "the views would lie inside it; set BRIGADE_HOME to a folder outside the workspace".to_owned();
            return Err(ViewError::Workspace { path: from.display().to_string(), why });
        }
        let surveyed: Surveyed = survey(&root)?;
        for folder in ["objects", "trees", "views", "nothing"] {
            let path = home.join(folder);
            fs::create_dir(&path).map_err(|e| ViewError::io("make", &path, e))?;
        }
        let unmountable = match &surveyed.foreign {
            Some(whose) => Some(format!("{whose}, not to whoever runs brigade")),
            None => mask(&home.join("mask"), surveyed.masked.iter().map(PathBuf::as_path))
                .err()
                .map(|e| format!("a whiteout cannot be made: {e}")),
        };
        let as_git = root.path().ancestors().any(|dir| dir.join(".git").exists());
        let id = surveyed.id();
        let meta = Meta { workspace: root.path().to_owned(), id: id.to_string(), as_git, skipped: surveyed.skipped, unmountable };
        write_whole(&home.join("base"), surveyed.text.as_bytes(), true)?;
        // Last: its presence says that the store is whole.
        write_whole(&home.join(META), &serde_json::to_vec(&meta).expect("plain strings always serialise"), true)?;
        Self::open(&home)
    }

    /// Opens a store made earlier.
    ///
    /// # Errors
    /// When it is not there or damaged, or the workspace has gone.
    pub fn open(home: &Path) -> Result<Self, ViewError> {
        let damaged = |why: &str| ViewError::Workspace { path: home.display().to_string(), why: why.to_owned() };
        let meta = fs::read(home.join(META)).map_err(|e| ViewError::io("open the views in", home, e))?;
        let meta: Meta = serde_json::from_slice(&meta).map_err(|_| damaged("its meta.json is damaged"))?;
        Hash::parse(&meta.id).ok_or_else(|| damaged("its meta.json is damaged"))?;
        let root = Arc::new(workspace(&meta.workspace)?);
        let unmountable = meta.unmountable.clone().map(OnceLock::from).unwrap_or_default();
        let objects = Objects::at(home.join("objects"));
        let views = Mutex::default();
        Ok(Self(Arc::new(Kept {
            home: home.to_owned(),
            meta,
            root,
            base: OnceLock::new(),
            content: OnceLock::new(),
            objects,
            views,
            unmountable,
        })))
    }

    /// Whether a whole store stands at `home`: one that was left half made counts as none.
    pub fn is_made(home: &Path) -> bool {
        home.join(META).exists()
    }

    /// The tree without changes.
    pub fn base(&self) -> Hash {
        Delta::default().name(&self.base_id())
    }

    /// A view of its own, standing at a tree; made, or, when there is one of that name in use, set back. Hold it while its subtask
    /// lives: once no clone is left its folder is made anew, without what commands left in ignored places.
    ///
    /// # Errors
    /// [`ViewError::NotRecorded`] when the tree is unknown or one of its contents is lost.
    pub fn view(&self, name: &str, at: &Hash) -> Result<View, ViewError> {
        self.named(&folder(name), at, true)
    }

    /// A view for somebody who only reads; views of the same tree share a folder, and the base needs none.
    ///
    /// # Errors
    /// As [`Store::view`].
    pub fn reading(&self, at: &Hash) -> Result<View, ViewError> {
        if *at == self.base() {
            return self.layered(&self.0.home.join("nothing"), None);
        }
        self.named(&format!("={at}"), at, false)
    }

    fn named(&self, folder: &str, at: &Hash, own: bool) -> Result<View, ViewError> {
        let mut views = self.0.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = views.get(folder).and_then(Weak::upgrade) {
            let view = View(inner);
            drop(views);
            if own {
                view.restore(at)?;
            }
            return Ok(view);
        }
        let home = self.0.home.join("views").join(folder);
        // What an earlier process left is not trusted: the tree's record says all.
        super::fold::clear(&home).map_err(|e| ViewError::io("clear", &home, e))?;
        let delta = home.join("delta");
        fs::create_dir_all(&delta).map_err(|e| ViewError::io("make", &delta, e))?;
        let view = self.layered(&delta, own.then(|| home.clone()))?;
        view.0.layer.as_ref().map_or(Ok(()), |layer| layer.set(&delta, at))?;
        views.retain(|_, inner| inner.strong_count() > 0);
        views.insert(folder.to_owned(), Arc::downgrade(&view.0));
        Ok(view)
    }

    fn layered(&self, delta: &Path, home: Option<PathBuf>) -> Result<View, ViewError> {
        let base = self.names()?;
        let state: Arc<RwLock<Delta>> = Arc::default();
        let seen_state = state.clone();
        let seen = Box::new(move |path: &str| {
            let state = seen_state.read().unwrap_or_else(PoisonError::into_inner);
            if base.holds(path) {
                return !state.changes.contains_key(path);
            }
            base.beneath(path).iter().any(|(name, _)| !state.changes.contains_key(name))
        });
        let root = Root::open(delta).map_err(|e| ViewError::io("open", delta, e))?;
        let root = root.over(Beneath { base: self.0.root.clone(), seen });
        let layer = Layer { store: self.clone(), home, state };
        Ok(View(Arc::new(Inner { root, layer: Some(layer), turn: Turns::default() })))
    }

    /// Forgets a view and its folder; trees recorded from it stay.
    pub fn drop_view(&self, name: &str) {
        let folder = folder(name);
        self.0.views.lock().unwrap_or_else(PoisonError::into_inner).remove(&folder);
        // What cannot be removed goes with the store.
        let _ = super::fold::clear(&self.0.home.join("views").join(folder));
    }

    pub(super) fn base_id(&self) -> Hash {
        Hash::parse(&self.0.meta.id).expect("read at the gate of `open`")
    }

    pub(super) fn skipped(&self) -> &[LeftOut] {
        &self.0.meta.skipped
    }

    pub(super) fn as_git(&self) -> bool {
        self.0.meta.as_git
    }

    pub(super) fn objects(&self) -> &Objects {
        &self.0.objects
    }

    pub(super) fn root(&self) -> &Arc<Root> {
        &self.0.root
    }

    pub(super) fn mask_dir(&self) -> PathBuf {
        self.0.home.join("mask")
    }

    /// Why commands of these views work on a copy; `None` while layers can be mounted as far as is known.
    pub fn unmountable(&self) -> Option<&str> {
        self.0.unmountable.get().map(String::as_str)
    }

    pub(super) fn found_unmountable(&self, why: String) {
        let _ = self.0.unmountable.set(why);
    }

    /// The base's names, read on first use.
    pub(super) fn names(&self) -> Result<Arc<Base>, ViewError> {
        if let Some(base) = self.0.base.get() {
            return Ok(base.clone());
        }
        let path = self.base_file();
        let text = fs::read_to_string(&path).map_err(|e| ViewError::io("read", &path, e))?;
        let damaged = || ViewError::Workspace { path: path.display().to_string(), why: "the list of its files is damaged".to_owned() };
        let whole = Hash::of(text.as_bytes()) == self.base_id();
        let base = Arc::new(Base::parse(&text).filter(|_| whole).ok_or_else(damaged)?);
        Ok(self.0.base.get_or_init(|| base).clone())
    }

    pub(super) fn base_content(&self) -> Option<&Hash> {
        self.0.content.get_or_init(|| self.read_base()).as_ref()
    }

    pub(super) fn base_file(&self) -> PathBuf {
        self.0.home.join("base")
    }

    pub(super) fn record(&self, delta: &Delta) -> Result<Hash, ViewError> {
        let text = delta.to_text(&self.base_id());
        let tree = Hash::of(text.as_bytes());
        let record = self.tree_file(&tree);
        if tree != self.base() && !record.exists() {
            write_whole(&record, text.as_bytes(), true)?;
        }
        Ok(tree)
    }

    pub(super) fn recorded(&self, tree: &Hash) -> Result<Delta, ViewError> {
        if *tree == self.base() {
            return Ok(Delta::default());
        }
        let lost = |why: &str| ViewError::NotRecorded { tree: *tree, why: why.to_owned() };
        let text = fs::read_to_string(self.tree_file(tree)).map_err(|_| lost("it was never recorded"))?;
        let whole = Hash::of(text.as_bytes()) == *tree;
        Delta::parse(&text, &self.base_id()).filter(|_| whole).ok_or_else(|| lost("its record is damaged"))
    }

    fn tree_file(&self, tree: &Hash) -> PathBuf {
        self.0.home.join("trees").join(tree.to_string())
    }
}

const META: &str = "meta.json";

/// A view's folder: its name where that is plain, else a hash of it.
fn folder(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if !name.is_empty() && name.len() <= 100 && name.bytes().all(plain) {
        name.to_owned()
    } else {
        format!("+{}", Hash::of(name.as_bytes()))
    }
}
