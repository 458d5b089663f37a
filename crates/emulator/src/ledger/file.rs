//! The ledger's file: lines, the thread that writes them, and how they are read again.
//!
//! One thread writes for all calls, so that those arriving together share one `fsync`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize, Serializer};

use super::{CallRecord, Outcome, Spent};

/// What a ledger file says about earlier calls.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(super) calls: Vec<CallRecord>,
    pub(super) last_seq: u64,
    /// Rules (from 1) that counted a request, of the same scenario.
    pub(crate) counted: Vec<usize>,
    /// Rules that answered one.
    pub(crate) answered: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Start {
        scenario: String,
    },
    Arrival {
        seq: u64,
        at: String,
        path: String,
        model: String,
        request_id: Option<String>,
        fingerprint: String,
        rule: Option<usize>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        counted: Vec<usize>,
        status: u16,
        stream: bool,
        in_flight: u64,
        usage_sent: bool,
        #[serde(default, skip_serializing_if = "super::none")]
        images: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    End {
        seq: u64,
        outcome: Outcome,
        usage: Option<Spent>,
    },
}

pub(super) fn at<S: Serializer>(at: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

fn rfc3339(at: i64) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |time| format!("{time:.3}"))
}

pub(super) fn hex<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:016x}"))
}

fn line(line: &Line) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    crate::json::value(&mut out, line);
    out.push(b'\n');
    out
}

pub(super) fn arrival_line(call: &CallRecord, counted: &[usize]) -> Vec<u8> {
    line(&Line::Arrival {
        seq: call.seq,
        at: rfc3339(call.at),
        path: call.path.into(),
        model: call.model.as_ref().into(),
        request_id: call.request_id.as_deref().map(Into::into),
        fingerprint: format!("{:016x}", call.fingerprint),
        rule: call.rule,
        counted: counted.into(),
        status: call.status,
        stream: call.stream,
        in_flight: call.in_flight,
        usage_sent: call.usage_sent,
        images: call.images,
        service: call.service.as_deref().map(Into::into),
        note: call.note.as_deref().map(Into::into),
    })
}

pub(super) fn end_line(seq: u64, outcome: Outcome, usage: Option<&Spent>) -> Vec<u8> {
    line(&Line::End { seq, outcome, usage: usage.copied() })
}

/// Reads what an earlier emulator wrote. A torn last line is what a crash leaves: it is skipped.
pub(super) fn read(path: &Path, scenario: u64) -> std::io::Result<Kept> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(error),
    };
    let mut kept = Kept::default();
    let mut same = false;
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    for (number, bytes) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let parsed: Line = match serde_json::from_slice(bytes) {
            Ok(parsed) => parsed,
            // a crash tears only a last line; the next process then starts a new one with "start"
            Err(_) if lines.get(number + 1).is_none_or(|next| next.is_empty() || next.starts_with(b"{\"event\":\"start\"")) => {
                continue;
            }
            Err(error) => {
                let message = format!("line {} is no ledger line ({error}): move the file away", number + 1);
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
            }
        };
        match parsed {
            Line::Start { scenario: name } => same = name == format!("{scenario:016x}"),
            Line::Arrival {
                seq,
                at,
                path,
                model,
                request_id,
                fingerprint,
                rule,
                counted,
                status,
                stream,
                in_flight,
                usage_sent,
                images,
                service,
                note,
            } => {
                if same {
                    kept.counted.extend(counted);
                    kept.answered.extend(rule);
                }
                kept.last_seq = kept.last_seq.max(seq);
                kept.calls.push(CallRecord {
                    seq,
                    at: at.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_millisecond),
                    path: known_path(&path),
                    model: model.into(),
                    request_id: request_id.map(Into::into),
                    fingerprint: u64::from_str_radix(&fingerprint, 16).unwrap_or(0),
                    rule,
                    status,
                    stream,
                    in_flight,
                    outcome: Outcome::Lost,
                    usage: None,
                    usage_sent,
                    images,
                    service: service.map(Into::into),
                    note: note.map(Into::into),
                });
            }
            Line::End { seq, outcome, usage } => {
                // ends come soon after their arrivals: look from the back
                if let Some(call) = kept.calls.iter_mut().rev().find(|call| call.seq == seq) {
                    call.outcome = outcome;
                    call.usage = usage;
                }
            }
        }
    }
    kept.calls.sort_by_key(|call| call.seq);
    Ok(kept)
}

fn known_path(path: &str) -> &'static str {
    use crate::ask::Dialect;
    let known = [Dialect::Chat.path(), crate::responses::compact::PATH];
    known.into_iter().find(|known| *known == path).unwrap_or(Dialect::Responses.path())
}

/// What an arrival waits for.
#[derive(Debug)]
pub(crate) enum Ack {
    None,
    /// The line is on the disk when this is answered.
    Durable(tokio::sync::oneshot::Receiver<bool>),
}

impl Ack {
    /// Waits; `false` = the disk refused.
    pub(crate) async fn wait(self) -> bool {
        match self {
            Self::None => true,
            Self::Durable(wait) => wait.await.unwrap_or(false),
        }
    }
}

struct Entry {
    line: Vec<u8>,
    ack: Option<tokio::sync::oneshot::Sender<bool>>,
}

/// Sends lines to the writing thread; dropping it waits until all are written.
#[derive(Debug)]
pub(super) struct Writer {
    entries: Option<Sender<Entry>>,
    durable: bool,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn open(path: &Path, durable: bool, scenario: u64) -> std::io::Result<Self> {
        let mut file = File::options().create(true).append(true).read(true).open(path)?;
        let mut start = line(&Line::Start { scenario: format!("{scenario:016x}") });
        if file.metadata()?.len() > 0 {
            // after a torn line this begins a new one
            start.insert(0, b'\n');
        }
        file.write_all(&start)?;
        if durable {
            file.sync_all()?;
            // the name must survive as well as the bytes
            if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                File::open(dir)?.sync_all()?;
            }
        }
        let (entries, queue) = channel();
        let thread = std::thread::Builder::new().name("emulator-ledger".into()).spawn(move || write_all(&file, &queue, durable))?;
        Ok(Self { entries: Some(entries), durable, thread: Some(thread) })
    }

    pub(super) fn arrive(&self, line: Vec<u8>) -> Ack {
        if !self.durable {
            self.send(Entry { line, ack: None });
            return Ack::None;
        }
        let (ack, wait) = tokio::sync::oneshot::channel();
        self.send(Entry { line, ack: Some(ack) });
        Ack::Durable(wait)
    }

    pub(super) fn end(&self, line: Vec<u8>) {
        self.send(Entry { line, ack: None });
    }

    fn send(&self, entry: Entry) {
        // a failed send means the thread is gone; a durable call then learns it from its ack
        if let Some(entries) = &self.entries {
            let _ = entries.send(entry);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.entries = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes what has queued up, syncs once, tells all who wait.
fn write_all(mut file: &File, queue: &Receiver<Entry>, durable: bool) {
    let mut bytes = Vec::new();
    let mut acks = Vec::new();
    while let Ok(first) = queue.recv() {
        for entry in std::iter::once(first).chain(queue.try_iter()) {
            bytes.extend_from_slice(&entry.line);
            acks.extend(entry.ack);
        }
        let written = file.write_all(&bytes).and_then(|()| if durable { file.sync_data() } else { Ok(()) });
        for ack in acks.drain(..) {
            let _ = ack.send(written.is_ok());
        }
        bytes.clear();
    }
}
