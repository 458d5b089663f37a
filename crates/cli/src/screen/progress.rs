//! Progress on standard error: a line for what a person would want to know.

use std::io::{IsTerminal as _, Write as _};

use brigade_kernel::run::{Ask, Event, SubtaskStatus};
use brigade_kernel::view::count;
use brigade_runtime::Recorded;
use brigade_tools::escape_for_screen;

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

/// Shows events as they become durable.
#[derive(Debug)]
pub struct Progress {
    level: Level,
    colour: bool,
    done: u64,
    all: u64,
    rows: u64,
}

impl Progress {
    /// Colours on a terminal, unless `NO_COLOR` is set.
    pub fn new(level: Level) -> Self {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { level, colour, done: 0, all: 0, rows: 0 }
    }

    /// A line that no event stands for.
    pub fn note(&mut self, text: &str) {
        self.line("note", "33", text);
    }

    fn line(&self, word: &str, colour: &str, text: &str) {
        if self.level == Level::Silent {
            return;
        }
        let text = escape_for_screen(text);
        let mut err = std::io::stderr().lock();
        // A closed stderr leaves nobody to tell.
        let _ = if self.colour { writeln!(err, "\x1b[{colour}m{word:>9}\x1b[0m {text}") } else { writeln!(err, "{word:>9} {text}") };
    }

    /// Takes one event in.
    pub fn saw(&mut self, recorded: &Recorded) {
        let verbose = self.level == Level::Verbose;
        match &recorded.stamped.event {
            Event::RunStarted(start) => {
                let scripted = start.offline.as_ref().map(|e| format!(" (offline: the models are scripted by {e}, everything else is real)"));
                self.line("run", "1", &format!("{}{}", start.run, scripted.unwrap_or_default()));
                self.line("budget", "2", &format!("at most {}", start.policy.budget.run_usd));
            }
            Event::RunResumed {} => self.line("resumed", "1", ""),
            Event::PlanSubtask { subtask, .. } => {
                self.all += 1;
                if self.all <= 40 || verbose {
                    let after = if subtask.depends_on.is_empty() {
                        String::new()
                    } else {
                        format!(" (after {})", subtask.depends_on.iter().map(|d| d.as_str()).collect::<Vec<_>>().join(", "))
                    };
                    self.line("planned", "36", &format!("{} [{}] {}{after}", subtask.id, subtask.kind, subtask.title));
                } else if self.all == 41 {
                    self.line("planned", "36", "… and more");
                }
            }
            Event::PlanCompleted { subtasks, warnings, .. } => {
                self.line("plan", "36", &count(u64::from(*subtasks), "subtask", "subtasks"));
                for warning in warnings.iter().take(10) {
                    self.line("warning", "33", warning);
                }
            }
            Event::PlanFaulted { faults, mend } => self.line("faulty", "33", &format!("the plan goes back for mending, try {mend} of 2: {}", faults.join("; "))),
            Event::PlanPatched { patch, .. } => {
                self.all += patch.add.len() as u64;
                self.line("replanned", "36", &format!("{} added, {} changed, {} dropped", patch.add.len(), patch.change.len(), patch.drop.len()));
            }
            Event::AttemptStarted { unit, attempt, tier, why, .. } if verbose || (unit.row.is_none() && self.all <= 40) => {
                let no = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                self.line("start", "2", &format!("{unit} on {tier}{no}: {why}"));
            }
            Event::ToolEnded { unit, name, output, .. } if verbose => {
                self.line("tool", "2", &format!("{unit} {name}: {}", if output.ok { "ok" } else { output.error.as_deref().unwrap_or("failed") }));
            }
            Event::CheckEnded { unit, check, verdict, evidence, .. } if verbose || unit.row.is_none() => {
                use brigade_kernel::run::Verdict;
                let (word, colour) = if *verdict == Verdict::Pass { ("passed", "32") } else { ("failed", "31") };
                let last = telling(evidence);
                self.line(word, colour, &format!("{unit}: check {check} {last}"));
            }
            Event::Escalated { unit, from, to, why } if verbose || unit.row.is_none() => {
                self.line("escalate", "35", &format!("{unit}: {from} → {to}, {why}"));
            }
            Event::SubtaskEnded { unit, status, tier, cost_usd, error, reused_from, .. } => {
                if unit.row.is_some() {
                    self.rows += 1;
                    if self.rows.is_multiple_of(100) || verbose {
                        self.line("rows", "32", &format!("{} done", self.rows));
                    }
                    return;
                }
                self.done += 1;
                if self.done > 40 && !self.done.is_multiple_of(100) && !verbose {
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
                self.line(word, colour, &format!("{unit}{by}{paid} ({} of {}){why}", self.done, self.all));
            }
            Event::InboxOpened { item, ask, question, .. } => {
                let word = if *ask == Ask::Account { "account" } else { "inbox" };
                self.line(word, "33", &format!("#{item} {question}"));
            }
            Event::LeaseRefused { message, .. } => self.line("budget", "33", message),
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

    /// Nothing more comes.
    pub fn close(&mut self) {}
}

/// The line of a check's output that says most: a test runner's count, else the last one.
fn telling(evidence: &str) -> &str {
    let mut lines = evidence.lines().rev().map(str::trim).filter(|l| !l.is_empty());
    let count = evidence.lines().rev().map(str::trim).find(|l| l.contains("passed") && l.contains("failed"));
    count.or_else(|| lines.next()).unwrap_or_default()
}
