//! Laws of the ledger that processes share: every order of two of them, and many random lives of many.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod every_order;
mod lives;

use std::sync::Arc;

use brigade_journal::{Batch, InMemory, Journal};
use brigade_kernel::budget::home::Spent;
use brigade_kernel::budget::{Amounts, HomeAsk, HomeCap, HomeLease, Measure, Scope};
use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Caller, Event, Stamped};
use brigade_kernel::time::Timestamp;
use brigade_kernel::units::NanoUsd;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::home::events_of;
use crate::record::encode;

const NOON: Timestamp = Timestamp(1_795_219_200_000);

fn usd(nano: u64) -> Amounts {
    Amounts { money: NanoUsd(nano), tokens: nano, ..Amounts::default() }
}

fn run(n: usize) -> RunId {
    RunId::new(&format!("r{n:019}")).unwrap()
}

/// An ask, and where its answer comes.
fn asked(of: usize, cap: u64, nano: u64) -> (Asked, UnboundedReceiver<(Caller, Answer)>) {
    let (answer, told) = unbounded_channel();
    let caps = [(Scope::Day, Measure::NanoUsd), (Scope::Home, Measure::NanoUsd), (Scope::Day, Measure::Tokens)];
    let caps = caps.into_iter().map(|(scope, measure)| HomeCap { scope, measure, cap }).collect();
    let ask = HomeAsk { most: usd(nano), held_back: Amounts::default() };
    (Asked { run: run(of), caller: Caller::Planner, caps, ask, answer }, told)
}

fn end(journal: &dyn Journal, lease: HomeLease, took: Amounts) {
    let spent = Spent { lease: Some(lease), at: NOON, took };
    journal.append(Batch::new().record(&spending(), spending_of(vec![spent]))).wait().unwrap();
}

/// A run has begun.
fn begin(journal: &dyn Journal, n: usize) {
    let event = encode(&Stamped { at: NOON, event: Event::RunResumed {} }, None);
    journal.append(Batch::new().record(&events_of(&run(n)), event)).wait().unwrap();
}

/// What everybody knows: a fold of all that is written.
fn known(journal: &dyn Journal) -> (u64, u64) {
    let total = Book::open(journal).unwrap().ledger.total();
    (total.settled.money.0, total.leased.money.0)
}

#[test]
fn a_thousand_asks_of_ten_processes_for_the_last_dollar_pass_as_far_as_it_goes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let journal: Arc<dyn Journal> = Arc::new(InMemory::new());
    let _inside = runtime.enter();
    let treasuries: Vec<_> = (0..10).map(|_| Treasury::new(journal.clone(), Clock::start(), |_| true)).collect();
    (0..10).for_each(|n| begin(&*journal, n));
    let mut told = Vec::new();
    for n in 0..1_000 {
        let (ask, answer) = asked(n % 10, 1_000_000_000, 300_000);
        treasuries[n % 10].ask(ask);
        told.push(answer);
    }
    let granted = runtime.block_on(async {
        let mut granted = 0;
        for mut answer in told {
            granted += usize::from(matches!(answer.recv().await.unwrap().1, Answer::Granted(..)));
        }
        granted
    });
    assert_eq!(granted, 1_000, "all fit");
    assert_eq!(known(&*journal), (0, 300_000_000));
    let mut told = Vec::new();
    for n in 0..1_000 {
        let (ask, answer) = asked(n % 10, 1_000_000_000, 300_000_000);
        treasuries[n % 10].ask(ask);
        told.push(answer);
    }
    let granted = runtime.block_on(async {
        let mut granted = 0;
        for mut answer in told {
            granted += usize::from(matches!(answer.recv().await.unwrap().1, Answer::Granted(..)));
        }
        granted
    });
    assert_eq!(granted, 2, "700 million are left");
    assert_eq!(known(&*journal), (0, 900_000_000));
}

#[test]
fn a_process_reads_from_the_last_checkpoint_on_and_knows_the_same() {
    let journal: Arc<dyn Journal> = Arc::new(InMemory::new());
    for n in 0..5_000 {
        let spent = Spent { lease: None, at: NOON, took: usd(n) };
        journal.append(Batch::new().record(&spending(), spending_of(vec![spent]))).wait().unwrap();
    }
    let first = Book::open(&*journal).unwrap();
    assert_eq!(journal.version(&brigade_journal::Stream::new("ledger").unwrap()).unwrap(), 1, "a checkpoint was written");
    end(&*journal, HomeLease { seq: 7, n: 7 }, usd(1_000_000));
    let second = Book::open(&*journal).unwrap();
    assert_eq!(first.ledger, second.ledger, "what nobody promised ends nothing");
    assert_eq!(second.ledger.total().settled, usd((0..5_000).sum()));
}

#[test]
fn a_lease_whose_engine_is_gone_is_given_back() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let journal: Arc<dyn Journal> = Arc::new(InMemory::new());
    let treasury = Treasury::new(journal.clone(), Clock::start(), |_| true);
    (1..3).for_each(|n| begin(&*journal, n));
    runtime.block_on(async {
        let (ask, answer) = asked(1, 1_000, 400);
        drop(answer);
        treasury.ask(ask);
        let (ask, mut answer) = asked(2, 1_000, 700);
        treasury.ask(ask);
        // Judged together, the second was too much; once more, and the first is back.
        assert!(matches!(answer.recv().await.unwrap().1, Answer::Refused(_)));
        let (ask, mut answer) = asked(2, 1_000, 1_000);
        treasury.ask(ask);
        assert!(matches!(answer.recv().await.unwrap().1, Answer::Granted(..)));
    });
    assert_eq!(known(&*journal), (0, 1_000));
}
