//! What units start from and what their work adds up to: gathered and composed trees, and what does not fit together.

use std::collections::BTreeSet;

use super::executor::keep_tail;
use crate::plan::{self, Subtask, TaskType};
use crate::run::event::{
    Ask, Change, Conflict, Ending, Event, GatheredImage, GatheredPart, Part, Side, SubtaskStatus, Touched, Unit, Verdict,
};
use crate::run::state::Key;
use crate::run::{Changed, Run, uses_view};
use crate::time::Millis;

/// Files out of scope kept as evidence.
const SHOWN_OUTSIDE: usize = 20;
/// Longest diff of one side that goes to a merge, and longest output of a check that goes back, in bytes.
const SHOWN_BYTES: usize = 12_000;
/// So often the same two sides are merged; changes that still do not fit then are not put together.
const MOST_MERGES: usize = 3;
/// What a merge works with, as far as it is there.
const MERGE_TOOLS: [&str; 4] = ["read_file", "search", "apply_patch", "write_file"];

impl Run {
    pub(super) fn gathered(
        &mut self,
        unit: Unit,
        (parts, images): (Vec<GatheredPart>, Vec<GatheredImage>),
        tree: Option<String>,
        start: Vec<Part>,
        conflicts: &[Conflict],
        sides: &[Side],
    ) {
        let Some(key) = self.state.key(&unit) else { return };
        if self.state.task(key).merge.is_some() {
            let files = paths(conflicts, |_| true);
            let settled = conflicts.is_empty();
            self.record(Event::ContextGathered { unit, parts, images, tree, start, conflicts: files });
            if settled {
                self.nothing_to_merge(key);
            }
        } else if conflicts.is_empty() {
            self.record(Event::ContextGathered { unit, parts, images, tree, start: Vec::new(), conflicts: Vec::new() });
        } else {
            let why = format!("what it hangs on does not fit together: {}", in_words(conflicts));
            self.end_attempt(key, Ending::Abandoned, None, false, why.clone());
            let pass = self.state.task(key).source;
            let own_pass = |unit: &Unit| self.state.key(unit).is_some_and(|key| self.state.task(key).source == pass);
            if pass.is_some() && conflicts.iter().any(|c| own_pass(&c.first) || own_pass(&c.second)) {
                // The rows beside it have not ended: nothing can be merged yet, and one row is not worth the wait.
                return self.up_to_the_planner(key, why);
            }
            self.plan_merges(conflicts, sides);
        }
    }

    /// The sides of a merge fit together by now.
    fn nothing_to_merge(&mut self, key: Key) {
        let work = self.state.work.get(&key).and_then(|w| w.attempt.as_ref());
        let by = work.map(|attempt| (attempt.tier.clone(), attempt.model.clone()));
        self.end_attempt(key, Ending::Done, None, true, "both sides fit together".to_owned());
        self.end_unit(key, SubtaskStatus::Done, "both sides fit together".to_owned(), None, by);
    }

    /// What a unit's accepted work made of the files.
    pub(super) fn made(&self, key: Key) -> Option<Change> {
        let task = self.state.task(key);
        let made = self.state.work.get(&key)?.made.clone()?;
        // A merge stands for what it started from, whether or not there was anything to add.
        (uses_view(&task.spec) && (made.from != made.to || task.merge.is_some())).then_some(made)
    }

    pub(super) fn composed(&mut self, parts: Vec<Part>, tree: String, conflicts: &[Conflict], sides: &[Side]) {
        if conflicts.is_empty() {
            self.record(Event::Composed { parts, tree });
        } else {
            self.plan_merges(conflicts, sides);
        }
    }

    /// Each pair of subtasks whose changes conflict gets one merge; a subtask is in one merge at a time.
    fn plan_merges(&mut self, conflicts: &[Conflict], sides: &[Side]) {
        let mut busy: BTreeSet<u32> = BTreeSet::new();
        for conflict in conflicts {
            let pair = self.tasks_of(conflict);
            let before: Vec<u32> = self.state.merges.iter().copied().filter(|&m| self.sides_of(m) == pair).collect();
            if before.iter().any(|&m| self.state.tasks[m as usize].status.is_none()) {
                continue; // it is being merged
            }
            let failed = before.iter().find(|&&m| self.state.tasks[m as usize].status == Some(SubtaskStatus::Failed));
            if failed.is_some() || before.len() >= MOST_MERGES {
                let done = failed.map_or("merging them again and again did not help".to_owned(), |&m| {
                    format!("{} failed: brigade retry RUN --failed tries it again", self.state.tasks[m as usize].spec.id)
                });
                let message = format!("the work cannot be put together, {}; {done}", in_words(std::slice::from_ref(conflict)));
                return self.record(Event::Halted { class: None, message, until: None });
            }
            if pair.is_empty() || pair.iter().any(|task| busy.contains(task)) {
                continue;
            }
            busy.extend(&pair);
            let files = paths(conflicts, |other| self.tasks_of(other) == pair);
            let among = |side: &&Side| self.state.key(&side.unit).is_some_and(|key| pair.contains(&key.task));
            let cut = |side: &Side| Side { unit: side.unit.clone(), diff: keep_tail(&side.diff, SHOWN_BYTES) };
            let sides: Vec<Side> = sides.iter().filter(among).map(cut).collect();
            let subtask = Box::new(self.merge_of(&pair, &files));
            self.record(Event::MergePlanned { subtask, files, sides });
        }
        self.reserve_for_review();
    }

    fn tasks_of(&self, conflict: &Conflict) -> Vec<u32> {
        let both = [&conflict.first, &conflict.second];
        let tasks: BTreeSet<u32> = both.into_iter().filter_map(|unit| self.state.key(unit)).map(|key| key.task).collect();
        tasks.into_iter().collect()
    }

    /// The subtasks whose changes a merge brings together.
    fn sides_of(&self, merge: u32) -> Vec<u32> {
        let named = self.state.tasks[merge as usize].spec.depends_on.iter();
        let tasks: BTreeSet<u32> = named.filter_map(|id| self.state.index.get(id).copied()).collect();
        tasks.into_iter().collect()
    }

    /// The subtask that merges. Its words hold nothing that a model or a file said: that comes as data.
    fn merge_of(&self, pair: &[u32], files: &[String]) -> Subtask {
        let sides: Vec<&Subtask> = pair.iter().map(|&task| &*self.state.tasks[task as usize].spec).collect();
        let names: Vec<&str> = sides.iter().map(|side| side.id.as_str()).collect();
        let mut subtask = Subtask::new(self.free_id(&names));
        subtask.kind = TaskType::Merge;
        subtask.title = format!("merge {}", names.join(" and "));
        subtask.description = format!(
            "The work of {} was done side by side, and both changed the same places of the files below. Each of these files holds both \
             sides between conflict markers (lines that begin with <<<<<<<, ======= and >>>>>>>). Rewrite every such place so that what \
             both sides meant to do is done, and leave no marker behind. Change nothing else. What each side was to do, what it said \
             and what it changed is given as data.",
            names.join(" and ")
        );
        subtask.depends_on = sides.iter().map(|side| side.id.clone()).collect();
        subtask.files = files.iter().map(|path| globset::escape(path)).collect();
        subtask.writes.clone_from(&subtask.files);
        subtask.tools =
            MERGE_TOOLS.iter().filter(|name| self.tools.iter().any(|t| t.name == **name)).map(|&name| name.to_owned()).collect();
        for check in sides.iter().flat_map(|side| &side.checks) {
            if !subtask.checks.contains(check) {
                subtask.checks.push(check.clone());
            }
        }
        subtask
    }

    /// `merge-A-B`, cut to length, with a number behind it where that is taken.
    fn free_id(&self, names: &[&str]) -> crate::ids::SubtaskId {
        let each = 52 / names.len().max(1);
        let short: Vec<&str> = names.iter().map(|name| &name[..name.len().min(each)]).collect();
        let stem = format!("merge-{}", short.join("-"));
        let mut name = stem.clone();
        for n in 2_u64.. {
            let id = crate::ids::SubtaskId::new(&name).expect("two ids cut short and a dash between them make an id");
            if !self.state.index.contains_key(&id) && !self.state.forward.contains_key(&id) {
                return id;
            }
            name = format!("{stem}-{n}");
        }
        unreachable!("a plan has fewer subtasks than there are numbers")
    }

    pub(super) fn composed_checked(&mut self, unit: Unit, check: String, verdict: Verdict, evidence: &str, ms: Millis) {
        let evidence = if verdict == Verdict::Pass { String::new() } else { keep_tail(evidence, SHOWN_BYTES / 2) };
        self.record(Event::ComposedChecked { unit: unit.clone(), check: check.clone(), verdict, evidence: evidence.clone(), ms });
        let Some((key, composed)) = self.state.key(&unit).zip(self.state.composed.clone()) else { return };
        if verdict == Verdict::Pass {
            return;
        }
        let limit = self.state.start().policy.limits.max_review_rounds;
        // A check that cannot tell is not mended by more work, and rows are not opened again one by one.
        if verdict == Verdict::Unsure || self.state.mended >= limit || self.state.task(key).source.is_some() {
            let question = format!(
                "The check `{check}` of {unit} passed on its own work and does not on all work put together. Approve the result as it \
                 is, reject it, or say how {unit} should mend it."
            );
            return self.ask_person(Ask::Composed, Some(unit), None, question, evidence);
        }
        let instructions = format!(
            "Your check `{check}` passes on your own work and fails on the work of all subtasks put together. You start from the files \
             of all of them: make the check pass without undoing what the others did.\n{evidence}"
        );
        self.mend_composed(key, composed.tree, instructions);
    }

    /// A person says how a composed tree on which a check fails is to be mended.
    pub(super) fn mend_as_told(&mut self, key: Key, text: String) {
        if let Some(composed) = self.state.composed.clone()
            && self.state.task(key).source.is_none()
            && self.state.task(key).status.is_some()
        {
            self.mend_composed(key, composed.tree, text);
        }
    }

    /// What an attempt changed, as far as decisions need it.
    pub(in crate::run) fn touched(&self, unit: &Unit, changed: &Changed) -> Touched {
        let Some(key) = self.state.key(unit) else { return Touched::default() };
        let mut outside = plan::outside(&self.state.task(key).spec.writes, &changed.paths);
        outside.truncate(SHOWN_OUTSIDE);
        Touched { outside, lines: changed.lines }
    }

    /// Commands may touch more than the tools let pass.
    pub(super) fn out_of_scope(&self, key: Key) -> Option<String> {
        let outside = &self.state.work.get(&key)?.attempt.as_ref()?.touched.outside;
        (!outside.is_empty()).then(|| {
            let writes = &self.state.task(key).spec.writes;
            let may = if writes.is_empty() { "no file".to_owned() } else { writes.join(", ") };
            format!(
                "This subtask may change {may}, and these files changed too. Leave them as they were, and remove what was made:\n{}",
                outside.join("\n")
            )
        })
    }

    /// A small edit that turned out to be a large one.
    pub(super) fn too_many_lines(&self, key: Key) -> Option<u64> {
        let lines = self.state.work.get(&key)?.attempt.as_ref()?.touched.lines;
        (self.state.task(key).spec.kind == TaskType::SimpleEdit && lines > super::executor::SIMPLE_EDIT_LINES).then_some(lines)
    }
}

fn paths(conflicts: &[Conflict], wanted: impl Fn(&Conflict) -> bool) -> Vec<String> {
    let paths: BTreeSet<&String> = conflicts.iter().filter(|conflict| wanted(conflict)).map(|conflict| &conflict.path).collect();
    paths.into_iter().cloned().collect()
}

fn in_words(conflicts: &[Conflict]) -> String {
    let Some(first) = conflicts.first() else { return String::new() };
    let more = if conflicts.len() > 1 { format!(" and {} more", conflicts.len() - 1) } else { String::new() };
    format!("{} and {} changed {} in different ways{more}", first.first, first.second, first.path)
}
