//! Who may depend on whom, crate by crate.

/// What each crate may use of its siblings, in products and builds. What is not here may be used by nobody.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("kernel", &[]),
    ("journal", &[]),
    ("emulator", &[]),
    ("models", &["kernel"]),
    ("tools", &["kernel"]),
    ("runtime", &["kernel", "journal", "models", "tools"]),
    ("cli", &["kernel", "journal", "models", "tools", "runtime", "emulator"]),
    // it kills the whole binary, and so builds one
    ("sim", &["kernel", "journal", "models", "tools", "runtime", "cli", "emulator"]),
    ("hostile", &["kernel", "models", "tools"]),
    ("xtask", &[]),
];

/// Whose tests may also use the emulator: those that meet a model on the far side of HTTP.
const TESTS_MAY_PRETEND: [&str; 4] = ["models", "runtime", "cli", "sim"];

/// One crate of the house uses another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrow {
    pub from: String,
    pub to: String,
    /// Only its tests, benches and examples do.
    pub tests_only: bool,
}

/// The arrows that point where none may.
pub fn broken(arrows: &[Arrow]) -> Vec<String> {
    let (mut faults, known) = (Vec::new(), MAY_USE.map(|(name, _)| name).join(", "));
    for Arrow { from, to, tests_only } in arrows {
        let Some((_, may)) = MAY_USE.iter().find(|(name, _)| name == from) else {
            faults.push(format!("{from} is a crate without rules ({known} have some): say in MAY_USE (crates/cli/tests/house_rules/arrows.rs) what it may use, and in ARCHITECTURE.md what it forbids"));
            continue;
        };
        let pretends = *tests_only && to == "emulator" && TESTS_MAY_PRETEND.contains(&from.as_str());
        if !may.contains(&to.as_str()) && !pretends {
            let how = if *tests_only { " in its tests" } else { "" };
            let may = if may.is_empty() { "no sibling".to_owned() } else { may.join(", ") };
            faults.push(format!(
                "{from} uses {to}{how}; it may use {may}: move the code to a crate that may use {to}, or hand {from} a value instead"
            ));
        }
    }
    faults
}

#[test]
fn an_arrow_that_points_up_or_sideways_is_broken() {
    let arrow = |from: &str, to: &str, tests_only| Arrow { from: from.to_owned(), to: to.to_owned(), tests_only };
    for (from, to, tests_only, stands) in [
        ("models", "kernel", false, true),
        ("runtime", "journal", false, true),
        ("cli", "emulator", false, true),
        ("runtime", "emulator", true, true),
        ("kernel", "models", false, false),
        ("journal", "kernel", false, false),
        ("models", "tools", false, false),
        ("tools", "journal", true, false),
        ("runtime", "emulator", false, false),
        ("journal", "emulator", true, false),
        ("runtime", "cli", false, false),
        ("cli", "sim", true, false),
        ("cli", "xtask", false, false),
        ("emulator", "kernel", true, false),
        ("helpers", "kernel", false, false),
    ] {
        let faults = broken(&[arrow(from, to, tests_only)]);
        assert_eq!(faults.is_empty(), stands, "{from} to {to}: {faults:?}");
        assert!(faults.iter().all(|fault| fault.starts_with(from)));
    }
}
