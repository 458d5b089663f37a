//! `brigade show`: one run from every side. Everything is a fold of its recorded events.

use std::io::{IsTerminal as _, Write as _};

use brigade_journal::Journal;
use brigade_kernel::ids::{RunId, SubtaskId};
use brigade_kernel::plan::{Plan, Stops};
use brigade_kernel::run::{Event, Run, SubtaskStatus, Unit};
use brigade_kernel::view::context::Contexts;
use brigade_kernel::view::cost::Bill;
use brigade_kernel::view::timeline::Folding;
use brigade_kernel::view::worth::Worth;
use brigade_kernel::view::{public, rfc3339, usd};
use brigade_runtime::home::events_of;
use brigade_runtime::record::{self, decode};
use brigade_runtime::{Home, perform};
use serde_json::{Value, json};

use crate::commands::run::run_id;
use crate::commands::{apply, inbox};
use crate::exit::{Exit, Failure};
use crate::screen::{Level, Progress, contexts, json_line, seen};
use crate::standing::{Standing, fold};
use crate::{session, wiring};

/// Failed rows shown; all of them are in the results.
const FAILED_ROWS: usize = 20;

/// Look closer at a run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run
    run: String,
    #[command(flatten)]
    side: Side,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// From which side; at most one.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Side {
    /// Everything that happened, in order
    #[arg(long)]
    events: bool,
    /// Where the time went
    #[arg(long)]
    timeline: bool,
    /// Where the money went
    #[arg(long)]
    cost: bool,
    /// The plan as JSON, for `brigade run --plan`; its drawing on standard error
    #[arg(long)]
    plan: bool,
    /// The patch
    #[arg(long)]
    patch: bool,
    /// What a subtask (or one row of it, ID[ROW]) was shown; without SUBTASK, how much all were
    #[arg(long, value_name = "SUBTASK", num_args = 0..=1)]
    context: Option<Option<String>>,
}

/// Does it.
///
/// # Errors
/// Exit 2 when there is no such run.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let home = wiring::open_home(&wiring::env())?;
    let id = run_id(&args.run)?;
    let journal = home.journal();
    session::start_of(&*journal, &id)?;
    let side = &args.side;
    if side.events {
        return events(&*journal, &id, args.json);
    }
    let text = if side.timeline {
        let mut folding = Folding::default();
        record::events(&*journal, &id, 1, |recorded| folding.saw(&recorded.stamped))?;
        let timeline = folding.timeline();
        if args.json { json!({ "wall_ms": timeline.wall, "lines": timeline.lines }).to_string() } else { seen::gantt(&timeline) }
    } else if side.cost {
        let mut bill = Bill::default();
        record::events(&*journal, &id, 1, |recorded| bill.saw(&recorded.stamped.event))?;
        if args.json { bill_object(&bill).to_string() } else { seen::bill(&bill) }
    } else if side.plan {
        let run = fold(&home, &id)?;
        if !args.json {
            let _ = write!(std::io::stderr(), "{}", seen::graph(run.state()));
        }
        let plan = plan_of(&run);
        serde_json::to_string_pretty(&plan).map_err(|e| Failure::failed(e.to_string()))?
    } else if let Some(of) = &side.context {
        context(&*journal, &id, of.as_deref(), args.json)?
    } else if side.patch {
        patch(&home, &*journal, &fold(&home, &id)?, args.json)?
    } else {
        let run = fold(&home, &id)?;
        let failed = failed_rows(&*journal, &run)?;
        if args.json { object(&home, &run, &failed).to_string() } else { seen::whole(&run, &Standing::of_run(&home, &run), &failed) }
    };
    // A closed stdout: the reader has seen enough.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    Ok(Exit::Done)
}

fn events(journal: &dyn Journal, id: &RunId, json: bool) -> Result<Exit, Failure> {
    if json {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let mut open = true;
        record::events(journal, id, 1, |recorded| {
            if let Some(event) = public(id, recorded.seq, &recorded.stamped).filter(|_| open) {
                open = out.write_all(json_line(&event).as_bytes()).is_ok();
            }
        })?;
        let _ = out.flush();
        return Ok(Exit::Done);
    }
    let mut lines = Progress::record(Level::Verbose);
    record::events(journal, id, 1, |recorded| lines.saw(&recorded))?;
    Ok(Exit::Done)
}

fn context(journal: &dyn Journal, id: &RunId, of: Option<&str>, json: bool) -> Result<String, Failure> {
    let unit = of.map(unit).transpose()?;
    let mut contexts = unit.clone().map_or_else(Contexts::default, Contexts::of);
    record::events(journal, id, 1, |recorded| contexts.saw(&recorded.stamped.event))?;
    let contexts = contexts.finish();
    let Some(unit) = unit else {
        return Ok(if json { contexts::sums_object(id, &contexts).to_string() } else { contexts::sums(&contexts) });
    };
    if contexts.shown.is_empty() {
        return Err(Failure::usage(format!("run {id} has made no attempt of {unit}; brigade show {id} lists its subtasks")));
    }
    Ok(if json { contexts::object(id, &unit, &contexts).to_string() } else { contexts::attempts(&unit, &contexts) })
}

/// `classify`, or `classify[3]` for one of its rows.
fn unit(text: &str) -> Result<Unit, Failure> {
    let (name, row) = match text.strip_suffix(']').and_then(|rest| rest.split_once('[')) {
        Some((name, row)) => (name, Some(row)),
        None => (text, None),
    };
    let bad = |why: String| Failure::usage(format!("--context {text:?}: {why}; write a subtask's id, or ID[ROW] with a row from 0"));
    let subtask = SubtaskId::new(name).map_err(|e| bad(e.to_string()))?;
    let row = row.map(|row| row.parse().map_err(|_| bad(format!("{row:?} is no row")))).transpose()?;
    Ok(Unit { subtask, row })
}

/// The plan as it stands, patches included: a plan file again.
fn plan_of(run: &Run) -> Plan {
    let state = run.state();
    let there = state.tasks.iter().filter(|t| t.status != Some(SubtaskStatus::Dropped));
    Plan {
        pipeline: state.start().pipeline.clone(),
        coordination_notes: state.notes.clone(),
        stops: Stops {
            canary: state.bulk.canary,
            max_failure_rate: state.bulk.max_failure_rate,
            max_escalation_rate: state.bulk.max_escalation_rate,
        },
        subtasks: there.map(|t| (*t.spec).clone()).collect(),
    }
}

fn patch(home: &Home, journal: &dyn Journal, run: &Run, json: bool) -> Result<String, Failure> {
    let id = run.state().run();
    let stored = run.state().patch.as_ref().filter(|p| !p.files.is_empty());
    let Some(stored) = stored else {
        // Not at its end yet: what is verified so far.
        if run.state().patch.is_none() && !run.state().changes.is_empty() {
            let text = apply::so_far(home, id, run.state())?.patch.text;
            return Ok(if json { json!({ "run_id": id, "partial": true, "patch": text }).to_string() } else { shown(text) });
        }
        return Err(Failure::usage(format!("run {id} changed no file")));
    };
    let patch =
        perform::patch_on_record(journal, &stored.blob).ok_or_else(|| Failure::failed("the patch is not in the journal any more"))?;
    if json {
        let applied = stored.applied.as_ref().map(|a| a.is_ok());
        let why = stored.applied.as_ref().and_then(|a| a.as_ref().err());
        return Ok(json!({ "run_id": id, "files": stored.files, "applied": applied, "error": why, "patch": patch.text }).to_string());
    }
    Ok(shown(patch.text))
}

fn shown(patch: String) -> String {
    if std::io::stdout().is_terminal() { brigade_tools::escape_for_screen(&patch).into_owned() } else { patch }
}

fn bill_object(bill: &Bill) -> Value {
    json!({
        "tiers": bill.tiers, "roles": bill.roles, "subtasks": bill.subtasks, "total": bill.total,
        "saving": bill.total.saving(), "in_flight": { "calls": bill.in_flight().0, "leased_usd": usd(bill.in_flight().1) },
    })
}

/// The first failed rows with their reasons.
fn failed_rows(journal: &dyn Journal, run: &Run) -> Result<Vec<(String, String)>, Failure> {
    let id = run.state().run();
    let mut failed: Vec<(String, String)> = Vec::new();
    if run.state().tasks.iter().all(|t| t.rows.failed == 0) {
        return Ok(failed);
    }
    let mut from = (0, 0);
    loop {
        let page = journal.read_keyed(&events_of(id), from, 1_024)?;
        let Some(last) = page.last() else { break };
        from = (last.key.unwrap_or_default(), last.seq + 1);
        for stored in page {
            let Event::SubtaskEnded { unit, status, error, .. } = decode(id, stored.seq, &stored.bytes)?.event else { continue };
            let name = unit.to_string();
            failed.pop_if(|last| last.0 == name);
            if status == SubtaskStatus::Failed {
                failed.push((name, error.unwrap_or_default()));
            }
        }
        // One more than is shown: a retry of the last one may stand on the next page.
        if failed.len() > FAILED_ROWS {
            break;
        }
    }
    failed.truncate(FAILED_ROWS);
    Ok(failed)
}

fn object(home: &Home, run: &Run, failed: &[(String, String)]) -> Value {
    let state = run.state();
    let (start, standing) = (state.start(), Standing::of_run(home, run));
    let subtasks: Vec<Value> = state
        .tasks
        .iter()
        .map(|t| {
            json!({
                "subtask": t.spec.id, "task_type": t.spec.kind, "title": t.spec.title, "depends_on": t.spec.depends_on,
                "state": seen::state_of(state, t), "tier": t.tier, "attempts": t.attempts, "cost_usd": usd(t.cost), "error": t.error,
                "rows": (t.rows.ended() > 0).then(|| json!({
                    "done": t.rows.done, "failed": t.rows.failed, "skipped": t.rows.skipped, "escalated": t.rows.escalated,
                })),
                "output": &*t.output,
            })
        })
        .collect();
    let open: Vec<Value> = state.inbox.iter().map(|(no, item)| inbox::object(run, state.run(), *no, item)).collect();
    let mut all = json!({
        "run_id": state.run(), "state": standing.word, "pid": standing.pid, "started_at": rfc3339(state.started_at),
        "request": start.request, "workspace": start.workspace, "offline": start.offline,
        "subtasks": subtasks, "inbox": open, "review": state.desk.summary,
        "failed_rows": failed.iter().map(|(unit, why)| json!({ "unit": unit, "error": why })).collect::<Vec<_>>(),
        "output": state.ended.as_ref().map(|s| s.output.as_str()),
        "cost_usd": usd(state.spent()), "all_flagship_cost_usd": usd(state.all_flagship), "usage": state.usage,
        "patch": state.patch.as_ref().map(|p| json!({ "files": p.files, "applied": p.applied.as_ref().map(|a| a.is_ok()) })),
    });
    let worth = Worth::so_far(state, run.now());
    all["duration_ms"] = worth.duration.0.into();
    if let (Some(all), Value::Object(worth)) = (all.as_object_mut(), worth.fields()) {
        all.extend(worth);
    }
    all
}
