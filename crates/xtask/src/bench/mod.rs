//! `cargo xtask bench`: the numbers of docs/performance.md, each by name.
//!
//! A bench measures and prints; it asserts nothing, so that a slow machine fails no build. To add one, put a bench
//! target into the crate it measures and a line into [`BENCHES`]; one that needs the built `brigade` is a function here.

mod brigade;
mod bulk;
mod context;
mod engine;
mod hedge;
mod latency;
mod limit;
mod wire;

use crate::Ended;
use crate::process;

pub const USAGE: &str = "bench [NAME [ARGS...]]          without NAME: all of them; --list: what there is";

struct Bench {
    name: &'static str,
    measures: &'static str,
    package: &'static str,
    target: &'static str,
}

const BENCHES: [Bench; 3] = [
    Bench {
        name: "journal-append",
        measures: "CPU, time and bytes per record appended, read, and watched",
        package: "brigade-journal",
        target: "append",
    },
    Bench { name: "models-decode", measures: "CPU per streamed answer decoded", package: "brigade-models", target: "decode" },
    Bench {
        name: "views",
        measures: "a repository of 50,000 files: set-up, disk, commands and search in views",
        package: "brigade-tools",
        target: "views",
    },
];

/// A bench of the built `brigade`.
struct Whole {
    name: &'static str,
    measures: &'static str,
    run: fn() -> Result<(), String>,
}

const WHOLE: [Whole; 6] = [
    Whole { name: bulk::NAME, measures: bulk::MEASURES, run: bulk::run },
    Whole { name: context::NAME, measures: context::MEASURES, run: context::run },
    Whole { name: engine::NAME, measures: engine::MEASURES, run: engine::run },
    Whole { name: hedge::NAME, measures: hedge::MEASURES, run: hedge::run },
    Whole { name: latency::NAME, measures: latency::MEASURES, run: latency::run },
    Whole { name: limit::NAME, measures: limit::MEASURES, run: limit::run },
];

fn whole(bench: &Whole) -> bool {
    println!("\n{}: {}", bench.name, bench.measures);
    match (bench.run)() {
        Ok(()) => true,
        Err(why) => {
            println!("broken: {why}");
            false
        }
    }
}

pub fn run(arguments: &[String]) -> Ended {
    if let Some(bench) = arguments.first().and_then(|name| WHOLE.iter().find(|b| b.name == name)) {
        return if whole(bench) { Ended::Well } else { Ended::Badly };
    }
    let (chosen, rest): (Vec<&Bench>, &[String]) = match arguments.split_first() {
        None => (BENCHES.iter().collect(), &[]),
        Some((flag, [])) if flag == "--list" => {
            for bench in &BENCHES {
                println!("{:<16} {}", bench.name, bench.measures);
            }
            for bench in &WHOLE {
                println!("{:<16} {}", bench.name, bench.measures);
            }
            return Ended::Well;
        }
        Some((name, rest)) => match BENCHES.iter().find(|bench| bench.name == name) {
            Some(bench) => (vec![bench], rest),
            None => {
                let names: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
                return Ended::Usage(format!("no bench `{name}`; the benches are {}", names.join(", ")));
            }
        },
    };
    let mut broken = Vec::new();
    for bench in chosen {
        println!("\n{}: {}", bench.name, bench.measures);
        let words = ["bench", "-p", bench.package, "--bench", bench.target, "--"].map(str::to_owned);
        if !process::cargo(&[&words[..], rest].concat()).success {
            broken.push(bench.name);
        }
    }
    if arguments.is_empty() {
        broken.extend(WHOLE.iter().filter(|bench| !whole(bench)).map(|bench| bench.name));
    }
    if broken.is_empty() {
        return Ended::Well;
    }
    println!("\nbroken: {}", broken.join(", "));
    Ended::Badly
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::BENCHES;
    use crate::house;

    #[test]
    fn the_benches_named_here_are_the_benches_of_the_workspace() {
        let rooms = house::rooms().unwrap();
        let there: BTreeSet<(&str, &str)> =
            rooms.iter().flat_map(|room| room.benches.iter().map(|bench| (&*room.name, &**bench))).collect();
        let named: BTreeSet<(&str, &str)> = BENCHES.iter().map(|bench| (bench.package, bench.target)).collect();
        assert_eq!(named, there, "left: BENCHES in crates/xtask/src/bench.rs; right: bench targets of the workspace. Make them agree");
    }
}
