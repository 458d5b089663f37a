//! Agents, honest and hostile, as real programs in the real sandbox: shell scripts that print an agent's lines.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a test program")]

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: the sandbox needs Linux");
}

#[cfg(target_os = "linux")]
mod errands;
#[cfg(target_os = "linux")]
mod stage;

#[cfg(target_os = "linux")]
fn main() {
    brigade_tools::sandbox::launcher_main_if_asked();
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(2);
    let trial = |(name, case): &(&'static str, fn())| {
        let case = *case;
        libtest_mimic::Trial::test(*name, move || {
            case();
            Ok(())
        })
    };
    libtest_mimic::run(&arguments, errands::ALL.iter().map(trial).collect()).exit()
}
