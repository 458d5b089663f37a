//! A run as text: whole, its bill, its time, its graph. Reads values; decides and prints nothing.

use std::fmt::Write as _;

use brigade_kernel::run::{Basis, Key, Run, State, SubtaskStatus, Task};
use brigade_kernel::units::NanoUsd;
use brigade_kernel::view::cost::{Bill, Spent, saving};
use brigade_kernel::view::timeline::{Line, Timeline};
use brigade_kernel::view::worth::Worth;
use brigade_kernel::view::{count, rfc3339};
use brigade_tools::escape_for_screen;

use super::columns::{Column, Table, cut, one_line, span};
use crate::standing::Standing;

/// Subtasks shown in a table; all of them are in `--json`.
const MOST: usize = 200;
/// Cells of a bar.
const BAR: u64 = 40;

/// How a subtask stands.
pub fn state_of(state: &State, task: &Task) -> &'static str {
    use brigade_kernel::run::Stage;
    let key = state.index.get(&task.spec.id).map(|&task| Key { task, row: None });
    match task.status {
        Some(SubtaskStatus::Done) => "done",
        Some(SubtaskStatus::Failed) => "failed",
        Some(SubtaskStatus::Skipped) => "skipped",
        Some(SubtaskStatus::Dropped) => "dropped",
        None => match key.and_then(|key| state.work.get(&key)).map(|w| w.stage) {
            Some(Stage::Ready) => "ready",
            Some(Stage::Planner) => "with the planner",
            Some(Stage::Person(_)) => "waits for a person",
            Some(_) => "started",
            None if task.rows.ended() > 0 => "started",
            None => "waiting",
        },
    }
}

/// Request, state, subtasks, inbox, review, result, cost.
pub fn whole(run: &Run, standing: &Standing, failed: &[(String, String)]) -> String {
    let state = run.state();
    let start = state.start();
    let mut text = String::new();
    let _ = writeln!(text, "run {}: {standing}, started {}", state.run(), rfc3339(state.started_at));
    if let Some(example) = &start.offline {
        let _ = writeln!(text, "offline: the models are scripted by {}, everything else is real", one_line(example));
    }
    if !start.request.is_empty() {
        let _ = writeln!(text, "\n{}", escape_for_screen(start.request.trim_end()));
    }
    if !state.tasks.is_empty() {
        let _ = write!(text, "\n{}", subtasks(state));
    }
    if !failed.is_empty() {
        let _ = writeln!(text, "\nfailed rows{}:", if failed.len() == 20 { " (the first 20)" } else { "" });
        for (unit, why) in failed {
            let _ = writeln!(text, "  {unit}: {}", cut(why, 140));
        }
    }
    if !state.inbox.is_empty() {
        let _ = writeln!(text, "\nwaits for a person:");
        for (no, item) in &state.inbox {
            let _ = writeln!(text, "{}", crate::commands::inbox::words(run, state.run(), *no, item));
        }
    }
    if !state.desk.summary.is_empty() {
        let _ = writeln!(text, "\nreview: {}", escape_for_screen(state.desk.summary.trim_end()));
    }
    if let Some(patch) = state.patch.as_ref().filter(|p| !p.files.is_empty()) {
        let fate = match &patch.applied {
            Some(Ok(())) => "applied".to_owned(),
            Some(Err(why)) => format!("not applied: {}", one_line(why)),
            None => format!("kept; brigade apply {}", state.run()),
        };
        let _ = writeln!(text, "\npatch: {} ({fate})", patch.files.iter().map(|f| one_line(f)).collect::<Vec<_>>().join(", "));
    }
    if let Some(ended) = &state.ended {
        let _ = writeln!(text, "\n{}", escape_for_screen(ended.output.trim_end()));
    }
    let worth = Worth::so_far(state, run.now());
    let _ = writeln!(text, "\n{}\n{}", spent(&worth), rates(&worth));
    text
}

fn subtasks(state: &State) -> String {
    let mut table = Table::new(&[
        ("subtask", Column::Text(40)),
        ("type", Column::Text(12)),
        ("state", Column::Text(32)),
        ("tier", Column::Text(10)),
        ("tries", Column::Number),
        ("cost", Column::Number),
        ("error", Column::Text(70)),
    ]);
    for task in state.tasks.iter().take(MOST) {
        let rows = task.rows;
        let stands =
            if rows.ended() == 0 { state_of(state, task).to_owned() } else { format!("{} of {} rows done", rows.done, rows.ended()) };
        let why = match (&task.error, rows.failed) {
            (Some(why), _) => why.clone(),
            (None, 0) => String::new(),
            (None, failed) => format!("{} failed", count(failed, "row", "rows")),
        };
        let tier = task.tier.as_ref().map(ToString::to_string).unwrap_or_default();
        table.row([
            task.spec.id.to_string(),
            task.spec.kind.to_string(),
            stands,
            tier,
            task.attempts.to_string(),
            task.cost.to_string(),
            why,
        ]);
    }
    let mut text = table.shown();
    if state.tasks.len() > MOST {
        let _ = writeln!(text, "… and {} more (--json shows all)", state.tasks.len() - MOST);
    }
    text
}

/// `spent $0.01, all on the flagship $0.04 (computed), saved $0.03 (75 %)`.
pub fn against_flagship(spent: &Spent) -> String {
    beside(spent.cost, spent.all_flagship, Basis::Computed)
}

fn beside(cost: NanoUsd, all_flagship: NanoUsd, basis: Basis) -> String {
    let saved = match saving(cost, all_flagship) {
        None => String::new(),
        Some(share) if share >= 0.0 => format!(", saved {} ({:.0} %)", all_flagship.saturating_sub(cost), share * 100.0),
        Some(share) => format!(", {} more ({:.0} %)", cost.saturating_sub(all_flagship), -share * 100.0),
    };
    format!("spent {cost}, all on the flagship {all_flagship} ({}){saved}", basis.as_str())
}

/// The bill beside the flagship's, in money and, where calls count against a quota, in units.
pub fn spent(worth: &Worth) -> String {
    let money = beside(worth.cost, worth.all_flagship, worth.basis);
    if worth.units.is_zero() && worth.all_flagship_units.is_zero() {
        return money;
    }
    let saved = worth.units_saving().map_or_else(String::new, |share| format!(", saved {:.0} %", share * 100.0));
    format!("{money}; {} units of the quota, all on the flagship {}{saved}", worth.units, worth.all_flagship_units)
}

/// Accepted results per minute, per dollar and per question to a person; and what waiting cost.
pub fn rates(worth: &Worth) -> String {
    let rate = |of: Option<f64>| of.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}"));
    let review = worth.per_review().map_or_else(|| "no human review".to_owned(), |per| format!("{per:.1} per human review"));
    let stood = match worth.waited.stood_ms.0 {
        0 => String::new(),
        ms => format!(" ({})", span(ms)),
    };
    format!(
        "accepted results: {} a minute, {} a dollar, {review}; {} while waiting{stood}",
        rate(worth.per_minute()),
        rate(worth.per_usd()),
        count(worth.waited.tokens, "token", "tokens"),
    )
}

/// By tier, role and subtask.
pub fn bill(bill: &Bill) -> String {
    let mut text = String::new();
    text.push_str(&part("tier", bill.tiers.iter().map(|(tier, spent)| (tier.to_string(), spent))));
    text.push('\n');
    text.push_str(&part("role", bill.roles.iter().map(|(role, spent)| (role.to_string(), spent))));
    if !bill.subtasks.is_empty() {
        let mut dearest: Vec<_> = bill.subtasks.iter().collect();
        dearest.sort_by_key(|(_, spent)| std::cmp::Reverse(spent.cost));
        let left = dearest.len().saturating_sub(MOST);
        text.push('\n');
        text.push_str(&part("subtask", dearest.into_iter().take(MOST).map(|(id, spent)| (id.to_string(), spent))));
        if left > 0 {
            let _ = writeln!(text, "… and {left} cheaper ones (--json shows all)");
        }
    }
    let _ = writeln!(text, "\n{}", against_flagship(&bill.total));
    let (open, leased) = bill.in_flight();
    if open > 0 {
        let _ = writeln!(text, "{} under way or lost, {leased} leased for them", count(open as u64, "call", "calls"));
    }
    text
}

/// A share in whole percent, or a dash where there is nothing to share.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0))
}

fn part<'a>(what: &str, lines: impl Iterator<Item = (String, &'a Spent)>) -> String {
    let mut table = Table::new(&[
        (what, Column::Text(40)),
        ("calls", Column::Number),
        ("input", Column::Number),
        ("cached", Column::Number),
        ("of it", Column::Number),
        ("output", Column::Number),
        ("reasoning", Column::Number),
        ("cost", Column::Number),
        ("all flagship (computed)", Column::Number),
    ]);
    for (name, spent) in lines {
        let tokens = spent.tokens;
        let numbers =
            [spent.calls, tokens.input_tokens, tokens.cached_tokens, tokens.output_tokens, tokens.reasoning_tokens].map(|n| n.to_string());
        let [calls, input, cached, output, reasoning] = numbers;
        let share = percent(spent.cached_share());
        table.row([name, calls, input, cached, share, output, reasoning, spent.cost.to_string(), spent.all_flagship.to_string()]);
    }
    table.shown()
}

/// Bars on one scale; `*` marks the critical path.
pub fn gantt(timeline: &Timeline) -> String {
    let mut table = Table::new(&[
        ("", Column::Text(1)),
        ("subtask", Column::Text(32)),
        ("time", Column::Text(BAR as usize)),
        ("from s", Column::Number),
        ("to s", Column::Number),
        ("model", Column::Number),
        ("tool", Column::Number),
        ("check", Column::Number),
        ("queue", Column::Number),
    ]);
    let seconds = |ms: u64| format!("{:.1}", ms as f64 / 1_000.0);
    for line in timeline.lines.iter().take(MOST) {
        let name = if line.rows > 0 { format!("{} ({} rows)", line.who, line.rows) } else { line.who.to_string() };
        table.row([
            if line.critical { "*".to_owned() } else { String::new() },
            name,
            bar(line, timeline.wall.0),
            seconds(line.from.0),
            seconds(line.to.0),
            seconds(line.model.0),
            seconds(line.tool.0),
            seconds(line.check.0),
            line.queue.map_or_else(|| "–".to_owned(), |q| seconds(q.0)),
        ]);
    }
    let mut text = table.shown();
    if timeline.lines.len() > MOST {
        let _ = writeln!(text, "… and {} more (--json shows all)", timeline.lines.len() - MOST);
    }
    let sum = |part: fn(&Line) -> u64| seconds(timeline.lines.iter().map(part).sum());
    let _ = writeln!(
        text,
        "{} s in all; work: model {} s, tools {} s, checks {} s; · waits, ━ works, * critical path",
        seconds(timeline.wall.0),
        sum(|l| l.model.0),
        sum(|l| l.tool.0),
        sum(|l| l.check.0),
    );
    text
}

/// Blank until ready, dotted while waiting, solid while worked on.
fn bar(line: &Line, wall: u64) -> String {
    let cell = |ms: u64| (ms * BAR).checked_div(wall).unwrap_or_default().min(BAR - 1);
    let (ready, from, to) = (cell(line.ready.0), cell(line.from.0), cell(line.to.0));
    (0..=to)
        .map(|at| {
            if at >= from {
                '━'
            } else if at >= ready {
                '·'
            } else {
                ' '
            }
        })
        .collect()
}

/// The graph by layers: what can run at once stands together, arrows point at what must come first.
pub fn graph(state: &State) -> String {
    let tasks = &state.tasks;
    let mut layer: Vec<usize> = vec![0; tasks.len()];
    // Dependencies may stand behind what hangs on them: as often as the graph is deep.
    for _ in 0..tasks.len() {
        let mut moved = false;
        for (i, task) in tasks.iter().enumerate() {
            let deepest = task.deps.iter().map(|d| layer[*d as usize] + 1).max().unwrap_or_default();
            moved |= deepest > layer[i];
            layer[i] = layer[i].max(deepest);
        }
        if !moved {
            break;
        }
    }
    let mut order: Vec<usize> = (0..tasks.len()).filter(|i| tasks[*i].status != Some(SubtaskStatus::Dropped)).collect();
    order.sort_by_key(|i| layer[*i]);
    let mut table = Table::new(&[
        ("", Column::Number),
        ("subtask", Column::Text(40)),
        ("type", Column::Text(12)),
        ("state", Column::Text(20)),
        ("hangs on", Column::Text(60)),
    ]);
    let mut last = usize::MAX;
    for i in order.iter().copied().take(MOST) {
        let task = &tasks[i];
        let number = if layer[i] == last { String::new() } else { (layer[i] + 1).to_string() };
        last = layer[i];
        let deps: Vec<&str> = task.deps.iter().map(|d| tasks[*d as usize].spec.id.as_str()).collect();
        let deps = if deps.is_empty() { String::new() } else { format!("◄─ {}", deps.join(", ")) };
        table.row([number, task.spec.id.to_string(), task.spec.kind.to_string(), state_of(state, task).to_owned(), deps]);
    }
    let mut text = table.shown();
    if order.len() > MOST {
        let _ = writeln!(text, "… and {} more", order.len() - MOST);
    }
    text
}
