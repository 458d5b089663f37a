//! What holds of views whatever is done to them: generated edits, as commands and tools make them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;

use super::tests::{by_command, edit};
use super::*;
use crate::gate::RelPath;

/// A path, and what shall stand there: `None` removes it, with all that is beneath.
type Deed = (&'static str, Option<(String, bool)>);

/// Names that get in each other's way, as files and as folders.
const PATHS: [&str; 8] = ["a", "b", "b/c", "b/d", "b/d/e", "f/g", "f/h", "i j.txt"];
/// Names that do not.
const APART: [&str; 8] = ["a", "b/c", "b/d", "f/g", "f/h", "f/new/k", "l", "m/n"];

fn content() -> impl Strategy<Value = (String, bool)> {
    let line = prop::sample::select(vec!["one", "two", "three", "two\r", "", "<<<<<<< x", "ä"]);
    let text = (prop::collection::vec(line, 0..8), any::<bool>());
    let text = text.prop_map(|(lines, ended)| lines.join("\n") + if ended && !lines.is_empty() { "\n" } else { "" });
    (text, prop::bool::weighted(0.2))
}

fn deeds(paths: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<Deed>> {
    prop::collection::vec((prop::sample::select(paths), prop::option::weighted(0.7, content())), 0..most)
}

fn tree() -> impl Strategy<Value = BTreeMap<&'static str, (String, bool)>> {
    prop::collection::btree_map(prop::sample::select(&APART[..5]), content(), 0..5)
}

fn act(dir: &Path, deeds: &[Deed]) {
    for (path, to) in deeds {
        let at = dir.join(path);
        for above in Path::new(path).ancestors().skip(1).filter(|above| to.is_some() && dir.join(above).is_file()) {
            fs::remove_file(dir.join(above)).expect("a file");
        }
        if at.is_dir() {
            fs::remove_dir_all(&at).expect("a folder");
        }
        let _ = fs::remove_file(&at);
        if let Some((text, executable)) = to {
            fs::create_dir_all(at.parent().expect("beneath")).expect("mkdir");
            fs::write(&at, text).expect("write");
            let mode = if *executable { 0o755 } else { 0o644 };
            fs::set_permissions(&at, fs::Permissions::from_mode(mode)).expect("chmod");
        }
    }
}

fn files(dir: &Path) -> BTreeMap<String, (Vec<u8>, bool)> {
    let mut out = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).expect("a folder") {
            let path = entry.expect("an entry").path();
            let meta = fs::symlink_metadata(&path).expect("stat");
            if meta.is_dir() {
                todo.push(path);
                continue;
            }
            let name = path.strip_prefix(dir).expect("beneath").to_str().expect("UTF-8").to_owned();
            out.insert(name, (fs::read(&path).expect("bytes"), meta.permissions().mode() & 0o100 != 0));
        }
    }
    out
}

fn seen(view: &View) -> BTreeMap<String, (Vec<u8>, bool)> {
    let names = view.0.layer.as_ref().expect("of a store").names();
    let read = |name: String| {
        let path = RelPath::new(&name).expect("path");
        let opened = view.root().open_read(&Scope::whole(), &path).expect(&name);
        let executable = opened.mode & 0o100 != 0;
        (name, (opened.read_all(&path, 1 << 20).expect("bytes"), executable))
    };
    names.into_iter().map(read).collect()
}

struct World {
    all: tempfile::TempDir,
    store: Store,
}

impl World {
    fn new(tree: &BTreeMap<&'static str, (String, bool)>) -> Self {
        let all = tempfile::tempdir().expect("tempdir");
        let user = all.path().join("user");
        fs::create_dir(&user).expect("mkdir");
        let deeds: Vec<Deed> = tree.iter().map(|(path, to)| (*path, Some(to.clone()))).collect();
        act(&user, &deeds);
        let store = Store::create(&user, &all.path().join("home")).expect("a store");
        Self { all, store }
    }

    fn view(&self, name: &str) -> View {
        self.store.view(name, &self.store.base()).expect("a view")
    }

    fn user(&self) -> std::path::PathBuf {
        self.all.path().join("user")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_view_shows_what_the_command_left_and_comes_back_to_it(base in tree(), first in deeds(&PATHS, 6), second in deeds(&PATHS, 6)) {
        let world = World::new(&base);
        let view = world.view("one");
        let mut left = BTreeMap::new();
        by_command(&view, |dir| { act(dir, &first); left = files(dir); }).expect("folds");
        prop_assert_eq!(&seen(&view), &left);
        let tree = view.snapshot().expect("recorded");
        by_command(&view, |dir| { starts_from(dir, &left); act(dir, &second); }).expect("folds");
        view.restore(&tree).expect("comes back");
        prop_assert_eq!(view.tree_hash().expect("hash"), tree);
        prop_assert_eq!(&seen(&view), &left);
        let other = world.store.view("other", &tree).expect("a view");
        prop_assert_eq!(&seen(&other), &left);
        prop_assert_eq!(&seen(&world.store.reading(&tree).expect("a view")), &left);
        view.restore(&world.store.base()).expect("back to the start");
        prop_assert_eq!(&seen(&view), &files(&world.user()));
    }

    #[test]
    fn the_difference_between_two_trees_makes_one_the_other(base in tree(), first in deeds(&PATHS, 6), second in deeds(&PATHS, 6)) {
        let world = World::new(&base);
        let view = world.view("one");
        by_command(&view, |dir| act(dir, &first)).expect("folds");
        let from = view.snapshot().expect("recorded");
        let before = seen(&view);
        by_command(&view, |dir| act(dir, &second)).expect("folds");
        let to = view.snapshot().expect("recorded");
        for (from, start, to, end) in [(world.store.base(), files(&world.user()), to, seen(&view)), (from, before, to, seen(&view))] {
            let patch = world.store.diff(&from, &to).expect("a diff");
            prop_assert_eq!(&patch.left_out, &[]);
            let copy = tempfile::tempdir().expect("tempdir");
            for (name, (bytes, executable)) in &start {
                let deed = (String::from_utf8(bytes.clone()).expect("text"), *executable);
                let at = copy.path().join(name);
                fs::create_dir_all(at.parent().expect("beneath")).expect("mkdir");
                fs::write(&at, deed.0).expect("write");
                fs::set_permissions(&at, fs::Permissions::from_mode(if deed.1 { 0o755 } else { 0o644 })).expect("chmod");
            }
            // A file cannot land where a folder has to go first; that is the landing's refusal, not the patch's fault.
            if clash(&start, &end) {
                continue;
            }
            let root = crate::gate::Root::open(copy.path()).expect("root");
            patch.apply_to(&root, &Scope::whole()).expect("lands");
            prop_assert_eq!(&files(copy.path()), &end);
        }
    }

    #[test]
    fn parts_that_do_not_touch_compose_to_the_same_tree_in_any_order(
        base in tree(),
        all in deeds(&APART, 12),
        order in Just(vec![0, 1, 2]).prop_shuffle(),
    ) {
        let world = World::new(&base);
        let parts: Vec<Part> = (0..3).map(|n| {
            let view = world.view(&format!("v{n}"));
            let own: Vec<Deed> = all.iter().filter(|(path, _)| APART.iter().position(|p| p == path).expect("one of them") % 3 == n).cloned().collect();
            by_command(&view, |dir| act(dir, &own)).expect("folds");
            Part { label: format!("v{n}"), from: world.store.base(), to: view.snapshot().expect("recorded") }
        }).collect();
        let straight = world.store.compose(&parts).expect("composed");
        let shuffled: Vec<Part> = order.iter().map(|n| parts[*n].clone()).collect();
        prop_assert_eq!(&world.store.compose(&shuffled).expect("composed"), &straight);
        prop_assert_eq!(&straight.conflicts, &[]);
        let whole = world.view("whole");
        by_command(&whole, |dir| act(dir, &all)).expect("folds");
        prop_assert_eq!(whole.snapshot().expect("recorded"), straight.tree);
    }

    #[test]
    fn a_part_made_on_another_ones_result_goes_onto_it_as_it_is(base in tree(), first in deeds(&PATHS, 6), second in deeds(&PATHS, 6)) {
        let world = World::new(&base);
        let view = world.view("one");
        by_command(&view, |dir| act(dir, &first)).expect("folds");
        let middle = view.snapshot().expect("recorded");
        by_command(&view, |dir| act(dir, &second)).expect("folds");
        let end = view.snapshot().expect("recorded");
        let part = |label: &str, from, to| Part { label: label.to_owned(), from, to };
        let parts = [part("a", world.store.base(), middle), part("b", middle, end), part("again", middle, end)];
        let composed = world.store.compose(&parts).expect("composed");
        prop_assert_eq!(composed, Composed { tree: end, conflicts: Vec::new() });
    }

    #[test]
    fn tools_and_commands_make_the_same_tree(base in tree(), deeds in deeds(&APART, 8)) {
        let world = World::new(&base);
        let (one, two) = (world.view("one"), world.view("two"));
        for (path, to) in &deeds {
            // Tools have no say in the executable bit: it stays as it was.
            let to = to.as_ref().map(|(text, _)| text.as_str());
            let there = one.root().look(&RelPath::new(path).expect("path")).is_some();
            if to.is_some() || there {
                one.commit(&Scope::whole(), &[edit(path, to)]).expect("commits");
            }
            by_command(&two, |dir| match to {
                Some(text) => {
                    fs::create_dir_all(dir.join(path).parent().expect("beneath")).expect("mkdir");
                    fs::write(dir.join(path), text).expect("write");
                }
                None => _ = fs::remove_file(dir.join(path)),
            }).expect("folds");
        }
        prop_assert_eq!(seen(&one), seen(&two));
        prop_assert_eq!(one.snapshot().expect("recorded"), two.snapshot().expect("recorded"));
    }
}

fn starts_from(dir: &Path, expected: &BTreeMap<String, (Vec<u8>, bool)>) {
    assert_eq!(&files(dir), expected, "the next command starts from there");
}

fn clash(start: &BTreeMap<String, (Vec<u8>, bool)>, end: &BTreeMap<String, (Vec<u8>, bool)>) -> bool {
    let inside = |a: &String, b: &String| a.strip_prefix(b.as_str()).is_some_and(|rest| rest.starts_with('/'));
    start.keys().any(|a| end.keys().any(|b| inside(a, b) || inside(b, a)))
}
