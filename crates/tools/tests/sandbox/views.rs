//! Commands in views: what they see of the workspace, what they change, and that none of it reaches the workspace itself.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use brigade_tools::command::{self, Checked, Place};
use brigade_tools::gate::RelPath;
use brigade_tools::sandbox::Sandbox;
use brigade_tools::view::{Store, ViewError};
use brigade_tools::{Scope, View};

use crate::world::{World, runtime};

pub const ALL: &[(&str, fn())] = &[
    ("a_command_sees_the_view_and_nothing_that_is_hidden", sees),
    ("what_a_command_changes_is_the_views_own", changes),
    ("every_way_to_replace_a_name_ends_as_it_stood", replaces),
    ("hostile_leftovers_are_neither_kept_nor_followed", hostile),
    ("ignored_output_stays_for_the_next_command_and_is_no_part_of_the_tree", ignored),
    ("a_hundred_thousand_files_are_refused_whole", flood),
    ("two_views_never_see_each_other", apart),
    ("no_escape_works_from_a_mounted_view", escapes),
    ("a_command_that_was_cancelled_leaves_nothing", cancelled),
    ("where_nothing_can_be_mounted_a_command_works_on_a_copy", copied),
];

struct Desk {
    world: World,
    sandbox: Sandbox,
    user: PathBuf,
    store: Store,
}

impl Desk {
    fn new() -> Self {
        let world = World::new();
        let user = world.outside.path().join("user");
        for (name, text) in [
            (".gitignore", "*.o\n/build/\n"),
            ("src/a.txt", "a\n"),
            ("src/b.txt", "b\n"),
            ("deep/er/c.txt", "c\n"),
            ("deep/er/d.txt", "d\n"),
            ("top", "top\n"),
            (".env", "KEY=1\n"),
            (".git/HEAD", "ref: x\n"),
            ("build/old", "old\n"),
        ] {
            let path = user.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        symlink(world.outside("secret"), user.join("out")).unwrap();
        symlink("src/a.txt", user.join("link")).unwrap();
        fs::write(user.join(OsStr::from_bytes(b"not\xffutf8")), "x").unwrap();
        drop(std::os::unix::net::UnixListener::bind(user.join("socket")).unwrap());
        let store = Store::create(&user, &world.outside.path().join("home")).unwrap();
        Self { sandbox: world.sandbox.clone(), world, user, store }
    }

    fn view(&self, name: &str) -> View {
        self.store.view(name, &self.store.base()).unwrap()
    }

    fn try_sh(&self, view: &View, script: &str) -> Result<Checked, command::CommandError> {
        let place = Place { view: view.clone(), scratch_dir: None, writable: true };
        let argv = ["sh", "-ec", script].map(str::to_owned);
        let done = runtime().block_on(command::check(&self.sandbox, &place, &argv, Duration::from_secs(120)));
        assert_eq!(self.store.unmountable(), None, "this machine can mount layers");
        done
    }

    /// What a script printed; it must succeed, and the workspace must be as before.
    fn sh(&self, view: &View, script: &str) -> String {
        let before = listing(&self.user);
        let checked = self.try_sh(view, script).unwrap();
        assert!(checked.ok, "{script}: {}", checked.evidence);
        assert_eq!(listing(&self.user), before, "{script} reached the workspace");
        checked.evidence.trim_start_matches("exit status 0\n").to_owned()
    }

    /// The view's changes as (path, new content), sorted; and what was left out.
    fn changes(&self, view: &View) -> (Vec<String>, Vec<String>) {
        let patch = view.diff().unwrap();
        (patch.paths().unwrap(), patch.left_out.iter().map(|one| one.path.clone()).collect())
    }
}

fn listing(dir: &Path) -> Vec<(PathBuf, u32, Option<Vec<u8>>)> {
    let mut out = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let bytes = meta.is_file().then(|| fs::read(&path).unwrap());
        out.push((path, meta.permissions().mode(), bytes));
    }
    out.sort();
    out
}

fn read(view: &View, path: &str) -> Option<String> {
    let bytes = view.root().read(&Scope::whole(), &RelPath::new(path).unwrap(), 1 << 20).ok()?;
    Some(String::from_utf8(bytes).unwrap())
}

const FIND: &str = "find . -not -type d | LC_ALL=C sort";

fn sees() {
    let desk = Desk::new();
    let view = desk.view("one");
    let shown = desk.sh(&view, FIND);
    assert_eq!(shown, "./.gitignore\n./deep/er/c.txt\n./deep/er/d.txt\n./link\n./src/a.txt\n./src/b.txt\n./top\n");
    assert_eq!(desk.sh(&view, "ls -A build 2>/dev/null || true; ls -A .git; cat link"), "a\n");
    assert_eq!(desk.changes(&view), (vec![], vec![]));
    assert_eq!(view.tree_hash().unwrap(), desk.store.base());
}

fn changes() {
    let desk = Desk::new();
    let view = desk.view("one");
    desk.sh(&view, "echo more >> src/a.txt; rm src/b.txt; mkdir -p new/er; echo n > new/er/n; chmod +x top; mv deep/er/c.txt moved");
    assert_eq!(desk.changes(&view).0, ["deep/er/c.txt", "moved", "new/er/n", "src/a.txt", "src/b.txt", "top"]);
    assert_eq!(read(&view, "src/a.txt").as_deref(), Some("a\nmore\n"));
    assert_eq!((read(&view, "src/b.txt"), read(&view, "link").as_deref()), (None, Some("a\nmore\n")));
    // The next command stands on it, and so does one after the view was set back and forth.
    let tree = view.snapshot().unwrap();
    let shown = desk.sh(&view, &format!("{FIND}; test -x top; cat link"));
    assert_eq!(shown, "./.gitignore\n./deep/er/d.txt\n./link\n./moved\n./new/er/n\n./src/a.txt\n./top\na\nmore\n");
    view.restore(&desk.store.base()).unwrap();
    assert_eq!(desk.sh(&view, "cat src/a.txt src/b.txt deep/er/c.txt; ls new 2>/dev/null || true"), "a\nb\nc\n");
    view.restore(&tree).unwrap();
    assert_eq!(desk.sh(&view, &format!("{FIND}; test -x top; cat link")), shown);
    let again = desk.store.view("another", &tree).unwrap();
    assert_eq!(desk.sh(&again, &format!("{FIND}; test -x top; cat link")), shown);
    assert_eq!(again.tree_hash().unwrap(), tree);
}

fn replaces() {
    let desk = Desk::new();
    for (script, changed) in [
        // A folder goes, and comes again with less in it: the overlay calls that opaque.
        ("rm -r deep; mkdir -p deep/er; echo x > deep/er/c.txt", vec!["deep/er/c.txt", "deep/er/d.txt"]),
        ("rm -r deep/er; mkdir deep/er; echo e > deep/er/e", vec!["deep/er/c.txt", "deep/er/d.txt", "deep/er/e"]),
        ("rm -r deep; echo file > deep", vec!["deep", "deep/er/c.txt", "deep/er/d.txt"]),
        ("rm top; mkdir top; echo in > top/in", vec!["top", "top/in"]),
        ("rm -r src; rm link; ! test -e src", vec!["src/a.txt", "src/b.txt"]),
        ("rm top; echo top > top", vec![]),
        ("echo x > made; rm made", vec![]),
        ("ln src/a.txt twin; echo t >> twin", vec!["src/a.txt", "twin"]),
    ] {
        let view = desk.view("one");
        desk.sh(&view, script);
        let tree = view.snapshot().unwrap();
        assert_eq!(desk.changes(&view).0, changed, "{script}");
        let shown = desk.sh(&view, &format!("{FIND} | grep -v link; cat $({FIND} | grep -v link)"));
        assert_eq!(view.snapshot().unwrap(), tree, "{script}: looking changes nothing");
        // The same tree in a view that never ran the command.
        let other = desk.store.view("other", &tree).unwrap();
        assert_eq!(desk.sh(&other, &format!("{FIND} | grep -v link; cat $({FIND} | grep -v link)")), shown, "{script}");
        desk.store.drop_view("one");
        desk.store.drop_view("other");
    }
}

fn hostile() {
    let desk = Desk::new();
    let view = desk.view("one");
    let outside = desk.world.outside("secret");
    desk.sh(
        &view,
        &format!(
            "rm -r src; ln -s {outside} src; ln -s ../../../../.. deep/up; mkfifo pipe; ! mknod white c 0 0 2>/dev/null; \
             ! mknod null c 1 3 2>/dev/null; echo s > setuid; ! chmod 4755 setuid 2>/dev/null; printf x > \"$(printf 'bad\\377name')\"; \
             mkdir shut; echo in > shut/in; chmod 000 shut; echo K=2 > .env; mkdir -p .git/hooks 2>/dev/null || true; \
             head -c 70000000 /dev/zero > large"
        ),
    );
    let (changed, left) = desk.changes(&view);
    assert_eq!(changed, ["setuid", "shut/in", "src/a.txt", "src/b.txt"]);
    assert_eq!(left, [".env", "bad\u{fffd}name", "deep/up", "large", "pipe", "src"]);
    assert_eq!((read(&view, "src"), read(&view, "src/a.txt"), read(&view, "deep/up/etc/passwd")), (None, None, None));
    for entry in listing(view.path()) {
        assert_eq!(entry.1 & 0o6000, 0, "{}", entry.0.display());
    }
    // Written through no link: the folder that became one is a folder again.
    view.restore(&desk.store.base()).unwrap();
    assert_eq!(desk.sh(&view, FIND), desk.sh(&desk.view("fresh"), FIND));
    assert_eq!(fs::read_to_string(outside).unwrap(), "CANARY-OUTSIDE");
}

fn ignored() {
    let desk = Desk::new();
    let view = desk.view("one");
    desk.sh(&view, "mkdir -p build; echo 1 > build/out; echo o > src/a.o; mkdir node_modules; echo m > node_modules/m");
    assert_eq!(view.tree_hash().unwrap(), desk.store.base());
    assert_eq!(desk.sh(&view, "cat build/out src/a.o node_modules/m; ls build"), "1\no\nm\nout\n");
    // The rules in force are the view's own.
    desk.sh(&view, "echo '*.gen' > .gitignore; echo o > b.o; echo g > x.gen");
    assert_eq!(desk.changes(&view).0, [".gitignore", "b.o", "build/out", "src/a.o"]);
    view.restore(&desk.store.base()).unwrap();
    assert_eq!(desk.sh(&view, "ls build x.gen 2>/dev/null || true"), "");
}

fn flood() {
    let desk = Desk::new();
    let view = desk.view("one");
    let refused = desk.try_sh(&view, "mkdir many; cd many; seq 100000 | xargs touch").unwrap_err();
    assert!(matches!(refused, command::CommandError::View(ViewError::TooMuch { changed: 100_000, .. })), "{refused}");
    assert!(refused.to_string().contains(".gitignore"), "{refused}");
    assert_eq!(desk.sh(&view, "ls"), "deep\nlink\nsrc\ntop\n");
    assert_eq!(view.tree_hash().unwrap(), desk.store.base());
}

fn apart() {
    let desk = Desk::new();
    let (one, two) = (desk.view("one"), desk.view("two"));
    std::thread::scope(|scope| {
        for (view, word) in [(&one, "one"), (&two, "two")] {
            let desk = &desk;
            scope.spawn(move || desk.sh(view, &format!("echo {word} > top; sleep 0.3; cat top; echo {word} > {word}")));
        }
    });
    assert_eq!((read(&one, "top").as_deref(), read(&two, "top").as_deref()), (Some("one\n"), Some("two\n")));
    assert_eq!((read(&one, "two"), read(&two, "one")), (None, None));
}

/// The attacks that a plain folder withstands, from inside a view whose layers are mounted over the workspace.
fn escapes() {
    let desk = Desk::new();
    let view = desk.view("one");
    let other = desk.view("two");
    desk.sh(&other, "echo other > theirs");
    let before = listing(&desk.user);
    let home = desk.world.outside("home");
    let secret = desk.world.outside("secret");
    let user = desk.world.outside("user");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp_at = tcp.local_addr().unwrap().to_string();
    let engine = std::process::id().to_string();
    let _socket = std::os::unix::net::UnixListener::bind(desk.world.outside("outer")).unwrap();
    let outer = desk.world.outside("outer");
    let theirs = format!("{home}/views/two/theirs");
    for (attack, args) in [
        (
            "read",
            vec![
                secret.as_str(),
                &user,
                &home,
                &theirs,
                "/etc/shadow",
                "../secret",
                "/proc/self/cwd/../secret",
                ".env",
                ".git/HEAD",
                "out",
            ],
        ),
        ("write", vec![&secret, &format!("{user}/owned"), &format!("{home}/owned"), "/etc/owned", ".git/config", ".brigade/config.toml"]),
        ("append", vec![&secret, &format!("{user}/top"), "/etc/hosts"]),
        ("rename", vec![".git", "mine"]),
        ("mkdir", vec!["/x", &home]),
        ("hardlink", vec!["/etc/passwd", "copy"]),
        ("symlink_then_write", vec![&home, "owned"]),
        ("unix", vec![&outer, "socket", "/var/run/docker.sock"]),
        ("tcp", vec![&tcp_at, "169.254.169.254:80"]),
        ("socket", vec![]),
        ("kernel", vec![]),
        ("set_uid", vec![]),
        ("ptrace", vec![&engine]),
        ("tty", vec![]),
    ] {
        let argv: Vec<String> = [desk.world.attacker.as_str(), "__attack", attack].iter().chain(&args).map(|w| (*w).to_owned()).collect();
        let place = Place { view: view.clone(), scratch_dir: None, writable: true };
        let checked = runtime().block_on(command::check(&desk.sandbox, &place, &argv, Duration::from_secs(60))).unwrap();
        let said: Vec<&str> = checked.evidence.lines().skip(1).collect();
        assert!(checked.ok && !said.is_empty(), "{attack}: {}", checked.evidence);
        assert!(said.iter().all(|line| line.starts_with("DENIED")), "{attack}: {}", checked.evidence);
    }
    assert_eq!(desk.store.unmountable(), None, "the layers were mounted");
    assert_eq!(listing(&desk.user), before);
    assert_eq!((read(&other, "theirs").as_deref(), fs::read_to_string(secret).unwrap().as_str()), (Some("other\n"), "CANARY-OUTSIDE"));
    // Nor do the names of the layers show where they lie.
    let mounts = desk.sh(&view, "cat /proc/self/mountinfo /proc/mounts");
    assert!(!mounts.contains(&home) && !mounts.contains(&user), "{mounts}");
}

fn copied() {
    let desk = Desk::new();
    if !crate::world::is_root() {
        println!("skipped: only root can give a file away");
        return;
    }
    // A file of somebody else in the workspace: an overlay of this user could not change it.
    std::os::unix::fs::chown(desk.user.join("top"), Some(crate::world::NOBODY), None).unwrap();
    let store = Store::create(&desk.user, &desk.world.outside.path().join("home2")).unwrap();
    assert!(store.unmountable().is_some_and(|why| why.contains("\"top\" belongs to user 65534")), "{:?}", store.unmountable());
    let view = store.view("one", &store.base()).unwrap();
    let place = Place { view: view.clone(), scratch_dir: None, writable: true };
    let script = format!("{FIND}; echo more >> top; rm -r src; mkdir build; echo x > build/out; mkfifo pipe; ln -s /etc/passwd away");
    let argv = ["sh", "-ec", &script].map(str::to_owned);
    let before = listing(&desk.user);
    let checked = runtime().block_on(command::check(&desk.sandbox, &place, &argv, Duration::from_secs(60))).unwrap();
    assert!(checked.ok && checked.evidence.contains("./deep/er/d.txt\n./link\n./src/a.txt\n"), "{}", checked.evidence);
    assert_eq!(listing(&desk.user), before);
    let (changed, left) = desk.changes(&view);
    assert_eq!(
        (changed, left),
        (["src/a.txt", "src/b.txt", "top"].map(str::to_owned).to_vec(), ["away", "pipe"].map(str::to_owned).to_vec())
    );
}

fn cancelled() {
    let desk = Desk::new();
    let view = desk.view("one");
    desk.sh(&view, "mkdir build; echo 1 > build/kept");
    let place = Place { view: view.clone(), scratch_dir: None, writable: true };
    let argv = ["sh", "-c", "while :; do echo x > made; echo x > src/more; echo x > build/more; done"].map(str::to_owned);
    runtime().block_on(async {
        let endless = command::check(&desk.sandbox, &place, &argv, Duration::from_secs(60));
        assert!(tokio::time::timeout(Duration::from_millis(500), endless).await.is_err());
    });
    assert_eq!(view.tree_hash().unwrap(), desk.store.base());
    assert_eq!(desk.sh(&view, FIND), desk.sh(&desk.view("fresh"), FIND));
    assert_eq!(view.tree_hash().unwrap(), desk.store.base());
}
