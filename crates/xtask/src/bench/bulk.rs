//! What a row costs brigade itself, and that memory does not grow with their number: a generated JSONL, one classify subtask.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use super::brigade::{self, Folder, Provider};

pub const NAME: &str = "bulk";
pub const MEASURES: &str = "CPU and journal bytes per row, peak memory at 1,000, 10,000 and 100,000 rows with -o";

const PLAN: &str = r#"{"subtasks": [{"id": "label", "type": "classify", "for_each": "input", "output_format": "text",
  "description": "Label this ticket: {{item.text}}"}]}"#;

pub fn run() -> Result<(), String> {
    let binary = brigade::binary()?;
    let folder = Folder::new(NAME).map_err(|e| e.to_string())?;
    let scenario = folder.file("scenario.toml", &brigade::scenario("", "ok")).map_err(|e| e.to_string())?;
    let provider = Provider::start(&binary, &scenario)?;
    println!("{:>9} {:>10} {:>14} {:>10} {:>14} {:>14}", "rows", "in flight", "CPU/row", "wall", "peak memory", "journal/row");
    // What a run costs however few its rows are.
    let one = measure(&binary, &provider, &folder, 1, None)?;
    let settings = [(1_000, None), (10_000, None), (100_000, None), (10_000, Some(64)), (100_000, Some(64))];
    let mut peaks = Vec::new();
    for (rows, at_once) in settings {
        let (took, journal) = measure(&binary, &provider, &folder, rows, at_once)?;
        println!(
            "{rows:>9} {:>10} {:>11.0} us {:>7.2} s {:>10.1} MB {:>12} B",
            at_once.map_or_else(|| "auto".to_owned(), |n: u32| n.to_string()),
            took.cpu_us.saturating_sub(one.0.cpu_us) as f64 / rows as f64,
            took.wall_ms / 1_000.0,
            took.peak_kib as f64 / 1_024.0,
            journal.saturating_sub(one.1) / rows,
        );
        peaks.push(took.peak_kib as f64);
    }
    println!("peak memory of 100,000 rows over 10,000: {:.2} (auto), {:.2} (64 in flight)", peaks[2] / peaks[1], peaks[4] / peaks[3]);
    println!("a run of one row: {:.1} ms CPU, {:.1} MB", one.0.cpu_us as f64 / 1e3, one.0.peak_kib as f64 / 1_024.0);
    Ok(())
}

fn measure(binary: &Path, provider: &Provider, folder: &Folder, rows: u64, at_once: Option<u32>) -> Result<(brigade::Took, u64), String> {
    let input = folder.path().join("rows.jsonl");
    write_rows(&input, rows).map_err(|e| e.to_string())?;
    let plan = folder.file("plan.json", PLAN).map_err(|e| e.to_string())?;
    let out = folder.path().join("out.jsonl");
    let home = folder.path().join(format!("home-{rows}-{}", at_once.unwrap_or(0)));
    std::fs::create_dir_all(&home).map_err(|e| e.to_string())?;
    let slots = at_once.map_or_else(|| "\"auto\"".to_owned(), |n| n.to_string());
    let config = format!("[limits]\nmax_concurrent_subagents = {slots}\n[budget]\nrun_usd = 10000\n");
    std::fs::write(home.join("config.toml"), config).map_err(|e| e.to_string())?;
    let [plan, input, to] = [&plan, &input, &out].map(|path| path.display().to_string());
    let (took, _) = brigade::run(binary, &provider.base_url, &home, &["run", "--plan", &plan, "--input", &input, "-o", &to, "-q"])?;
    let written = BufReader::new(File::open(&out).map_err(|e| e.to_string())?).lines().count() as u64;
    if written != rows {
        return Err(format!("{rows} rows went in and {written} came out"));
    }
    let journal = brigade::size_of(&home);
    std::fs::remove_dir_all(&home).map_err(|e| e.to_string())?;
    Ok((took, journal))
}

/// Line by line: what the kernel reports of a child counts what its parent held when it started.
fn write_rows(path: &Path, rows: u64) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for row in 0..rows {
        writeln!(file, "{{\"id\": {row}, \"text\": \"ticket {row}: the parcel has not come, and nobody answers the telephone\"}}")?;
    }
    file.flush()
}
