//! The catalog against the price lists it was made from, and recorded calls priced at their dates.
//!
//! Reads the folder that `BRIGADE_DATA` names (default `../shared/data` beside the workspace) and
//! skips with a note where it is absent. Sums are done here by hand, on purpose not with the code under test:
//! rows are compared in plain floats, recorded calls in whole numbers to the nano-dollar.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a broken data file ends the test, an absent one is noted")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

use brigade_kernel::call::Service;
use brigade_kernel::catalog::{Catalog, Day, Model, Price, Refusal, cost};
use brigade_kernel::ids::ModelRef;
use brigade_kernel::time::Timestamp;
use brigade_kernel::usage::Usage;
use serde_json::Value;

fn data(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("BRIGADE_DATA").map(PathBuf::from);
    let root = root.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"));
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there; set BRIGADE_DATA", path.display());
    None
}

fn json(path: PathBuf) -> Value {
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn lines(path: PathBuf) -> Vec<Value> {
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn reference(model: &str) -> ModelRef {
    let vendor = if model.starts_with("claude") { "anthropic" } else { "openai" };
    ModelRef::new(&format!("{vendor}/{model}")).unwrap()
}

fn day(text: &str) -> Day {
    Day::parse(text).unwrap()
}

const MILLION: u64 = 1_000_000;

/// Dollars for a million tokens of one kind, read off the catalog by pricing small calls.
fn per_million(price: &Price, service: Service, long: bool) -> [f64; 4] {
    // 200,000 tokens stay below every threshold, 500,000 pass it.
    let n = if long { 500_000 } else { 200_000 };
    let scale = MILLION as f64 / n as f64;
    let dollars = |usage: Usage| cost(price, &usage, service).0 as f64 / 1e9;
    let input = dollars(Usage { input_tokens: n, ..Usage::default() });
    let with_output = dollars(Usage { input_tokens: n, output_tokens: n, ..Usage::default() });
    [
        input * scale,
        dollars(Usage { input_tokens: n, cached_tokens: n, ..Usage::default() }) * scale,
        dollars(Usage { input_tokens: n, cache_write_tokens: n, ..Usage::default() }) * scale,
        (with_output - input) * scale,
    ]
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-7
}

#[test]
fn the_catalog_is_the_price_list_but_for_corrections_with_a_source() {
    let Some(folder) = data("prices") else { return };
    let catalog = Catalog::built_in();
    let rows = json(folder.join("openai.json"));
    let rows = rows["rows"].as_array().unwrap();
    let mut corrected = BTreeSet::new();
    for row in rows {
        let name = row["model"].as_str().unwrap();
        let model = catalog.model(&reference(name)).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(model.name, reference(name));
        for (ours, field) in [(model.input_window, "max_input_tokens"), (model.output_window, "max_output_tokens")] {
            if ours != row[field].as_u64() {
                assert!(model.note.is_some(), "{name} {field}: {ours:?} is not {} and no note says why", row[field]);
                corrected.insert((name, ours));
            }
        }
        assert_eq!(model.retires, row["deprecation_date"].as_str().map(day), "{name}");
        assert_eq!(format!("{:?}", model.mode).to_lowercase(), row["mode"].as_str().unwrap(), "{name}");
        let flags = row["supports"].as_array().unwrap().iter().map(|s| s.as_str().unwrap());
        let flags: BTreeSet<_> = flags.filter(|s| !s.ends_with("_reasoning_effort")).collect();
        assert_eq!(model.supports.iter().map(|s| &**s).collect::<BTreeSet<_>>(), flags, "{name}");

        let price = &model.prices().last().unwrap_or_else(|| panic!("{name} has no price")).price;
        let input = row["input"].as_f64().unwrap();
        let write = row["cache_write"].as_f64().unwrap_or(input) / input;
        for (service, long, listed) in [
            (Service::Default, false, row),
            (Service::Default, true, &row["above_272k_input_tokens"]),
            (Service::Flex, false, &row["flex"]),
            (Service::Priority, false, &row["priority"]),
            (Service::Batch, false, &row["batch"]),
        ] {
            assert_eq!(price.offers(service), service == Service::Default || listed.is_object(), "{name} {service:?}");
            if !listed.is_object() {
                assert!(!long || price.long_over().is_none(), "{name}");
                continue;
            }
            let field = |field: &str| listed[field].as_f64();
            let input = field("input").unwrap();
            let expected =
                [input, field("cached_input").unwrap_or(input), field("cache_write").unwrap_or(input * write), field("output").unwrap()];
            let ours = per_million(price, service, long);
            let exempt = price.long_over().is_some() && long; // cache writes there follow the raw rows
            for (n, (ours, expected)) in ours.iter().zip(expected).enumerate() {
                assert!(same(*ours, expected) || (exempt && n == 2), "{name} {service:?} long={long} [{n}]: {ours} is not {expected}");
            }
        }
    }
    assert_eq!(rows.len(), 112);
    let expected = [("gpt-5.4", Some(922_000)), ("gpt-5.4-2026-03-05", Some(922_000))];
    assert_eq!(corrected.into_iter().collect::<Vec<_>>(), expected);
}

/// Raw rows hold prices per token, also for long input at each service.
#[test]
fn every_raw_price_is_what_the_catalog_charges() {
    let Some(folder) = data("prices") else { return };
    let catalog = Catalog::built_in();
    let mut compared = 0;
    for (name, row) in json(folder.join("gpt5_raw_rows.json")).as_object().unwrap() {
        let Some(price) = catalog.model(&reference(name)).and_then(|m| m.prices().last()).map(|d| &d.price) else { continue };
        for (service, suffix) in
            [(Service::Default, ""), (Service::Flex, "_flex"), (Service::Priority, "_priority"), (Service::Batch, "_batches")]
        {
            for long in [false, true] {
                let key = |kind: &str| format!("{kind}{}{suffix}", if long { "_above_272k_tokens" } else { "" });
                let ours = per_million(price, service, long);
                let kinds =
                    ["input_cost_per_token", "cache_read_input_token_cost", "cache_creation_input_token_cost", "output_cost_per_token"];
                for (n, kind) in kinds.into_iter().enumerate() {
                    let Some(raw) = row[key(kind)].as_f64() else { continue };
                    compared += 1;
                    assert!(same(ours[n], raw * 1e6), "{name} {}: {} is not {}", key(kind), ours[n], raw * 1e6);
                }
            }
        }
    }
    assert!(compared > 400, "{compared}");
}

#[test]
fn every_dated_price_is_charged_from_its_day_on() {
    let Some(folder) = data("prices") else { return };
    let catalog = Catalog::built_in();
    let mut models = BTreeSet::new();
    for row in lines(folder.join("history.jsonl.gz")) {
        let name = row["model"].as_str().unwrap();
        if name == "openai/container" {
            continue; // by session, not by token
        }
        models.insert(name.to_owned());
        let on = day(row["seen_on"].as_str().unwrap());
        let found = catalog.priced(&reference(name), on);
        let Some(input) = row["input"].as_f64() else {
            assert!(matches!(found, Err(Refusal::NoPrice { unlisted: Some(gone), .. }) if gone == on), "{name} {found:?}");
            continue;
        };
        let found = found.unwrap();
        let [ours, cached, _, output] = per_million(found.price, Service::Default, false);
        assert!(!found.earliest && same(ours, input), "{name} {on}");
        assert!(same(cached, row["cached_input"].as_f64().unwrap_or(input)), "{name} {on}");
        assert!(same(output, row["output"].as_f64().unwrap()), "{name} {on}");
    }
    assert_eq!(models.len(), 139);
    assert_eq!(
        catalog.models().map(|m| &m.name).collect::<BTreeSet<_>>(),
        models.iter().map(|m| reference(m)).collect::<BTreeSet<_>>().iter().collect()
    );
    assert!(catalog.models().all(|m: &Model| !m.source.is_empty() && m.prices().iter().all(|p| p.source.is_some())));
}

/// A recorded call: the model and usage of its final answer, the day and service of the response.
struct Recorded {
    model: String,
    usage: Usage,
    day: Day,
    service: Service,
}

fn recorded(line: &Value) -> Option<Recorded> {
    let answer = &line["expected"]["final"];
    let usage = answer["usage"].as_object()?;
    let detail = |of: &str, name: &str| usage.get(of).and_then(|d| d[name].as_u64()).unwrap_or(0);
    let count = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut response = line["json"].clone();
    for event in line["sse"].as_str().unwrap_or_default().lines() {
        let event = event.strip_prefix("data:").and_then(|e| serde_json::from_str::<Value>(e).ok()).unwrap_or_default();
        if event["response"]["created_at"].is_number() {
            response = event["response"].clone();
        }
    }
    Some(Recorded {
        model: answer["model"].as_str()?.to_owned(),
        usage: Usage {
            input_tokens: count("input_tokens"),
            cached_tokens: detail("input_tokens_details", "cached_tokens"),
            cache_write_tokens: detail("input_tokens_details", "cache_write_tokens"),
            output_tokens: count("output_tokens"),
            reasoning_tokens: detail("output_tokens_details", "reasoning_tokens"),
        },
        // One recording (an unpriced model's) has no date.
        day: Day::of(Timestamp(response["created_at"].as_f64().unwrap_or(0.0) as u64 * 1000)),
        service: match response["service_tier"].as_str() {
            Some("flex") => Service::Flex,
            Some("priority") => Service::Priority,
            _ => Service::Default,
        },
    })
}

/// The lists again, and the formula again: in whole numbers, read off the lists' own digits.
struct PlainPrices {
    history: BTreeMap<String, Vec<(String, Value)>>,
    now: BTreeMap<String, Value>,
}

/// Dollars for a million tokens as micro-dollars, digit by digit; no float on the way.
fn micro(price: &Value) -> Option<u128> {
    let text = price.as_number()?.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    assert!(fraction.len() <= 6, "{text} has more digits than a micro-dollar");
    Some(format!("{whole}{fraction:0<6}").parse().unwrap())
}

/// What a call costs by the lists.
struct Plain {
    /// Nano-dollars, rounded up.
    nano: u128,
    /// Of it, what cached input and what cache writes cost, in pico-dollars.
    hit: u128,
    written: u128,
}

impl PlainPrices {
    fn of(&self, call: &Recorded) -> Option<Plain> {
        let history = self.history.get(&call.model)?;
        let on = call.day.to_string();
        let (_, row) = history.iter().rfind(|(seen, _)| *seen <= on).or(history.first())?;
        let mut row: &Value = row;
        let now = self.now.get(&call.model);
        let current = now.filter(|now| ["input", "cached_input", "output"].iter().all(|f| now[f] == row[f]));
        let base_input = micro(&row["input"])?;
        let base_write = current.and_then(|now| micro(&now["cache_write"]));
        if let Some(now) = current {
            let service = match call.service {
                Service::Flex => &now["flex"],
                Service::Priority => &now["priority"],
                _ => &Value::Null,
            };
            row = if service.is_object() { service } else { row };
            assert!(call.usage.input_tokens <= 272_000, "no recording passes the threshold");
        }
        let input = micro(&row["input"])?;
        let [all, cached, write, output] =
            [call.usage.input_tokens, call.usage.cached_tokens, call.usage.cache_write_tokens, call.usage.output_tokens].map(u128::from);
        // A micro-dollar for a million tokens is a pico-dollar for each.
        let fresh = (all - cached - write) * input;
        let hit = cached * micro(&row["cached_input"]).unwrap_or(input);
        let dear = write
            * base_write.map_or(input, |w| {
                assert_eq!(w * input % base_input, 0, "a write's price at this service is a whole number");
                w * input / base_input
            });
        let pico = fresh + hit + dear + output * micro(&row["output"])?;
        Some(Plain { nano: pico.div_ceil(1_000), hit, written: dear })
    }
}

#[test]
fn recorded_calls_cost_to_the_nano_dollar_what_a_plain_sum_says() {
    let (Some(recordings), Some(prices)) = (data("responses-recordings"), data("prices")) else { return };
    let mut plain = PlainPrices { history: BTreeMap::new(), now: BTreeMap::new() };
    for row in lines(prices.join("history.jsonl.gz")) {
        let (model, seen) = (row["model"].as_str().unwrap().to_owned(), row["seen_on"].as_str().unwrap().to_owned());
        plain.history.entry(model).or_default().push((seen, row));
    }
    for row in json(prices.join("openai.json"))["rows"].as_array().unwrap() {
        plain.now.insert(row["model"].as_str().unwrap().to_owned(), row.clone());
    }

    let catalog = Catalog::built_in();
    let (mut priced, mut earliest, mut cached, mut written) = (0, 0, 0, 0);
    let mut unpriced = BTreeMap::<String, usize>::new();
    let mut sum = 0_u128;
    let mut files: Vec<_> = std::fs::read_dir(recordings).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    for call in files.into_iter().filter(|f| f.extension().is_some_and(|e| e == "gz")).flat_map(lines).filter_map(|l| recorded(&l)) {
        let name = ModelRef::new(&format!("openai/{}", call.model)).unwrap();
        let Ok(found) = catalog.priced(&name, call.day) else {
            assert!(plain.of(&call).is_none(), "{name} has a price in the lists");
            *unpriced.entry(call.model).or_default() += 1;
            continue;
        };
        let expected = plain.of(&call).unwrap_or_else(|| panic!("{name} has no price in the lists"));
        let of = |usage: &Usage| u128::from(cost(found.price, usage, call.service).0);
        assert_eq!(of(&call.usage), expected.nano, "{name} {} {:?}", call.day, call.usage);
        // Each by itself, so that one cannot hide behind the other.
        let alone = |usage: Usage, pico: u128| assert_eq!(of(&usage), pico.div_ceil(1_000), "{name} {} {usage:?}", call.day);
        let (hit, write) = (call.usage.cached_tokens, call.usage.cache_write_tokens);
        alone(Usage { input_tokens: hit, cached_tokens: hit, ..Usage::default() }, expected.hit);
        alone(Usage { input_tokens: write, cache_write_tokens: write, ..Usage::default() }, expected.written);
        priced += 1;
        earliest += usize::from(found.earliest);
        cached += usize::from(call.usage.cached_tokens > 0);
        written += usize::from(call.usage.cache_write_tokens > 0);
        sum += expected.nano;
    }
    println!(
        "priced {priced} (${}.{:09}; {earliest} at the earliest row, {cached} with cached tokens, {written} with cache writes)",
        sum / 1_000_000_000,
        sum % 1_000_000_000
    );
    println!("unpriced {}: {unpriced:?}", unpriced.values().sum::<usize>());
    assert!(priced > 200);
}
