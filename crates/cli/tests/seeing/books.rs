//! brigade's ledger against the emulator's own books, to the nano-dollar: what was charged, call by call, is what the provider
//! counted, priced by hand.

use std::collections::BTreeMap;

use brigade_emulator::Outcome;
use serde_json::Value;

use crate::stage::{Ended, Stage};

/// Dollars a million tokens, as the vendor lists them: input, cached, output; and of a call above 272,000 tokens of input.
const FLAGSHIP: ([f64; 3], [f64; 3]) = ([2.5, 0.25, 15.0], [5.0, 0.5, 22.5]);
const NANO: ([f64; 3], [f64; 3]) = ([0.2, 0.02, 1.25], [0.2, 0.02, 1.25]);

/// By hand: pico-dollars are exact, and rounded up once.
fn nano_usd(model: &str, spent: brigade_emulator::Spent) -> u64 {
    let (short, long) = if model.ends_with("nano") { NANO } else { FLAGSHIP };
    let rates = if spent.input_tokens > 272_000 { long } else { short };
    let [input, cached, output] = rates.map(|rate| (rate * 1e6).round() as u128);
    let pico = input * u128::from(spent.input_tokens - spent.cached_tokens)
        + cached * u128::from(spent.cached_tokens)
        + output * u128::from(spent.output_tokens);
    u64::try_from(pico.div_ceil(1_000)).unwrap()
}

/// Events of a run as they are stored.
fn events(stage: &Stage, id: &str) -> Vec<Value> {
    use brigade_journal::Journal as _;
    let journal = brigade_journal::Sqlite::open(&stage.home().join("journal.sqlite")).unwrap();
    let stream = brigade_journal::Stream::new(&format!("run/{id}")).unwrap();
    journal.read(&stream, 1, 10_000).unwrap().iter().map(|stored| serde_json::from_slice(&stored.bytes).unwrap()).collect()
}

/// What brigade charged for each call, and what it had leased, by the name that it gave the call.
fn charges(stage: &Stage, id: &str) -> BTreeMap<String, (u64, u64)> {
    let mut leases = BTreeMap::new();
    let mut charges = BTreeMap::new();
    for event in events(stage, id) {
        let call = event["call"].as_u64();
        match (event["type"].as_str(), call) {
            (Some("call.started"), Some(call)) => drop(leases.insert(call, event["lease_usd"].as_u64().unwrap())),
            (Some("call.completed"), Some(call)) => {
                let of = (event["cost_usd"].as_u64().unwrap(), leases[&call]);
                charges.insert(format!("{id}-c{call}"), of);
            }
            _ => {}
        }
    }
    charges
}

/// Every call in the emulator's books is in ours at its price, and ours are in its.
fn agree(stage: &Stage, run: &Ended) {
    let lines = run.lines();
    let id = lines[0]["run_id"].as_str().unwrap();
    let mut charges = charges(stage, id);
    let mut sum = 0;
    let mut unknown = 0;
    for call in stage.ledger().calls {
        let name = call.request_id.clone().unwrap();
        let (charged, leased) = charges.remove(&*name).unwrap_or_else(|| panic!("{name} is not on record"));
        // What nobody told us we charge as leased; the provider may have billed less, never more.
        let told = call.usage_sent && call.outcome == Outcome::Completed;
        match call.usage {
            Some(spent) if told => assert_eq!(charged, nano_usd(&call.model, spent), "{name}: {spent:?}"),
            Some(spent) => {
                unknown += 1;
                assert_eq!(charged, leased, "{name} was cut, or told no usage");
                assert!(nano_usd(&call.model, spent) <= leased, "{name}: its lease bounds the bill");
            }
            None => assert_eq!(charged, 0, "{name} was refused"),
        }
        sum += charged;
    }
    assert_eq!(charges, BTreeMap::new(), "calls that never arrived");
    let total = lines.last().unwrap()["cost_usd"].as_f64().unwrap();
    assert_eq!((total * 1e9).round() as u64, sum, "the run's total, {unknown} calls as leased");
}

fn one(more: &str) -> String {
    format!("[[subtasks]]\nid = \"c\"\ntype = \"extract\"\ndescription = \"count it\"\n{more}")
}

/// A run of one subtask whose calls are answered like this.
fn case(rules: &str, more: &str) -> Stage {
    let stage = Stage::new(rules);
    std::fs::create_dir_all(stage.home()).unwrap();
    std::fs::write(stage.home().join("config.toml"), "[budget]\nrun_usd = 100.0\nday_usd = 200.0\n[limits]\nmax_tries = 2\n").unwrap();
    stage.file("plan.toml", &one(more));
    stage
}

#[test]
fn every_kind_of_call_costs_what_the_provider_s_books_say() {
    let counted = |usage: &str| format!("[[rule]]\nmatch = {{ contains = \"count it\" }}\nreply = {{ text = \"7\", usage = {usage} }}\n");
    let then = |first: &str| format!("{first}{}", counted("{ input_tokens = 300, output_tokens = 5 }"));
    let first = |how: &str| then(&format!("[[rule]]\nmatch = {{ contains = \"count it\" }}\ntimes = 1\n{how}\n"));
    let cases = [
        ("a plain call", counted("{ input_tokens = 1234, output_tokens = 57 }"), ""),
        ("cached tokens", counted("{ input_tokens = 2048, cached_tokens = 1920, output_tokens = 3 }"), ""),
        ("reasoning is output", counted("{ input_tokens = 999, output_tokens = 301, reasoning_tokens = 300 }"), ""),
        ("no usage", counted("false"), ""),
        ("a cut stream", first("reply = { text = \"half of it\" }\nstream_faults = [\"eof_no_terminal\"]"), ""),
        ("a torn event", first("reply = { text = \"half of it\" }\nstream_faults = [\"eof_mid_event\"]"), ""),
        ("a failed response", first("reply = { text = \"half of it\" }\nstream_faults = [\"failed\"]"), ""),
        ("a server that fails first", first("reply = { status = 500 }"), ""),
        ("a rate limit first", first("reply = { status = 429, headers = { retry-after = \"0\" } }"), ""),
    ];
    for (what, rules, more) in cases {
        let stage = case(&rules, more);
        let run = stage.brigade(&["run", "--plan", "plan.toml", "-C", "workspace", "--json", "--no-cache"]);
        assert!(run.code.is_some_and(|code| code == 0 || code == 3), "{what}: {:?}\n{}\n{}", run.code, run.out, run.err);
        assert!(!stage.ledger().calls.is_empty(), "{what}");
        agree(&stage, &run);
    }
}

#[test]
fn a_call_of_more_than_272_000_tokens_is_leased_and_charged_at_the_long_price() {
    let usage = "{ input_tokens = 272001, cached_tokens = 1001, output_tokens = 11 }";
    let rules = format!("[[rule]]\nmatch = {{ contains = \"count it\" }}\nreply = {{ text = \"7\", usage = {usage} }}\n");
    let stage = case(&rules, "tier = \"flagship\"\nfor_each = \"input\"\n");
    stage.file("rows.jsonl", &format!("{}\n", serde_json::json!({ "text": "word ".repeat(60_000) })));
    let run = stage.brigade(&["run", "--plan", "plan.toml", "--input", "rows.jsonl", "-C", "workspace", "--json", "--no-cache"]).exits(0);
    agree(&stage, &run);
    let by_hand = (5.0 * 271_000.0 + 0.5 * 1_001.0 + 22.5 * 11.0) * 1e3;
    let lines = run.lines();
    let id = lines[0]["run_id"].as_str().unwrap();
    assert!(charges(&stage, id).values().any(|(charged, _)| *charged == by_hand as u64), "{:?}", charges(&stage, id));
}

#[test]
fn the_home_s_book_is_the_sum_of_all_runs() {
    let stage = case("[[rule]]\nmatch = { contains = \"count it\" }\nreply = { text = \"7\" }\n", "");
    let mut sum = 0;
    for _ in 0..3 {
        let run = stage.brigade(&["run", "--plan", "plan.toml", "-C", "workspace", "--json", "--no-cache"]).exits(0);
        sum += (run.lines().last().unwrap()["cost_usd"].as_f64().unwrap() * 1e9).round() as u64;
    }
    let journal = brigade_journal::Sqlite::open(&stage.home().join("journal.sqlite")).unwrap();
    let total = brigade_runtime::treasury::Book::open(&journal).unwrap().ledger.total();
    assert_eq!((total.settled.money.0, total.leased.money.0), (sum, 0));
}
