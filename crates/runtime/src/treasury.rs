//! Leases of the home: one treasury per process asks the ledger that all runs and processes share.
//!
//! ```text
//! asks of all runs ─► one group ─► judged on the fold ─► appended to `leases`, if it still stands where it was read
//! ```
//!
//! What is asked together is written together: one `fsync` a group. On a conflict somebody else was first: their promises
//! are read and the group is judged again. Leases of runs whose engine has died are ended here before anything is refused for
//! their sake. It decides nothing: [`HomeLedger::admit`] does.

mod book;
mod reap;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use brigade_journal::{AppendError, Batch, Journal, ReadError};
use brigade_kernel::budget::home::{Open, Promise, Promised, RunMark, Spent};
use brigade_kernel::budget::{Amounts, HomeAsk, HomeCap, HomeLease, Refused};
use brigade_kernel::ids::RunId;
use brigade_kernel::run::Caller;
use tokio::sync::mpsc::UnboundedSender;

use crate::clock::Clock;
use crate::home::Home;
use crate::record::LoadError;
pub use book::{Book, leases, spending, spending_of};
pub use reap::reap;

/// Asks that are judged together at most: what one record of `leases` holds.
const GROUP: usize = 512;

/// The treasury of a process.
#[derive(Debug, Clone)]
pub struct Treasury(Arc<Inner>);

struct Inner {
    journal: Arc<dyn Journal>,
    /// Whether an engine works on a run now.
    alive: Box<dyn Fn(&RunId) -> bool + Send + Sync>,
    clock: Clock,
    queue: Mutex<Queue>,
    /// Only whoever pumps holds it.
    book: tokio::sync::Mutex<Option<Book>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("journal", &self.journal).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Request>,
    pumped: bool,
}

/// What an engine wants of the treasury.
#[derive(Debug)]
enum Request {
    Lease(Asked),
    /// Ends what the run left open, but for the leases of calls that its engine itself books as lost.
    TakeUp {
        run: RunId,
        but: Vec<HomeLease>,
    },
    GiveBack {
        lease: HomeLease,
    },
}

/// A lease asked for on behalf of a call.
#[derive(Debug)]
pub struct Asked {
    /// By which run.
    pub run: RunId,
    /// On whose behalf.
    pub caller: Caller,
    /// Under these caps.
    pub caps: Vec<HomeCap>,
    /// How much.
    pub ask: HomeAsk,
    /// Where the answer goes.
    pub answer: UnboundedSender<(Caller, Answer)>,
}

/// What the treasury says.
#[derive(Debug)]
pub enum Answer {
    /// The lease is durable.
    Granted(HomeLease, Amounts),
    /// A cap has no room.
    Refused(Refused),
    /// The ledger cannot be used.
    Failed(Arc<TreasuryError>),
}

/// Why the ledger of the home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TreasuryError {
    /// It takes nothing.
    #[error("the ledger of the home takes no leases: {0}")]
    Append(#[from] AppendError),
    /// It cannot be read.
    #[error("the ledger of the home cannot be read: {0}")]
    Read(#[from] ReadError),
    /// Written by another version of brigade: it refuses rather than guess.
    #[error("record {seq} of {stream} is not readable by this version of brigade ({reason}); use the version that wrote it")]
    Foreign {
        /// The stream.
        stream: &'static str,
        /// The record.
        seq: u64,
        /// What is unknown.
        reason: String,
    },
    /// A run that holds leases cannot be read.
    #[error(transparent)]
    Run(#[from] LoadError),
}

impl Treasury {
    /// The treasury of a home; nothing is read before the first ask.
    pub fn of(home: &Home, clock: Clock) -> Self {
        let journal = home.journal();
        let home = home.clone();
        Self::new(journal, clock, move |run| home.engine_of(run).is_some())
    }

    /// A treasury over a journal; `alive` tells whether an engine works on a run now.
    pub fn new(journal: Arc<dyn Journal>, clock: Clock, alive: impl Fn(&RunId) -> bool + Send + Sync + 'static) -> Self {
        let (queue, book) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { journal, alive: Box::new(alive), clock, queue, book }))
    }

    /// Asks for a lease; the answer comes through the channel of the ask. Within a tokio runtime.
    pub fn ask(&self, asked: Asked) {
        self.enqueue(Request::Lease(asked));
    }

    /// A run is taken up again: what it held and never used is given back.
    pub fn take_up(&self, run: RunId, but: Vec<HomeLease>) {
        self.enqueue(Request::TakeUp { run, but });
    }

    /// Gives back a lease that will not be used.
    pub fn give_back(&self, lease: HomeLease) {
        self.enqueue(Request::GiveBack { lease });
    }

    fn enqueue(&self, request: Request) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.waiting.push(request);
        if !std::mem::replace(&mut queue.pumped, true) {
            let inner = self.0.clone();
            tokio::spawn(async move { inner.pump().await });
        }
    }
}

/// Lets the next ask pump, however this one ends.
struct Pumping<'a>(&'a Inner);

impl Drop for Pumping<'_> {
    fn drop(&mut self) {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).pumped = false;
    }
}

impl Inner {
    async fn pump(&self) {
        let pumping = Pumping(self);
        let mut held = self.book.lock().await;
        while let Some(group) = self.next_group() {
            // Out of its place while it may hold promises that are not written yet.
            let mut book = held.take();
            self.serve(&mut book, group).await;
            *held = book;
        }
        std::mem::forget(pumping); // `next_group` has said so, before the next ask looked
    }

    fn next_group(&self) -> Option<Vec<Request>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let n = queue.waiting.len().min(GROUP);
        queue.pumped = n > 0;
        (n > 0).then(|| queue.waiting.drain(..n).collect())
    }

    async fn serve(&self, book: &mut Option<Book>, group: Vec<Request>) {
        let mut asks = Vec::new();
        for request in group {
            match request {
                Request::Lease(asked) => asks.push(asked),
                Request::GiveBack { lease } => self.give_back(vec![lease]).await,
                Request::TakeUp { run, but } => {
                    let open = self.current(book).map(|book| book.open_of(&run)).unwrap_or_default();
                    let unused = open.into_iter().filter(|lease| !but.contains(lease)).collect();
                    self.give_back(unused).await;
                }
            }
        }
        if asks.is_empty() {
            return;
        }
        let answers = match self.lease(book, &asks).await {
            Ok(answers) => answers,
            Err(error) => {
                let error = Arc::new(error);
                asks.iter().map(|_| Answer::Failed(error.clone())).collect()
            }
        };
        for (asked, answer) in asks.into_iter().zip(answers) {
            let granted = if let Answer::Granted(lease, _) = &answer { Some(*lease) } else { None };
            let gone = asked.answer.send((asked.caller, answer)).is_err();
            if let Some(lease) = granted.filter(|_| gone) {
                self.give_back(vec![lease]).await;
            }
        }
    }

    /// The book as of now.
    fn current<'a>(&self, book: &'a mut Option<Book>) -> Result<&'a mut Book, TreasuryError> {
        if book.is_none() {
            *book = Some(Book::open(&*self.journal)?);
        }
        let book = book.as_mut().expect("opened above");
        book.refresh(&*self.journal)?;
        Ok(book)
    }

    /// Judges asks one after another, and has the journal hold what was granted.
    async fn lease(&self, held: &mut Option<Book>, asks: &[Asked]) -> Result<Vec<Answer>, TreasuryError> {
        loop {
            let book = self.current(held)?;
            let now = self.clock.now();
            book.ledger.seen(now);
            let seq = book.next_lease();
            let mut record = Promised { at: now, calls: Vec::new() };
            let mut answers = Vec::with_capacity(asks.len());
            for asked in asks {
                let answer = match book.ledger.admit(&asked.caps, &asked.ask, now) {
                    Ok(()) => {
                        let lease = HomeLease { seq, n: record.calls.len() as u32 };
                        let most = asked.ask.most;
                        let run = RunMark::of(&asked.run);
                        book.ledger.promise(lease, Open { run, at: now, most });
                        record.calls.push(Promise { run, most });
                        Answer::Granted(lease, most)
                    }
                    Err(refused) => Answer::Refused(refused),
                };
                answers.push(answer);
            }
            let waits = answers.iter().any(|answer| matches!(answer, Answer::Refused(refused) if refused.may_fit_later()));
            if waits && book.may_reap(now) {
                // Perhaps it is the dead whom they wait for.
                book.ledger.unpromised(seq, &record);
                for batch in reap(&*self.journal, &book.ledger, &*self.alive)? {
                    match self.journal.append(batch).await {
                        Ok(_) | Err(AppendError::Conflict { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                continue;
            }
            if record.calls.is_empty() {
                return Ok(answers);
            }
            let bytes = serde_json::to_vec(&record).expect("plain values");
            let batch = Batch::new().expect(&leases(), seq - 1).record(&leases(), bytes);
            match self.journal.append(batch).await {
                Ok(_) => {
                    book.appended();
                    return Ok(answers);
                }
                Err(AppendError::Conflict { .. }) => book.ledger.unpromised(seq, &record),
                Err(error) => {
                    book.ledger.unpromised(seq, &record);
                    return Err(error.into());
                }
            }
        }
    }

    /// Ends leases of calls that were not sent. Where the journal takes nothing they stay promised until their run is taken up
    /// again; its engine stops at the same fault, and says so.
    async fn give_back(&self, unused: Vec<HomeLease>) {
        if unused.is_empty() {
            return;
        }
        let at = self.clock.now();
        let calls = unused.into_iter().map(|lease| Spent { lease: Some(lease), at, took: Amounts::default() }).collect();
        let _ = self.journal.append(Batch::new().record(&spending(), spending_of(calls))).await;
    }
}
