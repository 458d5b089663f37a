//! An executor's answer: tools, checks, acceptance; or a failure, and who gets the work next.

use crate::call::{Answer, CallError, End, ErrorClass, Item, Service};
use crate::ids::{ModelRef, Tier};
use crate::plan::TaskType;
use crate::route::{self, Bounds, Failure, GiveUp, Next, Repair, Trouble};
use crate::run::event::{Ask, CallResult, Caller, Ending, Event, SubtaskStatus, Unit, Verdict};
use crate::run::prepare::SERVICE_FIELD;
use crate::run::state::{InFlight, Job, Key, Stage};
use crate::run::{Check, Run, turn};
use crate::time::Millis;

/// A change of more lines is no simple edit (design.md "The plan").
pub(super) const SIMPLE_EDIT_LINES: u64 = 5;
/// How often a call travels by batch before it is sent by itself.
const BATCH_TRIES: u32 = 2;
/// Longest evidence that goes into the next attempt, in bytes.
const EVIDENCE_BYTES: usize = 6_000;

impl Run {
    /// What an answer is on record: a built-in `end` becomes the answer it stands for.
    pub(super) fn result_of(&self, caller: &Caller, answer: &Answer, service: Service) -> CallResult {
        let mut text = answer.text.clone();
        let mut items: Vec<Item> = Vec::new();
        if matches!(caller, Caller::Executor { .. }) && answer.tool_calls().next().is_some() {
            let end = answer.tool_calls().find(|(_, name, _)| *name == "end");
            match end.map(|(_, _, arguments)| turn::ending(arguments)) {
                Some(Ok((_, reason))) if text.is_empty() => text = reason,
                Some(Ok(_)) => {}
                _ => items = once_each(&answer.items),
            }
        } else if !matches!(caller, Caller::Executor { .. }) {
            items = marked(&answer.items);
        }
        if matches!(caller, Caller::Compactor { .. }) {
            text.clear(); // it stands in the event that follows, with what it is worth
            items.clear();
        }
        CallResult::Answered {
            text,
            refusal: answer.refusal.clone(),
            items,
            end: answer.end,
            model: answer.model.clone(),
            service: Some(service).filter(|s| *s != Service::Default),
        }
    }

    /// What a failed call is on record: the error and what is done about it.
    pub(super) fn trouble_of(&self, flight: &InFlight, error: &CallError) -> CallResult {
        let policy = &self.state.start().policy;
        let (tries, alternate) = match flight.key.and_then(|k| self.state.work.get(&k)) {
            Some(work) => (work.trouble, work.attempt.as_ref().map_or(0, |a| a.alternate)),
            None => (self.state.desk.trouble, self.state.desk.alternate),
        };
        let alternates = self.stand_ins(flight.key, &flight.tier).len();
        let left = alternates.saturating_sub(alternate as usize);
        let seed = flight.key.map_or(0, |k| u64::from(k.task) << 32 | k.row.unwrap_or(0) & 0xffff_ffff);
        let attempt = flight.key.and_then(|k| self.state.work.get(&k)).and_then(|w| w.attempt.as_ref());
        let (omitted, items) = attempt.map_or((&self.state.desk.omit, &self.state.desk.turns), |a| (&a.omit, &a.items));
        let tries = match error.class {
            // Repairs of the request: each helps once, whatever the line did before.
            ErrorClass::UnsupportedField => {
                u32::from(omitted.contains(&turn::field_named(error.param.as_deref().unwrap_or(&error.message))))
            }
            ErrorClass::LostReference => u32::from(!items.iter().any(|i| matches!(i, Item::Opaque { .. }))),
            // One line, one storm: a hundred calls behind one limit do not each wait it out in turn.
            ErrorClass::RateLimited | ErrorClass::Overloaded => {
                let storm = self.state.storms.get(flight.model.provider()).copied().unwrap_or_default();
                tries.max(storm.after(flight.since, self.now).windows - 1)
            }
            _ => tries,
        };
        if matches!(flight.caller, Caller::Compactor { .. }) {
            // Not worth waiting for: the planner is asked as it is.
            let (class, message, param) = (error.class, error.message.clone(), error.param.clone());
            return CallResult::Failed { class, message, param, repair: Repair::GiveUp(GiveUp::BadRequest) };
        }
        if error.class == ErrorClass::QuotaExhausted
            && let Some(until) = self.used_up_until(&flight.model)
        {
            // By its own report it will serve again: no person is needed for that.
            let (class, message, param) = (error.class, error.message.clone(), error.param.clone());
            return CallResult::Failed { class, message, param, repair: Repair::GiveUp(GiveUp::Park { until: Some(until) }) };
        }
        let trouble = Trouble::of(error, tries + 1, left, policy.limits.max_tries, seed);
        let repair = if self.has_had_its_try(&flight.model, error.class) {
            Repair::GiveUp(GiveUp::BadRequest)
        } else {
            route::after_trouble(&trouble, self.now).repair
        };
        let repair = self.batch_repair(flight, tries + 1).filter(|_| error.class.is_availability()).unwrap_or(repair);
        if self.falls_back(flight, error, repair) {
            let param = Some(SERVICE_FIELD.to_owned());
            return CallResult::Failed { class: error.class, message: error.message.clone(), param, repair: Repair::DropField };
        }
        CallResult::Failed { class: error.class, message: error.message.clone(), param: error.param.clone(), repair }
    }

    /// What follows a line of a batch that failed: the next batch, and after that a call of its own.
    fn batch_repair(&self, flight: &InFlight, tries: u32) -> Option<Repair> {
        let repair = if tries < BATCH_TRIES { Repair::Wait(self.now) } else { Repair::DropField };
        (flight.service == Service::Batch).then_some(repair)
    }

    /// Whether a flex call that found no capacity, however often it was sent, is asked for at the default price.
    fn falls_back(&self, flight: &InFlight, error: &CallError, repair: Repair) -> bool {
        let in_vain = matches!(repair, Repair::Alternate | Repair::GiveUp(GiveUp::Park { .. }));
        let flex = flight.service == Service::Flex && error.class == ErrorClass::Overloaded;
        let batch = flight.service == Service::Batch && repair == Repair::DropField;
        batch || (flex && in_vain && self.state.start().policy.service.flex_fallback)
    }

    pub(super) fn executor_answered(&mut self, key: Key, answer: Result<Answer, CallError>, result: CallResult) {
        match answer {
            Ok(answer) => self.executor_said(key, &answer),
            Err(error) => {
                let CallResult::Failed { repair: Repair::GiveUp(how), .. } = result else { return };
                match how {
                    GiveUp::TooLong => self.attempt_failed(key, Ending::Failed, Failure::ContextTooLong, error.message),
                    GiveUp::BadRequest if error.class == ErrorClass::TimedOut => {
                        self.attempt_failed(key, Ending::Failed, Failure::TooManyTurns, error.to_string());
                    }
                    GiveUp::BadRequest => self.attempt_failed(key, Ending::Failed, Failure::Refusal, error.to_string()),
                    how => self.give_up(how, &error),
                }
            }
        }
    }

    /// The provider cannot or will not serve: nothing new starts.
    pub(super) fn give_up(&mut self, how: GiveUp, error: &CallError) {
        if how == GiveUp::Cancelled || self.state.stop.is_some() {
            return;
        }
        if how == GiveUp::Quota {
            let question = "The provider says the account has no quota or credit left. Top it up, then approve to go on.".to_owned();
            self.ask_person(Ask::Account, None, None, question, error.message.clone());
        }
        let until = if let GiveUp::Park { until } = how { until } else { None };
        let class = if until.is_some() { ErrorClass::RateLimited } else { error.class };
        self.record(Event::Halted { class: Some(class), message: error.message.clone(), until });
    }

    fn executor_said(&mut self, key: Key, answer: &Answer) {
        let Some(work) = self.state.work.get(&key) else { return };
        let Some(attempt) = &work.attempt else { return };
        if work.stage == Stage::Call && answer.end == End::Length && answer.refusal.is_none() {
            return; // cut at its limit: asked again with twice the room
        }
        if let Some(refusal) = &answer.refusal {
            let reason = format!("the model declined: {refusal}");
            return self.attempt_failed(key, Ending::Failed, Failure::Refusal, reason);
        }
        match answer.end {
            End::ContentFilter => {
                let reason = "the provider's content filter stopped the answer".to_owned();
                return self.attempt_failed(key, Ending::Failed, Failure::Refusal, reason);
            }
            End::Length => {
                let reason = "the answer was cut at its output limit twice".to_owned();
                return self.attempt_failed(key, Ending::Failed, Failure::Length, reason);
            }
            End::Completed => {}
        }
        if let Some(ended) = answer.tool_calls().find(|(_, name, _)| *name == "end").map(|(_, _, a)| turn::ending(a)) {
            match ended {
                Ok((Ending::Done, _)) => return self.go_on_checking(key),
                Ok((ending, reason)) => return self.ended_otherwise(key, ending, reason),
                Err(_) => {} // answered by the tool's own refusal
            }
        }
        if work.stage == Stage::Checks {
            return self.go_on_checking(key);
        }
        let limits = &self.state.start().policy.limits;
        let allowed = self.state.start().policy.max_tool_calls(&attempt.tier);
        let calls = attempt.tool_calls + attempt.pending.len() as u32;
        if attempt.turns >= limits.max_turns || calls > allowed {
            let reason = format!(
                "no final answer after {} turns and {calls} tool calls (allowed: {} and {allowed})",
                attempt.turns, limits.max_turns
            );
            self.attempt_failed(key, Ending::Failed, Failure::TooManyTurns, reason);
        } else if attempt.repeated.1 > limits.max_identical_calls {
            let reason = format!("the same tool call came {} times in a row", attempt.repeated.1);
            self.attempt_failed(key, Ending::Failed, Failure::Loop, reason);
        }
    }

    /// The checks that a unit's answer must pass, in order of their price.
    pub(in crate::run) fn checks_of(&self, key: Key) -> Vec<Check> {
        let spec = &self.state.task(key).spec;
        let answer = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()).and_then(|a| a.answer.clone()).unwrap_or_else(|| "".into());
        let schema = self.state.task(key).wanted.format().map(|f| Check::Schema { schema: f.schema.clone(), answer });
        let merge = self.state.task(key).merge.as_ref();
        let markers = merge.map(|merge| Check::Markers { files: merge.files.clone() });
        schema.into_iter().chain(markers).chain(spec.checks.iter().map(|argv| Check::Command { argv: argv.clone() })).collect()
    }

    /// After a passed check, or before the first: the next one, or acceptance.
    fn go_on_checking(&mut self, key: Key) {
        let Some(attempt) = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()) else { return };
        if attempt.checked == 0
            && let Some(lines) = self.too_many_lines(key)
        {
            let reason = format!("the patch changes {lines} lines; a simple_edit changes at most {SIMPLE_EDIT_LINES}");
            return self.ended_otherwise(key, Ending::TooBig, reason);
        }
        if attempt.checked == 0
            && let Some(evidence) = self.out_of_scope(key)
        {
            return self.check_failed(key, "scope".to_owned(), Verdict::Fail, evidence, Millis(0));
        }
        if attempt.checked == 0 && self.nothing_changed(key) {
            let evidence =
                "The subtask is to change files, and no file was changed. Make the change with apply_patch or write_file.".to_owned();
            return self.check_failed(key, "changed".to_owned(), Verdict::Fail, evidence, Millis(0));
        }
        if attempt.checked as usize >= self.checks_of(key).len() {
            self.accept(key);
        }
    }

    /// "Done" is checked against the disk, not against words.
    fn nothing_changed(&self, key: Key) -> bool {
        let spec = &self.state.task(key).spec;
        let must =
            !spec.writes.is_empty() && !matches!(spec.kind, TaskType::Test | TaskType::ReviewFile | TaskType::Search | TaskType::General);
        let work = self.state.work.get(&key);
        must && work.is_some_and(|w| w.attempt.as_ref().is_some_and(|a| a.tree == w.base_tree))
    }

    pub(super) fn checked(&mut self, unit: Unit, attempt: u32, check: String, verdict: Verdict, evidence: String, ms: Millis) {
        let Some(key) = self.state.key(&unit) else { return };
        let Some(work) = self.state.work.get(&key) else { return };
        if work.stage != Stage::Checks || work.attempt.as_ref().is_none_or(|a| a.no != attempt) {
            return;
        }
        if verdict == Verdict::Pass {
            let (tier, model) = self.by(key);
            self.record(Event::CheckEnded { unit, attempt, tier, model, check, verdict, evidence: String::new(), reused_from: None, ms });
            self.go_on_checking(key);
        } else {
            self.check_failed(key, check, verdict, evidence, ms);
        }
    }

    fn check_failed(&mut self, key: Key, check: String, verdict: Verdict, evidence: String, ms: Millis) {
        let (tier, model) = self.by(key);
        let unit = self.state.unit(key);
        let attempt = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()).map_or(0, |a| a.no);
        let evidence = keep_tail(&evidence, EVIDENCE_BYTES);
        self.record(Event::CheckEnded {
            unit,
            attempt,
            tier,
            model,
            check: check.clone(),
            verdict,
            evidence: evidence.clone(),
            reused_from: None,
            ms,
        });
        let failure = match verdict {
            Verdict::Unsure => Failure::Unsure,
            _ if check == "schema" => Failure::Form,
            _ => Failure::Check,
        };
        self.attempt_failed(key, Ending::Done, failure, format!("check `{check}` failed:\n{evidence}"));
    }

    fn by(&self, key: Key) -> (Tier, ModelRef) {
        let attempt = self.state.work.get(&key).and_then(|w| w.attempt.as_ref());
        let attempt = attempt.expect("a unit under check has an attempt");
        (attempt.tier.clone(), attempt.model.clone())
    }

    pub(super) fn end_attempt(&mut self, key: Key, ending: Ending, failure: Option<Failure>, accepted: bool, reason: String) {
        let attempt = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()).expect("only a unit with an attempt ends one");
        self.record(Event::AttemptEnded {
            unit: self.state.unit(key),
            attempt: attempt.no,
            tier: attempt.tier.clone(),
            model: attempt.model.clone(),
            ending,
            failure,
            accepted,
            reason,
            cost_usd: attempt.cost,
            usage: attempt.usage,
        });
    }

    fn accept(&mut self, key: Key) {
        let by = self.by(key);
        self.end_attempt(key, Ending::Done, None, true, String::new());
        let output = self.accepted(key);
        let spec = self.state.task(key).spec.clone();
        if spec.approve {
            let question = format!("{}: is this result right?", self.state.unit(key));
            self.ask_person(Ask::Approve, Some(self.state.unit(key)), None, question, output);
        } else if spec.checkpoint && key.row.is_none() {
            let reason = format!("Checkpoint: subtask {} is done. Its result:\n{}", spec.id, keep_tail(&output, EVIDENCE_BYTES));
            self.record(Event::PlannerAsked { unit: self.state.unit(key), reason });
        } else {
            self.end_unit(key, SubtaskStatus::Done, output, None, Some(by));
        }
    }

    /// The answer a unit would end with.
    pub(super) fn accepted(&self, key: Key) -> String {
        self.state.work.get(&key).and_then(|w| w.accepted.as_deref()).unwrap_or_default().to_owned()
    }

    /// `blocked`, `too_big`, `needs_context`, `out_of_scope`: the planner's matter.
    pub(super) fn ended_otherwise(&mut self, key: Key, ending: Ending, reason: String) {
        self.end_attempt(key, ending, None, false, reason.clone());
        let word = serde_json::to_value(ending).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        let reason = format!("Subtask {} ended `{word}`: {}", self.state.unit(key), keep_tail(&reason, EVIDENCE_BYTES));
        self.up_to_the_planner(key, reason);
    }

    /// The attempt is no good: the ladder, then the planner, then a person.
    pub(in crate::run) fn attempt_failed(&mut self, key: Key, ending: Ending, failure: Failure, evidence: String) {
        let evidence = keep_tail(&evidence, EVIDENCE_BYTES);
        self.end_attempt(key, ending, Some(failure), false, evidence.clone());
        match self.next_after_failure(key) {
            Some(Next::SameTierWithEvidence | Next::TierUp(_)) => {}
            _ => {
                let reason = format!("Subtask {} failed on every tier it may use. The last evidence:\n{evidence}", self.state.unit(key));
                self.up_to_the_planner(key, reason);
            }
        }
    }

    /// What the route says after the failures of a unit so far; `None` without any.
    pub(in crate::run) fn next_after_failure(&self, key: Key) -> Option<Next> {
        let work = self.state.work.get(&key)?;
        let policy = &self.state.start().policy;
        let spec = &self.state.task(key).spec;
        let route = self.route(key).ok()?;
        let tried: Vec<route::Tried> =
            work.tried.iter().filter_map(|t| t.failure.map(|failure| route::Tried { tier: t.tier.clone(), failure })).collect();
        let last = tried.last()?.failure;
        let bounds = Bounds {
            max_attempts: spec.max_attempts.unwrap_or(policy.limits.max_attempts),
            may_replan: true,
            may_rise: policy.escalation.allows(last.ground()),
        };
        Some(route::after_failure(&tried, &route.ladder, bounds).next)
    }

    pub(in crate::run) fn up_to_the_planner(&mut self, key: Key, reason: String) {
        let unit = self.state.unit(key);
        if key.row.is_some() {
            // One row is not worth the flagship: it is kept with its reason.
            let output = self.accepted(key);
            return self.end_unit(key, SubtaskStatus::Failed, output, Some(reason), None);
        }
        let under_way = u32::from(matches!(self.state.desk.job, Some(Job::Replan { .. })));
        if self.state.desk.replans + under_way < self.state.start().policy.limits.max_replans {
            self.record(Event::PlannerAsked { unit, reason });
        } else {
            self.ask_about_failure(key, reason);
        }
    }

    /// Its deadline passed: higher tiers would be as late.
    pub(in crate::run) fn give_up_late(&mut self, key: Key) {
        let reason = "its deadline passed".to_owned();
        if self.state.work.get(&key).is_some_and(|w| w.attempt.is_some()) {
            self.end_attempt(key, Ending::Failed, Some(Failure::TooManyTurns), false, reason.clone());
        }
        self.up_to_the_planner(key, format!("Subtask {} did not end in time: {reason}", self.state.unit(key)));
    }

    /// Its own cap does not allow its next call.
    pub(in crate::run) fn over_its_cap(&mut self, key: Key, why: String) {
        if self.state.work.get(&key).is_some_and(|w| w.attempt.is_some()) {
            self.end_attempt(key, Ending::Abandoned, None, false, why.clone());
        }
        self.up_to_the_planner(key, format!("Subtask {} cannot go on: {why}", self.state.unit(key)));
    }

    pub(super) fn ask_about_failure(&mut self, key: Key, reason: String) {
        let unit = self.state.unit(key);
        let files = self.state.work.get(&key).and_then(|w| w.made.as_ref()).is_some_and(|made| made.from != made.to);
        let what = if files { "its last answer with its files" } else { "its last answer" };
        let what = if self.state.task(key).merge.is_some() {
            "its last answer, with what it left unmerged between conflict markers"
        } else {
            what
        };
        let question = format!("{unit} could not be done. Approve {what}, reject it, or say how to go on.");
        let evidence = format!("{reason}\n\nLast answer:\n{}", keep_tail(&self.accepted(key), EVIDENCE_BYTES));
        self.ask_person(Ask::Failed, Some(unit), None, question, evidence);
    }
}

/// The items of an answer, each tool call id once: a second call of the same id could not be answered.
fn once_each(items: &[Item]) -> Vec<Item> {
    let mut seen = std::collections::HashSet::new();
    let fresh = |item: &&Item| match item {
        Item::ToolCall { call_id, .. } => seen.insert(call_id.clone()),
        _ => true,
    };
    items.iter().filter(fresh).cloned().collect()
}

/// The items of an answer whose messages the model marked, to be replayed as they came; where it marked none, its
/// text says all.
fn marked(items: &[Item]) -> Vec<Item> {
    let marked = items.iter().any(|item| matches!(item, Item::Message { phase: Some(_), .. }));
    let goes_back = |item: &&Item| marked && matches!(item, Item::Message { .. } | Item::Opaque { .. });
    items.iter().filter(goes_back).cloned().collect()
}

/// The last `bytes` of a text, cut at a character: errors stand at the end of output.
pub(super) fn keep_tail(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut from = text.len() - bytes;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    format!("… ({from} bytes cut)\n{}", &text[from..])
}
