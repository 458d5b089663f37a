//! What an append costs. `cargo bench -p brigade-journal [-- DIR]`; numbers go to docs/performance.md.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use brigade_journal::{Batch, Journal, Record, Sqlite, Stream, Watch};

fn cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or(0))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    let dir: PathBuf = std::env::args().skip(1).find(|a| !a.starts_with('-')).map_or_else(std::env::temp_dir, Into::into);
    let home = tempfile::tempdir_in(dir)?;
    let journal = Sqlite::open(&home.path().join("journal.db"))?;
    let bytes: Vec<u8> = (0..300_u32).map(|n| (n * 7 % 251) as u8).collect();
    let mut sizes = Vec::new();
    for (round, keyed) in [(0, false), (1, false), (2, false), (3, true)] {
        let run = Stream::new(&format!("run/r{round}"))?;
        let (records, group) = (102_400_i64, 128);
        let (started, used) = (Instant::now(), cpu());
        for first in (0..records).step_by(group) {
            let tickets: Vec<_> = (first..first + group as i64)
                .map(|n| {
                    let record = Record { bytes: bytes.clone(), key: keyed.then_some(n / 1000 * 1000 + n % 1000 * 7919 % 1000) };
                    journal.append(Batch::new().record(&run, record))
                })
                .collect();
            for ticket in tickets {
                ticket.wait()?;
            }
        }
        let (wall, used) = (started.elapsed(), cpu() - used);
        let each = |d: Duration| d.as_secs_f64() * 1e6 / records as f64;
        sizes.push(journal.size_on_disk()?);
        writeln!(
            out,
            "append, groups of {group}, 300 bytes{}: {:.2} us CPU, {:.2} us wall per record; file {} bytes",
            if keyed { ", keyed" } else { "" },
            each(used),
            each(wall),
            sizes[round]
        )?;
        let (started, used) = (Instant::now(), cpu());
        let mut from = 1;
        while let Some(last) = journal.read(&run, from, 1000)?.last() {
            from = last.seq + 1;
        }
        writeln!(out, "read in pages of 1000: {:.2} us CPU per record ({} ms)", each(cpu() - used), started.elapsed().as_millis())?;
    }
    let run = Stream::new("run/r0")?;
    let mut watch = Watch::new(run.clone(), journal.version(&run)?);
    watch.poll(&journal)?;
    let started = Instant::now();
    for _ in 0..10_000 {
        watch.poll(&journal)?;
    }
    writeln!(out, "watch: {:.2} us per poll", started.elapsed().as_secs_f64() * 100.0)?;
    let started = Instant::now();
    for _ in 0..200 {
        journal.append(Batch::new().record(&run, bytes.clone())).wait()?;
    }
    writeln!(out, "one append alone, durable: {:.2} ms", started.elapsed().as_secs_f64() * 5.0)?;
    drop(journal);
    let started = Instant::now();
    let journal = Sqlite::open(&home.path().join("journal.db"))?;
    journal.version(&run)?;
    writeln!(out, "open and first read: {:.2} ms", started.elapsed().as_secs_f64() * 1e3)?;
    Ok(())
}
