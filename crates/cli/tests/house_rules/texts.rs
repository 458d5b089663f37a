//! What any text of the house, code or not, may not hold.

use crate::real::File;
use crate::rust::holds_word;

/// Marks of work left for later, written so that this file does not hold them.
const UNFINISHED: [&str; 5] =
    [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];

/// Folders in which people's machines keep what is theirs.
const PRIVATE: [&str; 4] = ["home", "Users", "root", "work"];

/// What an attack reaches for on any machine, named by the tests that refuse it.
const ATTACKED: [&str; 2] = [concat!("/ro", "ot/.ssh/"), concat!("/ro", "ot/.bashrc")];

/// Crates the architecture does not name.
pub fn unnamed(architecture: &str, crates: &[String]) -> Vec<String> {
    let missing = crates.iter().filter(|name| !architecture.contains(&format!("crates/{name}")));
    missing.map(|name| format!("ARCHITECTURE.md does not name `crates/{name}`: say what it does and what it may never do")).collect()
}

/// Files and folders the architecture names, in full or by their last parts, that are not there.
pub fn vanished(architecture: &str, paths: &[&str]) -> Vec<String> {
    let quoted = architecture.split('`').skip(1).step_by(2);
    let named = quoted.filter(|name| !name.contains(' ') && (name.contains('/') || name.ends_with(".rs") || name.ends_with(".toml")));
    let there = |name: &str| {
        let (whole, inner) = (name.trim_end_matches('/'), format!("/{}", name.trim_end_matches('/')));
        paths.iter().any(|path| {
            *path == whole || path.ends_with(&inner) || path.starts_with(&format!("{whole}/")) || path.contains(&format!("{inner}/"))
        })
    };
    let missing = named.filter(|name| !there(name));
    missing.map(|name| format!("ARCHITECTURE.md names `{name}`, which is not there: mend the sentence, the file may have moved")).collect()
}

pub fn unfinished(File { path, text }: &File) -> Vec<String> {
    if ![".rs", ".toml", ".sh", ".js", ".css", ".html"].iter().any(|ending| path.ends_with(ending)) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for mark in UNFINISHED.iter().filter(|mark| holds_word(line, mark)) {
            faults.push(format!("{path}:{}: `{mark}`: finish it, or refuse by name (`not supported yet: NAME`)", at + 1));
        }
    }
    faults
}

pub fn machine_paths(File { path, text }: &File) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let found = PRIVATE.iter().any(|folder| {
            let start = format!("/{folder}/");
            line.match_indices(&start).any(|(place, _)| {
                let (before, rest) = (line[..place].chars().next_back(), &line[place..]);
                // part of a longer path, or of a URL, and so nobody's machine
                let longer = before.is_some_and(|c| c.is_alphanumeric() || "/._-}>)]*\\".contains(c));
                let named = rest[start.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '.' || c == '_');
                named && !longer && !ATTACKED.iter().any(|attacked| rest.starts_with(attacked))
            })
        });
        if found {
            faults.push(format!("{path}:{}: a path of somebody's machine: make it relative, or take it from the environment", at + 1));
        }
    }
    faults
}

#[test]
fn each_rule_of_texts_finds_its_fault_and_nothing_else() {
    type Rule = fn(&File) -> Vec<String>;
    let [later, never, mend, mark, loud] = UNFINISHED;
    let home = format!("/{}/ada/code", PRIVATE[0]);
    for (rule, path, text, faults) in [
        (unfinished as Rule, "src/a.rs", format!("{later}()\n{never}()\n// {mend} {mark}: {loud}"), 5),
        (unfinished, "src/a.rs", format!("{}_list, method", mark.to_lowercase()), 0),
        (unfinished, "notes.md", mark.to_owned(), 0),
        (machine_paths, "README.md", format!("see {home}/notes"), 1),
        (machine_paths, "README.md", format!("let p = \"{}s\";\n/{}/repo", ATTACKED[0], PRIVATE[3]), 1),
        (machine_paths, "README.md", format!("/proc/1/{}/x and https://example.org{home} and /{}/{{name}}", PRIVATE[2], PRIVATE[0]), 0),
    ] {
        let file = File { path: path.to_owned(), text };
        assert_eq!(rule(&file).len(), faults, "{path}: {}: {:?}", file.text, rule(&file));
    }
    let paths = ["crates/kernel/src/run/step.rs", "models.toml"];
    let map = "`run/step.rs` `step.rs` `crates/kernel/src/run/` `models.toml` `cargo x/y z` `State`: `run/leap.rs` and `crates/attic/`";
    assert_eq!(vanished(map, &paths).len(), 2, "{:?}", vanished(map, &paths));
    assert_eq!(unnamed("crates/kernel decides", &["kernel".to_owned(), "journal".to_owned()]).len(), 1);
}
