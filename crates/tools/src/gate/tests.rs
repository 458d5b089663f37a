//! The matrix: every hostile path and file against reading and writing, and a swapper that races both.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::open::Links;
use super::*;

struct Place {
    _all: tempfile::TempDir,
    root: Root,
    outside: std::path::PathBuf,
}

/// A workspace and, beside it, a folder with a canary.
fn place() -> Place {
    let all = tempfile::tempdir().expect("tempdir");
    let (inside, outside) = (all.path().join("inside"), all.path().join("outside"));
    fs::create_dir_all(inside.join("src")).expect("mkdir");
    fs::create_dir(&outside).expect("mkdir");
    fs::write(outside.join("canary"), "canary").expect("write");
    fs::write(inside.join("src/a.txt"), "a\n").expect("write");
    let root = Root::open(&inside).expect("root");
    Place { _all: all, root, outside }
}

impl Place {
    fn at(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path)
    }

    fn read(&self, path: &str) -> Result<String, Refusal> {
        let path = RelPath::new(path)?;
        self.root.read(&Scope::whole(), &path, 1000).map(|bytes| String::from_utf8(bytes).expect("text"))
    }

    fn write(&self, path: &str, text: &str) -> Result<(), Refusal> {
        self.edit(path, Base::Any, Some(text))
    }

    fn edit(&self, path: &str, base: Base, text: Option<&str>) -> Result<(), Refusal> {
        let to = text.map(|text| NewFile { bytes: text.as_bytes().to_vec(), executable: None });
        commit(&self.root, &Scope::whole(), &[Edit { path: RelPath::new(path)?, base, to }], true)
    }

    fn canary_is_untouched(&self) {
        let names: Vec<_> = fs::read_dir(&self.outside).expect("read").map(|e| e.expect("entry").file_name()).collect();
        assert_eq!(names, ["canary"]);
        assert_eq!(fs::read_to_string(self.outside.join("canary")).expect("read"), "canary");
    }
}

#[test]
fn paths_are_plain_or_refused() {
    for (given, taken) in [
        ("src/a.txt", Some("src/a.txt")),
        ("./src//a.txt", Some("src/a.txt")),
        ("src/./a.txt/", Some("src/a.txt")),
        ("-rf", Some("-rf")),
        ("a b/ü.txt", Some("a b/ü.txt")),
        ("..", None),
        ("a/./../b", None),
        ("../x", None),
        ("/etc/passwd", None),
        ("", None),
        (".", None),
        ("a\nb", None),
        ("a\0b", None),
        ("a\u{9b}b", None),
    ] {
        assert_eq!(RelPath::new(given).ok().as_ref().map(RelPath::as_str), taken, "{given:?}");
    }
    assert!(RelPath::new(&"a/".repeat(2001)).is_err() && RelPath::new(&"a".repeat(256)).is_err());
    let message = RelPath::new("../../etc/passwd").expect_err("it leaves").to_string();
    assert_eq!(message, r#"path "../../etc/passwd" holds `..`; give it relative to the workspace, without `..`"#);
}

#[test]
fn protected_names_are_never_written_in_any_case_even_when_absent() {
    let place = place();
    for path in [
        ".git/config",
        ".GIT/hooks/pre-commit",
        "sub/.Git/x",
        ".git",
        "git~1/config",
        ".git./config",
        ".git /x",
        ".g\u{200c}it/config",
        ".brigade/config.toml",
        "AGENTS.md",
        "docs/agents.MD",
        "CLAUDE.md",
        ".claude/settings.json",
        ".codex/config.toml",
        ".agents/x",
        ".mcp.json",
        ".github/workflows/ci.yml",
        ".GitHub/Workflows/ci.yml",
        ".gitlab-ci.yml",
        "Jenkinsfile",
        ".husky/pre-commit",
        ".pre-commit-config.yaml",
        ".bashrc",
        "home/.zshrc",
        ".envrc",
        ".vscode/tasks.json",
        ".gitmodules",
    ] {
        let refused = place.write(path, "x").expect_err(path);
        assert!(matches!(refused, Refusal::Protected { .. }), "{path}: {refused}");
    }
    for path in [".gitignore", ".github/README.md", "agents.rs", "src/git/mod.rs", "docs/claude.txt"] {
        place.write(path, "x").expect(path);
    }
    assert!(!place.at(".git").exists() && !place.at("AGENTS.md").exists());
}

#[test]
fn secrets_are_neither_read_nor_written_under_any_name() {
    let place = place();
    for path in [
        ".env",
        ".env.local",
        "app/.ENV",
        ".ssh/id_ed25519",
        "deploy/server.pem",
        "x.key",
        ".netrc",
        ".npmrc",
        ".aws/credentials",
        ".docker/config.json",
    ] {
        fs::create_dir_all(place.at(path).parent().expect("parent")).expect("mkdir");
        fs::write(place.at(path), "secret").expect("write");
        assert!(matches!(place.read(path), Err(Refusal::Secret { .. })), "{path}");
        assert!(matches!(place.write(path, "x"), Err(Refusal::Secret { .. })), "{path}");
    }
    for path in [".env.example", "src/environment.rs", "keys.rs", "id_ed25519.pub"] {
        fs::write(place.at(path), "plain").expect("write");
        assert_eq!(place.read(path).as_deref(), Ok("plain"), "{path}");
    }
    symlink(".env", place.at("innocent.txt")).expect("link");
    assert!(matches!(place.read("innocent.txt"), Err(Refusal::Secret { .. })), "a link's target counts, not its name");
}

#[test]
fn links_lead_nowhere_outside_and_are_not_written_through() {
    let place = place();
    symlink(&place.outside, place.at("abs")).expect("link");
    symlink("../outside", place.at("rel")).expect("link");
    symlink("../../outside/canary", place.at("src/file")).expect("link");
    symlink("/proc/self/root", place.at("magic")).expect("link");
    symlink("src", place.at("within")).expect("link");
    symlink("loop", place.at("loop")).expect("link");
    for path in ["abs/canary", "rel/canary", "src/file", "magic/etc/passwd", "loop", "rel", "abs"] {
        assert!(place.read(path).is_err(), "{path} was read");
        assert!(place.write(path, "x").is_err(), "{path} was written");
    }
    assert!(place.write("rel/new", "x").is_err() && place.write("abs/deep/new", "x").is_err());
    for path in ["abs/canary", "rel/canary", "src/file", "magic/etc/passwd"] {
        let opened = place.root.resolve(path, rustix::fs::OFlags::RDONLY, Links::Beneath);
        assert!(opened.is_err(), "the kernel itself let {path} out");
    }
    assert_eq!(place.read("within/a.txt").as_deref(), Ok("a\n"), "a link that stays within is read");
    assert!(matches!(place.write("within/a.txt", "x"), Err(Refusal::SymbolicLink { .. })));
    assert_eq!(fs::read_to_string(place.at("src/a.txt")).expect("read"), "a\n");
    place.canary_is_untouched();
}

#[test]
fn only_regular_files_with_one_name_are_written() {
    let place = place();
    fs::hard_link(place.outside.join("canary"), place.at("hard")).expect("link");
    rustix::fs::mknodat(rustix::fs::CWD, place.at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("mkfifo");
    let _socket = std::os::unix::net::UnixListener::bind(place.at("socket")).expect("bind");
    assert!(matches!(place.write("hard", "x"), Err(Refusal::HardLinked { links: 2, .. })));
    assert!(matches!(place.edit("hard", Base::Any, None), Err(Refusal::HardLinked { .. })));
    for path in ["pipe", "socket", "src"] {
        assert!(matches!(place.read(path), Err(Refusal::NotRegular { .. })), "{path} {:?}", place.read(path));
        assert!(matches!(place.write(path, "x"), Err(Refusal::NotRegular { .. })), "{path}");
        assert!(place.edit(path, Base::Any, None).is_err(), "{path} was deleted");
    }
    assert!(place.write("src/a.txt/b", "x").is_err());
    place.canary_is_untouched();
}

#[test]
fn twins_in_case_or_normal_form_are_files_of_their_own() {
    let place = place();
    for (one, other) in [("src/Name.txt", "src/name.txt"), ("src/caf\u{e9}", "src/cafe\u{301}")] {
        place.write(one, "one").expect("write");
        if fs::exists(place.at(other)).expect("look") {
            continue; // a file system that folds names: there is only one file to speak of
        }
        place.write(other, "other").expect("write");
        assert_eq!((place.read(one).as_deref(), place.read(other).as_deref()), (Ok("one"), Ok("other")));
    }
    let scope = Scope { read: Globs::all(), write: Globs::new(&["src/name.txt"]).expect("globs") };
    assert!(scope.may_write(&RelPath::new("src/NAME.txt").expect("path")).is_err(), "a twin is not in scope");
}

#[test]
fn globs_bound_reading_and_writing() {
    let globs = Globs::new(&["src/**", "./docs/", "*.md"]).expect("globs");
    for (path, held) in
        [("src/a/b.rs", true), ("docs/x/y", true), ("docs", true), ("README.md", true), ("a/README.md", false), ("srcs/x", false)]
    {
        assert_eq!(globs.holds(path), held, "{path}");
    }
    for bad in ["../x", "/etc/**", "a/../../b", "[", "a\nb"] {
        assert!(Globs::new(&[bad]).is_err(), "{bad}");
    }
    let place = place();
    let scope = Scope { read: Globs::new(&["docs/**"]).expect("globs"), write: Globs::none() };
    let path = RelPath::new("src/a.txt").expect("path");
    let refused = place.root.read(&scope, &path, 100).expect_err("out of scope");
    assert_eq!(refused.to_string(), r#""src/a.txt" is outside what this subtask may read: docs/**"#);
    fs::create_dir(place.at("docs")).expect("mkdir");
    symlink("../src/a.txt", place.at("docs/link")).expect("link");
    assert!(place.root.read(&scope, &RelPath::new("docs/link").expect("path"), 100).is_err(), "a link widens nothing");
}

#[test]
fn writing_keeps_the_mode_and_swaps_atomically() {
    let place = place();
    fs::set_permissions(place.at("src/a.txt"), fs::Permissions::from_mode(0o750)).expect("chmod");
    let before = fs::metadata(place.at("src/a.txt")).expect("stat").ino();
    place.write("src/a.txt", "new\n").expect("write");
    let meta = fs::metadata(place.at("src/a.txt")).expect("stat");
    assert_eq!(meta.mode() & 0o7777, 0o750);
    assert_ne!(meta.ino(), before, "a reader of the old file keeps the old bytes");
    place.write("deep/new/file", "x").expect("folders are made");
    assert_eq!(fs::read_dir(place.at("src")).expect("read").count(), 1, "no temporary file stays");
}

#[test]
fn a_stale_base_is_a_conflict_and_one_conflict_undoes_all() {
    let place = place();
    fs::write(place.at("b"), "b").expect("write");
    let edit = |path: &str, base, text: Option<&str>| Edit {
        path: RelPath::new(path).expect("path"),
        base,
        to: text.map(|text| NewFile { bytes: text.as_bytes().to_vec(), executable: None }),
    };
    let is = |text: &str| Base::Is(Hash::of(text.as_bytes()));
    let edits =
        [edit("made/new", Base::Absent, Some("new")), edit("src/a.txt", is("a\n"), None), edit("b", is("something else"), Some("mine"))];
    let refused = commit(&place.root, &Scope::whole(), &edits, false).expect_err("b is stale");
    assert!(matches!(refused, Refusal::Conflict { .. }), "{refused}");
    assert!(!place.at("made").exists());
    assert_eq!((place.read("src/a.txt").as_deref(), place.read("b").as_deref()), (Ok("a\n"), Ok("b")));
    assert_eq!(fs::read_dir(place.root.path()).expect("read").count(), 2, "nothing is left behind");
    assert!(matches!(place.edit("b", Base::Absent, Some("x")), Err(Refusal::Exists { .. })));
    assert!(matches!(place.edit("none", is(""), Some("x")), Err(Refusal::Absent { .. })));
    assert!(matches!(place.edit("none", Base::Any, None), Err(Refusal::Absent { .. })));
}

/// Another writer replaces the file all the time: commits go through or refuse, and the file is whole at every moment.
#[test]
fn beside_a_second_writer_the_file_is_whole_at_every_moment() {
    let place = place();
    let path = place.at("src/a.txt");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut applied = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // Appends one line by replacing the file, losing none that it saw.
                let Ok(mut text) = fs::read_to_string(&path) else {
                    continue;
                };
                n += 1;
                text.push_str(&format!("other {n}\n"));
                let temp = place.at("other-temp");
                fs::write(&temp, text).expect("write");
                std::thread::yield_now();
                fs::rename(&temp, &path).expect("rename");
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        for n in 0..400 {
            let Ok(text) = place.read_long("src/a.txt") else {
                continue;
            };
            let new = format!("{text}mine {n}\n");
            applied += usize::from(place.edit("src/a.txt", Base::Is(Hash::of(text.as_bytes())), Some(&new)).is_ok());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(applied > 0, "never once without a conflict");
    let text = place.read_long("src/a.txt").expect("read");
    assert!(text.starts_with("a\n") && text.ends_with('\n'));
    let others: Vec<&str> = text.lines().filter(|line| line.starts_with("other ")).collect();
    assert!(!others.is_empty() && text.lines().skip(1).all(|line| line.starts_with("other ") || line.starts_with("mine ")));
}

impl Place {
    fn read_long(&self, path: &str) -> Result<String, Refusal> {
        let bytes = self.root.read(&Scope::whole(), &RelPath::new(path)?, 10 << 20)?;
        Ok(String::from_utf8(bytes).expect("text"))
    }
}

/// A folder is swapped against a link to the outside, over and over, while it is read, written and deleted through.
#[test]
fn a_racing_swap_of_folder_and_link_reaches_nothing_outside() {
    let place = place();
    let (real, aside, link) = (place.at("dir"), place.at("aside"), place.at("link"));
    fs::create_dir(&real).expect("mkdir");
    fs::write(real.join("canary"), "inside").expect("write");
    symlink(&place.outside, &link).expect("link");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut read = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::rename(&real, &aside).and_then(|()| fs::rename(&link, &real));
                let _ = fs::rename(&real, &link).and_then(|()| fs::rename(&aside, &real));
            }
        });
        for n in 0..600 {
            match place.read("dir/canary") {
                Ok(text) => {
                    assert_ne!(text, "canary", "read outside");
                    read += 1;
                }
                Err(refused) => assert!(!refused.to_string().is_empty()),
            }
            let _ = place.write("dir/canary", &format!("inside {n}"));
            let _ = place.write(&format!("dir/new{}", n % 5), "x");
            let _ = place.edit(&format!("dir/new{}", n % 5), Base::Any, None);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(read > 0, "the race never let one read through");
    place.canary_is_untouched();
}

/// The way for kernels without `openat2` is at least as strict.
#[test]
fn the_walk_name_by_name_follows_no_link_at_all() {
    let place = place();
    symlink(&place.outside, place.at("out")).expect("link");
    symlink("src", place.at("within")).expect("link");
    let flags = rustix::fs::OFlags::RDONLY;
    let walk = |path: &str| place.root.walk(path, flags).is_ok();
    assert!(walk("src/a.txt") && walk("."));
    for path in ["out/canary", "within/a.txt", "within", "../outside/canary", "src/../src/a.txt", "src//a.txt"] {
        assert!(!walk(path), "{path}");
        if !path.contains("..") {
            assert_eq!(place.root.resolve(path, flags, Links::Refused).is_ok(), path.contains("//"), "{path}");
        }
    }
}

#[test]
fn a_hash_reads_back_what_it_writes() {
    let hash = Hash::of(b"abc");
    assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(Hash::parse(&hash.to_string()), Some(hash));
    assert_eq!((Hash::parse("BA"), Hash::parse(&"G".repeat(64)), Hash::parse(&"é".repeat(32))), (None, None, None));
}
