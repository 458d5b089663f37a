//! What views cost over a repository of 50,000 files: made, changed, recorded, searched, and a command run in one.
//!
//! `cargo xtask bench views`; it generates the repository in a temporary folder. Searching is compared with `rg` where that is installed.

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    brigade_tools::sandbox::launcher_main_if_asked();
    linux::main();
}

#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "what is compared with runs bare")]
mod linux {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use brigade_tools::command::{Place, check};
    use brigade_tools::sandbox::{Profile, Sandbox};
    use brigade_tools::view::Store;
    use brigade_tools::{Grant, Toolbox, View};

    const FILES: usize = 50_000;
    const PER_FOLDER: usize = 20;
    const VIEWS: usize = 8;
    const ROUNDS: usize = 41;

    #[expect(clippy::print_stdout, reason = "a bench is its output")]
    fn report(what: &str, found: &str) {
        println!("{what:<46} {found}");
    }

    /// The middle of several measurements, in milliseconds.
    fn middle(mut took: Vec<Duration>) -> f64 {
        took.sort();
        took[took.len() / 2].as_secs_f64() * 1e3
    }

    fn timed(act: impl FnOnce()) -> Duration {
        let start = Instant::now();
        act();
        start.elapsed()
    }

    fn path(file: usize) -> String {
        let folder = file / PER_FOLDER;
        format!("part{}/module{}/file{file}.rs", folder / 50, folder % 50)
    }

    fn repository(dir: &Path) {
        for file in 0..FILES {
            let path = dir.join(path(file));
            if file % PER_FOLDER == 0 {
                fs::create_dir_all(path.parent().expect("beneath")).expect("mkdir");
            }
            let needle = if file % 1_000 == 0 { "fn needle() {}\n" } else { "" };
            let lines = format!("/// What item {file} is for.\nfn item_{file}() -> usize {{\n    {file}\n}}\n\n").repeat(20);
            fs::write(path, lines + needle).expect("write");
        }
        fs::write(dir.join(".gitignore"), "target/\n*.o\n*.log\n").expect("write");
        fs::create_dir_all(dir.join(".git")).expect("mkdir");
        fs::write(dir.join(".git/HEAD"), "ref: refs/heads/main\n").expect("write");
        fs::create_dir_all(dir.join("target")).expect("mkdir");
        for n in 0..100 {
            fs::write(dir.join(format!("target/{n}.o")), "fn needle() {}\n").expect("write");
        }
    }

    /// Bytes on disk beneath a folder, and how many names it holds.
    fn size(dir: &Path) -> (u64, usize) {
        let mut sum = (0, 0);
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
            let beneath = if meta.is_dir() { size(&entry.path()) } else { (0, 0) };
            sum = (sum.0 + meta.blocks() * 512 + beneath.0, sum.1 + 1 + beneath.1);
        }
        sum
    }

    pub fn main() {
        let all = tempfile::tempdir().expect("tempdir");
        let user = all.path().join("user");
        repository(&user);
        let home = all.path().join("home");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let toolbox = Toolbox::default();
        let call = |view: &View, name: &str, arguments: serde_json::Value| {
            let answer = runtime.block_on(toolbox.call(view, &Grant::whole(), name, &arguments.to_string())).output;
            assert!(answer.ok, "{answer:?}");
            answer.output
        };

        let mut store = None;
        let took = timed(|| store = Some(Store::create(&user, &home).expect("a store")));
        let store = store.expect("just made");
        report("look at the workspace, once per run", &format!("{:.0} ms", took.as_secs_f64() * 1e3));
        let before = size(&home);

        let (mut made, mut recorded) = (Vec::new(), Vec::new());
        let views: Vec<View> = (0..VIEWS)
            .map(|n| {
                let mut view = None;
                made.push(timed(|| view = Some(store.view(&format!("v{n}"), &store.base()).expect("a view"))));
                view.expect("just made")
            })
            .collect();
        let all_made: Vec<String> = made.iter().map(|took| format!("{:.1}", took.as_secs_f64() * 1e3)).collect();
        report("a view for a writing subtask, each of 8", &format!("{} ms", all_made.join(" ")));
        for (n, view) in views.iter().enumerate() {
            for file in 0..3 {
                let text = format!("fn item() -> &str {{ \"{n}\" }}\n");
                call(view, "write_file", serde_json::json!({"path": path(n * 100 + file), "content": text}));
            }
            recorded.push(timed(|| _ = view.snapshot().expect("recorded")));
        }
        report("snapshot after 3 changed files, middle of 8", &format!("{:.1} ms", middle(recorded)));
        let after = size(&home);
        let more = (after.0 - before.0, after.1 - before.1);
        report("disk for 8 views with 3 changed files each", &format!("{} KiB in {} files and folders", more.0 >> 10, more.1));
        report("disk for the base, once per run", &format!("{} KiB in {} files and folders", before.0 >> 10, before.1));

        let sandbox = Sandbox::new(&Profile::from_env()).expect("a profile");
        let argv = ["true".to_owned()];
        let bare = (0..ROUNDS).map(|_| timed(|| assert!(Command::new("true").status().expect("runs").success()))).collect();
        let inside = |view: &View| {
            let place = Place { view: view.clone(), scratch_dir: None, writable: true };
            let once = || {
                let done = runtime.block_on(check(&sandbox, &place, &argv, Duration::from_secs(60))).expect("runs");
                assert!(done.ok, "{}", done.evidence);
            };
            middle((0..ROUNDS).map(|_| timed(once)).collect())
        };
        let (bare, inside, in_place) = (middle(bare), inside(&views[0]), inside(&View::in_place(&user).expect("in place")));
        let how = store.unmountable().map_or_else(|| "layers".to_owned(), |why| format!("a copy, for {why}"));
        report(
            "run_command true in a view, middle of 41",
            &format!("{inside:.1} ms (bare {bare:.1} ms; in the sandbox without a view {in_place:.1} ms; mounted as {how})"),
        );

        let ours: Vec<Duration> =
            (0..ROUNDS).map(|_| timed(|| _ = call(&views[0], "search", serde_json::json!({"args": ["-n", "fn needle"]})))).collect();
        let found = call(&views[0], "search", serde_json::json!({"args": ["-n", "fn needle"]})).lines().count();
        let ripgrep = || Command::new("rg").args(["--no-config", "-n", "fn needle"]).current_dir(&user).stdin(Stdio::null()).output();
        let ours = middle(ours);
        match ripgrep() {
            Ok(out) => {
                let theirs = middle((0..ROUNDS).map(|_| timed(|| _ = ripgrep())).collect());
                let lines = String::from_utf8_lossy(&out.stdout).lines().count();
                report(
                    "search in a view, middle of 41",
                    &format!("{ours:.0} ms, {found} lines (rg {theirs:.0} ms, {lines} lines): {:.2}", ours / theirs),
                );
            }
            Err(_) => {
                report("search in a view, middle of 41", &format!("{ours:.0} ms, {found} lines (rg is not installed: nothing to compare)"))
            }
        }
    }
}
