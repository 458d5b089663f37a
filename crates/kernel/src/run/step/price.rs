//! A dear plan waits for a person's word: priced when it is whole, and before anything of it starts.

use crate::policy::Slots;
use crate::run::event::{Ask, Event, Preview};
use crate::run::state::{Phase, Pricing};
use crate::run::{Action, Run};

impl Run {
    /// Whether nothing may start yet, because a price is to be known or agreed to first.
    pub(super) fn unpriced(&self) -> bool {
        let state = &self.state;
        let asked = state.start().policy.budget.confirm_above_usd.is_some();
        // What was begun before is not held up by a limit that came later.
        asked && state.pricing != Pricing::Settled && state.tally.attempts == 0
    }

    /// Has the plan priced, once it is whole and the planner has nothing to add.
    pub(super) fn price(&mut self, actions: &mut Vec<Action>) {
        let state = &self.state;
        let whole = state.desk.planned && state.desk.job.is_none() && state.phase == Phase::Running;
        // Where only a plan was asked for, whoever resumes it is asked.
        let works = state.start().policy.limits.max_concurrent_subagents != Slots::At(0);
        if whole && works && self.unpriced() && state.pricing == Pricing::Open && !self.session.pricing {
            self.session.pricing = true;
            self.hand_out(actions, Action::Price);
        }
    }

    /// The price is known: what is within the limit starts.
    pub(in crate::run) fn priced_at(&mut self, priced: Result<Box<Preview>, String>) {
        self.session.pricing = false;
        if self.state.pricing != Pricing::Open {
            return;
        }
        let Some(limit) = self.state.start().policy.budget.confirm_above_usd else { return };
        let (preview, question) = match priced {
            Ok(preview) if preview.expected.cost <= limit => (Some(preview), None),
            Ok(preview) => {
                let question = format!(
                    "This plan is expected to cost {} (between {} and {}), above the limit of {limit} that budget.confirm_above_usd sets. Start it?",
                    preview.expected.cost, preview.low.cost, preview.high.cost
                );
                (Some(preview), Some(question))
            }
            Err(why) => (None, Some(format!("This plan cannot be priced: {why}. Start it all the same?"))),
        };
        let evidence = preview.as_ref().map(|preview| in_words(preview)).unwrap_or_default();
        self.record(Event::Priced { preview, asks: question.is_some() });
        if let Some(question) = question {
            self.ask_person(Ask::Price, None, None, question, evidence);
        }
    }
}

fn in_words(preview: &Preview) -> String {
    let calls: Vec<String> = preview.expected.calls.iter().map(|(tier, n)| format!("{n} on {tier}")).collect();
    let seconds = preview.expected.duration.0.div_ceil(1_000);
    let known = preview.seen.iter().filter(|seen| seen.from > 0).count();
    format!(
        "expected: {} calls ({}), {seconds} s; {known} of {} kinds of work were seen before, the rest is assumed",
        preview.expected.calls.iter().map(|(_, n)| n).sum::<u64>(),
        calls.join(", "),
        preview.seen.len(),
    )
}
