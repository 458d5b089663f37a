//! `brigade-sim sweep --seeds N [--from SEED] [--jobs N]`: the long form of the kill sweep, as long as one likes.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a terminal program of the developers")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use brigade_sim::sweep::{Death, deaths, points, survive};
use brigade_sim::work::MIXED;

const USAGE: &str = "usage: brigade-sim sweep [--seeds N] [--from SEED] [--jobs N] [--points HITS]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = [("--seeds", 100), ("--from", 1), ("--jobs", 2), ("--points", 0)];
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        let number = rest.next().and_then(|n| n.parse().ok());
        match (numbers.iter_mut().find(|(name, _)| name == word), number) {
            (Some((_, slot)), Some(number)) => *slot = number,
            _ => return usage(),
        }
    }
    if words.first().is_none_or(|verb| verb != "sweep") {
        return usage();
    }
    let [(_, seeds), (_, from), (_, jobs), (_, hits)] = numbers;
    let plans: Vec<(String, Vec<Death>)> = if hits > 0 {
        points().flat_map(|name| (1..=hits).map(move |nth| (format!("{name}:{nth}"), vec![Death::At(name, nth)]))).collect()
    } else {
        (from..from + seeds).map(|seed| (format!("seed {seed}"), deaths(seed))).collect()
    };
    sweep(&plans, jobs)
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn sweep(plans: &[(String, Vec<Death>)], jobs: u64) -> ExitCode {
    let engine = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join("brigade-to-kill")));
    let Some(engine) = engine.filter(|path| path.exists()) else {
        eprintln!("brigade-to-kill is not built: cargo build -p brigade-sim");
        return ExitCode::from(2);
    };
    let unkilled = match survive(&engine, &MIXED, &[], None) {
        Ok(survived) => survived.findings.heard,
        Err(why) => {
            eprintln!("the work fails without any kill:\n{why}");
            return ExitCode::FAILURE;
        }
    };
    let (next, kills, lost, resumed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let failed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some((name, deaths)) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match survive(&engine, &MIXED, deaths, Some(&unkilled)) {
                        Ok(survived) => {
                            kills.fetch_add(survived.kills, Ordering::Relaxed);
                            lost.fetch_add(survived.findings.lost, Ordering::Relaxed);
                            resumed.fetch_add(survived.findings.resumed, Ordering::Relaxed);
                        }
                        Err(why) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            eprintln!("{name}, {deaths:?}:\n{why}\n");
                        }
                    }
                }
            });
        }
    });
    let [kills, lost, resumed] = [kills, lost, resumed].map(AtomicUsize::into_inner);
    let failed = failed.into_inner();
    println!(
        "{} runs, {kills} kills survived, {resumed} times resumed, {lost} calls in flight at a kill, {failed} runs broken",
        plans.len()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
