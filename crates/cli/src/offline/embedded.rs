//! The examples that are part of the binary, so that they run wherever it is installed.
//!
//! A list by hand instead of a macro over the folder: it costs no crate, and a test holds it against `examples/`.

/// A file by its path below `examples/`, with its bytes.
pub type File = (&'static str, &'static [u8]);

macro_rules! embed {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../../examples/", $path)))),*]
    };
}

/// Every file of every example.
pub const FILES: &[File] = embed![
    "fix-failing-test/README.md",
    "fix-failing-test/example.toml",
    "fix-failing-test/scenario.toml",
    "fix-failing-test/workspace/.gitignore",
    "fix-failing-test/workspace/Cargo.toml",
    "fix-failing-test/workspace/INSTRUCTIONS.md",
    "fix-failing-test/workspace/LICENSE",
    "fix-failing-test/workspace/src/lib.rs",
    "fix-failing-test/workspace/tests/word-count.rs",
    "triage/README.md",
    "triage/answers-flagship.jsonl",
    "triage/answers-mini.jsonl",
    "triage/answers-nano.jsonl",
    "triage/example.toml",
    "triage/messages.jsonl",
    "triage/plan.toml",
    "triage/scenario.toml",
];

/// Names of the examples, in order.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = FILES.iter().filter_map(|(path, _)| Some(path.split_once('/')?.0)).collect();
    names.dedup();
    names
}

/// The files of one example, by their paths inside it.
pub fn of(name: &str) -> impl Iterator<Item = File> {
    FILES.iter().filter_map(move |(path, bytes)| {
        let (example, inside) = path.split_once('/')?;
        (example == name).then_some((inside, *bytes))
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::FILES;

    fn files(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).expect("the folder is there") {
            let path = entry.expect("readable").path();
            let built = path.file_name().is_some_and(|name| name == "target" || name == "Cargo.lock");
            match path.is_dir() {
                _ if built => {}
                true => files(&path, found),
                false => found.push(path),
            }
        }
    }

    #[test]
    fn every_file_of_every_example_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let mut found = Vec::new();
        files(&root, &mut found);
        let mut found: Vec<String> = found.iter().map(|p| p.strip_prefix(&root).expect("below the root").display().to_string()).collect();
        found.retain(|path| path.contains('/'));
        found.sort();
        let mut listed: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
        listed.sort_unstable();
        assert_eq!(found, listed, "list the files of examples/ in offline/embedded.rs");
    }
}
