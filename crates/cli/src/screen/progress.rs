//! Progress on standard error: a line for what a person would want to know.

use std::collections::HashSet;
use std::io::{IsTerminal as _, Write as _};

use brigade_kernel::call::ErrorClass;
use brigade_kernel::ids::SubtaskId;
use brigade_kernel::route::Repair;
use brigade_kernel::run::{Ask, CallResult, Event, State, SubtaskStatus};
use brigade_kernel::units::NanoUsd;
use brigade_kernel::view::count;
use brigade_runtime::Recorded;
use indicatif::{ProgressBar, ProgressStyle};

use super::columns::{colours, one_line};

/// How often the living line moves while nothing happens.
const TICK: std::time::Duration = std::time::Duration::from_millis(250);

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Silent,
    /// What happens to subtasks.
    Normal,
    /// Every attempt and check.
    Verbose,
}

/// Shows events as they become durable: a line for each that matters, and on a terminal one living line below them.
#[derive(Debug)]
pub struct Progress {
    level: Level,
    colour: bool,
    /// Lines are the result: they go to standard output.
    record: bool,
    bar: Option<ProgressBar>,
    counts: Counts,
}

/// What the living line says.
#[derive(Debug, Default)]
struct Counts {
    done: HashSet<SubtaskId>,
    all: u64,
    rows: u64,
    running: u64,
    waiting: u64,
    cost: NanoUsd,
    /// Money running short was told.
    short: bool,
    /// Trouble with the provider that was told.
    trouble: HashSet<ErrorClass>,
    /// Taken from the state, which has events in it that are still to be shown.
    ahead: bool,
}

impl Progress {
    /// For a run under way. Colours on a terminal, unless `NO_COLOR` is set.
    pub fn new(level: Level) -> Self {
        let live = level > Level::Silent && std::io::stderr().is_terminal();
        let bar = live.then(|| {
            let bar = ProgressBar::new_spinner();
            // Without a style of ours, indicatif's own shows the same message.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { level, colour: colours(), record: false, bar, counts: Counts::default() }
    }

    /// For events of the past, on standard output.
    pub fn record(level: Level) -> Self {
        let colour = colours() && std::io::stdout().is_terminal();
        Self { level, colour, record: true, bar: None, counts: Counts::default() }
    }

    /// A line that no event stands for.
    pub fn note(&mut self, text: &str) {
        self.line("note", "33", text);
    }

    /// Does something that writes to the same terminal.
    pub fn aside<T>(&self, act: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(act),
            None => act(),
        }
    }

    fn line(&self, word: &str, colour: &str, text: &str) {
        if self.level == Level::Silent {
            return;
        }
        let text = one_line(text);
        let line = if self.colour { format!("\x1b[{colour}m{word:>9}\x1b[0m {text}") } else { format!("{word:>9} {text}") };
        // A closed stream leaves nobody to tell.
        self.aside(|| {
            let _ = if self.record { writeln!(std::io::stdout().lock(), "{line}") } else { writeln!(std::io::stderr().lock(), "{line}") };
        });
    }

    /// What the living line says: only what events said.
    fn live(&mut self, event: &Event) {
        let counts = &mut self.counts;
        match event {
            Event::AttemptStarted { .. } => counts.running += 1,
            Event::AttemptEnded { .. } => counts.running = counts.running.saturating_sub(1),
            Event::RunPaused(_) => counts.running = 0,
            Event::RunResumed {} => (counts.running, counts.ahead) = (0, false),
            Event::CallEnded { cost_usd, sent: true, .. } if !counts.ahead => counts.cost += *cost_usd,
            Event::InboxOpened { .. } => counts.waiting += 1,
            Event::InboxAnswered { .. } => counts.waiting = counts.waiting.saturating_sub(1),
            _ => {}
        }
        let Some(bar) = &self.bar else { return };
        let rows = if counts.rows > 0 { format!(", {}", count(counts.rows, "row", "rows")) } else { String::new() };
        let waiting = if counts.waiting > 0 { format!(", {} in the inbox", counts.waiting) } else { String::new() };
        bar.set_message(format!(
            "{} of {} done{rows}, {} running{waiting}, {}",
            counts.done.len(),
            counts.all,
            counts.running,
            counts.cost
        ));
    }

    /// Takes one event in.
    pub fn saw(&mut self, recorded: &Recorded) {
        self.told(recorded);
        self.live(&recorded.stamped.event);
    }

    /// Starts from how the run stands before anything is shown.
    pub fn from_state(&mut self, state: &State) {
        let ended = state.tasks.iter().filter(|t| t.status.is_some());
        self.counts = Counts {
            short: self.counts.short,
            trouble: std::mem::take(&mut self.counts.trouble),
            done: ended.map(|t| t.spec.id.clone()).collect(),
            all: state.tasks.len() as u64,
            rows: state.tasks.iter().map(|t| t.rows.ended()).sum(),
            running: 0,
            waiting: state.inbox.len() as u64,
            cost: state.spent(),
            ahead: true,
        };
    }

    fn told(&mut self, recorded: &Recorded) {
        let verbose = self.level == Level::Verbose;
        match &recorded.stamped.event {
            Event::RunStarted(start) => {
                self.counts = Counts::default();
                let scripted =
                    start.offline.as_ref().map(|e| format!(" (offline: the models are scripted by {e}, everything else is real)"));
                self.line("run", "1", &format!("{}{}", start.run, scripted.unwrap_or_default()));
                if start.offline.is_some() {
                    self.line("workspace", "2", &format!("{} (a copy)", start.workspace));
                }
                self.line("budget", "2", &format!("at most {}", start.policy.budget.run_usd));
            }
            Event::RunResumed {} => self.line("resumed", "1", ""),
            Event::PlanSubtask { subtask, .. } => {
                self.counts.all += 1;
                if self.counts.all <= 40 || verbose {
                    let after = if subtask.depends_on.is_empty() {
                        String::new()
                    } else {
                        format!(" (after {})", subtask.depends_on.iter().map(|d| d.as_str()).collect::<Vec<_>>().join(", "))
                    };
                    self.line("planned", "36", &format!("{} [{}] {}{after}", subtask.id, subtask.kind, subtask.title));
                } else if self.counts.all == 41 {
                    self.line("planned", "36", "… and more");
                }
            }
            Event::PlanCompleted { subtasks, warnings, .. } => {
                self.line("plan", "36", &count(u64::from(*subtasks), "subtask", "subtasks"));
                for warning in warnings.iter().take(10) {
                    self.line("warning", "33", warning);
                }
            }
            Event::PlanFaulted { faults, mend } => {
                self.line("faulty", "33", &format!("the plan goes back for mending, try {mend} of 2: {}", faults.join("; ")))
            }
            Event::PlanPatched { patch, .. } => {
                self.counts.all += patch.add.len() as u64;
                self.line(
                    "replanned",
                    "36",
                    &format!("{} added, {} changed, {} dropped", patch.add.len(), patch.change.len(), patch.drop.len()),
                );
            }
            Event::AttemptStarted { unit, attempt, tier, why, .. } if verbose || (unit.row.is_none() && self.counts.all <= 40) => {
                let no = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                self.line("start", "2", &format!("{unit} on {tier}{no}: {why}"));
            }
            Event::ToolEnded { unit, name, output, .. } if verbose => {
                self.line(
                    "tool",
                    "2",
                    &format!("{unit} {name}: {}", if output.ok { "ok" } else { output.error.as_deref().unwrap_or("failed") }),
                );
            }
            Event::CheckEnded { unit, check, verdict, evidence, .. } if verbose || unit.row.is_none() => {
                use brigade_kernel::run::Verdict;
                let (word, colour) = if *verdict == Verdict::Pass { ("passed", "32") } else { ("failed", "31") };
                let last = telling(evidence);
                let shown = if last.is_empty() { String::new() } else { format!(": {last}") };
                self.line(word, colour, &format!("{unit}: check {check}{shown}"));
            }
            Event::Escalated { unit, from, to, why } if verbose || unit.row.is_none() => {
                self.line("escalate", "35", &format!("{unit}: {from} → {to}, {why}"));
            }
            Event::SubtaskEnded { unit, status, tier, cost_usd, error, reused_from, .. } => {
                if unit.row.is_some() {
                    self.counts.rows += 1;
                    if self.counts.rows.is_multiple_of(100) || verbose {
                        self.line("rows", "32", &format!("{} ended", self.counts.rows));
                    }
                    return;
                }
                self.counts.done.insert(unit.subtask.clone());
                let (done, all) = (self.counts.done.len(), self.counts.all);
                if done > 40 && !done.is_multiple_of(100) && !verbose {
                    return;
                }
                let (word, colour) = match status {
                    SubtaskStatus::Done => ("done", "32"),
                    SubtaskStatus::Failed => ("failed", "31"),
                    SubtaskStatus::Skipped | SubtaskStatus::Dropped => ("skipped", "2"),
                };
                let by = tier.as_ref().map(|t| format!(" on {t}")).unwrap_or_default();
                let paid = match reused_from {
                    Some(run) => format!(", taken from run {run}"),
                    None => format!(", {cost_usd}"),
                };
                let why = error.as_ref().map(|e| format!(": {}", e.lines().next().unwrap_or_default())).unwrap_or_default();
                self.line(word, colour, &format!("{unit}{by}{paid} ({done} of {all}){why}"));
            }
            Event::InboxOpened { item, ask, question, .. } => {
                let word = if *ask == Ask::Account { "account" } else { "inbox" };
                self.line(word, "33", &format!("#{item} {question}"));
            }
            Event::Reopened { unit, instructions } => {
                if unit.row.is_none() {
                    self.counts.done.remove(&unit.subtask);
                }
                if unit.row.is_none() || verbose {
                    self.line("again", "35", &format!("{unit} {instructions}"));
                }
            }
            Event::InboxAnswered { item, reply } => {
                use brigade_kernel::run::Reply;
                let said = match reply {
                    Reply::Approve => "approved",
                    Reply::Reject => "rejected",
                    Reply::Text { text } => text,
                };
                self.line("answered", "33", &format!("#{item} {said}"));
            }
            Event::Told { text } => self.line("told", "33", text),
            Event::CapRaised { run_usd } => self.line("budget", "2", &format!("at most {run_usd} from here on")),
            Event::Cancelling {} => self.line("cancel", "33", "ending what is under way"),
            Event::Halted { message, .. } => self.line("halted", "31", message),
            Event::RunPaused(summary) | Event::RunEnded(summary) if self.record => {
                let word = serde_json::to_value(summary.status).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
                self.line("stopped", "1", &format!("{word}, {}", summary.cost_usd));
            }
            // Said once: while calls in flight settle, the same cap refuses again and again.
            Event::LeaseRefused { message, .. } => {
                if verbose || !self.counts.short {
                    self.line("budget", "33", message);
                }
                self.counts.short = true;
            }
            // Said once: a hundred calls behind one limit all wait for the same thing.
            Event::CallEnded { result: CallResult::Failed { class, message, repair: Repair::Wait(_), .. }, .. } => {
                if self.counts.trouble.insert(*class) || verbose {
                    self.line("waits", "33", &format!("{class}, trying again: {message}"));
                }
            }
            Event::BudgetAlarm { message, .. } => self.line("alarm", "31", message),
            Event::Reviewed { verdict, summary, .. } => {
                let verdict = serde_json::to_value(verdict).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
                self.line("review", "36", &format!("{verdict}: {summary}"));
            }
            Event::PatchApplied { error } => match error {
                None => self.line("applied", "32", "the patch is in the workspace"),
                Some(why) => self.line("kept", "33", &format!("the patch was not applied: {why}")),
            },
            _ => {}
        }
    }

    /// Nothing more comes: the living line goes.
    pub fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// The line of a check's output that says most: a test runner's count, else the last one.
fn telling(evidence: &str) -> &str {
    let mut lines = evidence.lines().rev().map(str::trim).filter(|l| !l.is_empty());
    let count = evidence.lines().rev().map(str::trim).find(|l| l.contains("passed") && l.contains("failed"));
    count.or_else(|| lines.next()).unwrap_or_default()
}
