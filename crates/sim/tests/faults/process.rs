//! Engines that are interrupted, stopped, doubled or killed with work in hand (faults 33, 41-43, 25).

use std::time::{Duration, Instant};

use brigade_kernel::run::Event;
use rustix::process::Signal;

use crate::bench::{code, events, id, lab, many, resume, sound, writer};

fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every subtask takes this long.
fn slow(ms: u64) -> String {
    format!("[server]\ndelay_ms = {ms}\n")
}

#[test]
fn a_second_engine_on_a_run_is_refused_with_the_pid_of_the_first() {
    let lab = lab(&slow(1_500));
    let plan = lab.write("plan.toml", &many(2)).expect("a plan").display().to_string();
    let first = lab.start(&["run", "--plan", &plan], &[]).expect("an engine");
    until("a call", || !lab.calls().is_empty());
    let second = resume(&lab, &[]);
    code(&second, 2);
    assert!(second.err.contains(&first.pid().to_string()), "pid {} is not in: {}", first.pid(), second.err);
    code(&first.wait().expect("an engine that ends"), 0);
    sound(&lab);
}

#[test]
fn two_runs_of_one_home_work_side_by_side() {
    let lab = lab(&slow(200));
    let plan = lab.write("plan.toml", &many(20)).expect("a plan").display().to_string();
    let engines: Vec<_> = (0..3).map(|_| lab.start(&["run", "--plan", &plan, "--no-cache"], &[]).expect("an engine")).collect();
    for engine in engines {
        code(&engine.wait().expect("an engine that ends"), 0);
    }
    let calls = lab.calls();
    assert_eq!(calls.len(), 3 * 21);
    for run in brigade_sim::audit::runs(&lab.home()).expect("a journal") {
        let found = brigade_sim::audit::audit(&lab.home(), &run, &calls).expect("a journal");
        assert!(found.broken.is_empty(), "{}", found.broken.join("\n"));
    }
}

#[test]
fn one_sigterm_drains_to_a_state_that_can_be_resumed() {
    for signal in [Signal::TERM, Signal::INT] {
        let lab = lab(&slow(700));
        let plan = lab.write("plan.toml", &many(3)).expect("a plan").display().to_string();
        let engine = lab.start(&["run", "--plan", &plan], &[]).expect("an engine");
        until("three calls", || lab.calls().len() == 3);
        let start = Instant::now();
        engine.signal(signal).expect("a signal");
        let ended = engine.wait().expect("an engine that ends");
        code(&ended, 130);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert!(ended.err.contains("resume"), "{}", ended.err);
        code(&resume(&lab, &[]), 0);
        let found = sound(&lab);
        assert_eq!((found.lost, lab.calls().len()), (0, 4), "what was in flight was waited for and kept");
    }
}

#[test]
fn a_hung_call_does_not_hold_up_the_drain() {
    let lab = lab("[[rule]]\nmatch = { model = \"gpt-5.4-nano\" }\ntimes = 1\nreply = { text = \"x\" }\ndelay_ms = 60000\n");
    let plan = lab.write("plan.toml", &many(1)).expect("a plan").display().to_string();
    let engine = lab.start(&["run", "--plan", &plan], &[]).expect("an engine");
    until("a call", || !lab.calls().is_empty());
    let start = Instant::now();
    engine.signal(Signal::TERM).expect("a signal");
    code(&engine.wait().expect("an engine that ends"), 130);
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    code(&resume(&lab, &[]), 0);
    sound(&lab);
}

#[test]
fn a_second_sigterm_leaves_at_once_and_the_run_goes_on() {
    let lab = lab(&slow(2_000));
    let plan = lab.write("plan.toml", &many(3)).expect("a plan").display().to_string();
    let engine = lab.start(&["run", "--plan", &plan], &[]).expect("an engine");
    until("three calls", || lab.calls().len() == 3);
    engine.signal(Signal::TERM).expect("a signal");
    std::thread::sleep(Duration::from_millis(150));
    let start = Instant::now();
    engine.signal(Signal::TERM).expect("a signal");
    code(&engine.wait().expect("an engine that ends"), 130);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    code(&resume(&lab, &[]), 0);
    sound(&lab);
}

#[test]
fn a_stopped_engine_goes_on_without_a_double_effect() {
    let lab = lab(&slow(300));
    let plan = lab.write("plan.toml", &many(5)).expect("a plan").display().to_string();
    let engine = lab.start(&["run", "--plan", &plan], &[]).expect("an engine");
    until("calls", || lab.calls().len() == 5);
    engine.signal(Signal::STOP).expect("a signal");
    std::thread::sleep(Duration::from_millis(1_500));
    engine.signal(Signal::CONT).expect("a signal");
    code(&engine.wait().expect("an engine that ends"), 0);
    assert_eq!(lab.calls().len(), 6);
    sound(&lab);
}

/// Command lines of all processes.
fn lives(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes.into_iter().any(|p| std::fs::read(p.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark)))
}

#[test]
fn no_process_of_a_killed_engine_lives_on() {
    let lab = lab(
        "[[rule]]\nmatch = { contains = \"WRITE\", tool_result = \"\" }\nreply = { text = \"done\" }\n[[rule]]\nmatch = { contains = \"WRITE\" }\nreply = { calls = [{ name = \"run_command\", arguments = { argv = [\"sh\", \"-c\", \"echo two > a.txt; if test -e a-mark; then exit 0; fi; (setsid sleep 31.0517 &); trap '' TERM; sleep 32.0517\"], timeout_s = 5 } }] }\n",
    );
    let plan = lab.write("plan.toml", &writer("run_command")).expect("a plan").display().to_string();
    let engine = lab.start(&["run", "--plan", &plan], &[]).expect("an engine");
    until("the command", || lives("31.0517") && lives("32.0517"));
    engine.kill().expect("a kill");
    let start = Instant::now();
    while lives("31.0517") || lives("32.0517") {
        assert!(start.elapsed() < Duration::from_secs(2), "a child of a killed engine lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
    let started = events(&lab).iter().any(|e| matches!(e, Event::ToolStarted { .. }));
    assert!(started, "{} has no intent of its command", id(&lab));
}
