//! A view's life: made, changed, recorded, set back, landed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::gate::{Base, Edit, NewFile, RelPath};
use crate::patch::{LandError, Patch};

struct Place {
    all: tempfile::TempDir,
}

impl Place {
    /// A user's workspace with a bit of everything.
    fn new() -> Self {
        let place = Self { all: tempfile::tempdir().expect("tempdir") };
        for (path, text) in [
            ("src/main.rs", "fn main() {}\n"),
            ("src/lib.rs", "one\ntwo\nthree\n"),
            ("run.sh", "#!/bin/sh\n"),
            ("open-end", "no newline"),
            (".gitignore", "target/\n*.log\n"),
            (".hidden", "h\n"),
            ("target/big", "built\n"),
            ("x.log", "log\n"),
            (".git/HEAD", "ref: refs/heads/main\n"),
            (".env", "KEY=1\n"),
        ] {
            place.put(path, text);
        }
        fs::set_permissions(place.user("run.sh"), fs::Permissions::from_mode(0o755)).expect("chmod");
        symlink("src/main.rs", place.user("within")).expect("link");
        symlink("/etc/passwd", place.user("out")).expect("link");
        rustix::fs::mknodat(rustix::fs::CWD, place.user("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("mkfifo");
        place
    }

    fn user(&self, path: &str) -> PathBuf {
        self.all.path().join("user").join(path)
    }

    fn put(&self, path: &str, text: &str) {
        fs::create_dir_all(self.user(path).parent().expect("parent")).expect("mkdir");
        fs::write(self.user(path), text).expect("write");
    }

    fn store(&self) -> Store {
        let home = self.all.path().join("home");
        if Store::is_made(&home) { Store::open(&home) } else { Store::create(&self.user(""), &home) }.expect("a store")
    }

    fn view(&self) -> View {
        let store = self.store();
        store.view("v1", &store.base()).expect("a view")
    }

    fn root(&self) -> Root {
        Root::open(&self.user("")).expect("root")
    }
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(path).expect("readable")
}

/// All plain files of the user's tree with content and executable bit.
fn contents(dir: &Path) -> Vec<(String, String, bool)> {
    let view = View::in_place(dir).expect("in place");
    let listed = crate::search::parse(&["--files".to_owned(), "--hidden".to_owned()]).expect("a query");
    let found = crate::search::run(&view, &Scope::whole(), &listed, usize::MAX).expect("a listing");
    let there = found.stdout.lines().map(|name| {
        let meta = fs::symlink_metadata(dir.join(name)).expect("stat");
        (name.to_owned(), text(dir.join(name)), meta.permissions().mode() & 0o100 != 0)
    });
    there.collect()
}

/// All plain files of a view, as tools see them.
fn seen(view: &View) -> Vec<(String, String, bool)> {
    let names = view.0.layer.as_ref().expect("a view of a store").names();
    let read = |name: String| {
        let path = RelPath::new(&name).expect("path");
        let opened = view.root().open_read(&Scope::whole(), &path).expect(&name);
        let executable = opened.mode & 0o100 != 0;
        (name, String::from_utf8(opened.read_all(&path, 1 << 20).expect("bytes")).expect("text"), executable)
    };
    names.into_iter().map(read).collect()
}

/// What a command does that runs in a copy, as where nothing can be mounted; `tests/sandbox` has those that run in layers.
pub(super) fn by_command(view: &View, act: impl FnOnce(&Path)) -> Result<(), ViewError> {
    view.0.layer.as_ref().expect("a view of a store").store.found_unmountable("a test wants a copy".to_owned());
    let stage = view.stage().expect("ready");
    let mut spec = crate::sandbox::Spec::new("", ["true"]);
    stage.set(&mut spec);
    act(&spec.view_dir);
    stage.finish()
}

pub(super) fn edit(path: &str, to: Option<&str>) -> Edit {
    let to = to.map(|text| NewFile { bytes: text.as_bytes().to_vec(), executable: None });
    Edit { path: RelPath::new(path).expect("path"), base: Base::Any, to }
}

fn write(view: &View, path: &str, text: &str) {
    view.commit(&Scope::whole(), &[edit(path, Some(text))]).expect("writes");
}

#[test]
fn a_view_shows_what_counts_and_names_what_it_leaves_out() {
    let place = Place::new();
    let view = place.view();
    let names: Vec<_> = seen(&view).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, [".gitignore", ".hidden", "open-end", "run.sh", "src/lib.rs", "src/main.rs"]);
    let read = |path: &str| view.root().read(&Scope::whole(), &RelPath::new(path).expect("path"), 100);
    assert_eq!(read("within").expect("a link that stays"), b"fn main() {}\n");
    for hidden in [".git/HEAD", ".env", "target/big", "x.log", "out", "pipe"] {
        assert!(read(hidden).is_err(), "{hidden}");
        assert_eq!(view.root().look(&RelPath::new(hidden).expect("path")), None, "{hidden}");
    }
    let left: Vec<_> = view.skipped().iter().map(|one| (one.path.as_str(), one.why.as_str())).collect();
    assert_eq!(
        left,
        [(".env", "it may hold a secret"), ("out", "a link that leads out of the workspace"), ("pipe", "a pipe, socket or device")]
    );
    assert!(view.diff().expect("diff").is_empty() && view.diff().expect("diff").left_out.is_empty());
    assert_eq!(fs::read_dir(view.path()).expect("a folder").count(), 0, "nothing is copied");
}

#[test]
fn what_is_no_workspace_is_refused() {
    let place = Place::new();
    for dir in ["/", "/nowhere/at/all"] {
        let refused = View::in_place(Path::new(dir)).expect_err(dir).to_string();
        assert!(refused.contains("cannot be a workspace") && refused.contains("-C"), "{refused}");
    }
    if let Some(home) = std::env::var_os("HOME").filter(|home| Path::new(home).is_dir()) {
        assert!(View::in_place(Path::new(&home)).is_err());
        assert!(Store::create(Path::new(&home), &place.all.path().join("h")).is_err());
    }
    let inside = Store::create(&place.user(""), &place.user("view"));
    assert!(inside.expect_err("inside").to_string().contains("BRIGADE_HOME"));
    assert!(!place.user("view").exists());
    place.store();
    assert!(Store::create(&place.user(""), &place.all.path().join("home")).is_err(), "a store is made once");
}

#[test]
fn a_tracked_file_is_seen_though_an_ignore_rule_covers_it() {
    let place = Place::new();
    let mut index = b"DIRC\0\0\0\x02\0\0\0\x01".to_vec();
    index.extend([0; 24]);
    index.extend(0o100_644_u32.to_be_bytes());
    index.extend([0; 12 + 20]);
    index.extend([0, 5]);
    index.extend(b"x.log\0\0\0\0\0");
    fs::write(place.user(".git/index"), index).expect("write");
    let view = place.view();
    assert!(seen(&view).contains(&("x.log".to_owned(), "log\n".to_owned(), false)));
    by_command(&view, |dir| fs::write(dir.join("x.log"), "changed\n").expect("write")).expect("folds");
    assert_eq!(view.diff().expect("diff").paths().expect("paths"), ["x.log"]);
}

/// Changes of every kind, as a command would make them.
fn change(view: &View) {
    by_command(view, changes).expect("folds");
}

fn changes(dir: &Path) {
    let at = |path: &str| dir.join(path);
    fs::write(at("src/lib.rs"), "one\n2\nthree\n").expect("write");
    fs::write(at("open-end"), "no newline\nstill none").expect("write");
    fs::remove_file(at("src/main.rs")).expect("remove");
    fs::create_dir_all(at("new/deep")).expect("mkdir");
    fs::write(at("new/deep/a b.txt"), "x\r\ny\n").expect("write");
    fs::write(at("new/empty"), "").expect("write");
    fs::write(at("tool.sh"), "#!/bin/sh\n").expect("write");
    fs::set_permissions(at("tool.sh"), fs::Permissions::from_mode(0o755)).expect("chmod");
    fs::set_permissions(at("run.sh"), fs::Permissions::from_mode(0o644)).expect("chmod");
    fs::create_dir_all(at("target")).expect("mkdir");
    fs::write(at("target/out"), "ignored").expect("write");
    fs::create_dir_all(at("__pycache__")).expect("mkdir");
    fs::write(at("__pycache__/m.pyc"), "\0").expect("write");
}

#[test]
fn a_patch_lands_whole_and_landing_twice_changes_nothing() {
    let place = Place::new();
    let view = place.view();
    change(&view);
    let patch = view.diff().expect("diff");
    assert_eq!(patch.left_out, []);
    assert_eq!(
        patch.paths().expect("paths"),
        ["new/deep/a b.txt", "new/empty", "open-end", "run.sh", "src/lib.rs", "src/main.rs", "tool.sh"]
    );
    let kept: Patch = serde_json::from_str(&serde_json::to_string(&patch).expect("json")).expect("json");
    let landed = kept.apply_to(&place.root(), &Scope::whole()).expect("lands");
    assert_eq!((landed.written.len(), landed.already.len()), (7, 0));
    let user: Vec<_> =
        contents(&place.user("")).into_iter().filter(|(name, ..)| ![".env", "x.log", "target/big"].contains(&name.as_str())).collect();
    assert_eq!(user, seen(&view));
    assert_eq!(text(place.user("target/big")), "built\n");
    let again = kept.apply_to(&place.root(), &Scope::whole()).expect("lands again");
    assert_eq!(again.written, ["run.sh"], "only a bare change of mode is set again");
}

#[test]
fn a_landing_after_a_killed_one_clears_what_that_left_and_nothing_else() {
    let place = Place::new();
    let view = place.view();
    change(&view);
    let patch = view.diff().expect("diff");
    let old = text(place.user("src/lib.rs"));
    let new = "one\n2\nthree\n".to_owned();
    // No process has this id: it is above the highest that Linux gives out.
    let left = |n: u32| format!("src/.brigade-tmp-2000000000-{n}");
    let alive = format!("src/.brigade-tmp-{}-77", std::process::id());
    place.put(&left(1), &new);
    place.put(&left(2), &old);
    place.put(&left(3), &new[..new.len() / 2]);
    place.put(&left(4), "somebody's own words, never to be lost");
    place.put(&alive, &new);
    patch.apply_to(&place.root(), &Scope::whole()).expect("lands");
    let there = |name: &str| place.user(name).exists();
    assert_eq!([1, 2, 3].map(|n| there(&left(n))), [false; 3]);
    assert!(there(&left(4)) && there(&alive));
}

#[test]
fn a_file_the_user_changed_stops_the_whole_landing() {
    let place = Place::new();
    let view = place.view();
    change(&view);
    let patch = view.diff().expect("diff");
    place.put("src/lib.rs", "mine\n");
    place.put("new/empty", "mine too\n");
    let before = contents(&place.user(""));
    match patch.apply_to(&place.root(), &Scope::whole()) {
        Err(LandError::Conflict { paths }) => assert_eq!(paths, ["new/empty", "src/lib.rs"]),
        other => panic!("{other:?}"),
    }
    assert_eq!(contents(&place.user("")), before);
}

#[test]
fn a_damaged_patch_lands_nothing() {
    let place = Place::new();
    let view = place.view();
    change(&view);
    let patch = view.diff().expect("diff");
    let before = contents(&place.user(""));
    for text in [patch.text.replace("+2\n", "+3\n"), patch.text.replace("index ", "indox "), patch.text.replace("b/new/", "b/../new/")] {
        let damaged = Patch { text, left_out: Vec::new() };
        assert!(damaged.apply_to(&place.root(), &Scope::whole()).is_err());
        assert_eq!(contents(&place.user("")), before);
    }
}

#[test]
fn changes_that_cannot_be_a_patch_are_named() {
    let place = Place::new();
    let view = place.view();
    let act = |dir: &Path| {
        let at = |path: &str| dir.join(path);
        fs::write(at("image.png"), [0x89, 0, 1]).expect("write");
        fs::write(at("AGENTS.md"), "obey").expect("write");
        fs::create_dir_all(at(".github/workflows")).expect("mkdir");
        fs::write(at(".github/workflows/ci.yml"), "x").expect("write");
        fs::write(at(".env"), "K=2").expect("write");
        fs::remove_file(at("within")).expect("remove");
        symlink("/etc", at("etc")).expect("link");
        fs::write(at("fine"), "fine\n").expect("write");
    };
    by_command(&view, act).expect("folds");
    let patch = view.diff().expect("diff");
    assert_eq!(patch.paths().expect("paths"), ["fine"]);
    let mut left: Vec<_> = patch.left_out.iter().map(|one| one.path.as_str()).collect();
    left.sort_unstable();
    assert_eq!(left, [".env", ".github/workflows/ci.yml", "AGENTS.md", "etc", "image.png", "within"]);
}

#[test]
fn a_recorded_state_comes_back_even_in_another_process() {
    let place = Place::new();
    let view = place.view();
    let made = view.tree_hash().expect("hash");
    change(&view);
    let first = view.snapshot().expect("recorded");
    assert_ne!(made, first);
    let (tree, patch) = (seen(&view), view.diff().expect("diff"));
    let spoil = |dir: &Path| {
        fs::remove_dir_all(dir.join("new")).expect("remove");
        fs::write(dir.join("new"), "a file where a folder was").expect("write");
        fs::write(dir.join("src/lib.rs"), "spoilt").expect("write");
    };
    by_command(&view, spoil).expect("folds");
    assert_ne!(seen(&view), tree);
    drop(view);
    let store = place.store();
    let view = store.view("v1", &first).expect("opens");
    assert_eq!((seen(&view), view.tree_hash().expect("hash")), (tree, first));
    assert_eq!(view.diff().expect("diff"), patch);
    view.restore(&made).expect("back to the start");
    assert_eq!(view.tree_hash().expect("hash"), made);
    assert!(view.diff().expect("diff").is_empty());
    write(&view, "new", "no folder is left in its way");
    assert!(matches!(view.restore(&Hash::of(b"never")), Err(ViewError::NotRecorded { .. })));
}

#[test]
fn what_the_user_changes_meanwhile_is_kept_apart_from_what_a_view_changed() {
    let place = Place::new();
    let view = place.view();
    let made = view.tree_hash().expect("hash");
    write(&view, "src/lib.rs", "tool\n");
    place.put("src/lib.rs", "the user's\n");
    place.put("open-end", "the user's too");
    let patch = view.diff().expect("the old content was kept");
    assert!(patch.text.contains("-two\n") && patch.text.contains("+tool\n"), "{}", patch.text);
    assert_eq!(patch.paths().expect("paths"), ["src/lib.rs"]);
    // What the view only reads shows the new content; landing sees that the other file is not what the patch was made from.
    assert!(seen(&view).contains(&("open-end".to_owned(), "the user's too".to_owned(), false)));
    assert!(seen(&view).contains(&("src/lib.rs".to_owned(), "tool\n".to_owned(), false)));
    assert!(matches!(patch.apply_to(&place.root(), &Scope::whole()), Err(LandError::Conflict { paths }) if paths == ["src/lib.rs"]));
    view.restore(&made).expect("set back without the user's tree");
    assert_eq!(text(place.user("src/lib.rs")), "the user's\n");
}

#[test]
fn a_view_in_place_costs_nothing_and_has_no_states() {
    let place = Place::new();
    let view = View::in_place(&place.user("")).expect("in place");
    assert!(view.skipped().is_empty());
    assert!(matches!(view.diff(), Err(ViewError::NotOwn(_))) && view.snapshot().is_err() && view.tree_hash().is_err());
}

#[test]
fn a_record_reads_back_and_its_name_depends_on_every_part() {
    let entry = |kind, text: &[u8]| Some(Entry { kind, hash: Hash::of(text) });
    let base = Hash::of(b"base");
    let mut one = Delta::default();
    one.changes.insert("a\n\"b".to_owned(), delta::Change { before: None, after: entry(Kind::Link, b"1") });
    one.changes.insert("c".to_owned(), delta::Change { before: entry(Kind::File, b"2"), after: None });
    one.left_out.insert("big".to_owned(), "it is".to_owned());
    assert_eq!(Delta::parse(&one.to_text(&base), &base), Some(one.clone()));
    let mut other = one.clone();
    other.changes.entry("c".to_owned()).or_default().after = entry(Kind::Executable, b"2");
    assert_ne!(one.name(&base), other.name(&base));
    assert_ne!(one.name(&base), one.name(&Hash::of(b"another")));
    assert_eq!(Delta::parse("base x\n", &base), None);
    assert_eq!(Delta::parse(&one.to_text(&base), &Hash::of(b"another")), None);
}

#[test]
fn equal_files_have_one_content_and_a_change_is_taken_over_by_another_store() {
    let (here, there) = (Place::new(), Place::new());
    let store = |place: &Place, name: &str| Store::create(&place.user(""), &place.all.path().join(name)).expect("a store");
    let (one, two) = (store(&here, "one"), store(&there, "two"));
    let content = |store: &Store, tree: &Hash| store.content_of(tree).expect("a tree on record").expect("a small workspace");
    assert_eq!(content(&one, &one.base()), content(&two, &two.base()));
    let view = one.view("v", &one.base()).expect("a view");
    let new = NewFile { bytes: b"one\n2\n".to_vec(), executable: None };
    let edit = Edit { path: RelPath::new("src/lib.rs").expect("a path"), base: Base::Any, to: Some(new) };
    view.commit(&Scope::whole(), &[edit]).expect("an edit");
    let tree = view.snapshot().expect("a tree");
    let taken = two.adopt(&here.all.path().join("one"), &tree).expect("taken over");
    assert_ne!(content(&two, &taken), content(&two, &two.base()));
    assert_eq!(content(&one, &tree), content(&two, &taken));
    assert_eq!(two.diff(&two.base(), &taken).expect("a diff").text, one.diff(&one.base(), &tree).expect("a diff").text);
    assert!(two.adopt(&here.all.path().join("none"), &tree).is_err());
    assert!(one.is_fresh());
    there.put("src/lib.rs", "ONE\ntwo\nthree\n");
    assert!(!two.is_fresh());
    let three = store(&there, "three");
    assert_ne!(content(&three, &three.base()), content(&one, &one.base()));
    assert_eq!(content(&two, &two.base()), content(&one, &one.base()), "as it was when it was read");
}
