//! What our Rust files are like: opened, short, named after a subject, and free of what their room forbids.

use crate::real::File;

/// Lines after which a file holds more than one idea.
const LONGEST: usize = 600;

/// Names that say only that the author had no name.
const NAMELESS: [&str; 9] = ["core", "common", "type", "types", "util", "utils", "helper", "helpers", "manager"];

/// What the kernel may not mention, and what to do instead.
const IMPURE: [(&str, &str); 7] = [
    ("std::fs", "take the file's contents as an argument"),
    ("std::net", "leave as an action what the network should do"),
    ("std::process", "leave as an action what should run"),
    ("SystemTime", "take the time as an argument"),
    ("Instant", "take the time as an argument"),
    ("tokio", "return a value; runtime waits"),
    ("rand", "take the random value as an argument"),
];

/// Where processes may start; `sim` starts engines, to kill them.
const SPAWNERS: [&str; 3] = ["crates/tools/", "crates/xtask/", "crates/sim/"];

/// Tests, benches and examples: ours, but not the product.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || ["/tests/", "/benches/", "/examples/"].iter().any(|folder| path.contains(folder))
}

pub fn unopened(File { path, text }: &File) -> Vec<String> {
    let opened = text.starts_with("//!") || is_test(path);
    fault(!opened, || format!("{path}: open it with `//!`, saying what it is and what it refuses to do"))
}

pub fn long(File { path, text }: &File) -> Vec<String> {
    let lines = text.lines().count();
    fault(lines > LONGEST && !is_test(path), || {
        format!("{path}: {lines} lines; past {LONGEST} it holds more than one idea: split it by idea")
    })
}

pub fn named_badly(File { path, text }: &File) -> Vec<String> {
    let parts = path.trim_end_matches(".rs").split('/').filter(|part| NAMELESS.contains(part));
    let modules = mentions(text).filter_map(|(_, line)| {
        let name = line.trim().trim_start_matches("pub ").strip_prefix("mod ")?.trim_end_matches([';', '{', ' ']);
        NAMELESS.contains(&name).then_some(name.to_owned())
    });
    let names = parts.map(str::to_owned).chain(modules);
    names.map(|name| format!("{path}: nothing is called `{name}`: name it after what it holds, or put it where its one user is")).collect()
}

pub fn impure(File { path, text }: &File) -> Vec<String> {
    if !path.starts_with("crates/kernel/src/") || is_test(path) {
        return Vec::new();
    }
    let found = |(number, line): (usize, &str)| {
        let faults: Vec<String> = IMPURE
            .iter()
            .filter(|(word, _)| holds_word(line, word))
            .map(|(word, instead)| format!("{path}:{number}: the kernel knows no `{word}`: {instead}"))
            .collect();
        faults
    };
    product(text).flat_map(found).collect()
}

pub fn spawning(File { path, text }: &File) -> Vec<String> {
    if is_test(path) || SPAWNERS.iter().any(|home| path.starts_with(home)) {
        return Vec::new();
    }
    let spawns = product(text).filter(|(_, line)| line.contains("Command::new"));
    spawns.map(|(number, _)| format!("{path}:{number}: processes start in crates/tools, behind the sandbox: call it")).collect()
}

/// Lines of code with their numbers, comments taken off.
pub fn mentions(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let uncommented = |line| str::split_once(line, "//").map_or(line, |(code, _)| code);
    text.lines().enumerate().map(move |(at, line)| (at + 1, uncommented(line)))
}

/// The same, up to the unit tests that close a file.
pub fn product(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = text.find("#[cfg(test)]\nmod ").filter(|at| !text[*at..].lines().nth(1).is_some_and(|line| line.ends_with(';')));
    mentions(&text[..tests.unwrap_or(text.len())])
}

/// Whether the line holds this word or path, and not merely as a part of a longer word.
pub fn holds_word(line: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| !inside(line[..at].chars().next_back()) && !inside(line[at + word.len()..].chars().next()))
}

fn fault(broken: bool, say: impl FnOnce() -> String) -> Vec<String> {
    if broken { vec![say()] } else { Vec::new() }
}

#[test]
fn each_rule_finds_its_fault_and_nothing_else() {
    type Rule = fn(&File) -> Vec<String>;
    let kernel = "crates/kernel/src/plan/read.rs";
    let long_file = "//! x\n".repeat(LONGEST + 1);
    for (rule, path, text, faults) in [
        (unopened as Rule, kernel, "use x;", 1),
        (unopened, kernel, "//! Plans.\n", 0),
        (unopened, "crates/kernel/src/plan/tests.rs", "use x;", 0),
        (unopened, "crates/kernel/tests/laws.rs", "use x;", 0),
        (long, kernel, &long_file, 1),
        (long, kernel, long_file.trim_start_matches("//! x\n"), 0),
        (named_badly, "crates/kernel/src/utils.rs", "", 1),
        (named_badly, "crates/common/src/lib.rs", "", 1),
        (named_badly, kernel, "pub mod helpers;\nmod core {", 2),
        (named_badly, kernel, "use core::fmt;\nmod types_of_work;", 0),
        (impure, kernel, "use std::fs;\nlet now = Instant::now();", 2),
        (impure, kernel, "// std::fs is not for us\nlet operand = Instants;", 0),
        (impure, kernel, "fn x() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}", 0),
        (impure, kernel, "#[cfg(test)]\nmod tests;\nuse std::fs;", 1),
        (impure, "crates/runtime/src/lib.rs", "use std::fs;", 0),
        (spawning, "crates/runtime/src/perform.rs", "Command::new(\"ls\")", 1),
        (spawning, "crates/tools/src/spawn.rs", "Command::new(\"ls\")", 0),
        (spawning, "crates/models/examples/cost.rs", "Command::new(\"ls\")", 0),
    ] {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        assert_eq!(rule(&file).len(), faults, "{path}: {:.80}: {:?}", file.text, rule(&file));
    }
}
