//! What ignore files say of a name, for trees that stand in no one folder. The matching is that of the crate `ignore`; the order in
//! which its matchers are asked is that of its walk: nearest folder first, `.rgignore` before `.ignore` before `.gitignore`.

use std::collections::HashMap;
use std::rc::Rc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Where the tree is imagined to stand: matchers want absolute paths.
pub(super) const AT: &str = "/w";

/// What the ignore files say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Nothing,
    Ignored,
    Wanted,
}

/// The ignore files of a tree, read when they are needed.
pub(crate) struct Rules<'a> {
    read: Box<Read<'a>>,
    /// Names of ignore files, strongest first.
    names: &'static [&'static str],
    /// Matchers from a folder up to the root, per strength; folders without any share their parent's.
    folders: HashMap<String, Rc<Chain>>,
}

type Read<'a> = dyn Fn(&str) -> Option<Vec<u8>> + 'a;
type Chain = Vec<Vec<Rc<Gitignore>>>;

pub(crate) const RIPGREP: &[&str] = &[".rgignore", ".ignore", ".gitignore"];
pub(crate) const RIPGREP_NO_GIT: &[&str] = &[".rgignore", ".ignore"];
/// What decides whether a file counts as the workspace's content.
pub(crate) const CONTENT: &[&str] = &[".ignore", ".gitignore"];

impl<'a> Rules<'a> {
    pub fn new(names: &'static [&'static str], read: impl Fn(&str) -> Option<Vec<u8>> + 'a) -> Self {
        Self { read: Box::new(read), names, folders: HashMap::new() }
    }

    /// What is said of this very name; a folder above it may be ignored all the same.
    pub fn say(&mut self, path: &str, is_folder: bool) -> Said {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let chain = self.chain(folder);
        if chain.iter().all(Vec::is_empty) {
            return Said::Nothing;
        }
        let full = format!("{AT}/{path}");
        for matchers in chain.iter() {
            for matcher in matchers {
                match matcher.matched(&full, is_folder) {
                    Match::None => {}
                    Match::Ignore(_) => return Said::Ignored,
                    Match::Whitelist(_) => return Said::Wanted,
                }
            }
        }
        Said::Nothing
    }

    fn chain(&mut self, folder: &str) -> Rc<Chain> {
        if let Some(chain) = self.folders.get(folder) {
            return chain.clone();
        }
        let above = match folder.rsplit_once('/') {
            Some((above, _)) => self.chain(above),
            None if folder.is_empty() => Rc::new(vec![Vec::new(); self.names.len()]),
            None => self.chain(""),
        };
        let mut own: Option<Chain> = None;
        for (strength, name) in self.names.iter().enumerate() {
            let path = if folder.is_empty() { (*name).to_owned() } else { format!("{folder}/{name}") };
            if let Some(text) = (self.read)(&path) {
                let at = if folder.is_empty() { AT.to_owned() } else { format!("{AT}/{folder}") };
                own.get_or_insert_with(|| (*above).clone())[strength].insert(0, Rc::new(matcher(&at, &text)));
            }
        }
        let chain = own.map_or(above, Rc::new);
        self.folders.insert(folder.to_owned(), chain.clone());
        chain
    }
}

fn matcher(at: &str, text: &[u8]) -> Gitignore {
    let mut builder = GitignoreBuilder::new(at);
    let text = String::from_utf8_lossy(text);
    for line in text.strip_prefix('\u{feff}').unwrap_or(&text).lines() {
        // A line that is no glob is passed over, as ripgrep does.
        let _ = builder.add_line(None, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}
