//! What waits for the writer, in order, and who waits for room behind it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::ticket::{Gate, Stub};
use crate::{AppendError, Batch, Stream};

/// Bytes of one transaction at most, unless one batch alone is larger: keeps the page cache small
/// and tickets resolving.
const GROUP_BYTES: usize = 8 << 20;

pub(super) enum Work {
    Append(Batch),
    Remove(Stream),
    Compact,
}

pub(super) struct Queued {
    pub(super) work: Work,
    pub(super) stub: Stub,
    pub(super) size: usize,
}

/// What the writer gets to do next.
pub(super) enum Next {
    Group(Vec<Queued>),
    Idle,
    Closed,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Queued>,
    /// Bytes ever queued, and of those the ones done with.
    entered: u64,
    left: u64,
    outside: Vec<(u64, Waker)>,
    writer_sleeps: bool,
    closed: bool,
    poison: Option<AppendError>,
}

pub(super) struct Queue {
    line: Mutex<Line>,
    work: Condvar,
    bound: u64,
}

impl Queue {
    pub(super) fn new(bound: usize) -> Self {
        Self { line: Mutex::default(), work: Condvar::new(), bound: bound as u64 }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place in the line and returns where it ends, in bytes ever queued; a poisoned journal
    /// refuses at once.
    pub(super) fn enter(&self, queued: Queued) -> Option<u64> {
        let mut line = self.line();
        if let Some(poison) = line.poison.clone() {
            drop(line);
            drop(queued.stub.resolve(Err(poison)));
            return None;
        }
        line.entered += queued.size as u64;
        let place = line.entered;
        line.waiting.push_back(queued);
        if std::mem::take(&mut line.writer_sleeps) {
            self.work.notify_one();
        }
        Some(place)
    }

    /// Blocks the writer until there is work, `idle` has passed, or the journal closes.
    pub(super) fn next(&self, idle: Option<Duration>) -> Next {
        let mut line = self.line();
        loop {
            if !line.waiting.is_empty() {
                return Next::Group(line.group());
            }
            if line.closed {
                return Next::Closed;
            }
            line.writer_sleeps = true;
            match idle {
                None => line = self.work.wait(line).unwrap_or_else(PoisonError::into_inner),
                Some(idle) => {
                    let (back, timeout) = self.work.wait_timeout(line, idle).unwrap_or_else(PoisonError::into_inner);
                    line = back;
                    if timeout.timed_out() && line.waiting.is_empty() && !line.closed {
                        return Next::Idle;
                    }
                }
            }
        }
    }

    /// Frees the place of work that is done with.
    pub(super) fn leave(&self, size: usize) {
        let mut line = self.line();
        line.left += size as u64;
        let within = line.left + self.bound;
        let admitted: Vec<Waker> = line.outside.extract_if(.., |(place, _)| *place <= within).map(|w| w.1).collect();
        drop(line);
        admitted.into_iter().for_each(Waker::wake);
    }

    /// From now on every append is refused with this.
    pub(super) fn poison(&self, refusal: &AppendError) {
        self.line().poison.get_or_insert_with(|| refusal.clone());
    }

    pub(super) fn poisoned(&self) -> Option<AppendError> {
        self.line().poison.clone()
    }

    pub(super) fn close(&self) {
        self.line().closed = true;
        self.work.notify_all();
    }
}

impl Line {
    fn group(&mut self) -> Vec<Queued> {
        let mut bytes = 0;
        let count = self
            .waiting
            .iter()
            .take_while(|queued| {
                bytes += queued.size;
                bytes <= GROUP_BYTES && !matches!(queued.work, Work::Compact)
            })
            .count();
        // Compaction cannot run inside a transaction: it is a group of its own.
        self.waiting.drain(..count.max(1)).collect()
    }
}

impl Gate for Queue {
    fn poll_admitted(&self, place: u64, waker: &Waker) -> Poll<()> {
        let mut line = self.line();
        if line.poison.is_some() || line.closed || place <= line.left + self.bound {
            return Poll::Ready(());
        }
        line.outside.push((place, waker.clone()));
        Poll::Pending
    }
}

/// The gate as tickets hold it.
pub(super) fn gate(queue: &Arc<Queue>) -> Arc<dyn Gate> {
    queue.clone()
}
