//! Lines of `codex exec --json` (@openai/codex 0.169.0). Usage comes once, at the end of the turn.

use brigade_kernel::usage::Usage;
use serde_json::Value;

use super::report::{Report, text, tokens};

pub(super) fn line(report: &mut Report, line: &Value) {
    match text(line, "type") {
        "item.completed" => item(report, line.get("item").unwrap_or(&Value::Null)),
        "turn.completed" => {
            report.finished = true;
            report.failed = false;
            report.usage = line.get("usage").and_then(usage).or(report.usage);
        }
        "turn.failed" => {
            report.failed = true;
            report.usage = line.get("usage").and_then(usage).or(report.usage);
            report.complain(text(line.get("error").unwrap_or(&Value::Null), "message"));
        }
        // It says so before each try, and why once more when it has given up.
        "error" if text(line, "message").starts_with("Reconnecting") => {}
        "error" => report.complain(text(line, "message")),
        _ => {}
    }
}

fn item(report: &mut Report, item: &Value) {
    match text(item, "type") {
        "agent_message" => report.answer(text(item, "text")),
        "command_execution" => {
            let ok = item.get("exit_code").and_then(Value::as_i64).map(|code| code == 0);
            report.did("command", text(item, "command"), ok);
        }
        "file_change" => {
            let ok = Some(text(item, "status") == "completed");
            for change in item.get("changes").and_then(Value::as_array).into_iter().flatten() {
                report.did("file", &format!("{} {}", text(change, "kind"), text(change, "path")), ok);
            }
        }
        "mcp_tool_call" => report.did("tool", &format!("{} {}", text(item, "server"), text(item, "tool")), None),
        "web_search" => report.did("tool", &format!("web search {}", text(item, "query")), None),
        "error" => report.did("note", text(item, "message"), None),
        _ => {}
    }
}

fn usage(of: &Value) -> Option<Usage> {
    let (input_tokens, output_tokens) = (tokens(of, "input_tokens")?, tokens(of, "output_tokens")?);
    Some(Usage {
        input_tokens,
        cached_tokens: tokens(of, "cached_input_tokens").unwrap_or(0).min(input_tokens),
        cache_write_tokens: tokens(of, "cache_write_input_tokens").unwrap_or(0),
        output_tokens,
        reasoning_tokens: tokens(of, "reasoning_output_tokens").unwrap_or(0).min(output_tokens),
    })
}
