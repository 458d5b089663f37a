#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

fn put(dir: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn paths(found: &Found) -> Vec<&str> {
    found.files.iter().map(|file| file.path.as_str()).collect()
}

#[test]
fn the_chain_goes_from_the_root_inwards_and_ignored_folders_are_not_part_of_it() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join(".git")).unwrap();
    for path in ["a/b/AGENTS.md", "AGENTS.md", "z/AGENTS.md", "node_modules/x/AGENTS.md", "a/agents.txt"] {
        put(dir.path(), path, "x");
    }
    put(dir.path(), ".gitignore", "node_modules\n");
    for path in [".brigade/config.toml", ".claude/agents/b.md", ".claude/agents/a.md", ".codex/agents/c.toml", ".codex/agents/d.md"] {
        put(dir.path(), path, "y");
    }
    let found = find(dir.path());
    let expected = [
        "AGENTS.md",
        "z/AGENTS.md",
        "a/b/AGENTS.md",
        ".brigade/config.toml",
        ".claude/agents/a.md",
        ".claude/agents/b.md",
        ".codex/agents/c.toml",
    ];
    assert_eq!(paths(&found), expected);
    assert_eq!(found.faults, Vec::<String>::new());
}

#[test]
fn hostile_files_are_left_out_by_name_and_stop_nothing() {
    let (dir, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    put(outside.path(), "secret", "keys");
    std::os::unix::fs::symlink(outside.path().join("secret"), dir.path().join("AGENTS.md")).unwrap();
    put(dir.path(), "latin/AGENTS.md", b"caf\xe9");
    put(dir.path(), "null/AGENTS.md", "a\0b");
    put(dir.path(), "big/AGENTS.md", "x".repeat((1 << 20) + 1));
    put(dir.path(), "good/AGENTS.md", "fine");
    fs::create_dir_all(dir.path().join(".claude/agents")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join(".claude/agents/pipe.md"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join(".codex")).unwrap();
    put(outside.path(), "agents/evil.toml", "name = 'planner'");
    let found = find(dir.path());
    assert_eq!(paths(&found), ["good/AGENTS.md"]);
    let faults = found.faults.join("\n");
    for name in ["\"AGENTS.md\" leads out", "latin/AGENTS.md", "null/AGENTS.md", "big/AGENTS.md", "pipe.md", "evil.toml"] {
        assert!(faults.contains(name), "{name}\n{faults}");
    }
    assert!(!faults.contains("keys"));
}

#[test]
fn what_no_prompt_shows_is_said_and_hidden_characters_of_strangers_are_written_out() {
    let dir = TempDir::new().unwrap();
    put(dir.path(), "AGENTS.md", "line\n".repeat(10_000));
    put(dir.path(), "a/AGENTS.md", "see\u{202e}me");
    let found = find(dir.path());
    let (chain, cuts) = found.chain(|_| false);
    assert_eq!((chain[0].text.len(), chain[0].bytes), (ALLOWANCE, 50_000));
    assert_eq!(cuts, [format!("AGENTS.md: {} of its 50000 bytes are cut, a prompt shows at most {ALLOWANCE}", 50_000 - ALLOWANCE)]);
    assert_eq!(chain[1].text, "see\\u{202e}me");
    assert_eq!(found.chain(|_| true).0[1].text, "see\u{202e}me", "who trusts it has seen it");
}

#[test]
fn trust_is_of_one_workspace_one_path_and_one_content() {
    let (home, one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    for dir in [&one, &two] {
        put(dir.path(), "AGENTS.md", "Use tabs.");
    }
    let trust = |dir: &TempDir| Trust::of(home.path(), dir.path()).unwrap();
    let file = |dir: &TempDir| find(dir.path()).files.remove(0);
    assert_eq!(trust(&one).standing(&file(&one)), Standing::Untrusted);
    trust(&one).add(&[&file(&one)]).unwrap();
    assert_eq!(trust(&one).standing(&file(&one)), Standing::Trusted);
    assert_eq!(trust(&two).standing(&file(&two)), Standing::Untrusted);
    assert_eq!(trust(&one).standing(&Read { path: "a/AGENTS.md".to_owned(), ..file(&one) }), Standing::Untrusted);
    put(one.path(), "AGENTS.md", "Use blanks.");
    assert_eq!(trust(&one).standing(&file(&one)), Standing::Changed("Use tabs."));
    trust(&one).remove(&["AGENTS.md".to_owned()]).unwrap();
    assert_eq!(trust(&one).standing(&file(&one)), Standing::Untrusted);
}

#[test]
fn only_the_owner_reads_the_list_and_a_broken_one_is_not_empty() {
    use std::os::unix::fs::PermissionsExt as _;
    let (home, dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    put(dir.path(), "AGENTS.md", "x");
    Trust::of(home.path(), dir.path()).unwrap().add(&[&find(dir.path()).files[0]]).unwrap();
    let list = home.path().join("workspace-trust.json");
    assert_eq!(fs::metadata(&list).unwrap().permissions().mode() & 0o777, 0o600);
    for text in
        ["", "[]", "{\"version\":9,\"workspaces\":{}}", "{\"version\":1,\"workspaces\":{\"/w\":{\"a\":{\"sha256\":\"zz\",\"text\":\"\"}}}}"]
    {
        fs::write(&list, text).unwrap();
        assert!(matches!(Trust::of(home.path(), dir.path()), Err(TrustError::Broken { .. })), "{text:?}");
    }
}
