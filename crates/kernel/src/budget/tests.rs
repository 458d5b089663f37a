//! Laws of the ledger, attacked by generated interleavings; and what refusals say.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::call::Service;
use crate::catalog::{Catalog, Day, cost};
use crate::ids::{ModelRef, Tier};
use crate::usage::Usage;

fn ask(role: Role, money: u64, tokens: u64) -> Ask {
    Ask { role, subtask: None, attempt: None, money: NanoUsd(money), tokens, units: QuotaUnits::default() }
}

fn ledger(run: u64) -> Ledger {
    Ledger::new(&Caps { run: NanoUsd(run), ..Caps::default() })
}

fn subtask(n: u8) -> SubtaskId {
    SubtaskId::new(&format!("s{n}")).expect("a legal id")
}

#[derive(Debug, Clone)]
enum Op {
    Lease { role: Role, subtask: Option<u8>, money: u64, tokens: u64 },
    Settle { nth: prop::sample::Index, share: u64, tokens_share: u64 },
    SettleUnknown(prop::sample::Index),
    Overrun { nth: prop::sample::Index, by: u64, tokens: bool },
    Release(prop::sample::Index),
    Lose(prop::sample::Index),
    Crash,
    RunCap(u64),
    Caps(Caps),
    SubtaskCap(u8, Option<u64>),
    HoldBack(u64),
    Stranger(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let role = || prop::sample::select(Role::ALL.to_vec());
    let nth = any::<prop::sample::Index>;
    let lease = (role(), prop::option::of(0_u8..4), 0_u64..400, 0_u64..400);
    prop_oneof![
        12 => lease.prop_map(|(role, subtask, money, tokens)| Op::Lease { role, subtask, money, tokens }),
        6 => (nth(), 0_u64..=100, 0_u64..=100).prop_map(|(nth, share, tokens_share)| Op::Settle { nth, share, tokens_share }),
        2 => nth().prop_map(Op::SettleUnknown),
        1 => (nth(), 1_u64..300, any::<bool>()).prop_map(|(nth, by, tokens)| Op::Overrun { nth, by, tokens }),
        2 => nth().prop_map(Op::Release),
        2 => nth().prop_map(Op::Lose),
        1 => Just(Op::Crash),
        2 => (0_u64..3000).prop_map(Op::RunCap),
        2 => caps().prop_map(Op::Caps),
        2 => (0_u8..4, prop::option::of(0_u64..1000)).prop_map(|(n, cap)| Op::SubtaskCap(n, cap)),
        1 => (0_u64..300).prop_map(Op::HoldBack),
        1 => any::<u64>().prop_map(Op::Stranger),
    ]
}

fn caps() -> impl Strategy<Value = Caps> {
    let some = || prop::option::of(0_u64..3000);
    (some(), some(), some(), some(), some()).prop_map(|(run_tokens, tokens, usd, attempt, call)| {
        let role = RoleCaps { usd: usd.map(NanoUsd), tokens };
        let (attempt, call) = (attempt.map(NanoUsd), call.map(NanoUsd));
        Caps { run_tokens, roles: [RoleCaps::default(), role, RoleCaps { usd: None, ..role }], attempt, call, ..Caps::default() }
    })
}

/// The slow, obvious book: every lease with its fate, summed anew for each question.
#[derive(Default)]
struct Book {
    live: BTreeMap<LeaseId, (Ask, Vec<Scope>)>,
    /// What each ended lease was charged, with the scopes it counted against.
    charged: Vec<(u64, u64, Vec<Scope>)>,
    excused: Vec<Capped>,
    next: u64,
}

impl Book {
    fn pick(&self, nth: &prop::sample::Index) -> Option<LeaseId> {
        (!self.live.is_empty()).then(|| *self.live.keys().nth(nth.index(self.live.len())).expect("within the length"))
    }

    fn end(&mut self, id: LeaseId, charge: impl Fn(&Ask) -> Option<(u64, u64)>) {
        let (ask, scopes) = self.live.remove(&id).expect("picked from the live ones");
        if let Some((money, tokens)) = charge(&ask) {
            self.charged.push((money, tokens, scopes));
        }
    }

    fn leased(&self, (scope, measure): &Capped) -> u64 {
        self.live.values().filter(|(_, scopes)| scopes.contains(scope)).map(|(ask, _)| ask.needed(*measure)).sum()
    }

    fn settled(&self, (scope, measure): &Capped) -> u64 {
        let amount = |money: u64, tokens: u64| if *measure == Measure::NanoUsd { money } else { tokens };
        self.charged.iter().filter(|(.., scopes)| scopes.contains(scope)).map(|(m, t, _)| amount(*m, *t)).sum()
    }
}

/// What a cap bounds.
type Capped = (Scope, Measure);

fn all_scopes() -> Vec<Capped> {
    let roles = Role::ALL.map(Scope::Role);
    let both = std::iter::once(Scope::Run).chain(roles).flat_map(|s| [(s.clone(), Measure::NanoUsd), (s, Measure::Tokens)]);
    both.chain((0..4).map(|n| (Scope::Subtask(subtask(n)), Measure::NanoUsd))).collect()
}

fn perform(ledger: &mut Ledger, book: &mut Book, op: Op) {
    match op {
        Op::Lease { role, subtask: on, money, tokens } => {
            let id = LeaseId(book.next);
            book.next += 1;
            let ask = Ask { subtask: on.map(subtask), ..ask(role, money, tokens) };
            let scopes: Vec<Scope> = [Some(Scope::Run), Some(Scope::Role(role)), on.map(|n| Scope::Subtask(subtask(n)))]
                .into_iter()
                .flatten()
                .filter(|scope| ledger.balance(scope, Measure::NanoUsd).is_some())
                .collect();
            let capped = all_scopes().into_iter().filter(|(scope, _)| scopes.contains(scope));
            let balances: Vec<_> = capped.map(|(s, m)| (s.clone(), m, *ledger.balance(&s, m).expect("counted"))).collect();
            let before = ledger.clone();
            let admitted = ledger.admit(&ask);
            let has_room = |(scope, measure, was): &(Scope, Measure, Balance)| was.admit(|| scope.clone(), *measure, &ask).is_ok();
            let one_call = |refused: &Refused| refused.scope == Scope::Call && refused.needed > refused.cap;
            let by_scopes = balances.iter().all(has_room) && !admitted.as_ref().is_err_and(one_call);
            assert_eq!(admitted.is_ok(), by_scopes, "the ledger's rule is that of its scopes");
            match ledger.lease(id, &ask) {
                Ok(()) => {
                    assert_eq!(admitted, Ok(()));
                    for (scope, measure, was) in &balances {
                        let now = ledger.balance(scope, *measure).expect("still there");
                        let held_back = if role == Role::Executor { now.held_back } else { 0 };
                        assert!(!was.frozen, "a frozen {scope} takes no call");
                        assert!(now.cap.is_none_or(|cap| now.settled + now.leased + held_back <= cap), "{scope}: {now:?}");
                    }
                    assert_eq!(ledger.lease(id, &ask), Err(LedgerError::Taken(id)));
                    book.live.insert(id, (ask, scopes));
                }
                Err(error) => {
                    assert_eq!(Err(error), admitted.map_err(LedgerError::Refused));
                    assert_eq!(*ledger, before, "a refusal changes nothing");
                }
            }
        }
        Op::Settle { nth, share, tokens_share } => {
            let Some(id) = book.pick(&nth) else { return };
            let (ask, _) = &book.live[&id];
            let (money, tokens) = (ask.money.0 * share / 100, ask.tokens * tokens_share / 100);
            let settled = ledger.settle(id, Charge::Known { money: NanoUsd(money), tokens }).expect("in flight");
            assert_eq!((settled.money.0, settled.estimated, settled.overrun), (money, false, None));
            book.end(id, |_| Some((money, tokens)));
            assert_eq!(ledger.release(id), Err(LedgerError::NotInFlight(id)), "a lease ends once");
        }
        Op::Overrun { nth, by, tokens } => {
            let Some(id) = book.pick(&nth) else { return };
            let (ask, scopes) = book.live[&id].clone();
            let (money, tokens) = if tokens { (ask.money.0, ask.tokens + by) } else { (ask.money.0 + by, ask.tokens) };
            let settled = ledger.settle(id, Charge::Known { money: NanoUsd(money), tokens }).expect("in flight");
            for (scope, measure) in all_scopes().into_iter().filter(|(scope, _)| scopes.contains(scope)) {
                let balance = ledger.balance(&scope, measure).expect("counted against");
                let passed = if measure == Measure::NanoUsd { money > ask.money.0 } else { tokens > ask.tokens };
                if passed && balance.cap.is_some() {
                    let overrun = settled.overrun.as_ref().expect("an alarm");
                    assert!(balance.frozen && overrun.frozen.contains(&scope));
                    book.excused.push((scope, measure));
                }
            }
            book.end(id, |_| Some((money, tokens)));
        }
        Op::SettleUnknown(nth) | Op::Lose(nth) => {
            let Some(id) = book.pick(&nth) else { return };
            let settled = ledger.charge_lost(id).expect("in flight");
            assert!(settled.estimated && settled.overrun.is_none());
            book.end(id, |ask| Some((ask.money.0, ask.tokens)));
        }
        Op::Release(nth) => {
            let Some(id) = book.pick(&nth) else { return };
            ledger.release(id).expect("in flight");
            book.end(id, |_| None);
        }
        Op::Crash => {
            let lost = ledger.lost_calls();
            assert_eq!(lost, book.live.keys().copied().collect::<Vec<_>>());
            for id in lost {
                ledger.charge_lost(id).expect("in flight");
                book.end(id, |ask| Some((ask.money.0, ask.tokens)));
            }
        }
        Op::RunCap(cap) => excuse(book, Measure::NanoUsd, ledger.set_run_cap(NanoUsd(cap))),
        Op::Caps(caps) => {
            ledger.set_caps(&caps);
            book.excused.retain(|(scope, measure)| matches!((scope, measure), (Scope::Run, Measure::NanoUsd) | (Scope::Subtask(_), _)));
            for (scope, measure) in all_scopes() {
                let over = ledger.balance(&scope, measure).is_some_and(|b| b.cap.is_some_and(|cap| b.settled + b.leased > cap));
                if over {
                    book.excused.push((scope, measure));
                }
            }
        }
        Op::SubtaskCap(n, cap) => excuse(book, Measure::NanoUsd, ledger.set_subtask_cap(&subtask(n), cap.map(NanoUsd))),
        Op::HoldBack(money) => ledger.hold_back(NanoUsd(money)),
        Op::Stranger(id) => {
            let id = LeaseId(id | 1 << 63);
            assert_eq!(ledger.settle(id, Charge::Unknown), Err(LedgerError::NotInFlight(id)));
        }
    }
}

fn excuse(book: &mut Book, measure: Measure, change: CapChange) {
    let capped = (change.scope, measure);
    book.excused.retain(|excused| change.over || *excused != capped);
    if change.over {
        book.excused.push(capped);
    }
}

proptest! {
    #[test]
    fn settled_plus_leased_never_pass_a_cap(cap in 0_u64..3000, ops in prop::collection::vec(op(), 0..120)) {
        let mut ledger = ledger(cap);
        let mut book = Book::default();
        for op in ops {
            perform(&mut ledger, &mut book, op);
            for capped in all_scopes() {
                let Some(balance) = ledger.balance(&capped.0, capped.1) else { continue };
                prop_assert_eq!(balance.leased, book.leased(&capped), "leased of {:?}", &capped);
                prop_assert_eq!(balance.settled, book.settled(&capped), "settled of {:?}", &capped);
                let within = balance.cap.is_none_or(|cap| balance.settled + balance.leased <= cap);
                prop_assert!(within || book.excused.contains(&capped), "{:?} {:?}", &capped, balance);
            }
        }
        // Quiescence: nothing stays promised, and what is left can be spent.
        for id in ledger.lost_calls() {
            ledger.release(id).expect("in flight");
        }
        prop_assert_eq!(ledger.calls_in_flight(), 0);
        for scope in all_scopes() {
            prop_assert!(ledger.balance(&scope.0, scope.1).is_none_or(|b| b.leased == 0));
        }
        ledger.set_caps(&Caps::default());
        let run = *ledger.balance(&Scope::Run, Measure::NanoUsd).expect("always there");
        if !run.frozen && run.settled <= run.cap.expect("always capped") {
            prop_assert_eq!(ledger.lease(LeaseId(u64::MAX), &ask(Role::Planner, run.left(), 1)), Ok(()), "blocked below its cap");
        }
    }

    #[test]
    fn amounts_from_people_never_panic(text in "[-+0-9.eE naNif$]{0,24}") {
        if let Ok(amount) = parse_usd_cap("x", &text) {
            prop_assert!(amount > NanoUsd::ZERO);
            prop_assert_eq!(parse_usd_cap("x", &amount.usd()), Ok(amount));
        }
    }
}

#[test]
fn of_a_thousand_asks_for_the_last_dollar_the_affordable_ones_pass() {
    let mut ledger = ledger(NanoUsd::DOLLAR.0);
    let passed = (0..1000).filter(|n| ledger.lease(LeaseId(*n), &ask(Role::Executor, 300_000_000, 10)).is_ok()).count();
    assert_eq!(passed, 3);
    assert_eq!(ledger.leased(), NanoUsd(900_000_000));
}

#[test]
fn the_reserve_is_kept_for_the_final_judgement() {
    let mut ledger = ledger(1000);
    ledger.hold_back(NanoUsd(400));
    assert!(ledger.lease(LeaseId(1), &ask(Role::Executor, 600, 0)).is_ok());
    let refused = ledger.admit(&ask(Role::Executor, 1, 0)).expect_err("held back");
    assert_eq!((refused.held_back, refused.may_fit_later()), (400, true));
    assert!(ledger.lease(LeaseId(2), &ask(Role::Reviewer, 400, 0)).is_ok());
}

#[test]
fn a_refusal_tells_waiting_from_pausing() {
    let mut ledger = ledger(1000);
    ledger.lease(LeaseId(1), &ask(Role::Executor, 700, 0)).expect("room");
    let refused = ledger.admit(&ask(Role::Executor, 500, 0)).expect_err("no room");
    assert!(refused.may_fit_later(), "the call in flight may settle lower");
    assert!(!ledger.admit(&ask(Role::Planner, 1001, 0)).expect_err("never").may_fit_later());
    ledger.settle(LeaseId(1), Charge::Unknown).expect("in flight");
    assert!(!ledger.admit(&ask(Role::Executor, 500, 0)).expect_err("spent").may_fit_later());
    ledger.set_run_cap(NanoUsd(1200));
    assert_eq!(ledger.admit(&ask(Role::Executor, 500, 0)), Ok(()));
}

#[test]
fn caps_of_one_attempt_and_one_call_hold_beside_the_others() {
    let mut ledger = Ledger::new(&Caps { attempt: Some(NanoUsd(100)), call: Some(NanoUsd(80)), ..Caps::default() });
    let on = |no, money| Ask { subtask: Some(subtask(1)), attempt: Some(Try { row: Some(7), no }), ..ask(Role::Executor, money, 1) };
    assert_eq!(ledger.admit(&on(1, 81)).expect_err("over the call's cap").scope, Scope::Call);
    ledger.lease(LeaseId(1), &on(1, 60)).expect("room");
    assert_eq!(ledger.admit(&on(1, 41)).expect_err("over the attempt's cap").scope, Scope::Attempt);
    assert_eq!(ledger.admit(&on(2, 80)), Ok(()), "another attempt has a cap of its own");
    assert_eq!(ledger.admit(&ask(Role::Planner, 80, 1)), Ok(()), "a planner makes no attempts");
    ledger.settle(LeaseId(1), Charge::Known { money: NanoUsd(10), tokens: 1 }).expect("in flight");
    ledger.lease(LeaseId(2), &on(1, 80)).expect("room again");
    ledger.release(LeaseId(2)).expect("in flight");
    assert_eq!(ledger.spent(), NanoUsd(10));
}

#[test]
fn a_cap_lowered_below_spending_stops_new_calls_and_nothing_else() {
    let mut ledger = ledger(1000);
    ledger.lease(LeaseId(1), &ask(Role::Executor, 300, 0)).expect("room");
    ledger.lease(LeaseId(2), &ask(Role::Executor, 300, 0)).expect("room");
    ledger.settle(LeaseId(1), Charge::Known { money: NanoUsd(250), tokens: 0 }).expect("in flight");
    let change = ledger.set_run_cap(NanoUsd(100));
    assert_eq!((change.old, change.new, change.over), (Some(1000), Some(100), true));
    assert!(ledger.admit(&ask(Role::Reviewer, 1, 0)).is_err());
    let settled = ledger.settle(LeaseId(2), Charge::Known { money: NanoUsd(10), tokens: 0 }).expect("in flight");
    assert_eq!(settled.overrun, None);
    assert_eq!((ledger.spent(), ledger.leased()), (NanoUsd(260), NanoUsd::ZERO));
}

#[test]
fn an_overrun_freezes_the_scope_until_a_person_raises_its_cap() {
    let mut ledger = ledger(10_000);
    ledger.lease(LeaseId(1), &ask(Role::Executor, 100, 50)).expect("room");
    let overrun = ledger.settle(LeaseId(1), Charge::Known { money: NanoUsd(101), tokens: 50 }).expect("in flight").overrun;
    assert_eq!(overrun.map(|o| (o.leased, o.charged, o.frozen)), Some((NanoUsd(100), NanoUsd(101), vec![Scope::Run])));
    assert_eq!(ledger.spent(), NanoUsd(101));
    let refused = ledger.admit(&ask(Role::Reviewer, 1, 1)).expect_err("frozen");
    assert!(refused.to_string().starts_with("run budget is frozen: the provider reported more than its lease allowed"), "{refused}");
    ledger.set_run_cap(NanoUsd(9000));
    assert!(ledger.admit(&ask(Role::Reviewer, 1, 1)).is_err(), "lowering is no consent");
    ledger.set_run_cap(NanoUsd(9001));
    assert_eq!(ledger.admit(&ask(Role::Reviewer, 1, 1)), Ok(()));
}

#[test]
fn token_caps_bound_a_role_and_dollar_caps_a_subtask() {
    let mut ledger = Ledger::new(&{
        let planner = RoleCaps { tokens: Some(100), usd: None };
        Caps { roles: [planner, RoleCaps::default(), RoleCaps::default()], ..Caps::default() }
    });
    assert_eq!(ledger.admit(&ask(Role::Executor, 1, 1_000_000)), Ok(()));
    let refused = ledger.admit(&ask(Role::Planner, 1, 101)).expect_err("over the role's cap");
    assert_eq!(
        refused.to_string(),
        "planner token budget of 100 tokens does not allow this call: it may take 101 tokens, with 0 tokens spent and 0 tokens promised to calls in flight"
    );
    ledger.set_subtask_cap(&subtask(1), Some(NanoUsd(10_000_000)));
    let on = |money| Ask { subtask: Some(subtask(1)), ..ask(Role::Executor, money, 1) };
    ledger.lease(LeaseId(1), &on(6_000_000)).expect("room");
    assert!(!ledger.forget_subtask(&subtask(1)), "a call is in flight");
    let refused = ledger.lease(LeaseId(2), &on(6_000_000)).expect_err("over the subtask's cap");
    assert_eq!(
        refused.to_string(),
        "budget of subtask s1 of $0.0100 does not allow this call: it may take $0.006000, with $0.00 spent and $0.006000 promised to calls in flight"
    );
    ledger.release(LeaseId(1)).expect("in flight");
    assert!(ledger.forget_subtask(&subtask(1)));
}

#[test]
fn amounts_that_are_no_budget_are_refused_by_field() {
    for (text, why) in [
        ("0", Why::Zero),
        ("0.000", Why::Zero),
        ("-1", Why::Negative),
        ("-0", Why::Negative),
        ("NaN", Why::NotANumber),
        ("inf", Why::NotANumber),
        ("-inf", Why::NotANumber),
        ("", Why::NotANumber),
        (".", Why::NotANumber),
        ("$5", Why::NotANumber),
        ("1.2.3", Why::NotANumber),
        ("five", Why::NotANumber),
        ("1e308", Why::Exponent),
        ("1E-3", Why::Exponent),
        ("0.0000000001", Why::TooFine),
        ("1000000001", Why::TooLarge { limit: 1_000_000_000 }),
        (&format!("{}", 1e308), Why::TooLarge { limit: 1_000_000_000 }),
        ("99999999999999999999999999", Why::TooLarge { limit: 1_000_000_000 }),
    ] {
        assert_eq!(parse_usd_cap("--max-budget-usd", text).map_err(|e| e.why), Err(why), "{text}");
    }
    for (text, nano) in
        [("5", 5_000_000_000), ("0.25", 250_000_000), (" 5.0 ", 5_000_000_000), ("0.0000001", 100), ("1.0000000000", 1_000_000_000)]
    {
        assert_eq!(parse_usd_cap("x", text), Ok(NanoUsd(nano)), "{text}");
    }
    assert_eq!(
        parse_usd_cap("--max-budget-usd", "-3").expect_err("negative").to_string(),
        "--max-budget-usd = \"-3\" is no budget: it must not be negative"
    );
    assert_eq!(parse_tokens_cap("budget.planner_tokens", "100000"), Ok(100_000));
    assert_eq!(parse_tokens_cap("budget.planner_tokens", "1.5").map_err(|e| e.why), Err(Why::NotWhole));
    assert_eq!(parse_tokens_cap("budget.planner_tokens", "0").map_err(|e| e.why), Err(Why::Zero));
}

#[test]
fn the_flagship_bill_is_computed_over_the_same_tokens() {
    let catalog = Catalog::built_in();
    let on = Day::parse("2026-11-12").expect("a day");
    let price = |model: &str| *catalog.lookup(&ModelRef::new(model).expect("a name"), on).expect("priced").price;
    let (flagship, nano) = (price("openai/gpt-5.4"), price("openai/gpt-5.4-nano"));
    let tier = |name: &str| Tier::new(name).expect("a name");
    let call = Usage { input_tokens: 100_000, cached_tokens: 40_000, output_tokens: 10_000, ..Usage::default() };
    let (mut by_tier, mut bill) = (UsageByTier::default(), Comparison::default());
    for (name, price) in [("flagship", &flagship), ("nano", &nano), ("nano", &nano)] {
        by_tier.record(&tier(name), Some(&call));
        bill.record(cost(price, &call, Service::Default), Some(&call), Service::Default, &flagship);
    }
    by_tier.record(&tier("nano"), None);
    assert_eq!(by_tier.get(&tier("nano")).map(|t| (t.calls, t.tokens.input_tokens)), Some((3, 200_000)));
    assert_eq!(by_tier.total().calls, 4);
    assert_eq!(all_flagship(&by_tier, &flagship).usd(), "0.93");
    assert_eq!((bill.all_flagship.usd(), bill.spent.usd()), ("0.93".to_owned(), "0.3606".to_owned()));
    assert_eq!(bill.saving_nano(), 569_400_000);
    assert_eq!(
        serde_json::to_string(&by_tier).expect("plain data"),
        r#"{"flagship":{"calls":1,"input_tokens":100000,"cached_tokens":40000,"cache_write_tokens":0,"output_tokens":10000,"reasoning_tokens":0},"nano":{"calls":3,"input_tokens":200000,"cached_tokens":80000,"cache_write_tokens":0,"output_tokens":20000,"reasoning_tokens":0}}"#
    );
}
