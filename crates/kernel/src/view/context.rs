//! What each attempt was shown, part by part, and what one long conversation would have held in its place.
//!
//! A fold of the run's events. Sizes are bytes as recorded; tokens are estimates made of them. Beside them stands what
//! the provider reported. Nothing here is measured twice: what full history would have cost is computed, and says so.
//! Read first: [`Contexts::full_history`].

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::call::{End, Item};
use crate::context::{PartReceipt, item_bytes, tokens_est};
use crate::ids::{ModelRef, RunId, SubtaskId, Tier};
use crate::route::Repair;
use crate::run::{CallNo, CallResult, Caller, Ending, Event, GatheredPart, Unit};
use crate::usage::Usage;

/// Parts of an opening that a conversation holds once, in front: its system part.
const SYSTEM: [&str; 3] = ["rules", "tools", "format"];

/// Attempts of one unit (or of all rows of a subtask) whose parts are kept.
const KEPT: usize = 200;

/// One attempt's context.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Whose.
    pub unit: Unit,
    /// Which try, from 1.
    pub attempt: u32,
    /// Where.
    pub tier: Tier,
    /// The model first asked.
    pub model: ModelRef,
    /// The opening.
    pub parts: Vec<PartReceipt>,
    /// What came after it: the model's own turns and the outputs of its tools.
    pub turns: Vec<PartReceipt>,
    /// Calls made.
    pub calls: u32,
    /// Bytes of all calls together: the opening and the turns so far, once for each call.
    pub sent_bytes: u64,
    /// What the provider reported for the calls that ended; `None` while there is none, or when it reported none.
    pub usage: Option<Usage>,
    /// Bytes of full history at its last turn: [`Contexts::full_history`].
    pub full_bytes: u64,
    /// How it ended; `None` while it is under way.
    pub ending: Option<Ending>,
    /// Whose equal work was taken instead: nothing was sent.
    pub reused_from: Option<RunId>,
}

impl Shown {
    /// Bytes of its context at its last turn.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().chain(&self.turns).map(|part| part.bytes).sum()
    }
}

/// Contexts of several attempts, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// Attempts that called a model.
    pub attempts: u64,
    /// Bytes of their contexts.
    pub bytes: u64,
    /// What full history would have been, in bytes.
    pub full_bytes: u64,
    /// Bytes of all their calls.
    pub sent_bytes: u64,
    /// As reported by the provider, for all their calls.
    pub usage: Usage,
}

impl Sum {
    fn add(&mut self, shown: &Shown) {
        if shown.calls == 0 {
            return;
        }
        self.attempts += 1;
        self.bytes += shown.bytes();
        self.full_bytes += shown.full_bytes;
        self.sent_bytes += shown.sent_bytes;
        self.usage += shown.usage.unwrap_or_default();
    }

    /// The share of full history that was shown; `None` when nothing was.
    pub fn ratio(&self) -> Option<f64> {
        (self.full_bytes > 0).then(|| tokens_est(self.bytes as usize) as f64 / tokens_est(self.full_bytes as usize) as f64)
    }
}

/// The fold: feed it every event in order, then read.
#[derive(Debug, Default)]
pub struct Contexts {
    wanted: Option<Unit>,
    /// The first attempts of the wanted unit (of all rows, where it names a subtask of rows), in the order they ended.
    pub shown: Vec<Shown>,
    /// Further ones, not kept.
    pub left_out: u64,
    sums: BTreeMap<SubtaskId, Sum>,
    /// Bytes that a single conversation would hold by now, files aside.
    said: u64,
    /// Files it would hold, each version once.
    files: HashSet<Version>,
    files_bytes: u64,
    /// Description of each subtask, in bytes: a row's own words are what goes beyond it.
    described: HashMap<SubtaskId, u64>,
    planner_seen: bool,
    gathered: HashMap<Unit, Vec<GatheredPart>>,
    open: HashMap<Unit, Open>,
    calls: HashMap<CallNo, Unit>,
}

/// A path, and the hash of what stood there.
type Version = (String, String);

/// An attempt under way.
#[derive(Debug)]
struct Open {
    shown: Shown,
    /// Said in it so far, beside its files: answers, calls, outputs, evidence, its row.
    said: u64,
    /// Bytes of items that only their provider understands, by turn: a rebuilt conversation goes on without them.
    opaque: Vec<(usize, u64)>,
}

impl Contexts {
    /// Keeps the parts of one unit's attempts; a unit without a row stands for all rows of its subtask.
    pub fn of(unit: Unit) -> Self {
        Self { wanted: Some(unit), ..Self::default() }
    }

    /// Bytes that one single conversation would have held when this unit's attempt began, had one model done all the
    /// work in turn. Everything is counted once and whole:
    ///
    /// - the attempt's own rules, tools and format, as they stood in its opening;
    /// - the request, the workspace's listing as the planner was shown it, its instruction files, the plan with its
    ///   patches and reviews, and what a person said since;
    /// - of every attempt that had ended by then, of any subtask: its row, the files it was shown (each version of a
    ///   file once, untrimmed), its answers, tool calls and outputs, and the evidence of its checks;
    /// - the attempt's own row, and those of its own files that were not there yet.
    ///
    /// Not counted, though a real conversation would hold some of it: attempts still under way, the planner's faulty
    /// answers, task descriptions (they stand in the plan), results passed on (they are answers already).
    fn full_history(&self, unit: &Unit, opening: &[PartReceipt]) -> u64 {
        let system: u64 = opening.iter().filter(|part| SYSTEM.contains(&part.name.as_str())).map(|part| part.bytes).sum();
        let gathered = self.gathered.get(unit).map_or(&[][..], |parts| parts);
        let new = gathered.iter().map(version).chain(instructions(opening)).filter(|(version, _)| !self.files.contains(version));
        system + self.said + self.files_bytes + new.map(|(_, bytes)| bytes).sum::<u64>() + self.row(unit, opening)
    }

    /// Bytes of a unit's row in its opening: as data of its own, or filled into the description.
    fn row(&self, unit: &Unit, opening: &[PartReceipt]) -> u64 {
        if unit.row.is_none() {
            return 0;
        }
        let part = |name: &str| opening.iter().find(|part| part.name == name).map_or(0, |part| part.bytes);
        let filled = part("task").saturating_sub(self.described.get(&unit.subtask).copied().unwrap_or(0));
        part("row") + filled
    }

    /// Takes one event in.
    pub fn saw(&mut self, event: &Event) {
        match event {
            Event::RunStarted(start) => self.said += start.request.len() as u64,
            Event::PlanSubtask { subtask, .. } | Event::MergePlanned { subtask, .. } => {
                self.described.insert(subtask.id.clone(), subtask.description.len() as u64);
                self.said += json_bytes(subtask);
            }
            Event::PlanCompleted { coordination_notes, .. } => self.said += coordination_notes.len() as u64,
            Event::PlanPatched { patch, .. } => {
                for subtask in patch.add.iter().chain(&patch.change) {
                    self.described.insert(subtask.id.clone(), subtask.description.len() as u64);
                }
                self.said += json_bytes(patch);
            }
            Event::Reviewed { review, .. } => self.said += json_bytes(review),
            Event::Told { text } => self.said += text.len() as u64,
            Event::ContextGathered { unit, parts, .. } => drop(self.gathered.insert(unit.clone(), parts.clone())),
            Event::AttemptStarted { unit, attempt, tier, model, .. } => {
                let shown = Shown {
                    unit: unit.clone(),
                    attempt: *attempt,
                    tier: tier.clone(),
                    model: model.clone(),
                    parts: Vec::new(),
                    turns: Vec::new(),
                    calls: 0,
                    sent_bytes: 0,
                    usage: None,
                    full_bytes: 0,
                    ending: None,
                    reused_from: None,
                };
                self.open.insert(unit.clone(), Open { shown, said: 0, opaque: Vec::new() });
            }
            Event::CallStarted { call, caller, opening, .. } => self.call_started(*call, caller, opening),
            Event::CallEnded { call, result, usage, .. } => self.call_ended(*call, result, usage.as_ref()),
            Event::ToolEnded { unit, call_id, name, output, .. } => {
                let item = Item::ToolOutput { call_id: call_id.clone(), output: output.for_model(), images: Vec::new() };
                self.turn(unit, format!("output of {name}"), item_bytes(&item) as u64);
            }
            Event::CheckEnded { unit, evidence, .. } => {
                if let Some(open) = self.open.get_mut(unit) {
                    open.said += evidence.len() as u64;
                }
            }
            Event::AttemptEnded { unit, ending, .. } => self.end(unit, Some(*ending), None),
            Event::SubtaskEnded { unit, reused_from, .. } => {
                self.end(unit, None, reused_from.clone());
                self.gathered.remove(unit);
            }
            _ => {}
        }
    }

    fn call_started(&mut self, call: CallNo, caller: &Caller, opening: &[PartReceipt]) {
        let Caller::Executor { unit, .. } = caller else {
            if *caller == Caller::Planner && !std::mem::replace(&mut self.planner_seen, true) {
                let told = |part: &&PartReceipt| part.name.starts_with("workspace") || part.name == "earlier turns";
                self.said += opening.iter().filter(told).map(|part| part.bytes).sum::<u64>();
                self.hold(instructions(opening));
            }
            return;
        };
        self.calls.insert(call, unit.clone());
        let (full, row) = (self.full_history(unit, opening), self.row(unit, opening));
        let Some(open) = self.open.get_mut(unit) else { return };
        if !opening.is_empty() {
            open.shown.parts = opening.to_vec();
            open.shown.full_bytes = full;
            open.said += row;
        }
        open.shown.calls += 1;
        open.shown.sent_bytes += open.shown.bytes();
    }

    fn call_ended(&mut self, call: CallNo, result: &CallResult, usage: Option<&Usage>) {
        let Some(unit) = self.calls.remove(&call) else { return };
        let Some(open) = self.open.get_mut(&unit) else { return };
        if let Some(usage) = usage {
            *open.shown.usage.get_or_insert_default() += *usage;
        }
        match result {
            CallResult::Answered { text, items, end, .. } => {
                let name = |item: &Item| if let Item::ToolCall { name, .. } = item { Some(name.clone()) } else { None };
                let called: Vec<String> = items.iter().filter_map(name).collect();
                if called.is_empty() || *end != End::Completed {
                    // The last word, or one that was cut: nobody sends it back.
                    open.said += text.len() as u64;
                    return;
                }
                let bytes = |items: &mut dyn Iterator<Item = &Item>| items.map(|item| item_bytes(item) as u64).sum::<u64>();
                let opaque = bytes(&mut items.iter().filter(|item| matches!(item, Item::Opaque { .. })));
                open.opaque.push((open.shown.turns.len(), opaque));
                let name = format!("turn {}: {}", open.shown.calls, called.join(", "));
                self.turn(&unit, name, bytes(&mut items.iter()));
            }
            CallResult::Failed { repair: Repair::Rebuild, .. } => {
                for (turn, bytes) in std::mem::take(&mut open.opaque) {
                    open.shown.turns[turn].bytes -= bytes;
                    open.shown.full_bytes -= bytes;
                }
            }
            CallResult::Failed { .. } | CallResult::Lost => {}
        }
    }

    /// One more turn of an attempt: in its own context, and in the conversation's.
    fn turn(&mut self, unit: &Unit, name: String, bytes: u64) {
        let Some(open) = self.open.get_mut(unit) else { return };
        open.shown.turns.push(PartReceipt { name, bytes, trimmed: 0 });
        open.shown.full_bytes += bytes;
        open.said += bytes;
    }

    /// What an attempt saw and said is history from now on.
    fn end(&mut self, unit: &Unit, ending: Option<Ending>, reused_from: Option<RunId>) {
        let Some(mut open) = self.open.remove(unit) else { return };
        self.said += open.said;
        let gathered = self.gathered.get(unit).into_iter().flatten().map(version);
        let held: Vec<_> = gathered.chain(instructions(&open.shown.parts)).collect();
        self.hold(held);
        self.sums.entry(unit.subtask.clone()).or_default().add(&open.shown);
        open.shown.ending = ending;
        open.shown.reused_from = reused_from;
        self.keep(open.shown);
    }

    /// Files that are history from now on.
    fn hold(&mut self, versions: impl IntoIterator<Item = (Version, u64)>) {
        for (version, bytes) in versions {
            if self.files.insert(version) {
                self.files_bytes += bytes;
            }
        }
    }

    fn keep(&mut self, shown: Shown) {
        match &self.wanted {
            Some(wanted) if wanted.subtask == shown.unit.subtask && (wanted.row.is_none() || wanted.row == shown.unit.row) => {
                if self.shown.len() < KEPT { self.shown.push(shown) } else { self.left_out += 1 }
            }
            _ => {}
        }
    }

    /// No more events: what is still under way is shown as far as it came.
    pub fn finish(mut self) -> Self {
        let mut left: Vec<Shown> = self.open.drain().map(|(_, open)| open.shown).collect();
        left.sort_by(|a, b| a.unit.cmp(&b.unit));
        for shown in left {
            self.sums.entry(shown.unit.subtask.clone()).or_default().add(&shown);
            self.keep(shown);
        }
        self
    }

    /// By subtask, its rows and attempts together.
    pub fn sums(&self) -> &BTreeMap<SubtaskId, Sum> {
        &self.sums
    }

    /// All executors of the run together.
    pub fn total(&self) -> Sum {
        self.sums.values().fold(Sum::default(), |mut all, sum| {
            all.attempts += sum.attempts;
            all.bytes += sum.bytes;
            all.full_bytes += sum.full_bytes;
            all.sent_bytes += sum.sent_bytes;
            all.usage += sum.usage;
            all
        })
    }
}

fn version(part: &GatheredPart) -> (Version, u64) {
    ((part.path.clone(), part.blob.clone()), part.bytes)
}

/// The workspace's instruction files in an opening: a conversation reads each once.
fn instructions(opening: &[PartReceipt]) -> impl Iterator<Item = (Version, u64)> {
    let of_workspace = |part: &&PartReceipt| part.name.starts_with("instructions ");
    opening.iter().filter(of_workspace).map(|part| ((part.name.clone(), String::new()), part.bytes))
}

fn json_bytes(value: &impl serde::Serialize) -> u64 {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len() as u64)
}
