//! A claim on a batch: resolves once, when the batch is durable or refused.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::{AppendError, Stream};

/// What a durable batch left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Appended {
    pub(crate) versions: Vec<(Stream, u64)>,
}

impl Appended {
    /// The stream's last seq after the batch; `None` when the batch did not touch it.
    pub fn version(&self, stream: &Stream) -> Option<u64> {
        self.versions.iter().find(|(name, _)| name == stream).map(|(_, version)| *version)
    }
}

pub(crate) type Outcome = Result<Appended, AppendError>;

enum State {
    Waiting { waker: Option<Waker>, asleep: bool },
    Done(Outcome),
    Taken,
}

struct Slot {
    state: Mutex<State>,
    done: Condvar,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever waits for a ticket that has resolved; woken when this is dropped.
pub(crate) struct Waiting {
    waker: Option<Waker>,
    asleep: Option<Arc<Slot>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(slot) = &self.asleep {
            slot.done.notify_all();
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The writer's end of a ticket. Dropped unresolved (the writer died), it refuses.
pub(crate) struct Stub {
    slot: Option<Arc<Slot>>,
    abandoned: AppendError,
}

impl Stub {
    pub(crate) fn resolve(mut self, outcome: Outcome) -> Option<Waiting> {
        self.settle(outcome)
    }

    fn settle(&mut self, outcome: Outcome) -> Option<Waiting> {
        let slot = self.slot.take()?;
        let before = std::mem::replace(&mut *slot.lock(), State::Done(outcome));
        match before {
            State::Waiting { waker, asleep } if asleep || waker.is_some() => Some(Waiting { waker, asleep: asleep.then_some(slot) }),
            _ => None,
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if self.slot.is_some() {
            drop(self.settle(Err(self.abandoned.clone())));
        }
    }
}

/// Tells whether the queue has room; see [`Ticket::admitted`].
pub(crate) trait Gate: Send + Sync {
    fn poll_admitted(&self, place: u64, waker: &Waker) -> Poll<()>;
}

/// A claim on one append: a future of its outcome, or [`wait`](Self::wait) for it.
#[must_use = "an append is durable only once its ticket has resolved"]
pub struct Ticket {
    slot: Arc<Slot>,
    gate: Option<(Arc<dyn Gate>, u64)>,
}

impl Ticket {
    /// A ticket and its stub; `abandoned` is the answer when the stub is dropped.
    pub(crate) fn new(abandoned: AppendError) -> (Self, Stub) {
        let slot = Arc::new(Slot { state: Mutex::new(State::Waiting { waker: None, asleep: false }), done: Condvar::new() });
        (Self { slot: slot.clone(), gate: None }, Stub { slot: Some(slot), abandoned })
    }

    pub(crate) fn resolved(outcome: Outcome) -> Self {
        let slot = Slot { state: Mutex::new(State::Done(outcome)), done: Condvar::new() };
        Self { slot: Arc::new(slot), gate: None }
    }

    pub(crate) fn behind(mut self, gate: Arc<dyn Gate>, place: u64) -> Self {
        self.gate = Some((gate, place));
        self
    }

    /// Resolves as soon as the queue in front of this batch is within its bound, usually at once.
    /// Whoever appends without waiting for durability waits for this instead, so that memory
    /// stays flat however fast they are.
    pub fn admitted(&self) -> Admitted<'_> {
        Admitted { ticket: self }
    }

    /// Blocks the thread until the batch is durable or refused. Not for async code: await instead.
    ///
    /// # Errors
    /// [`AppendError`] when it was refused.
    pub fn wait(self) -> Result<Appended, AppendError> {
        let mut state = self.slot.lock();
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Done(outcome) => return outcome,
                State::Waiting { waker, .. } => *state = State::Waiting { waker, asleep: true },
                State::Taken => panic!("a ticket was waited for after it had resolved"),
            }
            state = self.slot.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Future for Ticket {
    type Output = Result<Appended, AppendError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(outcome) => Poll::Ready(outcome),
            State::Waiting { waker, asleep } => {
                let waker = waker.filter(|w| w.will_wake(context.waker()));
                let waker = waker.or_else(|| Some(context.waker().clone()));
                *state = State::Waiting { waker, asleep };
                Poll::Pending
            }
            State::Taken => panic!("a ticket was polled after it had resolved"),
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.slot.lock() {
            State::Waiting { .. } => "waiting",
            State::Done(Ok(_)) => "durable",
            State::Done(Err(_)) => "refused",
            State::Taken => "taken",
        };
        write!(f, "Ticket({state})")
    }
}

/// Future of [`Ticket::admitted`].
#[derive(Debug)]
pub struct Admitted<'a> {
    ticket: &'a Ticket,
}

impl Future for Admitted<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &self.ticket.gate {
            Some((gate, place)) => gate.poll_admitted(*place, context.waker()),
            None => Poll::Ready(()),
        }
    }
}
