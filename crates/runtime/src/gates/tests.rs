//! Two processes at one gate, played by two `Gates` over one folder; and a folder that holds anything.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

fn model() -> ModelRef {
    ModelRef::new("openai/gpt-5.4-nano").unwrap()
}

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("brigade-gates-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn two(dir: &Path) -> (Seat, Seat) {
    (Gates::shared(dir, BTreeMap::new()).seat(), Gates::shared(dir, BTreeMap::new()).seat())
}

fn refusal(ms: u64) -> Result<Answer, CallError> {
    Err(CallError { retry_after: Some(Millis(ms)), ..CallError::new(ErrorClass::RateLimited, "slow down") })
}

#[test]
fn what_one_process_is_refused_the_other_knows() {
    let dir = folder("refused");
    let (mut a, mut b) = two(&dir);
    assert_eq!(a.knock(&model()), Door::Open);
    let ticket = a.claim(&model()).unwrap();
    a.leave(ticket, &refusal(60_000), Millis(5), None);
    assert_eq!(b.knock(&model()), Door::Closed);
    let wait = b.wakes_in().unwrap();
    assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
    assert_eq!(b.knock(&ModelRef::new("local/small").unwrap()), Door::Open, "another account");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn providers_with_one_account_share_its_gate() {
    let dir = folder("names");
    let names: BTreeMap<String, String> = ["openai", "mirror"].map(|name| (name.to_owned(), "the same".to_owned())).into();
    let gates = Gates::shared(&dir, names);
    let (mut a, mut b) = (gates.seat(), gates.seat());
    a.knock(&model());
    let ticket = a.claim(&model()).unwrap();
    a.leave(ticket, &refusal(60_000), Millis(5), None);
    assert_eq!(b.knock(&ModelRef::new("mirror/gpt-5.4-nano").unwrap()), Door::Closed);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_slots_of_a_run_that_is_gone_are_free_and_those_of_a_dead_process_too() {
    let dir = folder("gone");
    let (mut a, b) = two(&dir);
    let gates = b.gates.clone();
    for _ in 0..3 {
        a.knock(&model());
    }
    let in_flight = || gates.with(|inner| inner.account("openai").1.change(|gate| gate.in_flight()).unwrap());
    assert_eq!(in_flight(), 3);
    drop(a);
    assert_eq!(in_flight(), 0);
    let dead = Visitor { id: 7, process: (u32::MAX - 1, 12), class: Class::Bulk };
    gates.with(|inner| inner.account("openai").1.change(|gate| gate.enter(&dead, uptime()).unwrap()));
    assert_eq!(in_flight(), 1);
    gates.with(|inner| inner.account("openai").1.reap());
    assert_eq!(in_flight(), 0);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_file_that_holds_anything_is_a_gate_that_knows_nothing() {
    let dir = folder("torn");
    let (mut a, mut b) = two(&dir);
    a.knock(&model());
    let ticket = a.claim(&model()).unwrap();
    a.leave(ticket, &refusal(60_000), Millis(5), None);
    let path = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&path).unwrap();
    for torn in [&whole[..whole.len() - 3], &whole[..7], b"", &[0xff; 400]] {
        std::fs::write(&path, torn).unwrap();
        assert_eq!(b.knock(&model()), Door::Open, "{} bytes", torn.len());
        b.give_back_rest();
    }
    let mut flipped = whole.clone();
    flipped[60] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    assert_eq!(b.knock(&model()), Door::Open);
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(b.knock(&model()), Door::Closed);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_file_that_somebody_sits_on_lets_nobody_through_and_loses_nothing() {
    let dir = folder("locked");
    let (mut a, _b) = two(&dir);
    a.knock(&model());
    let path = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    let sits = std::fs::File::open(path).unwrap();
    sits.lock().unwrap();
    assert_eq!(a.knock(&model()), Door::Wait);
    assert!(a.wakes_in().unwrap() <= Duration::from_millis(15));
    let ticket = a.claim(&model()).unwrap();
    a.leave(ticket, &refusal(60_000), Millis(5), None);
    sits.unlock().unwrap();
    assert_eq!(a.knock(&model()), Door::Closed, "what was heard meanwhile counts");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn without_a_home_a_gate_is_this_process_s_own() {
    let gates = Gates::default();
    let (mut a, mut b) = (gates.seat(), gates.seat());
    a.knock(&model());
    let ticket = a.claim(&model()).unwrap();
    a.leave(ticket, &refusal(60_000), Millis(5), None);
    assert_eq!(b.knock(&model()), Door::Closed);
    assert_eq!(Gates::default().seat().knock(&model()), Door::Open);
}

#[test]
fn knocking_and_leaving_costs_microseconds() {
    let dir = folder("cost");
    let (mut a, _b) = two(&dir);
    a.knock(&model());
    a.give_back_rest();
    let began = Instant::now();
    for _ in 0..2_000 {
        assert_eq!(a.knock(&model()), Door::Open);
        let ticket = a.claim(&model()).unwrap();
        a.leave(ticket, &Ok(Answer::default()), Millis(1), Some(Millis(1)));
    }
    println!("{:?} each", began.elapsed() / 2_000);
    std::fs::remove_dir_all(dir).unwrap();
}
