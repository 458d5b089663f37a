//! One gate per account (promises.md I15, faults 1 and 3): storms, pace, and several engines behind one limit.

use std::collections::BTreeMap;
use std::time::Duration;

use brigade_emulator::CallRecord;
use brigade_kernel::run::Event;
use brigade_sim::audit;
use brigade_sim::lab::{Engine, Lab};

use crate::bench::{code, events, lab, many, run, sound};

/// Starts a run of a plan without waiting for it. Its work is its own: nothing of another run's is reused.
fn start(lab: &Lab, name: &str, plan: &str, more: &[&str]) -> Engine {
    let plan = plan.replace("WORK", name);
    let plan = lab.write(&format!("{name}.toml"), &plan).expect("a plan").display().to_string();
    let arguments: Vec<&str> = ["run", "--plan", &plan, "--apply", "never"].into_iter().chain(more.iter().copied()).collect();
    lab.start(&arguments, &[]).expect("an engine")
}

/// The run a call was made for.
fn run_of(call: &CallRecord) -> String {
    call.request_id.as_deref().and_then(|id| id.split_once('-')).map(|(run, _)| run.to_owned()).unwrap_or_default()
}

fn subtasks_done(lab: &Lab) -> usize {
    let runs = audit::runs(&lab.home()).expect("a readable journal");
    let events = runs.iter().flat_map(|run| audit::events(&lab.home(), run).expect("a readable journal"));
    events.filter(|e| matches!(e.stamped.event, Event::SubtaskEnded { .. })).count()
}

/// The refused calls after the first wave: each alone, each in a window of its own.
fn one_probe_a_window(calls: &[CallRecord], wave_ms: i64) -> usize {
    let first = calls.first().expect("a call").at;
    let probes: Vec<&CallRecord> = calls.iter().filter(|c| c.at > first + wave_ms && c.status == 429).collect();
    for pair in probes.windows(2) {
        assert!(pair[1].at - pair[0].at >= 900, "two probes within {} ms", pair[1].at - pair[0].at);
    }
    assert!(probes.iter().all(|c| c.in_flight == 1), "a probe is not alone");
    probes.len()
}

#[test]
fn a_thousand_tasks_in_a_storm_send_one_probe_per_window_and_lose_nothing() {
    let lab = lab("[limits]\nrefuses_for_ms = 4500\n");
    code(&run(&lab, &many(1_000)), 0);
    let calls = lab.calls();
    // What was on the wire when the first refusal came; the machine may be slow.
    let wave = calls.iter().take_while(|c| c.status == 429).zip(calls.iter().skip(1)).take_while(|(a, b)| b.at - a.at < 700).count();
    let wave_ms = calls[wave].at - calls[0].at;
    let probes = one_probe_a_window(&calls, wave_ms);
    assert!((1..=6).contains(&probes), "{probes} probes");
    assert_eq!(calls.iter().filter(|c| c.status == 200).count(), 1_000 + 1, "each once, and the review");
    assert_eq!(events(&lab).iter().filter(|e| matches!(e, Event::SubtaskEnded { .. })).count(), 1_000);
    sound(&lab);
}

#[test]
fn an_engine_that_starts_in_a_storm_of_another_one_sends_nothing_into_it() {
    let lab = lab("[limits]\nrefuses_for_ms = 4000\n");
    let one = start(&lab, "one", &many(60), &[]);
    while lab.calls().len() < 60 {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    let wave_ms = lab.calls().last().expect("sixty").at - lab.calls()[0].at;
    let two = start(&lab, "two", &many(60), &[]);
    code(&one.wait().expect("an end"), 0);
    code(&two.wait().expect("an end"), 0);
    let calls = lab.calls();
    one_probe_a_window(&calls, wave_ms);
    let refused = calls.iter().filter(|c| c.status == 429).count();
    assert!(refused <= 60 + 5, "{refused} refusals: the second wave went into the storm");
    assert_eq!(subtasks_done(&lab), 120);
}

/// Ten calls a second, and no more than five at once saved up.
const TEN_A_SECOND: &str = "[limits]\nrequests_per_minute = 600\nburst = 5\n";

#[test]
fn two_engines_share_one_rate_alike() {
    let lab = lab(TEN_A_SECOND);
    let warm = start(&lab, "warm", &many(1), &[]);
    code(&warm.wait().expect("an end"), 0);
    let before = lab.calls().len();
    let engines: Vec<Engine> = (0..2).map(|i| start(&lab, &format!("plan{i}"), &many(40), &[])).collect();
    for engine in engines {
        code(&engine.wait().expect("an end"), 0);
    }
    let calls = lab.calls().split_off(before);
    let mut by_run: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    calls.iter().filter(|c| c.status == 200).for_each(|c| by_run.entry(run_of(c)).or_default().push(c.at));
    let begins = by_run.values().map(|at| at[0]).max().expect("two runs");
    let ends = by_run.values().map(|at| at[at.len() - 1]).min().expect("two runs");
    let both: Vec<usize> = by_run.values().map(|at| at.iter().filter(|at| (begins..=ends).contains(*at)).count()).collect();
    assert!(both.iter().all(|n| *n >= 20) && both[0].abs_diff(both[1]) <= 8, "{both:?} while both were at work");
    let refused = calls.iter().filter(|c| c.status == 429).count();
    assert!(refused <= 12, "{refused} of {} calls were refused", calls.len());
}

#[test]
fn an_interactive_run_goes_before_a_bulk_run_under_way() {
    let lab = lab(TEN_A_SECOND);
    let rows: String = (0..60).map(|i| format!("{{\"n\": {i}}}\n")).collect();
    let rows = lab.write("rows.jsonl", &rows).expect("rows").display().to_string();
    let plan =
        "[[subtasks]]\nid = \"r\"\ntype = \"classify\"\nfor_each = \"input\"\ndescription = \"ROW {{item.n}}\"\noutput_format = \"text\"\n";
    let bulk = start(&lab, "bulk", plan, &["--input", &rows]);
    while lab.calls().iter().filter(|c| c.status == 200).count() < 12 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked = start(&lab, "asked", &many(15), &[]);
    code(&asked.wait().expect("an end"), 0);
    code(&bulk.wait().expect("an end"), 0);
    let calls: Vec<CallRecord> = lab.calls().into_iter().filter(|c| c.status == 200).collect();
    let bulk = run_of(&calls[0]);
    let asked: Vec<usize> = (0..calls.len()).filter(|&i| run_of(&calls[i]) != bulk).collect();
    let (first, last) = (asked[0], asked[14]);
    assert!(last - first <= 15 + 4, "{} of bulk went in between", last - first - 14);
    assert!(calls.len() - last > 15, "bulk was not under way any more");
    assert_eq!(subtasks_done(&lab), 75);
}
