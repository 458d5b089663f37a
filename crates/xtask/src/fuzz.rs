//! `cargo xtask fuzz`: each law of `crates/hostile`, attacked for a while by libFuzzer through cargo-fuzz.
//!
//! What it finds worth keeping grows in `fuzz/corpus` (not kept in git); what breaks a law is left in `fuzz/artifacts`,
//! and belongs into `crates/hostile/seeds` with the mend. No sanitizer: our own code is safe Rust, the laws and overflow
//! checks are what is to be broken, and so the stable compiler is enough.

use crate::Ended;
use crate::house;
use crate::process;

pub const USAGE: &str = "fuzz [TARGET]... [--seconds N]       each target for N seconds (60)";

const SECONDS: u64 = 60;
/// Longer inputs find nothing that shorter ones do not, and are slow.
const MAX_BYTES: u32 = 16_384;

#[derive(Debug, PartialEq, Eq)]
struct Asked {
    targets: Vec<String>,
    seconds: u64,
}

pub fn run(arguments: &[String]) -> Ended {
    let known = match targets() {
        Ok(known) => known,
        Err(problem) => {
            eprintln!("{problem}");
            return Ended::Badly;
        }
    };
    let asked = match asked(arguments, &known) {
        Ok(asked) => asked,
        Err(problem) => return Ended::Usage(problem),
    };
    if !process::has("fuzz") {
        eprintln!("cargo-fuzz is not installed: cargo install cargo-fuzz --locked");
        return Ended::Badly;
    }
    let broken: Vec<&String> = asked.targets.iter().filter(|target| !attack(target, asked.seconds)).collect();
    if broken.is_empty() {
        println!("\n{} laws held for {} s each: {}", asked.targets.len(), asked.seconds, asked.targets.join(", "));
        return Ended::Well;
    }
    println!("\nbroken: {broken:?}; the bytes are in fuzz/artifacts: mend, and keep them in crates/hostile/seeds");
    Ended::Badly
}

fn attack(target: &str, seconds: u64) -> bool {
    let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("crates/hostile/seeds/{target}"));
    if let Err(error) = std::fs::create_dir_all(house::root().join(&corpus)) {
        eprintln!("{corpus}: {error}");
        return false;
    }
    let limits = [
        format!("-max_total_time={seconds}"),
        format!("-max_len={MAX_BYTES}"),
        "-timeout=10".to_owned(),
        "-rss_limit_mb=3000".to_owned(),
        "-print_final_stats=1".to_owned(),
        "-verbosity=0".to_owned(),
    ];
    let words = ["fuzz", "run", "--fuzz-dir", "fuzz", "--sanitizer", "none", target, &corpus, &seeds, "--"].map(str::to_owned);
    process::cargo(&[words.as_slice(), limits.as_slice()].concat()).success
}

/// The targets there are: a file of wrappers each.
fn targets() -> Result<Vec<String>, String> {
    let folder = house::root().join("fuzz/targets");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned())).collect();
    names.sort();
    Ok(names)
}

fn asked(arguments: &[String], known: &[String]) -> Result<Asked, String> {
    let (mut asked, mut rest) = (Asked { targets: Vec::new(), seconds: SECONDS }, arguments.iter());
    while let Some(word) = rest.next() {
        if word == "--seconds" {
            let given = rest.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
            asked.seconds = given.ok_or("--seconds needs a whole number above 0")?;
        } else if known.contains(word) {
            asked.targets.push(word.clone());
        } else {
            return Err(format!("no fuzz target `{word}`; the targets are {}", known.join(", ")));
        }
    }
    if asked.targets.is_empty() {
        asked.targets = known.to_vec();
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::{Asked, asked};

    #[test]
    fn without_a_name_all_targets_are_attacked_and_a_wrong_name_is_told_the_right_ones() {
        let known = ["patch".to_owned(), "plan".to_owned()];
        let ask = |words: &[&str]| asked(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>(), &known);
        assert_eq!(ask(&[]), Ok(Asked { targets: known.to_vec(), seconds: 60 }));
        assert_eq!(ask(&["plan", "--seconds", "5"]), Ok(Asked { targets: vec!["plan".to_owned()], seconds: 5 }));
        assert!(ask(&["plans"]).unwrap_err().contains("patch, plan"));
        assert!(ask(&["--seconds", "0"]).is_err());
    }
}
