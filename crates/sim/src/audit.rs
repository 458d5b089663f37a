//! What must hold of a run that is over, whatever was done to it: judged from the journal and from the API's own ledger.
//!
//! It believes neither the engine's words nor its exit codes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use brigade_emulator::CallRecord;
use brigade_kernel::budget::{Measure, Scope};
use brigade_kernel::call::Service;
use brigade_kernel::catalog::{Catalog, Day, cost};
use brigade_kernel::ids::{ModelRef, RunId};
use brigade_kernel::run::{CallResult, Event, Phase, Run, RunStatus};
use brigade_kernel::time::Timestamp;
use brigade_kernel::units::NanoUsd;
use brigade_kernel::usage::Usage;
use brigade_kernel::view::public;
use brigade_runtime::{Home, hands, record};

/// What an audit found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Laws that were broken, one line each; empty is good.
    pub broken: Vec<String>,
    /// Calls on record.
    pub calls: usize,
    /// Calls that were in flight when an engine died.
    pub lost: usize,
    /// What brigade says was spent.
    pub settled: NanoUsd,
    /// What the API bills.
    pub billed: NanoUsd,
    /// Calls that were answered and heard, by rule and fingerprint, with how often.
    pub heard: BTreeMap<(usize, u64), usize>,
    /// How the run ended.
    pub status: Option<RunStatus>,
    /// Its output.
    pub output: String,
    /// Times an engine took the run up again.
    pub resumed: usize,
}

impl Findings {
    fn demand(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(otherwise());
        }
    }
}

/// The runs of a home, oldest first.
///
/// # Errors
/// The journal's words.
pub fn runs(home: &Path) -> Result<Vec<RunId>, String> {
    if !home.join("journal.sqlite").exists() {
        return Ok(Vec::new());
    }
    let home = Home::open(home).map_err(|e| e.to_string())?;
    let streams = home.journal().streams("run/").map_err(|e| e.to_string())?;
    let mut ids: Vec<RunId> = streams.iter().filter_map(|(s, _)| RunId::new(s.as_str().strip_prefix("run/")?).ok()).collect();
    ids.sort();
    Ok(ids)
}

/// Whether a run is over, not merely standing still.
///
/// # Errors
/// The journal's words.
pub fn is_over(home: &Path, run: &RunId) -> Result<bool, String> {
    let home = Home::open(home).map_err(|e| e.to_string())?;
    let (run, _) = record::load(&*home.journal(), run, Arc::new(Catalog::built_in()), hands::specs().into()).map_err(|e| e.to_string())?;
    Ok(run.state().phase == Phase::Ended)
}

/// All events of a run.
///
/// # Errors
/// The journal's words.
pub fn events(home: &Path, run: &RunId) -> Result<Vec<record::Recorded>, String> {
    let home = Home::open(home).map_err(|e| e.to_string())?;
    let mut events = Vec::new();
    record::events(&*home.journal(), run, 1, |event| events.push(event)).map_err(|e| e.to_string())?;
    Ok(events)
}

/// Judges a run by its journal and by every call the API saw.
///
/// # Errors
/// The journal's words, when it cannot be read at all.
pub fn audit(home: &Path, run: &RunId, ledger: &[CallRecord]) -> Result<Findings, String> {
    let events = events(home, run)?;
    let mut found = Findings::default();
    replay(run, &events, &mut found);
    let outcomes = outcomes(run, &events, &mut found);
    bill(run, ledger, &outcomes, &mut found);
    stream(run, &events, &mut found);
    Ok(found)
}

/// How a call ended, as far as the journal knows.
#[derive(Debug)]
struct Outcome {
    lost: bool,
    sent: bool,
    failed: bool,
    cost: NanoUsd,
    unknown: bool,
}

/// Folds the events once more: caps hold after each of them, and two folds are one.
fn replay(id: &RunId, events: &[record::Recorded], found: &mut Findings) {
    let fresh = || Run::new(Arc::new(Catalog::built_in()), hands::specs().into());
    let (mut one, mut two) = (fresh(), fresh());
    for event in events {
        one.replay(&event.stamped);
        for scope in [Scope::Run] {
            let Some(balance) = one.state().ledger.balance(&scope, Measure::NanoUsd) else { continue };
            if balance.cap.is_some_and(|cap| balance.settled + balance.leased > cap) {
                found.broken.push(format!(
                    "{id} event {}: settled {} + leased {} pass the cap {:?}",
                    event.seq, balance.settled, balance.leased, balance.cap
                ));
            }
        }
    }
    for event in events {
        two.replay(&event.stamped);
    }
    if one.state() != two.state() {
        found.broken.push("two folds of the same journal differ".to_owned());
    }
    let state = one.state();
    found.settled = state.spent();
    found.status = state.ended.as_ref().map(|s| s.status);
    found.output = state.ended.as_ref().map(|s| s.output.clone()).unwrap_or_default();
    if state.phase == Phase::Ended && state.ledger.leased() != NanoUsd::ZERO {
        found.broken.push(format!("the run is over and {} are still leased", state.ledger.leased()));
    }
}

fn outcomes(id: &RunId, events: &[record::Recorded], found: &mut Findings) -> BTreeMap<String, Option<Outcome>> {
    let mut outcomes: BTreeMap<String, Option<Outcome>> = BTreeMap::new();
    for event in events {
        match &event.stamped.event {
            Event::CallStarted { call, .. } => {
                let before = outcomes.insert(format!("{id}-c{}", call.0), None);
                found.demand(before.is_none(), || format!("call {} was started twice", call.0));
            }
            Event::CallEnded { call, result, cost_usd, sent, usage, .. } => {
                let lost = matches!(result, CallResult::Lost);
                found.lost += usize::from(lost);
                let failed = matches!(result, CallResult::Failed { .. });
                let outcome = Outcome { lost, sent: *sent, failed, cost: *cost_usd, unknown: usage.is_none() };
                match outcomes.get_mut(&format!("{id}-c{}", call.0)) {
                    Some(open @ None) => *open = Some(outcome),
                    Some(Some(_)) => found.broken.push(format!("call {} ended twice", call.0)),
                    None => found.broken.push(format!("call {} ended and never started", call.0)),
                }
            }
            Event::RunResumed {} => found.resumed += 1,
            _ => {}
        }
    }
    found.calls = outcomes.len();
    outcomes
}

/// The API's ledger against the journal, call by call.
fn bill(id: &RunId, ledger: &[CallRecord], outcomes: &BTreeMap<String, Option<Outcome>>, found: &mut Findings) {
    let catalog = Catalog::built_in();
    let mut sends: BTreeMap<&str, usize> = BTreeMap::new();
    let prefix = format!("{id}-c");
    for call in ledger {
        let Some(request) = call.request_id.as_deref() else {
            found.broken.push(format!("call {} of the ledger has no request id", call.seq));
            continue;
        };
        if !request.starts_with(&prefix) {
            continue;
        }
        *sends.entry(request).or_default() += 1;
        let Some(outcome) = outcomes.get(request) else {
            found.broken.push(format!("{request} was sent and its intent is not on record"));
            continue;
        };
        let billed = price(&catalog, call);
        found.billed = NanoUsd(found.billed.0 + billed.0);
        match outcome {
            Some(outcome) => {
                if !outcome.sent && billed != NanoUsd::ZERO {
                    found.broken.push(format!("{request} is on record as never worked on, and is billed"));
                }
                if outcome.cost < billed {
                    found.broken.push(format!("{request} is booked at {} and billed at {billed}", outcome.cost));
                }
                if !outcome.lost && !outcome.failed {
                    *found.heard.entry((call.rule.unwrap_or_default(), call.fingerprint)).or_default() += 1;
                    if !outcome.unknown && outcome.cost != billed {
                        found.broken.push(format!("{request} was answered: booked at {}, billed at {billed}", outcome.cost));
                    }
                }
            }
            None => found.broken.push(format!("{request} was sent and has no outcome")),
        }
    }
    for (request, times) in sends {
        if times > 1 {
            found.broken.push(format!("{request} was sent {times} times"));
        }
    }
    if found.settled < found.billed {
        found.broken.push(format!("brigade says {}, the API bills {}", found.settled, found.billed));
    }
    if found.lost == 0 && outcomes.values().flatten().all(|o| !o.failed && !o.unknown) && found.settled != found.billed {
        found.broken.push(format!("nothing was lost, and brigade says {} where the API bills {}", found.settled, found.billed));
    }
}

fn price(catalog: &Catalog, call: &CallRecord) -> NanoUsd {
    let Some(spent) = call.usage else { return NanoUsd::ZERO };
    let usage = Usage {
        input_tokens: spent.input_tokens,
        cached_tokens: spent.cached_tokens,
        cache_write_tokens: spent.cache_write_tokens,
        output_tokens: spent.output_tokens,
        reasoning_tokens: spent.reasoning_tokens,
    };
    let at = Timestamp(u64::try_from(call.at).unwrap_or_default());
    let model = ModelRef::new(&format!("openai/{}", call.model)).expect("the ledger names models that were asked for");
    let service = match call.service.as_deref() {
        Some("flex") => Service::Flex,
        Some("priority") => Service::Priority,
        Some("batch") => Service::Batch,
        _ => Service::Default,
    };
    catalog.priced(&model, Day::of(at)).map_or(NanoUsd::ZERO, |found| cost(found.price, &usage, service))
}

/// The stream that others read: whole, in order, each thing ended once, the last word the last.
fn stream(id: &RunId, events: &[record::Recorded], found: &mut Findings) {
    let (mut attempts, mut ended, mut over) = (BTreeSet::new(), BTreeMap::<String, usize>::new(), false);
    for (place, event) in events.iter().enumerate() {
        if event.seq != place as u64 + 1 {
            found.broken.push(format!("event {} stands in place {}", event.seq, place + 1));
        }
        if let Some(line) = public(id, event.seq, &event.stamped)
            && (line.get("type").is_none() || line.get("seq").and_then(serde_json::Value::as_u64) != Some(event.seq))
        {
            found.broken.push(format!("public event {} has no type or another number", event.seq));
        }
        if over && !matches!(event.stamped.event, Event::PatchApplied { .. } | Event::PartialApplied { .. } | Event::PatchUndone { .. }) {
            found.broken.push(format!("event {} comes after the run ended", event.seq));
        }
        match &event.stamped.event {
            Event::AttemptStarted { unit, attempt, .. } => {
                let fresh = attempts.insert((unit.clone(), *attempt));
                found.demand(fresh, || format!("attempt {attempt} of {unit} started twice at once"));
            }
            Event::AttemptEnded { unit, attempt, .. } => {
                let open = attempts.remove(&(unit.clone(), *attempt));
                found.demand(open, || format!("attempt {attempt} of {unit} ended and was not under way"));
            }
            Event::SubtaskEnded { unit, .. } => {
                let times = ended.entry(unit.to_string()).or_default();
                *times += 1;
                if *times > 1 {
                    found.broken.push(format!("{unit} ended twice without being reopened"));
                }
            }
            Event::Reopened { unit, .. } => {
                ended.remove(&unit.to_string());
            }
            Event::RunEnded(_) => over = true,
            _ => {}
        }
    }
}
