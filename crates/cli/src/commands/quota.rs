//! `brigade quota`: what is left of every window, and when it comes back. Reads; changes nothing.

use brigade_kernel::plan::write_span;
use brigade_kernel::policy::QuotaWindow;
use brigade_kernel::run::ReportedWindow;
use brigade_kernel::time::Timestamp;
use brigade_kernel::units::QuotaUnits;
use brigade_kernel::view::rfc3339;
use brigade_runtime::Clock;
use brigade_runtime::accounts::{self, AccountReport};
use brigade_runtime::treasury::Book;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure, chain};
use crate::screen::{self, Column, Table, span};
use crate::wiring;

/// How to have one.
const NONE: &str = "\
no quota window is set, and no account has told of its own. To pace runs by a subscription, write into config.toml of BRIGADE_HOME:
[quota]
window = \"5h\"
units = 300
weights = { flagship = 1.0, mini = 0.3 }
";

/// Show what is left of every quota window
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// A configured window as it stands.
struct Stands {
    name: String,
    window: QuotaWindow,
    used: QuotaUnits,
    leased: QuotaUnits,
    /// When the next unit comes back, and when the last one does.
    returns: Option<(Timestamp, Timestamp)>,
}

impl Stands {
    fn left(&self) -> QuotaUnits {
        QuotaUnits(self.window.units.0.saturating_sub(self.used.0).saturating_sub(self.leased.0))
    }
}

/// Does it.
///
/// # Errors
/// When the home cannot be read, or its configuration is at fault.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let env = wiring::env();
    let (config, _) = wiring::configure(&[], &env, None)?;
    let home = wiring::open_home(&env)?;
    let journal = home.journal();
    let now = Clock::start().now();
    let mut book = Book::open(&*journal).map_err(|e| Failure::failed(chain(&e)))?;
    book.ledger.seen(now);
    let stands = |(name, window): (&String, &QuotaWindow)| {
        let (used, leased, returns) = book.ledger.window(window.span, now);
        Stands { name: name.clone(), window: *window, used: QuotaUnits(used), leased: QuotaUnits(leased), returns }
    };
    let windows: Vec<Stands> = config.policy.quota.windows.iter().map(stands).collect();
    let reports = accounts::latest(&*journal)?;
    if args.json {
        let accounts: Vec<Value> = reports.values().map(account).collect();
        screen::print(&screen::json_line(&json!({ "windows": windows.iter().map(own).collect::<Vec<_>>(), "accounts": accounts })));
        return Ok(Exit::Done);
    }
    if windows.is_empty() && reports.is_empty() {
        screen::print(NONE);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        ("window", Column::Whole),
        ("span", Column::Number),
        ("units", Column::Number),
        ("used", Column::Number),
        ("leased", Column::Number),
        ("left", Column::Number),
        ("units come back", Column::Whole),
    ]);
    for one in &windows {
        let back = match one.returns {
            None => "all are there".to_owned(),
            Some((next, last)) if next == last => format!("in {}", span((next - now).0)),
            Some((next, last)) => format!("from {} on, all in {}", span((next - now).0), span((last - now).0)),
        };
        let [units, used, leased, left] = [one.window.units, one.used, one.leased, one.left()].map(|units| units.to_string());
        table.row([one.name.clone(), write_span(one.window.span), units, used, leased, left, back]);
    }
    if !table.is_empty() {
        screen::print(&table.shown());
    }
    if !reports.is_empty() {
        screen::print(&format!("{}{}", if windows.is_empty() { "" } else { "\n" }, told(reports.values(), now)));
    }
    Ok(Exit::Done)
}

/// What accounts tell of themselves.
fn told<'a>(reports: impl Iterator<Item = &'a AccountReport>, now: Timestamp) -> String {
    let mut table = Table::new(&[
        ("account", Column::Whole),
        ("span", Column::Number),
        ("used", Column::Number),
        ("empty again", Column::Whole),
        ("as told", Column::Whole),
    ]);
    for report in reports {
        for window in &report.windows {
            let over = window.resets_at.is_some_and(|at| at <= now);
            let back = match window.resets_at {
                _ if over => "is by now".to_owned(),
                Some(at) => format!("in {}", span((at - now).0)),
                None => "not said".to_owned(),
            };
            let used = if over { "0 %".to_owned() } else { format!("{:.1} %", window.used_percent) };
            table.row([report.provider.clone(), write_span(window.span()), used, back, format!("{} ago", span((now - report.at).0))]);
        }
    }
    table.shown()
}

fn own(one: &Stands) -> Value {
    json!({
        "name": one.name,
        "window_ms": one.window.span,
        "units": one.window.units,
        "used": one.used,
        "leased": one.leased,
        "left": one.left(),
        "next_at": one.returns.map(|(next, _)| rfc3339(next)),
        "empty_at": one.returns.map(|(_, last)| rfc3339(last)),
    })
}

fn account(report: &AccountReport) -> Value {
    let window = |window: &ReportedWindow| json!({ "minutes": window.minutes, "used_percent": window.used_percent, "resets_at": window.resets_at.map(rfc3339) });
    json!({
        "provider": report.provider,
        "reported_at": rfc3339(report.at),
        "windows": report.windows.iter().map(window).collect::<Vec<_>>(),
    })
}
