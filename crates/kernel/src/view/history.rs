//! What runs were like, as statistics: a fold of their events by day, by whom (role, or type of subtask) and by tier.
//!
//! One [`Digest`] a run, which can be put away and gone on with; [`History`] is what they come to together. Nothing is
//! priced here and no clock is read: amounts, durations and days stand in the events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sketch::Sketch;
use crate::call::Service;
use crate::catalog::Day;
use crate::ids::{SubtaskId, Tier};
use crate::plan::{Subtask, TaskType};
use crate::policy::Who;
use crate::run::{CallNo, Caller, CompactBy, Ending, Event, Stamped, SubtaskStatus};
use crate::time::Timestamp;
use crate::units::{NanoUsd, QuotaUnits};
use crate::usage::Usage;

/// Counts and sums. All of it adds up, in any order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Calls that ended and were sent.
    pub calls: u64,
    /// Of these, calls whose usage nobody reported.
    pub unknown: u64,
    /// Tokens as reported.
    pub tokens: Usage,
    /// What they cost.
    pub cost: NanoUsd,
    /// What the same tokens would have cost on the flagship: computed, not measured.
    pub all_flagship: NanoUsd,
    /// Units of a quota.
    pub units: QuotaUnits,
    /// Units the same calls would have counted on the flagship.
    pub all_flagship_units: QuotaUnits,
    /// Milliseconds from sending a call to its end, of calls with an answer.
    pub latency_ms: Sketch,
    /// Output tokens of a call, of calls with known usage.
    pub output_tokens: Sketch,
    /// Attempts that ended by themselves.
    pub attempts: u64,
    /// Of these, those whose result stood.
    pub passed: u64,
    /// First attempts of a subtask or row.
    pub firsts: u64,
    /// Of these, those whose result stood.
    pub firsts_passed: u64,
    /// Attempts that were followed by one on a higher tier.
    pub escalated: u64,
    /// Subtasks and rows done.
    pub accepted: u64,
    /// Of these, results of earlier work that cost nothing.
    pub reused: u64,
    /// Subtasks and rows that failed.
    pub failed: u64,
}

impl Stats {
    /// Takes others in.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.unknown += other.unknown;
        self.tokens += other.tokens;
        self.cost += other.cost;
        self.all_flagship += other.all_flagship;
        self.units += other.units;
        self.all_flagship_units += other.all_flagship_units;
        self.latency_ms.merge(&other.latency_ms);
        self.output_tokens.merge(&other.output_tokens);
        self.attempts += other.attempts;
        self.passed += other.passed;
        self.firsts += other.firsts;
        self.firsts_passed += other.firsts_passed;
        self.escalated += other.escalated;
        self.accepted += other.accepted;
        self.reused += other.reused;
        self.failed += other.failed;
    }

    /// The saving as a share of the flagship's bill, negative when there was none; `None` without a bill.
    pub fn saving(&self) -> Option<f64> {
        super::cost::saving(self.cost, self.all_flagship)
    }

    /// Input tokens that the provider had cached, as a share; `None` without input.
    pub fn cached_share(&self) -> Option<f64> {
        share(self.tokens.cached_tokens, self.tokens.input_tokens)
    }

    /// First attempts whose result stood, as a share; `None` when there was none.
    pub fn pass_rate(&self) -> Option<f64> {
        share(self.firsts_passed, self.firsts)
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Where something is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// The day it happened, UTC.
    pub day: Day,
    /// On whose behalf.
    pub who: Who,
    /// On which tier; none for what never came to one.
    pub tier: Option<Tier>,
}

/// One run so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Digest {
    /// When it started.
    pub started: Timestamp,
    /// The plan's name, if it has one.
    pub pipeline: Option<String>,
    /// Its models are scripted: nothing of it was paid, and nothing of it says how a model works.
    pub offline: bool,
    /// The statistics.
    #[serde(with = "pairs")]
    pub cells: BTreeMap<Cell, Stats>,
    /// Types of its subtasks.
    kinds: BTreeMap<SubtaskId, TaskType>,
    /// Calls under way.
    open: BTreeMap<CallNo, Open>,
    /// Subtasks that are done, rows aside: what is opened again was not accepted.
    done: BTreeMap<SubtaskId, Cell>,
    /// What a call counts on the flagship, where any count against a quota.
    flagship_units: QuotaUnits,
}

/// A call under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Open {
    who: Who,
    tier: Tier,
    units: QuotaUnits,
    /// Sent by flex or batch.
    #[serde(default)]
    patient: bool,
}

impl Digest {
    /// Takes one event in.
    pub fn saw(&mut self, stamped: &Stamped) {
        let day = Day::of(stamped.at);
        match &stamped.event {
            Event::RunStarted(start) => {
                self.started = stamped.at;
                self.pipeline.clone_from(&start.pipeline);
                self.offline = start.offline.is_some();
                self.flagship_units = start.policy.flagship_units();
            }
            Event::Repinned { policy } => self.flagship_units = policy.flagship_units(),
            Event::PlanSubtask { subtask, .. } | Event::MergePlanned { subtask, .. } => self.knows(subtask),
            Event::PlanPatched { patch, .. } => patch.add.iter().chain(&patch.change).for_each(|subtask| self.knows(subtask)),
            Event::CallStarted { call, caller, tier, units, service, .. } => {
                let patient = matches!(service, Service::Flex | Service::Batch);
                let open = Open { who: self.who(caller), tier: tier.clone(), units: *units, patient };
                self.open.insert(*call, open);
            }
            Event::CallEnded { call, result, usage, cost_usd, flagship_usd, sent, ms, .. } => {
                let Some(open) = self.open.remove(call) else { return };
                if !sent {
                    return;
                }
                let flagship_units = self.flagship_units;
                let stats = self.cell(day, open.who, Some(open.tier));
                stats.calls += 1;
                stats.cost += *cost_usd;
                stats.all_flagship += *flagship_usd;
                stats.units += open.units;
                stats.all_flagship_units += flagship_units;
                match usage {
                    Some(usage) => {
                        stats.tokens += *usage;
                        stats.output_tokens.add(usage.output_tokens);
                    }
                    None => stats.unknown += 1,
                }
                // Who may take his time tells nothing of how long a call takes.
                if matches!(result, crate::run::CallResult::Answered { .. }) && !open.patient {
                    stats.latency_ms.add(ms.0);
                }
            }
            Event::AttemptEnded { unit, attempt, tier, ending, accepted, .. } => {
                if *ending == Ending::Abandoned {
                    return; // cut short by others: it says nothing of the tier
                }
                let who = self.type_of(&unit.subtask);
                let stats = self.cell(day, who, Some(tier.clone()));
                let (first, passed) = (u64::from(*attempt == 1), u64::from(*accepted));
                stats.attempts += 1;
                stats.passed += passed;
                stats.firsts += first;
                stats.firsts_passed += first * passed;
            }
            Event::Escalated { unit, from, .. } => {
                let who = self.type_of(&unit.subtask);
                self.cell(day, who, Some(from.clone())).escalated += 1;
            }
            Event::SubtaskEnded { unit, status, kind, tier, reused_from, .. } => {
                let cell = Cell { day, who: Who::Type(*kind), tier: tier.clone() };
                let stats = self.cells.entry(cell.clone()).or_default();
                match status {
                    SubtaskStatus::Done => {
                        stats.accepted += 1;
                        stats.reused += u64::from(reused_from.is_some());
                        if unit.row.is_none() {
                            self.done.insert(unit.subtask.clone(), cell);
                        }
                    }
                    SubtaskStatus::Failed => stats.failed += 1,
                    SubtaskStatus::Skipped | SubtaskStatus::Dropped => {}
                }
            }
            Event::Reopened { unit, .. } if unit.row.is_none() => {
                let stats = self.done.remove(&unit.subtask).and_then(|cell| self.cells.get_mut(&cell));
                if let Some(stats) = stats {
                    stats.accepted = stats.accepted.saturating_sub(1);
                }
            }
            _ => {}
        }
    }

    fn knows(&mut self, subtask: &Subtask) {
        self.kinds.insert(subtask.id.clone(), subtask.kind);
    }

    fn cell(&mut self, day: Day, who: Who, tier: Option<Tier>) -> &mut Stats {
        self.cells.entry(Cell { day, who, tier }).or_default()
    }

    fn type_of(&self, subtask: &SubtaskId) -> Who {
        self.kinds.get(subtask).map_or(Who::Executor, |kind| Who::Type(*kind))
    }

    fn who(&self, caller: &Caller) -> Who {
        match caller {
            Caller::Planner => Who::Planner,
            Caller::Replanner => Who::PlannerPatch,
            Caller::Compactor { by: CompactBy::Endpoint | CompactBy::Summary } => Who::Compactor,
            Caller::Reviewer => Who::Reviewer,
            Caller::Executor { unit, .. } => self.type_of(&unit.subtask),
        }
    }

    /// All of it together, from this day on.
    pub fn since(&self, day: Day) -> Stats {
        let mut all = Stats::default();
        self.cells.range(Cell { day, who: Who::Planner, tier: None }..).for_each(|(_, stats)| all.add(stats));
        all
    }
}

/// Many runs together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// Runs taken in.
    pub runs: u64,
    all: BTreeMap<(Who, Tier), Stats>,
    pipelines: BTreeMap<String, BTreeMap<(Who, Tier), Stats>>,
}

impl History {
    /// Takes a run in. A run with scripted models says nothing of real ones.
    pub fn add(&mut self, digest: &Digest) {
        if digest.offline {
            return;
        }
        self.runs += 1;
        let known = digest.cells.iter().filter_map(|(cell, stats)| Some(((cell.who, cell.tier.clone()?), stats)));
        for (key, stats) in known {
            if let Some(pipeline) = &digest.pipeline {
                self.pipelines.entry(pipeline.clone()).or_default().entry(key.clone()).or_default().add(stats);
            }
            self.all.entry(key).or_default().add(stats);
        }
    }

    /// What is known of such work on such a tier: from runs of the same pipeline, if it made any; else from all runs.
    pub fn of(&self, pipeline: Option<&str>, who: Who, tier: &Tier) -> Option<&Stats> {
        let key = (who, tier.clone());
        let own = pipeline.and_then(|name| self.pipelines.get(name)?.get(&key)).filter(|stats| stats.calls > 0);
        own.or_else(|| self.all.get(&key)).filter(|stats| stats.calls > 0)
    }
}

/// JSON has no maps with such keys.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Cell, Stats};

    pub fn serialize<S: Serializer>(cells: &BTreeMap<Cell, Stats>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(cells)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Cell, Stats>, D::Error> {
        Ok(Vec::<(Cell, Stats)>::deserialize(from)?.into_iter().collect())
    }
}
