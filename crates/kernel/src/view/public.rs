//! The event stream that others rely on: `--json`, `show --events --json`, the HTTP stream, the library.
//!
//! One object per line with `type`, `run_id`, `seq`, `at`; money as `*_usd`, decimal with at most nine places
//! (design.md "Faces"). Calls, tool calls and bookkeeping are ours: they are not part of this stream.

use serde_json::{Map, Number, Value, json};

use super::worth::Worth;
use crate::ids::RunId;
use crate::run::{Event, RunSummary, Stamped, Unit};
use crate::time::Timestamp;
use crate::units::NanoUsd;

/// The public form of a recorded event; `None` for what stays inside.
pub fn public(run: &RunId, seq: u64, stamped: &Stamped) -> Option<Value> {
    let (kind, fields) = fields(&stamped.event)?;
    let mut object = Map::new();
    object.insert("type".to_owned(), kind.into());
    object.insert("run_id".to_owned(), run.as_str().into());
    object.insert("seq".to_owned(), seq.into());
    object.insert("at".to_owned(), rfc3339(stamped.at).into());
    if let Value::Object(fields) = fields {
        object.extend(fields.into_iter().filter(|(_, v)| !v.is_null()));
    }
    Some(Value::Object(object))
}

/// Dollars as a JSON number with at most nine places, exactly.
pub fn usd(amount: NanoUsd) -> Value {
    // A decimal literal of ours is always a JSON number; its digits are kept as written.
    serde_json::from_str::<Number>(&amount.usd()).map_or(Value::Null, Value::Number)
}

fn unit(unit: &Unit) -> Value {
    json!({ "subtask": unit.subtask, "row": unit.row })
}

fn with(unit_of: &Unit, more: Value) -> Value {
    let (Value::Object(mut all), Value::Object(more)) = (unit(unit_of), more) else { return Value::Null };
    all.extend(more);
    Value::Object(all)
}

fn fields(event: &Event) -> Option<(&'static str, Value)> {
    Some(match event {
        Event::RunStarted(start) => {
            let files = start.instructions.iter();
            let files: Vec<Value> = files.map(|f| json!({ "path": f.path, "sha256": f.sha256, "trusted": f.trusted })).collect();
            let fields = json!({
                "instructions": if files.is_empty() { Value::Null } else { files.into() },
                "request": start.request, "workspace": start.workspace, "offline": start.offline,
                "run_usd": usd(start.policy.budget.run_usd),
            });
            ("run.started", fields)
        }
        Event::RunResumed {} => ("run.resumed", json!({})),
        Event::PlanSubtask { subtask, streamed } => {
            let fields = json!({
                "subtask": subtask.id, "title": subtask.title, "task_type": subtask.kind,
                "depends_on": subtask.depends_on, "streamed": streamed,
            });
            ("plan.subtask", fields)
        }
        Event::PlanFaulted { faults, mend } => ("plan.faulted", json!({ "faults": faults, "mend": mend })),
        Event::PlanCompleted { subtasks, coordination_notes, warnings, .. } => {
            ("plan.completed", json!({ "subtasks": subtasks, "coordination_notes": coordination_notes, "warnings": warnings }))
        }
        Event::Priced { preview, asks } => {
            let mut fields = preview.as_deref().map_or_else(|| json!({}), super::preview::object);
            fields["asks"] = (*asks).into();
            ("plan.priced", fields)
        }
        Event::PlanPatched { patch, by } => ("plan.patched", json!({ "patch": patch, "by": by })),
        Event::MergePlanned { subtask, files, .. } => {
            ("plan.patched", json!({ "patch": { "add": [subtask] }, "by": "merge", "files": files }))
        }
        Event::AttemptStarted { unit, attempt, tier, model, why } => {
            ("attempt.started", with(unit, json!({ "attempt": attempt, "tier": tier, "model": model, "why": why })))
        }
        Event::AttemptEnded { unit, attempt, tier, model, ending, accepted, reason, cost_usd, usage, .. } => {
            let fields = json!({
                "attempt": attempt, "tier": tier, "model": model, "ending": ending, "accepted": accepted,
                "reason": reason, "cost_usd": usd(*cost_usd), "usage": usage,
            });
            ("attempt.completed", with(unit, fields))
        }
        Event::CheckEnded { unit, attempt, tier, model, check, verdict, evidence, reused_from, ms } => {
            let fields = json!({
                "attempt": attempt, "tier": tier, "model": model, "check": check, "verdict": verdict,
                "evidence": evidence, "reused_from": reused_from, "duration_ms": ms,
            });
            ("check.completed", with(unit, fields))
        }
        Event::Escalated { unit, from, to, why } => ("subtask.escalated", with(unit, json!({ "from": from, "tier": to, "why": why }))),
        Event::SubtaskEnded { unit, status, kind, output, tier, model, attempts, cost_usd, error, reused_from, change } => {
            let fields = json!({
                "changed": change.is_some(), "status": status, "task_type": kind, "output": output, "tier": tier, "model": model,
                "attempts": attempts, "cost_usd": usd(*cost_usd), "error": error, "reused_from": reused_from,
            });
            ("subtask.completed", with(unit, fields))
        }
        Event::Reopened { unit, instructions, .. } => ("subtask.reopened", with(unit, json!({ "instructions": instructions }))),
        Event::LeaseRefused { role, scope, message, retry_at, .. } => {
            let retry_at = retry_at.map(rfc3339);
            ("budget.refused", json!({ "role": role, "scope": scope.to_string(), "message": message, "retry_at": retry_at }))
        }
        Event::Reserved { review_usd } => ("budget.reserved", json!({ "review_usd": usd(*review_usd) })),
        Event::QuotaParked { window, until, needed, left, message, waits } => {
            let fields = json!({
                "window": window, "until": until.map(rfc3339), "needed": needed, "left": left, "message": message, "waits": waits,
            });
            ("quota.parked", fields)
        }
        Event::QuotaReported { provider, windows, as_of } => {
            let window = |window: &crate::run::ReportedWindow| json!({ "minutes": window.minutes, "used_percent": window.used_percent, "resets_at": window.resets_at.map(rfc3339) });
            let windows: Vec<Value> = windows.iter().map(window).collect();
            ("quota.reported", json!({ "provider": provider, "windows": windows, "as_of": as_of.map(rfc3339) }))
        }
        Event::QuotaResumed { window } => ("quota.resumed", json!({ "window": window })),
        Event::CapRaised { run_usd } => ("budget.raised", json!({ "run_usd": usd(*run_usd) })),
        Event::BatchStarted { batch, model, calls, .. } => {
            ("batch.started", json!({ "batch": batch, "model": model, "calls": calls.len() }))
        }
        Event::BatchEnded { batch, status } => ("batch.completed", json!({ "batch": batch, "status": status })),
        Event::BudgetAlarm { message, .. } => ("budget.alarm", json!({ "message": message })),
        Event::InboxOpened { item, ask, unit: of, question, evidence, .. } => {
            let mut fields = json!({ "item": item, "ask": ask, "question": question, "evidence": evidence });
            if let (Some(of), Value::Object(fields)) = (of, &mut fields) {
                fields.insert("subtask".to_owned(), of.subtask.as_str().into());
                fields.insert("row".to_owned(), of.row.into());
            }
            ("inbox.opened", fields)
        }
        Event::InboxAnswered { item, reply } => ("inbox.answered", json!({ "item": item, "reply": reply })),
        Event::Told { text } => ("run.told", json!({ "text": text })),
        Event::Reviewed { round, verdict, summary, review, reused_from } => {
            let revisions = &review.revisions;
            let fields =
                json!({ "round": round, "verdict": verdict, "summary": summary, "revisions": revisions, "reused_from": reused_from });
            ("review.completed", fields)
        }
        Event::Composed { parts, .. } => {
            ("patch.composed", json!({ "parts": parts.iter().map(|p| p.unit.to_string()).collect::<Vec<_>>() }))
        }
        Event::ComposedChecked { unit, check, verdict, evidence, ms } => {
            ("patch.checked", with(unit, json!({ "check": check, "verdict": verdict, "evidence": evidence, "duration_ms": ms })))
        }
        Event::PartialApplied { files, .. } => ("patch.partial", json!({ "files": files })),
        Event::PatchUndone { files } => ("patch.undone", json!({ "files": files })),
        Event::PatchStored { files, .. } => ("patch.stored", json!({ "files": files })),
        Event::PatchApplied { error } => ("patch.applied", json!({ "error": error })),
        Event::RunPaused(summary) => ("run.paused", closing(summary)),
        Event::RunEnded(summary) => ("run.completed", closing(summary)),
        Event::Heard { .. }
        | Event::Repinned { .. }
        | Event::PlannerAsked { .. }
        | Event::ContextGathered { .. }
        | Event::Compacted { .. }
        | Event::CallStarted { .. }
        | Event::CallEnded { .. }
        | Event::AgentWorked { .. }
        | Event::BatchCreated { .. }
        | Event::ToolStarted { .. }
        | Event::ToolEnded { .. }
        | Event::RowsEnded { .. }
        | Event::Halted { .. }
        | Event::Cancelling {}
        | Event::Waits {}
        | Event::ReviewFailed { .. } => return None,
    })
}

fn closing(summary: &RunSummary) -> Value {
    let mut fields = json!({
        "status": summary.status,
        "output": summary.output,
        "error": summary.error,
        "retry_at": summary.retry_at.map(rfc3339),
        "cost_usd": usd(summary.cost_usd),
        "all_flagship_cost_usd": usd(summary.all_flagship_cost_usd),
        "duration_ms": summary.duration_ms,
        "usage": summary.usage,
    });
    if let (Some(fields), Value::Object(worth)) = (fields.as_object_mut(), Worth::from(summary).fields()) {
        fields.extend(worth);
    }
    fields
}

/// RFC 3339 UTC with milliseconds, e.g. `2026-11-21T07:05:09.123Z`.
pub fn rfc3339(at: Timestamp) -> String {
    let (days, ms) = (at.0 / 86_400_000, at.0 % 86_400_000);
    let (year, month, day) = crate::catalog::Day::of(at).ymd();
    debug_assert!(days < u64::from(u32::MAX));
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}
