//! Progress on standard error: a line for what a person would want to know.

use std::collections::HashSet;
use std::io::{IsTerminal as _, Write as _};

use brigade_kernel::call::ErrorClass;
use brigade_kernel::ids::SubtaskId;
use brigade_kernel::route::Repair;
use brigade_kernel::run::{Ask, CallResult, Event, State, SubtaskStatus};
use brigade_kernel::view::count;
use brigade_runtime::Recorded;
use indicatif::{ProgressBar, ProgressStyle};

use super::columns::{colours, one_line};
use super::living::Living;

/// Subtasks that get lines of their own; of larger plans the rest is counted.
const MOST_LINES: usize = 40;
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
    living: Living,
    told: Told,
}

/// What is told once, or only now and then.
#[derive(Debug, Default)]
struct Told {
    planned: usize,
    /// Money running short.
    short: bool,
    /// Trouble with the provider.
    trouble: HashSet<ErrorClass>,
}

impl Progress {
    /// For a run under way. Colours on a terminal, unless `NO_COLOR` is set.
    pub fn new(level: Level) -> Self {
        let live = level > Level::Silent && std::io::stderr().is_terminal();
        let bar = live.then(|| {
            let bar = ProgressBar::new_spinner();
            // One row, cut to the terminal. Without a style of ours, indicatif's own shows the same message.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>3} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { level, colour: colours(), record: false, bar, living: Living::default(), told: Told::default() }
    }

    /// For events of the past, on standard output.
    pub fn record(level: Level) -> Self {
        let colour = colours() && std::io::stdout().is_terminal();
        Self { level, colour, record: true, bar: None, living: Living::default(), told: Told::default() }
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
        let line = line.trim_end();
        // A closed stream leaves nobody to tell.
        self.aside(|| {
            let _ = if self.record { writeln!(std::io::stdout().lock(), "{line}") } else { writeln!(std::io::stderr().lock(), "{line}") };
        });
    }

    /// Takes one event in.
    pub fn saw(&mut self, recorded: &Recorded) {
        self.living.saw(&recorded.stamped.event);
        self.tell(recorded);
        self.show();
    }

    /// Starts from how the run stands before anything is shown.
    pub fn from_state(&mut self, state: &State) {
        self.living = Living::of(state);
        self.told.planned = state.tasks.len();
        self.show();
    }

    fn show(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message(self.living.text());
        }
    }

    fn tell(&mut self, recorded: &Recorded) {
        let verbose = self.level == Level::Verbose;
        match &recorded.stamped.event {
            Event::RunStarted(start) => {
                self.told = Told::default();
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
                self.told.planned += 1;
                if self.told.planned <= MOST_LINES || verbose {
                    let after = if subtask.depends_on.is_empty() {
                        String::new()
                    } else {
                        format!(" (after {})", subtask.depends_on.iter().map(|d| d.as_str()).collect::<Vec<_>>().join(", "))
                    };
                    let title = if subtask.title.is_empty() { String::new() } else { format!(" {}", subtask.title) };
                    self.line("planned", "36", &format!("{} [{}]{title}{after}", subtask.id, subtask.kind));
                } else if self.told.planned == MOST_LINES + 1 {
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
                self.line(
                    "replanned",
                    "36",
                    &format!("{} added, {} changed, {} dropped", patch.add.len(), patch.change.len(), patch.drop.len()),
                );
            }
            Event::Compacted { by, before, after, why, .. } => {
                use brigade_kernel::run::CompactBy;
                let by = if *by == CompactBy::Endpoint { "by its provider" } else { "by a summary" };
                let how = match why {
                    None => format!("is condensed {by}: about {before} tokens, now {after}"),
                    Some(why) => format!("could not be condensed {by}: {why}"),
                };
                self.line("condensed", "36", &format!("the planner's conversation {how}"));
            }
            Event::MergePlanned { subtask, files, .. } => {
                let sides: Vec<&str> = subtask.depends_on.iter().map(|id| id.as_str()).collect();
                self.line("conflict", "33", &format!("{} changed {}: {} merges them", sides.join(" and "), files.join(", "), subtask.id));
            }
            Event::ComposedChecked { unit, check, verdict, evidence, .. } => {
                use brigade_kernel::run::Verdict;
                let (word, colour) = if *verdict == Verdict::Pass { ("passed", "32") } else { ("failed", "31") };
                let last = telling(evidence);
                let shown = if last.is_empty() { String::new() } else { format!(": {last}") };
                self.line(word, colour, &format!("all together: check {check} of {unit}{shown}"));
            }
            Event::AttemptStarted { unit, attempt, tier, why, .. }
                if verbose || (unit.row.is_none() && self.living.done().1 <= MOST_LINES) =>
            {
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
            Event::AgentWorked { caller, deeds, .. } if verbose => {
                let who = match caller {
                    brigade_kernel::run::Caller::Executor { unit, .. } => unit.to_string(),
                    other => other.role().to_string(),
                };
                for deed in deeds {
                    let ended = if deed.ok == Some(false) { ": failed" } else { "" };
                    self.line("agent", "2", &format!("{who} {} {}{ended}", deed.kind, deed.what.lines().next().unwrap_or_default()));
                }
            }
            Event::CheckEnded { unit, check, verdict, evidence, reused_from, .. } if verbose || unit.row.is_none() => {
                use brigade_kernel::run::Verdict;
                let (word, colour) = if *verdict == Verdict::Pass { ("passed", "32") } else { ("failed", "31") };
                let last = telling(evidence);
                let shown = if last.is_empty() { String::new() } else { format!(": {last}") };
                let when = reused_from.as_ref().map(|run| format!(" in run {run}, on the same files")).unwrap_or_default();
                self.line(word, colour, &format!("{unit}: check {check}{when}{shown}"));
            }
            Event::Escalated { unit, from, to, why } if verbose || unit.row.is_none() => {
                self.line("escalate", "35", &format!("{unit}: {from} → {to}, {why}"));
            }
            Event::SubtaskEnded { unit, status, tier, cost_usd, error, reused_from, .. } => {
                if unit.row.is_some() {
                    return self.rows(&unit.subtask, verbose);
                }
                let (done, all) = self.living.done();
                if done > MOST_LINES && !done.is_multiple_of(100) && !verbose {
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
            Event::Reopened { unit, instructions, .. } if unit.row.is_none() || verbose => {
                self.line("again", "35", &format!("{unit} {}", instructions.lines().next().unwrap_or_default()));
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
            Event::QuotaParked { window, until, message, waits, .. } => {
                let until = until.map_or_else(String::new, |at| format!(" until {}", super::closing::instant(at)));
                self.line(if *waits { "waits" } else { "parked" }, "33", &format!("{window}{until}: {message}"));
            }
            Event::QuotaResumed { window } => self.line("goes on", "33", &format!("{window} has room again")),
            // Said with the parking that follows.
            Event::Halted { class: Some(ErrorClass::RateLimited | ErrorClass::Overloaded), .. } => {}
            Event::Halted { message, .. } => self.line("halted", "31", message),
            Event::RunPaused(summary) | Event::RunEnded(summary) if self.record => {
                let word = serde_json::to_value(summary.status).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
                self.line("stopped", "1", &format!("{word}, {}", summary.cost_usd));
            }
            // Said once: while calls in flight settle, the same cap refuses again and again.
            Event::LeaseRefused { message, .. } => {
                if verbose || !self.told.short {
                    self.line("budget", "33", message);
                }
                self.told.short = true;
            }
            // Said once: a hundred calls behind one limit all wait for the same thing.
            Event::CallEnded { result: CallResult::Failed { class, message, repair: Repair::Wait(_), .. }, .. }
                if self.told.trouble.insert(*class) || verbose =>
            {
                self.line("waits", "33", &format!("{class}, trying again: {message}"));
            }
            Event::BatchStarted { calls, model, .. } => {
                self.line("batch", "36", &format!("{} calls of {model} go as one batch; it may take hours", calls.len()));
            }
            Event::BatchEnded { status, .. } => self.line("batch", "36", status),
            Event::BudgetAlarm { message, .. } => self.line("alarm", "31", message),
            Event::Reviewed { verdict, summary, reused_from, .. } => {
                let verdict = serde_json::to_value(verdict).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
                let when = reused_from.as_ref().map(|run| format!(" in run {run}, of the same work")).unwrap_or_default();
                self.line("review", "36", &format!("{verdict}{when}: {summary}"));
            }
            Event::PatchApplied { error } => match error {
                None => self.line("applied", "32", "the patch is in the workspace"),
                Some(why) => self.line("kept", "33", &format!("the patch was not applied: {why}")),
            },
            Event::PatchUndone { .. } => self.line("undone", "33", "the patch was taken back out of the workspace"),
            _ => {}
        }
    }

    /// Rows that ended, now and then; where there is a living line it says so already.
    fn rows(&self, subtask: &SubtaskId, verbose: bool) {
        let (ended, total) = self.living.rows(subtask);
        // 100, 200 … 1,000, 2,000 … 10,000: ten lines for each order of magnitude.
        let step = 10_u64.pow(ended.checked_ilog10().unwrap_or_default()).max(100);
        if verbose || (self.bar.is_none() && (ended.is_multiple_of(step) || Some(ended) == total)) {
            let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
            self.line("rows", "32", &format!("{subtask}: {ended}{of} ended"));
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
