//! What an account tells of its quota, from an agent's lines or from the record it keeps of its session. Refuses nothing aloud:
//! what is no report, or is out of all proportion, is none.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;

use brigade_kernel::run::ReportedWindow;
use brigade_kernel::time::Timestamp;
use rustix::fs::{Dir, FileType, Mode, OFlags};
use serde_json::Value;

/// Windows of one report.
const MOST_WINDOWS: usize = 8;
/// The longest window, in minutes: a year.
const LONGEST: u64 = 525_600;
/// The last second that is told as one: the end of 2099.
const LAST_SECOND: u64 = 4_102_444_799;
/// Folders and files looked at in all.
const MOST_ENTRIES: usize = 256;
/// Folders within folders.
const DEEPEST: usize = 5;
/// Of a record, its end is read.
const TAIL_BYTES: u64 = 512 << 10;

/// Windows as they are listed: `[{"minutes": 300, "used_percent": 42.5, "resets_at": 1795300000}]`, the instant in seconds since 1970.
pub(super) fn listed(of: &Value) -> Vec<ReportedWindow> {
    let windows = of.as_array().into_iter().flatten();
    windows.filter_map(|window| read(window, "minutes")).take(MOST_WINDOWS).collect()
}

/// Codex's `rate_limits`: its windows stand under names (`primary`, `secondary`) that say nothing; each says its own length.
fn limits(of: &Value) -> Vec<ReportedWindow> {
    let windows = of.as_object().into_iter().flat_map(|fields| fields.values());
    windows.filter_map(|window| read(window, "window_minutes")).take(MOST_WINDOWS).collect()
}

fn read(window: &Value, minutes: &str) -> Option<ReportedWindow> {
    let minutes = window.get(minutes)?.as_u64().filter(|minutes| (1..=LONGEST).contains(minutes))?;
    let used_percent = window.get("used_percent")?.as_f64().filter(|used| (0.0..=1_000.0).contains(used))?;
    let seconds = window.get("resets_at").and_then(Value::as_u64).filter(|seconds| *seconds <= LAST_SECOND);
    Some(ReportedWindow { minutes, used_percent, resets_at: seconds.map(|seconds| Timestamp(seconds * 1_000)) })
}

/// The last report in the records that lie in the folder `sessions` of `home`. Links are not followed: the agent wrote them.
pub(super) fn on_record(home: &Path, sessions: &str) -> Option<Vec<ReportedWindow>> {
    let home = rustix::fs::open(home, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()).ok()?;
    let mut folders = VecDeque::from([(beneath(&home, sessions, OFlags::DIRECTORY)?, 0)]);
    let (mut seen, mut newest) = (0, None);
    while let Some((folder, depth)) = folders.pop_front() {
        for entry in Dir::read_from(&folder).ok()?.flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.starts_with('.') {
                continue;
            }
            seen += 1;
            if seen > MOST_ENTRIES {
                return newest.map(|(_, windows)| windows);
            }
            match entry.file_type() {
                FileType::Directory if depth < DEEPEST => {
                    folders.extend(beneath(&folder, name, OFlags::DIRECTORY).map(|fd| (fd, depth + 1)))
                }
                FileType::RegularFile if name.ends_with(".jsonl") => {
                    // Their names begin with the time: the last one is the newest.
                    let later = newest.as_ref().is_none_or(|(known, _): &(String, _)| known.as_str() < name);
                    if later && let Some(windows) = beneath(&folder, name, OFlags::NONBLOCK).and_then(|fd| last_report(fd.into())) {
                        newest = Some((name.to_owned(), windows));
                    }
                }
                _ => {}
            }
        }
    }
    newest.map(|(_, windows)| windows)
}

fn beneath(folder: &OwnedFd, name: &str, flags: OFlags) -> Option<OwnedFd> {
    rustix::fs::openat(folder, name, flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()).ok()
}

fn last_report(mut file: File) -> Option<Vec<ReportedWindow>> {
    let meta = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    file.seek(SeekFrom::Start(meta.len().saturating_sub(TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    bytes.split(|byte| *byte == b'\n').rev().find_map(report)
}

/// One line of a session's record, if it is a report.
fn report(line: &[u8]) -> Option<Vec<ReportedWindow>> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let payload = line.get("payload").filter(|payload| payload.get("type").and_then(Value::as_str) == Some("token_count"))?;
    Some(limits(payload.get("rate_limits")?)).filter(|windows| !windows.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As codex 0.169.0 wrote it against a server that sent `x-codex-*` headers, shortened.
    const LINE: &str = r#"{"timestamp":"2026-11-21T18:14:15.825Z","ordinal":12,"type":"event_msg","payload":{"type":"token_count","info":{"total_token_usage":{"input_tokens":100}},"rate_limits":{"limit_id":"codex","limit_name":null,"primary":{"used_percent":42.5,"window_minutes":300,"resets_at":1795300000},"secondary":{"used_percent":7.0,"window_minutes":10080,"resets_at":1795800000},"credits":null,"plan_type":null}}}"#;

    #[test]
    fn codex_keeps_a_report_in_its_sessions_and_each_window_says_its_own_length() {
        let home = tempfile::tempdir().unwrap();
        let day = home.path().join("sessions/2026/11/21");
        std::fs::create_dir_all(&day).unwrap();
        let earlier = LINE.replace("42.5", "1.0");
        std::fs::write(day.join("rollout-2026-11-21T18-14-00-a.jsonl"), &earlier).unwrap();
        std::fs::write(day.join("rollout-2026-11-21T18-15-00-b.jsonl"), format!("{earlier}\nno json\n{LINE}\n{{\"type\":\"turn\"}}\n"))
            .unwrap();
        let found = on_record(home.path(), "sessions").unwrap();
        let [five_hours, week] = &found[..] else { panic!("{found:?}") };
        assert_eq!((five_hours.minutes, five_hours.used_percent, five_hours.resets_at), (300, 42.5, Some(Timestamp(1_795_300_000_000))));
        assert_eq!((week.minutes, week.used_percent), (10_080, 7.0));
        assert_eq!(on_record(home.path(), "elsewhere"), None);
    }

    #[test]
    fn a_record_that_is_a_link_or_no_file_is_not_read() {
        let (home, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("r.jsonl"), LINE).unwrap();
        std::os::unix::fs::symlink(outside.path(), home.path().join("sessions")).unwrap();
        assert_eq!(on_record(home.path(), "sessions"), None);
        std::fs::remove_file(home.path().join("sessions")).unwrap();
        std::fs::create_dir(home.path().join("sessions")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("r.jsonl"), home.path().join("sessions/r.jsonl")).unwrap();
        std::os::unix::fs::symlink(outside.path(), home.path().join("sessions/folder")).unwrap();
        assert_eq!(on_record(home.path(), "sessions"), None);
    }

    #[test]
    fn a_report_out_of_proportion_is_none() {
        let of = |text: &str| listed(&serde_json::from_str(text).unwrap());
        assert_eq!(of(r#"[{"minutes":300,"used_percent":5}]"#).len(), 1);
        for bad in [
            r#"[{"minutes":0,"used_percent":5}]"#,
            r#"[{"minutes":300}]"#,
            r#"[{"minutes":300,"used_percent":-1}]"#,
            r#"[{"minutes":300,"used_percent":1e9}]"#,
            r#"[{"minutes":99999999,"used_percent":5}]"#,
            r#"{"minutes":300,"used_percent":5}"#,
        ] {
            assert!(of(bad).is_empty(), "{bad}");
        }
        assert_eq!(of(r#"[{"minutes":300,"used_percent":5,"resets_at":99999999999999}]"#)[0].resets_at, None);
        assert_eq!(of(&format!("[{}]", vec![r#"{"minutes":300,"used_percent":5}"#; 50].join(","))).len(), MOST_WINDOWS);
    }
}
