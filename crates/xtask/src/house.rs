//! What cargo knows about the workspace: where it stands, and its own crates.

use std::path::PathBuf;

use serde_json::Value;

use crate::process;

/// A crate of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub name: String,
    /// Whether documentation tests can exist in it.
    pub library: bool,
    pub benches: Vec<String>,
}

/// Where the workspace stands: two folders above xtask, as cargo says at run time.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    here.and_then(|here| here.ancestors().nth(2).map(PathBuf::from)).unwrap_or_else(|| PathBuf::from("."))
}

/// The crates of the workspace.
///
/// # Errors
/// What cargo says is wrong with the manifests.
pub fn rooms() -> Result<Vec<Room>, String> {
    let metadata = process::cargo_output(&["metadata", "--format-version", "1", "--no-deps"])?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    Ok(list(&metadata["packages"]).iter().map(room).collect())
}

fn room(package: &Value) -> Room {
    let targets = list(&package["targets"]);
    let of_kind =
        |kind: &str| targets.iter().filter(|target| list(&target["kind"]).iter().any(|k| k == kind)).map(name).collect::<Vec<_>>();
    Room { name: name(package), library: !of_kind("lib").is_empty(), benches: of_kind("bench") }
}

/// The items of a JSON array; of anything else, none.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn name(thing: &Value) -> String {
    thing["name"].as_str().unwrap_or_default().to_owned()
}
