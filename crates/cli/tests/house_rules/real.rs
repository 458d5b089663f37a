//! The house as it stands: what git tracks or would, and what cargo resolves.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::arrows::Arrow;

/// One file of the house.
#[derive(Debug)]
pub struct File {
    /// From the workspace root, with `/`.
    pub path: String,
    pub text: String,
}

/// The workspace.
#[derive(Debug)]
pub struct House {
    root: PathBuf,
    /// Files that hold text, lock file aside.
    files: Vec<File>,
}

impl House {
    /// Reads every text file that git tracks, or would once added.
    pub fn look() -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let listed = output("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"], &root);
        let mut paths: Vec<&str> = listed.split('\0').filter(|path| !path.is_empty() && *path != "Cargo.lock").collect();
        paths.sort_unstable();
        paths.dedup();
        // what is not text, or deleted and not yet committed, has nothing to say
        let read = |path: &&str| Some(File { path: (*path).to_owned(), text: fs::read_to_string(root.join(path)).ok()? });
        let files: Vec<File> = paths.iter().filter_map(read).collect();
        assert!(files.iter().any(|file| file.path == "crates/kernel/src/lib.rs"), "git lists no sources: is this a checkout?");
        Self { root, files }
    }

    /// A file's text; empty when it is missing.
    pub fn read(&self, path: &str) -> String {
        self.files.iter().find(|file| file.path == path).map(|file| file.text.clone()).unwrap_or_default()
    }

    /// Every text file's path.
    pub fn paths(&self) -> Vec<&str> {
        self.files.iter().map(|file| file.path.as_str()).collect()
    }

    /// Folders under `crates/`.
    pub fn crates(&self) -> Vec<String> {
        let manifest = |file: &File| Some(file.path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?.to_owned());
        self.files.iter().filter_map(manifest).collect()
    }

    /// What a rule finds in all texts.
    pub fn each_text(&self, rule: fn(&File) -> Vec<String>) -> Vec<String> {
        self.files.iter().flat_map(rule).collect()
    }

    /// What a rule finds in our Rust files; examples' workspaces and sample data are not ours.
    pub fn each_source(&self, rule: fn(&File) -> Vec<String>) -> Vec<String> {
        self.files.iter().filter(|file| file.path.starts_with("crates/") && file.path.ends_with(".rs")).flat_map(rule).collect()
    }

    /// Who uses whom among the crates, as cargo resolves it: renames and features cannot hide an arrow.
    pub fn arrows(&self) -> Vec<Arrow> {
        let metadata = output("cargo", &["metadata", "--format-version", "1", "--all-features"], &self.root);
        let metadata: Value = serde_json::from_str(&metadata).expect("cargo metadata prints JSON");
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let short = |id: &Value| {
            let package = list(&metadata["packages"]).into_iter().find(|package| package["id"] == *id)?;
            let name = package["name"].as_str()?.to_owned();
            Some(name.strip_prefix("brigade-").map_or(name.clone(), str::to_owned))
        };
        let members = list(&metadata["workspace_members"]);
        let mut arrows = Vec::new();
        for node in list(&metadata["resolve"]["nodes"]).iter().filter(|node| members.contains(&node["id"])) {
            for dependency in list(&node["deps"]).iter().filter(|dependency| members.contains(&dependency["pkg"])) {
                let (Some(from), Some(to)) = (short(&node["id"]), short(&dependency["pkg"])) else { continue };
                let tests_only = list(&dependency["dep_kinds"]).iter().all(|kind| kind["kind"] == "dev");
                arrows.push(Arrow { from, to, tests_only });
            }
        }
        assert!(!arrows.is_empty(), "cargo metadata shows no arrows at all: the rule would hold for nothing");
        arrows
    }
}

#[expect(clippy::disallowed_methods, reason = "asks cargo and git about this house; nothing here comes from outside")]
fn output(program: &str, arguments: &[&str], root: &PathBuf) -> String {
    let ended = Command::new(program).args(arguments).current_dir(root).output();
    let ended = ended.unwrap_or_else(|error| panic!("{program} is needed to look at the house: {error}"));
    assert!(ended.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).expect("paths of this house are UTF-8")
}
