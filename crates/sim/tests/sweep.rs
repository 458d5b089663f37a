//! The short form of the kill sweep: every failpoint once, and a few seeds with up to three kills by point or clock.
//! The long form: `cargo run -p brigade-sim -- sweep --seeds 1000`.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade_sim::sweep::{Death, deaths, points, survive};
use brigade_sim::work::{MIXED, PLANNED};

/// Runs of the short form beside the failpoints: what three minutes of two cores leave room for.
const SEEDS: u64 = 16;

#[test]
fn a_run_killed_anywhere_ends_as_if_it_had_not_been() {
    let engine = Path::new(env!("CARGO_BIN_EXE_brigade-to-kill"));
    let unkilled = survive(engine, &MIXED, &[], None).unwrap_or_else(|why| panic!("without any kill:\n{why}")).findings.heard;
    // Points that are passed often are hit in the middle of the work, not only at its start.
    let at_points = points().enumerate().map(|(i, name)| (name.to_owned(), vec![Death::At(name, 1 + i as u64 % 4)]));
    let by_seed = (1..=SEEDS).map(|seed| (format!("seed {seed}"), deaths(seed)));
    let plans: Vec<_> = at_points.chain(by_seed).collect();
    let (next, kills) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let broken: Vec<String> = std::thread::scope(|scope| {
        let worker = || {
            let mut broken = Vec::new();
            while let Some((name, deaths)) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                match survive(engine, &MIXED, deaths, Some(&unkilled)) {
                    Ok(survived) => drop(kills.fetch_add(survived.kills, Ordering::Relaxed)),
                    Err(why) => broken.push(format!("{name}, {deaths:?}:\n{why}")),
                }
            }
            broken
        };
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|w| w.join().expect("a worker of the sweep panicked")).collect()
    });
    assert!(broken.is_empty(), "{} of {} runs broken\n{}", broken.len(), plans.len(), broken.join("\n\n"));
    let kills = kills.into_inner();
    assert!(kills >= plans.len() / 2, "only {kills} kills in {} runs: the points are not hit any more", plans.len());
}

#[test]
fn a_planner_killed_while_it_writes_is_asked_for_the_rest_and_nothing_runs_twice() {
    let engine = Path::new(env!("CARGO_BIN_EXE_brigade-to-kill"));
    let whole = survive(engine, &PLANNED, &[], None).unwrap_or_else(|why| panic!("without any kill:\n{why}"));
    let done = |heard: &std::collections::BTreeMap<(usize, u64), usize>| {
        heard.iter().filter(|((rule, _), _)| *rule > 6).map(|(_, n)| n).sum::<usize>()
    };
    assert_eq!(done(&whole.findings.heard), 4, "{:?}", whole.findings.heard);
    let (mut kills, mut rests) = (0, 0);
    for hits in [1, 8, 16, 24, 32, 40, 60] {
        let deaths = [Death::At("at-first-delta", hits)];
        let survived = survive(engine, &PLANNED, &deaths, None).unwrap_or_else(|why| panic!("killed at delta {hits}:\n{why}"));
        assert_eq!(done(&survived.findings.heard), 4, "killed at delta {hits}: {:?}", survived.findings.heard);
        kills += survived.kills;
        rests += survived.findings.heard.keys().filter(|(rule, _)| (2..=5).contains(rule)).count();
    }
    assert!(kills >= 4 && rests >= 1, "{kills} kills, {rests} plans asked for the rest: the planner is not killed in mid-plan any more");
}
