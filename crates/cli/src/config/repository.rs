//! A workspace's own files as layers of configuration: what stands there, what of it a person trusts, what it does.
//!
//! Nothing counts before `brigade trust`; what does not count is said, once a run, with the remedy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use brigade_kernel::context::Instructions;
use brigade_tools::instructions::{Found, Kind, Read, Standing, Trust, find};

use super::agents::{self, Effect, Ground, Line};
use super::{File, roles};
use crate::exit::chain;

/// The files of one workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repository {
    /// The workspace.
    pub root: PathBuf,
    /// What stands there.
    pub found: Found,
    trusted: BTreeSet<String>,
    changed: BTreeSet<String>,
}

impl Repository {
    /// Looks at a workspace with what the home trusts of it.
    ///
    /// # Errors
    /// A list of trust that cannot be read, in words.
    pub fn look(root: &Path, home: Option<&Path>) -> Result<Self, String> {
        let found = find(root);
        let mut seen = Self { root: root.to_owned(), found, ..Self::default() };
        let Some(home) = home.filter(|_| !seen.found.files.is_empty()) else { return Ok(seen) };
        let trust = Trust::of(home, root).map_err(|e| chain(&e))?;
        for file in &seen.found.files {
            match trust.standing(file) {
                Standing::Trusted => drop(seen.trusted.insert(file.path.clone())),
                Standing::Changed(_) => drop(seen.changed.insert(file.path.clone())),
                Standing::Untrusted => {}
            }
        }
        Ok(seen)
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)], trusted: &[&str]) -> Self {
        let kind = |path: &str| match path {
            "AGENTS.md" => Kind::Instructions,
            brigade_tools::instructions::SETTINGS => Kind::Settings,
            path if path.starts_with(".brigade/") => Kind::Prompt,
            path if path.ends_with("/AGENTS.md") => Kind::Instructions,
            _ => Kind::Role,
        };
        let read = |(path, text): &(&str, &str)| {
            let hash = brigade_tools::gate::Hash::of(text.as_bytes());
            Read { path: (*path).to_owned(), kind: kind(path), hash, text: (*text).to_owned() }
        };
        let found = Found { files: files.iter().map(read).collect(), faults: Vec::new() };
        let trusted = trusted.iter().map(|path| (*path).to_owned()).collect();
        Self { root: PathBuf::from("w"), found, trusted, changed: BTreeSet::new() }
    }

    /// Whether a person trusts a file as it stands.
    pub fn trusts(&self, file: &Read) -> bool {
        self.trusted.contains(&file.path)
    }

    /// Whether there is anything that may set something.
    pub(super) fn trusts_any(&self) -> bool {
        !self.trusted.is_empty()
    }

    fn trusted(&self, kind: Kind) -> impl Iterator<Item = &Read> {
        self.found.files.iter().filter(move |file| file.kind == kind && self.trusts(file))
    }

    /// Its settings, once trusted.
    pub(super) fn settings(&self) -> Option<File> {
        let file = self.trusted(Kind::Settings).next()?;
        Some(File { path: self.root.join(&file.path), text: file.text.clone() })
    }

    /// A prompt that its settings name, by the path written there.
    pub(super) fn prompt(&self, path: &str) -> Result<String, String> {
        let path = format!(".brigade/{}", path.trim_start_matches("./"));
        let file = self.found.files.iter().find(|file| file.kind == Kind::Prompt && file.path == path);
        match file {
            Some(file) if self.trusts(file) => Ok(file.text.clone()),
            Some(_) => Err(format!("{path} is not trusted: brigade trust")),
            None => Err("a workspace's prompts are files prompts/*.md beside its config.toml".to_owned()),
        }
    }

    /// What its agent configuration and its role files ask for, weakest first, and roles bound to nothing as a text.
    pub(super) fn lines(&self, ground: &Ground<'_>) -> (Vec<Line>, String) {
        let (mut lines, mut unbound) = (Vec::new(), String::new());
        for file in self.trusted(Kind::Role) {
            match roles::read(file, ground) {
                Ok(role) => {
                    if role.who.is_none() {
                        unbound.push_str(&format!("{} ({}): {}\n", role.name, file.path, role.description));
                    }
                    lines.extend(role.lines);
                }
                Err(why) => {
                    lines.push(Line { path: file.path.clone(), line: 1, says: String::new(), effects: vec![Effect::Refused(why)] });
                }
            }
        }
        for file in self.trusted(Kind::Instructions) {
            let inner = file.path.contains('/');
            let read = agents::read(&file.path, &file.text, ground);
            lines.extend(read.into_iter().map(|mut line| {
                if inner {
                    line.effects = vec![Effect::Refused("only the agent configuration of the root's AGENTS.md counts".to_owned())];
                }
                line
            }));
        }
        (lines, unbound)
    }

    /// The instructions as a run keeps them.
    pub fn chain(&self) -> Vec<Instructions> {
        self.found.chain(|file| self.trusts(file)).0
    }

    /// What a person should know before a run, one line each.
    pub fn notices(&self) -> Vec<String> {
        let mut notices: Vec<String> = self.found.faults.clone();
        notices.extend(self.found.chain(|file| self.trusts(file)).1);
        let name = |file: &Read| {
            let changed = if self.changed.contains(&file.path) { " (changed since it was trusted)" } else { "" };
            let speaks = if file.kind == Kind::Instructions && agents::speaks(&file.text) { " with its agent configuration" } else { "" };
            format!("{}{speaks}{changed}", file.path)
        };
        let not = |instructs: bool| {
            let stray = |file: &&Read| !self.trusts(file) && (file.kind == Kind::Instructions) == instructs;
            let names: Vec<String> = self.found.files.iter().filter(stray).map(name).collect();
            let more = names.len().saturating_sub(MOST_NAMED);
            let shown = names.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
            if more > 0 { format!("{shown} and {more} more") } else { shown }
        };
        for (instructs, what) in [(true, "models read it as material, not as instructions, and it sets nothing"), (false, "ignored")] {
            let names = not(instructs);
            if !names.is_empty() {
                notices.push(format!("not trusted: {names}: {what}; look at it and: brigade trust"));
            }
        }
        notices
    }
}

/// Files named in one notice.
const MOST_NAMED: usize = 6;

/// What lines do not do, as notices: each refusal by itself, what is not understood in one.
pub(super) fn about(lines: &[Line]) -> Vec<String> {
    let mut notices = Vec::new();
    let mut idle: Vec<String> = Vec::new();
    for line in lines {
        for effect in &line.effects {
            match effect {
                Effect::Refused(why) => notices.push(format!("{}:{}: {why}", line.path, line.line)),
                Effect::NotUnderstood(_) => idle.push(format!("{}:{}", line.path, line.line)),
                Effect::Sets(..) | Effect::Always(_) => {}
            }
        }
    }
    idle.dedup();
    if !idle.is_empty() {
        let (shown, more) = (idle.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", "), idle.len().saturating_sub(MOST_NAMED));
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        notices.push(format!("not understood, does nothing: {shown}{more}; why: brigade config show --origin"));
    }
    notices
}
