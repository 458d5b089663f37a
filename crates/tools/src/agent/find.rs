//! Where an agent's program lies, and what beside it the sandbox must show for it to start.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A program that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it really lies, links followed.
    pub program: PathBuf,
    /// What it needs to read: the folder of the packages it was installed with, else itself.
    pub shown: PathBuf,
}

/// Looks for a program on `path` (as the variable PATH has it), or takes it where it is named.
pub fn find(program: &str, path: &str) -> Option<Found> {
    let found = if program.contains('/') {
        runnable(Path::new(program))
    } else {
        std::env::split_paths(path).filter(|dir| dir.is_absolute()).find_map(|dir| runnable(&dir.join(program)))
    };
    let program = found?;
    // npm lays a starter and the program for this machine side by side.
    let packages = program.ancestors().filter(|dir| dir.file_name().is_some_and(|name| name == "node_modules")).last();
    let shown = packages.unwrap_or(&program).to_owned();
    Some(Found { program, shown })
}

fn runnable(at: &Path) -> Option<PathBuf> {
    let real = std::fs::canonicalize(at).ok()?;
    let meta = std::fs::metadata(&real).ok()?;
    (meta.is_file() && meta.permissions().mode() & 0o111 != 0).then_some(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_behind_its_link_with_the_packages_it_came_with() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = std::fs::canonicalize(dir.path()).expect("it is there");
        let package = root.join("node_modules/@vendor/agent");
        let bin = root.join("node_modules/.bin");
        for folder in [&package, &bin, &root.join("plain")] {
            std::fs::create_dir_all(folder).expect("made");
        }
        let script = package.join("agent.js");
        for file in [&script, &root.join("plain/agent"), &root.join("plain/notes")] {
            std::fs::write(file, "#!/bin/sh\n").expect("written");
        }
        for file in [&script, &root.join("plain/agent")] {
            std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).expect("set");
        }
        std::os::unix::fs::symlink(&script, bin.join("agent")).expect("linked");
        let path = |name: &str| root.join(name).to_str().expect("UTF-8").to_owned();
        let linked = find("agent", &format!("relative:{}:{}", path("node_modules/.bin"), path("plain"))).expect("it is on the path");
        assert_eq!(linked, Found { program: script, shown: root.join("node_modules") });
        let plain = find("agent", &path("plain")).expect("it is on the path");
        assert_eq!((&plain.program, &plain.shown), (&root.join("plain/agent"), &root.join("plain/agent")));
        assert_eq!(find("notes", &path("plain")), None, "it cannot be run");
        assert_eq!(find(&path("plain/agent"), ""), Some(plain));
    }
}
