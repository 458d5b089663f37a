//! What accounts told of their quota, for all runs of the home: a run that starts knows what an earlier one was told.

use std::collections::BTreeMap;

use brigade_journal::{Journal, ReadError, Record, Stream};
use brigade_kernel::run::{Event, ReportedWindow, Stamped};
use brigade_kernel::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Reports read back: the last ones. Who has more accounts than this hears of the rest with their next report.
const LOOK_BACK: u64 = 256;

/// What an account told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountReport {
    /// Whose: the provider's name.
    pub provider: String,
    /// When.
    pub at: Timestamp,
    /// Its windows.
    pub windows: Vec<ReportedWindow>,
}

/// Where reports stand.
fn stream() -> Stream {
    Stream::new("accounts").expect("a stream's name")
}

/// An event's report, where it is one that this run was told itself.
pub(crate) fn report_of(stamped: &Stamped) -> Option<(Stream, Record)> {
    let Event::QuotaReported { provider, windows, as_of: None } = &stamped.event else { return None };
    let report = AccountReport { provider: provider.clone(), at: stamped.at, windows: windows.clone() };
    Some((stream(), serde_json::to_vec(&report).expect("plain values").into()))
}

/// The last report of every account.
///
/// # Errors
/// The journal's.
pub fn latest(journal: &dyn Journal) -> Result<BTreeMap<String, AccountReport>, ReadError> {
    let last = journal.version(&stream())?;
    let mut latest = BTreeMap::new();
    for stored in journal.read(&stream(), last.saturating_sub(LOOK_BACK) + 1, LOOK_BACK as usize)? {
        // Of another version of brigade: the next report is read again.
        if let Ok(report) = serde_json::from_slice::<AccountReport>(&stored.bytes) {
            latest.insert(report.provider.clone(), report);
        }
    }
    Ok(latest)
}
