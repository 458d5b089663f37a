//! Errands: calls that an agent answers. It has hands of its own, so one call is the whole attempt: it is leased at what
//! the configuration bounds it by, and its answer comes with what became of the files.

use super::Run;
use super::action::Changed;
use super::event::{CallNo, Caller, Deed, Event, ReportedWindow};
use super::prepare::Prepared;
use crate::call::{Answer, CallError, ErrorClass, Item, Service};
use crate::catalog::{self, Day, Price};
use crate::context;
use crate::ids::ModelRef;
use crate::policy::{AgentPolicy, Billing};
use crate::time::Timestamp;
use crate::units::NanoUsd;
use crate::usage::Usage;

/// What every agent is told after the rules of its role.
const HOW_IT_WORKS: &str = include_str!("../../prompts/agent.md");

/// What came of an errand beside its answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Handiwork {
    /// The view's tree afterwards, when it could write and ended with an answer.
    pub tree: Option<String>,
    /// All that it changed, likewise.
    pub changed: Option<Changed>,
    /// What it says it did.
    pub deeds: Vec<Deed>,
    /// What its account tells of its quota.
    pub quota: Vec<ReportedWindow>,
}

/// Makes a call an errand: no tools of ours, its own bounds, leased at them.
pub(super) fn bound(prepared: &mut Prepared, agent: &AgentPolicy, price: &Price) {
    let call = &mut prepared.call;
    call.instructions = format!("{}\n\n{HOW_IT_WORKS}", call.instructions.trim_end());
    call.tools.clear();
    call.max_output_tokens = agent.max_output_tokens;
    call.deadlines.total.0 = call.deadlines.total.0.min(agent.timeout.0).max(1);
    prepared.ask.money = match agent.billing {
        Billing::Quota => NanoUsd::ZERO,
        Billing::Tokens => catalog::worst_case_of_many(price, agent.max_input_tokens, agent.max_output_tokens),
    };
    prepared.ask.tokens = agent.max_input_tokens.saturating_add(u64::from(agent.max_output_tokens));
}

impl Run {
    /// What became of the files and what the agent did, before its answer is heard.
    pub(super) fn errand_ended(&mut self, call: CallNo, answer: &mut Result<Answer, CallError>, worked: Handiwork) {
        let Some(flight) = self.state.calls.get(&call) else { return };
        let (caller, provider) = (flight.caller.clone(), flight.model.provider().to_owned());
        if !worked.quota.is_empty() {
            self.record(Event::QuotaReported { provider, windows: worked.quota, as_of: None });
        }
        let mut touched = None;
        if let Caller::Executor { unit, .. } = &caller {
            if let Ok(answer) = answer {
                ends_as_it_says(answer);
            }
            touched = worked.changed.map(|changed| self.touched(unit, &changed));
        }
        self.record(Event::AgentWorked { call, caller, tree: worked.tree, touched, deeds: worked.deeds });
    }

    /// What reported usage costs; nothing where a quota pays.
    pub(super) fn charge(&self, model: &ModelRef, at: Timestamp, usage: &Usage, service: Service) -> Option<NanoUsd> {
        let price = || self.catalog.priced(model, Day::of(at)).ok().map(|found| found.price);
        match self.state.start().policy.agent(model).map(|agent| agent.billing) {
            Some(Billing::Quota) => Some(NanoUsd::ZERO),
            Some(Billing::Tokens) => Some(catalog::cost_of_many(price()?, usage)),
            None => Some(catalog::cost(price()?, usage, service)),
        }
    }

    /// What the tokens of this model's call would have cost on the flagship.
    pub(super) fn flagship_charge(&self, model: &ModelRef, at: Timestamp, usage: &Usage) -> Option<NanoUsd> {
        let policy = &self.state.start().policy;
        let flagship = &policy.tier(policy.top())?.model;
        if policy.agent(model).is_some() && policy.agent(flagship).is_none() {
            // Many requests on one bill: no one of them was long enough for a surcharge.
            return Some(catalog::cost_of_many(self.catalog.priced(flagship, Day::of(at)).ok()?.price, usage));
        }
        self.charge(flagship, at, usage, Service::Default)
    }

    /// Whether a failed call is the end of the attempt: an agent that came to no answer has had its try.
    pub(super) fn has_had_its_try(&self, model: &ModelRef, class: ErrorClass) -> bool {
        matches!(class, ErrorClass::TimedOut | ErrorClass::Garbage) && self.state.start().policy.agent(model).is_some()
    }
}

/// An agent has no tool `end`: an answer that is nothing but its arguments stands for the call.
fn ends_as_it_says(answer: &mut Answer) {
    let said = answer.text.trim();
    let plain = said.strip_prefix("```json").and_then(|rest| rest.strip_suffix("```")).map_or(said, str::trim);
    let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(plain);
    let only = object.is_ok_and(|object| object.len() == 2 && object.contains_key("status") && object.contains_key("reason"));
    if only && context::parse_end(plain).is_ok() {
        let call = Item::ToolCall { call_id: context::END.to_owned(), name: context::END.to_owned(), arguments: plain.to_owned() };
        answer.text.clear();
        answer.items = vec![call];
    }
}
