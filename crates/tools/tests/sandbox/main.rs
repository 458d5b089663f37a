//! The sandbox, attacked from inside. Each case runs as this user and, when that is root, a second
//! time as uid 65534. The binary plays every part: engine, launcher and attacker.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a test program")]

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: the sandbox needs Linux");
}

#[cfg(target_os = "linux")]
mod attacks;
#[cfg(target_os = "linux")]
mod broken;
#[cfg(target_os = "linux")]
mod cases;
#[cfg(target_os = "linux")]
mod endings;
#[cfg(target_os = "linux")]
mod views;
#[cfg(target_os = "linux")]
mod workspaces;
#[cfg(target_os = "linux")]
mod world;

#[cfg(target_os = "linux")]
fn main() {
    brigade_tools::sandbox::launcher_main_if_asked();
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("__attack") => attacks::main(&args[2], &args[3..]),
        Some("__engine") => endings::engine(&args[2], &args[3]),
        Some("__broken") => broken::engine(&args[2]),
        Some("__case") => {
            let (_, case) = all().into_iter().find(|(name, _)| *name == args[2]).expect("the parent names a case");
            case();
        }
        Some("__bench") => cases::bench(args.get(2).map_or("true", String::as_str)),
        _ => {
            let mut arguments = libtest_mimic::Arguments::from_args();
            // Two cases measure how fast things die; a busy machine should not decide.
            arguments.test_threads.get_or_insert(2);
            let conclusion = libtest_mimic::run(&arguments, trials());
            // A process that exits drops no static: the copy of this binary would stay.
            drop(COPY.lock().unwrap().take());
            conclusion.exit()
        }
    }
}

#[cfg(target_os = "linux")]
type Case = (&'static str, fn());

#[cfg(target_os = "linux")]
fn all() -> Vec<Case> {
    [cases::ALL, endings::ALL, broken::ALL, views::ALL, workspaces::ALL].concat()
}

#[cfg(target_os = "linux")]
fn trials() -> Vec<libtest_mimic::Trial> {
    let mut trials: Vec<_> = all()
        .into_iter()
        .map(|(name, case)| {
            trial(name, move || {
                case();
                Ok(())
            })
        })
        .collect();
    if world::is_root() {
        trials.extend(all().into_iter().map(|(name, _)| trial(&format!("as_nobody::{name}"), move || as_nobody(name))));
    }
    trials
}

#[cfg(target_os = "linux")]
fn trial(name: &str, run: impl FnOnce() -> Result<(), libtest_mimic::Failed> + Send + 'static) -> libtest_mimic::Trial {
    libtest_mimic::Trial::test(name, run)
}

/// This binary where others can read it.
#[cfg(target_os = "linux")]
static COPY: std::sync::Mutex<Option<tempfile::TempDir>> = std::sync::Mutex::new(None);

/// The same case in a process of uid 65534, from a copy that it can read.
#[cfg(target_os = "linux")]
fn as_nobody(name: &str) -> Result<(), libtest_mimic::Failed> {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let copy = {
        let mut kept = COPY.lock().unwrap();
        let dir = kept.get_or_insert_with(|| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::copy("/proc/self/exe", dir.path().join("sandbox-tests")).unwrap();
            dir
        });
        dir.path().join("sandbox-tests")
    };
    let output = std::process::Command::new(copy)
        .args(["__case", name])
        .uid(world::NOBODY)
        .gid(world::NOBODY)
        .current_dir("/")
        .env("HOME", "/nonexistent")
        .env_remove("CARGO_HOME")
        .env_remove("RUSTUP_HOME")
        .output()?;
    if output.status.success() {
        print!("{}", String::from_utf8_lossy(&output.stdout));
        return Ok(());
    }
    Err(format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).into())
}
