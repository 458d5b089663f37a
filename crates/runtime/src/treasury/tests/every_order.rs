//! Two processes, two calls each, in every order of their steps; and with one of them dying before each of its steps.

use super::*;
use brigade_kernel::budget::home::Promised;

/// Steps of one call: judged on what the process has read, written, ended.
const STEPS: usize = 3;
const CALLS: usize = 2;
const CAP: u64 = 100;
/// Three of them do not fit.
const MOST: u64 = 40;

struct Process {
    no: usize,
    book: Book,
    judged: Option<Promised>,
    leases: Vec<HomeLease>,
    /// How its calls end: in part, in full, not at all.
    took: u64,
    conflicts: u32,
    refusals: u32,
}

impl Process {
    fn new(no: usize, took: u64) -> Self {
        Self { no, book: Book::default(), judged: None, leases: Vec::new(), took, conflicts: 0, refusals: 0 }
    }

    fn judge(&mut self, journal: &dyn Journal) {
        self.book.refresh(journal).unwrap();
        let (ask, _) = asked(self.no, CAP, MOST);
        let judged = self.book.judge(&[ask], NOON);
        if judged.record.calls.is_empty() {
            self.refusals += 1;
        } else {
            self.judged = Some(judged.record);
        }
    }

    fn step(&mut self, step: usize, journal: &dyn Journal) {
        match step % STEPS {
            0 => self.judge(journal),
            1 => {
                while let Some(record) = self.judged.take() {
                    if journal.append(self.book.batch(&record)).wait().is_ok() {
                        self.book.written();
                        self.leases.push(HomeLease { seq: journal.version(&leases()).unwrap(), n: 0 });
                    } else {
                        self.conflicts += 1;
                        self.book.unwritten(&record);
                        self.judge(journal);
                    }
                }
            }
            _ => {
                if let Some(lease) = self.leases.pop() {
                    end(journal, lease, usd(self.took));
                }
            }
        }
    }
}

/// Every order of `a` steps of the first and `b` of the second.
fn orders(a: usize, b: usize) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    for bits in 0_u32..1 << (a + b) {
        if bits.count_ones() as usize == b {
            all.push((0..a + b).map(|at| (bits >> at & 1) as usize).collect());
        }
    }
    all
}

#[derive(Default)]
struct Seen {
    conflicts: u32,
    refusals: u32,
}

fn live(order: &[usize], took: [u64; 2], dies: Option<usize>, seen: &mut Seen) {
    let journal = InMemory::new();
    let mut processes = [Process::new(0, took[0]), Process::new(1, took[1])];
    let (mut done, mut seen_by_others) = ([0, 0], Book::default());
    for &who in order {
        if who == 0 && dies.is_some_and(|at| done[0] >= at) {
            continue;
        }
        processes[who].step(done[who], &journal);
        done[who] += 1;
        seen_by_others.refresh(&journal).unwrap();
        let total = seen_by_others.ledger.total();
        let (settled, leased) = (total.settled.money.0, total.leased.money.0);
        assert!(settled + leased <= CAP, "{order:?} {took:?} {dies:?}: {settled} + {leased}");
    }
    let total = known(&journal);
    if dies.is_none() {
        assert_eq!(total.1, 0, "{order:?}: nothing stays promised");
    }
    for process in &mut processes {
        seen.conflicts += process.conflicts;
        seen.refusals += process.refusals;
        process.book.refresh(&journal).unwrap();
    }
    // Whatever a process believed on the way, it knows the same in the end, but for what it has judged and not written.
    if processes.iter().all(|p| p.judged.is_none()) {
        assert_eq!(processes[0].book.ledger, processes[1].book.ledger, "{order:?}");
        assert_eq!(processes[0].book.ledger, Book::open(&journal).unwrap().ledger, "{order:?}");
    }
    // Nobody resumes a run that died: the others end its leases, and no cap is blocked.
    for batch in reap(&journal, &Book::open(&journal).unwrap().ledger, &|_| false).unwrap() {
        journal.append(batch).wait().unwrap();
    }
    assert_eq!(known(&journal).1, 0, "{order:?}");
}

#[test]
fn no_order_of_two_processes_passes_a_cap_or_leaves_anything_promised() {
    let mut seen = Seen::default();
    let orders = orders(STEPS * CALLS, STEPS * CALLS);
    for order in &orders {
        for took in [[0, MOST], [MOST, MOST], [MOST / 4, 0]] {
            live(order, took, None, &mut seen);
        }
        for at in 0..STEPS * CALLS {
            live(order, [MOST, MOST], Some(at), &mut seen);
        }
    }
    assert!(seen.conflicts > 1_000 && seen.refusals > 1_000, "{} conflicts, {} refusals", seen.conflicts, seen.refusals);
}
