//! How much of what an account allows is used: makespan under a rate limit over the bound that the limit itself sets.

use std::path::Path;
use std::thread;
use std::time::Instant;

use super::brigade::{self, Folder, Provider};

pub const NAME: &str = "limit";
pub const MEASURES: &str = "makespan under 600 requests a minute over the bound that the limit sets; refusals; one process and two";

const PER_MINUTE: u64 = 600;

/// So many processes with so many subtasks each, on an account that saves up `burst` requests.
struct Setting {
    processes: u64,
    subtasks: u64,
    burst: u64,
}

const SETTINGS: [Setting; 3] = [
    Setting { processes: 1, subtasks: 900, burst: 600 },
    Setting { processes: 1, subtasks: 360, burst: 60 },
    Setting { processes: 2, subtasks: 180, burst: 60 },
];

pub fn run() -> Result<(), String> {
    let binary = brigade::binary()?;
    let folder = Folder::new(NAME).map_err(|e| e.to_string())?;
    println!("bound: (calls - burst) * 60 s / {PER_MINUTE}; a home that knows nothing of the account; a call takes 300 ms");
    println!("{:>9} {:>9} {:>6} {:>10} {:>10} {:>7} {:>9}", "processes", "calls", "burst", "makespan", "bound", "ratio", "refused");
    for setting in SETTINGS {
        measure(&binary, &folder, &setting)?;
    }
    Ok(())
}

fn measure(binary: &Path, folder: &Folder, setting: &Setting) -> Result<(), String> {
    let Setting { processes, subtasks, burst } = *setting;
    let limits = format!("[server]\ndelay_ms = 300\n[limits]\nrequests_per_minute = {PER_MINUTE}\nburst = {burst}\n");
    let scenario = folder.file("scenario.toml", &brigade::scenario(&limits, "ok")).map_err(|e| e.to_string())?;
    let ledger = folder.path().join(format!("ledger-{processes}-{subtasks}"));
    let provider = Provider::start_with(binary, &scenario, &["--ledger", &ledger.display().to_string(), "--no-sync"])?;
    // Work of its own for each: what another run of the home has done is not done again.
    let plan = |process: u64| {
        let plan = brigade::plan((0..subtasks).map(|i| (format!("p{process}-s{i}"), "classify", Vec::new())));
        folder.file(&format!("plan-{process}.json"), &plan).map(|path| path.display().to_string()).map_err(|e| e.to_string())
    };
    let plans: Vec<String> = (0..processes).map(plan).collect::<Result<_, _>>()?;
    let home = folder.path().join(format!("home-{processes}-{subtasks}"));
    let start = Instant::now();
    let ended: Vec<Result<_, String>> = thread::scope(|scope| {
        let (home, url) = (&home, &provider.base_url);
        let one = |plan| move || brigade::run(binary, url, home, &["run", "--plan", plan, "-q", "--max-budget-usd", "1000"]);
        let running: Vec<_> = plans.iter().map(|plan| scope.spawn(one(plan))).collect();
        running.into_iter().map(|thread| thread.join().map_err(|_| "a run panicked".to_owned())?).collect()
    });
    let makespan = start.elapsed().as_secs_f64();
    ended.into_iter().collect::<Result<Vec<_>, _>>()?;
    drop(provider);
    let lines = std::fs::read_to_string(&ledger).map_err(|e| e.to_string())?;
    let refused = lines.lines().filter(|line| line.contains("\"status\":429")).count();
    // Each run asks for a review as well.
    let calls = processes * (subtasks + 1);
    let bound = (calls - burst) as f64 * 60.0 / PER_MINUTE as f64;
    println!("{processes:>9} {calls:>9} {burst:>6} {makespan:>8.2} s {bound:>8.2} s {:>7.3} {refused:>9}", makespan / bound);
    Ok(())
}
