//! `brigade emulate`: a scripted model API over real HTTP, until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;

use brigade_emulator::{LedgerSnapshot, Options, Scenario, serve_until};
use brigade_kernel::view::count;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Exit, Failure, chain};
use crate::screen;

/// Serve a scripted model API (docs/emulator.md).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The scenario (TOML)
    scenario: PathBuf,
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// Write every call to this file, and go on counting where it ends
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Answer before the call is on the disk: faster, and a crash of the machine may lose the last lines
    #[arg(long, requires = "ledger")]
    no_sync: bool,
}

/// Does it. The first line on standard output is the base URL; everything else goes to standard error.
///
/// # Errors
/// Exit 2 for a scenario that cannot be read, exit 1 when the address or the ledger cannot be had.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    // More descriptors: a caller may open thousands of connections. Where the system refuses, there are fewer.
    let _ = brigade_tools::sandbox::harden_self();
    let scenario = Scenario::load(&args.scenario).map_err(|e| Failure::usage(chain(&e)))?;
    let options =
        Options { bind: args.bind, ledger: args.ledger.clone(), durable: args.ledger.is_some() && !args.no_sync, ..Options::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let until = async {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
        };
        let ready = |running: &brigade_emulator::Running| {
            let url = running.base_url();
            screen::print(&format!("{url}\n"));
            screen::remark(&format!(
                "every answer is scripted by {}; use it with: OPENAI_BASE_URL={url} OPENAI_API_KEY=any",
                args.scenario.display()
            ));
            if !running.addr().ip().is_loopback() {
                screen::remark(&format!("note: {} is not loopback: others can reach this emulator", running.addr()));
            }
        };
        Ok::<_, std::io::Error>(serve_until(scenario, &options, ready, until).await)
    })?;
    let ledger = served.map_err(|e| Failure::failed(chain(&e)))?;
    screen::remark(&told(&ledger));
    Ok(Exit::Done)
}

fn told(ledger: &LedgerSnapshot) -> String {
    let (mut calls, mut completed) = (0, 0);
    for totals in ledger.totals.values() {
        calls += totals.calls;
        completed += totals.completed;
    }
    format!("answered {}, {completed} of them to the end", count(calls, "call", "calls"))
}
