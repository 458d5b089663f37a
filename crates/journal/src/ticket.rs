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
        self.versions
            .iter()
            .find(|(name, _)| name == stream)
            .map(|(_, version)| *version)
    }
}

pub(crate) type Outcome = Result<Appended, AppendError>;

enum State {
    Waiting(Option<Waker>),
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

/// The writer's end of a ticket. Dropped unresolved (the writer died), it refuses.
pub(crate) struct Stub {
    slot: Option<Arc<Slot>>,
    abandoned: AppendError,
}

impl Stub {
    pub(crate) fn resolve(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        let Some(slot) = self.slot.take() else { return };
        let before = std::mem::replace(&mut *slot.lock(), State::Done(outcome));
        slot.done.notify_all();
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if self.slot.is_some() {
            self.settle(Err(self.abandoned.clone()));
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
        let slot = Arc::new(Slot {
            state: Mutex::new(State::Waiting(None)),
            done: Condvar::new(),
        });
        (
            Self {
                slot: slot.clone(),
                gate: None,
            },
            Stub {
                slot: Some(slot),
                abandoned,
            },
        )
    }

    pub(crate) fn resolved(outcome: Outcome) -> Self {
        let slot = Slot {
            state: Mutex::new(State::Done(outcome)),
            done: Condvar::new(),
        };
        Self {
            slot: Arc::new(slot),
            gate: None,
        }
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
                before => *state = before,
            }
            state = self
                .slot
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Future for Ticket {
    type Output = Result<Appended, AppendError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(outcome) => Poll::Ready(outcome),
            State::Waiting(waker) => {
                let waker = waker.filter(|w| w.will_wake(context.waker()));
                *state = State::Waiting(waker.or_else(|| Some(context.waker().clone())));
                Poll::Pending
            }
            State::Taken => panic!("a ticket was polled after it had resolved"),
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.slot.lock() {
            State::Waiting(_) => "waiting",
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
