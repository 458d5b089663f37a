//! Laws of the gate, on a virtual clock, against models of servers.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

fn visitor(id: u64, class: Class) -> Visitor {
    Visitor { id, process: (id as u32, 1), class }
}

fn interactive(id: u64) -> Visitor {
    visitor(id, Class::Interactive)
}

const SERVED: Passed = Passed::Served { timing: None };

fn refused(ms: u64) -> Passed {
    Passed::Refused { retry_after: Some(Millis(ms)) }
}

/// As many calls as the gate lets through at once.
fn fill(gate: &mut Gate, who: &Visitor, now: u64, most: usize) -> Vec<Pass> {
    (0..most).map_while(|_| gate.enter(who, Timestamp(now)).ok()).collect()
}

#[test]
fn a_storm_sends_one_probe_per_window_and_then_ramps_up() {
    let (mut gate, me) = (Gate::default(), interactive(1));
    let passes = fill(&mut gate, &me, 0, 1_000);
    assert_eq!(passes.len(), 1_000);
    for pass in passes {
        gate.leave(1, pass, refused(7_000), None, Millis(u64::MAX), Timestamp(10));
    }
    let mut now = 7_010;
    for window in 0..5 {
        assert!(gate.enter(&me, Timestamp(now - 1)).is_err());
        let probe = fill(&mut gate, &me, now, 10);
        assert_eq!(probe.len(), 1, "window {window}: one probe only");
        gate.leave(1, probe.into_iter().next().unwrap(), refused(7_000), None, Millis(u64::MAX), Timestamp(now));
        now += 7_000;
    }
    let mut at_once = Vec::new();
    for _ in 0..12 {
        let passes = fill(&mut gate, &me, now, 2_000);
        at_once.push(passes.len());
        passes.into_iter().for_each(|pass| gate.leave(1, pass, SERVED, None, Millis(u64::MAX), Timestamp(now)));
        now += 1_000;
    }
    assert_eq!(at_once[..5], [1, 2, 4, 8, 16], "a ramp, not a second burst");
    assert!(at_once[9] >= 500, "half of what was refused is reached: {at_once:?}");
    assert!(at_once[11] < 1_000, "and more is tried with care: {at_once:?}");
}

#[test]
fn two_processes_share_one_probe() {
    let (mut gate, a, b) = (Gate::default(), interactive(1), interactive(2));
    let pass = gate.enter(&a, Timestamp(0)).unwrap();
    gate.leave(1, pass, refused(1_000), None, Millis(u64::MAX), Timestamp(0));
    let probe = gate.enter(&b, Timestamp(1_000)).unwrap();
    assert!(gate.enter(&a, Timestamp(1_000)).unwrap_err().closed);
    gate.leave(2, probe, SERVED, None, Millis(u64::MAX), Timestamp(1_100));
    assert!(gate.enter(&a, Timestamp(1_100)).is_ok());
}

#[test]
fn a_probe_whose_process_dies_is_followed_by_another() {
    let (mut gate, a, b) = (Gate::default(), interactive(1), interactive(2));
    let pass = gate.enter(&a, Timestamp(0)).unwrap();
    gate.leave(1, pass, refused(1_000), None, Millis(u64::MAX), Timestamp(0));
    gate.enter(&a, Timestamp(1_000)).unwrap();
    assert!(gate.enter(&b, Timestamp(1_500)).is_err());
    gate.forget(|member| member.process().0 == 1);
    assert!(gate.enter(&b, Timestamp(1_500)).is_ok());
    assert!(gate.enter(&b, Timestamp(1_500)).is_err(), "still one at a time");
}

#[test]
fn a_gate_that_was_never_refused_is_wide_open() {
    let (mut gate, me) = (Gate::default(), interactive(1));
    assert_eq!(fill(&mut gate, &me, 0, 100_000).len(), 100_000);
}

#[test]
fn an_interactive_run_goes_before_bulk_and_bulk_takes_what_is_left() {
    let (mut gate, bulk, asked) = (Gate { limit: Some(4), ..Gate::default() }, visitor(1, Class::Bulk), interactive(2));
    let mut held: VecDeque<Pass> = fill(&mut gate, &bulk, 0, 10).into();
    assert_eq!(held.len(), 4);
    assert!(gate.enter(&asked, Timestamp(1)).is_err(), "nothing is free");
    gate.leave(1, held.pop_front().unwrap(), Passed::Neither, None, Millis(u64::MAX), Timestamp(2));
    assert!(gate.enter(&bulk, Timestamp(2)).is_err(), "it is not bulk's turn");
    assert!(gate.enter(&asked, Timestamp(3)).is_ok());
    gate.leave(1, held.pop_front().unwrap(), Passed::Neither, None, Millis(u64::MAX), Timestamp(4));
    assert!(gate.enter(&bulk, Timestamp(4)).is_ok(), "who does not wait is not waited for");
}

#[test]
fn who_wanted_a_slot_and_never_comes_back_is_not_waited_for() {
    let (mut gate, bulk, asked) = (Gate { limit: Some(1), ..Gate::default() }, visitor(1, Class::Bulk), interactive(2));
    let pass = gate.enter(&bulk, Timestamp(0)).unwrap();
    assert!(gate.enter(&asked, Timestamp(0)).is_err());
    gate.leave(1, pass, Passed::Neither, None, Millis(u64::MAX), Timestamp(1));
    assert!(gate.enter(&bulk, Timestamp(1)).is_err());
    assert!(gate.enter(&bulk, Timestamp(100)).is_ok());
}

/// Runs that always want more, on an account of so many slots and so much a minute; calls of `ms` each, by run.
fn contend(limit: Option<u32>, full: u64, ms: &[u64], until: u64) -> Vec<u64> {
    let mut gate = Gate { limit, ..Gate::default() };
    gate.requests.learn((full > 0).then_some(full), Some(0), None, Mark::default(), Millis(0));
    let mut served = vec![0; ms.len()];
    let mut ends: BTreeMap<u64, Vec<(usize, Pass)>> = BTreeMap::new();
    for now in 0..until {
        let due: Vec<u64> = ends.range(..=now).map(|(at, _)| *at).collect();
        for (who, pass) in due.into_iter().flat_map(|at| ends.remove(&at).unwrap()) {
            gate.leave(who as u64, pass, Passed::Neither, None, Millis(u64::MAX), Timestamp(now));
            served[who] += 1;
        }
        // The first to ask is always the same one, and asks until it is sent away.
        for (who, ms) in ms.iter().enumerate().filter(|_| now % 5 == 0) {
            while let Ok(pass) = gate.enter(&interactive(who as u64), Timestamp(now)) {
                ends.entry(now + ms).or_default().push((who, pass));
            }
        }
    }
    served
}

#[test]
fn runs_share_slots_and_rate_alike_and_leave_none_unused() {
    let slots = contend(Some(9), 0, &[50, 50, 50], 20_000);
    let most: u64 = 9 * 20_000 / 50;
    assert!(slots.iter().sum::<u64>() * 100 >= most * 95, "{slots:?} of {most}");
    assert!(slots.iter().all(|n| n * 100 >= most / 3 * 90), "{slots:?}");
    let rate = contend(None, 6_000, &[20, 20, 400], 20_000);
    let most: u64 = 100 * 20;
    assert!(rate.iter().sum::<u64>() * 100 >= most * 95, "{rate:?} of {most}");
    assert!(rate.iter().all(|n| n * 100 >= most / 3 * 85), "{rate:?}");
}

/// A server with a bucket of its own: so many a minute, all at once if they were saved up.
struct Metered {
    per_minute: u64,
    level: f64,
    at: u64,
}

impl Metered {
    fn answer(&mut self, now: u64) -> (bool, RateLimits) {
        let full = self.per_minute as f64;
        self.level = (self.level + (now - self.at) as f64 * full / 60_000.0).min(full);
        self.at = now;
        let serves = self.level >= 1.0;
        self.level -= f64::from(u8::from(serves));
        let told = RateLimits {
            limit_requests: Some(self.per_minute),
            remaining_requests: Some(self.level as u64),
            reset_requests: Some(Millis(((full - self.level) / full * 60_000.0) as u64)),
            ..RateLimits::default()
        };
        (serves, told)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However late calls are sent, however long they take and however stale their headers are: close to what the account serves, hardly a refusal.
    #[test]
    fn a_metered_account_is_used_to_the_full_and_not_beyond(
        per_minute in 60_u64..3_000,
        runs in 1_u64..4,
        latency in 5_u64..3_000,
        jitter in 1_u64..2_000,
        lag in 1_u64..400,
    ) {
        let mut server = Metered { per_minute, level: per_minute as f64, at: 0 };
        let mut gate = Gate::default();
        // What the first answer ever said is known.
        gate.requests.learn(Some(per_minute), Some(per_minute), None, Mark::default(), Millis(0));
        let (mut served, mut refusals, mut dice) = (0_u64, 0_u64, 1_u64);
        let calls = per_minute * 2;
        let mut ends: BTreeMap<(u64, u64), (u64, u64, Pass, bool, RateLimits)> = BTreeMap::new();
        let mut on_the_way: BTreeMap<(u64, u64), (u64, Pass)> = BTreeMap::new();
        let (mut now, mut n, mut last) = (0, 0, 0);
        while served < calls && now < 600_000 {
            let due: Vec<(u64, u64)> = ends.range(..=(now, u64::MAX)).map(|(at, _)| *at).collect();
            for at in due {
                let (who, sent, pass, ok, told) = ends.remove(&at).unwrap();
                let passed = if ok { SERVED } else { refused(1_000) };
                gate.leave(who, pass, passed, Some(&told), Millis(now - sent), Timestamp(now));
                served += u64::from(ok);
                refusals += u64::from(!ok);
                last = now;
            }
            for who in 0..runs {
                while served + ((ends.len() + on_the_way.len()) as u64) < calls && let Ok(pass) = gate.enter(&interactive(who), Timestamp(now)) {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    n += 1;
                    on_the_way.insert((now + (dice >> 40) % lag, n), (who, pass));
                }
            }
            let due: Vec<(u64, u64)> = on_the_way.range(..=(now, u64::MAX)).map(|(at, _)| *at).collect();
            for at in due {
                let (who, pass) = on_the_way.remove(&at).unwrap();
                let (ok, told) = server.answer(now);
                ends.insert((now + latency + at.1 * 7_919 % jitter, at.1), (who, now, pass, ok, told));
            }
            now += 5;
        }
        prop_assert!(served >= calls);
        prop_assert!(refusals * 50 <= calls, "{} refusals of {}", refusals, calls);
        let bound = (calls - per_minute) * 60_000 / per_minute + latency + jitter + lag;
        prop_assert!(last * 100 <= bound * 105 + 5_000, "{} ms where the limit allows {}", last, bound);
    }

    #[test]
    fn a_gate_survives_its_words_and_nothing_else_is_taken_for_one(seed in any::<u64>(), steps in 0_usize..200, hit in any::<usize>(), to in any::<u64>()) {
        let (mut gate, mut passes, mut dice, mut now) = (Gate::default(), Vec::new(), seed, 0);
        let mut roll = |n: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % n
        };
        for _ in 0..steps {
            now += roll(400);
            let who = visitor(roll(5), if roll(2) == 0 { Class::Bulk } else { Class::Interactive });
            if roll(2) == 0 && let Ok(mut pass) = gate.enter(&who, Timestamp(now)) {
                gate.weigh(who.id, &mut pass, roll(5_000), Timestamp(now));
                passes.push((who.id, pass));
            } else if let Some((id, pass)) = passes.pop() {
                let timing = Timing { model: roll(12), first: Millis(roll(5_000)), whole: Millis(roll(9_000)) };
                let told = RateLimits { limit_requests: Some(roll(600)), remaining_requests: Some(roll(600)), ..RateLimits::default() };
                let passed = match roll(6) {
                    0 => refused(roll(3_000)),
                    1 => Passed::Neither,
                    2 => Passed::Unsent,
                    _ => Passed::Served { timing: Some(timing) },
                };
                gate.leave(id, pass, passed, Some(&told).filter(|_| roll(2) == 0), Millis(u64::MAX), Timestamp(now));
            }
            let in_hand = passes.len() as u32;
            prop_assert_eq!(gate.in_flight(), in_hand);
        }
        let words = gate.to_words();
        prop_assert_eq!(Gate::from_words(&words), Some(gate.clone()));
        prop_assert_eq!(Gate::from_words(&words[..words.len() - 1]), None);
        let mut torn = words.clone();
        let at = hit % torn.len();
        torn[at] = to;
        // Whatever was taken in: it can be used without a panic.
        if let Some(mut strange) = Gate::from_words(&torn) {
            for _ in 0..40 {
                now = now.saturating_add(500);
                if let Ok(mut pass) = strange.enter(&interactive(9), Timestamp(now)) {
                    strange.weigh(9, &mut pass, 100, Timestamp(now));
                    let timing = Some(Timing { model: 3, first: Millis(100), whole: Millis(200) });
                    strange.leave(9, pass, Passed::Served { timing }, None, Millis(u64::MAX), Timestamp(now));
                }
            }
        }
    }
}

/// A server of `slots` slots, each busy for `service` ms with a call, the rest in a queue; first content after a tenth
/// of it. How many were in flight at the end, and how many calls were served.
fn queueing(slots: usize, service: u64, most: usize, until: u64) -> (usize, u64) {
    let (mut gate, me) = (Gate::default(), interactive(1));
    let mut queue: VecDeque<(u64, Pass)> = VecDeque::new();
    let mut busy: BTreeMap<(u64, u64), (u64, u64, Pass)> = BTreeMap::new();
    let (mut n, mut served, mut now) = (0, 0, 0);
    while now < until {
        let due: Vec<(u64, u64)> = busy.range(..=(now, u64::MAX)).map(|(at, _)| *at).collect();
        for at in due {
            let (sent, began, pass) = busy.remove(&at).unwrap();
            let first = Millis(began - sent + service / 10);
            let timing = Some(Timing { model: 1, first, whole: Millis(now - sent) });
            gate.leave(1, pass, Passed::Served { timing }, None, Millis(u64::MAX), Timestamp(now));
            served += 1;
        }
        while queue.len() + busy.len() < most
            && let Ok(pass) = gate.enter(&me, Timestamp(now))
        {
            queue.push_back((now, pass));
        }
        while busy.len() < slots
            && let Some((sent, pass)) = queue.pop_front()
        {
            n += 1;
            let takes = service + (n * 7_919) % (service / 5);
            busy.insert((now + takes, n), (sent, now, pass));
        }
        now += 10;
    }
    (queue.len() + busy.len(), served)
}

#[test]
fn a_server_that_queues_is_sent_what_it_works_on_and_stays_busy() {
    for (slots, service) in [(4, 2_000), (10, 3_000), (60, 1_000)] {
        let until = 400_000;
        let (in_flight, served) = queueing(slots, service, 600, until);
        assert!(in_flight <= slots * 3 && in_flight >= slots, "{slots} slots: {in_flight} in flight");
        let most = slots as u64 * until / (service + service / 10);
        assert!(served * 100 >= most * 95, "{slots} slots: {served} of {most}");
    }
}

#[test]
fn a_server_that_is_merely_uneven_is_not_held_back() {
    // Time to first content between 0.2 and 20 s, however many calls there are.
    let (mut gate, me) = (Gate::default(), interactive(1));
    let mut ends: BTreeMap<(u64, u64), (u64, u64, Pass)> = BTreeMap::new();
    let (mut dice, mut n, mut held, mut turns) = (7_u64, 0, 0_u64, 0_u64);
    for now in (0..300_000).step_by(10) {
        let due: Vec<(u64, u64)> = ends.range(..=(now, u64::MAX)).map(|(at, _)| *at).collect();
        for at in due {
            let (sent, first, pass) = ends.remove(&at).unwrap();
            let timing = Some(Timing { model: 1, first: Millis(first), whole: Millis(now - sent) });
            gate.leave(1, pass, Passed::Served { timing }, None, Millis(u64::MAX), Timestamp(now));
        }
        while ends.len() < 200
            && let Ok(pass) = gate.enter(&me, Timestamp(now))
        {
            let mut sum = 0.0;
            for _ in 0..12 {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                sum += (dice >> 33) as f64 / f64::from(1_u32 << 31);
            }
            let first = ((sum - 6.0).exp() * 1_000.0).clamp(200.0, 20_000.0) as u64;
            n += 1;
            ends.insert((now + first + 500, n), (now, first, pass));
        }
        turns += 1;
        held += u64::from(ends.len() < 150);
    }
    assert!(held * 100 <= turns * 5, "held back in {held} of {turns} moments");
}

#[test]
fn a_slowness_that_is_not_the_number_of_calls_lifts_the_limit_again() {
    let (mut gate, me) = (Gate::default(), interactive(1));
    let mut now = 0;
    for round in 0..60 {
        let first = if round < 3 { 300 } else { 4_000 }; // from then on it is slow, however few are sent
        let passes = fill(&mut gate, &me, now, 100);
        now += first + 1_000;
        for pass in passes {
            now += 1;
            let timing = Some(Timing { model: 1, first: Millis(first), whole: Millis(first + 1_000) });
            gate.leave(1, pass, Passed::Served { timing }, None, Millis(u64::MAX), Timestamp(now));
        }
    }
    assert_eq!(fill(&mut gate, &me, now, 100).len(), 100, "{:?}", gate.limit());
}

#[test]
fn a_call_heavier_than_usual_waits_until_its_tokens_are_there() {
    let (mut gate, me) = (Gate::default(), interactive(1));
    gate.tokens.learn(Some(60_000), Some(5_000), None, Mark::default(), Millis(0));
    let mut pass = gate.enter(&me, Timestamp(0)).unwrap();
    assert!(gate.weigh(1, &mut pass, 4_000, Timestamp(0)));
    let mut heavy = gate.enter(&me, Timestamp(3_100)).unwrap();
    assert!(!gate.weigh(1, &mut heavy, 30_000, Timestamp(3_100)));
    gate.leave(1, heavy, Passed::Unsent, None, Millis(u64::MAX), Timestamp(3_100));
    let wait = gate.enter(&me, Timestamp(3_100)).unwrap_err();
    assert!(wait.closed && (29_000..29_200).contains(&wait.until.0), "{wait:?}");
    let mut heavy = gate.enter(&me, wait.until).unwrap();
    assert!(gate.weigh(1, &mut heavy, 30_000, Timestamp(29_000)));
}
