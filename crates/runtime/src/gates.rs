//! One gate per model account, shared by all runs of the home: held here, decided in `kernel::schedule`.
//!
//! A run has a [`Seat`]; a call that is let through has a [`Ticket`], which comes back when the call is over. Between
//! processes a gate is a small file ([`file`]); without a home it is memory. Members whose process died are reaped.

mod file;
mod process;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use brigade_kernel::call::{Answer, CallError, ErrorClass, RateLimits};
use brigade_kernel::ids::ModelRef;
use brigade_kernel::run::Door;
use brigade_kernel::schedule::{Class, Gate, Pass, Passed, Timing, Visitor, Wait};
use brigade_kernel::time::{Millis, Timestamp};
use sha2::{Digest, Sha256};

use file::GateFile;
use process::{OURS, boot, lives, uptime};

/// How often the dead are looked for while somebody waits.
const REAP_EVERY: Duration = Duration::from_millis(500);
/// A gate nobody came to for so long is deleted: its account may be gone, as a test's server is.
const STALE: Duration = Duration::from_secs(86_400);
/// When the gate's file cannot be had: ask again.
const AGAIN: Millis = Millis(15);

/// The gates of all accounts.
#[derive(Debug, Clone, Default)]
pub struct Gates(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Where gates are shared with other processes; none: they are not.
    dir: Option<PathBuf>,
    /// Accounts of providers; one that is not listed is an account of its own.
    names: BTreeMap<String, String>,
    accounts: HashMap<Arc<str>, Account>,
}

#[derive(Debug)]
struct Account {
    /// Where it is not shared.
    gate: Gate,
    file: Option<GateFile>,
    /// Calls that ended while the file could not be had.
    owed: Vec<Ended>,
    reaped: Option<Instant>,
}

#[derive(Debug)]
struct Ended {
    who: u64,
    pass: Pass,
    passed: Passed,
    told: Option<RateLimits>,
    took: Millis,
    at: Timestamp,
}

impl Account {
    fn open(dir: Option<&Path>, name: &str) -> Self {
        // A home that cannot hold it is no reason not to work: this process then has a gate of its own.
        let file = dir.and_then(|dir| GateFile::open(dir, name, boot()).ok());
        Self { gate: Gate::default(), file, owed: Vec::new(), reaped: None }
    }

    /// Lets `act` change the gate; `None` when it cannot be had just now.
    fn change<T>(&mut self, act: impl FnOnce(&mut Gate) -> T) -> Option<T> {
        let owed = &mut self.owed;
        let paid = |gate: &mut Gate| {
            owed.drain(..).for_each(|end| gate.leave(end.who, end.pass, end.passed, end.told.as_ref(), end.took, end.at));
            act(gate)
        };
        let Some(file) = &mut self.file else { return Some(paid(&mut self.gate)) };
        match file.change(paid) {
            Ok(done) => done,
            Err(_) => {
                self.file = None;
                None
            }
        }
    }

    fn reap(&mut self) {
        if self.file.is_none() || self.reaped.is_some_and(|at| at.elapsed() < REAP_EVERY) {
            return;
        }
        self.reaped = Some(Instant::now());
        self.change(|gate| gate.forget(|member| !lives(member.process())));
    }
}

impl Gates {
    /// Gates in a folder of the home, shared with every process that uses it. `names`: the account of each provider;
    /// two providers with one account share its gate.
    pub fn shared(dir: &Path, names: BTreeMap<String, String>) -> Self {
        let stale = |path: &Path| {
            let modified = path.metadata().and_then(|meta| meta.modified());
            modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > STALE))
        };
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten().filter(|entry| stale(&entry.path())) {
            let _ = std::fs::remove_file(entry.path());
        }
        Self(Arc::new(Mutex::new(Inner { dir: Some(dir.to_owned()), names, accounts: HashMap::new() })))
    }

    /// A place at the gates, for one run.
    pub fn seat(&self) -> Seat {
        let id = RandomState::new().build_hasher().finish();
        let who = Visitor { id, process: *OURS, class: Class::Interactive };
        Seat { gates: self.clone(), who, held: HashMap::new(), granted: Vec::new(), wakes: None }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn account(&mut self, provider: &str) -> (Arc<str>, &mut Account) {
        let name = self.names.get(provider).map_or(provider, String::as_str);
        let key = match self.accounts.get_key_value(name) {
            Some((key, _)) => key.clone(),
            None => Arc::from(name),
        };
        let dir = self.dir.as_deref();
        let account = self.accounts.entry(key.clone()).or_insert_with(|| Account::open(dir, &file_name(name)));
        (key, account)
    }
}

/// A file name for an account, whatever its name holds.
fn file_name(account: &str) -> String {
    Sha256::digest(account.as_bytes())[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A slot that was granted; comes back through [`Seat::leave`] or [`Seat::give_back`].
#[derive(Debug)]
pub struct Ticket {
    account: Arc<str>,
    model: ModelRef,
    pass: Pass,
}

/// A run's place at the gates. When it is dropped all its slots are free again.
#[derive(Debug)]
pub struct Seat {
    gates: Gates,
    who: Visitor,
    /// Calls in flight by account.
    held: HashMap<Arc<str>, u32>,
    /// Slots granted to calls that are not prepared yet.
    granted: Vec<Ticket>,
    /// When to knock again at the latest.
    wakes: Option<Timestamp>,
}

impl Seat {
    /// A new round of knocking begins.
    pub fn begin(&mut self, class: Class) {
        (self.who.class, self.wakes) = (class, None);
    }

    /// Lets one call through, or not.
    pub fn knock(&mut self, model: &ModelRef) -> Door {
        let (who, now) = (self.who, uptime());
        let (account, answer) = self.gates.clone().with(|inner| {
            let (name, account) = inner.account(model.provider());
            if account.reaped.is_none() {
                account.reap();
            }
            let held = self.held.get(&name).copied().unwrap_or(0);
            let answer = account.change(|gate| {
                if held > 0 && !gate.members().iter().any(|member| member.id() == who.id) {
                    gate.readmit(&who, held, now);
                }
                gate.enter(&who, now)
            });
            if matches!(answer, Some(Err(_))) {
                account.reap();
            }
            (name, answer)
        });
        match answer {
            Some(Ok(pass)) => {
                *self.held.entry(account.clone()).or_default() += 1;
                self.granted.push(Ticket { account, model: model.clone(), pass });
                Door::Open
            }
            Some(Err(Wait { until, closed })) => {
                self.wakes = Some(self.wakes.map_or(until, |wakes| wakes.min(until)));
                if closed { Door::Closed } else { Door::Wait }
            }
            None => {
                let until = now + AGAIN;
                self.wakes = Some(self.wakes.map_or(until, |wakes| wakes.min(until)));
                Door::Wait
            }
        }
    }

    /// The slot granted for a call to a model.
    pub fn claim(&mut self, model: &ModelRef) -> Option<Ticket> {
        let at = self.granted.iter().position(|ticket| ticket.model == *model)?;
        Some(self.granted.remove(at))
    }

    /// The call of a ticket is packed and will need so many tokens at most; `false`: not now.
    pub fn weigh(&mut self, ticket: &mut Ticket, tokens: u64) -> bool {
        let (who, now) = (self.who.id, uptime());
        let fits = self.gates.with(|inner| {
            let account = inner.accounts.get_mut(&ticket.account)?;
            account.change(|gate| gate.weigh(who, &mut ticket.pass, tokens, now))
        });
        fits.unwrap_or(true)
    }

    /// A slot that was granted and not used.
    pub fn give_back(&mut self, ticket: Ticket) {
        self.end(ticket, Passed::Unsent, None, Millis(0));
    }

    /// Slots granted in this round that nobody claimed.
    pub fn give_back_rest(&mut self) {
        for ticket in std::mem::take(&mut self.granted) {
            self.give_back(ticket);
        }
    }

    /// A call is over.
    pub fn leave(&mut self, ticket: Ticket, answer: &Result<Answer, CallError>, whole: Millis, first: Option<Millis>) {
        let (passed, told) = match answer {
            Ok(answer) => {
                let timing = first.map(|first| Timing { model: key_of(&ticket.model), first, whole });
                (Passed::Served { timing }, answer.limits)
            }
            Err(e) if matches!(e.class, ErrorClass::RateLimited | ErrorClass::Overloaded) => {
                (Passed::Refused { retry_after: e.retry_after }, e.limits.as_deref().copied())
            }
            Err(e) => (Passed::Neither, e.limits.as_deref().copied()),
        };
        self.end(ticket, passed, told, whole);
    }

    fn end(&mut self, ticket: Ticket, passed: Passed, told: Option<RateLimits>, took: Millis) {
        let Ticket { account, pass, .. } = ticket;
        self.held.entry(account.clone()).and_modify(|held| *held = held.saturating_sub(1));
        let ended = Ended { who: self.who.id, pass, passed, told, took, at: uptime() };
        self.gates.with(|inner| {
            if let Some(account) = inner.accounts.get_mut(&account) {
                account.owed.push(ended);
                account.change(|_| ());
            }
        });
    }

    /// How long until it is worth knocking again; `None`: nobody was turned away.
    pub fn wakes_in(&self) -> Option<Duration> {
        self.wakes.map(|at| Duration::from(at - uptime()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (who, held) = (self.who.id, std::mem::take(&mut self.held));
        self.gates.with(|inner| {
            for name in held.keys() {
                if let Some(account) = inner.accounts.get_mut(name) {
                    account.change(|gate| gate.forget(|member| member.id() == who));
                }
            }
        });
    }
}

/// Stands for a model in a gate's words.
fn key_of(model: &ModelRef) -> u64 {
    model.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
