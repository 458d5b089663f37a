//! What a workspace says to agents: `AGENTS.md` from its root down, role files, brigade's own settings.
//!
//! Files are read through the gate, within limits, and never fail a run: what cannot be read is said. Reading trusts
//! nothing; whom a person trusts is in [`Trust`]. Read first: [`chain`].

mod trust;

use std::path::Path;

use brigade_kernel::context::Instructions;
use brigade_kernel::context::chain::ALLOWANCE;

use crate::gate::{Hash, Refusal, RelPath, Root, Scope};
use crate::search;
use crate::view::View;

pub use trust::{Standing, Trust, TrustError};

/// The name of an instruction file.
pub const NAME: &str = "AGENTS.md";
/// brigade's settings of a workspace.
pub const SETTINGS: &str = ".brigade/config.toml";
/// Folders of role files, and how those end.
pub const ROLE_FOLDERS: [(&str, &str); 4] =
    [(".agents/agents", ".md"), (".agents/agents", ".toml"), (".claude/agents", ".md"), (".codex/agents", ".toml")];
/// Where prompts may stand that the settings name.
const PROMPTS: &str = ".brigade/prompts";

/// Largest file taken; more than any prompt shows, so that a report can say how much.
const FILE_BYTES: u64 = 1 << 20;
/// Instruction files taken, the outermost first.
const MOST_FILES: usize = 256;
/// Folders between the root and an instruction file.
const MOST_DEPTH: usize = 16;
/// Files taken of each other kind.
const MOST_ROLES: usize = 64;
/// Text of all instruction files that a run keeps.
const CHAIN_BYTES: usize = 1 << 20;

/// What kind of file it is, which says what it may do once it is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Instructions, and the root's agent configuration.
    Instructions,
    /// Settings.
    Settings,
    /// A prompt that settings name.
    Prompt,
    /// A role.
    Role,
}

/// A file as it stands in the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Relative to the workspace.
    pub path: String,
    /// Its kind.
    pub kind: Kind,
    /// Hash of its bytes.
    pub hash: Hash,
    /// Its text.
    pub text: String,
}

/// Everything a workspace says to agents, and what of it could not be read, one line each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Instructions first, from the root down; each file once.
    pub files: Vec<Read>,
    /// Left out, and why.
    pub faults: Vec<String>,
}

/// Reads all of it.
pub fn find(workspace: &Path) -> Found {
    let mut found = Found::default();
    // A folder that cannot be a workspace is refused where a run needs it.
    let Ok(view) = View::in_place(workspace) else { return found };
    let mut paths = vec![(NAME.to_owned(), Kind::Instructions)];
    let (inner, whole) = search::named(&view, NAME);
    if !whole {
        found.faults.push(format!("the workspace is too large to look at every folder: instructions deep in it ({NAME}) may be left out"));
    }
    let mut inner: Vec<String> = inner.into_iter().filter(|path| path != NAME && path.matches('/').count() <= MOST_DEPTH).collect();
    inner.sort_by(|a, b| (a.matches('/').count(), a).cmp(&(b.matches('/').count(), b)));
    if inner.len() >= MOST_FILES {
        found.faults.push(format!("{} files {NAME}: the {MOST_FILES} nearest to the root are read", inner.len() + 1));
        inner.truncate(MOST_FILES - 1);
    }
    paths.extend(inner.into_iter().map(|path| (path, Kind::Instructions)));
    paths.push((SETTINGS.to_owned(), Kind::Settings));
    for (folder, ending, kind) in [(PROMPTS, ".md", Kind::Prompt)].into_iter().chain(ROLE_FOLDERS.map(|(f, e)| (f, e, Kind::Role))) {
        let names = names(workspace, folder, ending);
        if names.len() > MOST_ROLES {
            found.faults.push(format!("{folder} holds {} files *{ending}: the first {MOST_ROLES} by name are read", names.len()));
        }
        paths.extend(names.into_iter().take(MOST_ROLES).map(|name| (format!("{folder}/{name}"), kind)));
    }
    for (path, kind) in paths {
        match read(view.root(), &path, kind) {
            Ok(read) => found.files.push(read),
            Err(Refusal::Absent { .. }) => {}
            Err(why) => found.faults.push(format!("left out: {why}")),
        }
    }
    found
}

fn read(root: &Root, path: &str, kind: Kind) -> Result<Read, Refusal> {
    let rel = RelPath::new(path)?;
    let bytes = match root.read(&Scope::whole(), &rel, FILE_BYTES) {
        // A file where a folder is expected: nothing of ours.
        Err(Refusal::BadPath { .. }) => return Err(Refusal::Absent { path: path.to_owned() }),
        other => other?,
    };
    let hash = Hash::of(&bytes);
    let no_text = || Refusal::NotRegular { path: path.to_owned(), kind: "no UTF-8 text" };
    let text = String::from_utf8(bytes).map_err(|_| no_text())?;
    if text.contains('\0') {
        return Err(no_text());
    }
    let text = text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned);
    Ok(Read { path: path.to_owned(), kind, hash, text })
}

/// Names in one folder, sorted; what they lead to is for the gate to say.
fn names(workspace: &Path, folder: &str, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(workspace.join(folder)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(ending) && !name.starts_with('.') && !name.chars().any(char::is_control));
    names.sort();
    names
}

impl Found {
    /// The instruction files as a run keeps them: as much of each as a prompt may show, and `trusted` of each.
    /// The second part says what of them no prompt will show, one line a file.
    pub fn chain(&self, trusted: impl Fn(&Read) -> bool) -> (Vec<Instructions>, Vec<String>) {
        let (mut chain, mut cuts, mut room) = (Vec::new(), Vec::new(), CHAIN_BYTES);
        for file in self.files.iter().filter(|file| file.kind == Kind::Instructions && !file.text.trim().is_empty()) {
            let trusted = trusted(file);
            // What nobody has looked at may steer unseen.
            let text = if trusted { file.text.clone() } else { crate::escape_for_screen(&file.text).into_owned() };
            let mut end = text.len().min(ALLOWANCE).min(room);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            room -= end;
            if end < text.len() {
                cuts.push(format!(
                    "{}: {} of its {} bytes are cut, a prompt shows at most {ALLOWANCE}",
                    file.path,
                    text.len() - end,
                    text.len()
                ));
            }
            chain.push(Instructions {
                path: file.path.clone(),
                sha256: file.hash.to_string(),
                trusted,
                bytes: text.len() as u64,
                text: text[..end].to_owned(),
            });
        }
        (chain, cuts)
    }
}

#[cfg(test)]
mod tests;
