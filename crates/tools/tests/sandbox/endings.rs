//! Nothing outlives its step, and nothing grows without bound.

use std::time::{Duration, Instant};

use brigade_tools::sandbox::{KillReason, Limits, Sandbox, Spec, Status};

use crate::world::{World, alive, mark, runtime, until_alive};

pub const ALL: &[(&str, fn())] = &[
    ("a_fork_bomb_hits_its_limit_and_dies", fork_bomb),
    ("a_daemon_dies_with_its_step", daemon),
    ("a_deaf_process_dies_at_the_time_limit", deaf),
    ("a_dropped_run_leaves_no_process", dropped),
    ("a_killed_engine_leaves_no_process", killed_engine),
    ("endless_output_keeps_head_and_tail_and_the_time_limit", flood),
    ("no_terminal_and_no_input", terminal),
    ("a_memory_hog_is_killed_alone", memory),
    ("file_tmp_and_disk_have_limits", disk),
];

fn fork_bomb() {
    let world = World::new();
    let mark = mark();
    let limits = Limits { processes: 320, ..Limits::default() };
    let spec = Spec { limits, timeout: Duration::from_secs(4), ..world.attack_spec("bomb", &[&mark]) };
    let finished = world.run(spec);
    let text = finished.stdout.text();
    let held = text.starts_with("DENIED") || matches!(finished.status, Status::TimedOut | Status::Killed(KillReason::Processes { .. }));
    assert!(held, "{:?} {text}", finished.status);
    assert_eq!(alive(&mark), 0);
}

fn daemon() {
    let world = World::new();
    let mark = mark();
    let started = Instant::now();
    let finished = world.run(world.attack_spec("daemon", &[&mark]));
    assert_eq!(finished.status, Status::Exit(0));
    // It held the output open, too.
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(alive(&mark), 0);
}

fn deaf() {
    let world = World::new();
    let mark = mark();
    let spec = Spec { timeout: Duration::from_millis(300), ..world.attack_spec("deaf", &[&mark]) };
    let finished = world.run(spec);
    assert_eq!(finished.status, Status::TimedOut);
    assert!(finished.duration < Duration::from_millis(2300), "{:?}", finished.duration);
    assert_eq!(alive(&mark), 0);
}

fn dropped() {
    let world = World::new();
    let mark = mark();
    let spec = world.attack_spec("deaf", &[&mark]);
    runtime().block_on(async {
        let run = world.sandbox.run(spec);
        let _ = tokio::time::timeout(Duration::from_millis(500), run).await;
    });
    assert!(until_alive(&mark, |count| count == 0, Duration::from_secs(2)).is_some());
    assert!(!world.view.join(".git").exists());
}

/// A separate engine that runs one command until it is killed.
pub fn engine(view: &str, mark: &str) -> ! {
    let sandbox = Sandbox::new(&World::profile_of_this_binary()).unwrap();
    let exe = std::env::current_exe().unwrap();
    let spec = Spec::new(view, [exe.to_str().unwrap(), "__attack", "deaf", mark]);
    let ended = runtime().block_on(sandbox.run(spec));
    panic!("ended by itself: {ended:?}")
}

fn killed_engine() {
    let world = World::new();
    let mark = mark();
    let mut engine = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["__engine", world.view.to_str().unwrap(), &mark])
        .spawn()
        .unwrap();
    // The engine and the command inside both carry the mark.
    let both = until_alive(&mark, |count| count == 2, Duration::from_secs(10));
    engine.kill().unwrap();
    engine.wait().unwrap();
    assert!(both.is_some(), "the command did not start");
    let took = until_alive(&mark, |count| count == 0, Duration::from_secs(2));
    println!("all dead {took:?} after SIGKILL of the engine");
    assert!(took.is_some(), "a process outlived the engine by 2 s");
}

fn flood() {
    let world = World::new();
    let limits = Limits { output: 64 << 10, ..Limits::default() };
    let spec = Spec { limits, timeout: Duration::from_millis(1500), ..world.attack_spec("flood", &[]) };
    let finished = world.run(spec);
    assert_eq!(finished.status, Status::TimedOut);
    assert!(finished.duration < Duration::from_millis(3500), "{:?}", finished.duration);
    let text = finished.stdout.text();
    assert!(finished.stdout.total() > 10 << 20, "{}", finished.stdout.total());
    assert!(text.len() < (64 << 10) + 100 && text.contains("bytes not kept"), "{}", text.len());
}

fn terminal() {
    World::new().denied("tty", &[]);
}

fn memory() {
    let world = World::new();
    let limits = Limits { memory: 300 << 20, ..Limits::default() };
    let finished = world.run(Spec { limits, ..world.attack_spec("memory", &[]) });
    assert_eq!(finished.status, Status::Killed(KillReason::Memory { limit: 300 << 20 }));
    // Memory hidden in the private /tmp counts as well.
    let limits = Limits { memory: 100 << 20, ..Limits::default() };
    let hidden = world.run(Spec { limits, ..world.spec(["sh", "-c", "head -c 400M /dev/zero > /tmp/x; sleep 5"]) });
    assert_eq!(hidden.status, Status::Killed(KillReason::Memory { limit: 100 << 20 }));
}

fn disk() {
    let world = World::new();
    let limits = Limits { file_size: 8 << 20, tmp: 16 << 20, ..Limits::default() };
    let run = |name, args: &[&str]| {
        let finished = world.run(Spec { limits, ..world.attack_spec(name, args) });
        assert_eq!(finished.status, Status::Exit(0));
        finished.stdout.text()
    };
    assert_eq!(run("fill", &["big"]), "DENIED after 8 MiB\n");
    assert_eq!(run("fill", &["/dev/shm/big"]), "DENIED after 8 MiB\n");
    assert!(run("many_files", &["/tmp"]).starts_with("DENIED"));
    // A reserve larger than the disk stands for a full one.
    let limits = Limits { disk_reserve: u64::MAX, ..Limits::default() };
    let finished = world.run(Spec { limits, ..world.spec(["sleep", "10"]) });
    assert!(matches!(finished.status, Status::Killed(KillReason::Disk { .. })), "{:?}", finished.status);
}
