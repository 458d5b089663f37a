//! An answer as bytes in time: pacing, cuts and stalls, and the body that sends them.
//!
//! Everything is written before the first byte leaves; what is sent when is decided by marks.
//! Without pacing an answer is one write.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::fault::{Fault, Faults};
use crate::ledger::{Ledger, Outcome, Spent};
use crate::scenario::Pace;

/// A paced answer is sent in steps no longer than this.
const STEP_S: f64 = 0.02;
/// Between pieces that must not arrive as one.
const APART: Duration = Duration::from_millis(1);
/// Pieces that a split answer has at most.
const MOST_SPLITS: usize = 64;
const COMMENT: &[u8] = b": keep-alive\n\n";

/// A place in the bytes where a piece may end.
#[derive(Debug, Clone, Copy)]
struct Mark {
    end: usize,
    /// Output tokens up to here.
    tokens: u64,
    /// Belongs to the opening, which needs no token.
    opening: bool,
}

/// An answer being written.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) bytes: Vec<u8>,
    marks: Vec<Mark>,
    tokens: u64,
    /// Mark after which a stall sets in.
    stall: Option<usize>,
    /// Where the terminal event begins.
    terminal: Option<usize>,
}

impl Draft {
    pub(crate) fn mark(&mut self, tokens: u64, opening: bool) {
        self.tokens += tokens;
        self.marks.push(Mark { end: self.bytes.len(), tokens: self.tokens, opening });
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.tokens
    }

    pub(crate) fn stall_here(&mut self) {
        self.stall.get_or_insert(self.marks.len());
    }

    pub(crate) fn terminal_here(&mut self) {
        self.terminal.get_or_insert(self.bytes.len());
    }

    /// Fixes when each piece is sent. A whole body (`streamed` false) waits for its last token.
    pub(crate) fn play(mut self, pace: Pace, faults: &Faults, streamed: bool) -> Play {
        let length = (!streamed).then_some(self.bytes.len() as u64);
        if self.marks.is_empty() {
            self.mark(0, false);
        }
        let mut finish = Finish::End;
        let terminal = self.terminal.unwrap_or(self.bytes.len() / 2);
        let cut = if faults.has(Fault::EofMidEvent) {
            finish = Finish::Abort;
            // inside the event before the terminal one
            let before = self.marks.iter().rev().map(|mark| mark.end).find(|end| *end < terminal).unwrap_or(0);
            Some(before + (terminal - before) / 2)
        } else if faults.has(Fault::EofNoTerminal) {
            if !streamed {
                finish = Finish::Abort;
            }
            Some(terminal)
        } else {
            faults.cut_after_bytes.filter(|cut| *cut < self.bytes.len()).inspect(|_| finish = Finish::Abort)
        };
        if let Some(cut) = cut {
            self.cut(cut);
        }
        let clean_cut = cut.is_some() && finish == Finish::End;
        let mut steps = self.time(pace, streamed);
        if faults.has(Fault::SplitUtf8) {
            split_characters(&self.bytes, &mut steps);
        }
        if faults.has_stall() {
            finish = self.stall(faults, &mut steps, streamed, finish);
        }
        Play { bytes: self.bytes.into(), steps, finish, length, clean_cut }
    }

    fn cut(&mut self, cut: usize) {
        let cut = cut.min(self.bytes.len());
        self.bytes.truncate(cut);
        let tokens = self.marks.iter().take_while(|mark| mark.end <= cut).last().map_or(0, |mark| mark.tokens);
        self.marks.retain(|mark| mark.end <= cut);
        self.marks.push(Mark { end: cut, tokens, opening: self.marks.is_empty() });
    }

    fn time(&self, pace: Pace, streamed: bool) -> Vec<Step> {
        let first = Duration::from_millis(pace.first_token_ms.unwrap_or(0));
        let due = |mark: &Mark| {
            if mark.opening {
                return Duration::ZERO;
            }
            let tokens = mark.tokens.saturating_sub(1) as f64;
            first + pace.tokens_per_s.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(tokens / rate))
        };
        let mut steps: Vec<Step> = Vec::new();
        if !streamed {
            let last = self.marks.last().map_or(Duration::ZERO, due);
            return vec![Step { end: self.bytes.len(), due: last, tokens: self.tokens }];
        }
        for (at, mark) in self.marks.iter().enumerate() {
            let step = Step { end: mark.end, due: due(mark), tokens: mark.tokens };
            match steps.last_mut() {
                Some(last) if last.due == step.due && self.stall != Some(at) => *last = step,
                _ => steps.push(step),
            }
        }
        steps
    }

    /// Silence, or comments only, after half of the content.
    fn stall(&mut self, faults: &Faults, steps: &mut Vec<Step>, streamed: bool, finish: Finish) -> Finish {
        let at = match self.stall {
            Some(mark) if streamed => mark.checked_sub(1).and_then(|mark| self.marks.get(mark)).map_or(0, |m| m.end),
            _ => self.bytes.len() / 2,
        };
        let keepalive = faults.has(Fault::StallKeepalive).then(|| Duration::from_millis(faults.keepalive_ms)).filter(|_| streamed);
        let place = steps.iter().position(|step| step.end >= at).unwrap_or(steps.len());
        if steps.get(place).is_some_and(|step| step.end > at) {
            let whole = steps[place];
            steps.insert(place, Step { end: at, tokens: whole.tokens.min(1), ..whole });
        }
        let Some(stall_ms) = faults.stall_ms else {
            steps.truncate(place + 1);
            self.bytes.truncate(at);
            return Finish::Hang { keepalive };
        };
        let stall = Duration::from_millis(stall_ms);
        for step in steps.iter_mut().skip(place + 1) {
            step.due += stall;
        }
        if let (Some(every), Some(start)) = (keepalive, steps.get(place).copied()) {
            let rest = self.bytes.split_off(at);
            let mut due = every;
            let mut comments = Vec::new();
            while due < stall && comments.len() < 10_000 {
                self.bytes.extend_from_slice(COMMENT);
                comments.push(Step { end: self.bytes.len(), due: start.due + due, tokens: start.tokens });
                due += every;
            }
            let added = self.bytes.len() - at;
            self.bytes.extend_from_slice(&rest);
            steps.iter_mut().skip(place + 1).for_each(|step| step.end += added);
            steps.splice(place + 1..place + 1, comments);
        }
        finish
    }
}

/// Ends pieces inside characters of more than one byte.
fn split_characters(bytes: &[u8], steps: &mut Vec<Step>) {
    let mut cuts: Vec<usize> =
        bytes.iter().enumerate().filter(|(_, byte)| **byte >= 0xC0).map(|(at, _)| at + 1).take(MOST_SPLITS).collect();
    if cuts.is_empty() {
        cuts.push(bytes.len() / 2);
    }
    let mut out: Vec<Step> = Vec::with_capacity(steps.len() + cuts.len());
    let mut cuts = cuts.into_iter().peekable();
    let mut late = Duration::ZERO;
    for step in steps.iter() {
        while let Some(cut) = cuts.next_if(|cut| *cut < step.end) {
            out.push(Step { end: cut, due: step.due + late, ..*step });
            late += APART;
        }
        out.push(Step { due: step.due + late, ..*step });
    }
    *steps = out;
}

/// A piece of an answer.
#[derive(Debug, Clone, Copy)]
struct Step {
    end: usize,
    /// Since the first byte could leave.
    due: Duration,
    tokens: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Finish {
    End,
    /// The connection is dropped.
    Abort,
    /// Nothing, or comments, until the caller leaves.
    Hang {
        keepalive: Option<Duration>,
    },
}

/// An answer ready to be sent.
#[derive(Debug)]
pub(crate) struct Play {
    bytes: Bytes,
    steps: Vec<Step>,
    finish: Finish,
    length: Option<u64>,
    /// Ends in good order, though the script has cut it.
    clean_cut: bool,
}

impl Play {
    /// All of it, as it would be sent without cuts in time.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// A body sent at once.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        let step = Step { end: bytes.len(), due: Duration::ZERO, tokens: 0 };
        Self { length: Some(bytes.len() as u64), bytes, steps: vec![step], finish: Finish::End, clean_cut: false }
    }
}

/// Ends the ledger's record of a call, whatever happens to it.
#[derive(Debug)]
pub(crate) struct Bill {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) seq: u64,
    /// How it ends if everything is sent.
    pub(crate) planned: Outcome,
    pub(crate) usage: Option<Spent>,
    sent: u64,
    outcome: Option<Outcome>,
    /// What is held until the answer has gone.
    pub(crate) slot: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Bill {
    pub(crate) fn new(ledger: Arc<Ledger>, seq: u64, planned: Outcome, usage: Option<Spent>) -> Self {
        Self { ledger, seq, planned, usage, sent: 0, outcome: None, slot: None }
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or(Outcome::ClientGone);
        let usage = self.usage.map(|usage| {
            if outcome == self.planned {
                return usage;
            }
            let output_tokens = usage.output_tokens.min(usage.reasoning_tokens + self.sent);
            Spent { output_tokens, ..usage }
        });
        self.ledger.end(self.seq, outcome, usage);
    }
}

/// The script has cut the connection.
#[derive(Debug, thiserror::Error)]
#[error("cut by the scenario")]
pub(crate) struct Cut;

/// Sends a [`Play`].
#[derive(Debug)]
pub(crate) struct PlayBody {
    play: Play,
    bill: Option<Bill>,
    next: usize,
    sent: usize,
    started: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    flushed: bool,
}

impl PlayBody {
    pub(crate) fn new(play: Play, bill: Option<Bill>) -> Self {
        Self { play, bill, next: 0, sent: 0, started: None, sleep: None, flushed: false }
    }

    /// Whether `due` is still to come; then the task is woken when it is there.
    fn waits(&mut self, due: Instant, cx: &mut Context<'_>) -> bool {
        if due <= Instant::now() {
            return false;
        }
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if sleep.deadline() != due {
                    sleep.as_mut().reset(due);
                }
                sleep
            }
            empty => empty.insert(Box::pin(tokio::time::sleep_until(due))),
        };
        sleep.as_mut().poll(cx).is_pending()
    }

    fn finished(&self) -> bool {
        self.next == self.play.steps.len() && self.play.finish == Finish::End
    }

    fn close(&mut self, outcome: Outcome) {
        if let Some(mut bill) = self.bill.take() {
            bill.outcome = Some(outcome);
        }
    }
}

impl Body for PlayBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        let started = *this.started.get_or_insert_with(Instant::now);
        while let Some(step) = this.play.steps.get(this.next).copied() {
            if step.due > Duration::ZERO && this.waits(started + step.due, cx) {
                return Poll::Pending;
            }
            this.next += 1;
            if let Some(bill) = &mut this.bill {
                bill.sent = step.tokens;
            }
            let piece = this.play.bytes.slice(this.sent..step.end);
            this.sent = step.end;
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
        match this.play.finish {
            Finish::End => Poll::Ready(None),
            Finish::Abort => {
                // what is buffered leaves only while this waits
                let due = started + this.play.steps.last().map_or(Duration::ZERO, |step| step.due) + 3 * APART;
                if !this.flushed && this.waits(due, cx) {
                    return Poll::Pending;
                }
                this.flushed = true;
                this.close(Outcome::Cut);
                Poll::Ready(Some(Err(Cut)))
            }
            Finish::Hang { keepalive: None } => Poll::Pending,
            Finish::Hang { keepalive: Some(every) } => {
                let due = match &this.sleep {
                    Some(sleep) if this.flushed => sleep.deadline(),
                    _ => Instant::now() + every,
                };
                this.flushed = true;
                if this.waits(due, cx) {
                    return Poll::Pending;
                }
                this.flushed = false;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(COMMENT)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.finished()
    }

    fn size_hint(&self) -> SizeHint {
        match self.play.length {
            Some(length) => SizeHint::with_exact(length - self.sent as u64),
            None => SizeHint::default(),
        }
    }
}

impl Drop for PlayBody {
    fn drop(&mut self) {
        if self.finished() {
            let planned = self.bill.as_ref().map_or(Outcome::Completed, |bill| bill.planned);
            self.close(if self.play.clean_cut { Outcome::Cut } else { planned });
        }
    }
}

/// Bytes of one delta: a single token first when paced, then what fits a step.
pub(crate) fn delta_bytes(pace: Pace, first: bool) -> usize {
    let tokens = match (pace.delta_tokens, pace.tokens_per_s) {
        (Some(tokens), _) => tokens,
        (None, Some(_)) if first => 1,
        (None, Some(rate)) => ((rate * STEP_S) as u64).max(1),
        (None, None) => 8,
    };
    usize::try_from(tokens).unwrap_or(usize::MAX).saturating_mul(4)
}

/// Cuts a text into deltas, never inside a character.
pub(crate) fn deltas<'t>(text: &'t str, pace: Pace, first: &mut bool) -> Vec<&'t str> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let want = delta_bytes(pace, std::mem::replace(first, false)).min(rest.len());
        let (piece, tail) = rest.split_at(rest.ceil_char_boundary(want));
        out.push(piece);
        rest = tail;
    }
    out
}
