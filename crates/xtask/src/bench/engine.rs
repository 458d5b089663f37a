//! What one subtask costs brigade itself: CPU, memory, journal, provider without latency.

use super::brigade::{self, Folder, Provider};

pub const NAME: &str = "engine";
pub const MEASURES: &str = "CPU per subtask, peak memory and journal size at 1,000 and 10,000 independent subtasks";

pub fn run() -> Result<(), String> {
    let binary = brigade::binary()?;
    let folder = Folder::new(NAME).map_err(|e| e.to_string())?;
    let scenario = folder.file("scenario.toml", &brigade::scenario("", "ok")).map_err(|e| e.to_string())?;
    let provider = Provider::start(&binary, &scenario)?;
    println!("{:>9} {:>12} {:>14} {:>10} {:>14} {:>12}", "subtasks", "in flight", "CPU/subtask", "wall", "peak memory", "journal");
    // What a run costs however small it is.
    let one = measure(&binary, &provider, &folder, 1, 1_000)?;
    for (n, at_once) in [(1_000, 64), (1_000, 1_000), (10_000, 64), (10_000, 1_000)] {
        let took = measure(&binary, &provider, &folder, n, at_once)?;
        println!(
            "{n:>9} {at_once:>12} {:>11.0} us {:>7.2} s {:>10.1} MB {:>9.2} MB",
            took.0.cpu_us.saturating_sub(one.0.cpu_us) as f64 / n as f64,
            took.0.wall_ms / 1_000.0,
            took.0.peak_kib as f64 / 1_024.0,
            took.1 as f64 / 1e6,
        );
    }
    println!("a run of one subtask: {:.1} ms CPU, {:.1} MB", one.0.cpu_us as f64 / 1e3, one.0.peak_kib as f64 / 1_024.0);
    Ok(())
}

fn measure(binary: &std::path::Path, provider: &Provider, folder: &Folder, n: u32, at_once: u32) -> Result<(brigade::Took, u64), String> {
    let plan = brigade::plan((0..n).map(|i| (format!("s{i}"), "classify", Vec::new())));
    let plan = folder.file("plan.json", &plan).map_err(|e| e.to_string())?;
    let home = folder.path().join(format!("home-{n}-{at_once}"));
    std::fs::create_dir_all(&home).map_err(|e| e.to_string())?;
    let config = format!("[limits]\nmax_concurrent_subagents = {at_once}\n[budget]\nrun_usd = 1000\n");
    std::fs::write(home.join("config.toml"), config).map_err(|e| e.to_string())?;
    let plan = plan.display().to_string();
    let (took, _) = brigade::run(binary, &provider.base_url, &home, &["run", "--plan", &plan, "-q"])?;
    Ok((took, brigade::size_of(&home)))
}
