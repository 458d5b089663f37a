//! Patches at the user's tree: landed, and taken back; and what there is to count in them.

use std::path::Path;

use brigade_tools::gate::{RelPath, Root};
use brigade_tools::patch::LandError;
use brigade_tools::{Patch, Scope, View};

/// Most bytes of a file that is searched for conflict markers.
const MARKED_BYTES: u64 = 8 << 20;

/// Writes a patch to the user's tree: all of it, or nothing.
///
/// # Errors
/// Which files stand in the way.
pub fn apply(patch: &Patch, workspace: &Path) -> Result<Vec<String>, String> {
    let root = Root::open(workspace).map_err(|e| format!("cannot open {}: {e}", workspace.display()))?;
    patch.apply_to(&root, &Scope::whole()).map(|landed| landed.written).map_err(|e| e.to_string())
}

/// Takes a patch back out of the user's tree: all of it, or nothing where a file has changed since.
///
/// # Errors
/// Which files stand in the way.
pub fn undo(patch: &Patch, workspace: &Path) -> Result<Vec<String>, String> {
    let root = Root::open(workspace).map_err(|e| format!("cannot open {}: {e}", workspace.display()))?;
    match patch.reversed().apply_to(&root, &Scope::whole()) {
        Ok(landed) => Ok(landed.written),
        Err(LandError::Conflict { paths }) => {
            Err(format!("changed since the patch was applied, so nothing was taken back: {}", paths.join(", ")))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Changed lines of a patch; a line that was replaced counts once.
pub fn changed_lines(patch: &str) -> u64 {
    let (mut total, mut removed, mut added, mut inside) = (0, 0_u64, 0_u64, false);
    for line in patch.lines() {
        match line.as_bytes().first() {
            _ if line.starts_with("diff --git ") => inside = false,
            Some(b'@') => inside = true,
            Some(b'-') if inside => {
                removed += 1;
                continue;
            }
            Some(b'+') if inside => {
                added += 1;
                continue;
            }
            // "\ No newline at end of file" stands between the sides of one change.
            Some(b'\\') if inside => continue,
            _ => {}
        }
        total += removed.max(added);
        (removed, added) = (0, 0);
    }
    total + removed.max(added)
}

/// Conflict markers in a file of a view, one line each: `path:line: marker`.
pub(crate) fn markers_in(view: &View, path: &str) -> Vec<String> {
    let Ok(path) = RelPath::new(path) else { return Vec::new() };
    // Removed: nothing is left in it.
    let Ok(bytes) = view.root().read(&Scope::whole(), &path, MARKED_BYTES) else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes);
    let marks = |line: &&str| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ");
    text.lines().enumerate().filter(|(_, line)| marks(line)).map(|(n, line)| format!("{path}:{}: {line}", n + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_line_counts_once() {
        let patch =
            "diff --git a/f b/f\nindex 1..2\n--- a/f\n+++ b/f\n@@ -1,4 +1,4 @@\n-a\n+b\n c\n-d\n-e\n+f\n\\ No newline at end of file\n";
        assert_eq!(changed_lines(patch), 3);
        assert_eq!(changed_lines(&format!("{patch}{patch}")), 6);
        assert_eq!(changed_lines(""), 0);
    }
}
