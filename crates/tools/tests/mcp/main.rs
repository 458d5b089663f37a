//! MCP servers, honest and hostile, as real processes in the real sandbox. The binary plays every part: engine, launcher and server.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a test program")]

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: the sandbox needs Linux");
}

#[cfg(target_os = "linux")]
mod hostile;
#[cfg(target_os = "linux")]
mod real;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod service;
#[cfg(target_os = "linux")]
mod stage;

#[cfg(target_os = "linux")]
fn main() {
    brigade_tools::sandbox::launcher_main_if_asked();
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("__server") => server::main(&args[2]),
        Some("__engine") => stage::engine(&args[2]),
        _ => {
            let mut arguments = libtest_mimic::Arguments::from_args();
            arguments.test_threads.get_or_insert(2);
            let cases = [hostile::ALL, service::ALL, real::ALL].concat();
            let trial = |(name, case): (&'static str, fn())| {
                libtest_mimic::Trial::test(name, move || {
                    case();
                    Ok(())
                })
            };
            libtest_mimic::run(&arguments, cases.into_iter().map(trial).collect()).exit()
        }
    }
}
