//! A patch laid on the last commit as a git branch: through an index of its own, so that neither the work tree nor the
//! user's index is touched. No hook, no filter and no program of the repository's configuration runs.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::patch::Patch;

/// Whether a folder is inside a git work tree.
///
/// # Errors
/// Why no branch can be made there, and what to do instead.
pub fn check(workspace: &Path) -> Result<(), String> {
    let inside = git(workspace, &["rev-parse", "--is-inside-work-tree"], None, None);
    match inside.as_deref() {
        Ok("true") => Ok(()),
        _ => Err(format!("{} is not inside a git work tree", workspace.display())),
    }
}

/// Makes the branch `name` of the last commit with the patch on it. Returns the commit.
///
/// # Errors
/// In git's words: the branch is there already, or the patch was made on changes that are not committed.
pub fn make(workspace: &Path, name: &str, patch: &Patch, message: &str) -> Result<String, String> {
    check(workspace)?;
    let top = git(workspace, &["rev-parse", "--show-toplevel"], None, None)?;
    let prefix = git(workspace, &["rev-parse", "--show-prefix"], None, None)?;
    let top = Path::new(&top);
    let dir = tempfile::tempdir().map_err(|e| format!("cannot make a folder for the index: {e}"))?;
    let index = dir.path().join("index");
    let head = git(top, &["rev-parse", "--verify", "-q", "HEAD^{commit}"], None, None).ok();
    git(top, &["read-tree", head.as_deref().unwrap_or("--empty")], Some(&index), None)?;
    let at = format!("--directory={}", prefix.trim_end_matches('/'));
    let mut apply = vec!["apply", "--cached", "--whitespace=nowarn"];
    if !prefix.is_empty() {
        apply.push(&at);
    }
    apply.push("-");
    git(top, &apply, Some(&index), Some(&patch.text))
        .map_err(|why| format!("the patch does not fit the last commit (it was made on what is not committed yet?): {why}"))?;
    let tree = git(top, &["write-tree"], Some(&index), None)?;
    let mut commit = vec!["commit-tree", &tree];
    if let Some(head) = &head {
        commit.extend(["-p", head]);
    }
    commit.extend(["-F", "-"]);
    let commit = git(top, &commit, Some(&index), Some(message))?;
    // An old value of nothing: a branch that is there already stays as it is.
    let none = "0".repeat(commit.len());
    git(top, &["update-ref", &format!("refs/heads/{name}"), &commit, &none], None, None)
        .map_err(|why| format!("the branch {name} cannot be made: {why}"))?;
    Ok(commit)
}

#[expect(clippy::disallowed_methods, reason = "git itself, on its own objects; nothing of the workspace is run")]
fn git(dir: &Path, arguments: &[&str], index: Option<&Path>, input: Option<&str>) -> Result<String, String> {
    let mut command = Command::new("git");
    command.args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "commit.gpgSign=false"]);
    command.args(arguments).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "brigade").env(format!("GIT_{role}_EMAIL"), "brigade@localhost");
    }
    if let Some(index) = index {
        command.env("GIT_INDEX_FILE", index);
    }
    let mut child = command.spawn().map_err(|e| format!("git cannot be started: {e}"))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A git that has ended says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let ended = child.wait_with_output().map_err(|e| format!("git did not end: {e}"))?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).trim_end().to_owned());
    }
    let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
    Err(if said.is_empty() { format!("git {} failed", arguments.first().unwrap_or(&"")) } else { said })
}
