//! What a run's files hold, by content: so that equal work is known in another run, and what it made is taken over from there.

use brigade_kernel::ids::RunId;
use brigade_kernel::run::Unit;

use crate::hands::{Hands, blocking, hash};

impl Hands {
    /// A hash over what a tree holds, or the workspace as it was; `None` where that is not known.
    pub(crate) async fn content_of(&self, tree: Option<&str>) -> Option<String> {
        let store = self.store().await.ok()?;
        let tree = tree.map_or_else(|| Ok(store.base()), hash).ok()?;
        blocking(move || store.content_of(&tree)).await.ok()?.map(|content| content.to_string())
    }

    /// From here on this unit reads the workspace as views do: nothing that is not part of its content.
    pub(crate) async fn pin(&self, unit: &Unit) -> Option<()> {
        let base = self.store().await.ok()?.base().to_string();
        self.pinned().insert(unit.clone(), base);
        Some(())
    }

    /// Whether the workspace still is as it was when the run first looked at it.
    pub(crate) async fn is_fresh(&self) -> bool {
        let Ok(store) = self.store().await else { return false };
        blocking(move || store.is_fresh()).await
    }

    /// Takes over a tree that another run of the home recorded, of a workspace with the same content.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) async fn adopt(&self, run: &RunId, tree: &str) -> Result<String, String> {
        let (store, tree) = (self.store().await?, hash(tree)?);
        let home = self.beside(run);
        blocking(move || store.adopt(&home, &tree)).await.map(|tree| tree.to_string()).map_err(|e| e.to_string())
    }
}
