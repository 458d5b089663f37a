//! The three storeys inside the kernel: words; stages; then what composes them. Nothing leans on what stands above it.

use crate::real::File;
use crate::rust::{holds_word, product};

/// Spoken by everybody; they know only each other.
const WORDS: [&str; 9] = ["ids", "image", "units", "time", "json_schema", "tool", "usage", "call", "role"];

/// Each stage, and the stages it reads. The first are data that was read at a gate: the plan, the policy, the catalog.
/// Those that decide never see one another, so that each can be understood, and replaced, alone.
const STAGES: [(&str, &[&str]); 7] = [
    ("plan", &[]),
    ("catalog", &[]),
    ("policy", &["plan"]),
    ("route", &["plan", "policy"]),
    ("schedule", &["plan"]),
    ("context", &["plan", "policy"]),
    ("budget", &["catalog"]),
];

/// They compose the stages; `view` folds what `run` records.
const ABOVE: [(&str, &[&str]); 2] = [("run", &[]), ("view", &["run"])];

pub fn broken(File { path, text }: &File) -> Vec<String> {
    let Some(inside) = path.strip_prefix("crates/kernel/src/") else { return Vec::new() };
    let module = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    if module == "lib" || inside.ends_with("tests.rs") || inside.contains("/tests/") {
        return Vec::new();
    }
    let stages = || STAGES.iter().map(|(name, _)| *name);
    let all: Vec<&str> = WORDS.into_iter().chain(stages()).chain(ABOVE.iter().map(|(name, _)| *name)).collect();
    let reads = |table: &[(&str, &'static [&'static str])]| table.iter().find(|(name, _)| *name == module).map(|(_, reads)| *reads);
    let (storey, may): (&str, Vec<&str>) = if WORDS.contains(&module) {
        ("a word", WORDS.to_vec())
    } else if let Some(reads) = reads(&STAGES) {
        ("a stage", [&WORDS[..], reads].concat())
    } else if let Some(reads) = reads(&ABOVE) {
        ("on the top storey", WORDS.into_iter().chain(stages()).chain(reads.iter().copied()).collect())
    } else {
        return vec![format!(
            "{path}: `{module}` stands on no storey: name it in crates/cli/tests/house_rules/storeys.rs and in ARCHITECTURE.md"
        )];
    };
    let mut faults = Vec::new();
    for (number, line) in product(text) {
        for used in all.iter().filter(|used| **used != module && !may.contains(used)) {
            if holds_word(line, &format!("crate::{used}")) {
                faults.push(format!(
                    "{path}:{number}: `{module}` is {storey} and may not use `{used}`: let `run` hand it the value it needs"
                ));
            }
        }
    }
    faults
}

#[test]
fn a_storey_leans_only_on_those_below_it() {
    for (path, line, stands) in [
        ("ids.rs", "use crate::units::NanoUsd;", true),
        ("ids.rs", "use crate::plan::Plan;", false),
        ("plan/read.rs", "use crate::ids::SubtaskId;", true),
        ("plan/read.rs", "use crate::plan::scope;", true),
        ("route/start.rs", "use crate::policy::Policy;", true),
        ("route/start.rs", "let fits = crate::budget::admit(x);", false),
        ("route/start.rs", "// crate::budget would know", true),
        ("budget/mod.rs", "use crate::run::State;", false),
        ("run/step.rs", "use crate::{plan};", true),
        ("run/step.rs", "use crate::view::public;", false),
        ("view/public.rs", "use crate::run::Event;", true),
        ("attic/mod.rs", "", false),
        ("route/tests.rs", "use crate::budget::Ledger;", true),
    ] {
        let file = File { path: format!("crates/kernel/src/{path}"), text: line.to_owned() };
        assert_eq!(broken(&file).is_empty(), stands, "{path}: {line}: {:?}", broken(&file));
    }
}
