//! What may come into the house from others: licences, banned crates and sources, by `deny.toml`.
//!
//! cargo-deny judges where it is installed. Where it is not, the same file is read here and its licences, bans and
//! sources are checked by what cargo itself knows; nothing here fetches the advisory database.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::house::{self, list};
use crate::licence;
use crate::process::{self, Done};
use crate::tally::Tally;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks by cargo-deny, or by ourselves.
pub fn check() -> Done {
    if process::has("deny") {
        return process::cargo(&["deny", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"].map(str::to_owned));
    }
    println!("\n> supply: cargo-deny is not installed (`cargo install --locked cargo-deny` brings it);");
    println!("  licences, bans and sources of deny.toml are checked without it, duplicates are not");
    let faults = faults_here().unwrap_or_else(|problem| vec![problem]);
    for fault in &faults {
        println!("  {fault}");
    }
    Done { success: faults.is_empty(), tally: Tally::default() }
}

fn faults_here() -> Result<Vec<String>, String> {
    let rules = fs::read_to_string(house::root().join("deny.toml")).map_err(|error| format!("deny.toml: {error}"))?;
    let rules = Rules::read(&rules)?;
    let metadata = process::cargo_output(&["metadata", "--format-version", "1", "--all-features", "--locked"])?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = list(&metadata["packages"]);
    println!("  {} packages", packages.len());
    Ok(packages.iter().flat_map(|package| rules.faults(package)).collect())
}

/// What deny.toml says, as far as it is read here.
#[derive(Debug)]
struct Rules {
    licences: Vec<String>,
    banned: BTreeSet<String>,
}

impl Rules {
    fn read(text: &str) -> Result<Self, String> {
        let rules: toml::Table = text.parse().map_err(|error| format!("deny.toml: {error}"))?;
        let array = |section: &str, key: &str| {
            let found = rules.get(section).and_then(|section| section.get(key)).and_then(toml::Value::as_array);
            found.ok_or_else(|| format!("deny.toml: [{section}] {key} must be a list"))
        };
        let licences = array("licenses", "allow")?.iter().filter_map(|licence| licence.as_str().map(str::to_owned)).collect();
        let banned = array("bans", "deny")?.iter();
        let banned = banned.filter_map(|ban| ban.get("crate").unwrap_or(ban).as_str().map(str::to_owned)).collect();
        Ok(Self { licences, banned })
    }

    fn faults(&self, package: &Value) -> Vec<String> {
        let name = package["name"].as_str().unwrap_or_default();
        let named = format!("{name} {}", package["version"].as_str().unwrap_or_default());
        let mut faults = Vec::new();
        match package["license"].as_str().map(|expression| (expression, licence::suffices(expression, &self.licences))) {
            Some((_, Ok(true))) => {}
            Some((expression, Ok(false))) => {
                faults.push(format!("{named}: licence `{expression}` is not in [licenses] allow of deny.toml"))
            }
            Some((_, Err(problem))) => faults.push(format!("{named}: {problem}")),
            None => faults.push(format!("{named}: names no licence expression; look at its licence file and replace the crate or ask")),
        }
        if self.banned.contains(name) {
            faults.push(format!("{named}: banned by deny.toml, which names the replacement; `cargo tree -i {name}` says who wants it"));
        }
        // a path of this workspace has no source
        if let Some(source) = package["source"].as_str()
            && source != CRATES_IO
        {
            faults.push(format!("{named}: comes from {source}; only crates.io is allowed"));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{CRATES_IO, Rules};

    #[test]
    fn each_fault_of_a_package_is_named() {
        let rules = Rules::read(
            r#"
            [licenses]
            allow = ["MIT", "ISC"]
            [bans]
            deny = [{ crate = "openssl", use-instead = "rustls" }, "git2"]
            "#,
        )
        .unwrap();
        for (name, licence, source, faults) in [
            ("brigade-kernel", json!("MIT OR Apache-2.0"), json!(null), 0),
            ("serde", json!("MIT OR Apache-2.0"), json!(CRATES_IO), 0),
            ("readline", json!("GPL-3.0"), json!(CRATES_IO), 1),
            ("nameless", json!(null), json!(CRATES_IO), 1),
            ("openssl", json!("MIT"), json!(CRATES_IO), 1),
            ("git2", json!("MIT OR"), json!("git+https://example.org/git2"), 3),
        ] {
            let package = json!({ "name": name, "version": "1.0.0", "license": licence, "source": source });
            let found = rules.faults(&package);
            assert_eq!(found.len(), faults, "{name}: {found:?}");
            assert!(found.iter().all(|fault| fault.starts_with(name)));
        }
    }

    #[test]
    fn a_file_of_rules_without_its_lists_is_refused() {
        assert!(Rules::read("[licenses]\nallow = ['MIT']").unwrap_err().contains("[bans] deny"));
    }
}
