//! Random lives of many runs in several processes: they reserve, send, settle, cancel, crash, are taken up or reaped.
//!
//! `BRIGADE_SCHEDULES=100000 cargo nextest run -p brigade-runtime no_life_passes_a_cap` lives that many; docs/performance.md has what came of it.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::*;
use brigade_kernel::ids::{ModelRef, Tier};
use brigade_kernel::run::{CallNo, CallResult};
use brigade_kernel::time::Millis;
use brigade_kernel::units::QuotaUnits;

const RUNS: usize = 5;
const PROCESSES: usize = 3;
const CAP: u64 = 1_000;
const STEPS: u32 = 40;

/// Numbers that a seed gives, always the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

enum Held {
    Granted(HomeLease, u64),
    Sent(HomeLease, u64, CallNo),
}

#[derive(Default)]
struct Life {
    alive: bool,
    held: Vec<Held>,
    calls: u64,
    version: u64,
}

struct Lives {
    journal: Arc<InMemory>,
    alive: Arc<Mutex<BTreeSet<RunId>>>,
    treasuries: Vec<Treasury>,
    runs: Vec<Life>,
    /// What providers took, and what is charged for calls that nobody knows the end of.
    charged: u64,
    granted: u32,
    refused: u32,
}

impl Lives {
    fn new() -> Self {
        let journal = Arc::new(InMemory::new());
        let alive: Arc<Mutex<BTreeSet<RunId>>> = Arc::default();
        let treasury = |_| {
            let alive = alive.clone();
            Treasury::new(journal.clone(), Clock::start(), move |run| alive.lock().unwrap().contains(run))
        };
        let treasuries = (0..PROCESSES).map(treasury).collect();
        (0..RUNS).for_each(|n| begin(&*journal, n));
        let runs = (0..RUNS).map(|_| Life { version: 1, ..Life::default() }).collect();
        Self { journal, alive, treasuries, runs, charged: 0, granted: 0, refused: 0 }
    }

    fn record(&mut self, who: usize, event: Event, spent: Option<Spent>) {
        let stream = events_of(&run(who));
        let life = &mut self.runs[who];
        let mut batch = Batch::new().expect(&stream, life.version).record(&stream, encode(&Stamped { at: NOON, event }, None));
        if let Some(spent) = spent {
            batch = batch.record(&spending(), spending_of(vec![spent]));
        }
        self.journal.append(batch).wait().unwrap();
        life.version += 1;
    }

    fn ended(&mut self, who: usize, lease: HomeLease, call: CallNo, took: u64) {
        let event = Event::CallEnded {
            call,
            result: CallResult::Lost,
            usage: None,
            cost_usd: NanoUsd(took),
            flagship_usd: NanoUsd(took),
            sent: true,
            ms: Millis(1),
            first_ms: None,
        };
        self.record(who, event, Some(Spent { lease: Some(lease), at: NOON, took: usd(took) }));
        self.charged += took;
    }

    async fn step(&mut self, dice: &mut Dice) {
        let who = dice.below(RUNS as u64) as usize;
        let treasury = self.treasuries[who % PROCESSES].clone();
        if !self.runs[who].alive {
            return self.take_up(who, &treasury);
        }
        match dice.below(10) {
            0..4 => {
                let most = 1 + dice.below(400);
                let (ask, mut told) = asked(who, CAP, most);
                treasury.ask(ask);
                if dice.below(12) == 0 {
                    // It dies before it hears.
                    drop(told);
                    self.crash(who);
                } else {
                    match told.recv().await.unwrap().1 {
                        Answer::Granted(lease, ..) => {
                            self.granted += 1;
                            self.runs[who].held.push(Held::Granted(lease, most));
                        }
                        Answer::Refused(_) => self.refused += 1,
                        Answer::Failed(error) => panic!("{error}"),
                    }
                }
            }
            4..9 if !self.runs[who].held.is_empty() => {
                let n = dice.below(self.runs[who].held.len() as u64) as usize;
                match self.runs[who].held.swap_remove(n) {
                    Held::Granted(lease, _) if dice.below(5) == 0 => treasury.give_back(lease),
                    Held::Granted(lease, most) => self.send(who, lease, most),
                    Held::Sent(lease, most, call) => self.ended(who, lease, call, dice.below(most + 1)),
                }
            }
            9 => self.crash(who),
            _ => {}
        }
    }

    fn send(&mut self, who: usize, lease: HomeLease, most: u64) {
        self.runs[who].calls += 1;
        let call = CallNo(self.runs[who].calls);
        let event = Event::CallStarted {
            call,
            caller: Caller::Planner,
            tier: Tier::new("nano").unwrap(),
            model: ModelRef::new("openai/m").unwrap(),
            lease_usd: NanoUsd(most),
            lease_tokens: most,
            max_output_tokens: 1,
            units: QuotaUnits::default(),
            home: Some(lease),
            hedge_of: None,
            opening: Vec::new(),
            service: brigade_kernel::call::Service::Default,
        };
        self.record(who, event, None);
        self.runs[who].held.push(Held::Sent(lease, most, call));
    }

    fn crash(&mut self, who: usize) {
        self.runs[who].alive = false;
        self.alive.lock().unwrap().remove(&run(who));
    }

    /// As an engine does: what was sent is lost and charged in full, what was never sent is given back.
    fn take_up(&mut self, who: usize, treasury: &Treasury) {
        self.runs[who].alive = true;
        self.alive.lock().unwrap().insert(run(who));
        let held = std::mem::take(&mut self.runs[who].held);
        let sent = held.iter().filter_map(|held| if let Held::Sent(lease, ..) = held { Some(*lease) } else { None });
        treasury.take_up(run(who), sent.collect());
        for held in held {
            if let Held::Sent(lease, most, call) = held {
                self.ended(who, lease, call, most);
            }
        }
    }

    /// What another process does when a cap seems blocked by the dead.
    fn reap(&self) {
        let ledger = Book::open(&*self.journal).unwrap().ledger;
        let alive = self.alive.lock().unwrap();
        for batch in reap(&*self.journal, &ledger, &|run| alive.contains(run)).unwrap() {
            let _ = self.journal.append(batch).wait();
        }
    }

    async fn settle_down(&mut self) {
        for who in 0..RUNS {
            let treasury = self.treasuries[who % PROCESSES].clone();
            self.crash(who);
            self.take_up(who, &treasury);
        }
        for treasury in self.treasuries.clone() {
            // Answered once all before it is done.
            let (ask, mut told) = asked(0, 0, 1);
            treasury.ask(ask);
            told.recv().await;
        }
    }
}

async fn live(seed: u64) -> (u32, u32) {
    let mut lives = Lives::new();
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut seen = Book::default();
    for _ in 0..STEPS {
        if dice.below(12) == 0 {
            lives.reap();
        }
        lives.step(&mut dice).await;
        seen.refresh(&*lives.journal).unwrap();
        let total = seen.ledger.total();
        for measure in [Measure::NanoUsd, Measure::Tokens] {
            let (settled, leased) = (total.settled.of(measure), total.leased.of(measure));
            assert!(settled + leased <= CAP, "seed {seed}: {settled} settled, {leased} leased");
        }
        assert!(lives.charged <= CAP, "seed {seed}: {} charged", lives.charged);
    }
    lives.settle_down().await;
    assert_eq!(known(&*lives.journal), (lives.charged, 0), "seed {seed}: each call is charged once, and nothing stays promised");
    (lives.granted, lives.refused)
}

#[test]
fn no_life_passes_a_cap() {
    let count = std::env::var("BRIGADE_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut granted, mut refused) = (0, 0);
    for seed in 0..count {
        let (yes, no) = runtime.block_on(live(seed));
        granted += u64::from(yes);
        refused += u64::from(no);
    }
    println!("{count} schedules: {granted} leases granted, {refused} refused, none past its cap");
    assert!(granted > count && refused > count / 4, "{granted} granted, {refused} refused");
}
