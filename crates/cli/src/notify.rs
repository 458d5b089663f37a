//! Notifications: what a run came to, told to a person who looks elsewhere. Says how it stands in our own words and never in a model's.

use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Event, RunStatus, RunSummary};
use tokio::task::JoinSet;

use crate::config::Notify;
use crate::screen::instant;

/// Tells of one run.
#[derive(Debug)]
pub struct Notifier {
    run: String,
    commands: Vec<Vec<String>>,
    under_way: JoinSet<bool>,
}

impl Notifier {
    /// Nobody is told where nothing is configured.
    pub fn new(run: &RunId, notify: &Notify) -> Self {
        let path = std::env::var("PATH").unwrap_or_default();
        let desktop = notify.desktop.then(|| brigade_tools::notify::desktop(&path)).flatten();
        Self { run: run.to_string(), commands: notify.command.clone().into_iter().chain(desktop).collect(), under_way: JoinSet::new() }
    }

    /// Takes one event in.
    pub fn saw(&mut self, event: &Event) {
        if self.commands.is_empty() {
            return;
        }
        if let Some((title, body)) = words(event) {
            let body = format!("run {}: {body}", self.run);
            for command in &self.commands {
                let (command, body) = (command.clone(), body.clone());
                self.under_way.spawn(async move { brigade_tools::notify::notify(&command, title, &body).await });
            }
        }
    }

    /// Waits for what is being told; each is bounded.
    pub async fn close(mut self) {
        while self.under_way.join_next().await.is_some() {}
    }
}

fn words(event: &Event) -> Option<(&'static str, String)> {
    match event {
        // One that does not wait pauses at once, and that is told.
        Event::QuotaParked { window, until, waits: true, .. } => {
            let until = until.map_or_else(String::new, |at| format!(" until {}", instant(at)));
            Some(("brigade waits", format!("{window} has no room; it goes on by itself{until}")))
        }
        Event::QuotaResumed { window } => Some(("brigade goes on", format!("{window} has room again"))),
        Event::RunPaused(summary) => Some(("brigade paused", paused(summary))),
        Event::RunEnded(summary) => match summary.status {
            RunStatus::Completed => Some(("brigade is done", format!("completed, {}", summary.cost_usd))),
            RunStatus::Cancelled => Some(("brigade stopped", format!("cancelled, {}", summary.cost_usd))),
            _ => Some(("brigade failed", format!("failed, {}", summary.cost_usd))),
        },
        _ => None,
    }
}

fn paused(summary: &RunSummary) -> String {
    match summary.status {
        RunStatus::NeedsPerson => "it waits for a person: brigade inbox".to_owned(),
        RunStatus::BudgetReached => format!("its budget is reached, {} spent", summary.cost_usd),
        RunStatus::QuotaParked => match summary.retry_at {
            Some(at) => format!("its quota has no room until {}", instant(at)),
            None => "its quota has no room".to_owned(),
        },
        RunStatus::Cancelled => "interrupted; resume it to go on".to_owned(),
        RunStatus::Completed | RunStatus::Failed => format!("it stands still, {} spent", summary.cost_usd),
    }
}
