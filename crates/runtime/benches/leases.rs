//! What a lease of the home costs, with full sync. `cargo bench -p brigade-runtime --bench leases [-- DIR]`; numbers go to docs/performance.md.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade_journal::{Batch, Journal, Sqlite};
use brigade_kernel::budget::home::Spent;
use brigade_kernel::budget::{Amounts, HomeAsk, HomeCap, Measure, Scope};
use brigade_kernel::ids::RunId;
use brigade_kernel::run::Caller;
use brigade_kernel::units::NanoUsd;
use brigade_runtime::treasury::{Answer, Asked, Book, spending, spending_of};
use brigade_runtime::{Clock, Treasury};
use tokio::sync::mpsc::unbounded_channel;

const LEASES: usize = 50_000;

fn cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or(0))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    let dir: PathBuf = std::env::args().skip(1).find(|a| !a.starts_with('-')).map_or_else(std::env::temp_dir, Into::into);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for at_once in [1, 16, 64, 512] {
        let home = tempfile::tempdir_in(&dir)?;
        let journal: Arc<dyn Journal> = Arc::new(Sqlite::open(&home.path().join("journal.db"))?);
        let leases = if at_once == 1 { LEASES / 50 } else { LEASES };
        let (started, used) = (Instant::now(), cpu());
        runtime.block_on(work(journal.clone(), leases, at_once))?;
        let (wall, used) = (started.elapsed(), cpu() - used);
        writeln!(
            out,
            "{at_once:>4} at once: {:>7.0} leases/s taken and ended, {:>6.1} us CPU each, {} bytes each",
            leases as f64 / wall.as_secs_f64(),
            used.as_secs_f64() * 1e6 / leases as f64,
            journal.size_on_disk()? / leases as u64
        )?;
        let started = Instant::now();
        let total = Book::open(&*journal)?.ledger.total();
        writeln!(
            out,
            "     opened by another process in {:.1} ms: {} settled",
            started.elapsed().as_secs_f64() * 1e3,
            total.settled.money
        )?;
    }
    Ok(())
}

/// So many callers at once, as the attempts of a run: each asks, is answered, and its call ends.
async fn work(journal: Arc<dyn Journal>, leases: usize, at_once: usize) -> Result<(), Box<dyn Error>> {
    let treasury = Treasury::new(journal.clone(), Clock::start(), |_| true);
    let run = RunId::new("r0000000000000000001")?;
    let caps = vec![HomeCap { scope: Scope::Day, measure: Measure::NanoUsd, cap: NanoUsd::DOLLAR.0 * 1_000_000 }];
    let ask = HomeAsk { most: Amounts { money: NanoUsd(5_000_000), tokens: 6_000, ..Amounts::default() }, held_back: Amounts::default() };
    let (answer, mut told) = unbounded_channel();
    let once = || {
        let (run, caps, ask, answer) = (run.clone(), caps.clone(), ask.clone(), answer.clone());
        treasury.ask(Asked { run, caller: Caller::Planner, caps, ask, answer });
    };
    (0..at_once).for_each(|_| once());
    let mut asked = at_once;
    let mut done = 0;
    let mut page = Vec::new();
    while done < leases {
        told.recv_many(&mut page, 1_024).await;
        let mut ended = Vec::new();
        for (_, answer) in page.drain(..) {
            let Answer::Granted(lease, most, _) = answer else { return Err(format!("{answer:?}").into()) };
            ended.push(Spent { lease: Some(lease), at: Clock::start().now(), took: most });
        }
        done += ended.len();
        let again = ended.len().min(leases.saturating_sub(asked));
        // As an engine does: in the batch of the events that say so.
        drop(journal.append(Batch::new().record(&spending(), spending_of(ended))));
        (0..again).for_each(|_| once());
        asked += again;
    }
    // Durable, all of it.
    journal.append(Batch::new()).await?;
    Ok(())
}
