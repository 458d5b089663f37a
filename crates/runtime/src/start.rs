//! A run begun or taken up again: lock, events so far, engine.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use brigade_journal::{AppendError, Batch, Blob, LockError, ReadError};
use brigade_kernel::catalog::Catalog;
use brigade_kernel::ids::RunId;
use brigade_kernel::image::Pictures;
use brigade_kernel::policy::Policy;
use brigade_kernel::run::{Fact, Phase, Run, RunStarted};
use brigade_kernel::time::Timestamp;
use tokio::sync::mpsc;

use crate::engine::{Engine, Models, World};
use crate::errand::Agents;
use crate::gates::Gates;
use crate::hands::Hands;
use crate::home::{Home, events_of};
use crate::input::{self, InputError};
use crate::record::{self, LoadError, Recorded};
use crate::{Clock, Mcp, Treasury, accounts, commands, failpoint};

/// Why a run could not be begun or taken up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another engine works on it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its events cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its input is not what it was.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The journal takes nothing.
    #[error(transparent)]
    Journal(#[from] AppendError),
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is over.
    #[error("run {run} is over: {how}")]
    Over {
        /// The run.
        run: RunId,
        /// How it ended.
        how: String,
    },
}

/// What every run of this process shares.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The home.
    pub home: Home,
    /// Models, windows, prices.
    pub catalog: Arc<Catalog>,
    /// Providers by name.
    pub models: Arc<Models>,
    /// Providers that are agents, by name.
    pub agents: Arc<Agents>,
    /// MCP servers that subtasks may join.
    pub mcp: Mcp,
    /// One gate per account.
    pub gates: Gates,
    /// Leases of the home.
    pub treasury: Treasury,
    /// The time.
    pub clock: Clock,
}

/// A fresh id: `r`, nine characters of time, ten of chance; sorts by start.
pub fn new_id(now: Timestamp) -> RunId {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let chance = RandomState::new().build_hasher().finish();
    let mut text = String::from("r");
    for i in (0..9).rev() {
        text.push(DIGITS[(now.0 >> (5 * i) & 31) as usize] as char);
    }
    for i in 0..10 {
        text.push(DIGITS[(chance >> (5 * i) & 31) as usize] as char);
    }
    RunId::new(&text).expect("a letter and digits")
}

impl Shared {
    fn world(&self, run: &RunId, workspace: &str) -> World {
        let hands = Hands::new(Path::new(workspace).to_owned(), self.home.view_dir(run), self.home.scratch_dir(run));
        World {
            home: self.home.clone(),
            journal: self.home.journal(),
            models: self.models.clone(),
            agents: self.agents.clone(),
            hands: Arc::new(hands),
            servers: Arc::new(self.mcp.of_run(&self.home, workspace)),
            gates: self.gates.clone(),
            treasury: self.treasury.clone(),
            clock: self.clock,
        }
    }

    /// Providers that can condense a conversation.
    fn compacting(&self) -> Vec<String> {
        self.models.iter().filter(|(_, model)| model.compacts()).map(|(name, _)| name.clone()).collect()
    }

    /// Begins a run; `plan` is the fact that brings a plan file's subtasks, `pictures` are the bytes of the request's images.
    ///
    /// # Errors
    /// [`StartError`]; nothing was spent.
    pub fn begin(
        &self,
        start: RunStarted,
        pictures: &Pictures,
        plan: Option<Fact>,
        show: Option<mpsc::UnboundedSender<Recorded>>,
    ) -> Result<Engine, StartError> {
        let lock = self.home.lock(&start.run)?;
        let world = self.world(&start.run, &start.workspace);
        if !pictures.is_empty() {
            let stream = events_of(&start.run);
            let add = |batch: Batch, bytes: &Arc<[u8]>| batch.blob(&stream, Blob::new(bytes.to_vec()));
            self.home.journal().append(pictures.iter().fold(Batch::new(), add)).wait()?;
        }
        let mut run = Run::new(self.catalog.clone(), self.mcp.specs().into());
        run.compacts_at(self.compacting());
        run.start(start, self.clock.now());
        let mut engine = Engine::new(run, 0, world, lock, show);
        for fact in self.told()? {
            engine.hear(fact);
        }
        if let Some(plan) = plan {
            engine.hear(plan);
        }
        Ok(engine)
    }

    /// What accounts of agents told earlier runs of their quota.
    fn told(&self) -> Result<Vec<Fact>, ReadError> {
        if self.agents.is_empty() {
            return Ok(Vec::new());
        }
        let latest = accounts::latest(&*self.home.journal())?.into_values();
        let of_agents = latest.filter(|report| self.agents.contains_key(&report.provider));
        Ok(of_agents.map(|report| Fact::QuotaKnown { provider: report.provider, windows: report.windows, at: report.at }).collect())
    }

    /// Takes a run up again. `policy`: today's configuration, pinned from here on.
    ///
    /// # Errors
    /// [`StartError`]; nothing was spent.
    pub fn resume(
        &self,
        id: &RunId,
        policy: Option<Policy>,
        facts: Vec<Fact>,
        show: Option<mpsc::UnboundedSender<Recorded>>,
    ) -> Result<Engine, StartError> {
        let lock = self.home.lock(id)?;
        let (mut run, version) = record::load(&*self.home.journal(), id, self.catalog.clone(), self.mcp.specs().into())?;
        let retried = facts.iter().any(|f| matches!(f, Fact::RetryFailed(_)));
        if run.state().phase == Phase::Ended && !retried {
            let how = run.state().ended.as_ref().map_or_else(String::new, |s| format!("{:?}", s.status).to_lowercase());
            return Err(StartError::Over { run: id.clone(), how });
        }
        if let Some(input) = &run.state().start().input {
            input::recheck(input)?;
        }
        run.compacts_at(self.compacting());
        let world = self.world(id, &run.state().start().workspace);
        if let Some(policy) = policy {
            run.repin(Arc::new(policy), self.clock.now());
        }
        let mut engine = Engine::new(run, version, world, lock, show);
        engine.take_up();
        failpoint::hit("after-resume");
        for fact in facts {
            engine.hear(fact);
        }
        Ok(engine)
    }

    /// Leaves word for a run: its engine hears it within 200 ms, or when it is resumed.
    ///
    /// # Errors
    /// The journal's.
    pub fn tell(&self, id: &RunId, command: &commands::Command) -> Result<(), AppendError> {
        commands::send(&*self.home.journal(), id, command)
    }
}
