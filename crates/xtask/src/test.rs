//! `cargo xtask test`: format, lints, supply, all tests, documentation tests; every step runs even when one before it failed.
//!
//! The last line is `N passed, N failed`: tests, plus one failure for each step that broke without counting a failed test,
//! so that `0 failed` and exit code 0 mean the same.

use crate::Ended;
use crate::house::{self, Room};
use crate::process::{self, Done};
use crate::supply;
use crate::tally::Tally;

pub const USAGE: &str = "test [--fast] [-p CRATE]...     --fast: tests only; CRATE: `kernel` or `brigade-kernel`";

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    fast: bool,
    crates: Vec<String>,
}

pub fn run(arguments: &[String]) -> Ended {
    let asked = match asked(arguments) {
        Ok(asked) => asked,
        Err(problem) => return Ended::Usage(problem),
    };
    let rooms = match house::rooms() {
        Ok(rooms) => rooms,
        Err(problem) => {
            eprintln!("{problem}");
            return Ended::Badly;
        }
    };
    let chosen = match choose(&asked.crates, &rooms) {
        Ok(chosen) => chosen,
        Err(problem) => return Ended::Usage(problem),
    };

    let mut book = Book::default();
    if !asked.fast {
        let formatted = if chosen.is_none() { words(&["--all"]) } else { over(&chosen) };
        book.enter("format", process::cargo(&[words(&["fmt", "--check"]), formatted].concat()));
        book.enter(
            "lints",
            process::cargo(&[words(&["clippy"]), over(&chosen), words(&["--all-targets", "--", "-D", "warnings"])].concat()),
        );
        book.enter("supply", supply::check());
    }
    if process::has("nextest") {
        let runner = words(&["nextest", "run", "--no-fail-fast", "--no-tests", "pass"]);
        book.enter("tests", process::cargo(&[runner, over(&chosen)].concat()));
        // cargo refuses --doc where no library is
        let documented = chosen.map(|rooms| rooms.into_iter().filter(|room| room.library).collect::<Vec<_>>());
        if documented.as_ref().is_none_or(|rooms| !rooms.is_empty()) {
            book.enter("documentation tests", process::cargo(&[words(&["test", "--doc", "--no-fail-fast"]), over(&documented)].concat()));
        }
    } else {
        println!("\ncargo-nextest is not installed: cargo test runs all tests, those of the documentation too");
        book.enter("tests", process::cargo(&[words(&["test", "--no-fail-fast"]), over(&chosen)].concat()));
    }
    book.close()
}

fn asked(arguments: &[String]) -> Result<Asked, String> {
    let (mut asked, mut rest) = (Asked::default(), arguments.iter());
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--fast" => asked.fast = true,
            "-p" | "--package" => asked.crates.push(rest.next().ok_or("-p needs a crate")?.clone()),
            other => return Err(format!("`test` knows no `{other}`")),
        }
    }
    Ok(asked)
}

/// The crates named; `None` stands for the whole workspace.
fn choose<'a>(named: &[String], rooms: &'a [Room]) -> Result<Option<Vec<&'a Room>>, String> {
    let find = |name: &String| {
        let full = format!("brigade-{name}");
        rooms.iter().find(|room| room.name == *name || room.name == full).ok_or_else(|| {
            let known: Vec<&str> = rooms.iter().map(|room| room.name.as_str()).collect();
            format!("no crate `{name}` here; the crates are {}", known.join(", "))
        })
    };
    if named.is_empty() { Ok(None) } else { named.iter().map(find).collect::<Result<_, _>>().map(Some) }
}

/// Cargo's words for these crates.
fn over(chosen: &Option<Vec<&Room>>) -> Vec<String> {
    match chosen {
        None => words(&["--workspace"]),
        Some(rooms) => rooms.iter().flat_map(|room| ["-p".to_owned(), room.name.clone()]).collect(),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What the steps brought so far.
#[derive(Debug, Default)]
struct Book {
    tally: Tally,
    broken: Vec<&'static str>,
}

impl Book {
    fn enter(&mut self, step: &'static str, done: Done) {
        self.tally += done.tally;
        if !done.success || done.tally.failed > 0 {
            self.broken.push(step);
            self.tally.failed += u64::from(done.tally.failed == 0);
        }
    }

    fn close(self) -> Ended {
        println!();
        if !self.broken.is_empty() {
            println!("not in order: {}", self.broken.join(", "));
        }
        println!("{} passed, {} failed", self.tally.passed, self.tally.failed);
        if self.broken.is_empty() { Ended::Well } else { Ended::Badly }
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Book, Done, Room, Tally, asked, choose, over, words};
    use crate::Ended;

    fn done(success: bool, passed: u64, failed: u64) -> Done {
        Done { success, tally: Tally { passed, failed } }
    }

    #[test]
    fn nothing_failed_and_exit_code_zero_mean_the_same() {
        for (steps, passed, failed) in [
            (&[done(true, 0, 0), done(true, 7, 0), done(true, 2, 0)][..], 9, 0),
            (&[done(true, 7, 0), done(false, 1, 3)], 8, 3),
            // lints that complain, a crate that does not compile
            (&[done(false, 0, 0), done(true, 7, 0)], 7, 1),
        ] {
            let mut book = Book::default();
            steps.iter().for_each(|step| book.enter("step", *step));
            assert_eq!(book.tally, Tally { passed, failed });
            assert_eq!(book.close() == Ended::Well, failed == 0);
        }
    }

    #[test]
    fn crates_are_found_by_their_short_names() {
        let room = |name: &str| Room { name: name.to_owned(), library: true, benches: Vec::new() };
        let rooms = [room("brigade-kernel"), room("xtask")];
        assert_eq!(asked(&words(&["--fast", "-p", "kernel"])), Ok(Asked { fast: true, crates: words(&["kernel"]) }));
        let chosen = choose(&words(&["kernel", "xtask"]), &rooms).unwrap();
        assert_eq!(over(&chosen), words(&["-p", "brigade-kernel", "-p", "xtask"]));
        assert_eq!(over(&choose(&[], &rooms).unwrap()), words(&["--workspace"]));
        assert!(choose(&words(&["kernle"]), &rooms).unwrap_err().contains("the crates are brigade-kernel, xtask"));
    }
}
