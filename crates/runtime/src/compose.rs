//! Accepted changes laid onto the base, for a unit that starts from some of them or for the run as a whole.

use brigade_kernel::run::{Conflict, Part, Side, Unit};
use brigade_tools::gate::Hash;
use brigade_tools::view;

use crate::hands::{Hands, blocking};

/// Most bytes of one side's diff that a merge is shown.
const DIFF_BYTES: usize = 64 << 10;

/// What came of laying parts onto the base.
#[derive(Debug)]
pub struct Laid {
    /// The tree.
    pub tree: String,
    /// What did not fit together.
    pub conflicts: Vec<Conflict>,
    /// The sides of the conflicts.
    pub sides: Vec<Side>,
}

impl Hands {
    /// Lays parts onto the base, in their order.
    ///
    /// # Errors
    /// Which tree cannot be read.
    pub async fn compose(&self, parts: &[Part]) -> Result<Laid, String> {
        let store = self.store().await?;
        let base = store.base();
        let parsed = |text: &str| Hash::parse(text).ok_or_else(|| format!("{text:?} is not a tree's hash"));
        let named = |(n, part): (usize, &Part)| {
            let from = part.from.as_deref().map_or(Ok(base), parsed)?;
            // Labels stand beside the markers: a unit has two of them when it mended what was composed.
            let label = if parts[..n].iter().any(|p| p.unit == part.unit) { format!("{} ({n})", part.unit) } else { part.unit.to_string() };
            Ok::<_, String>(view::Part { label, from, to: parsed(&part.to)? })
        };
        let laid = parts.iter().enumerate().map(named).collect::<Result<Vec<_>, _>>()?;
        let labels: Vec<String> = laid.iter().map(|part| part.label.clone()).collect();
        let composed = blocking(move || store.compose(&laid)).await.map_err(|e| e.to_string())?;
        let part_of = |label: &str| labels.iter().position(|l| l == label).map(|n| &parts[n]);
        let mut conflicts = Vec::new();
        let mut sides: Vec<Side> = Vec::new();
        for found in composed.conflicts {
            let Some(second) = part_of(&found.second).or_else(|| parts.last()) else { continue };
            let first = part_of(&found.first).unwrap_or(second);
            for part in [first, second] {
                self.add_side(part, &found.path, &mut sides, &base).await;
            }
            let unit = |part: &Part| -> Unit { part.unit.clone() };
            conflicts.push(Conflict { path: found.path, first: unit(first), second: unit(second) });
        }
        Ok(Laid { tree: composed.tree.to_string(), conflicts, sides })
    }

    /// Adds what a part did to one file to its side of the conflicts.
    async fn add_side(&self, part: &Part, path: &str, sides: &mut Vec<Side>, base: &Hash) {
        let from = part.from.clone().unwrap_or_else(|| base.to_string());
        let text = match self.diff(&from, &part.to).await {
            Ok(patch) => of_file(&patch.text, path),
            Err(why) => format!("[its changes cannot be shown: {why}]\n"),
        };
        let n = sides.iter().position(|side| side.unit == part.unit).unwrap_or_else(|| {
            sides.push(Side { unit: part.unit.clone(), diff: String::new() });
            sides.len() - 1
        });
        let side = &mut sides[n];
        if side.diff.len() + text.len() <= DIFF_BYTES && !side.diff.contains(&text) {
            side.diff.push_str(&text);
        }
    }
}

/// The part of a patch that is about one file.
fn of_file(patch: &str, path: &str) -> String {
    let name = format!("b/{path}");
    let mut text = String::new();
    let mut wanted = false;
    for line in patch.split_inclusive('\n') {
        if let Some(names) = line.strip_prefix("diff --git ") {
            wanted = names.trim_end().trim_end_matches('"').ends_with(&name);
        }
        if wanted {
            text.push_str(line);
        }
    }
    text
}
