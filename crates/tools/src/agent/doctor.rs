//! Which known agents are on this machine, and whether they are logged in; nothing is asked of any provider.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::find::{Found, find};
use super::preset::{Preset, known, preset};
use crate::sandbox::{Profile, Sandbox, Spec};

/// How long it may take to say its version.
const PATIENCE: Duration = Duration::from_secs(20);

/// A known agent that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name among the known ones.
    pub agent: &'static str,
    /// The provider of the catalog whose models it runs.
    pub vendor: &'static str,
    /// Where it lies.
    pub found: Found,
    /// What holds its login: a file of its home, or a variable.
    pub login: Option<String>,
    /// Whether the login is a key that is billed by the token; else a subscription pays.
    pub by_key: bool,
}

/// The known agents on PATH.
pub fn seen(env: &BTreeMap<String, String>) -> Vec<Seen> {
    let path = env.get("PATH").map_or("", String::as_str);
    let look = |agent: &'static str| {
        let preset = preset(agent)?;
        let found = find(preset.command.first()?, path)?;
        let set = preset.env.iter().find(|name| env.get(*name).is_some_and(|value| !value.trim().is_empty()));
        let file = login_dir(preset, env).and_then(|dir| preset.home_files.iter().map(|name| dir.join(name)).find(|file| file.is_file()));
        let by_key = file.is_none() && set.is_some_and(|name| name.ends_with("_API_KEY"));
        let login = file.map(|file| file.display().to_string()).or_else(|| set.cloned());
        Some(Seen { agent, vendor: preset.vendor.as_deref()?, found, login, by_key })
    };
    known().filter_map(look).collect()
}

/// Where the user's login of an agent lies.
pub(super) fn login_dir(preset: &Preset, env: &BTreeMap<String, String>) -> Option<PathBuf> {
    let named = preset.home_env.as_ref().and_then(|name| env.get(name)).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(env.get("HOME")?).join(preset.home.as_ref()?)))
}

/// What a program says of its version, in the sandbox and without network.
///
/// # Errors
/// Why it says nothing.
pub async fn version(found: &Found) -> Result<String, String> {
    let mut profile = Profile::from_env();
    profile.read_only.push(found.shown.clone());
    let sandbox = Sandbox::new(&profile).map_err(|e| e.to_string())?;
    let program = found.program.to_str().ok_or("its path is not UTF-8")?;
    // Any folder will do: it is shown read-only, and nothing in it is of interest.
    let spec = Spec { writable: false, timeout: PATIENCE, ..Spec::new("/usr/lib", [program, "--version"]) };
    let finished = sandbox.run(spec).await.map_err(|e| e.to_string())?;
    let text = finished.stdout.text();
    let line = text.lines().rev().find(|line| line.chars().any(|c| c.is_ascii_digit())).unwrap_or_default();
    match finished.status.success() && !line.is_empty() {
        true => Ok(crate::escape_for_screen(line).chars().take(80).collect()),
        false => {
            Err(format!("it does not say its version: {}", crate::escape_for_screen(text.trim()).chars().take(200).collect::<String>()))
        }
    }
}
