//! The loop of one run: facts in, events made durable, actions performed. Owns the run's lock and its truth.
//!
//! ```text
//! facts ─► Run::hear ─► Run::step ─► outbox ─► journal (one group commit) ─► actions performed, events shown
//! ```
//!
//! Nothing is performed and nothing is shown before the events that decided it are durable. The loop itself
//! never waits for the disk: it goes on deciding while a batch is being written.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use brigade_journal::{AppendError, Batch, Journal, ReadError, RunLock, Stream, Ticket};
use brigade_kernel::call::{CallError, ErrorClass, Service};
use brigade_kernel::context::Excerpt;
use brigade_kernel::ids::{ModelRef, RunId, SubtaskId};
use brigade_kernel::run::{
    Action, CallNo, Caller, CompactBy, Event, Fact, Fetched, Prepared, RowRead, Run, RunSummary, Stamped, Stop, SubtaskStatus, Unit,
};
use brigade_kernel::time::{Millis, Timestamp};
use brigade_models::Model;
use brigade_tools::mcp::Servers;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::batches::{self, Trip};
use crate::clock::Clock;
use crate::commands::{Command, Inbound};
use crate::errand::{Agents, Place};
use crate::failpoint::hit;
use crate::gates::Gates;
use crate::hands::SharedHands;
use crate::home::events_of;
use crate::input::Rows;
use crate::perform::{self, Answerer, Job, Way};
use crate::record::{LoadError, Recorded, encode};
use crate::reuse;
use crate::rows::{self, key_of};

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
    commits: VecDeque<Commit>,
    calls: HashMap<CallNo, (CancellationToken, ModelRef)>,
    /// Excerpts of units in hand.
    excerpts: HashMap<Unit, Arc<Vec<Excerpt>>>,
    /// The patch under review.
    diff: Option<String>,
    /// Content hash of units in hand whose results may be reused.
    works: HashMap<Unit, String>,
    show: Option<mpsc::UnboundedSender<Recorded>>,
    /// Calls gathered for a batch, as the lines they will be.
    lines: HashMap<CallNo, Vec<u8>>,
    /// Cancelled once nobody wants what batches still bring.
    given_up: CancellationToken,
    /// Ends who waits for batches.
    gone: DropGuard,
    /// Cancelled once commands under way are not waited for any longer.
    leaving: CancellationToken,
    _lock: RunLock,
}

#[derive(Debug)]
struct Commit {
    ticket: Ticket,
    jobs: Vec<Job>,
    events: Vec<Recorded>,
}

impl Engine {
    /// An engine for a run whose events up to `version` are folded into `run`.
    pub fn new(run: Run, version: u64, world: World, lock: RunLock, show: Option<mpsc::UnboundedSender<Recorded>>) -> Self {
        let (facts, inbox) = mpsc::unbounded_channel();
        let id = run.state().run().clone();
        let rows = run.state().start().input.as_ref().map(|input| Rows::new(&input.path));
        Self {
            stream: events_of(&id),
            inbound: Inbound::new(id.clone(), run.state().commands),
            run,
            id,
            world,
            version,
            rows,
            facts,
            inbox,
            commits: VecDeque::new(),
            calls: HashMap::new(),
            excerpts: HashMap::new(),
            diff: None,
            works: HashMap::new(),
            show,
            lines: HashMap::new(),
            given_up: CancellationToken::new(),
            gone: CancellationToken::new().drop_guard(),
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
        if let Fact::Answered { call, answer, .. } = &fact
            && let Some((_, model)) = self.calls.remove(call)
        {
            // No room for cheap calls says nothing of the others.
            let flex = self.run.state().calls.get(call).is_some_and(|flight| flight.service == Service::Flex);
            match answer {
                Err(error) if flex && error.class == ErrorClass::Overloaded => self.world.gates.give_back(&model, now),
                answer => self.world.gates.leave(&model, answer, now),
            }
        }
        self.run.hear(fact, now);
    }

    /// Works until the run ends, pauses, or is to be left.
    ///
    /// # Errors
    /// [`EngineError`]; everything decided so far is on record or undone.
    pub async fn drive(mut self, mut leave: watch::Receiver<Leave>) -> Result<RunSummary, EngineError> {
        let mut commands = tokio::time::interval(COMMANDS_EVERY);
        commands.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut drain_until = None;
        loop {
            while let Ok(fact) = self.inbox.try_recv() {
                self.hear(fact);
            }
            let more = self.turn();
            if self.commits.is_empty()
                && let Some(summary) = &self.run.state().ended
            {
                hit("at-end");
                return Ok(summary.clone());
            }
            let wake = self.wake();
            tokio::select! {
                biased;
                durable = next(&mut self.commits), if !self.commits.is_empty() => self.durable(durable)?,
                Some(fact) = self.inbox.recv() => self.hear(fact),
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
        let gates = self.world.gates.clone();
        let actions = self.run.step(now, &mut |model| gates.enter(model, now));
        let more = !actions.is_empty();
        for action in actions {
            self.take(action, &mut jobs);
        }
        // Cut calls are charged in full: only where nobody wants their answers any more.
        match self.run.state().stop {
            Some(Stop::Cancel) => {
                self.given_up.cancel();
                self.cut_all();
            }
            Some(Stop::Failed(_)) => self.given_up.cancel(),
            Some(Stop::Provider { class: ErrorClass::Refused, .. }) => self.cut_calls(),
            _ => {}
        }
        let events = self.run.take_events();
        if events.is_empty() && jobs.is_empty() {
            return more;
        }
        // After a batch that failed nothing may follow: it would stand in the journal with a hole before it.
        let mut batch = Batch::new().expect(&self.stream, self.version);
        let mut shown = Vec::with_capacity(events.len());
        let mut records = Vec::with_capacity(events.len());
        let mut remembered = Vec::new();
        for stamped in events {
            self.version += 1;
            records.push(encode(&stamped, key_of(self.run.state(), &stamped)));
            self.forget(&stamped, &mut remembered);
            shown.push(Recorded { seq: self.version, stamped });
        }
        batch = batch.records(&self.stream, records);
        for (stream, record) in remembered {
            batch = batch.record(&stream, record);
        }
        hit("before-append");
        let ticket = self.world.journal.append(batch);
        hit("after-append");
        self.commits.push_back(Commit { ticket, jobs, events: shown });
        more
    }

    /// Lets go of what belongs to a unit that ended; notes its result for reuse.
    fn forget(&mut self, stamped: &Stamped, remembered: &mut Vec<(Stream, brigade_journal::Record)>) {
        match &stamped.event {
            Event::SubtaskEnded { unit, status, reused_from, .. } => {
                self.excerpts.remove(unit);
                if let Some(work) = self.works.remove(unit)
                    && *status == SubtaskStatus::Done
                    && reused_from.is_none()
                {
                    remembered.push(reuse::remember(work, &self.id, self.version));
                }
            }
            // Reviewed anew.
            Event::PatchStored { .. } => self.diff = None,
            _ => {}
        }
    }

    /// Turns an action into a job, or into a fact where the answer is at hand.
    fn take(&mut self, action: Action, jobs: &mut Vec<Job>) {
        let caller = match action {
            Action::Call { caller } => caller,
            Action::Batch { batch, key, model, calls, id, fresh } => {
                jobs.push(Job::Follow(self.trip(batch, key, model, &calls, id, fresh)));
                return;
            }
            action => {
                jobs.push(Job::Do(action));
                return;
            }
        };
        let now = self.world.clock.now();
        let fetched = self.fetched(&caller);
        let prepared = match self.run.prepare(&caller, &fetched) {
            Ok(prepared) => prepared,
            Err(refusal) => {
                self.run.cannot_call(refusal.to_string(), now);
                return;
            }
        };
        let model = prepared.call.model.clone();
        // What goes into a batch passed no gate.
        let gated = prepared.call.service != Service::Batch;
        if let Caller::Executor { unit, attempt: 1 } = &caller
            && self.run.state().start().reuse
            && let Some(work) = reuse::work_of(self.run.state(), unit, &prepared)
        {
            if let Some(earlier) = reuse::find(&*self.world.journal, &work) {
                if gated {
                    self.world.gates.give_back(&model, now);
                }
                self.run.hear(Fact::Reused { unit: unit.clone(), earlier }, now);
                return;
            }
            self.works.insert(unit.clone(), work);
        }
        if !gated {
            return self.gather(&prepared, now);
        }
        let agent = self.world.agents.get(model.provider()).cloned();
        let answerer = match agent {
            Some(agent) => Some(Answerer::Agent(agent, Place::of(&caller, self.run.state()))),
            None => self.world.models.get(model.provider()).cloned().map(Answerer::Model),
        };
        let Some(answerer) = answerer else {
            self.world.gates.give_back(&model, now);
            let why = format!("no provider is called {:?}: configure [providers.{}]", model.provider(), model.provider());
            self.run.cannot_call(why, now);
            return;
        };
        match self.run.begin_call(&prepared, now) {
            Some(no) => {
                let cancel = CancellationToken::new();
                self.calls.insert(no, (cancel.clone(), model));
                let how = match caller {
                    Caller::Planner => Way::Streamed,
                    Caller::Compactor { by: CompactBy::Endpoint } => Way::Condensed,
                    _ if self.run.is_awaited(no) => Way::Awaited,
                    _ => Way::Whole,
                };
                jobs.push(Job::Call { no, call: Box::new(prepared.call), answerer, cancel, how });
            }
            None => self.world.gates.give_back(&model, now),
        }
    }

    /// Leases a call that travels with others, and writes its line.
    fn gather(&mut self, prepared: &Prepared, now: Timestamp) {
        let batches = self.world.models.get(prepared.call.model.provider()).and_then(|model| model.batches());
        let line = batches.map(|batches| batches.line(&prepared.call));
        let Some(no) = self.run.begin_call(prepared, now) else { return };
        match line {
            Some(line) => drop(self.lines.insert(no, line)),
            None => {
                let message = format!("provider {} has no Batch API", prepared.call.model.provider());
                let error = CallError::new(ErrorClass::UnsupportedField, message);
                let error = CallError { param: Some("service_tier".to_owned()), sent: false, ..error };
                self.run.hear(Fact::Answered { call: no, answer: Err(error), ms: Millis(0), first_ms: None, worked: None }, now);
            }
        }
    }

    fn trip(&mut self, batch: u32, key: String, model: ModelRef, calls: &[CallNo], id: Option<String>, fresh: bool) -> Trip {
        let mut lines = Vec::new();
        for line in calls.iter().filter_map(|call| self.lines.remove(call)) {
            lines.extend_from_slice(&line);
        }
        let poll = self.run.state().start().policy.service.batch_poll.into();
        let calls = calls.iter().copied().collect();
        Trip { run: self.id.clone(), batch, key, model, calls, id, lines: fresh.then_some(lines), poll }
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
        for job in commit.jobs {
            match job {
                Job::Do(Action::ReadRows { source, from, count, list, with }) => {
                    let fact = self.read_rows(source, from, count, list, &with)?;
                    // The receiver is this engine.
                    let _ = self.facts.send(fact);
                }
                Job::Follow(trip) => {
                    let Some(model) = self.world.models.get(trip.model.provider()).cloned() else {
                        let error = CallError::new(ErrorClass::Refused, format!("no provider is called {:?}", trip.model.provider()));
                        let _ = self.facts.send(Fact::BatchRefused { batch: trip.batch, error });
                        continue;
                    };
                    let gone = self.gone.token().child_token();
                    tokio::spawn(batches::follow(trip, model, self.facts.clone(), self.given_up.clone(), gone));
                }
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
        let at = [self.run.wakes_at(), self.world.gates.opens_at()].into_iter().flatten().filter(|at| *at > now).min();
        let due = self.run.wakes_at().is_some_and(|at| at <= now);
        match at {
            Some(at) => Duration::from(at - now),
            // Due already, and the gate is the reason it has not happened.
            None if due => Duration::from_millis(20),
            None => Duration::MAX,
        }
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
