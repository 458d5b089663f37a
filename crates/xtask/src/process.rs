//! The one place of xtask that starts processes: cargo, and for benches the built `brigade`.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use crate::house;
use crate::tally::Tally;

/// What became of a cargo command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub success: bool,
    /// The tests it counted.
    pub tally: Tally,
}

/// Runs cargo; its output passes through line by line, and tests in it are counted.
pub fn cargo(arguments: &[String]) -> Done {
    println!("\n> cargo {}", arguments.join(" "));
    match watch(arguments) {
        Ok(done) => done,
        Err(error) => {
            eprintln!("cargo could not be run: {error}");
            Done { success: false, tally: Tally::default() }
        }
    }
}

/// What cargo prints on standard output.
///
/// # Errors
/// Its error output, or why it could not be started.
pub fn cargo_output(arguments: &[&str]) -> Result<String, String> {
    let ended = command().args(arguments).output().map_err(|error| format!("cargo could not be run: {error}"))?;
    if !ended.status.success() {
        return Err(String::from_utf8_lossy(&ended.stderr).into_owned());
    }
    String::from_utf8(ended.stdout).map_err(|error| format!("cargo's output is not UTF-8: {error}"))
}

/// Whether cargo has this subcommand.
pub fn has(subcommand: &str) -> bool {
    let quiet = command().args([subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn watch(arguments: &[String]) -> io::Result<Done> {
    let mut child = command().args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let tally = thread::scope(|scope| {
        let err = scope.spawn(|| err.map(|pipe| pass(pipe, io::stderr())).transpose());
        let out = out.map(|pipe| pass(pipe, io::stdout())).transpose();
        let err = err.join().expect("the reader of a pipe does not panic");
        io::Result::Ok(out?.unwrap_or_default() + err?.unwrap_or_default())
    })?;
    Ok(Done { success: child.wait()?.success(), tally })
}

/// Copies whole lines, so that the two streams never cut each other's, and counts the tests they report.
fn pass(pipe: impl Read, mut to: impl Write) -> io::Result<Tally> {
    let (mut pipe, mut line, mut tally) = (BufReader::new(pipe), Vec::new(), Tally::default());
    while pipe.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        tally += Tally::of_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(tally)
}

#[expect(clippy::disallowed_methods, reason = "developers' own cargo, on the developers' own code")]
fn command() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo.current_dir(house::root()).env("NEXTEST_HIDE_PROGRESS_BAR", "1").env("CARGO_TERM_PROGRESS_WHEN", "never");
    cargo
}

/// A command for the built `brigade`.
#[expect(clippy::disallowed_methods, reason = "benches measure the real binary from outside")]
pub fn program(path: &std::path::Path) -> Command {
    Command::new(path)
}

/// Waits for a child and returns whether it ended well, its CPU time in microseconds, and its peak memory in KiB.
///
/// # Errors
/// When the child cannot be waited for.
#[expect(unsafe_code, reason = "std reports no resource usage of a child")]
pub fn wait_with_usage(child: &std::process::Child) -> Result<(bool, u64, u64), String> {
    let pid = libc::pid_t::try_from(child.id()).map_err(|e| e.to_string())?;
    let mut status = 0;
    // SAFETY: all-zero is a valid value of this plain struct of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals of the right types, and the child has not been waited for.
    if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } != pid {
        return Err(io::Error::last_os_error().to_string());
    }
    let micros = |t: libc::timeval| t.tv_sec.unsigned_abs() * 1_000_000 + t.tv_usec.unsigned_abs();
    Ok((status == 0, micros(usage.ru_utime) + micros(usage.ru_stime), usage.ru_maxrss.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::{Tally, pass};

    #[test]
    fn output_passes_through_unchanged_while_its_tests_are_counted() {
        let said = b"running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored\nno newline \xff";
        let mut shown = Vec::new();
        let tally = pass(&said[..], &mut shown).unwrap();
        assert_eq!((shown, tally), (said.to_vec(), Tally { passed: 2, failed: 0 }));
    }
}
