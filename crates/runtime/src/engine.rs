//! The loop of one run: facts in, events made durable, actions performed. Owns the run's lock and its truth.
//!
//! ```text
//! facts ─► Run::hear ─► Run::step ─► outbox ─► journal (one group commit) ─► actions performed, events shown
//! ```
//!
//! Nothing is performed and nothing is shown before the events that decided it are durable. The loop itself
//! never waits for the disk: it goes on deciding while a batch is being written.

mod works;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use brigade_journal::{AppendError, Batch, Journal, ReadError, RunLock, Stream, Ticket};
use brigade_kernel::budget::{Amounts, HomeLease};
use brigade_kernel::call::{ErrorClass, Service};
use brigade_kernel::context::Excerpt;
use brigade_kernel::ids::{ModelRef, RunId, SubtaskId};
use brigade_kernel::run::{
    Action, CallNo, Caller, CompactBy, Event, Fact, Fetched, Prepared, RowRead, Run, RunSummary, Sees, Stop, Unit, Work,
};
use brigade_kernel::time::Millis;
use brigade_models::Model;
use brigade_tools::mcp::Servers;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::accounts;
use crate::batches::Travel;
use crate::clock::Clock;
use crate::commands::{Command, Inbound};
use crate::errand::{Agents, Place};
use crate::failpoint::hit;
use crate::gates::{self, Gates, Seat};
use crate::hands::SharedHands;
use crate::home::{Home, events_of};
use crate::input::Rows;
use crate::perform::{self, Answerer, Job, Way};
use crate::price;
use crate::record::{LoadError, Recorded, encode};
use crate::reuse::{self, Fresh};
use crate::rows::{self, key_of};
use crate::treasury::{self, Answer, Asked, Treasury, TreasuryError};

/// How soon a word from another process is heard (design.md: within 200 ms).
const COMMANDS_EVERY: Duration = Duration::from_millis(150);
/// How long an interrupted run waits for calls in flight (issue: resumable within 5 s).
const DRAIN: Duration = Duration::from_millis(3_500);
/// How long it waits after that for what it cut to come back.
const CUT: Duration = Duration::from_millis(1_000);

/// How much of a hurry there is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Leave {
    /// Stay.
    #[default]
    No,
    /// Finish what is in flight, start nothing.
    Soon,
    /// Now.
    Now,
}

/// Providers by name.
pub type Models = HashMap<String, Arc<dyn Model>>;

/// Why an engine stopped before its run did. The run can be resumed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The journal does not take events: nothing was done that is not on record.
    #[error("the journal does not take events, the run stands still: {0}")]
    Append(#[from] AppendError),
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The ledger that all runs of the home share cannot be used.
    #[error("{0}; the run stands still")]
    Treasury(Arc<TreasuryError>),
    /// A result that is on record cannot be read back.
    #[error(transparent)]
    Recall(#[from] LoadError),
    /// Told to leave at once.
    #[error("left at once; calls in flight are charged in full when the run is resumed")]
    Left,
}

/// What an engine needs of the world.
#[derive(Debug, Clone)]
pub struct World {
    /// Where everything is kept.
    pub home: Home,
    /// Remembers.
    pub journal: Arc<dyn Journal>,
    /// Answers.
    pub models: Arc<Models>,
    /// Answer and touch.
    pub agents: Arc<Agents>,
    /// Touches.
    pub hands: SharedHands,
    /// Servers of others, started at their first call.
    pub servers: Arc<Servers>,
    /// One gate per account.
    pub gates: Gates,
    /// Leases of the home.
    pub treasury: Treasury,
    /// The time.
    pub clock: Clock,
}

/// The engine of one run.
#[derive(Debug)]
pub struct Engine {
    run: Run,
    id: RunId,
    world: World,
    stream: Stream,
    version: u64,
    inbound: Inbound,
    rows: Option<Rows>,
    facts: mpsc::UnboundedSender<Fact>,
    inbox: mpsc::UnboundedReceiver<Fact>,
    /// What the treasury answers.
    answers: mpsc::UnboundedSender<(Caller, Answer)>,
    answered: mpsc::UnboundedReceiver<(Caller, Answer)>,
    /// Leases of the home that were granted, for calls that are about to be made.
    granted: Vec<(Caller, HomeLease, Amounts)>,
    /// Slots of calls that wait for their lease of the home; what goes by batch has none.
    asking: HashMap<Caller, Option<gates::Ticket>>,
    commits: VecDeque<Commit>,
    calls: HashMap<CallNo, (CancellationToken, gates::Ticket)>,
    seat: Seat,
    /// Excerpts of units in hand.
    excerpts: HashMap<Unit, Arc<Vec<Excerpt>>>,
    /// The patch under review.
    diff: Option<String>,
    /// Work in hand whose result may be of use to others; `None` is the review.
    works: HashMap<Option<Unit>, Work>,
    /// Who does some work, and who of this run waits for it.
    doing: HashMap<Work, (Option<Unit>, VecDeque<Caller>)>,
    /// Units whose last attempt passed its checks.
    accepted: HashSet<Unit>,
    /// Results to be kept whose work sees files, and who is keeping some.
    fresh: Vec<Fresh>,
    keeping: Option<tokio::task::JoinHandle<()>>,
    show: Option<mpsc::UnboundedSender<Recorded>>,
    /// Calls that travel by batch.
    batches: Travel,
    /// It was taken up from an engine that left these leases of calls in flight.
    takes_up: Option<Vec<HomeLease>>,
    /// Cancelled once commands under way are not waited for any longer.
    leaving: CancellationToken,
    _lock: RunLock,
}

#[derive(Debug)]
struct Commit {
    ticket: Ticket,
    jobs: Vec<Job>,
    events: Vec<Recorded>,
    /// Results in it whose work sees files.
    fresh: Vec<Fresh>,
}

impl Engine {
    /// An engine for a run whose events up to `version` are folded into `run`.
    pub fn new(run: Run, version: u64, world: World, lock: RunLock, show: Option<mpsc::UnboundedSender<Recorded>>) -> Self {
        let (facts, inbox) = mpsc::unbounded_channel();
        let (answers, answered) = mpsc::unbounded_channel();
        let id = run.state().run().clone();
        let rows = run.state().start().input.as_ref().map(|input| Rows::new(&input.path));
        Self {
            stream: events_of(&id),
            inbound: Inbound::new(id.clone(), run.state().commands),
            seat: world.gates.seat(),
            run,
            id,
            world,
            version,
            rows,
            facts,
            inbox,
            answers,
            answered,
            granted: Vec::new(),
            asking: HashMap::new(),
            commits: VecDeque::new(),
            calls: HashMap::new(),
            excerpts: HashMap::new(),
            diff: None,
            works: HashMap::new(),
            doing: HashMap::new(),
            accepted: HashSet::new(),
            fresh: Vec::new(),
            keeping: None,
            show,
            batches: Travel::default(),
            takes_up: None,
            leaving: CancellationToken::new(),
            _lock: lock,
        }
    }

    /// The run's state.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Takes in a fact before the loop starts (a plan, an answer, a raised cap).
    pub fn hear(&mut self, fact: Fact) {
        hit("before-hearing");
        let now = self.world.clock.now();
        if let Fact::Answered { call, answer, ms, first_ms, .. } = &fact
            && let Some((_, ticket)) = self.calls.remove(call)
        {
            // No room for cheap calls says nothing of the others.
            let flex = self.run.state().calls.get(call).is_some_and(|flight| flight.service == Service::Flex);
            match answer {
                Err(error) if flex && error.class == ErrorClass::Overloaded => self.seat.give_back(ticket),
                answer => self.seat.leave(ticket, answer, *ms, *first_ms),
            }
        }
        self.run.hear(fact, now);
    }

    /// Takes the run up from an engine that left it.
    pub fn take_up(&mut self) {
        // What its calls in flight took is booked with the events that say they are lost.
        let lost = self.run.state().calls.values().filter_map(|flight| flight.home).collect();
        self.takes_up = Some(lost);
        self.hear(Fact::Opened);
    }

    /// Works until the run ends, pauses, or is to be left.
    ///
    /// # Errors
    /// [`EngineError`]; everything decided so far is on record or undone.
    pub async fn drive(mut self, mut leave: watch::Receiver<Leave>) -> Result<RunSummary, EngineError> {
        let mut commands = tokio::time::interval(COMMANDS_EVERY);
        commands.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut drain_until = None;
        if let Some(lost) = self.takes_up.take().filter(|_| !self.run.home_caps().is_empty()) {
            self.world.treasury.take_up(self.id.clone(), lost);
        }
        loop {
            while let Ok(fact) = self.inbox.try_recv() {
                self.hear(fact);
            }
            let more = self.turn();
            if self.commits.is_empty()
                && let Some(summary) = &self.run.state().ended
            {
                hit("at-end");
                let summary = summary.clone();
                self.keep_all().await;
                return Ok(summary);
            }
            let wake = self.wake();
            tokio::select! {
                biased;
                durable = next(&mut self.commits), if !self.commits.is_empty() => self.durable(durable)?,
                Some(fact) = self.inbox.recv() => self.hear(fact),
                Some((caller, answer)) = self.answered.recv() => self.answered(caller, answer)?,
                _ = commands.tick() => self.listen()?,
                // There may be more to begin: once what was begun has had its turn.
                () = tokio::task::yield_now(), if more => {}
                () = tokio::time::sleep(wake), if wake < Duration::MAX => {}
                Ok(()) = leave.changed(), if drain_until.is_none() || *leave.borrow() < Leave::Now => {
                    match *leave.borrow_and_update() {
                        Leave::No => {}
                        Leave::Soon => {
                            self.hear(Fact::Drain);
                            drain_until = Some(tokio::time::Instant::now() + DRAIN);
                        }
                        Leave::Now => return Err(EngineError::Left),
                    }
                }
                () = until(drain_until), if drain_until.is_some() => {
                    if self.leaving.is_cancelled() {
                        return Err(EngineError::Left);
                    }
                    drain_until = Some(tokio::time::Instant::now() + CUT);
                    self.cut_all();
                }
            }
        }
    }

    /// Decides, and hands the decisions to the journal; whether there may be more to decide.
    fn turn(&mut self) -> bool {
        let now = self.world.clock.now();
        let mut jobs = Vec::new();
        self.seat.begin(self.run.class());
        let seat = &mut self.seat;
        let actions = self.run.step(now, &mut |model| seat.knock(model));
        let more = !actions.is_empty();
        for (caller, lease, most) in std::mem::take(&mut self.granted) {
            self.granted(caller, lease, most, &mut jobs);
        }
        for action in actions {
            match action {
                Action::Call { caller } => {
                    self.call(caller, None, None, &mut jobs);
                }
                Action::Batch { .. } => jobs.extend(self.batches.trip(&self.run, action).map(Job::Follow)),
                Action::Hedge { of, caller, model } => self.ask_again(of, &caller, &model, &mut jobs),
                action => jobs.push(Job::Do(action)),
            }
        }
        self.seat.give_back_rest();
        // Cut calls are charged in full: only where nobody wants their answers any more.
        match self.run.state().stop {
            Some(Stop::Cancel) => {
                self.batches.give_up();
                self.cut_all();
            }
            Some(Stop::Failed(_)) => self.batches.give_up(),
            Some(Stop::Provider { class: ErrorClass::Refused, .. }) => self.cut_calls(),
            _ => {}
        }
        for (cancel, _) in self.run.outrun().filter_map(|call| self.calls.get(&call)) {
            cancel.cancel();
        }
        let events = self.run.take_events();
        if events.is_empty() && jobs.is_empty() {
            return more;
        }
        // After a batch that failed nothing may follow: it would stand in the journal with a hole before it.
        let mut batch = Batch::new().expect(&self.stream, self.version);
        let mut shown = Vec::with_capacity(events.len());
        let mut records = Vec::with_capacity(events.len());
        let (mut remembered, mut fresh) = (Vec::new(), Vec::new());
        for stamped in events {
            self.version += 1;
            records.push(encode(&stamped, key_of(self.run.state(), &stamped)));
            remembered.extend(accounts::report_of(&stamped));
            if let Some(ended) = self.forget(&stamped) {
                match ended.work.sees {
                    Sees::Nothing => remembered.extend(reuse::remember(&self.id, &ended)),
                    Sees::Workspace | Sees::Tree(_) => fresh.push(ended),
                }
            }
            shown.push(Recorded { seq: self.version, stamped });
        }
        batch = batch.records(&self.stream, records);
        for (stream, record) in remembered {
            batch = batch.record(&stream, record);
        }
        let spent = self.run.take_spending();
        if !spent.is_empty() {
            batch = batch.record(&treasury::spending(), treasury::spending_of(spent));
        }
        hit("before-append");
        let ticket = self.world.journal.append(batch);
        hit("after-append");
        self.commits.push_back(Commit { ticket, jobs, events: shown, fresh });
        more
    }

    /// The treasury has answered. What was granted is used in the next turn.
    fn answered(&mut self, caller: Caller, answer: Answer) -> Result<(), EngineError> {
        match answer {
            Answer::Granted(lease, most) => self.granted.push((caller, lease, most)),
            Answer::Refused(refused) => {
                let now = self.world.clock.now();
                let ticket = self.asking.remove(&caller).flatten();
                self.give_back(ticket);
                self.run.hear(Fact::HomeRefused { caller, refused }, now);
            }
            Answer::Failed(error) => return Err(EngineError::Treasury(error)),
        }
        Ok(())
    }

    /// Makes the call whose lease was granted, if it is still wanted.
    fn granted(&mut self, caller: Caller, lease: HomeLease, most: Amounts, jobs: &mut Vec<Job>) {
        let used = match self.asking.remove(&caller) {
            Some(ticket) if !self.run.may_send(&caller) => {
                self.give_back(ticket);
                false
            }
            ticket => self.call(caller, Some((lease, most)), ticket.flatten(), jobs),
        };
        if !used {
            self.world.treasury.give_back(lease);
        }
    }

    /// Makes a job of a call, or a fact where the answer is at hand. Whether it was begun.
    fn call(&mut self, caller: Caller, lease: Option<(HomeLease, Amounts)>, ticket: Option<gates::Ticket>, jobs: &mut Vec<Job>) -> bool {
        let now = self.world.clock.now();
        let fetched = self.fetched(&caller);
        let prepared = match self.run.prepare(&caller, &fetched) {
            Ok(prepared) => prepared,
            Err(refusal) => {
                ticket.into_iter().for_each(|ticket| self.seat.give_back(ticket));
                self.run.cannot_call(refusal.to_string(), now);
                return false;
            }
        };
        // What goes into a batch passed no gate.
        let travels = prepared.call.service == Service::Batch;
        let ticket = if travels { ticket } else { ticket.or_else(|| self.seat.claim(&prepared.call.model)) };
        if ticket.is_none() && !travels {
            return false;
        }
        if self.looks(&caller, &prepared, jobs) {
            self.give_back(ticket);
            return false;
        }
        self.begin(prepared, lease, ticket, jobs)
    }

    /// Makes a job of the second request for a slow call.
    fn ask_again(&mut self, of: CallNo, caller: &Caller, model: &ModelRef, jobs: &mut Vec<Job>) {
        let fetched = self.fetched(caller);
        let Some(ticket) = self.seat.claim(model) else { return };
        match self.run.prepare_hedge(of, caller, model, &fetched) {
            Ok(prepared) => {
                self.begin(prepared, None, Some(ticket), jobs);
            }
            // The other model may not be called: the first request stands alone.
            Err(_) => self.seat.give_back(ticket),
        }
    }

    /// Begins a call. Where runs share a cap it needs a lease of the home, and asks for one that covers it.
    fn begin(
        &mut self,
        prepared: Prepared,
        lease: Option<(HomeLease, Amounts)>,
        mut ticket: Option<gates::Ticket>,
        jobs: &mut Vec<Job>,
    ) -> bool {
        let now = self.world.clock.now();
        let (caller, model) = (prepared.caller.clone(), prepared.call.model.clone());
        let agent = self.world.agents.get(model.provider()).cloned();
        let answerer = match agent {
            Some(agent) => Some(Answerer::Agent(agent, Place::of(&caller, self.run.state()))),
            None => self.world.models.get(model.provider()).cloned().map(Answerer::Model),
        };
        let Some(answerer) = answerer else {
            self.give_back(ticket);
            let why = format!("no provider is called {:?}: configure [providers.{}]", model.provider(), model.provider());
            self.run.cannot_call(why, now);
            return false;
        };
        if ticket.as_mut().is_some_and(|ticket| !self.seat.weigh(ticket, prepared.tokens())) {
            self.give_back(ticket);
            self.run.put_off(&caller);
            return false;
        }
        let caps = self.run.home_caps();
        if !caps.is_empty() && !lease.is_some_and(|(_, most)| most.covers(&prepared.ask.amounts())) {
            match self.run.ask_home(&prepared, now) {
                Some(ask) => {
                    self.asking.insert(caller.clone(), ticket);
                    self.world.treasury.ask(Asked { run: self.id.clone(), caller, caps, ask, answer: self.answers.clone() });
                }
                None => self.give_back(ticket),
            }
            return false;
        }
        let Some(no) = self.run.begin_call(&prepared, lease.map(|(lease, _)| lease), now) else {
            self.give_back(ticket);
            return false;
        };
        let Some(ticket) = ticket else {
            if let Err(error) = self.batches.join(no, &prepared.call, &self.world.models) {
                let answer = Err(error);
                self.run.hear(Fact::Answered { call: no, answer, ms: Millis(0), first_ms: None, worked: None }, now);
            }
            return true;
        };
        let cancel = CancellationToken::new();
        self.calls.insert(no, (cancel.clone(), ticket));
        let how = match caller {
            Caller::Planner => Way::Streamed,
            Caller::Compactor { by: CompactBy::Endpoint } => Way::Condensed,
            _ if self.run.is_awaited(no) => Way::Awaited,
            _ => Way::Whole,
        };
        jobs.push(Job::Call { no, call: Box::new(prepared.call), answerer, cancel, how });
        true
    }

    /// Gives back the slot of a call that is not made, if it passed a gate.
    fn give_back(&mut self, ticket: Option<gates::Ticket>) {
        if let Some(ticket) = ticket {
            self.seat.give_back(ticket);
        }
    }

    fn fetched(&mut self, caller: &Caller) -> Fetched {
        match caller {
            Caller::Executor { unit, .. } => {
                if !self.excerpts.contains_key(unit) {
                    let parts = self.run.state().key(unit).and_then(|k| self.run.state().work.get(&k)).and_then(|w| w.parts.clone());
                    let kept = perform::excerpts_on_record(&*self.world.journal, &parts.unwrap_or_default());
                    self.excerpts.insert(unit.clone(), Arc::new(kept));
                }
                let excerpts = self.excerpts.get(unit).map(|e| (**e).clone()).unwrap_or_default();
                Fetched { excerpts, ..Fetched::default() }
            }
            Caller::Reviewer => {
                if self.diff.is_none()
                    && let Some(patch) = &self.run.state().patch
                {
                    self.diff = perform::patch_on_record(&*self.world.journal, &patch.blob).map(|p| p.text);
                }
                Fetched { diff: self.diff.clone(), ..Fetched::default() }
            }
            Caller::Planner | Caller::Replanner | Caller::Compactor { .. } => Fetched { rows: self.first_rows(), ..Fetched::default() },
        }
    }

    fn first_rows(&mut self) -> Option<(Option<u64>, String)> {
        let mut rows = Rows::new(&self.run.state().start().input.as_ref()?.path);
        let (first, total) = rows.read(0, 5).ok()?;
        let lines: Vec<String> = first.into_iter().filter_map(|r| r.item.ok().map(|i| i.to_string())).collect();
        Some((total, lines.join("\n")))
    }

    /// A batch is durable: show it, and do what it allows.
    fn durable(&mut self, outcome: Result<brigade_journal::Appended, AppendError>) -> Result<(), EngineError> {
        outcome?;
        let Some(commit) = self.commits.pop_front() else { return Ok(()) };
        hit("before-performing");
        for event in &commit.events {
            if let Event::SubtaskEnded { unit, .. } = &event.stamped.event {
                self.world.hands.drop_view(unit);
            }
        }
        if let Some(show) = &self.show {
            for event in commit.events {
                // Nobody looks any more: the run goes on.
                let _ = show.send(event);
            }
        }
        self.fresh.extend(commit.fresh);
        self.keep();
        for job in commit.jobs {
            match job {
                Job::Do(Action::ReadRows { source, from, count, list, with }) => {
                    let fact = self.read_rows(source, from, count, list, &with)?;
                    // The receiver is this engine.
                    let _ = self.facts.send(fact);
                }
                Job::Follow(trip) => self.batches.follow(trip, &self.world.models, &self.facts),
                Job::Do(Action::Price) => price::spawn(&self.run, self.world.home.clone(), self.world.clock.now(), self.facts.clone()),
                job => perform::spawn(job, &self.run, &self.world, &self.stream, self.facts.clone(), self.leaving.clone()),
            }
        }
        hit("after-performing");
        Ok(())
    }

    /// Rows, from the list or the input, and what earlier passes over them brought.
    fn read_rows(
        &mut self,
        source: u32,
        from: u64,
        count: u64,
        list: Option<Vec<RowRead>>,
        with: &[SubtaskId],
    ) -> Result<Fact, EngineError> {
        let read = match list {
            Some(rows) => Ok((rows, Some(count))),
            None => self.rows.as_mut().map_or(Ok((Vec::new(), Some(0))), |rows| rows.read(from, count)),
        };
        let (mut rows, total) = read.unwrap_or_else(|error| {
            let now = self.world.clock.now();
            self.run.cannot_call(error.to_string(), now);
            (Vec::new(), None)
        });
        let state = self.run.state();
        let origin = &state.sources[source as usize].from;
        rows::recall(&*self.world.journal, state, origin, &mut rows, with)?;
        Ok(Fact::RowsRead { source, rows, total })
    }

    /// Words from other processes.
    fn listen(&mut self) -> Result<(), EngineError> {
        for (number, command) in self.inbound.poll(&*self.world.journal)? {
            let now = self.world.clock.now();
            self.run.heard_command(number, now);
            let cancelled = command == Command::Cancel;
            self.hear(command.into());
            if cancelled {
                self.cut_all();
            }
        }
        Ok(())
    }

    /// Ends all that is under way and can be done again: calls, tools, checks, words with servers.
    fn cut_all(&self) {
        self.cut_calls();
        self.leaving.cancel();
        self.world.servers.leave();
    }

    /// Ends every call in flight; each comes back as cancelled, and is charged as leased.
    fn cut_calls(&self) {
        for (cancel, _) in self.calls.values() {
            cancel.cancel();
        }
    }

    fn wake(&self) -> Duration {
        let now = self.world.clock.now();
        let due = self.run.wakes_at().filter(|at| *at > now).map(|at| Duration::from(at - now));
        [due, self.seat.wakes_in()].into_iter().flatten().min().unwrap_or(Duration::MAX)
    }
}

async fn next(commits: &mut VecDeque<Commit>) -> Result<brigade_journal::Appended, AppendError> {
    match commits.front_mut() {
        Some(commit) => (&mut commit.ticket).await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
