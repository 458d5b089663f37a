//! How much executors are shown of what one conversation would have held, over the example runs.

use serde_json::Value;

use super::brigade::{self, Folder};

pub const NAME: &str = "context";
pub const MEASURES: &str = "executor context as a share of full history (computed), over the example runs";

const EXAMPLES: [&str; 2] = ["fix-failing-test", "triage"];

pub fn run() -> Result<(), String> {
    let binary = brigade::binary()?;
    let folder = Folder::new(NAME).map_err(|e| e.to_string())?;
    println!("{:<18} {:>9} {:>12} {:>14} {:>8}", "example", "attempts", "shown", "full history", "share");
    let mut all = [0; 3];
    for example in EXAMPLES {
        let home = folder.path().join(example);
        std::fs::create_dir_all(&home).map_err(|e| e.to_string())?;
        let brigade = |arguments: &[&str]| brigade::run(&binary, "", &home, arguments).map(|(_, out)| out);
        brigade(&["run", "--offline", example, "-q"])?;
        let total = read(&brigade(&["show", &last(&brigade(&["ps", "--json"])?)?, "--context", "--json"])?)?["total"].clone();
        let number = |field: &str| total[field].as_u64().ok_or_else(|| format!("no {field} in {total}"));
        let of = [number("attempts")?, number("tokens_est")?, number("full_history_tokens_est")?];
        line(example, of);
        all.iter_mut().zip(of).for_each(|(sum, n)| *sum += n);
    }
    line("together", all);
    Ok(())
}

fn line(name: &str, [attempts, shown, full]: [u64; 3]) {
    println!("{name:<18} {attempts:>9} {shown:>12} {full:>14} {:>6.1} %", 100.0 * shown as f64 / full as f64);
}

/// The newest run of a home.
fn last(listed: &str) -> Result<String, String> {
    let first = read(listed.lines().next().unwrap_or_default())?;
    first["run_id"].as_str().map(str::to_owned).ok_or_else(|| format!("no run in {first}"))
}

fn read(json: &str) -> Result<Value, String> {
    serde_json::from_str(json).map_err(|e| format!("{e}: {json}"))
}
