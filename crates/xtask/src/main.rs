//! `cargo xtask test | bench | fuzz`: what a developer and `.ci/run` do to the whole house.
//!
//! No product code, and nothing is installed from here: what a machine lacks is named, with the way to get it.
//! A verb is one file with one function; to add one, write it and name it in [`VERBS`].
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a terminal program of the developers; nothing parses what product code prints here"
)]

mod bench;
mod fuzz;
mod house;
mod licence;
mod process;
mod supply;
mod tally;
mod test;

use std::process::ExitCode;

/// How a verb ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Well,
    /// What was looked at is not in order; already said on screen.
    Badly,
    /// The arguments make no sense.
    Usage(String),
}

struct Verb {
    name: &'static str,
    usage: &'static str,
    run: fn(&[String]) -> Ended,
}

const VERBS: [Verb; 3] = [
    Verb { name: "test", usage: test::USAGE, run: test::run },
    Verb { name: "bench", usage: bench::USAGE, run: bench::run },
    Verb { name: "fuzz", usage: fuzz::USAGE, run: fuzz::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ended::Well => ExitCode::SUCCESS,
        Ended::Badly => ExitCode::FAILURE,
        Ended::Usage(problem) => {
            eprintln!("error: {problem}");
            eprintln!("usage:");
            for verb in &VERBS {
                eprintln!("  cargo xtask {}", verb.usage);
            }
            ExitCode::from(2)
        }
    }
}

fn dispatch(arguments: &[String]) -> Ended {
    let names = || VERBS.map(|verb| verb.name).join(", ");
    let Some((name, rest)) = arguments.split_first() else {
        return Ended::Usage(format!("no verb given; the verbs are {}", names()));
    };
    match VERBS.iter().find(|verb| verb.name == name) {
        Some(verb) => (verb.run)(rest),
        None => Ended::Usage(format!("unknown verb `{name}`; the verbs are {}", names())),
    }
}

#[cfg(test)]
mod tests {
    use super::{Ended, dispatch};

    #[test]
    fn a_wrong_argument_is_answered_with_the_right_ones() {
        for (given, named) in [
            (&[][..], "test, bench, fuzz"),
            (&["tset"], "unknown verb `tset`; the verbs are test, bench, fuzz"),
            (&["test", "--quick"], "`--quick`"),
            (&["test", "-p"], "-p needs a crate"),
            (&["bench", "no-such-bench"], "journal-append"),
            (&["fuzz", "no-such-target"], "patch"),
        ] {
            let given: Vec<String> = given.iter().map(|word| (*word).to_owned()).collect();
            match dispatch(&given) {
                Ended::Usage(problem) => assert!(problem.contains(named), "{given:?}: {problem}"),
                other => panic!("{given:?}: {other:?}"),
            }
        }
    }
}
