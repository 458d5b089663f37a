//! The planner's conversation condensed: when, by whom, and what came of it. Nothing in the journal is lost by it, and
//! a try in vain loses nothing but its own price: the planner is asked all the same.

use super::prepare::Shape;
use super::state::{Job, Overflow, State};
use super::{CompactBy, Event, Fetched, Run};
use crate::call::{Answer, CallError, End, Item};
use crate::catalog::Day;
use crate::context::{self, Compacting, Conversation};
use crate::ids::{ModelRef, SubtaskId, Tier};
use crate::plan::{Subtask, TaskType};
use crate::policy::Who;
use crate::role::Role;
use crate::route;

/// What a summary may be made from where nobody knows the model's window: about 100,000 tokens.
const ROOM_TOKENS: u64 = 100_000;
/// Bytes of a token where a window must hold: less than there usually are.
const TOKEN_BYTES: u64 = 3;

impl State {
    /// The turns that a compaction replaces: all but the message that still waits for its answer.
    fn old_turns(&self) -> &[Item] {
        let waiting = usize::from(self.desk.asked);
        &self.desk.turns[..self.desk.turns.len().saturating_sub(waiting)]
    }

    /// Whether the provider may be asked once more after it found the planner's conversation too long.
    pub(super) fn may_shrink(&self) -> bool {
        let desk = &self.desk;
        let most = self.start().policy.limits.max_compactions;
        matches!(desk.job, Some(Job::Replan { .. }))
            && desk.mends == 0
            && desk.compaction.overflow == Overflow::No
            && desk.compaction.tries < most
            && !self.old_turns().is_empty()
    }

    /// Takes in how a compaction went.
    pub(super) fn compacted(&mut self, by: CompactBy, before: u64, after: u64, turns: &[Item]) {
        let kept = self.old_turns().len();
        let compaction = &mut self.desk.compaction;
        compaction.tries += 1;
        if turns.is_empty() && by == CompactBy::Endpoint {
            compaction.no_endpoint = true; // a summary is tried in its place
            return;
        }
        compaction.in_vain = turns.is_empty();
        compaction.results = 0;
        compaction.tokens_then = if turns.is_empty() { before } else { after };
        if compaction.overflow == Overflow::Seen {
            compaction.overflow = Overflow::Tried;
        }
        if !turns.is_empty() {
            self.desk.turns.splice(..kept, turns.iter().cloned());
        }
    }
}

impl Run {
    /// The providers that can condense a conversation themselves. Not part of the fold: which way was taken is on record.
    pub fn compacts_at(&mut self, providers: impl IntoIterator<Item = String>) {
        self.session.compacting = providers.into_iter().collect();
    }

    /// How the planner's conversation is to be condensed before the planner is asked again; `None`: not at all.
    pub(super) fn compaction(&self) -> Option<CompactBy> {
        let desk = &self.state.desk;
        if !matches!(desk.job, Some(Job::Replan { .. })) || self.state.old_turns().is_empty() {
            return None;
        }
        let limits = &self.state.start().policy.limits;
        let known = desk.compaction;
        let wanted = match known.overflow {
            Overflow::Seen => known.tries < limits.max_compactions,
            _ if desk.asked => false,
            _ => {
                let conversation = Conversation {
                    tokens: self.conversation_tokens(),
                    tokens_then: known.tokens_then,
                    results: known.results,
                    in_vain: known.in_vain,
                    tries: known.tries,
                };
                context::due(conversation, limits.compact_tokens.into(), limits.compact_results, limits.max_compactions)
            }
        };
        wanted.then(|| self.who_compacts())
    }

    /// What the provider makes is bound to the model: where the planner may fall back to another, a summary serves all.
    fn who_compacts(&self) -> CompactBy {
        let (tier, model) = self.desk_model();
        let alone = self.state.start().policy.tier(&tier).is_none_or(|bound| bound.alternates.is_empty());
        let can = self.session.compacting.contains(model.provider()) && !self.state.desk.compaction.no_endpoint;
        if alone && can { CompactBy::Endpoint } else { CompactBy::Summary }
    }

    /// Estimated tokens of what the planner is sent next, its pending message aside.
    fn conversation_tokens(&self) -> u64 {
        context::conversation_tokens(&self.planner_base(&Fetched::default()))
    }

    /// Who writes the summary: whoever summarizes by default, however much there is to read.
    pub(super) fn summary_model(&self) -> (Tier, ModelRef) {
        let policy = &self.state.start().policy;
        let mut spec = Subtask::new(SubtaskId::new("summary").expect("plain letters"));
        spec.kind = TaskType::Summarize;
        match route::start(&route::Facts::of(&spec), policy) {
            Ok(route) => (route.tier.clone(), route.models(&route.tier, policy).0.clone()),
            Err(_) => self.desk_model(),
        }
    }

    pub(super) fn compaction_call(&self, by: CompactBy) -> Shape {
        let state = &self.state;
        let policy = &state.start().policy;
        let turns = state.old_turns();
        let ((tier, model), who, packed) = match by {
            CompactBy::Endpoint => {
                let rules = context::instructions(Who::PlannerPatch, policy);
                (self.desk_model(), Who::PlannerPatch, context::replayed(rules, turns.to_vec()))
            }
            CompactBy::Summary => {
                let (tier, model) = self.summary_model();
                let window = self.catalog.lookup(&model, Day::of(self.now)).ok().and_then(|found| found.model.input_window);
                let tokens = window.unwrap_or(ROOM_TOKENS).saturating_sub(policy.limits.output_tokens.executor.into());
                let rules = context::instructions(Who::Compactor, policy);
                let room = usize::try_from(tokens * TOKEN_BYTES).unwrap_or(usize::MAX);
                let compacting = Compacting { rules: &rules, request: &state.start().request, turns, room };
                ((tier, model), Who::Compactor, context::compactor(&compacting))
            }
        };
        Shape {
            effort: policy.effort(Role::Executor, Some(TaskType::Summarize), &tier),
            verbosity: policy.verbosity(Role::Executor, Some(TaskType::Summarize), &tier),
            tier,
            model,
            packed,
            cache_key: policy.prompt_cache(Role::Planner, None).then(|| self.cache_key(who)),
            retention: policy.prompt_cache_retention(Role::Planner, None),
            limited_as: (by == CompactBy::Summary).then_some(Role::Executor),
            tools: Vec::new(),
            allowed_tools: Vec::new(),
            format: None,
            doubled: false,
            omit: Vec::new(),
            deadlines: policy.limits.call,
        }
    }

    /// A compaction came back, or did not.
    pub(super) fn compactor_answered(&mut self, by: CompactBy, answer: Result<Answer, CallError>) {
        if self.state.stop.is_some() {
            return;
        }
        let before = self.conversation_tokens();
        let rest = before - context::conversation_tokens(self.state.old_turns()).min(before);
        let (turns, after, why) = match self.turns_of(by, answer) {
            Ok(turns) => {
                let after = rest + context::conversation_tokens(&turns);
                match context::shrunk(before, after) {
                    true => (turns, after, None),
                    false => (Vec::new(), before, Some(format!("it would still hold {after} of {before} tokens"))),
                }
            }
            Err(why) => (Vec::new(), before, Some(why)),
        };
        self.record(Event::Compacted { by, before, after, turns, why });
    }

    fn turns_of(&self, by: CompactBy, answer: Result<Answer, CallError>) -> Result<Vec<Item>, String> {
        let answer = answer.map_err(|error| error.to_string())?;
        if let Some(refusal) = answer.refusal {
            return Err(format!("the model declined: {refusal}"));
        }
        if answer.end != End::Completed {
            return Err("the summary was cut before its end".to_owned());
        }
        let plan = serde_json::to_string(&self.plan()).unwrap_or_default();
        match by {
            CompactBy::Endpoint if answer.items.is_empty() => Err("nothing came back".to_owned()),
            CompactBy::Endpoint => Ok(std::iter::once(context::compacted(&plan, None)).chain(answer.items).collect()),
            CompactBy::Summary if answer.text.trim().is_empty() => Err("the summary is empty".to_owned()),
            CompactBy::Summary => Ok(vec![context::compacted(&plan, Some(&answer.text))]),
        }
    }
}
